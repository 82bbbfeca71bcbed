package jwt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

const (
	self     = "https://mcp.example.com"
	ownFiles = self + "/mcp/files"
	ownOther = self + "/mcp/other"
)

// TestOwn: this gateway's own tokens are for exactly the resource that is
// called, whatever audiences a provider's may have there, and their principals
// are the provider's people.
func TestOwn(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client, err := egress.Client(egress.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	owner := call.Identity{Issuer: "https://idp.example", Subject: "alice", Kind: call.Person, Session: "s1", Groups: []string{"staff"}, Issued: 1000}
	revoked, ended := map[string]bool{}, false
	own := &jwt.Own{OwnerClaim: "own", GrantClaim: "grant_id", Issuers: []string{"https://idp.example"},
		Keys: func(context.Context) ([]byte, error) {
			return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
		},
		Owner: func(sealed, grant string) (call.Identity, error) {
			switch {
			case sealed == "alice" && grant == "g1":
				return owner, nil
			case sealed == "mallory" && grant == "g1":
				return call.Identity{Issuer: "https://evil.example", Subject: "alice", Kind: call.Person}, nil
			}
			return call.Identity{}, errors.New("sealed for another")
		}}
	v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: self, Own: own, Algorithms: []string{"ES256"}}}, Client: client,
		Resources: map[string]authn.Resource{ownFiles: {Audiences: []string{"api://files"}}, ownOther: {}},
		Revoked:   func(p string) bool { return revoked[p] }, Ended: func(id call.Identity) bool { return ended && id.Issued == 1000 }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	good := map[string]any{"iss": self, "sub": "x", "aud": []string{ownFiles}, "iat": now, "exp": now + 300, "jti": "j", "client_id": "c", "scope": "files:list",
		"own": "alice", "grant_id": "g1"}
	ask := func(typ string, change map[string]any) (call.Principal, error) {
		t.Helper()
		c := maps.Clone(good)
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
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
		return v.Authenticate(t.Context(), authn.Request{Method: "POST", Header: http.Header{"Authorization": {"Bearer " + text}}, Resource: ownFiles})
	}
	p, err := ask("at+jwt", nil)
	if err != nil {
		t.Fatal(err)
	}
	id := p.Identity()
	if id.Issuer != owner.Issuer || id.Subject != "alice" || id.Client != "c" || !id.Granted || id.Session != "s1" || id.Proof != authn.Pair(self, "g1") ||
		len(id.Scopes) != 1 || id.Issued != 1000 || id.Expires <= now || id.Kind != call.Person || len(id.Groups) != 1 {
		t.Errorf("%+v", id)
	}
	for name, c := range map[string]struct {
		typ    string
		change map[string]any
	}{
		"another type":             {"JWT", nil},
		"another resource":         {"at+jwt", map[string]any{"aud": ownOther}},
		"two resources":            {"at+jwt", map[string]any{"aud": []string{ownFiles, ownOther}}},
		"a provider's audience":    {"at+jwt", map[string]any{"aud": "api://files"}},
		"no audience":              {"at+jwt", map[string]any{"aud": nil}},
		"no owner":                 {"at+jwt", map[string]any{"own": nil}},
		"the owner of another":     {"at+jwt", map[string]any{"own": "bob"}},
		"another grant":            {"at+jwt", map[string]any{"grant_id": "g2"}},
		"no grant":                 {"at+jwt", map[string]any{"grant_id": nil}},
		"a provider that is gone":  {"at+jwt", map[string]any{"own": "mallory"}},
		"no client":                {"at+jwt", map[string]any{"client_id": nil}},
		"no scope":                 {"at+jwt", map[string]any{"scope": ""}},
		"expired":                  {"at+jwt", map[string]any{"iat": now - 900, "exp": now - 600}},
		"too long":                 {"at+jwt", map[string]any{"exp": now + 100_000}},
		"bound without a proof":    {"at+jwt", map[string]any{"cnf": map[string]string{"jkt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}},
		"bound in a way not known": {"at+jwt", map[string]any{"cnf": map[string]string{"x": "y"}}},
	} {
		if p, err := ask(c.typ, c.change); err == nil || p.Valid() {
			t.Errorf("%s: %v", name, p)
		}
	}
	if !v.Current(p) {
		t.Error("it does not hold")
	}
	ended = true
	if _, err := ask("at+jwt", nil); err == nil || v.Current(p) {
		t.Error("a token outlived the sign-in")
	}
	ended, revoked[id.Proof] = false, true
	if _, err := ask("at+jwt", map[string]any{"jti": "another"}); err == nil || v.Current(p) {
		t.Error("a token outlived its grant")
	}
	for name, bad := range map[string]jwt.Issuer{"nothing": {Issuer: self, Own: &jwt.Own{}}, "a provider": {Issuer: self, Own: own, Provider: jwt.Keycloak}} {
		if _, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{bad}, Client: client, Revoked: func(string) bool { return false }, Resources: map[string]authn.Resource{ownFiles: {}}}); err == nil {
			t.Error(name)
		}
	}
}
