package spiffe

import (
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
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
	r := &authn.Refusal{Reason: call.ReasonUnauthenticated, Text: cause.Error(), Cause: cause, Challenge: "Bearer"}
	var params string
	switch cause {
	case ErrMissing, ErrBundle, ErrResource:
		// No error code: the token is not what is wrong (RFC 6750 3.1).
	case ErrHeader:
		r.Reason = call.ReasonMalformed
		params = `, error="invalid_request", error_description="` + r.Text + `"`
	default:
		if cause == ErrExpired {
			r.Reason = call.ReasonTokenExpired
		}
		params = `, error="invalid_token", error_description="` + r.Text + `"`
	}
	params += res.Params()
	if params != "" {
		r.Challenge += params[1:]
	}
	return r
}
