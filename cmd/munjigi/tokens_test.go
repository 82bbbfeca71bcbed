package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
)

// TestTokensRevoke takes back tokens of an issuer through a running gateway, and
// finds it on the record.
func TestTokensRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", false)
	dir, err := os.MkdirTemp("", "mj") // the socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	file := save(t, dir, "m.yaml", "listen: 127.0.0.1:0\ndata: "+data+"\npublic_url: https://mcp.example.com\n"+
		"identity: { issuers: [{ issuer: https://a.example }, { issuer: https://b.example }] }\nservers: { s: { url: https://s.example } }\n")
	cfg, err := app.Build(w.getenv).Load(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg, app.Options{Getenv: w.getenv, LookupEnv: w.lookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- a.ServeControl(ctx) }()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := os.Stat(app.ControlPath(data)); err == nil {
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		case <-again.C:
		}
	}
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"tokens revoke --subject kim --issuer https://a.example", exitDone, "revoked; 0 sessions ended", ""},
		{"tokens revoke --issuer https://b.example --session s1", exitDone, "revoked", ""},
		{"tokens revoke --id j1 --issuer https://b.example", exitDone, "revoked", ""},
		{"tokens revoke --subject kim", exitFailed, "", "name one of the issuers"},
		{"tokens revoke --subject kim --session s1 --issuer https://a.example", exitFailed, "", "one of them"},
		{"tokens revoke --issuer https://a.example", exitFailed, "", "one of them"},
		{"tokens revoke kim --subject kim", exitWrongUse, "", "--subject"},
		{"tokens revoke", exitWrongUse, "", "--subject"},
		{"tokens revoke nobody", exitFailed, "", "no client"},
	} {
		w.out.Reset()
		w.err.Reset()
		if code := w.run(t, append(strings.Fields(c.args), "-data", data)...); code != c.code || !strings.Contains(w.out.String(), c.out) || !strings.Contains(w.err.String(), c.err) {
			t.Errorf("%s: %d %q %q", c.args, code, w.out.String(), w.err.String())
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	var got []string
	err = log.Read(filepath.Join(data, "audit"), log.OldestFirst, func(e audit.Event) bool {
		if e.Reason == "token-revoked" {
			got = append(got, e.Detail["what"]+" "+e.Principal)
		}
		return true
	})
	if want := "subject kim@https://a.example|session |token "; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%v %q", err, got)
	}
}
