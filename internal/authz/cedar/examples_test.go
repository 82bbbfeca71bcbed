package cedar

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
)

// someone is a caller of an example.
type someone struct {
	Kind, Issuer, Subject, Client, ACR string
	Groups, Roles                      []string
}

// wantedCase is one line of an example.
type wantedCase struct {
	Who, Method, Server, Name string
	Arguments                 json.RawMessage
	Wanted                    string
	Listed                    *bool
}

func strictly(t *testing.T, b []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
}

// TestExamples runs each example, and holds that the page shows it as tested.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/examples/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range a.Files {
				parts[f.Name] = f.Data
			}
			if len(parts) != 3 {
				t.Fatalf("%d parts", len(parts))
			}
			policy := parts["policy.cedar"]
			if !bytes.Contains(page, []byte("```cedar\n"+string(policy)+"```")) {
				t.Error("docs/policy.md does not show this policy as it is tested")
			}
			var people map[string]someone
			strictly(t, parts["people.json"], &people)
			d := decider(t, string(policy))
			for line := range strings.Lines(string(parts["cases"])) {
				var w wantedCase
				strictly(t, []byte(line), &w)
				who, known := people[w.Who]
				if !known {
					t.Fatalf("nobody is called %q", w.Who)
				}
				q := authz.Query{Principal: who.principal(), Arguments: w.Arguments, Target: call.Target{Server: w.Server, Method: w.Method, Name: w.Name}}
				if got := allows(t, d, q); got != (w.Wanted == "allow") || w.Wanted != "allow" && w.Wanted != "deny" {
					t.Errorf("%s: %s", strings.TrimSpace(line), why(t, d, q))
				}
				if w.Listed != nil && d.Lists(t.Context(), q) != *w.Listed {
					t.Errorf("%s: listed is %v", strings.TrimSpace(line), !*w.Listed)
				}
			}
		})
	}
}

func (s someone) principal() call.Principal {
	id := call.Identity{Issuer: s.Issuer, Subject: s.Subject, Client: s.Client, ACR: s.ACR, Groups: s.Groups, Roles: s.Roles}
	if id.Issuer == "" {
		id.Issuer = corp
	}
	switch s.Kind {
	case "user":
		id.Kind = call.Person
	case "workload":
		id.Kind = call.Workload
	}
	return call.NewPrincipal(id)
}

// examplePolicies are the policies of all examples.
func examplePolicies(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/examples/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if f.Name == "policy.cedar" {
				out = append(out, string(f.Data))
			}
		}
	}
	if len(out) != len(files) {
		t.Fatalf("%d policies in %d examples", len(out), len(files))
	}
	return out
}
