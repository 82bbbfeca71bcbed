package jwt

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// freshSignIn is how long ago an ID token may have been made. Entra ID dates
// its tokens five minutes back.
const freshSignIn = 15 * 60

// SignIn is what the ID token of one sign-in is held against.
type SignIn struct {
	// Issuer is the configured issuer at which the person signed in.
	Issuer string
	// Client is our client_id there.
	Client string
	// Nonce is what was sent with the request; it is never empty.
	Nonce string
	// AccessToken is what came with the ID token, for at_hash; it is not used
	// for anything else.
	AccessToken string
}

// Person verifies the ID token of a sign-in (OpenID Connect Core 3.1.3.7) by
// the same keys and algorithms as access tokens, and names the person as an
// access token of that issuer would: the same recipe, the same known issuer.
// The principal has no expiry and no scopes; whoever keeps the sign-in bounds
// it. The error is one of the causes of this package.
func (v *Verifier) Person(ctx context.Context, idToken string, w SignIn) (call.Principal, error) {
	is := v.issuers[w.Issuer]
	if is == nil || w.Client == "" || w.Nonce == "" {
		return call.Principal{}, ErrIssuer
	}
	t, err := parse(idToken)
	if err != nil {
		return call.Principal{}, err
	}
	if t.issuer != is.Issuer.Issuer {
		return call.Principal{}, ErrIssuer
	}
	if typ := strings.ToLower(t.typ); typ != "" && typ != "jwt" {
		return call.Principal{}, ErrNotIDToken
	}
	if _, err := is.signed(ctx, t, idToken); err != nil {
		return call.Principal{}, err
	}
	id, err := is.person(t, w, time.Now().Unix())
	if err != nil {
		return call.Principal{}, err
	}
	p := call.NewPrincipal(id)
	if v.ended != nil && v.ended(id) {
		return call.Principal{}, ErrRevoked
	}
	if !p.Valid() {
		return call.Principal{}, ErrClaims
	}
	return p, nil
}

// person checks the claims of an ID token whose signature is good.
func (is *issuer) person(t *token, w SignIn, now int64) (call.Identity, error) {
	c := t.claims
	id := call.Identity{Issuer: is.Issuer.Issuer, Kind: call.Person, Client: w.Client}
	if is.As != "" {
		id.Issuer = is.As
	}
	aud, ok := c.Texts("aud", true)
	azp, ok2 := c.Optional("azp")
	if !ok || !ok2 || !slices.Contains(aud, w.Client) || len(aud) > 1 && azp == "" || azp != "" && azp != w.Client {
		return id, ErrAudience
	}
	exp, ok1 := c.Date("exp")
	iat, ok2 := c.Date("iat")
	nbf, ok3 := c.Date("nbf")
	switch {
	case !ok1 || !ok2 || !ok3 || exp == 0 || iat == 0:
		return id, ErrClaims
	case now >= exp+is.skew || now-iat > freshSignIn+is.skew:
		return id, ErrExpired
	case iat > now+is.skew || nbf > now+is.skew:
		return id, ErrNotYet
	}
	id.Issued = iat
	nonce, ok := c.Text("nonce", authn.MaxText)
	if !ok || subtle.ConstantTimeCompare([]byte(nonce), []byte(w.Nonce)) != 1 {
		return id, ErrNonce
	}
	if _, logout := c.Members.Get("events"); logout {
		return id, ErrNotIDToken
	}
	if hash, ok := c.Optional("at_hash"); !ok || hash != "" && hash != halfHash(t.alg, w.AccessToken) {
		return id, ErrClaims
	}
	if id.Subject, ok = c.Text("sub", authn.MaxText); !ok || id.Subject == "" {
		return id, ErrClaims
	}
	if err := is.subjectOf(c, &id); err != nil {
		return id, err
	}
	var good [4]bool
	id.Session, good[0] = c.Optional("sid")
	id.ACR, good[1] = c.Optional("acr")
	id.AMR, good[2] = c.Texts("amr", false)
	id.AuthTime, good[3] = c.Date("auth_time")
	if good != [4]bool{true, true, true, true} {
		return id, ErrClaims
	}
	return id, is.rights(c, &id)
}

// subjectOf turns the subject of an ID token into that of the issuer's access
// tokens. At Okta the one's sub is the other's uid; Entra's sub differs for
// each application, its object ID does not.
func (is *issuer) subjectOf(c authn.Claims, id *call.Identity) error {
	switch is.Provider {
	case Keycloak:
		if typ, ok := c.Text("typ", 64); !ok || typ != "ID" {
			return ErrNotIDToken
		}
	case Entra:
		tid, ok1 := c.Text("tid", 64)
		oid, ok2 := c.Text("oid", 64)
		if !ok1 || !ok2 || tid != is.tenant || oid == "" {
			return ErrClaims
		}
		id.Subject, id.Tenant = oid, tid
	case Auth0:
		var ok bool
		if id.Tenant, ok = c.Optional("org_id"); !ok {
			return ErrClaims
		}
	}
	return nil
}

// halfHash is at_hash (OpenID Connect Core 3.1.3.6): the left half of the
// access token's digest, by the hash of the ID token's algorithm.
func halfHash(alg jose.SignatureAlgorithm, accessToken string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(string(alg), "256"):
		b := sha256.Sum256([]byte(accessToken))
		sum = b[:]
	case strings.HasSuffix(string(alg), "384"):
		b := sha512.Sum384([]byte(accessToken))
		sum = b[:]
	default: // …512, and Ed25519 hashes by SHA-512
		b := sha512.Sum512([]byte(accessToken))
		sum = b[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
