package jwt

import (
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/authn"
)

// Causes of a refusal. Their text is what the caller reads: it never holds
// anything of the token.
var (
	ErrMissing    = errors.New("send an access token as Authorization: Bearer")
	ErrHeader     = errors.New("send one Authorization header: the word Bearer, one space and the token")
	ErrResource   = errors.New("there is no such resource here")
	ErrMalformed  = errors.New("the token is not a signed JWT in compact form with unambiguous JSON")
	ErrType       = errors.New("the token's header does not say that it is an access token")
	ErrIssuer     = errors.New("the token's issuer is not accepted here: get one from an authorization server that the resource metadata names")
	ErrAlgorithm  = errors.New("the token's algorithm is not allowed for its issuer")
	ErrKey        = errors.New("the token names no key that its issuer publishes: get a new one")
	ErrSignature  = errors.New("the token's signature is wrong")
	ErrAudience   = errors.New("the token was made for another resource: ask for one with this resource's URL as resource")
	ErrExpired    = errors.New("the token has expired: get a new one")
	ErrNotYet     = errors.New("the token is not valid yet: check the clocks")
	ErrLifetime   = errors.New("the token lives longer than is accepted here: its issuer has to shorten it")
	ErrIDToken    = errors.New("this is not an access token: send the access token, not an ID, refresh or logout token")
	ErrClaims     = errors.New("the token lacks a claim that is needed, or one has the wrong form")
	ErrRevoked    = errors.New("the token was revoked: sign in again")
	ErrBound      = errors.New("the token is bound to a key and nothing here proves that key")
	ErrNotIDToken = errors.New("this is not an ID token")
	ErrNonce      = errors.New("the ID token was made for another sign-in")
	ErrProvider   = fmt.Errorf("the issuer's keys cannot be had at the moment: try again later: %w", authn.ErrUnavailable)
)

// refusal turns a cause into what the caller gets.
func refusal(res *authn.Protected, cause error) *authn.Refusal {
	switch cause {
	case ErrMissing, ErrProvider, ErrResource:
		return res.Refuse(cause, authn.Untold)
	case ErrHeader:
		return res.Refuse(cause, authn.BadRequest)
	case ErrExpired:
		return res.Refuse(cause, authn.OldToken)
	}
	return res.Refuse(cause, authn.BadToken)
}
