package app_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// looker is a modern server with the tool look. It counts calls.
func looker(t *testing.T) (url string, called *atomic.Int32) {
	t.Helper()
	called = new(atomic.Int32)
	up := httptest.NewServer(look(t, called))
	t.Cleanup(up.Close)
	return up.URL + "/mcp", called
}

func look(t *testing.T, called *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{"Authorization", "Dpop"} {
			if r.Header.Get(secret) != "" {
				t.Errorf("%s went upstream", secret)
			}
		}
		result := `{"resultType":"complete","tools":[{"name":"look","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`
		switch m.Method {
		case "server/discover":
			result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}`
		case "tools/call":
			called.Add(1)
			result = `{"resultType":"complete","content":[{"type":"text","text":"done"}]}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	})
}

// opened opens a gateway of a config file that a folder of its own holds.
func opened(t *testing.T, text string) *app.App {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte("permit (principal, action, resource);"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "m.yaml")
	text = "data: " + filepath.Join(t.TempDir(), "data") + "\naudit: { durability: relaxed }\npolicy: [p.cedar]\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	build := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}
	cfg, err := build.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	unheld(cfg)
	a, err := app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: os.LookupEnv,
		Load: func() (*config.Config, error) { return build.Load(file) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return a
}

// behindKeys is a gateway with an identity provider and more keys of identity:
// and of servers.s:.
func behindKeys(t *testing.T, idp *provider, identity, server, more string) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	url, called := looker(t)
	a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\" }]"+identity+
		" }\negress: { allow: [\""+strings.TrimPrefix(idp.URL, "http://")+"\"] }\nservers: { s: { url: \""+url+"\""+server+" }, other: { url: \""+url+"\" } }\n"+more)
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return srv, called
}

// holder is a client with a key of its own.
type holder struct{ key *ecdsa.PrivateKey }

func newHolder(t *testing.T) holder {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return holder{k}
}

// bind makes the claims of a token name the key.
func (h holder) bind(t *testing.T) func(map[string]any) {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return func(c map[string]any) { c["cnf"] = map[string]string{"jkt": base64.RawURLEncoding.EncodeToString(sum)} }
}

// proof is a proof for a token, good but for what change does to its claims.
func (h holder) proof(t *testing.T, token, url, nonce string, change func(map[string]any)) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": url, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if change != nil {
		change(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, &jose.SignerOptions{EmbedJWK: true,
		ExtraHeaders: map[jose.HeaderKey]any{"typ": "dpop+jwt"}})
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

// send posts a call of look with headers as they are given.
func send(t *testing.T, c *http.Client, url, path string, headers ...[2]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name":"look"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = strings.TrimPrefix(public, "https://")
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "look"} {
		req.Header.Set(k, v)
	}
	for _, h := range headers {
		req.Header.Add(h[0], h[1])
	}
	resp, err := c.Do(req)
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

