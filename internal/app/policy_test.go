package app_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/config"
)

// ruled is a config with files beside it, and its gateway once it is opened.
type ruled struct {
	*app.App
	dir, data, file string
}

func (r *ruled) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *ruled) load(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(r.file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// open starts the gateway and ends it with the test.
func (r *ruled) open(t *testing.T) error {
	t.Helper()
	a, err := app.Open(t.Context(), r.load(t), app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: os.LookupEnv,
		Load: func() (*config.Config, error) {
			return config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(r.file)
		}})
	if err != nil {
		return err
	}
	r.App = a
	t.Cleanup(func() { r.close(t) })
	return nil
}

// close ends the gateway, so that all of its record is written.
func (r *ruled) close(t *testing.T) {
	t.Helper()
	if r.App == nil {
		return
	}
	if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	r.App = nil
}

// newRuled writes a config with policies; text is the rest of it.
func newRuled(t *testing.T, policy, text string) *ruled {
	t.Helper()
	r := &ruled{dir: t.TempDir(), data: filepath.Join(t.TempDir(), "data")}
	r.file = filepath.Join(r.dir, "m.yaml")
	r.write(t, "p.cedar", policy)
	r.write(t, "m.yaml", "data: "+r.data+"\naudit: { durability: relaxed }\npolicy: [p.cedar]\n"+text)
	return r
}

// TestServeAndCheckTakeTheSamePolicies: what one of them refuses the other does
// not run with, also at a reload.
func TestServeAndCheckTakeTheSamePolicies(t *testing.T) {
	t.Parallel()
	url, _ := looker(t)
	idp := newProvider(t)
	outside := "public_url: " + public + "\nlisten: 127.0.0.1:0\nidentity: { issuers: [{ issuer: \"" + idp.URL + "\" }] }\negress: { allow: [\"" + strings.TrimPrefix(idp.URL, "http://") + "\"] }\n"
	for name, c := range map[string]struct{ policy, says string }{
		"a server that is not configured": {`permit (principal, action, resource in Munjigi::Server::"none");`, `the server "none"`},
		"a text that is no policy":        {`permit (principal, action);`, `does not parse`},
		"what can never match":            {`permit (principal, action == Munjigi::Action::"read", resource == Munjigi::Tool::"s/look");`, "can never match"},
		"what always fails":               {`permit (principal, action, resource) when { principal.groups > 5 };`, "does not fit"},
		"a list of approvers":             {`@approved("x") permit (principal, action, resource);`, "annotation"},
	} {
		for _, identity := range []string{"", outside} {
			r := newRuled(t, c.policy, "servers: { s: { url: \""+url+"\" } }\n"+identity)
			_, _, checked := app.Policies(r.load(t))
			served := r.open(t)
			if checked == nil || served == nil || !strings.Contains(checked.Error(), c.says) || !strings.Contains(served.Error(), c.says) {
				t.Errorf("%s: check says %v, serve %v", name, checked, served)
			}
		}
	}
	r := newRuled(t, `permit (principal, action, resource);`, "servers: { s: { url: \""+url+"\" } }\n")
	if err := r.open(t); err != nil {
		t.Fatal(err)
	}
	r.write(t, "p.cedar", `permit (principal, action, resource in Munjigi::Server::"none");`)
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("a reload took it: %v", err)
	}
}

// TestTheOperatorLearnsWhatServersHave: what policies are written from needs no
// policy, goes on the record, and gives nobody else a right.
func TestTheOperatorLearnsWhatServersHave(t *testing.T) {
	t.Parallel()
	url, called := looker(t)
	r := newRuled(t, "", "servers: { s: { url: \""+url+"\" }, dead: { url: \"http://127.0.0.1:1/mcp\" } }\n")
	if err := r.open(t); err != nil {
		t.Fatal(err)
	}
	shelf, err := r.Shelf(t.Context(), "s")
	if err != nil || len(shelf.Tools) != 1 || !strings.Contains(string(shelf.Tools[0]), `"look"`) {
		t.Fatalf("%+v %v", shelf, err)
	}
	dead, err := r.Shelf(t.Context(), "dead")
	if err != nil || len(dead.Missing) != 4 {
		t.Errorf("a server that is down: %+v %v", dead, err)
	}
	if _, err := r.Shelf(t.Context(), "none"); err == nil {
		t.Error("a server that is not there")
	}
	if called.Load() != 0 {
		t.Error("a tool was called")
	}
	c := &cedar.Catalogue{Servers: map[string]*cedar.Shelf{"s": shelf, "dead": dead}}
	r.write(t, "p.cedar", `permit (principal, action, resource == Munjigi::Tool::"s/lok");`)
	cfg := r.load(t)
	_, p, err := app.Policies(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := app.CheckPolicies(cfg, p, c); len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Next, `"look"`) {
		t.Errorf("%+v", got)
	}
	seen := 0
	if err := log.Read(filepath.Join(r.data, "audit"), log.NewestFirst, func(e audit.Event) bool {
		if e.Reason == "catalogue-read" && e.Server == "s" && e.Detail["tools"] == "1" {
			seen++
		}
		return true
	}); err != nil || seen != 1 {
		t.Errorf("%d on the record: %v", seen, err)
	}
}

// TestACandidateDecidesNothing: what it would have decided otherwise stands on
// the record, with the policy that would have, and changes no answer.
func TestACandidateDecidesNothing(t *testing.T) {
	t.Parallel()
	url, called := looker(t)
	r := newRuled(t, `permit (principal, action, resource) unless { resource.name == "gone" };`,
		"public_url: "+public+"\nlisten: 127.0.0.1:0\npolicy_candidate: [next.cedar]\nidentity: { insecure_anonymous: true }\nservers: { s: { url: \""+url+"\", insecure_same_names: true }, t: { url: \""+url+"\", insecure_same_names: true } }\n")
	r.write(t, "next.cedar", `@id("all") permit (principal, action, resource);
@id("nobody-looks") forbid (principal, action, resource == Munjigi::Tool::"s/look");`)
	if err := r.open(t); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.App)
	defer srv.Close()
	for path, times := range map[string]int{"/mcp/s": 2, "/mcp/t": 1} {
		for range times {
			if resp, body := ask(t, srv, path, "", "tools/call", "look"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
		}
	}
	if called.Load() != 3 {
		t.Errorf("%d calls went through", called.Load())
	}
	r.write(t, "next.cedar", `permit (principal, action, resource in Munjigi::Server::"none");`)
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("a candidate with a mistake: %v", err)
	}
	r.close(t)
	found := map[string]int{}
	if err := log.Read(filepath.Join(r.data, "audit"), log.NewestFirst, func(e audit.Event) bool {
		for _, s := range e.Trail {
			for _, f := range s.Findings {
				if f.Guard == app.CandidateGuard {
					found[strings.Join([]string{e.Server, s.Stage, s.Effect, f.Reason, f.Path[13:]}, " ")]++
				}
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if want := "s authorize allow would-deny " + filepath.Join(r.dir, "next.cedar") + "#nobody-looks"; len(found) != 1 || found[want] != 2 {
		t.Errorf("want %q twice, found %v", want, found)
	}
}
