package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

const (
	minRSA  = 2048
	maxRSA  = 8192
	maxJTI  = 256
	maxText = 2048
)

// proof is what a DPoP header says (RFC 9449 4.2).
type proof struct {
	alg        jose.SignatureAlgorithm
	key        crypto.PublicKey
	thumbprint string
	jti        string
	method     string
	url        string
	hash       string
	nonce      string
	issued     int64
	// expires and notBefore are 0 when they are not said, as RFC 9449 has it.
	expires, notBefore int64
	payload            []byte
}

// parse reads a proof strictly and verifies nothing: a compact JWS, two JSON
// objects without duplicate names, no header that chooses a key or changes the
// meaning of the rest but the one jwk.
func parse(s string) (*proof, error) {
	if len(s) > MaxProof || strings.Count(s, ".") != 2 {
		if strings.Contains(s, ",") {
			return nil, ErrSeveral
		}
		return nil, ErrMalformed
	}
	parts := strings.Split(s, ".")
	var raw [3][]byte
	for i, part := range parts {
		b, ok := decode(part)
		if !ok {
			return nil, ErrMalformed
		}
		raw[i] = b
	}
	h, ok := object(raw[0])
	if !ok {
		return nil, ErrMalformed
	}
	if typ, ok := h.text("typ", 64); !ok || typ != "dpop+jwt" {
		return nil, ErrType
	}
	for _, name := range []string{"jku", "x5u", "x5c", "crit", "b64", "zip", "enc"} {
		if _, there := h.Get(name); there {
			return nil, ErrMalformed
		}
	}
	alg, ok := h.text("alg", 16)
	if !ok || alg == "" {
		return nil, ErrAlgorithm
	}
	p := &proof{alg: jose.SignatureAlgorithm(alg), payload: raw[1]}
	if err := p.readKey(h); err != nil {
		return nil, err
	}
	c, ok := object(raw[1])
	if !ok {
		return nil, ErrMalformed
	}
	return p, p.readClaims(c)
}

func (p *proof) readClaims(c members) error {
	for _, f := range []struct {
		name  string
		to    *string
		most  int
		least int
	}{
		{"jti", &p.jti, maxJTI, 1}, {"htm", &p.method, 32, 1}, {"htu", &p.url, maxText, 1},
		{"ath", &p.hash, 43, 43}, {"nonce", &p.nonce, maxText, 0},
	} {
		s, ok := c.text(f.name, f.most)
		if !ok || len(s) < f.least {
			return ErrMalformed
		}
		*f.to = s
	}
	for _, f := range []struct {
		name string
		to   *int64
	}{{"iat", &p.issued}, {"exp", &p.expires}, {"nbf", &p.notBefore}} {
		n, ok := c.date(f.name)
		if !ok {
			return ErrMalformed
		}
		*f.to = n
	}
	if p.issued == 0 {
		return ErrMalformed
	}
	return nil
}

// readKey reads the jwk: the public members of its type and nothing else are
// given to the parser of keys.
func (p *proof) readKey(h members) error {
	raw, ok := h.Get("jwk")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return ErrKey
	}
	jwk, ok := object(raw)
	if !ok {
		return ErrKey
	}
	for _, m := range jwk.Object {
		switch strings.ToLower(m.Name) {
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
			return ErrPrivate
		}
	}
	kty, ok := jwk.text("kty", 8)
	if !ok {
		return ErrKey
	}
	public := map[string][]string{"EC": {"crv", "x", "y"}, "RSA": {"n", "e"}, "OKP": {"crv", "x"}}[kty]
	if public == nil {
		return ErrKey
	}
	only := map[string]string{"kty": kty}
	for _, name := range public {
		s, ok := jwk.text(name, maxText)
		if b, whole := decode(s); !ok || !whole && name != "crv" || name == "n" && len(b) > maxRSA/8 {
			return ErrKey
		}
		only[name] = s
	}
	b, err := json.Marshal(only)
	if err != nil {
		return ErrKey
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(b); err != nil || !k.Valid() || !k.IsPublic() {
		return ErrKey
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return ErrKey
	}
	p.key, p.thumbprint = k.Key, base64.RawURLEncoding.EncodeToString(sum)
	return nil
}

// fits reports that an algorithm is one for this key, and the key large
// enough.
func fits(k crypto.PublicKey, alg jose.SignatureAlgorithm) bool {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA && k.E >= 3 && k.E&1 == 1 &&
			slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, alg)
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256() || alg == jose.ES384 && k.Curve == elliptic.P384() ||
			alg == jose.ES512 && k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return alg == jose.EdDSA || alg == ed25519Name
	}
	return false
}