// TestTokensBoundToAKey drives DPoP through a whole gateway that stands behind
// another name than it listens on: the proof names public_url.
func TestTokensBoundToAKey(t *testing.T) {
	t.Parallel()
	idp, h := newProvider(t), newHolder(t)
	srv, called := behindKeys(t, idp, "", "", "")
	here := public + "/mcp/s"
	token := idp.token(t, here, "s:call s:list", h.bind(t))
	try := func(authorization string, proofs ...string) (*http.Response, string) {
		headers := [][2]string{{"Authorization", authorization}}
		for _, p := range proofs {
			headers = append(headers, [2]string{"DPoP", p})
		}
		return send(t, srv.Client(), srv.URL, "/mcp/s", headers...)
	}
	resp, body := try("DPoP "+token, h.proof(t, token, here, "", nil))
	nonce := resp.Header.Get("DPoP-Nonce")
	if resp.StatusCode != 401 || nonce == "" || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) {
		t.Fatalf("without a nonce: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	used := h.proof(t, token, here, nonce, nil)
	if resp, body := try("DPoP "+token, used); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Fatalf("a good proof: %d %s", resp.StatusCode, body)
	}
	// The token is remembered now; the proof is asked for all the same.
	called.Store(0)
	claim := func(name string, v any) string {
		return h.proof(t, token, here, nonce, func(c map[string]any) { c[name] = v })
	}
	plain := idp.token(t, here, "s:call s:list", nil)
	second := idp.token(t, here, "s:call s:list", h.bind(t))
	for name, row := range map[string]struct {
		authorization string
		proofs        []string
		code          string
	}{
		"replayed":                {"DPoP " + token, []string{used}, "invalid_dpop_proof"},
		"none":                    {"DPoP " + token, nil, "invalid_dpop_proof"},
		"two":                     {"DPoP " + token, []string{claim("jti", "a"), claim("jti", "b")}, "invalid_dpop_proof"},
		"for the listener's name": {"DPoP " + token, []string{claim("htu", srv.URL+"/mcp/s")}, "invalid_dpop_proof"},
		"for the sibling":         {"DPoP " + token, []string{claim("htu", public+"/mcp/other")}, "invalid_dpop_proof"},
		"for GET":                 {"DPoP " + token, []string{claim("htm", "GET")}, "invalid_dpop_proof"},
		"for another token":       {"DPoP " + second, []string{claim("jti", "c")}, "invalid_dpop_proof"},
		"by another key":          {"DPoP " + token, []string{newHolder(t).proof(t, token, here, nonce, nil)}, "invalid_token"},
		"of last year":            {"DPoP " + token, []string{claim("iat", time.Now().AddDate(-1, 0, 0).Unix())}, "invalid_dpop_proof"},
		"of next year":            {"DPoP " + token, []string{claim("iat", time.Now().AddDate(1, 0, 0).Unix())}, "invalid_dpop_proof"},
		"with a nonce of its own": {"DPoP " + token, []string{claim("nonce", "mine")}, "use_dpop_nonce"},
		"bound token as bearer":   {"Bearer " + token, []string{claim("jti", "d")}, "invalid_token"},
		"plain token as DPoP":     {"DPoP " + plain, []string{h.proof(t, plain, here, nonce, nil)}, "invalid_token"},
		"sibling's token as DPoP": {"DPoP " + idp.token(t, public+"/mcp/other", "s:call", h.bind(t)), []string{claim("jti", "e")}, "invalid_token"},
		"token bound in two ways": {"DPoP " + idp.token(t, here, "s:call", func(c map[string]any) {
			h.bind(t)(c)
			c["cnf"].(map[string]string)["x5t#S256"] = strings.Repeat("A", 43)
		}), []string{claim("jti", "f")}, "invalid_token"},
		"bound in an unknown way":   {"Bearer " + idp.token(t, here, "s:call", func(c map[string]any) { c["cnf"] = map[string]string{"kid": "k"} }), nil, "invalid_token"},
		"bound to a certificate":    {"Bearer " + idp.token(t, here, "s:call", func(c map[string]any) { c["cnf"] = map[string]string{"x5t#S256": strings.Repeat("A", 43)} }), nil, "invalid_token"},
		"bound to nothing":          {"Bearer " + idp.token(t, here, "s:call", func(c map[string]any) { c["cnf"] = map[string]string{} }), nil, "invalid_token"},
		"8 KiB and more of proof":   {"DPoP " + token, []string{claim("pad", strings.Repeat("x", 9<<10))}, "invalid_dpop_proof"},
		"the operator's own scheme": {"Basic " + token, []string{claim("jti", "g")}, "invalid_request"},
	} {
		resp, body := try(row.authorization, row.proofs...)
		challenge := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != 401 && row.code != "invalid_request" || !strings.Contains(challenge, `error="`+row.code+`"`) || strings.Contains(body, "done") ||
			!strings.Contains(challenge, `algs="ES256 `) || !strings.Contains(challenge, `resource_metadata="`+public+`/.well-known/oauth-protected-resource/mcp/s"`) {
			t.Errorf("%s: %d %q %s", name, resp.StatusCode, challenge, body)
		}
	}
	if n := called.Load(); n != 0 {
		t.Errorf("%d refused calls reached the server", n)
	}
	// A plain token still goes, and a token that lacks a scope is told so in its
	// own scheme.
	if resp, body := try("Bearer " + plain); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Errorf("a plain token: %d %s", resp.StatusCode, body)
	}
	less := idp.token(t, here, "s:list", h.bind(t))
	if resp, _ := try("DPoP "+less, h.proof(t, less, here, nonce, nil)); resp.StatusCode != 403 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), `DPoP error="insufficient_scope"`) {
		t.Errorf("a scope is missing: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := send(t, srv.Client(), srv.URL, "/mcp/s"); resp.StatusCode != 401 || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `, DPoP algs="`) {
		t.Errorf("no token: %v", resp.Header)
	}
	// One proof and many requests at once: one is served.
	called.Store(0)
	one := h.proof(t, token, here, nonce, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { _, _ = try("DPoP "+token, one) })
	}
	wg.Wait()
	if n := called.Load(); n != 1 {
		t.Errorf("one proof was served %d times", n)
	}
}

// TestAProofOfAMegabyte is cut off with the headers, before anybody reads it.
func TestAProofOfAMegabyte(t *testing.T) {
	t.Parallel()
	idp, h := newProvider(t), newHolder(t)
	a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\" }] }\nservers: { s: { url: \"http://127.0.0.1:1/mcp\" } }\n")
	l, err := a.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.WriteString(conn, "POST /mcp/s HTTP/1.1\r\nHost: mcp.example.com\r\nAuthorization: DPoP x\r\nDPoP: "+h.proof(t, "x", public, "", nil)+strings.Repeat("A", 1<<20)+"\r\n\r\n")
	}()
	b := make([]byte, 64)
	n, _ := conn.Read(b)
	if !strings.HasPrefix(string(b[:n]), "HTTP/1.1 431 ") {
		t.Errorf("%q", b[:n])
	}
}

func metadataOf(t *testing.T, srv *httptest.Server, path string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/.well-known/oauth-protected-resource"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestServersThatRequireBinding refuse plain tokens on every path, and say so.
func TestServersThatRequireBinding(t *testing.T) {
	t.Parallel()
	idp, h := newProvider(t), newHolder(t)
	srv, called := behindKeys(t, idp, ", dpop: { nonce: off, algorithms: [ES256] }", ", require_binding: [dpop]", "merged: [s, other]\n")
	for path, want := range map[string]bool{"/mcp/s": true, "/mcp/other": false, "/mcp": true} {
		here := public + path
		plain, bound := idp.token(t, here, "s:call other:call", nil), idp.token(t, here, "s:call other:call", h.bind(t))
		m := metadataOf(t, srv, path)
		if m["dpop_bound_access_tokens_required"] != any(want) && (want || m["dpop_bound_access_tokens_required"] != nil) ||
			len(m["dpop_signing_alg_values_supported"].([]any)) != 1 || m["tls_client_certificate_bound_access_tokens"] != nil {
			t.Errorf("%s: %v", path, m)
		}
		resp, body := send(t, srv.Client(), srv.URL, path, [2]string{"Authorization", "Bearer " + plain})
		if challenge := resp.Header.Get("WWW-Authenticate"); want && (resp.StatusCode != 401 || !strings.HasPrefix(challenge, `DPoP error="invalid_token"`) || strings.Contains(challenge, "Bearer")) ||
			!want && resp.StatusCode != 200 {
			t.Errorf("%s with a plain token: %d %q %s", path, resp.StatusCode, challenge, body)
		}
		resp, body = send(t, srv.Client(), srv.URL, path, [2]string{"Authorization", "DPoP " + bound}, [2]string{"DPoP", h.proof(t, bound, here, "", nil)})
		if resp.StatusCode == 401 {
			t.Errorf("%s with a bound token: %d %v %s", path, resp.StatusCode, resp.Header, body)
		}
		if resp, _ := send(t, srv.Client(), srv.URL, path); want && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "DPoP algs=") {
			t.Errorf("%s without a token: %v", path, resp.Header)
		}
	}
	if called.Load() == 0 {
		t.Error("nothing was let through")
	}
}
