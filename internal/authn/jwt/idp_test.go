package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"hash"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

const (
	home    = "https://gw.example/mcp/files"
	sibling = "https://gw.example/mcp/mail"
)

type pair2 struct{ first, second *rsa.PrivateKey }

var rsaKeys = sync.OnceValue(func() pair2 {
	a, err1 := rsa.GenerateKey(rand.Reader, 2048)
	b, err2 := rsa.GenerateKey(rand.Reader, 2048)
	if err1 != nil || err2 != nil {
		panic("no keys")
	}
	return pair2{a, b}
})

func ec(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign makes a compact JWS of exactly these bytes, whatever they are.
func sign(t testing.TB, alg string, k any, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature(t, alg, k, input))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func signature(t testing.TB, alg string, k any, input string) []byte {
	t.Helper()
	var h hash.Hash
	var id crypto.Hash
	switch {
	case alg == "EdDSA":
		return ed25519.Sign(k.(ed25519.PrivateKey), []byte(input))
	case strings.HasSuffix(alg, "256"):
		h, id = sha256.New(), crypto.SHA256
	case strings.HasSuffix(alg, "384"):
		h, id = sha512.New384(), crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		h, id = sha512.New(), crypto.SHA512
	}
	if secret, ok := k.([]byte); ok {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return m.Sum(nil)
	}
	h.Write([]byte(input))
	sum := h.Sum(nil)
	var out []byte
	var err error
	switch k := k.(type) {
	case *rsa.PrivateKey:
		if alg[0] == 'P' {
			out, err = rsa.SignPSS(rand.Reader, k, id, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			out, err = rsa.SignPKCS1v15(rand.Reader, k, id, sum)
		}
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, sum)
		if e != nil {
			t.Fatal(e)
		}
		n := (k.Curve.Params().BitSize + 7) / 8
		out = make([]byte, 2*n)
		r.FillBytes(out[:n])
		s.FillBytes(out[n:])
	default:
		t.Fatalf("cannot sign with %T", k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func encode(t testing.TB, m map[string]any) string {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// jwk returns a public key as a provider publishes it.
func jwk(t testing.TB, kid string, public any, more map[string]any) map[string]any {
	t.Helper()
	b, err := (&jose.JSONWebKey{Key: public, KeyID: kid}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(m, more)
	return m
}

// provider is an identity provider: metadata and keys under one origin.
type provider struct {
	url string

	mu     sync.Mutex
	pages  map[string]http.HandlerFunc
	hits   map[string]int
	server *httptest.Server
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.hits[r.URL.Path]++
	h := p.pages[r.URL.Path]
	p.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (p *provider) page(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = h
}

func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[path]
}

func (p *provider) json(path string, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	p.page(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	})
}

func (p *provider) publish(keys ...map[string]any) {
	if keys == nil {
		keys = []map[string]any{}
	}
	p.json("/jwks", map[string]any{"keys": keys})
}

// newProvider serves the first RSA key as k1 from a real server.
func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{pages: map[string]http.HandlerFunc{}, hits: map[string]int{}}
	p.server = httptest.NewTLSServer(p)
	t.Cleanup(p.server.Close)
	p.url = p.server.URL
	p.usual(t)
	return p
}

// inProcess serves the same without a network, for tests of time.
func inProcess(t testing.TB) *provider {
	t.Helper()
	p := &provider{pages: map[string]http.HandlerFunc{}, hits: map[string]int{}, url: "https://idp.example"}
	p.usual(t)
	return p
}

func (p *provider) usual(t testing.TB) {
	p.json("/.well-known/oauth-authorization-server", map[string]any{"issuer": p.url, "jwks_uri": p.url + "/jwks"})
	p.publish(jwk(t, "k1", rsaKeys().first.Public(), map[string]any{"use": "sig"}))
}

// RoundTrip lets a provider stand in for the network.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func (p *provider) client(t testing.TB) *http.Client {
	t.Helper()
	if p.server == nil {
		return &http.Client{Transport: p}
	}
	pool := x509.NewCertPool()
	pool.AddCert(p.server.Certificate())
	c, err := egress.Client(egress.Rules{Allow: []string{strings.TrimPrefix(p.url, "https://")}, Roots: pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func nobodyRevoked(string) bool { return false }

func (p *provider) options(t testing.TB) Options {
	return Options{
		Issuers: []Issuer{{Issuer: p.url}},
		Resources: map[string]authn.Resource{
			home:    {Metadata: "https://gw.example/.well-known/oauth-protected-resource/mcp/files", Scope: "files:list"},
			sibling: {},
		},
		Client:  p.client(t),
		Revoked: nobodyRevoked,
	}
}

func verifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (p *provider) verifier(t testing.TB) *Verifier { return verifier(t, p.options(t)) }

// good are the claims of a token that is accepted.
func (p *provider) good() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": p.url, "sub": "alice", "aud": home, "exp": now + 300, "iat": now, "jti": "t1",
		"client_id": "editor", "scope": "files:call files:list"}
}

func header() map[string]any { return map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": "k1"} }

// token signs with the first RSA key after changes; nil removes a member.
func (p *provider) token(t testing.TB, change map[string]any) string {
	t.Helper()
	return p.with(t, header(), change)
}

func (p *provider) with(t testing.TB, h, change map[string]any) string {
	t.Helper()
	return sign(t, "RS256", rsaKeys().first, encode(t, h), encode(t, alter(p.good(), change)))
}

func alter(m, change map[string]any) map[string]any {
	for k, val := range change {
		if val == nil {
			delete(m, k)
		} else {
			m[k] = val
		}
	}
	return m
}

func ask(v *Verifier, resource, token string) (call.Principal, error) {
	return v.Authenticate(context.Background(), request(resource, "Bearer "+token))
}

func request(resource string, authorization ...string) authn.Request {
	h := http.Header{}
	if authorization != nil {
		h["Authorization"] = authorization
	}
	return authn.Request{Header: h, Resource: resource}
}

// leaks reports a piece of 16 bytes of a token in a text.
func leaks(token, text string) bool {
	for i := 0; i+16 <= len(token); i++ {
		if strings.Contains(text, token[i:i+16]) {
			return true
		}
	}
	return false
}

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bigOf(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

// both returns a client that reaches several providers.
func both(ps ...*provider) func(testing.TB) *http.Client {
	return func(t testing.TB) *http.Client {
		t.Helper()
		pool := x509.NewCertPool()
		var allow []string
		for _, p := range ps {
			pool.AddCert(p.server.Certificate())
			allow = append(allow, strings.TrimPrefix(p.url, "https://"))
		}
		c, err := egress.Client(egress.Rules{Allow: allow, Roots: pool})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
}
