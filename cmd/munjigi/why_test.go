package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
)

// TestWhyOfAPage: the number on a page that refuses finds what happened, with
// text of others made visible.
func TestWhyOfAPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := log.Open(log.Options{Dir: filepath.Join(dir, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "grant", Effect: "deny", Reason: "grant-unknown",
		Principal: "mallory@https://login.example", Method: "page/grants/open", Detail: map[string]string{"cause": "not yours \u202e\x1b[2J"}}
	if err := l.With(log.Strict).Record(context.Background(), &e); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "", false)
	if code := w.run(t, "why", "-data", dir, e.ID); code != exitDone {
		t.Fatalf("%d %s", code, w.err.String())
	}
	for _, want := range []string{e.ID, "deny at grant, reason grant-unknown", "mallory@https://login.example", "page/grants/open", `not yours \u{202e}`} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, w.out.String())
		}
	}
	if strings.Contains(w.out.String(), "forwarded") {
		t.Errorf("a page forwards nothing:\n%s", w.out.String())
	}
}

// TestWhyNamesThePolicy: what a verdict rests on is said, made visible.
func TestWhyNamesThePolicy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := log.Open(log.Options{Dir: filepath.Join(dir, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindOutcome, Stage: "authorize", Effect: "deny", Reason: "not-permitted",
		Trail: []audit.Step{{Stage: "authorize", Effect: "deny", Reason: "not-permitted",
			Findings: []audit.Finding{{Guard: "policy", Reason: "policy-forbid", Path: "policy/a.cedar#no\u202epayments"}}}}}
	if err := l.With(log.Strict).Record(context.Background(), &e); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "", false)
	if code := w.run(t, "why", "-data", dir, e.ID); code != exitDone {
		t.Fatalf("%d %s", code, w.err.String())
	}
	if want := `policy: policy-forbid  policy/a.cedar#no\u{202e}payments`; !strings.Contains(w.out.String(), want) {
		t.Errorf("%q is not said:\n%s", want, w.out.String())
	}
}
