package spiffe

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of an SVID's text.
const (
	maxToken   = 16 << 10
	maxDepth   = 16
	maxMembers = 1024
	maxID      = 2048 // SPIFFE-ID 2.3
)

// token is an SVID that was read and not verified.
type token struct {
	kid, signed string
	payload     []byte
	claims      authn.Claims
	id          spiffeid.ID
	aud         []string
}

// Form reads what decides who judges a token: the issuer that it names, if any,
// and whether its subject is a SPIFFE ID and its type that of a JWT-SVID. Nothing
// of it is verified. A token that is no unambiguous JWT has no form.
func Form(text string) (issuer string, svid bool) {
	header, claims, _, err := open(text)
	if err != nil {
		return "", false
	}
	iss, ok := claims.Text("iss", authn.MaxText)
	if !ok {
		return "", false
	}
	sub, ok := claims.Text("sub", maxID)
	return iss, ok && strings.HasPrefix(sub, "spiffe://") && typed(header)
}

// typed reports that typ is one that an SVID may have (JWT-SVID 2.3).
func typed(header authn.Claims) bool {
	if _, ok := header.Members.Get("typ"); !ok {
		return true
	}
	typ, ok := header.Text("typ", 16)
	return ok && (typ == "JWT" || typ == "JOSE")
}

// open reads a compact JWS strictly: unpadded base64url without stray bits, and
// two JSON objects without duplicate names.
func open(text string) (header, claims authn.Claims, payload []byte, err error) {
	if len(text) > maxToken || strings.Count(text, ".") != 2 {
		return header, claims, nil, ErrMalformed
	}
	parts := strings.Split(text, ".")
	for i, to := range []*authn.Claims{&header, &claims, nil} {
		if parts[i] == "" || strings.ContainsAny(parts[i], "\r\n") {
			return header, claims, nil, ErrMalformed
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return header, claims, nil, ErrMalformed
		}
		if to == nil {
			continue
		}
		if *to, err = authn.ReadClaims(b, strictjson.Limits{Bytes: maxToken, Depth: maxDepth, Members: maxMembers}); err != nil {
			return header, claims, nil, ErrMalformed
		}
		payload = b
	}
	return header, claims, payload, nil
}

// parse reads an SVID and refuses every header that would choose a key or change
// the meaning of the rest. The algorithm is held against the list of JWT-SVID 2.1
// where the signature is verified.
func parse(text string) (*token, error) {
	header, claims, payload, err := open(text)
	if err != nil {
		return nil, err
	}
	if _, _, dup := strictjson.FoldedDuplicate(header.Members); dup {
		return nil, ErrMalformed
	}
	for _, name := range []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"} {
		if _, ok := header.Members.Get(name); ok {
			return nil, ErrMalformed
		}
	}
	if !typed(header) {
		return nil, ErrType
	}
	t := &token{payload: payload, claims: claims, signed: text[:strings.LastIndexByte(text, '.')]}
	var ok bool
	if t.kid, ok = header.Text("kid", 256); !ok || t.kid == "" {
		return nil, ErrKey
	}
	sub, ok := claims.Text("sub", maxID)
	if !ok {
		return nil, ErrClaims
	}
	if t.id, err = spiffeid.FromString(sub); err != nil || t.id.Path() == "" {
		return nil, ErrClaims
	}
	// Claims that would say more than an SVID can: nothing here proves a key, and
	// nobody acts through an SVID. aud and exp in another form are no SVID either.
	for _, name := range []string{"cnf", "act"} {
		if _, ok := claims.Members.Get(name); ok {
			return nil, ErrClaims
		}
	}
	if t.aud, ok = claims.Texts("aud", true); !ok {
		return nil, ErrAudience
	}
	return t, nil
}

// identify checks the claims for a resource at a time and returns what they
// prove if the signature is good.
func (t *token) identify(res *authn.Protected, now time.Time) (call.Identity, error) {
	if len(t.aud) != 1 || !res.Accepts(t.aud) {
		return call.Identity{}, ErrAudience
	}
	exp, ok1 := t.claims.Date("exp")
	iat, ok2 := t.claims.Date("iat")
	nbf, ok3 := t.claims.Date("nbf")
	if !ok1 || !ok2 || !ok3 || exp == 0 || iat >= exp {
		return call.Identity{}, ErrClaims
	}
	at, skew, life := now.Unix(), int64(Skew/time.Second), int64(MaxLifetime/time.Second)
	switch {
	case at >= exp+skew:
		return call.Identity{}, ErrExpired
	case nbf > at+skew || iat > at+skew:
		return call.Identity{}, ErrNotYet
	case iat != 0 && exp-iat > life || exp-at > life+skew:
		return call.Identity{}, ErrLifetime
	}
	id := call.Identity{Subject: t.id.String(), Kind: call.Workload, Client: t.id.String(), Claims: t.payload, Expires: exp + skew, Issued: iat}
	jti, ok := t.claims.Text("jti", authn.MaxText)
	if !ok {
		return call.Identity{}, ErrClaims
	}
	if jti != "" {
		id.Proof = authn.Pair(t.id.TrustDomain().IDString(), jti)
	} else {
		sum := sha256.Sum256([]byte(t.signed))
		id.Proof = "sha256:" + hex.EncodeToString(sum[:])
	}
	return id, nil
}
