package jwt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

// TestAssertion: an identity assertion is one only by its type, of an issuer
// that may assert, for this server, and short-lived.
func TestAssertion(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(srv.Close)
	client, err := egress.Client(egress.Rules{Allow: []string{strings.TrimPrefix(srv.URL, "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	out := false
	v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: srv.URL, JWKSURI: srv.URL + "/keys"}}, Client: client, Resources: map[string]authn.Resource{ownFiles: {}},
		Revoked: func(string) bool { return false }, Ended: func(id call.Identity) bool { return out && id.Subject == "alice" }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	good := map[string]any{"iss": srv.URL, "sub": "alice", "aud": self, "client_id": "agent", "resource": ownFiles, "scope": "files:list files:call", "jti": "j1",
		"iat": now, "exp": now + 300, "groups": []string{"staff"}, "auth_time": now - 60}
	sign := func(typ string, by *ecdsa.PrivateKey, change map[string]any) string {
		t.Helper()
		c := maps.Clone(good)
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: by, KeyID: "k"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	const typ = "oauth-id-jag+jwt"
	trusted := []string{srv.URL}
	a, err := v.Assertion(context.Background(), sign(typ, key, nil), self, trusted)
	if err != nil {
		t.Fatal(err)
	}
	id := a.Who.Identity()
	if id.Issuer != srv.URL || id.Subject != "alice" || id.Kind != call.Person || len(id.Groups) != 1 || a.Client != "agent" || a.Resource != ownFiles ||
		len(a.Scopes) != 2 || a.ID != authn.Pair(srv.URL, "j1") || id.AuthTime != now-60 {
		t.Errorf("%+v %+v", a, id)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"an access token":         sign("at+jwt", key, nil),
		"an ID token":             sign("JWT", key, nil),
		"another key":             sign(typ, other, nil),
		"another issuer":          sign(typ, key, map[string]any{"iss": "https://evil.example"}),
		"another server":          sign(typ, key, map[string]any{"aud": "https://other.example"}),
		"two servers":             sign(typ, key, map[string]any{"aud": []string{self, "https://other.example"}}),
		"the resource as server":  sign(typ, key, map[string]any{"aud": ownFiles}),
		"no client":               sign(typ, key, map[string]any{"client_id": nil}),
		"no resource":             sign(typ, key, map[string]any{"resource": nil}),
		"several resources":       sign(typ, key, map[string]any{"resource": []string{ownFiles}}),
		"no scope":                sign(typ, key, map[string]any{"scope": nil}),
		"no ID":                   sign(typ, key, map[string]any{"jti": nil}),
		"nobody":                  sign(typ, key, map[string]any{"sub": nil}),
		"expired":                 sign(typ, key, map[string]any{"iat": now - 500, "exp": now - 200}),
		"of tomorrow":             sign(typ, key, map[string]any{"iat": now + 500, "exp": now + 800}),
		"for an hour":             sign(typ, key, map[string]any{"exp": now + 3600}),
		"bound to a key unproved": sign(typ, key, map[string]any{"cnf": map[string]string{"jkt": "x"}}),
		"no JWT":                  "x",
	} {
		if a, err := v.Assertion(context.Background(), text, self, trusted); err == nil || a.Who.Valid() {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if _, err := v.Assertion(context.Background(), sign(typ, key, nil), self, nil); err == nil {
		t.Error("an issuer that may not assert did")
	}
	out = true
	if _, err := v.Assertion(context.Background(), sign(typ, key, nil), self, trusted); err == nil {
		t.Error("a person who signed out was asserted")
	}
}
