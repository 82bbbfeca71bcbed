package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

func authServer(t *testing.T, identity, server string) (*config.Config, error) {
	t.Helper()
	return config.Build{Identity: true, AuthorizationServer: true, Getenv: home}.Parse(at("m.yaml"),
		[]byte("public_url: https://mcp.example.com\nservers: { a: { url: https://a.example } }\n"+identity+"\nauthorization_server: "+server+"\n"))
}

const withSignIn = "identity: { issuers: [ { issuer: https://idp.example, signin: { client_id: gw } } ] }"

func TestAuthorizationServer(t *testing.T) {
	t.Parallel()
	c, err := authServer(t, withSignIn, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	want := config.AuthorizationServer{Enabled: true, AccessToken: 5 * time.Minute, SignedInFor: 12 * time.Hour, KeyRotation: 720 * time.Hour}
	if d := cmp.Diff(want, c.AuthorizationServer); d != "" {
		t.Error(d)
	}
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = authServer(t, withSignIn, `
  access_token: 10m
  signed_in_for: 24h
  key_rotation: 800h
  identity_assertions: [https://idp.example]
  clients:
    - { id: editor, name: My editor, redirect_uris: ["http://127.0.0.1/cb"] }
    - { id: web, redirect_uris: [https://app.example/cb], client_secret: { secret: env:S }, scopes: ["a:list"], dpop: true }
    - { id: post, redirect_uris: [https://app.example/cb], client_auth: client_secret_post, client_secret: { secret: env:S } }
    - { id: agent, identity_assertions: true, client_keys: `+keys+` }
`)
	if err != nil {
		t.Fatal(err)
	}
	want = config.AuthorizationServer{Enabled: true, AccessToken: 10 * time.Minute, SignedInFor: 24 * time.Hour, KeyRotation: 800 * time.Hour,
		Assertions: []string{"https://idp.example"},
		Clients: []config.OAuthClient{
			{ID: "editor", Name: "My editor", RedirectURIs: []string{"http://127.0.0.1/cb"}, Auth: "none"},
			{ID: "web", RedirectURIs: []string{"https://app.example/cb"}, Auth: "client_secret_basic", Secret: config.Value{Secret: ref("env:S")}, Scopes: []string{"a:list"}, DPoP: true},
			{ID: "post", RedirectURIs: []string{"https://app.example/cb"}, Auth: "client_secret_post", Secret: config.Value{Secret: ref("env:S")}},
			{ID: "agent", Auth: "private_key_jwt", Keys: keys, Assertions: true},
		}}
	if d := cmp.Diff(want, c.AuthorizationServer, cmp.Comparer(func(a, b config.Value) bool { return a == b })); d != "" {
		t.Error(d)
	}
	var weaker []string
	for _, d := range c.Departures() {
		weaker = append(weaker, d.Key)
		if d.Means == "" || c.Problem(d.Key, "", "").Line < 2 {
			t.Errorf("%+v", d)
		}
	}
	if d := cmp.Diff([]string{"authorization_server.access_token", "authorization_server.signed_in_for", "authorization_server.key_rotation"}, weaker); d != "" {
		t.Error(d)
	}
}

func TestAuthorizationServerErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, identity, server, want string }{
		{"nobody signs in", "identity: { issuers: [ { issuer: https://idp.example } ] }", `{}`, "nobody who could sign in"},
		{"anonymous", "identity: { insecure_anonymous: true }", `{}`, "nobody is anybody"},
		{"long token", withSignIn, `{ access_token: 16m }`, "authorization_server.access_token"},
		{"long session", withSignIn, `{ signed_in_for: 91d }`, "authorization_server.signed_in_for"},
		{"an issuer that is not configured", withSignIn, `{ identity_assertions: [https://other.example] }`, "none of identity.issuers"},
		{"no ID", withSignIn, `{ clients: [ { redirect_uris: [https://a.example] } ] }`, "has no id"},
		{"an ID that is a URL", withSignIn, `{ clients: [ { id: "https://a.example/c", redirect_uris: [https://a.example] } ] }`, "not a name for a client"},
		{"twice", withSignIn, `{ clients: [ { id: a, redirect_uris: [https://a.example] }, { id: a, redirect_uris: [https://a.example] } ] }`, "listed twice"},
		{"no redirect", withSignIn, `{ clients: [ { id: a } ] }`, "has no redirect_uris"},
		{"a script", withSignIn, `{ clients: [ { id: a, redirect_uris: ["javascript:alert(1)"] } ] }`, "redirect_uris[0]"},
		{"plain http", withSignIn, `{ clients: [ { id: a, redirect_uris: ["http://app.example/cb"] } ] }`, "redirect_uris[0]"},
		{"a secret in the clear", withSignIn, `{ clients: [ { id: a, redirect_uris: [https://a.example], client_secret: hush } ] }`, "must name a secret"},
		{"a secret that is not used", withSignIn, `{ clients: [ { id: a, redirect_uris: [https://a.example], client_auth: none, client_secret: { secret: env:S } } ] }`, "not used"},
		{"no secret", withSignIn, `{ clients: [ { id: a, redirect_uris: [https://a.example], client_auth: client_secret_post } ] }`, "has no client_secret"},
		{"no keys", withSignIn, `{ clients: [ { id: a, redirect_uris: [https://a.example], client_auth: private_key_jwt } ] }`, "has no client_keys"},
		{"assertions of anybody", withSignIn, `{ clients: [ { id: a, identity_assertions: true } ] }`, "prove themselves"},
		{"unknown key", withSignIn, `{ register: true }`, "not a key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := authServer(t, c.identity, c.server)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := (config.Build{Identity: true, Getenv: home}).Parse(at("m.yaml"), []byte("servers: { a: { url: https://a.example } }\nauthorization_server: {}\n")); err == nil || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("a build without one: %v", err)
	}
}
