package config_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

func issuers(t *testing.T, list string) (*config.Config, error) {
	t.Helper()
	return config.Build{Identity: true, Getenv: home}.Parse(at("m.yaml"),
		[]byte("public_url: https://mcp.example.com\nservers: { a: { url: https://a.example } }\nidentity:\n  issuers:\n"+list))
}

func TestIssuerKeys(t *testing.T) {
	t.Parallel()
	c, err := issuers(t, `
    - issuer: https://idp.example
      max_lifetime: 24h
      groups_claim: https://x.example/groups
      roles_claim: r
      tenant_claim: t
      introspection: { tokens: both, endpoint: https://idp.example/ask, client_id: gw, client_key: { secret: "file:key.pem" }, cache: 45s }
      logout: { clients: [gw, gw2] }
      implied_scopes: { all: [a:list, a:call], none: [] }
    - issuer: https://other.example
      introspection: { tokens: jwt, client_id: gw, client_secret: { secret: env:S } }
    - issuer: https://sts.windows.net/11111111-2222-3333-4444-555555555555/
      provider: entra
      known_as: https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0
      max_lifetime: 95m
    - { issuer: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0", provider: entra }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Issuer{
		{URL: "https://idp.example", MaxLifetime: 24 * time.Hour, GroupsClaim: "https://x.example/groups", RolesClaim: "r", TenantClaim: "t",
			Introspection: config.Introspection{Tokens: "both", Endpoint: "https://idp.example/ask", ClientID: "gw", ClientAuth: "private_key_jwt",
				ClientKey: config.Value{Secret: ref("file:" + filepath.Join(filepath.Dir(at("x")), "key.pem"))}, Cache: 45 * time.Second},
			Logout: config.Logout{Clients: []string{"gw", "gw2"}}, ImpliedScopes: map[string][]string{"all": {"a:list", "a:call"}, "none": nil}},
		{URL: "https://other.example", Introspection: config.Introspection{Tokens: "jwt", ClientID: "gw", ClientAuth: "client_secret_basic",
			ClientSecret: config.Value{Secret: ref("env:S")}, Cache: config.DefaultIntrospectionCache}},
		{URL: "https://sts.windows.net/11111111-2222-3333-4444-555555555555/", Provider: "entra", MaxLifetime: 95 * time.Minute,
			KnownAs: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"},
		{URL: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0", Provider: "entra"},
	}
	if diff := cmp.Diff(want, c.Identity.Issuers, cmp.Comparer(func(a, b config.Value) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var weaker []string
	for _, d := range c.Departures() {
		weaker = append(weaker, d.Key+"="+d.Value)
	}
	if diff := cmp.Diff([]string{"identity.issuers[0].implied_scopes.all=a:list a:call", "identity.issuers[0].implied_scopes.none=", "identity.issuers[0].max_lifetime=24h0m0s", "identity.issuers[0].introspection.cache=45s", "identity.issuers[2].max_lifetime=1h35m0s"}, weaker); diff != "" {
		t.Errorf("departures (-want +got)\n%s", diff)
	}
}

// TestIssuerErrors: each is found at its key, and says what to do.
func TestIssuerErrors(t *testing.T) {
	t.Parallel()
	const client = `client_id: gw, client_secret: { secret: env:S }`
	for _, c := range []struct{ name, list, key, next string }{
		{"long life and no way back", "    - { issuer: https://a.example, max_lifetime: 91m }", "identity.issuers[0].max_lifetime", "add logout:"},
		{"long life, and only opaque tokens are asked about", "    - { issuer: https://a.example, max_lifetime: 91m, introspection: { " + client + " } }", "identity.issuers[0].max_lifetime", "tokens: jwt"},
		{"longer than any", "    - { issuer: https://a.example, max_lifetime: 49h, logout: { clients: [x] } }", "identity.issuers[0].max_lifetime", "1m"},
		{"two with opaque tokens", "    - { issuer: https://a.example, introspection: { " + client + " } }\n    - { issuer: https://b.example, introspection: { tokens: both, " + client + " } }", "identity.issuers[1].introspection", "tokens: jwt"},
		{"twice", "    - { issuer: https://a.example }\n    - { issuer: https://a.example }", "identity.issuers[1].issuer", "keep one"},
		{"known as nobody", "    - { issuer: https://a.example, provider: entra, known_as: https://b.example }", "identity.issuers[0].known_as", "name the issuer"},
		{"known as itself", "    - { issuer: https://a.example, provider: entra, known_as: https://a.example }", "identity.issuers[0].known_as", "name the issuer"},
		{"generic known as another", "    - { issuer: https://a.example, known_as: https://b.example }\n    - { issuer: https://b.example }", "identity.issuers[0].known_as", "name the issuer"},
		{"no client", "    - { issuer: https://a.example, introspection: { client_secret: { secret: env:S } } }", "identity.issuers[0].introspection", "client_id"},
		{"no secret", "    - { issuer: https://a.example, introspection: { client_id: gw } }", "identity.issuers[0].introspection", "client_secret"},
		{"no key", "    - { issuer: https://a.example, introspection: { client_id: gw, client_auth: private_key_jwt } }", "identity.issuers[0].introspection", "client_key"},
		{"a secret beside a key", "    - { issuer: https://a.example, introspection: { " + client + ", client_key: { secret: env:K } } }", "identity.issuers[0].introspection.client_secret", "take it out"},
		{"a secret in the clear", "    - { issuer: https://a.example, introspection: { client_id: gw, client_secret: hunter2 } }", "identity.issuers[0].introspection.client_secret", "secret:"},
		{"half a secret in the clear", "    - { issuer: https://a.example, introspection: { client_id: gw, client_secret: { prefix: hunter2, secret: env:S } } }", "identity.issuers[0].introspection.client_secret", "secret:"},
		{"plain endpoint", "    - { issuer: https://a.example, introspection: { endpoint: http://a.example/ask, " + client + " } }", "identity.issuers[0].introspection.endpoint", "https://"},
		{"an hour of cache", "    - { issuer: https://a.example, introspection: { cache: 1h, " + client + " } }", "identity.issuers[0].introspection.cache", "5m"},
		{"logout of nobody", "    - { issuer: https://a.example, logout: {} }", "identity.issuers[0].logout", "clients"},
		{"a scope with a space", "    - { issuer: https://a.example, implied_scopes: { \"a b\": [c] } }", "identity.issuers[0].implied_scopes.a b", "without spaces"},
		{"a text in the place of scopes", "    - { issuer: https://a.example, implied_scopes: { a: b } }", "identity.issuers[0].implied_scopes.a", ""},
		{"a scope with a quotation mark", "    - { issuer: https://a.example, implied_scopes: { a: ['b\"'] } }", "identity.issuers[0].implied_scopes.a[0]", "quotation"},
		{"Google is asked", "    - { issuer: https://accounts.google.com, provider: google, introspection: { " + client + " } }", "identity.issuers[0].introspection", "take it out"},
		{"an authority that is not there", "    - { issuer: https://a.example }\negress: { ca: nowhere.pem }", "egress.ca", "check the path"},
	} {
		_, err := issuers(t, c.list+"\n")
		var all *config.Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		found := false
		for _, p := range all.List {
			found = found || p.Key == c.key && strings.Contains(p.Next, c.next)
		}
		if !found || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
