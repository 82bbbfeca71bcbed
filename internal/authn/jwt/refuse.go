package jwt

import (
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
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
	r := &authn.Refusal{Reason: call.ReasonUnauthenticated, Text: cause.Error(), Cause: cause, Challenge: "Bearer"}
	var params string
	switch cause {
	case ErrMissing, ErrProvider, ErrResource:
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
