package jwt

import (
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Bounds of a token's JSON.
const (
	maxDepth   = 16
	maxMembers = 4096
	maxKID     = 256
)

// token is a JWS that was read and not verified.
type token struct {
	alg      jose.SignatureAlgorithm
	typ, kid string
	issuer   string
	payload  []byte
	claims   authn.Claims
	signed   string // what the signature is over
}

// parse reads a compact JWS (RFC 7515 7.1) strictly: three parts of unpadded
// base64url without stray bits, two JSON objects without duplicate names, and
// no header that would choose a key or change the meaning of the rest.
func parse(text string) (*token, error) {
	if len(text) > maxToken || strings.Count(text, ".") != 2 {
		return nil, ErrMalformed
	}
	i, j := strings.IndexByte(text, '.'), strings.LastIndexByte(text, '.')
	header, err := decode(text[:i])
	if err != nil {
		return nil, err
	}
	payload, err := decode(text[i+1 : j])
	if err != nil {
		return nil, err
	}
	if _, err := decode(text[j+1:]); err != nil {
		return nil, err
	}
	h, err := object(header)
	if err != nil {
		return nil, err
	}
	if _, _, dup := strictjson.FoldedDuplicate(h.Members); dup {
		return nil, ErrMalformed
	}
	for _, name := range []string{"jwk", "jku", "x5u", "crit", "b64", "zip", "enc"} {
		if _, ok := h.Members.Get(name); ok {
			return nil, ErrMalformed
		}
	}
	t := &token{payload: payload, signed: text[:j]}
	alg, ok := h.Text("alg", 16)
	if !ok || alg == "" {
		return nil, ErrMalformed
	}
	t.alg = jose.SignatureAlgorithm(alg)
	if t.typ, ok = h.Text("typ", 64); !ok {
		return nil, ErrMalformed
	}
	if t.kid, ok = h.Text("kid", maxKID); !ok {
		return nil, ErrMalformed
	}
	if t.claims, err = object(payload); err != nil {
		return nil, err
	}
	if t.issuer, ok = t.claims.Text("iss", 2048); !ok || t.issuer == "" {
		return nil, ErrClaims
	}
	return t, nil
}

// decode reads one part. Go's decoder skips line breaks, so they are refused
// before it sees them.
func decode(s string) ([]byte, error) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, ErrMalformed
	}
	return b, nil
}

func object(b []byte) (authn.Claims, error) {
	c, err := authn.ReadClaims(b, strictjson.Limits{Bytes: maxToken, Depth: maxDepth, Members: maxMembers})
	if err != nil {
		return authn.Claims{}, ErrMalformed
	}
	return c, nil
}