// ed25519Name is EdDSA with the one curve that there is here (RFC 9864 2.2).
const ed25519Name jose.SignatureAlgorithm = "Ed25519"

// verify checks the signature by the key that the proof itself names.
func (p *proof) verify(s string) error {
	if p.alg == ed25519Name {
		k, ok := p.key.(ed25519.PublicKey)
		end := strings.LastIndexByte(s, '.')
		sig, whole := decode(s[end+1:])
		if !ok || !whole || len(k) != ed25519.PublicKeySize || !ed25519.Verify(k, []byte(s[:end]), sig) {
			return ErrSignature
		}
		return nil
	}
	signed, err := jose.ParseSignedCompact(s, []jose.SignatureAlgorithm{p.alg})
	if err != nil {
		return ErrMalformed
	}
	payload, err := signed.Verify(p.key)
	if err != nil || string(payload) != string(p.payload) {
		return ErrSignature
	}
	return nil
}

// name is under what a proof is remembered: its jti is unique for its key
// only, and of any length and content.
func (p *proof) name() string {
	sum := sha256.Sum256([]byte(p.thumbprint + "." + p.jti))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// normal is a URL in the form in which two are compared (RFC 9449 4.3, by RFC
// 3986 6.2.2 and 6.2.3): scheme and host in lower case, no default port, no dot
// segments, nothing percent-encoded that need not be. One with a user, a query
// or a fragment has no such form.
func normal(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#") {
		return "", false
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if scheme != "https" && scheme != "http" || host == "" || strings.HasSuffix(u.Host, ":") && port != "" {
		return "", false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && (scheme != "https" || port != "443") && (scheme != "http" || port != "80") {
		host += ":" + port
	}
	p := u.EscapedPath()
	if p == "" {
		p = "/"
	}
	if p, err = unreserved(p); err != nil {
		return "", false
	}
	if segments(p) {
		if strings.Contains(p, "//") {
			return "", false
		}
		slash := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
		if p = path.Clean(p); slash && p != "/" {
			p += "/"
		}
	}
	return scheme + "://" + host + p, true
}

// segments reports that a path has dot segments. Without any it stays as it
// is: two slashes are not one.
func segments(p string) bool {
	for s := range strings.SplitSeq(p, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// unreserved decodes what RFC 3986 2.3 says needs no encoding and writes the
// rest in upper case.
func unreserved(p string) (string, error) {
	if !strings.Contains(p, "%") {
		return p, nil
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			b.WriteByte(p[i])
			continue
		}
		if i+2 >= len(p) {
			return "", url.EscapeError(p[i:])
		}
		n, err := strconv.ParseUint(p[i+1:i+3], 16, 8)
		if err != nil {
			return "", url.EscapeError(p[i : i+3])
		}
		c := byte(n)
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(p[i : i+3]))
		}
		i += 2
	}
	return b.String(), nil
}

// decode reads unpadded base64url without stray bits. Go's decoder skips line
// breaks, so they are refused before it sees them.
func decode(s string) ([]byte, bool) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// members is a JSON object that was validated.
type members struct{ strictjson.Object }

func object(b []byte) (members, bool) {
	if strictjson.Validate(b, strictjson.Limits{Bytes: MaxProof, Depth: 4, Members: 64}) != nil {
		return members{}, false
	}
	o, err := strictjson.SplitObject(b)
	if err != nil {
		return members{}, false
	}
	_, _, dup := strictjson.FoldedDuplicate(o)
	return members{o}, !dup
}

// text returns a string; an absent one is empty.
func (m members) text(name string, most int) (string, bool) {
	raw, ok := m.Get(name)
	if !ok {
		return "", true
	}
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", false
	}
	s, err := strictjson.String(raw)
	return s, err == nil && len(s) <= most
}

// date returns a NumericDate (RFC 7519 2) in whole seconds, 0 when absent.
func (m members) date(name string) (int64, bool) {
	raw, ok := m.Get(name)
	if !ok {
		return 0, true
	}
	whole, part, dot := strings.Cut(string(raw), ".")
	if len(whole) > 12 || strings.Trim(whole, "0123456789") != "" || dot && (part == "" || len(part) > 9 || strings.Trim(part, "0123456789") != "") {
		return 0, false
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	return n, err == nil && n > 0
}
