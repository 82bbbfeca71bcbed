package jwt

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

// idToken are the claims of an ID token that is accepted, for client "pages".
func (p *provider) idToken() map[string]any {
	now := time.Now().Unix()
	half := sha256.Sum256([]byte("at"))
	return map[string]any{"iss": p.url, "sub": "alice", "aud": "pages", "exp": now + 300, "iat": now, "nonce": "n1",
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]), "sid": "s1", "auth_time": now - 5, "amr": []string{"pwd"}}
}

func (p *provider) signIn() SignIn {
	return SignIn{Issuer: p.url, Client: "pages", Nonce: "n1", AccessToken: "at"}
}

func TestPersonIsWhoTheAccessTokenNames(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	byToken, err := ask(v, home, p.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	byPage, err := v.Person(t.Context(), sign(t, "RS256", rsaKeys().first, encode(t, map[string]any{"alg": "RS256", "kid": "k1"}), encode(t, p.idToken())), p.signIn())
	if err != nil {
		t.Fatal(err)
	}
	if byToken.Key() != byPage.Key() || byPage.Key() == "" {
		t.Errorf("a person is %q by token and %q by sign-in", byToken.Key(), byPage.Key())
	}
	if id := byPage.Identity(); id.Kind != call.Person || id.Session != "s1" || len(id.Scopes) != 0 || id.Claims != nil {
		t.Errorf("%+v", id)
	}
}

func TestPersonRefuses(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	now := time.Now().Unix()
	head := map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}
	for _, c := range []struct {
		name   string
		head   map[string]any
		change map[string]any
		want   error
	}{
		{"good", nil, nil, nil},
		{"no at_hash", nil, map[string]any{"at_hash": nil}, nil},
		{"several audiences and we are the authorized party", nil, map[string]any{"aud": []string{"pages", "x"}, "azp": "pages"}, nil},
		{"several audiences and nobody is the authorized party", nil, map[string]any{"aud": []string{"pages", "x"}}, ErrAudience},
		{"another client", nil, map[string]any{"aud": "other"}, ErrAudience},
		{"another authorized party", nil, map[string]any{"azp": "other"}, ErrAudience},
		{"no audience", nil, map[string]any{"aud": nil}, ErrAudience},
		{"audience as an access token", nil, map[string]any{"aud": home}, ErrAudience},
		{"another nonce", nil, map[string]any{"nonce": "n2"}, ErrNonce},
		{"no nonce", nil, map[string]any{"nonce": nil}, ErrNonce},
		{"expired", nil, map[string]any{"exp": now - 3600}, ErrExpired},
		{"no exp", nil, map[string]any{"exp": nil}, ErrClaims},
		{"no iat", nil, map[string]any{"iat": nil}, ErrClaims},
		{"of yesterday", nil, map[string]any{"iat": now - 86400}, ErrExpired},
		{"of tomorrow", nil, map[string]any{"iat": now + 86400, "exp": now + 90000}, ErrNotYet},
		{"another access token", nil, map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, ErrClaims},
		{"a logout token", nil, map[string]any{"events": map[string]any{}}, ErrNotIDToken},
		{"an access token", map[string]any{"alg": "RS256", "kid": "k1", "typ": "at+jwt"}, nil, ErrNotIDToken},
		{"a logout token by its header", map[string]any{"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}, nil, ErrNotIDToken},
		{"no subject", nil, map[string]any{"sub": nil}, ErrClaims},
		{"another issuer", nil, map[string]any{"iss": "https://evil.example"}, ErrIssuer},
		{"an unknown key", map[string]any{"alg": "RS256", "kid": "k9"}, nil, ErrKey},
	} {
		h := c.head
		if h == nil {
			h = head
		}
		text := sign(t, "RS256", rsaKeys().first, encode(t, h), encode(t, alter(p.idToken(), c.change)))
		if got, err := v.Person(t.Context(), text, p.signIn()); !errors.Is(err, c.want) || (err == nil) != got.Valid() {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	good := encode(t, p.idToken())
	for name, text := range map[string]string{
		"none":                   b64(`{"alg":"none"}`) + "." + b64(good) + ".",
		"signed by another key":  sign(t, "RS256", rsaKeys().second, encode(t, head), good),
		"HMAC by the public key": sign(t, "HS256", rsaKeys().first.N.Bytes(), `{"alg":"HS256","kid":"k1"}`, good),
		"empty":                  "",
	} {
		if got, err := v.Person(t.Context(), text, p.signIn()); err == nil || got.Valid() {
			t.Errorf("%s: accepted", name)
		}
	}
	// A sign-in that was never begun accepts nothing, not even an empty nonce.
	w := p.signIn()
	w.Nonce = ""
	text := sign(t, "RS256", rsaKeys().first, encode(t, head), encode(t, alter(p.idToken(), map[string]any{"nonce": ""})))
	if _, err := v.Person(t.Context(), text, w); err == nil {
		t.Error("an empty nonce was accepted")
	}
}

// TestPersonAtEachProvider: the same person is one principal by access token
// and by sign-in, whatever the provider writes into sub.
func TestPersonAtEachProvider(t *testing.T) {
	t.Parallel()
	const tenant = "11111111-2222-3333-4444-555555555555"
	for _, c := range []struct {
		name    string
		issuer  Issuer
		change  map[string]any
		want    error
		subject string
	}{
		{"keycloak", Issuer{Issuer: "https://idp.example", Provider: Keycloak}, map[string]any{"typ": "ID", "azp": "pages"}, nil, "alice"},
		{"keycloak, no ID token", Issuer{Issuer: "https://idp.example", Provider: Keycloak}, map[string]any{"typ": "Bearer"}, ErrNotIDToken, ""},
		{"okta", Issuer{Issuer: "https://idp.example/oauth2/default", Provider: Okta}, map[string]any{"sub": "00u1"}, nil, "00u1"},
		{"auth0", Issuer{Issuer: "https://idp.example", Provider: Auth0}, map[string]any{"sub": "auth0|1"}, nil, "auth0|1"},
		{"entra", Issuer{Issuer: "https://idp.example/" + tenant + "/v2.0", Provider: Entra}, map[string]any{"tid": tenant, "oid": "o-1", "sub": "pairwise"}, nil, "o-1"},
		{"entra, another tenant", Issuer{Issuer: "https://idp.example/" + tenant + "/v2.0", Provider: Entra}, map[string]any{"tid": "x", "oid": "o-1"}, ErrClaims, ""},
		{"entra, no object ID", Issuer{Issuer: "https://idp.example/" + tenant + "/v2.0", Provider: Entra}, map[string]any{"tid": tenant}, ErrClaims, ""},
	} {
		p := inProcess(t)
		o := p.options(t)
		c.issuer.JWKSURI = p.url + "/jwks"
		o.Issuers = []Issuer{c.issuer}
		v := verifier(t, o)
		w := p.signIn()
		w.Issuer = c.issuer.Issuer
		claims := alter(p.idToken(), map[string]any{"iss": c.issuer.Issuer})
		text := sign(t, "RS256", rsaKeys().first, encode(t, map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}), encode(t, alter(claims, c.change)))
		got, err := v.Person(t.Context(), text, w)
		if !errors.Is(err, c.want) || got.Identity().Subject != c.subject {
			t.Errorf("%s: %v %q", c.name, err, got.Identity().Subject)
		}
	}
}
