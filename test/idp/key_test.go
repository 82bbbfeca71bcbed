//go:build real

package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// key is a client's own.
type key struct{ *ecdsa.PrivateKey }

func newKey(t *testing.T) key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{k}
}

func (k key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public(), KeyID: "own", Algorithm: "ES256", Use: "sig"}
}

func (k key) jwks(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.jwk()}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (k key) sign(t *testing.T, claims map[string]any, o *jose.SignerOptions) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.PrivateKey, KeyID: "own"}}, o)
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

// assertion adds what proves a client by its key (RFC 7523 2.2).
func (k key) assertion(t *testing.T, client, audience string, form url.Values) url.Values {
	t.Helper()
	now := time.Now().Unix()
	form.Set("client_id", client)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", k.sign(t, map[string]any{"iss": client, "sub": client, "aud": audience, "jti": rand.Text(), "iat": now, "exp": now + 60}, nil))
	return form
}

// claimsOf reads one part of a JWT without verifying it.
func part(t *testing.T, token string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("the token is no JWT")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func kid(t *testing.T, token string) any { t.Helper(); return part(t, token, 0)["kid"] }
