// Package guardtest checks what every guard must keep, whatever it looks for.
//
// Threat: a guard that is right about its own cases and wrong about the rest:
// that panics on a shape it did not expect, lets pass what it could not read,
// rewrites without saying so, or repeats a secret in what it says.
//
// Run plays a guard's cases and the general rules. It does not judge how well a
// guard detects what it is for; its cases do.
package guardtest

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
)

// secret stands in the messages of the general rules. No guard may repeat it.
const secret = "sk-test-51f0c9d2a7e84b63"

// Run plays testdata/{allow,deny,bypass}/*.txtar and the general rules. Each
// call of fresh returns a new guard as an operator would configure it; config
// is the archive's section of that name, empty where it has none.
//
// Sections of an archive: config (optional), method, definition (optional),
// previous (optional: what was approved before), one of arguments, result,
// definition-alone and stream, and decision: the first word is allow, redact,
// hold or deny, the second the reason of a hold or deny; a second line is how
// the words begin.
func Run(t *testing.T, fresh func(t *testing.T, config string) guard.Guard) {
	t.Helper()
	t.Run("rules", func(t *testing.T) { rules(t, fresh) })
	seen := map[string]int{}
	for _, dir := range []string{"allow", "deny", "bypass"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			seen[dir]++
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				play(t, file, dir, fresh)
			})
		}
	}
	for _, dir := range []string{"allow", "deny", "bypass"} {
		if seen[dir] == 0 {
			t.Errorf("testdata/%s has no case", dir)
		}
	}
}

func play(t *testing.T, file, dir string, fresh func(*testing.T, string) guard.Guard) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]string{}
	for _, f := range a.Files {
		part[f.Name] = strings.TrimSpace(string(f.Data))
	}
	s := guard.Subject{Target: call.Target{Server: "s", Method: part["method"], Name: "t"}}
	if d := part["definition"]; d != "" {
		s.Definition = declared(t, d)
	}
	if d := part["previous"]; d != "" {
		s.Previous = declared(t, d)
	}
	checks := fresh(t, part["config"]).Checks()
	var check guard.Check
	for name, c := range map[string]guard.Check{"arguments": checks.Arguments, "result": checks.Result, "definition-alone": checks.Definition, "stream": checks.Stream} {
		if text, ok := part[name]; ok {
			check, s.Raw, s.Request = c, valid(t, text), name == "arguments"
			if name == "definition-alone" {
				s.Definition = declared(t, text)
			}
		}
	}
	if check == nil {
		t.Fatal("the archive has nothing that this guard looks at")
	}
	before := string(s.Raw)
	v, err := check(t.Context(), s)
	if err != nil {
		v = guard.Verdict{Reason: "guard-failed", Say: err.Error()}
	}
	if string(s.Raw) != before {
		t.Error("the guard changed its input in place")
	}
	want, words, _ := strings.Cut(part["decision"], "\n")
	got := v.Effect.String()
	if !v.Effect.Passes() {
		got += " " + string(v.Reason)
	}
	if got != want {
		t.Errorf("decided %q, want %q (it said %q)", got, want, v.Say)
	}
	if !strings.HasPrefix(v.Say, words) {
		t.Errorf("it said %q, want %q", v.Say, words)
	}
	if dir == "allow" == !v.Effect.Passes() {
		t.Errorf("a case of %s was decided %q", dir, got)
	}
}

func declared(t *testing.T, text string) *guard.Declared {
	b := valid(t, text)
	return &guard.Declared{Digest: sha256.Sum256(b), Raw: b}
}

func valid(t *testing.T, text string) []byte {
	t.Helper()
	if err := strictjson.Validate([]byte(text), strictjson.Default()); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return []byte(text)
}

// rules are what must hold of every guard.
func rules(t *testing.T, fresh func(*testing.T, string) guard.Guard) {
	g := fresh(t, "")
	sp := g.Spec()
	if sp.Name == "" || sp.Stops == "" || sp.Cannot == "" || len(sp.Controls) == 0 {
		t.Error("the spec must say its name, its controls, what it stops and what it cannot")
	}
	if _, err := guard.Build([]guard.Guard{g}, nil); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile("README.md"); err != nil || !strings.Contains(string(b), sp.Name) {
		t.Error("operators need a README.md that names the guard")
	}
	checks := g.Checks()
	for place, check := range map[string]guard.Check{"arguments": checks.Arguments, "result": checks.Result, "definition": checks.Definition, "stream": checks.Stream} {
		if check == nil {
			continue
		}
		for _, method := range []string{"tools/call", "tools/list", "prompts/get", "resources/read", "notifications/message", ""} {
			for _, raw := range odd() {
				for _, d := range []*guard.Declared{nil, {}, {Raw: []byte(raw)}, {Digest: sha256.Sum256([]byte(raw)), Raw: []byte(raw)}} {
					s := guard.Subject{Target: call.Target{Server: "s", Method: method, Name: "t"}, Request: place == "arguments", Definition: d, Raw: []byte(raw)}
					v, err := check(t.Context(), s)
					told := v.Say
					if err != nil {
						told += err.Error()
					}
					for _, f := range v.Findings {
						told += f.Path
					}
					if strings.Contains(told, secret) {
						t.Errorf("%s %s: the guard repeats a value: %q", place, method, told)
					}
					if (v.Effect == call.Redact) != (v.Rewritten != nil) {
						t.Errorf("%s %s: a rewrite and its effect go together", place, method)
					}
				}
			}
		}
	}
}

// odd are messages that are JSON and little else.
func odd() []string {
	return []string{`{}`, `{"arguments":null}`, `{"arguments":[]}`, `{"arguments":{"a":"` + secret + `"}}`, `{"content":"` + secret + `"}`,
		`{"content":[null,1,{"type":5}],"structuredContent":{"a":"` + secret + `"}}`, `{"inputSchema":5}`, `{"inputSchema":{"type":"object"},"outputSchema":[]}`,
		`{"inputSchema":{"properties":{"a":{"type":"integer"}}},"arguments":{"a":"` + secret + `"}}`,
		`{"isError":"true","resultType":7}`, `{"code":-1,"message":"` + secret + `"}`, `{"":{"":[[[]]]}}`}
}
