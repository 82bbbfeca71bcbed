package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of single claims, in bytes and elements.
const (
	MaxText   = 2048
	MaxScopes = 256
	maxActors = 8
	maxScope  = 16 << 10
)

// Claims is a JSON object that an issuer signed or answered. Every reader says
// whether the value has the form that the claim must have, so that a wrong
// type is never mistaken for an absent value.
type Claims struct{ Members strictjson.Object }

// ReadClaims reads a JSON object without duplicate names within the limits.
func ReadClaims(b []byte, l strictjson.Limits) (Claims, error) {
	if strictjson.Validate(b, l) != nil {
		return Claims{}, errClaims
	}
	o, err := strictjson.SplitObject(b)
	if err != nil {
		return Claims{}, errClaims
	}
	return Claims{o}, nil
}

var errClaims = errors.New("not a JSON object that can be read in one way only")

// Has reports a member that is not null.
func (c Claims) Has(name string) bool {
	raw, ok := c.Members.Get(name)
	return ok && strictjson.TypeOf(raw) != strictjson.TypeNull
}

// Text returns a string; an absent one is empty. It is not ok when the value
// is no string or longer than limit.
func (c Claims) Text(name string, limit int) (string, bool) {
	raw, ok := c.Members.Get(name)
	if !ok {
		return "", true
	}
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", false
	}
	s, err := strictjson.String(raw)
	return s, err == nil && len(s) <= limit
}

// Optional returns a text where null counts as none.
func (c Claims) Optional(name string) (string, bool) {
	if !c.Has(name) {
		return "", true
	}
	return c.Text(name, MaxText)
}

// Texts returns an array of strings; a string counts as an array of one where
// single is set, and null and an absent value as none.
func (c Claims) Texts(name string, single bool) ([]string, bool) {
	raw, ok := c.Members.Get(name)
	if !ok {
		return nil, true
	}
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeNull:
		return nil, true
	case strictjson.TypeString:
		if !single {
			return nil, false
		}
		s, ok := c.Text(name, MaxText)
		return []string{s}, ok
	case strictjson.TypeArray:
	default:
		return nil, false
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, false
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		if strictjson.TypeOf(item) != strictjson.TypeString {
			return nil, false
		}
		s, err := strictjson.String(item)
		if err != nil || len(s) > MaxText {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// Inner returns an object; an absent one is empty.
func (c Claims) Inner(name string) (Claims, bool) {
	raw, ok := c.Members.Get(name)
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return Claims{}, true
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return Claims{}, false
	}
	o, err := strictjson.SplitObject(raw)
	return Claims{o}, err == nil
}

// Date returns a NumericDate (RFC 7519 2) in whole seconds, 0 when absent.
// Signs, exponents and years beyond 33,000 are no dates.
func (c Claims) Date(name string) (int64, bool) {
	raw, ok := c.Members.Get(name)
	if !ok {
		return 0, true
	}
	whole, part, dot := strings.Cut(string(raw), ".")
	if len(whole) == 0 || len(whole) > 12 || strings.Trim(whole, "0123456789") != "" || dot && (part == "" || len(part) > 9 || strings.Trim(part, "0123456789") != "") {
		return 0, false
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	return n, err == nil && n > 0
}

// Scopes returns the members of a space-separated text (RFC 6749 3.3), or of
// an array.
func (c Claims) Scopes(name string) ([]string, bool) {
	raw, ok := c.Members.Get(name)
	if ok && strictjson.TypeOf(raw) == strictjson.TypeArray {
		return c.Texts(name, false)
	}
	s, ok := c.Text(name, maxScope)
	if s == "" || !ok {
		return nil, ok
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), true
}

// Confirmation reads cnf (RFC 7800). A method that is not known here cannot be
// proved here.
func (c Claims) Confirmation() (call.Confirmation, bool) {
	var out call.Confirmation
	if !c.Has("cnf") {
		return out, true
	}
	cnf, ok := c.Inner("cnf")
	if !ok || len(cnf.Members) == 0 {
		return out, false
	}
	for _, m := range cnf.Members {
		to := &out.JKT
		switch m.Name {
		case "jkt":
		case "x5t#S256":
			to = &out.X5TS256
		case "kc-jkt-type":
			// Keycloak repeats here how the key of jkt is proved.
			if how, ok := cnf.Text(m.Name, 16); !ok || how != "DPoP" {
				return out, false
			}
			continue
		default:
			return out, false
		}
		s, ok := cnf.Text(m.Name, 43)
		// Go's decoder skips line breaks, so they are refused before it sees them.
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if !ok || err != nil || len(b) != sha256.Size || strings.ContainsAny(s, "\r\n") {
			return out, false
		}
		*to = s
	}
	return out, out.Bound()
}

// Actors reads the chain of act (RFC 8693 4.1), the one who acts now first,
// each named like Principal.Key. An actor without issuer is of the token's.
func (c Claims) Actors(issuer string) ([]string, bool) {
	var out []string
	for c.Has("act") {
		act, ok := c.Inner("act")
		if !ok || len(out) == maxActors {
			return nil, false
		}
		sub, ok1 := act.Text("sub", MaxText)
		iss, ok2 := act.Text("iss", MaxText)
		if !ok1 || !ok2 || sub == "" {
			return nil, false
		}
		if iss == "" {
			iss = issuer
		}
		out = append(out, Pair(iss, sub))
		c = act
	}
	return out, true
}

// Pair joins an issuer and a name injectively, as Principal.Key does. The pair
// of an issuer and a token's ID is what Identity.Proof holds for that token.
func Pair(issuer, name string) string { return strconv.Itoa(len(issuer)) + ":" + issuer + "|" + name }

// Imply adds to scopes those that an issuer's broader ones contain, and what
// these contain in turn (2026-07-28, "Step-Up Authorization Flow": scope
// hierarchies). The result has each scope once.
func Imply(scopes []string, contains map[string][]string) []string {
	if len(contains) == 0 {
		return scopes
	}
	out := make([]string, 0, len(scopes)+4)
	for todo := slices.Clone(scopes); len(todo) > 0; todo = todo[1:] {
		if slices.Contains(out, todo[0]) {
			continue
		}
		out = append(out, todo[0])
		todo = append(todo, contains[todo[0]]...)
	}
	return out
}

// CheckImplied says why a table for Imply names something that is no scope.
func CheckImplied(contains map[string][]string) error {
	for broad, narrow := range contains {
		for _, s := range append([]string{broad}, narrow...) {
			if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || NotQuotable(r) }) {
				return errors.New("a scope is visible ASCII without spaces, quotation marks and backslashes (RFC 6749 3.3)")
			}
		}
	}
	return nil
}

// Tidy sorts the lists of an identity, drops doubles, and reports that its
// scopes are scopes (RFC 6749 3.3) and not too many.
func Tidy(id *call.Identity) bool {
	for _, list := range []*[]string{&id.Scopes, &id.Groups, &id.Roles, &id.AMR} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return len(id.Scopes) <= MaxScopes && !slices.ContainsFunc(id.Scopes, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || NotQuotable(r) })
	})
}
