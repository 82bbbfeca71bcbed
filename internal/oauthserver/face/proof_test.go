package face_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k *ecdsa.PrivateKey, head map[jose.HeaderKey]any, embed bool, claims map[string]any) string {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: head, EmbedJWK: embed}
	key := any(k)
	if !embed {
		key = jose.JSONWebKey{Key: k, KeyID: "k1"}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func proof(t *testing.T, k *ecdsa.PrivateKey, change ...func(map[string]any)) func(*http.Request) {
	t.Helper()
	c := map[string]any{"htm": "POST", "htu": issuer + oauthserver.PathToken, "iat": time.Now().Unix(), "jti": rand.Text()}
	for _, f := range change {
		f(c)
	}
	p := sign(t, k, map[jose.HeaderKey]any{"typ": "dpop+jwt"}, true, c)
	return func(r *http.Request) { r.Header.Set("DPoP", p) }
}

func thumb(t *testing.T, k *ecdsa.PrivateKey) string {
	t.Helper()
	b, err := (&jose.JSONWebKey{Key: &k.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestDPoP: tokens of a key are worth nothing without it, refresh tokens too.
func TestDPoP(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	key, thief := newKey(t), newKey(t)
	q := query()
	q.Set("dpop_jkt", thumb(t, key))
	form := codeForm(code(t, f, q))
	out, status := send(t, f, form, proof(t, key))
	if status != http.StatusOK || out.Type != "DPoP" {
		t.Fatalf("%d %+v", status, out)
	}
	if cnf := claimsOf(t, f, out.Access)["cnf"]; cnf.(map[string]any)["jkt"] != thumb(t, key) {
		t.Errorf("%v", cnf)
	}
	used := proof(t, key)
	next, status := send(t, f, refreshForm(out.Refresh), used)
	if status != http.StatusOK || next.Type != "DPoP" {
		t.Fatalf("%d %+v", status, next)
	}
	for name, p := range map[string]func(*http.Request){
		"no proof":       func(*http.Request) {},
		"another key":    proof(t, thief),
		"a used proof":   used,
		"another method": proof(t, key, func(c map[string]any) { c["htm"] = "GET" }),
		"another place":  proof(t, key, func(c map[string]any) { c["htu"] = issuer + "/oauth/par" }),
		"another server": proof(t, key, func(c map[string]any) { c["htu"] = "https://evil.example/oauth/token" }),
		"an old proof":   proof(t, key, func(c map[string]any) { c["iat"] = time.Now().Add(-time.Hour).Unix() }),
		"no date":        proof(t, key, func(c map[string]any) { delete(c, "iat") }),
		"no ID":          proof(t, key, func(c map[string]any) { delete(c, "jti") }),
	} {
		if out, status := send(t, f, refreshForm(next.Refresh), p); status == http.StatusOK || out.Access != "" {
			t.Errorf("%s: %d %+v", name, status, out)
		}
	}
	if out, status := send(t, f, refreshForm(next.Refresh), proof(t, key)); status != http.StatusOK {
		t.Errorf("bad proofs used the token up: %d %+v", status, out)
	}
	for name, p := range map[string]func(*http.Request){"another key": proof(t, thief), "none": func(*http.Request) {}} {
		if out, _ := send(t, f, codeForm(code(t, f, q)), p); out.Access != "" {
			t.Errorf("a code that is bound to a key, by %s: %+v", name, out)
		}
	}
}

func TestClientsThatMustBind(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	c := p.clients["editor"]
	c.DPoP = true
	p.clients["editor"] = c
	f := p.face(t)
	if out, _ := send(t, f, codeForm(code(t, f, query()))); out.Access != "" {
		t.Errorf("%+v", out)
	}
	if out, _ := send(t, f, codeForm(code(t, f, query())), proof(t, newKey(t))); out.Type != "DPoP" {
		t.Errorf("%+v", out)
	}
}

func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	key := newKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	c := p.clients[stranger]
	c.Auth, c.JWKS = oauthserver.AuthPrivateKeyJWT, set
	p.clients[stranger] = c
	f := p.face(t)
	q := query()
	q.Set("client_id", stranger)
	assertion := func(k *ecdsa.PrivateKey, change ...func(map[string]any)) string {
		c := map[string]any{"iss": stranger, "sub": stranger, "aud": issuer, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": rand.Text()}
		for _, f := range change {
			f(c)
		}
		return sign(t, k, nil, false, c)
	}
	with := func(a string) url.Values {
		v := codeForm(code(t, f, q))
		v.Set("client_id", stranger)
		v.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		v.Set("client_assertion", a)
		return v
	}
	used := assertion(key)
	if out, status := send(t, f, with(used)); status != http.StatusOK || out.Access == "" {
		t.Fatalf("%d %+v", status, out)
	}
	for name, a := range map[string]string{
		"replayed":         used,
		"another key":      assertion(newKey(t)),
		"another audience": assertion(key, func(c map[string]any) { c["aud"] = "https://evil.example" }),
		"another client":   assertion(key, func(c map[string]any) { c["sub"] = "editor" }),
		"expired":          assertion(key, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
		"too long":         assertion(key, func(c map[string]any) { c["exp"] = time.Now().Add(time.Hour).Unix() }),
		"none":             "",
	} {
		if out, _ := send(t, f, with(a)); out.Error != "invalid_client" {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func jag(scopes ...string) face.Assertion {
	return face.Assertion{Who: alice(), Client: "web", Resource: resource, Scopes: scopes, Once: rand.Text(), Until: time.Now().Add(time.Minute)}
}

func TestAssertions(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	given := map[string]face.Assertion{"good": jag("files:list", "files:call"), "again": jag("files:list"), "wide": jag("files:list", "other:call"),
		"nothing": jag("other:call")}
	for name, change := range map[string]func(*face.Assertion){
		"for another client":   func(a *face.Assertion) { a.Client = "editor" },
		"for another resource": func(a *face.Assertion) { a.Resource = "https://other.example/mcp" },
		"of nobody":            func(a *face.Assertion) { a.Who = call.Principal{} },
	} {
		a := jag("files:list")
		change(&a)
		given[name] = a
	}
	p.assert = func(_ context.Context, s string) (face.Assertion, error) {
		a, ok := given[s]
		if s == "down" {
			return a, authn.ErrUnavailable
		}
		if !ok {
			return a, errors.New("bad signature")
		}
		return a, nil
	}
	f := p.face(t)
	form := func(s string) url.Values {
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {s}}
	}
	web := basic("web", "s3cret")
	out, status := send(t, f, form("good"), web)
	if status != http.StatusOK || out.Refresh != "" || out.Scope != "files:list files:call" {
		t.Fatalf("%d %+v", status, out)
	}
	c := claimsOf(t, f, out.Access)
	if who, err := face.Owner(p.ring, c[face.ClaimOwner].(string), c[face.ClaimGrant].(string)); err != nil || who.Subject != "alice" || c["client_id"] != "web" {
		t.Errorf("%+v %v", who, err)
	}
	if out, _ := send(t, f, form("wide"), web); out.Scope != "files:list" {
		t.Errorf("%+v", out)
	}
	narrow := form("again")
	narrow.Set("resource", issuer+"/mcp/other")
	for name, c := range map[string]struct {
		form url.Values
		as   func(*http.Request)
		want string
	}{
		"replayed":             {form("good"), web, "invalid_grant"},
		"forged":               {form("forged"), web, "invalid_grant"},
		"for another client":   {form("for another client"), web, "invalid_grant"},
		"for another resource": {form("for another resource"), web, "invalid_target"},
		"of nobody":            {form("of nobody"), web, "invalid_grant"},
		"of other scopes":      {form("nothing"), web, "invalid_scope"},
		"asked for elsewhere":  {narrow, web, "invalid_target"},
		"without a client":     {form("again"), func(*http.Request) {}, "invalid_client"},
		"with a wrong secret":  {form("again"), basic("web", "x"), "invalid_client"},
		"by a public client":   {form("again"), basic("editor", "x"), "unauthorized_client"},
		"provider down":        {form("down"), web, "temporarily_unavailable"},
	} {
		if out, _ := send(t, f, c.form, c.as); out.Error != c.want || out.Access != "" {
			t.Errorf("%s: %+v", name, out)
		}
	}
	if out, _ := send(t, f, form("again"), web); out.Access == "" {
		t.Errorf("others' tries used it up: %+v", out)
	}
	if n, err := f.Withdraw(t.Context(), "https://idp.example", "alice", "web"); n != 3 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if r := p.reasons(); !slices.Contains(r, "deny assertion-replayed") || !slices.Contains(r, "allow assertion-exchanged") {
		t.Errorf("%v", r)
	}
}
