package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// provider is a real issuer on loopback: metadata, keys, and tokens of any
// claims.
type provider struct {
	*httptest.Server
	key *ecdsa.PrivateKey
	introspected
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key}
	mux := http.NewServeMux()
	reply := func(v func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v()); err != nil {
				t.Error(err)
			}
		}
	}
	mux.HandleFunc("/.well-known/oauth-authorization-server", reply(func() any {
		return map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "introspection_endpoint": p.URL + "/introspect"}
	}))
	mux.HandleFunc("/introspect", p.answer)
	mux.HandleFunc("/keys", reply(func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
	}))
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// token signs an access token of kim's; change edits its claims.
func (p *provider) token(t *testing.T, audience, scope string, change func(map[string]any)) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": p.URL, "sub": "kim", "aud": audience, "client_id": "agent", "scope": scope,
		"iat": now, "exp": now + 600, "jti": rand.Text(), "groups": []string{"readers"}}
	if change != nil {
		change(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k1"}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const public = "https://mcp.example.com"

// behindIssuer is a gateway with an identity provider, one modern server and a
// policy.
func behindIssuer(t *testing.T, policy string) (*provider, *httptest.Server, *int) {
	t.Helper()
	idp := newProvider(t)
	srv, called := behind(t, idp, policy, "", filepath.Join(t.TempDir(), "data"))
	return idp, srv, called
}

// behind is the same with more keys of identity: and a folder for data.
func behind(t *testing.T, idp *provider, policy, identity, data string) (*httptest.Server, *int) {
	t.Helper()
	called := new(int)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("the client's token went upstream")
		}
		result := `{"resultType":"complete","tools":[{"name":"look","inputSchema":{"type":"object"}},{"name":"touch","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`
		switch m.Method {
		case "server/discover":
			result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}`
		case "tools/call":
			*called++
			result = `{"resultType":"complete","content":[{"type":"text","text":"done"}]}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	}))
	t.Cleanup(up.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "m.yaml")
	text := "listen: 127.0.0.1:0\npublic_url: " + public + "\ndata: " + data +
		"\naudit: { durability: relaxed }\nidentity: { issuers: [{ issuer: \"" + idp.URL + "\" }]" + identity + " }\negress: { allow: [\"" + strings.TrimPrefix(idp.URL, "http://") +
		"\"] }\npolicy: [p.cedar]\nservers: { s: { url: \"" + up.URL + "/mcp\" }, other: { url: \"" + up.URL + "/mcp\" } }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	unheld(cfg)
	a, err := app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a)
	t.Cleanup(func() {
		srv.Close()
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return srv, called
}

// ask posts a modern request as public_url names the gateway.
func ask(t *testing.T, srv *httptest.Server, path, token, method, name string) (*http.Response, string) {
	t.Helper()
	params := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	if name != "" {
		params += `,"name":"` + name + `"`
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+params+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = strings.TrimPrefix(public, "https://")
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method} {
		req.Header.Set(k, v)
	}
	if name != "" {
		req.Header.Set("Mcp-Name", name)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

const lookOnly = `permit (principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"s/look");
permit (principal, action in [Munjigi::Action::"list", Munjigi::Action::"connect"], resource);
`

// TestTokensOfAProvider is M-1 and 7-2 on real traffic: only a token for this
// very resource is let in, and nothing else reaches a server.
func TestTokensOfAProvider(t *testing.T) {
	t.Parallel()
	idp, srv, called := behindIssuer(t, `permit (principal, action, resource);`)
	here := public + "/mcp/s"
	all := "s:list s:read s:call"
	if resp, body := ask(t, srv, "/mcp/s", idp.token(t, here, all, nil), "tools/call", "look"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Fatalf("a good token: %d %s", resp.StatusCode, body)
	}
	*called = 0
	past := func(c map[string]any) {
		c["exp"] = time.Now().Add(-time.Hour).Unix()
		c["iat"] = time.Now().Add(-2 * time.Hour).Unix()
	}
	for name, token := range map[string]string{
		"none":             "",
		"not a token":      "abc",
		"sibling resource": idp.token(t, public+"/mcp/other", all, nil),
		"merged resource":  idp.token(t, public+"/mcp", all, nil),
		"root":             idp.token(t, public, all, nil),
		"trailing slash":   idp.token(t, here+"/", all, nil),
		"expired":          idp.token(t, here, all, past),
		"other issuer":     idp.token(t, here, all, func(c map[string]any) { c["iss"] = "https://evil.example" }),
		"other key":        newProvider(t).token(t, here, all, func(c map[string]any) { c["iss"] = idp.URL }),
	} {
		resp, body := ask(t, srv, "/mcp/s", token, "tools/call", "look")
		ch := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != 401 || !strings.Contains(ch, `resource_metadata="`+public+`/.well-known/oauth-protected-resource/mcp/s"`) {
			t.Errorf("%s: %d %q %s", name, resp.StatusCode, ch, body)
		}
	}
	if *called != 0 {
		t.Errorf("%d refused calls reached the server", *called)
	}
}

// TestProviderDown: nobody is let in, and no client is sent to log in again.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	idp, srv, called := behindIssuer(t, `permit (principal, action, resource);`)
	token := idp.token(t, public+"/mcp/s", "s:call", nil)
	idp.Close()
	resp, body := ask(t, srv, "/mcp/s", token, "tools/call", "look")
	if resp.StatusCode != 503 || resp.Header.Get("WWW-Authenticate") != "" || resp.Header.Get("Retry-After") == "" || *called != 0 {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}

func TestScopeIsAskedForWhereItIsMissing(t *testing.T) {
	t.Parallel()
	idp, srv, called := behindIssuer(t, `permit (principal, action, resource);`)
	token := idp.token(t, public+"/mcp/s", "s:list other:call", nil)
	resp, body := ask(t, srv, "/mcp/s", token, "tools/call", "look")
	ch := resp.Header.Get("WWW-Authenticate")
	if resp.StatusCode != 403 || !strings.Contains(ch, `error="insufficient_scope"`) || !strings.Contains(ch, `scope="s:call s:list"`) || *called != 0 {
		t.Errorf("%d %q %s", resp.StatusCode, ch, body)
	}
	if resp, body := ask(t, srv, "/mcp/s", token, "tools/list", ""); resp.StatusCode != 200 {
		t.Errorf("list: %d %s", resp.StatusCode, body)
	}
}

// TestPolicyPermitsOrNothingDoes: with identity and no permit nothing is
// allowed, and the list shows what may be called.
func TestPolicyPermitsOrNothingDoes(t *testing.T) {
	t.Parallel()
	idp, srv, called := behindIssuer(t, "")
	token := idp.token(t, public+"/mcp/s", "s:list s:read s:call", nil)
	if _, body := ask(t, srv, "/mcp/s", token, "tools/call", "look"); strings.Contains(body, "done") || *called != 0 {
		t.Errorf("without a policy: %s", body)
	}
	idp, srv, called = behindIssuer(t, lookOnly)
	token = idp.token(t, public+"/mcp/s", "s:list s:read s:call", nil)
	if _, body := ask(t, srv, "/mcp/s", token, "tools/call", "look"); !strings.Contains(body, "done") || *called != 1 {
		t.Errorf("a tool that a policy permits: %s", body)
	}
	if _, body := ask(t, srv, "/mcp/s", token, "tools/call", "touch"); !strings.Contains(body, "-32602") {
		t.Errorf("a tool that no policy permits: %s", body)
	}
	if _, body := ask(t, srv, "/mcp/s", token, "tools/list", ""); strings.Contains(body, "touch") {
		t.Errorf("the list shows what may not be called: %s", body)
	}
}

func TestProtectedResourceMetadata(t *testing.T) {
	t.Parallel()
	idp, srv, _ := behindIssuer(t, "")
	for path, want := range map[string]int{"": 404, "/": 404, "/mcp": 404, "/mcp/s": 200, "/mcp/other": 200, "/mcp/nope": 404} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/.well-known/oauth-protected-resource"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %d %v", path, resp.StatusCode, err)
		}
		if want == 200 && (!strings.Contains(string(b), `"resource":"`+public+path+`"`) || !strings.Contains(string(b), idp.URL)) {
			t.Errorf("%q: %s", path, b)
		}
	}
}
