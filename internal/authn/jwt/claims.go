package jwt

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of single claims, in bytes and elements.
const (
	maxText   = 2048
	maxScopes = 256
	maxActors = 8
)

// claims is a JSON object that was validated.
type claims struct{ members strictjson.Object }

// has reports a member that is not null.
func (c claims) has(name string) bool {
	raw, ok := c.members.Get(name)
	return ok && strictjson.TypeOf(raw) != strictjson.TypeNull
}

// text returns a string; an absent one is empty. It is not ok when the value
// is no string or longer than limit.
func (c claims) text(name string, limit int) (string, bool) {
	raw, ok := c.members.Get(name)
	if !ok {
		return "", true
	}
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", false
	}
	s, err := strictjson.String(raw)
	return s, err == nil && len(s) <= limit
}

// texts returns an array of strings; a string counts as an array of one where
// single is set, and null and an absent value as none.
func (c claims) texts(name string, single bool) ([]string, bool) {
	raw, ok := c.members.Get(name)
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
		s, ok := c.text(name, maxText)
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
		if err != nil || len(s) > maxText {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// inner returns an object; an absent one is empty.
func (c claims) inner(name string) (claims, bool) {
	raw, ok := c.members.Get(name)
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return claims{}, true
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return claims{}, false
	}
	o, err := strictjson.SplitObject(raw)
	return claims{o}, err == nil
}

// date returns a NumericDate (RFC 7519 2) in whole seconds, 0 when absent.
// Signs, exponents and years beyond 33,000 are no dates.
func (c claims) date(name string) (int64, bool) {
	raw, ok := c.members.Get(name)
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

// identify checks the claims of a token whose signature is good and returns
// what they prove.
func (is *issuer) identify(t *token, res *resource, now int64) (call.Identity, error) {
	c := t.claims
	id := call.Identity{Issuer: is.Issuer.Issuer, Claims: t.payload}
	if is.As != "" {
		id.Issuer = is.As
	}
	aud, ok := c.texts("aud", true)
	if !ok || len(aud) == 0 {
		return id, ErrAudience
	}
	if !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(res.audiences, canonical(a)) }) {
		return id, ErrAudience
	}
	exp, err := is.inForce(c, now)
	if err != nil {
		return id, err
	}
	id.Expires = exp + is.skew
	id.Issued, _ = c.date("iat")

	if id.Subject, ok = c.text("sub", maxText); !ok || id.Subject == "" {
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
func (is *issuer) inForce(c claims, now int64) (int64, error) {
	exp, ok1 := c.date("exp")
	iat, ok2 := c.date("iat")
	nbf, ok3 := c.date("nbf")
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
	jti, ok := t.claims.text(name, maxText)
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
func Proof(issuer, jti string) string { return pair(issuer, jti) }

// pair joins an issuer and a name injectively, as Principal.Key does.
func pair(issuer, name string) string { return strconv.Itoa(len(issuer)) + ":" + issuer + "|" + name }

// rest reads the claims that all recipes share.
func (is *issuer) rest(c claims, id *call.Identity) error {
	var ok [6]bool
	id.ACR, ok[0] = c.optional("acr")
	id.AMR, ok[1] = c.texts("amr", false)
	id.Session, ok[2] = c.optional("sid")
	id.AuthTime, ok[3] = c.date("auth_time")
	id.Confirmation, ok[4] = c.confirmation()
	id.Actors, ok[5] = c.actors(id.Issuer)
	switch {
	case !ok[4]:
		return ErrBound
	case ok != [6]bool{true, true, true, true, true, true}:
		return ErrClaims
	}
	for _, list := range []*[]string{&id.Scopes, &id.Groups, &id.Roles, &id.AMR} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if len(id.Scopes) > maxScopes {
		return ErrClaims
	}
	for _, s := range id.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || notQuotable(r) }) {
			return ErrClaims
		}
	}
	return nil
}

// optional returns a text where null counts as none.
func (c claims) optional(name string) (string, bool) {
	if !c.has(name) {
		return "", true
	}
	return c.text(name, maxText)
}

// scopes returns the members of a space-separated text (RFC 6749 3.3), or of
// an array.
func (c claims) scopes(name string) ([]string, bool) {
	raw, ok := c.members.Get(name)
	if ok && strictjson.TypeOf(raw) == strictjson.TypeArray {
		return c.texts(name, false)
	}
	s, ok := c.text(name, maxToken)
	if s == "" || !ok {
		return nil, ok
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), true
}

// confirmation reads cnf (RFC 7800). A method that is not known here cannot be
// proved here.
func (c claims) confirmation() (call.Confirmation, bool) {
	var out call.Confirmation
	if !c.has("cnf") {
		return out, true
	}
	cnf, ok := c.inner("cnf")
	if !ok || len(cnf.members) == 0 {
		return out, false
	}
	for _, m := range cnf.members {
		to := &out.JKT
		switch m.Name {
		case "jkt":
		case "x5t#S256":
			to = &out.X5TS256
		default:
			return out, false
		}
		s, ok := cnf.text(m.Name, 43)
		b, err := decode(s)
		if !ok || err != nil || len(b) != sha256.Size {
			return out, false
		}
		*to = s
	}
	return out, true
}

// actors reads the chain of act (RFC 8693 4.1), the one who acts now first,
// each named like Principal.Key. An actor without issuer is of the token's.
func (c claims) actors(issuer string) ([]string, bool) {
	var out []string
	for c.has("act") {
		act, ok := c.inner("act")
		if !ok || len(out) == maxActors {
			return nil, false
		}
		sub, ok1 := act.text("sub", maxText)
		iss, ok2 := act.text("iss", maxText)
		if !ok1 || !ok2 || sub == "" {
			return nil, false
		}
		if iss == "" {
			iss = issuer
		}
		out = append(out, pair(iss, sub))
		c = act
	}
	return out, true
}
