//go:build real

package idp

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/test/real/kit"
)

// before starts a second gateway whose servers are those of the first one, which
// judges the credentials that it gets like any resource server. identity is the
// value of identity:, empty for none; each credential makes one server.
func before(t *testing.T, identity string, credentials map[string]string, allow ...string) *front {
	t.Helper()
	dir := t.TempDir()
	addr, data := free(t), filepath.Join(dir, "data")
	g := &front{gateway: gateway{base: "http://" + addr, client: http.DefaultClient}, data: data}
	write(t, filepath.Join(dir, "policy.cedar"), "permit (principal, action, resource);")
	var text strings.Builder
	fmt.Fprintf(&text, "listen: %s\ndata: %s\npolicy: [policy.cedar]\ndefinitions: { first_sight: clean }\negress: { allow: [%s] }\n", addr, data, strings.Join(allow, ", "))
	if identity != "" {
		fmt.Fprintf(&text, "public_url: http://%s\nidentity: %s\n", addr, identity)
	}
	text.WriteString("servers:\n")
	for name, entry := range credentials {
		fmt.Fprintf(&text, "  %s: %s\n", name, entry)
	}
	file := filepath.Join(dir, "munjigi.yaml")
	write(t, file, text.String())
	var err error
	if g.Process, err = kit.Start(t.Context(), kit.Command{Name: "munjigi before", Path: parts(t).Munjigi, Args: []string{"serve", "-c", file}, Dir: dir, Addr: addr}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the gateway before wrote:\n%s", g.Output())
		}
	})
	return g
}

// front is a gateway before another one.
type front struct {
	gateway
	data string
}

// asOperator is the token of a gateway without providers.
func (g *front) asOperator(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestCredentialsOfOIDCProvider gets tokens for a server by client credentials,
// with a secret and with a signed assertion, bound to the server by RFC 8707.
func TestCredentialsOfOIDCProvider(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	ours, theirs, own := free(t), free(t), newKey(t)
	issuer := "http://" + theirs
	begin(t, kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), "http://" + ours, own.jwks(t)}}, issuer, issuer+"/.well-known/openid-configuration")
	inner := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`" }] }`, strings.ReplaceAll(opPolicy, "ISSUER", issuer), theirs)
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	write(t, filepath.Join(dir, "robot"), "robot-secret")
	write(t, filepath.Join(dir, "wrong"), "another-secret")
	entry := func(more string) string {
		return `{ url: "` + inner.resource("files") + `", insecure_same_names: true, credential: { type: client_credentials, issuer: "` + issuer + `", scopes: [files:list, files:call], ` + more + ` } }`
	}
	g := before(t, "", map[string]string{
		"secret":    entry(`client_id: robot, client_secret: { secret: "file:` + dir + `/robot" }`),
		"posted":    entry(`client_id: robot, client_auth: client_secret_post, client_secret: { secret: "file:` + dir + `/robot" }`),
		"key":       entry(`client_id: signer, key_id: own, private_key: { secret: "file:` + dir + `/key.pem" }`),
		"wrong":     entry(`client_id: robot, client_secret: { secret: "file:` + dir + `/wrong" }`),
		"elsewhere": entry(`client_id: robot, resource: "` + inner.resource("mail") + `", client_secret: { secret: "file:` + dir + `/robot" }`),
	}, theirs)
	for server, want := range map[string]string{"secret": `"result"`, "key": `"result"`, "wrong": "was refused", "elsewhere": "was refused"} {
		a := g.call(t, server, g.asOperator(t), "test_simple_text")
		if a.status != http.StatusOK || a.challenge != "" || !strings.Contains(a.body, want) || (want == `"result"`) == strings.Contains(a.body, `"isError":true`) {
			t.Errorf("%s: %v", server, a)
		}
	}
}

// judgeExchange exchanges callers' tokens (RFC 8693) that the server itself would
// not take.
func judgeExchange(t *testing.T, p *provider, admin keycloakAdmin, inner *gateway, host string) {
	t.Helper()
	admin.do(t, http.MethodPost, "/clients", map[string]any{"clientId": "front", "secret": "front-secret", "serviceAccountsEnabled": true,
		"standardFlowEnabled": false, "attributes": map[string]string{"standard.token.exchange.enabled": "true"},
		"defaultClientScopes": []string{"basic", "roles", "service_account"}, "optionalClientScopes": []string{"files:list", "files:read", "files:call"}}, nil)
	var robots []struct{ ID string }
	admin.do(t, http.MethodGet, "/clients?clientId=robot", nil, &robots)
	if len(robots) != 1 {
		t.Fatalf("%d robots", len(robots))
	}
	admin.do(t, http.MethodPost, "/clients/"+robots[0].ID+"/protocol-mappers/models", map[string]any{"name": "front", "protocol": "openid-connect",
		"protocolMapper": "oidc-audience-mapper", "config": map[string]string{"included.client.audience": "front", "access.token.claim": "true"}}, nil)
	secret := filepath.Join(t.TempDir(), "front")
	write(t, secret, "front-secret")
	g := before(t, `{ issuers: [{ issuer: "`+p.issuer+`", provider: keycloak, scopes: ignored }] }`, map[string]string{
		"files": `{ url: "` + inner.resource("files") + `", audience: [front], credential: { type: token_exchange, issuer: "` + p.issuer +
			`", client_id: front, client_secret: { secret: "file:` + secret + `" }, scopes: [files:list, files:call] } }`,
	}, host)
	token := grant(t, p.meta.Token, "robot", "robot-secret", url.Values{"grant_type": {"client_credentials"}})
	if a := inner.call(t, "files", token, "test_simple_text"); a.status != http.StatusUnauthorized {
		t.Errorf("the server takes the caller's own token: %v", a)
	}
	for range 2 {
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() || strings.Contains(a.body, `"isError":true`) {
			t.Errorf("exchanged: %v", a)
		}
	}
}
