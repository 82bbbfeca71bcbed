//go:build real

package idp

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// keep has a person sign in and keeps the ID token too.
func keep[T interface{ Extra(string) any }](idToken *string, signIn func(context.Context, *extauth.OIDCLoginConfig, auth.AuthorizationCodeFetcher) (T, error),
	conf *extauth.OIDCLoginConfig, person auth.AuthorizationCodeFetcher) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		tok, err := signIn(ctx, conf, person)
		if err == nil {
			*idToken, _ = tok.Extra("id_token").(string)
		}
		return tok, err
	}
}

// TestEnterprise: the official SDK's client for enterprise-managed authorization
// signs its person in at the provider, has the provider assert that, and trades
// the assertion at the gateway. Nobody is asked by the gateway.
func TestEnterprise(t *testing.T) {
	t.Parallel()
	ours, theirs := free(t), free(t)
	issuer, base := "http://"+theirs, "http://"+ours
	p := startOP(t, theirs, base)
	g := serveBy(t, http.DefaultClient, base, `authorization_server:
  identity_assertions: ["`+issuer+`"]
  clients: [{ id: desk, client_secret: { secret: "file:gateway.secret" }, client_auth: client_secret_post, identity_assertions: true }]
`, `{ issuers: [{ issuer: "`+issuer+`", `+signsIn(t)+` }] }`, `permit (principal, action, resource);`, theirs)
	files := g.resource("files")
	desk := &oauthex.ClientCredentials{ClientID: "desk", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "gateway-secret"}}
	b := newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"})
	var idToken string
	h, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{IdPIssuerURL: issuer, IdPCredentials: desk, MCPAuthServerURL: base, MCPResourceURI: files,
		MCPCredentials: desk, MCPScopes: []string{"files:list", "files:call"}, IDTokenFetcher: keep(&idToken, extauth.PerformOIDCLogin,
			&extauth.OIDCLoginConfig{IssuerURL: issuer, Credentials: desk, RedirectURL: callback, Scopes: []string{"openid"}}, b.fetch)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l := &login{}
	if l.ClientSession, err = mcp.NewClient(&mcp.Implementation{Name: "desk", Version: "1"}, nil).Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: files, OAuthHandler: h}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if text, err := l.use(t, "test_simple_text"); err != nil || text == "" {
		t.Fatalf("%q %v", text, err)
	}
	asserted := func(audience, resource string) string {
		t.Helper()
		tok, err := oauthex.ExchangeToken(ctx, p.meta.Token, &oauthex.TokenExchangeRequest{RequestedTokenType: oauthex.TokenTypeIDJAG, Audience: audience, Resource: resource,
			Scope: []string{"files:call"}, SubjectToken: idToken, SubjectTokenType: oauthex.TokenTypeIDToken}, desk, http.DefaultClient)
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	trade := func(assertion string) (int, []byte) {
		t.Helper()
		status, body, _ := post(t, base+"/oauth/token", "", "", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
			"client_id": {"desk"}, "client_secret": {"gateway-secret"}})
		return status, body
	}
	once := asserted(base, files)
	status, body := trade(once)
	token := granted(t, status, body)
	if claims := part(t, token, 1); claims["iss"] != base || claims["client_id"] != "desk" {
		t.Errorf("%v", claims)
	}
	if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
		t.Errorf("at files: %v", a)
	}
	if a := g.call(t, "mail", token, "test_simple_text"); a.status != http.StatusUnauthorized {
		t.Errorf("at mail: %v", a)
	}
	for name, row := range map[string]struct{ assertion, code string }{
		"replayed":             {once, "invalid_grant"},
		"for another server":   {asserted("https://else.example", files), "invalid_grant"},
		"for another resource": {asserted(base, "https://else.example/mcp"), "invalid_target"},
		"an ID token":          {idToken, "invalid_grant"},
	} {
		if status, body := trade(row.assertion); status != http.StatusBadRequest || !strings.Contains(string(body), `"`+row.code+`"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}
