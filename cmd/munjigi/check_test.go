package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

const weakConfig = `servers:
  files:
    command: [npx, -y, server, --token=abc]
    insecure_unsandboxed: true
  remote:
    url: https://mcp.example.com/mcp?key=abc
    era: legacy
    enabled: false
`

func TestCheckInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := save(t, dir, "munjigi.yaml", weakConfig)
	w := newWorld(t, "", false)
	if code := w.run(t, "check", "-c", path); code != exitDone {
		t.Fatalf("exit %d: %s", code, w.err.String())
	}
	want := path + ` is in order: 2 servers

SERVER  ON   ERA     REACHED BY               WEAKER
files   yes  auto    command npx              insecure_unsandboxed
remote  no   legacy  https://mcp.example.com

weaker than the safe defaults:
  ! servers.files.insecure_unsandboxed: true  the command runs with all rights of the user that runs the gateway

worth a look:
  ` + path + `:3:32: servers.files.command[3] looks like a secret in the clear
      write { secret: env:NAME }, with what stands before it as prefix:
  ` + path + `:6:10: servers.remote.url looks as if it held a secret in the clear
      write { prefix: "https://…", secret: env:NAME }, or give the server the secret in a header (credential:)
`
	if w.out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", w.out.String(), want)
	}
}

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := save(t, dir, "munjigi.yaml", "listen: 0.0.0.0:80\nservres: {}\nservers:\n  A: { url: http://example.com }\n")
	w := newWorld(t, "", false)
	if code := w.run(t, "check", "-c", path); code != exitRefused || w.out.Len() > 0 {
		t.Fatalf("exit %d, printed %q", code, w.out.String())
	}
	want := strings.ReplaceAll(`PATH:1:9: listen is open to other machines without tls and identity
    listen on 127.0.0.1:8931, or add tls: and identity: with issuers
PATH:2:1: servres is not a key that this build knows
    did you mean servers?
PATH:4:3: servers.A is not a name for a server
    use a to z, 0 to 9 and -, beginning with a letter, at most 32
PATH:4:13: servers.A.url is plain HTTP to another machine
    write https://; plain HTTP is for 127.0.0.1, [::1] and localhost
4 errors
`, "PATH", path)
	if w.err.String() != want {
		t.Errorf("complained\n%s\nwant\n%s", w.err.String(), want)
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := save(t, dir, "good.yaml", weakConfig), save(t, dir, "bad.yaml", "a: b\n")
	for _, c := range []struct {
		path string
		code int
	}{{good, exitDone}, {bad, exitRefused}, {filepath.Join(dir, "missing.yaml"), exitFailed}, {dir, exitRefused}} {
		w := newWorld(t, "", false)
		if code := w.run(t, "check", "--json", "-c", c.path); code != c.code {
			t.Errorf("%s: exit %d, want %d", c.path, code, c.code)
		}
		var r checkReport
		if err := json.Unmarshal(w.out.Bytes(), &r); err != nil || w.err.Len() > 0 {
			t.Fatalf("%s: %v %q %q", c.path, err, w.out.String(), w.err.String())
		}
		if r.OK != (c.code == exitDone) || r.OK == (len(r.Errors) > 0) {
			t.Errorf("%s: %+v", c.path, r)
		}
		for _, p := range r.Errors {
			if p.Message == "" || p.Next == "" {
				t.Errorf("%s: %+v", c.path, p)
			}
		}
		if strings.Contains(w.out.String(), "abc") {
			t.Errorf("a value came out: %s", w.out.String())
		}
	}
}

func TestCheckMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", false)
	if code := w.run(t, "check", "-c", filepath.Join(t.TempDir(), "none.yaml")); code != exitFailed || !strings.Contains(w.err.String(), "cannot be read") {
		t.Errorf("exit %d: %s", code, w.err.String())
	}
}
