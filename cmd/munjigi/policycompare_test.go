package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// TestPolicyCompare reads differences of this candidate and of no other, with
// names of others made visible.
func TestPolicyCompare(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	save(t, dir, "next.cedar", `@id("never") forbid (principal, action, resource);`)
	file := save(t, dir, "munjigi.yaml", "data: "+data+"\npolicy_candidate: [next.cedar]\nservers: { s: { url: \"https://s.example/mcp\" } }\n")
	compare := func(more ...string) (int, *world) {
		w := newWorld(t, "", false)
		return w.run(t, append([]string{"policy", "-c", file, "compare"}, more...)...), w
	}
	if code, w := compare(); code != exitFailed || !strings.Contains(w.err.String(), "data folder") {
		t.Errorf("without a record: %d %s%s", code, w.out.String(), w.err.String())
	}
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: newWorld(t, "", false).getenv}.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := app.Candidate(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(log.Options{Dir: filepath.Join(data, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	write := func(target, digest string, ago time.Duration) string {
		e := audit.Event{ID: audit.NewID(), Time: time.Now().Add(-ago), Kind: audit.KindOutcome, Stage: "reply", Effect: "allow", Reason: "ok", Principal: "ann@corp",
			Server: "s", Method: "tools/call", Target: target, Trail: []audit.Step{{Stage: "authorize", Effect: "allow", Reason: "ok",
				Findings: []audit.Finding{{Guard: "policy", Reason: "policy-permit"}, {Guard: app.CandidateGuard, Reason: "would-deny", Path: digest + " next.cedar#never"}}}}}
		if err := l.With(log.Strict).Record(context.Background(), &e); err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	write("other", "000000000000", 0)
	if code, w := compare(); code != exitDone || !strings.Contains(w.out.String(), "nothing otherwise") {
		t.Errorf("another candidate's: %d %s%s", code, w.out.String(), w.err.String())
	}
	write("pay", p.Digest()[:12], 0)
	last := write("pay", p.Digest()[:12], 0)
	write("say\u202e", p.Digest()[:12], 0)
	write("other", "000000000000", 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	code, w := compare()
	out := w.out.String()
	if code != exitRefused || strings.Contains(out, "other") || !strings.Contains(out, `say\u{202e}`) || !strings.Contains(out, "next.cedar#never") {
		t.Errorf("%d\n%s%s", code, out, w.err.String())
	}
	lines := strings.Split(out, "\n")
	if len(lines) < 3 || !strings.Contains(out, last) || !strings.HasPrefix(strings.TrimSpace(lines[1]), "2") {
		t.Errorf("the most frequent is not first:\n%s", out)
	}
	if code, w := compare("-json"); code != exitWrongUse && code != exitRefused {
		t.Errorf("%d %s", code, w.err.String())
	}
	plain := save(t, dir, "plain.yaml", "data: "+data+"\nservers: {}\n")
	w = newWorld(t, "", false)
	if code := w.run(t, "policy", "-c", plain, "compare"); code != exitWrongUse || !strings.Contains(w.err.String(), "policy_candidate") {
		t.Errorf("without a candidate: %d %s", code, w.err.String())
	}
}
