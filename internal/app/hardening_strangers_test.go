package app_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A flood of those whom nobody knows is counted, not written: what the record
// keeps of it is bounded, none is lost, and their words are short.
func TestHardStrangersFillNoRecord(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := newRig(t, newStage(t).config(""))
	c := r.client()
	to := func(method, path string, headers ...string) {
		req, err := http.NewRequestWithContext(r.ctx, method, r.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			name, v, _ := strings.Cut(h, ": ")
			req.Header.Set(name, v)
		}
		if resp, body := r.do(c, req); resp.StatusCode < 400 {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, body)
		}
	}
	const each = 150
	long := "/" + strings.Repeat("%1b%5b2J", 500)
	for n := range each {
		to("GET", "/wp-login.php?"+strconv.Itoa(n))
		to("GET", long)
		to("BREW", "/mcp/s")
		to("POST", "/mcp/s", "Content-Type: application/json")
		to("POST", "/mcp/not-a-server", "Content-Type: application/json", "Origin: https://evil.example")
		to("GET", "/.well-known/oauth-protected-resource")
	}
	r.serves("alice")
	if err := r.app.Reload(r.ctx); err != nil {
		t.Fatal(err)
	}
	told, written := uint64(0), 0
	for _, e := range r.record() {
		for name, n := range e.Detail {
			if strings.HasPrefix(name, "unrecorded.") {
				v, err := strconv.ParseUint(n, 10, 64)
				if err != nil {
					t.Error(err)
				}
				told += v
			}
		}
		if e.Kind == "outcome" && e.Principal == "" {
			written++
		}
		if len(e.Target) > 128 || len(e.Method) > 32 || e.Server != "" && e.Server != "s" {
			t.Errorf("a stranger wrote into the record: %q %q %q", e.Server, e.Method, e.Target)
		}
	}
	if most := 201 + int(time.Since(began).Seconds()); written > most {
		t.Errorf("%d refusals of strangers were written, at most %d may be", written, most)
	}
	if told+uint64(written) != 6*each {
		t.Errorf("%d were written and %d told, %d came", written, told, 6*each)
	}
}

// What comes to no endpoint is refused like anything else: with an ID that
// finds its record, and nothing of the path is served or repeated.
func TestHardAstray(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(""))
	for _, tt := range []struct {
		method, path, reason string
		status               int
	}{
		{"GET", "/", "unknown-path", 404}, {"POST", "/x%0aserver=s", "unknown-path", 404}, {"POST", "/mcp/s/..%2f", "unknown-path", 404},
		{"PUT", "/mcp/s", "bad-http-method", 405}, {"OPTIONS", "/mcp", "bad-http-method", 405}, {"PROPFIND", "/mcp/x", "bad-http-method", 405},
		{"GET", "/.well-known/oauth-protected-resource", "unknown-path", 404}, {"GET", "/.well-known/oauth-protected-resource/mcp/s", "unknown-path", 404},
	} {
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.ctx), tt.method, r.url(tt.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, body := r.do(r.client(), req)
		r.refused(resp, body, tt.status, tt.reason)
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Content-Type") != "application/json" || strings.Contains(body, "server=s") {
			t.Errorf("%s %s: %v %s", tt.method, tt.path, resp.Header, body)
		}
	}
}
