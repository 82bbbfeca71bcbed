package dpop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/store"
)

func TestAGoodProofWorksOnce(t *testing.T) {
	t.Parallel()
	c, m := checker(t, nil), newMaker(t)
	p := m.proof(t, nil, nil)
	if err := c.Check(t.Context(), request(p), token, m.thumbprint(t)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Check(t.Context(), request(p), token, m.thumbprint(t)); !errors.Is(err, ErrReplayed) {
			t.Errorf("again: %v", err)
		}
	}
	// The same jti by another key is another proof.
	other := newMaker(t)
	for _, who := range []maker{m, other} {
		if err := c.Check(t.Context(), request(who.proof(t, nil, map[string]any{"jti": "same"})), token, who.thumbprint(t)); err != nil {
			t.Error(err)
		}
	}
	// Another signature of the same proof is the same proof.
	if err := c.Check(t.Context(), request(m.proof(t, nil, map[string]any{"jti": "same", "iat": time.Now().Unix() - 1})), token, m.thumbprint(t)); !errors.Is(err, ErrReplayed) {
		t.Errorf("signed anew: %v", err)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	t.Parallel()
	c := checker(t, nil)
	ec := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p256, p384, p521, big := ec(elliptic.P256()), ec(elliptic.P384()), ec(elliptic.P521()), bigKeys()
	good := []maker{{jose.ES256, p256}, {jose.ES384, p384}, {jose.ES512, p521}, {jose.EdDSA, edKey(t)}, {ed25519Name, edKey(t)}}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		good = append(good, maker{alg, big[0]})
	}
	if len(good) != len(Algorithms()) {
		t.Fatalf("%d of %d algorithms", len(good), len(Algorithms()))
	}
	for _, m := range good {
		if err := c.Check(t.Context(), request(m.proof(t, nil, nil)), token, m.thumbprint(t)); err != nil {
			t.Errorf("%s: %v", m.alg, err)
		}
	}
	ed := maker{ed25519Name, edKey(t)}
	bent := ed.proof(t, nil, nil)
	bent = bent[:len(bent)-4] + "AAAA"
	if err := c.Check(t.Context(), request(bent), token, ed.thumbprint(t)); !errors.Is(err, ErrSignature) {
		t.Errorf("Ed25519 with a bent signature: %v", err)
	}
	for _, m := range []maker{{jose.ES256, p384}, {jose.ES384, p256}, {jose.RS256, big[1]}, {ed25519Name, p256}} {
		if err := c.Check(t.Context(), request(m.proof(t, nil, nil)), token, m.thumbprint(t)); !errors.Is(err, ErrKey) {
			t.Errorf("%s with a key that does not fit: %v", m.alg, err)
		}
	}
	narrow := checker(t, func(o *Options) { o.Algorithms = []string{"ES384"} })
	if err := narrow.Check(t.Context(), request(good[0].proof(t, nil, nil)), token, good[0].thumbprint(t)); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("ES256 where only ES384 is allowed: %v", err)
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	c, m, other := checker(t, nil), newMaker(t), newMaker(t)
	now := time.Now().Unix()
	body := func(name string, v any) string { return m.proof(t, nil, map[string]any{name: v}) }
	head := func(name string, v any) string { return m.proof(t, map[string]any{name: v}, nil) }
	key := func(name string, v any) string { return head("jwk", change(m.jwk(t), map[string]any{name: v})) }
	good := m.proof(t, nil, nil)
	parts := strings.Split(good, ".")
	hmacKey := map[string]any{"kty": "oct", "k": b64("0123456789abcdef0123456789abcdef")}
	symmetric, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte("0123456789abcdef0123456789abcdef")},
		(&jose.SignerOptions{}).WithType("dpop+jwt").WithHeader("jwk", hmacKey))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := symmetric.Sign([]byte(encode(t, map[string]any{"jti": "x", "htm": "POST", "htu": home, "iat": now, "ath": hashOf(token)})))
	if err != nil {
		t.Fatal(err)
	}
	hs256, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	publicAsSecret := m.sign(t, encode(t, map[string]any{"typ": "dpop+jwt", "alg": "HS256", "jwk": m.jwk(t)}),
		encode(t, map[string]any{"jti": "x", "htm": "POST", "htu": home, "iat": now, "ath": hashOf(token)}))

	for _, a := range []struct {
		name   string
		proofs []string
		want   Error
	}{
		{"no proof", nil, ErrMissing},
		{"empty header", []string{""}, ErrMissing},
		{"two headers", []string{good, m.proof(t, nil, nil)}, ErrSeveral},
		{"two headers, one empty", []string{good, ""}, ErrSeveral},
		{"two in one header", []string{good + ", " + good}, ErrSeveral},
		{"a megabyte", []string{strings.Repeat("a", 1<<20)}, ErrMalformed},
		{"a megabyte of claims", []string{body("pad", strings.Repeat("x", 1<<20))}, ErrMalformed},
		{"no JWS", []string{"abc"}, ErrMalformed},
		{"two parts", []string{parts[0] + "." + parts[1]}, ErrMalformed},
		{"four parts", []string{good + "."}, ErrMalformed},
		{"a space", []string{" " + good}, ErrMalformed},
		{"padding", []string{good + "="}, ErrMalformed},
		{"line break", []string{parts[0] + ".\n" + parts[1] + "." + parts[2]}, ErrMalformed},
		{"no signature", []string{parts[0] + "." + parts[1] + "."}, ErrMalformed},
		{"other's signature", []string{parts[0] + "." + parts[1] + "." + strings.Split(m.proof(t, nil, nil), ".")[2]}, ErrSignature},
		{"key swapped in the header", []string{m.proof(t, map[string]any{"jwk": other.jwk(t)}, nil)}, ErrOtherKey},

		{"typ JWT", []string{head("typ", "JWT")}, ErrType},
		{"typ at+jwt", []string{head("typ", "at+jwt")}, ErrType},
		{"typ in capitals", []string{head("typ", "DPOP+JWT")}, ErrType},
		{"no typ", []string{head("typ", nil)}, ErrType},
		{"typ a number", []string{head("typ", 1)}, ErrType},
		{"alg none", []string{b64(`{"typ":"dpop+jwt","alg":"none","jwk":`+encode(t, m.jwk(t))+`}`) + "." + parts[1] + "." + parts[2]}, ErrAlgorithm},
		{"alg nOnE", []string{head("alg", "nOnE")}, ErrAlgorithm},
		{"no alg", []string{head("alg", nil)}, ErrAlgorithm},
		{"HS256", []string{hs256}, ErrPrivate},
		{"HS256 by the public key", []string{publicAsSecret}, ErrAlgorithm},
		{"alg of another key", []string{head("alg", "ES384")}, ErrKey},
		{"critical header", []string{head("crit", []string{"x"})}, ErrMalformed},
		{"not encoded", []string{head("b64", false)}, ErrMalformed},
		{"key from an address", []string{head("jku", "https://evil.example/keys")}, ErrMalformed},
		{"certificate", []string{head("x5c", []string{"AA"})}, ErrMalformed},
		{"two alg members", []string{m.sign(t, `{"typ":"dpop+jwt","alg":"ES256","alg":"none","jwk":`+encode(t, m.jwk(t))+`}`, "{}")}, ErrMalformed},
		{"alg and ALG", []string{head("ALG", "none")}, ErrMalformed},

		{"no key", []string{head("jwk", nil)}, ErrKey},
		{"key by ID", []string{m.proof(t, map[string]any{"jwk": nil, "kid": "k1"}, nil)}, ErrKey},
		{"key as text", []string{head("jwk", encode(t, m.jwk(t)))}, ErrKey},
		{"private part", []string{key("d", b64("private"))}, ErrPrivate},
		{"private part in capitals", []string{key("D", b64("private"))}, ErrPrivate},
		{"private part, null", []string{m.sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+strings.TrimSuffix(encode(t, m.jwk(t)), "}")+`,"d":null}}`, "{}")}, ErrPrivate},
		{"symmetric", []string{head("jwk", hmacKey)}, ErrPrivate},
		{"point off the curve", []string{key("y", b64(strings.Repeat("a", 32)))}, ErrKey},
		{"point at infinity", []string{head("jwk", map[string]any{"kty": "EC", "crv": "P-256", "x": b64(strings.Repeat("\x00", 32)), "y": b64(strings.Repeat("\x00", 32))})}, ErrKey},
		{"unknown type", []string{key("kty", "XX")}, ErrKey},
		{"unknown curve", []string{key("crv", "secp256k1")}, ErrKey},
		{"RSA without e", []string{head("jwk", map[string]any{"kty": "RSA", "n": b64("n")})}, ErrKey},
		{"RSA of a kilobit and a proof by nobody", []string{head("jwk", maker{jose.RS256, bigKeys()[1]}.jwk(t))}, ErrKey},
		{"jwk members twice", []string{m.sign(t, `{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","kty":"RSA"}}`, "{}")}, ErrMalformed},

		{"another method", []string{body("htm", "GET")}, ErrMethod},
		{"method in small letters", []string{body("htm", "post")}, ErrMethod},
		{"no method", []string{body("htm", nil)}, ErrMalformed},
		{"sibling URL", []string{body("htu", "https://gw.example/mcp/mail")}, ErrURL},
		{"URL above", []string{body("htu", "https://gw.example/mcp")}, ErrURL},
		{"URL below", []string{body("htu", home+"/x")}, ErrURL},
		{"slash at the end", []string{body("htu", home+"/")}, ErrURL},
		{"other host", []string{body("htu", "https://evil.example/mcp/files")}, ErrURL},
		{"other port", []string{body("htu", "https://gw.example:8443/mcp/files")}, ErrURL},
		{"plain http", []string{body("htu", "http://gw.example/mcp/files")}, ErrURL},
		{"path alone", []string{body("htu", "/mcp/files")}, ErrURL},
		{"user in the URL", []string{body("htu", "https://gw.example@evil.example/mcp/files")}, ErrURL},
		{"query", []string{body("htu", home+"?a=b")}, ErrURL},
		{"empty query", []string{body("htu", home+"?")}, ErrURL},
		{"fragment", []string{body("htu", home+"#x")}, ErrURL},
		{"path in another case", []string{body("htu", "https://gw.example/mcp/Files")}, ErrURL},
		{"encoded slash", []string{body("htu", "https://gw.example/mcp%2Ffiles")}, ErrURL},
		{"broken encoding", []string{body("htu", "https://gw.example/mcp/%zz")}, ErrURL},
		{"no URL", []string{body("htu", nil)}, ErrMalformed},
		{"URL in a list", []string{body("htu", []string{home})}, ErrMalformed},

		{"too old", []string{body("iat", now-62)}, ErrTime},
		{"ages ago", []string{body("iat", 1)}, ErrTime},
		{"from the future", []string{body("iat", now+70)}, ErrTime},
		{"from the far future", []string{body("iat", now+1<<33)}, ErrTime},
		{"milliseconds", []string{body("iat", now*1000)}, ErrMalformed},
		{"negative time", []string{body("iat", -now)}, ErrMalformed},
		{"time as text", []string{body("iat", "1")}, ErrMalformed},
		{"no time", []string{body("iat", nil)}, ErrMalformed},
		{"expired by its own word", []string{body("exp", now-1)}, ErrTime},
		{"not valid yet by its own word", []string{body("nbf", now+3600)}, ErrTime},
		{"no jti", []string{body("jti", nil)}, ErrMalformed},
		{"empty jti", []string{body("jti", "")}, ErrMalformed},
		{"jti of a kilobyte", []string{body("jti", strings.Repeat("j", 1024))}, ErrMalformed},
		{"another token", []string{body("ath", hashOf("another token"))}, ErrToken},
		{"no token", []string{body("ath", nil)}, ErrMalformed},
		{"hash in hexadecimal", []string{body("ath", strings.Repeat("ab", 32))}, ErrMalformed},
		{"claims twice", []string{m.sign(t, encode(t, map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": m.jwk(t)}), `{"htm":"GET","htm":"POST"}`)}, ErrMalformed},
		{"claims are a list", []string{m.sign(t, encode(t, map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": m.jwk(t)}), `[]`)}, ErrMalformed},
		{"another key", []string{other.proof(t, nil, nil)}, ErrOtherKey},
	} {
		err := c.Check(t.Context(), request(a.proofs...), token, m.thumbprint(t))
		if !errors.Is(err, a.want) {
			t.Errorf("%s: %v, want %v", a.name, err, a.want)
		}
	}
	if err := c.Check(t.Context(), request(good), "another token", m.thumbprint(t)); !errors.Is(err, ErrToken) {
		t.Errorf("sent with another token: %v", err)
	}
	get := request(good)
	get.Method = http.MethodGet
	if err := c.Check(t.Context(), get, token, m.thumbprint(t)); !errors.Is(err, ErrMethod) {
		t.Errorf("sent by another method: %v", err)
	}
	// What was refused used nothing up.
	if err := c.Check(t.Context(), request(good), token, m.thumbprint(t)); err != nil {
		t.Errorf("the good one: %v", err)
	}
	for name, call := range map[string]func() error{
		"no thumbprint": func() error { return c.Check(t.Context(), request(m.proof(t, nil, nil)), token, "") },
		"no token":      func() error { return c.Check(t.Context(), request(m.proof(t, nil, nil)), "", m.thumbprint(t)) },
		"zero checker": func() error {
			return new(Checker).Check(t.Context(), request(m.proof(t, nil, nil)), token, m.thumbprint(t))
		},
		"no checker": func() error {
			return (*Checker)(nil).Check(t.Context(), request(m.proof(t, nil, nil)), token, m.thumbprint(t))
		},
	} {
		if call() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestURLsThatAreTheSame are the normal forms of RFC 3986 6.2.2 and 6.2.3.
func TestURLsThatAreTheSame(t *testing.T) {
	t.Parallel()
	c, m := checker(t, nil), newMaker(t)
	for _, u := range []string{home, "HTTPS://GW.Example/mcp/files", "https://gw.example:443/mcp/files", "https://gw.example/mcp/%66iles",
		"https://gw.example/mcp/./files", "https://gw.example/x/../mcp/files", "https://gw.example/mcp/%2E/files"} {
		if err := c.Check(t.Context(), request(m.proof(t, nil, map[string]any{"htu": u})), token, m.thumbprint(t)); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for in, want := range map[string]string{
		"https://a.example": "https://a.example/", "http://[::1]:80/mcp": "http://[::1]/mcp", "http://127.0.0.1:8931/mcp": "http://127.0.0.1:8931/mcp",
		"https://a.example/%c3%a9": "https://a.example/%C3%A9", "https://a.example/a/..": "https://a.example/", "https://a.example/a/b/.": "https://a.example/a/b/",
		"https://a.example//mcp": "https://a.example//mcp",
	} {
		if got, ok := normal(in); !ok || got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	for _, bad := range []string{"", "gw.example/mcp", "ftp://gw.example/mcp", "https:///mcp", "https:gw.example", "https://a.example/a//../b", "https://a.example/%"} {
		if got, ok := normal(bad); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// TestExamplesOfTheRFC takes the request of RFC 9449 7.1 as it stands there.
func TestExamplesOfTheRFC(t *testing.T) {
	t.Parallel()
	const (
		proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19" +
			".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9" +
			".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		access     = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
		thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	)
	c := checker(t, nil)
	r := request(proof)
	r.Method, r.Resource = http.MethodGet, "https://resource.example.org/protectedresource"
	at := time.Unix(1562262618, 0)
	if _, err := c.judge(r, access, thumbprint, at.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.judge(r, access, thumbprint, at.Add(61*time.Second)); !errors.Is(err, ErrTime) {
		t.Errorf("a minute later: %v", err)
	}
	if _, err := c.judge(r, access, thumbprint, at.Add(-61*time.Second)); !errors.Is(err, ErrTime) {
		t.Errorf("a minute before: %v", err)
	}
	if _, err := c.judge(r, access+"x", thumbprint, at); !errors.Is(err, ErrToken) {
		t.Errorf("another token: %v", err)
	}
}

func TestNonces(t *testing.T) {
	t.Parallel()
	r := ring(t)
	n, err := NewNonces(r, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c, m := checker(t, func(o *Options) { o.Nonces = n; o.Window = 5 * time.Minute }), newMaker(t)
	start := time.Now().Truncate(time.Minute)
	ask := func(nonce string, at time.Time) (string, error) {
		body := map[string]any{"iat": at.Unix()}
		if nonce != "" {
			body["nonce"] = nonce
		}
		q := request(m.proof(t, nil, body))
		_, err := c.judge(q, token, m.thumbprint(t), at)
		return q.Reply.Get("DPoP-Nonce"), err
	}
	first, err := ask("", start)
	if !errors.Is(err, ErrNonce) || first == "" || ErrNonce.Code() != "use_dpop_nonce" {
		t.Fatalf("without: %v %q", err, first)
	}
	if strings.ContainsFunc(first, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == ',' }) {
		t.Errorf("a nonce that a header cannot carry: %q", first)
	}
	if next, err := ask(first, start.Add(59*time.Second)); err != nil || next != "" {
		t.Errorf("the newest: %v %q", err, next)
	}
	second, err := ask(first, start.Add(61*time.Second))
	if err != nil || second == "" || second == first {
		t.Errorf("the one before: %v %q", err, second)
	}
	if next, err := ask(first, start.Add(2*time.Minute)); !errors.Is(err, ErrNonce) || next == "" {
		t.Errorf("an old one: %v %q", err, next)
	}
	if _, err := ask(second, start.Add(-time.Minute)); !errors.Is(err, ErrNonce) {
		t.Errorf("one that is not yet: %v", err)
	}
	foreign, err := NewNonces(ring(t), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := foreign.Next(start)
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(first, ".")
	_, rest, _ := strings.Cut(theirs, ".")
	for _, bad := range []string{theirs, id + "." + rest, id + ".", id, "." + rest, first + "x", strings.ToUpper(first), strings.Repeat("n", 2000)} {
		if next, err := ask(bad, start); !errors.Is(err, ErrNonce) || next != first {
			t.Errorf("%.40q: %v %q", bad, err, next)
		}
	}
	// Another process with the same keys accepts and gives the same.
	twin, err := NewNonces(r, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := twin.Next(start); err != nil || again != first {
		t.Errorf("the twin's: %q %v", again, err)
	}
	// A nonce does not excuse a proof that is wrong otherwise.
	q := request(m.proof(t, nil, map[string]any{"nonce": first, "iat": start.Unix(), "htm": "GET"}))
	if _, err := c.judge(q, token, m.thumbprint(t), start); !errors.Is(err, ErrMethod) {
		t.Error(err)
	}
}

// TestTwoProcessesShareWhatWasUsed has many requests with one proof at two
// checkers over one file: one of them is served.
func TestTwoProcessesShareWhatWasUsed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "s.db")
	m := newMaker(t)
	both := []*Checker{checker(t, func(o *Options) { o.Used = bucket(t, file) }), checker(t, func(o *Options) { o.Used = bucket(t, file) })}
	p, jkt := m.proof(t, nil, nil), m.thumbprint(t)
	var served atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch err := both[i%2].Check(t.Context(), request(p), token, jkt); {
			case err == nil:
				served.Add(1)
			case !errors.Is(err, ErrReplayed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if served.Load() != 1 {
		t.Errorf("one proof was served %d times", served.Load())
	}
}

// TestFloodLeavesNothing: what strangers send is not stored, and what a client
// uses up has one bounded key that ends when the proof does.
func TestFloodLeavesNothing(t *testing.T) {
	t.Parallel()
	kv := bucket(t, filepath.Join(t.TempDir(), "s.db"))
	c, m, stranger := checker(t, func(o *Options) { o.Used = kv }), newMaker(t), newMaker(t)
	jkt := m.thumbprint(t)
	for range 300 {
		for _, p := range []string{stranger.proof(t, nil, nil), m.proof(t, nil, map[string]any{"ath": hashOf("x")}), m.proof(t, nil, nil) + "A"} {
			if err := c.Check(t.Context(), request(p), token, jkt); err == nil {
				t.Fatal("accepted")
			}
		}
	}
	stored := func() (n int) {
		if err := kv.Scan(t.Context(), "", func(e store.Entry) bool {
			n++
			if left := time.Until(e.Expiry); len(e.Key) != 43 || len(e.Value) != 1 || e.Expiry.IsZero() || left > 2*DefaultWindow+2*time.Second {
				t.Errorf("an entry of %d and %d bytes for %v", len(e.Key), len(e.Value), left)
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := stored(); n != 0 {
		t.Errorf("%d entries of strangers", n)
	}
	for range 50 {
		long := rand.Text() + strings.Repeat("j", maxJTI-26)
		if err := c.Check(t.Context(), request(m.proof(t, nil, map[string]any{"jti": long, "iat": time.Now().Add(DefaultWindow).Unix()})), token, jkt); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored(); n != 50 {
		t.Errorf("%d entries", n)
	}
}

// TestStoreThatFails refuses everybody.
func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	c, m := checker(t, nil), newMaker(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var known Error
	if err := c.Check(gone, request(m.proof(t, nil, nil)), token, m.thumbprint(t)); err == nil || errors.As(err, &known) {
		t.Errorf("%v", err)
	}
}

func TestOptionsAreJudged(t *testing.T) {
	t.Parallel()
	kv := bucket(t, filepath.Join(t.TempDir(), "s.db"))
	for name, o := range map[string]Options{
		"nothing":       {},
		"no algorithm":  {Used: kv, Algorithms: []string{}},
		"none":          {Used: kv, Algorithms: []string{"none"}},
		"symmetric":     {Used: kv, Algorithms: []string{"HS256"}},
		"long window":   {Used: kv, Window: time.Hour},
		"negative time": {Used: kv, Window: -1},
	} {
		if c, err := New(o); err == nil || c != nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := NewNonces(nil, 0); err == nil {
		t.Error("nonces without keys")
	}
	if _, err := NewNonces(ring(t), time.Millisecond); err == nil {
		t.Error("nonces that end at once")
	}
}

// FuzzProof gives arbitrary texts, and arbitrary headers and claims under a
// good signature, to a checker. What is accepted says everything that it has to
// say, another reader agrees, and it is accepted once.
func FuzzProof(f *testing.F) {
	m := newMaker(f)
	c := checker(f, nil)
	jkt := m.thumbprint(f)
	head := encode(f, map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": m.jwk(f)})
	body := encode(f, map[string]any{"jti": "j", "htm": "POST", "htu": home, "iat": time.Now().Unix(), "ath": hashOf(token)})
	f.Add(m.sign(f, head, body), "", "")
	f.Add("a.b.c", head, body)
	f.Add("", head, strings.Replace(body, home, "https://GW.example:443/a/../mcp/files", 1))
	f.Add("", strings.Replace(head, `"jwk":{`, `"jwk":{"d":"AA",`, 1), body)
	f.Add("", strings.Replace(head, "ES256", "HS256", 1), strings.Replace(body, `"iat":`, `"iat":1,"iat":`, 1))
	f.Fuzz(func(t *testing.T, text, head, body string) {
		for _, p := range []string{text, m.sign(t, head, body)} {
			if c.Check(t.Context(), request(p), token, jkt) != nil {
				continue
			}
			if err := c.Check(t.Context(), request(p), token, jkt); !errors.Is(err, ErrReplayed) {
				t.Fatalf("twice: %v", err)
			}
			signed, err := jose.ParseSignedCompact(p, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatalf("accepted, and another reader cannot read it: %v", err)
			}
			h := signed.Signatures[0].Protected
			payload, err := signed.Verify(m.key.Public())
			if err != nil || h.JSONWebKey == nil || !h.JSONWebKey.IsPublic() || h.ExtraHeaders["typ"] != "dpop+jwt" {
				t.Fatalf("accepted: %v %v", h, err)
			}
			claims := readClaims(t, payload)
			now := float64(time.Now().Unix())
			if claims.HTM != "POST" || claims.JTI == "" || claims.ATH != hashOf(token) || claims.IAT < now-61 || claims.IAT > now+61 ||
				!strings.HasSuffix(strings.ToLower(claims.HTU), "iles") {
				t.Fatalf("accepted: %s", payload)
			}
		}
	})
}
