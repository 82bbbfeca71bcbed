package face_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

const (
	issuer   = "https://mcp.example.com"
	resource = issuer + "/mcp/files"
	verifier = "a-verifier-of-at-least-forty-three-characters-x"
	redirect = "https://app.example/cb"
)

// parts are what stands around a Face: real ones, but for people and clients.
type parts struct {
	mu       sync.Mutex
	clients  map[string]oauthserver.Client
	consent  error
	over     bool
	revoked  map[string]bool
	events   []audit.Event
	record   error
	store    store.Store
	ring     keys.Ring
	assert   func(context.Context, string) (face.Assertion, error)
	rotation time.Duration
}

func (p *parts) Client(_ context.Context, id string) (oauthserver.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.clients[id]
	if !ok {
		return c, oauthserver.ErrNoClient
	}
	return c, nil
}

func (p *parts) Stands(_ context.Context, g oauthserver.Granted) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.Issuer == "" || g.Subject == "" || g.Client.ID == "" || g.Resource == "" || len(g.Scopes) == 0 {
		return errors.New("asked about nothing")
	}
	return p.consent
}

func (p *parts) Record(_ context.Context, e *audit.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.record != nil {
		return p.record
	}
	p.events = append(p.events, *e)
	return e.Check()
}

func (p *parts) reasons() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, e := range p.events {
		out = append(out, e.Effect+" "+e.Reason)
	}
	return out
}

func (p *parts) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func newParts(t *testing.T) *parts {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	ring, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	public := oauthserver.Client{ID: "editor", Kind: oauthserver.Configured, Name: "Editor", RedirectURIs: []string{redirect, "http://127.0.0.1/cb"}, Auth: oauthserver.AuthNone, Digest: "1"}
	secret := public
	secret.ID, secret.Auth, secret.SecretDigest, secret.Assertions = "web", oauthserver.AuthSecretBasic, sha256.Sum256([]byte("s3cret")), true
	stranger := public
	stranger.ID, stranger.Kind, stranger.Host = "https://client.example/c.json", oauthserver.Document, "client.example"
	return &parts{clients: map[string]oauthserver.Client{"editor": public, "web": secret, stranger.ID: stranger}, revoked: map[string]bool{}, store: db, ring: ring, rotation: 720 * time.Hour}
}

func (p *parts) face(t *testing.T) *face.Face {
	t.Helper()
	once, err := p.store.Bucket("once")
	if err != nil {
		t.Fatal(err)
	}
	f, err := face.New(face.Options{Issuer: issuer, Resources: map[string]face.Resource{
		resource:              {Scopes: []string{"files:list", "files:read", "files:call"}, Least: []string{"files:list"}},
		issuer + "/mcp/other": {Scopes: []string{"other:list", "other:read", "other:call"}, Least: []string{"other:list"}},
	}, Clients: p, Consents: p, Store: p.store, Keys: p.ring, Record: p, HTTP: nowhere(), Assert: p.assert,
		Once: func(ctx context.Context, key string, until time.Time) (bool, error) {
			return once.PutIfAbsent(ctx, key, []byte{1}, until)
		},
		Ended:       func(call.Identity) bool { p.mu.Lock(); defer p.mu.Unlock(); return p.over },
		Revoke:      func(_ context.Context, proof string) error { p.set(func() { p.revoked[proof] = true }); return nil },
		AccessToken: 5 * time.Minute, SignedInFor: 12 * time.Hour, KeyRotation: p.rotation})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func alice() call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: "alice", Kind: call.Person, Groups: []string{"staff"}, Issued: time.Now().Unix()})
}

