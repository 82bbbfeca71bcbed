package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// introspected is the introspection endpoint of a provider.
type introspected struct {
	mu       sync.Mutex
	active   map[string]map[string]any
	about    []string // the tokens that it was asked about
	client   *ecdsa.PublicKey
	down     bool
	audience string // of the last assertion
}

func (a *introspected) answer(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down || r.ParseForm() != nil || len(r.PostForm["token"]) != 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if !a.knows(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := r.PostForm.Get("token")
	a.about = append(a.about, token)
	claims := map[string]any{"active": false}
	if c, ok := a.active[token]; ok {
		claims = c
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(claims)
}

// knows reports that the gateway authenticated as the client "gw".
func (a *introspected) knows(r *http.Request) bool {
	if a.client == nil {
		id, password, ok := r.BasicAuth()
		if !ok {
			id, password = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
		}
		return id == "gw" && (password == "the value of GW" || password == "the+value+of+GW")
	}
	t, err := jwt.ParseSigned(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	var c jwt.Claims
	if t.Claims(a.client, &c) != nil || len(c.Audience) != 1 {
		return false
	}
	a.audience = c.Audience[0]
	return c.Issuer == "gw" && c.Subject == "gw" && c.ID != "" && c.Expiry != nil && r.PostForm.Get("client_id") == "gw"
}

// give makes a token active; take takes it back.
func (a *introspected) give(token string, claims map[string]any) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active == nil {
		a.active = map[string]map[string]any{}
	}
	now := time.Now().Unix()
	all := map[string]any{"active": true, "sub": "kim", "client_id": "agent", "aud": public + "/mcp/s", "scope": "s:list s:read s:call", "iat": now - 9, "exp": now + 600}
	for k, v := range claims {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	a.active[token] = all
	return token
}

func (a *introspected) take(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.active, token)
}

func (a *introspected) asks() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.about
}

func (a *introspected) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

const asksAbout = `introspection: { client_id: gw, client_secret: { secret: env:GW }, cache: 1s, tokens: `

func TestOpaqueTokens(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), asksAbout+"opaque }", "")
	good := v.idp.give("opaque-1", map[string]any{"iss": v.idp.URL})
	v.wants("active", good, 200, "")
	v.wants("nobody knows it", "opaque-2", 401, `error="invalid_token"`)
	v.wants("a sibling's", v.idp.give("opaque-3", map[string]any{"aud": public + "/mcp/other"}), 401, "another resource")
	v.wants("another issuer's", v.idp.give("opaque-4", map[string]any{"iss": "https://evil.example"}), 401, "another issuer")
	v.wants("without a scope", v.idp.give("opaque-5", map[string]any{"scope": "s:list"}), 403, `scope="s:call s:list"`)

	// The form decides who judges: what one refuses, the other is never asked.
	before := len(v.idp.asks())
	v.wants("a JWT is verified", v.token(nil), 200, "")
	v.wants("a forged JWT", newProvider(t).token(t, public+"/mcp/s", "s:call", func(c map[string]any) { c["iss"] = v.idp.URL }), 401, "signature")
	forged := v.idp.give("a.b.c", nil)
	v.wants("an active token in the form of a JWT", forged, 401, "JWT")
	if n := len(v.idp.asks()); n != before {
		t.Errorf("the issuer was asked about JWTs: %q", v.idp.asks()[before:])
	}

	v.idp.set(func() { v.idp.down = true })
	v.wants("an answer that holds, or nobody to ask", "opaque-6", 503, "")
	resp, _ := ask(t, v.srv, "/mcp/s", "opaque-7", "tools/call", "look")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	v.close()
	if e := v.entries("identity-unavailable"); len(e) != 2 || e[0].Stage != "authenticate" {
		t.Errorf("%+v", e)
	}
}

// TestJWTsAreAskedAboutToo: an issuer's word ends a JWT whose signature is good,
// and long lifetimes are accepted where somebody has that word.
func TestJWTsAreAskedAboutToo(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), asksAbout+"jwt }, max_lifetime: 24h", "")
	long := v.token(func(c map[string]any) { c["exp"] = time.Now().Unix() + 80_000 })
	v.idp.give(long, nil)
	v.wants("active", long, 200, "")
	v.wants("never heard of", v.token(nil), 401, "not active")
	v.wants("opaque", v.idp.give("opaque-1", nil), 401, "JWT")
	v.idp.take(long)
	comesTo(t, func() bool { status, _ := v.call(long); return status == 401 })
	v.idp.set(func() { v.idp.down = true })
	v.wants("nobody to ask", v.token(nil), 503, "")

	short := vouch(t, newProvider(t), "", "")
	short.wants("nobody has that word", short.token(func(c map[string]any) { c["exp"] = time.Now().Unix() + 80_000 }), 401, "lives longer")
}

// comesTo waits until something is so, for as long as the test may run.
func comesTo(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-t.Context().Done():
			t.Fatal("it never came to be so")
		case <-tick.C:
		}
	}
}

// TestLogoutOfOpaqueTokens: the issuer's word that somebody signed out counts at
// once, also where its answers do not say when a token was made.
func TestLogoutOfOpaqueTokens(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), `introspection: { client_id: gw, client_secret: { secret: env:GW }, client_auth: client_secret_post, cache: 5m }, `+tellsLogouts, "")
	dated, undated := v.idp.give("dated", nil), v.idp.give("undated", map[string]any{"iat": nil})
	v.wants("dated", dated, 200, "")
	v.wants("undated", undated, 200, "")
	v.idp.take("undated")
	v.signsOut(map[string]any{"sub": "kim"})
	v.wants("dated, signed out", dated, 401, "revoked")
	v.wants("undated, signed out", undated, 401, "not active")
	v.wants("a new one without a date", v.idp.give("new", map[string]any{"iat": nil}), 200, "")
	if _, err := v.app.Revoke(t.Context(), app.Revocation{Subject: "kim"}); err != nil {
		t.Fatal(err)
	}
	v.wants("taken back by the operator, whatever the issuer says", "new", 401, "revoked")
}

func TestPrivateKeyAtIntrospection(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	idp := newProvider(t)
	idp.set(func() { idp.client = &key.PublicKey })
	v := vouch(t, idp, `introspection: { client_id: gw, client_key: { secret: "file:`+file+`" } }`, "")
	v.wants("active", v.idp.give("opaque-1", nil), 200, "")
	if idp.audience != idp.URL {
		t.Errorf("the assertion was made for %q", idp.audience)
	}
	wrong := vouch(t, newProvider(t), `introspection: { client_id: other, client_secret: { secret: env:GW } }`, "")
	wrong.wants("a client that the issuer does not know", wrong.idp.give("opaque-1", nil), 503, "")
}

// TestSecretOfIntrospectionIsThere: a config whose secret is missing is not
// taken.
func TestSecretOfIntrospectionIsThere(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), asksAbout+"opaque }", "")
	v.close()
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(v.file)
	if err != nil {
		t.Fatal(err)
	}
	unheld(cfg)
	a, err := app.Open(t.Context(), cfg, app.Options{Getenv: os.Getenv, LookupEnv: func(string) (string, bool) { return "", false }})
	if err == nil || a != nil || !strings.Contains(err.Error(), "GW") {
		t.Errorf("%v", err)
	}
}
