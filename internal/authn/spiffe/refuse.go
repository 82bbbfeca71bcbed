package spiffe

import (
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/authn"
)

// Causes of a refusal. Their text is what the caller reads: it never holds
// anything of the token.
var (
	ErrMissing   = errors.New("send a JWT-SVID as Authorization: Bearer")
	ErrHeader    = errors.New("send one Authorization header: the word Bearer, one space and the JWT-SVID")
	ErrResource  = errors.New("there is no such resource here")
	ErrMalformed = errors.New("the token is not a signed JWT in compact form with unambiguous JSON")
	ErrType      = errors.New("the token's type is not that of a JWT-SVID")
	ErrDomain    = errors.New("the trust domain of the JWT-SVID is not accepted here")
	ErrKey       = errors.New("the JWT-SVID names no key of its trust domain's bundle: fetch a new one")
	ErrSignature = errors.New("the signature of the JWT-SVID is wrong")
	ErrAudience  = errors.New("the JWT-SVID was made for another audience: fetch one with this resource's URL as its only audience")
	ErrExpired   = errors.New("the JWT-SVID has expired: fetch a new one")
	ErrNotYet    = errors.New("the JWT-SVID is not valid yet: check the clocks")
	ErrLifetime  = errors.New("the JWT-SVID lives longer than an hour: its trust domain has to shorten it")
	ErrClaims    = errors.New("the JWT-SVID lacks a claim that is needed, has one that it must not have, or one has the wrong form")
	ErrRevoked   = errors.New("the JWT-SVID was revoked")
	ErrBundle    = fmt.Errorf("the trust domain's bundle cannot be had at the moment: try again later: %w", authn.ErrUnavailable)
)

// refusal turns a cause into what the caller gets.
func refusal(res *authn.Protected, cause error) *authn.Refusal {
	switch cause {
	case ErrMissing, ErrBundle, ErrResource:
		return res.Refuse(cause, authn.Untold)
	case ErrHeader:
		return res.Refuse(cause, authn.BadRequest)
	case ErrExpired:
		return res.Refuse(cause, authn.OldToken)
	}
	return res.Refuse(cause, authn.BadToken)
}