func challenge(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func query() url.Values {
	return url.Values{"response_type": {"code"}, "client_id": {"editor"}, "redirect_uri": {redirect}, "scope": {"files:list files:call"}, "state": {"st"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"}, "resource": {resource}}
}

func do(f http.Handler, method, path string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	var r *http.Request
	if method == http.MethodGet {
		r = httptest.NewRequest(method, issuer+path+"?"+form.Encode(), nil)
	} else {
		r = httptest.NewRequest(method, issuer+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// asks brings a request as far as the consent page, and returns its ID.
func asks(t *testing.T, f *face.Face, q url.Values) string {
	t.Helper()
	w := do(f, http.MethodGet, oauthserver.PathAuthorize, q)
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusSeeOther || u.Path != oauthserver.PathConsent || len(u.Query().Get("id")) < 22 {
		t.Fatalf("%d %q %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	return u.Query().Get("id")
}

// code is a whole visit: asked, approved, and back at the client.
func code(t *testing.T, f *face.Face, q url.Values) string {
	t.Helper()
	to, err := f.Approve(t.Context(), asks(t, f, q), oauthserver.Approval{Who: alice(), Scopes: strings.Fields(q.Get("scope"))})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, redirect+"?") || u.Query().Get("iss") != issuer || u.Query().Get("state") != q.Get("state") || u.Query().Get("code") == "" {
		t.Fatalf("%q %v", to, err)
	}
	return u.Query().Get("code")
}

func codeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}, "client_id": {"editor"}, "resource": {resource}}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {"editor"}, "resource": {resource}}
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

func send(t *testing.T, f http.Handler, form url.Values, change ...func(*http.Request)) (tokens, int) {
	t.Helper()
	w := do(f, http.MethodPost, oauthserver.PathToken, form, change...)
	var out tokens
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	return out, w.Code
}

// login is a whole login.
func login(t *testing.T, f *face.Face) tokens {
	t.Helper()
	out, status := send(t, f, codeForm(code(t, f, query())))
	if status != http.StatusOK || out.Access == "" || out.Refresh == "" || out.Type != "Bearer" || out.Expires != 300 || out.Scope != "files:list files:call" {
		t.Fatalf("%d %+v", status, out)
	}
	return out
}

// claimsOf verifies a token by the published keys.
func claimsOf(t *testing.T, f *face.Face, token string) map[string]any {
	t.Helper()
	b, err := f.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	k := set.Key(jws.Signatures[0].Header.KeyID)
	if len(k) != 1 || jws.Signatures[0].Header.ExtraHeaders["typ"] != "at+jwt" {
		t.Fatalf("%d keys of %q, %v", len(k), jws.Signatures[0].Header.KeyID, jws.Signatures[0].Header.ExtraHeaders)
	}
	payload, err := jws.Verify(k[0])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(payload, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLogin(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	out := login(t, f)
	c := claimsOf(t, f, out.Access)
	if d := cmp.Diff(map[string]any{"iss": issuer, "client_id": "editor", "scope": "files:list files:call"},
		map[string]any{"iss": c["iss"], "client_id": c["client_id"], "scope": c["scope"]}); d != "" {
		t.Error(d)
	}
	if aud, ok := c["aud"].([]any); !ok || len(aud) != 1 || aud[0] != resource {
		if c["aud"] != resource {
			t.Errorf("aud %v", c["aud"])
		}
	}
	if c["exp"].(float64)-c["iat"].(float64) != 300 || c["jti"] == "" || strings.Contains(out.Access, "alice") || c["sub"] == "alice" {
		t.Errorf("%v", c)
	}
	who, err := face.Owner(p.ring, c[face.ClaimOwner].(string), c[face.ClaimGrant].(string))
	if err != nil || who.Subject != "alice" || who.Issuer != "https://idp.example" || len(who.Groups) != 1 {
		t.Errorf("%+v %v", who, err)
	}
	if _, err := face.Owner(p.ring, c[face.ClaimOwner].(string), "other"); err == nil {
		t.Error("the owner of another grant opened")
	}
	again, status := send(t, f, refreshForm(out.Refresh))
	if status != http.StatusOK || again.Refresh == out.Refresh || again.Access == out.Access || claimsOf(t, f, again.Access)["grant_id"] != c["grant_id"] {
		t.Errorf("%d %+v", status, again)
	}
	want := []string{"allow client-asks", "allow code-issued", "allow token-issued", "allow token-refreshed"}
	if d := cmp.Diff(want, p.reasons()); d != "" {
		t.Error(d)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	for _, path := range []string{face.PathMetadata, face.PathOpenID} {
		w := do(f, http.MethodGet, path, nil)
		var m map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		want := map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/oauth/authorize", "token_endpoint": issuer + "/oauth/token", "jwks_uri": issuer + "/oauth/keys",
			"revocation_endpoint": issuer + "/oauth/revoke", "pushed_authorization_request_endpoint": issuer + "/oauth/par",
			"code_challenge_methods_supported": []any{"S256"}, "response_types_supported": []any{"code"}, "response_modes_supported": []any{"query"},
			"grant_types_supported": []any{"authorization_code", "refresh_token"}, "authorization_response_iss_parameter_supported": true,
			"scopes_supported": []any{"files:list", "other:list"},
		}
		got := map[string]any{}
		for k := range want {
			got[k] = m[k]
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if _, ok := m["registration_endpoint"]; ok || m["client_id_metadata_document_supported"] != nil {
			t.Error("it offers what is off")
		}
	}
	w := do(f, http.MethodGet, oauthserver.PathKeys, nil)
	if strings.Contains(w.Body.String(), `"d"`) || !strings.Contains(w.Body.String(), `"crv":"P-256"`) {
		t.Error(w.Body)
	}
}
