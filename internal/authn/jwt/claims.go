package jwt

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// identify checks the claims of a token whose signature is good and returns
// what they prove.
func (is *issuer) identify(t *token, res *authn.Protected, now int64) (call.Identity, error) {
	c := t.claims
	id := call.Identity{Issuer: is.Issuer.Issuer, Claims: t.payload}
	if is.As != "" {
		id.Issuer = is.As
	}
	aud, ok := c.Texts("aud", true)
	if !ok || len(aud) == 0 {
		return id, ErrAudience
	}
	if !res.Accepts(aud) {
		return id, ErrAudience
	}
	exp, err := is.inForce(c, now)
	if err != nil {
		return id, err
	}
	id.Expires = exp + is.skew
	id.Issued, _ = c.Date("iat")

	if id.Subject, ok = c.Text("sub", authn.MaxText); !ok || id.Subject == "" {
		return id, ErrClaims
	}
	if err := is.recipe(c, &id); err != nil {
		return id, err
	}
	if id.Subject == "" || id.Client == "" || id.Kind == 0 {
		return id, ErrClaims
	}
	if id.Proof, ok = is.proof(t); !ok {
		return id, ErrClaims
	}
	if err := is.rest(c, &id); err != nil {
		return id, err
	}
	return id, nil
}

// inForce holds the token against the clock and returns its end.
func (is *issuer) inForce(c authn.Claims, now int64) (int64, error) {
	exp, ok1 := c.Date("exp")
	iat, ok2 := c.Date("iat")
	nbf, ok3 := c.Date("nbf")
	switch {
	case !ok1 || !ok2 || !ok3 || exp == 0 || iat == 0 || exp <= iat:
		return 0, ErrClaims
	case now >= exp+is.skew:
		return 0, ErrExpired
	case nbf > now+is.skew || iat > now+is.skew:
		return 0, ErrNotYet
	case exp-iat > is.life:
		return 0, ErrLifetime
	}
	return exp, nil
}

// proof names the token: by its ID, or else by a digest of what was signed.
// The signature is left out because some can be changed without a key.
func (is *issuer) proof(t *token) (string, bool) {
	name := "jti"
	if is.Provider == Entra {
		name = "uti"
	}
	jti, ok := t.claims.Text(name, authn.MaxText)
	if !ok {
		return "", false
	}
	if jti != "" {
		return Proof(t.issuer, jti), true
	}
	sum := sha256.Sum256([]byte(t.signed))
	return "sha256:" + hex.EncodeToString(sum[:]), true
}

// Proof returns the name of the token that an issuer gave an ID (jti; uti at
// Entra), as Identity.Proof has it and Revoked is asked for it.
func Proof(issuer, jti string) string { return authn.Pair(issuer, jti) }

// rest reads the claims that all recipes share.
func (is *issuer) rest(c authn.Claims, id *call.Identity) error {
	var ok [6]bool
	id.ACR, ok[0] = c.Optional("acr")
	id.AMR, ok[1] = c.Texts("amr", false)
	id.Session, ok[2] = c.Optional("sid")
	id.AuthTime, ok[3] = c.Date("auth_time")
	id.Confirmation, ok[4] = c.Confirmation()
	id.Actors, ok[5] = c.Actors(id.Issuer)
	switch {
	case !ok[4]:
		return ErrBound
	case ok != [6]bool{true, true, true, true, true, true}:
		return ErrClaims
	}
	id.Scopes = authn.Imply(id.Scopes, is.Implied)
	if !authn.Tidy(id) {
		return ErrClaims
	}
	return nil
}
