package oauth

import (
	"encoding/base64"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Claims are what a JWT says, unverified: for whoever got it from the issuer's
// own endpoint and wants to know whether it is what was asked for.
type Claims struct{ Header, Body strictjson.Object }

// Peek reads a compact JWS without verifying it. It reports false for anything
// else: an access token need not be one.
func Peek(token string) (Claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, false
	}
	var c Claims
	for i, into := range []*strictjson.Object{&c.Header, &c.Body} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return Claims{}, false
		}
		if *into, err = object(b); err != nil {
			return Claims{}, false
		}
	}
	return c, true
}

// Text returns a claim that is a string, else nothing.
func (c Claims) Text(name string) string { return textOf(c.Body, name) }

// Type returns the header's typ in lower case without "application/".
func (c Claims) Type() string {
	return strings.TrimPrefix(strings.ToLower(textOf(c.Header, "typ")), "application/")
}

// Texts returns a claim that is a string or a list of strings, and reports that
// it is there and is one of these.
func (c Claims) Texts(name string) ([]string, bool) {
	raw, ok := c.Body.Get(name)
	if !ok {
		return nil, false
	}
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		return []string{s}, err == nil
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return nil, false
		}
		var out []string
		for _, e := range elems {
			if strictjson.TypeOf(e) != strictjson.TypeString {
				return nil, false
			}
			s, err := strictjson.String(e)
			if err != nil {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}
