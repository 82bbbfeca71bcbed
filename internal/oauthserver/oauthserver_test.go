package oauthserver_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/oauthserver"
)

func TestRedirects(t *testing.T) {
	t.Parallel()
	c := oauthserver.Client{RedirectURIs: []string{"https://app.example/cb", "http://127.0.0.1/cb", "http://localhost:8080/cb", "http://[::1]/cb?a=b"}}
	for uri, want := range map[string]bool{
		"https://app.example/cb":             true,
		"http://127.0.0.1/cb":                true,
		"http://127.0.0.1:5000/cb":           true,
		"http://localhost:8080/cb":           true,
		"http://[::1]:1/cb?a=b":              true,
		"http://localhost:8081/cb":           false,
		"http://localhost/cb":                false,
		"https://app.example:443/cb":         false,
		"https://app.example/cb/":            false,
		"https://app.example/cb?x":           false,
		"https://app.example/CB":             false,
		"https://APP.example/cb":             false,
		"https://127.0.0.1:5000/cb":          false,
		"http://127.0.0.2:5000/cb":           false,
		"http://127.0.0.1:5000/cb/../x":      false,
		"http://127.0.0.1:5000/c%62":         false,
		"http://127.0.0.1:5000/cb#x":         false,
		"http://127.0.0.1:5000@evil/cb":      false,
		"http://127.0.0.1:80@evil.test:1/cb": false,
		"http://127.0.0.1:5000/cb?":          false,
		"http://127.0.0.1:/cb":               false,
		"http://[::1]:1/cb":                  false,
		"":                                   false,
	} {
		if got := c.Redirects(uri); got != want {
			t.Errorf("%q: %v", uri, got)
		}
	}
	if (oauthserver.Client{}).Redirects("") {
		t.Error("a client without redirects has one")
	}
}

func TestCheckRedirect(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]bool{
		"https://app.example/cb?x=y":      true,
		"http://127.0.0.1/cb":             true,
		"http://localhost:3000/cb":        true,
		"http://app.example/cb":           false,
		"javascript:alert(1)":             false,
		"data:text/html,x":                false,
		"cursor://anysphere/cb":           false,
		"https://a@app.example/cb":        false,
		"https://app.example/cb#f":        false,
		"https://app.example\\@evil/cb":   false,
		"https://*.example/cb":            false,
		"https://app.example/\"><script>": false,
		"//app.example/cb":                false,
		"/cb":                             false,
		"":                                false,
	} {
		if err := oauthserver.CheckRedirect(uri); (err == nil) != want {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

func TestClientValid(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := oauthserver.Client{ID: "a", Kind: oauthserver.Configured, Auth: oauthserver.AuthNone}
	ended, later := good, good
	ended.Expires, later.Expires = now, now.Add(1)
	for i, c := range []oauthserver.Client{{}, {ID: "a", Kind: oauthserver.Configured}, {ID: "a", Auth: oauthserver.AuthNone}, ended} {
		if c.Valid(now) {
			t.Error(i)
		}
	}
	if !good.Valid(now) || !later.Valid(now) {
		t.Error("a good one")
	}
}

func TestServers(t *testing.T) {
	t.Parallel()
	a := oauthserver.Asking{Scopes: []string{"b:list", "a:call", "b:call", "x"}}
	if d := cmp.Diff([]string{"b", "a"}, a.Servers()); d != "" {
		t.Error(d)
	}
}
