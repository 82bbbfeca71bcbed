package introspect

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// Causes of a refusal. Their text is what the caller reads: it never holds
// anything of the token.
var (
	ErrMissing   = errors.New("send an access token as Authorization: Bearer")
	ErrHeader    = errors.New("send one Authorization header: the word Bearer, one space and the token")
	ErrResource  = errors.New("there is no such resource here")
	ErrMalformed = errors.New("the token has characters that a token cannot have, or is too long")
	ErrInactive  = errors.New("the token's issuer says that it is not active: get a new one")
	ErrAudience  = errors.New("the token was made for another resource: ask for one with this resource's URL as resource")
	ErrIssuer    = errors.New("the token is of another issuer than the one that was asked about it")
	ErrExpired   = errors.New("the token has expired: get a new one")
	ErrNotYet    = errors.New("the token is not valid yet: check the clocks")
	ErrLifetime  = errors.New("the token lives longer than is accepted here: its issuer has to shorten it")
	ErrType      = errors.New("this is not an access token: send the access token, not an ID or refresh token")
	ErrClaims    = errors.New("the token's issuer does not say of it what is needed, or not in the right form")
	ErrRevoked   = errors.New("the token was revoked: sign in again")
	ErrBound     = errors.New("the token is bound to a key and nothing here proves that key")
	ErrBusy      = errors.New("too many new tokens at once: wait and try again")
	ErrProvider  = fmt.Errorf("the token's issuer cannot be asked at the moment: try again later: %w", authn.ErrUnavailable)
)

// refusal turns a cause into what the caller gets.
func refusal(res *authn.Protected, cause error) *authn.Refusal {
	switch cause {
	case ErrMissing, ErrProvider, ErrResource:
		return res.Refuse(cause, authn.Untold)
	case ErrBusy:
		return &authn.Refusal{Reason: call.ReasonTooMany, Text: cause.Error(), Cause: cause}
	case ErrHeader:
		return res.Refuse(cause, authn.BadRequest)
	case ErrExpired:
		return res.Refuse(cause, authn.OldToken)
	}
	return res.Refuse(cause, authn.BadToken)
}

// credentials reads the Authorization header (RFC 6750 2.1).
func credentials(hs []string, dpop bool) (scheme, token string, err error) {
	switch len(hs) {
	case 0:
		return "", "", ErrMissing
	case 1:
	default:
		return "", "", ErrHeader
	}
	scheme, token, ok := strings.Cut(hs[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") && !(dpop && strings.EqualFold(scheme, "DPoP")) {
		return "", "", ErrHeader
	}
	if !Token(token) {
		return "", "", ErrMalformed
	}
	return scheme, token, nil
}

// Token reports that a text has the form of a token (b64token of RFC 6750 2.1)
// and is not too long.
func Token(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && len(s) <= maxToken && !strings.ContainsFunc(body, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/", r))
	})
}

// peerOf is what the limit of new tokens is kept by: an IPv4 address, or the
// network of an IPv6 one, which is what somebody has.
func peerOf(peer string) string {
	a, err := netip.ParseAddr(peer)
	if err != nil {
		return "unknown"
	}
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
