// Package signintest is an OpenID provider for tests of whatever signs people
// in: it has keys, metadata, an authorization endpoint that knows whoever it is
// told to know, and a token endpoint that holds clients to PKCE and to their
// secret. It is real as far as a relying party can see, and it can be told to
// misbehave. It guarantees nothing to anybody else: never use it outside tests.
package signintest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that is registered.
const (
	ClientID     = "munjigi-pages"
	ClientSecret = "a secret: with/odd&letters"
)

// Provider is one issuer; its identifier is URL.
type Provider struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	user     string
	screen   bool
	metadata map[string]any
	claims   map[string]any
	answer   url.Values
	token    http.HandlerFunc
	codes    map[string]asked
	redeemed int
}

type asked struct{ redirect, nonce, challenge, user string }

// New starts a provider at which alice is signed in.
func New(t testing.TB) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{key: key, user: "alice", codes: map[string]asked{}}
	mux := http.NewServeMux()
	for _, at := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		mux.HandleFunc("GET "+at, p.serveMetadata)
	}
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.serveToken)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// SignedIn makes somebody else the one who is signed in.
func (p *Provider) SignedIn(user string) { p.set(func() { p.user = user }) }

// Screen makes the provider show a page of its own before it answers.
func (p *Provider) Screen() { p.set(func() { p.screen = true }) }

// Metadata overrides members of the metadata; nil removes one.
func (p *Provider) Metadata(m map[string]any) { p.set(func() { p.metadata = m }) }

// Claims overrides claims of ID tokens; nil removes one.
func (p *Provider) Claims(m map[string]any) { p.set(func() { p.claims = m }) }

// Answer overrides parameters of the authorization response; an empty list
// removes one.
func (p *Provider) Answer(q url.Values) { p.set(func() { p.answer = q }) }

// Token replaces the token endpoint.
func (p *Provider) Token(h http.HandlerFunc) { p.set(func() { p.token = h }) }

// Redeemed is how many codes were asked to be redeemed.
func (p *Provider) Redeemed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.redeemed
}

func (p *Provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func override(m, by map[string]any) map[string]any {
	m = maps.Clone(m)
	for k, v := range by {
		if v == nil {
			delete(m, k)
			continue
		}
		m[k] = v
	}
	return m
}

func (p *Provider) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reply(w, override(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/authorize",
		"token_endpoint": p.URL + "/token", "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true}, p.metadata))
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("state") == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.codes[code] = asked{q.Get("redirect_uri"), q.Get("nonce"), q.Get("code_challenge"), p.user}
	a := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	for k, v := range p.answer {
		a[k] = v
		if len(v) == 0 {
			a.Del(k)
		}
	}
	to.RawQuery = a.Encode()
	if p.screen {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Provider</title><h1>Provider</h1><a id="go" href="%s">I am %s</a>`, html.EscapeString(to.String()), html.EscapeString(p.user))
		return
	}
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redeemed++
	if p.token != nil {
		p.token(w, r)
		return
	}
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"<script>alert(1)</script>"}`, code)
	}
	id, secret, ok := r.BasicAuth()
	if !ok || id != url.QueryEscape(ClientID) || secret != url.QueryEscape(ClientSecret) {
		refuse("invalid_client")
		return
	}
	c, there := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !there || r.PostFormValue("redirect_uri") != c.redirect || base64.RawURLEncoding.EncodeToString(sum[:]) != c.challenge {
		refuse("invalid_grant")
		return
	}
	access := rand.Text()
	half := sha256.Sum256([]byte(access))
	now := time.Now().Unix()
	token, err := p.Sign(override(map[string]any{"iss": p.URL, "sub": c.user, "aud": ClientID, "iat": now, "exp": now + 300, "nonce": c.nonce,
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]), "sid": "s-" + c.user}, p.claims))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token})
}

// Sign makes a token of any claims by the provider's key.
func (p *Provider) Sign(claims map[string]any) (string, error) { return p.SignAs("JWT", claims) }

// SignAs makes a token whose header has this typ.
func (p *Provider) SignAs(typ jose.ContentType, claims map[string]any) (string, error) {
	b, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		return "", err
	}
	sig, err := s.Sign(b)
	if err != nil {
		return "", err
	}
	return sig.CompactSerialize()
}

// AccessToken makes an access token (RFC 9068) of a person for a resource.
func (p *Provider) AccessToken(resource, person, client, scope string) (string, error) {
	now := time.Now().Unix()
	return p.SignAs("at+jwt", map[string]any{"iss": p.URL, "sub": person, "aud": resource, "client_id": client, "scope": scope, "iat": now, "exp": now + 300, "jti": rand.Text()})
}

// Follow opens the URL of an authorization request as a browser would and
// returns the query that the provider sends back.
func (p *Provider) Follow(t testing.TB, at string) url.Values {
	t.Helper()
	c := &http.Client{Transport: p.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("the provider answered %s: %v", resp.Status, err)
	}
	return to.Query()
}
