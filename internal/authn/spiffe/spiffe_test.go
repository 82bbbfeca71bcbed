package spiffe_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

const (
	home    = "https://gw.example/mcp/files"
	sibling = "https://gw.example/mcp/mail"
	agent   = "spiffe://example.org/ns/prod/agent"
)

// authority signs for a trust domain.
type authority struct {
	domain string
	kid    string
	alg    jose.SignatureAlgorithm
	key    crypto.Signer
}

func newAuthority(t testing.TB, domain, kid string) authority {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authority{domain, kid, jose.ES256, k}
}

// bundleOf is the trust domain's bundle as go-spiffe writes it.
func bundleOf(t testing.TB, domain string, list ...authority) []byte {
	t.Helper()
	text, err := trusted(t, domain, list...).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func trusted(t testing.TB, domain string, list ...authority) *spiffebundle.Bundle {
	t.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString(domain))
	for _, a := range list {
		if err := b.AddJWTAuthority(a.kid, a.key.Public()); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

type claims map[string]any

func good() claims {
	now := time.Now().Unix()
	return claims{"sub": agent, "aud": []string{home}, "exp": now + 300, "iat": now}
}

func (c claims) with(more claims) claims {
	c = maps.Clone(c)
	maps.Copy(c, more)
	for k, v := range c {
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

// svid signs claims; header members with nil are left out.
func (a authority) svid(t testing.TB, c claims, header map[jose.HeaderKey]any) string {
	t.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, string(body), header)
}

func (a authority) sign(t testing.TB, body string, header map[jose.HeaderKey]any) string {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: header}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: a.alg, Key: jose.JSONWebKey{Key: a.key, KeyID: a.kid}}, o)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(at, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

func options(domains ...spiffe.Domain) spiffe.Options {
	return spiffe.Options{Domains: domains, Revoked: func(string) bool { return false },
		Resources: map[string]authn.Resource{home: {Metadata: "https://gw.example/.well-known/x", Scope: "files:list"}, sibling: {}}}
}

func verifier(t testing.TB, o spiffe.Options) *spiffe.Verifier {
	t.Helper()
	v, err := spiffe.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bearer(token string) authn.Request {
	return authn.Request{Header: http.Header{"Authorization": {"Bearer " + token}}, Resource: home}
}

func TestAWorkload(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org", "k1")
	v := verifier(t, options(spiffe.Domain{Name: "example.org", File: file(t, bundleOf(t, "example.org", a)), Scopes: []string{"files:call"}}))
	c := good().with(claims{"jti": "j1", "iss": "https://spire.example"})
	for _, typ := range []any{nil, "JWT", "JOSE"} {
		var h map[jose.HeaderKey]any
		if typ != nil {
			h = map[jose.HeaderKey]any{"typ": typ}
		}
		p, err := v.Authenticate(t.Context(), bearer(a.svid(t, c, h)))
		if err != nil {
			t.Fatalf("typ %v: %v", typ, err)
		}
		id := p.Identity()
		id.Claims = nil
		want := call.Identity{Issuer: "spiffe://example.org", Subject: agent, Kind: call.Workload, Client: agent, Scopes: []string{"files:call"},
			Proof: "20:spiffe://example.org|j1", Expires: c["exp"].(int64) + 60, Issued: c["iat"].(int64)}
		if d := cmp.Diff(want, id); d != "" {
			t.Error(d)
		}
		if !v.Current(p) || !v.Known(id.Issuer) {
			t.Error("the principal does not hold")
		}
	}
	// The same token elsewhere is worth nothing.
	r := bearer(a.svid(t, c, nil))
	r.Resource = sibling
	if _, err := v.Authenticate(t.Context(), r); !errors.Is(err, spiffe.ErrAudience) {
		t.Errorf("at the sibling: %v", err)
	}
}

// TestHostileSVIDs: each row is a way to be let in that is none.
func TestHostileSVIDs(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t, "example.org", "k1"), newAuthority(t, "other.org", "k2")
	stranger := newAuthority(t, "example.org", "k1")
	v := verifier(t, options(
		spiffe.Domain{Name: "example.org", File: file(t, bundleOf(t, "example.org", a))},
		spiffe.Domain{Name: "other.org", File: file(t, bundleOf(t, "other.org", other))}))
	now := time.Now().Unix()
	deep := strings.Repeat(`{"sub":"x","act":`, 40) + "null" + strings.Repeat("}", 40)
	hs := func() string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: make([]byte, 32)}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(good())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		out, err := sig.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	fine := a.svid(t, good(), nil)
	parts := strings.Split(fine, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"sibling's audience":        {a.svid(t, good().with(claims{"aud": []string{sibling}}), nil), spiffe.ErrAudience},
		"one audience too many":     {a.svid(t, good().with(claims{"aud": []string{home, sibling}}), nil), spiffe.ErrAudience},
		"this audience twice":       {a.svid(t, good().with(claims{"aud": []string{home, home}}), nil), spiffe.ErrAudience},
		"a slash at the end":        {a.svid(t, good().with(claims{"aud": home + "/"}), nil), spiffe.ErrAudience},
		"no audience":               {a.svid(t, good().with(claims{"aud": nil}), nil), spiffe.ErrAudience},
		"empty audience":            {a.svid(t, good().with(claims{"aud": []string{}}), nil), spiffe.ErrAudience},
		"audience of another type":  {a.svid(t, good().with(claims{"aud": 7}), nil), spiffe.ErrAudience},
		"another domain's key":      {other.svid(t, good(), nil), spiffe.ErrKey},
		"its kid, a stranger's key": {stranger.svid(t, good(), nil), spiffe.ErrSignature},
		"a domain nobody named":     {a.svid(t, good().with(claims{"sub": "spiffe://evil.org/agent"}), nil), spiffe.ErrDomain},
		"a domain like ours":        {a.svid(t, good().with(claims{"sub": "spiffe://example.org.evil/agent"}), nil), spiffe.ErrDomain},
		"the domain itself":         {a.svid(t, good().with(claims{"sub": "spiffe://example.org"}), nil), spiffe.ErrClaims},
		"upper case":                {a.svid(t, good().with(claims{"sub": "SPIFFE://example.org/agent"}), nil), spiffe.ErrClaims},
		"upper case domain":         {a.svid(t, good().with(claims{"sub": "spiffe://Example.org/agent"}), nil), spiffe.ErrClaims},
		"dots in the path":          {a.svid(t, good().with(claims{"sub": agent + "/../admin"}), nil), spiffe.ErrClaims},
		"percent in the path":       {a.svid(t, good().with(claims{"sub": agent + "/%61dmin"}), nil), spiffe.ErrClaims},
		"user information":          {a.svid(t, good().with(claims{"sub": "spiffe://a@example.org/agent"}), nil), spiffe.ErrClaims},
		"port":                      {a.svid(t, good().with(claims{"sub": "spiffe://example.org:1/agent"}), nil), spiffe.ErrClaims},
		"query":                     {a.svid(t, good().with(claims{"sub": agent + "?a"}), nil), spiffe.ErrClaims},
		"no subject":                {a.svid(t, good().with(claims{"sub": nil}), nil), spiffe.ErrClaims},
		"expired":                   {a.svid(t, good().with(claims{"exp": now - 61, "iat": now - 300}), nil), spiffe.ErrExpired},
		"no exp":                    {a.svid(t, good().with(claims{"exp": nil}), nil), spiffe.ErrClaims},
		"exp is a text":             {a.svid(t, good().with(claims{"exp": "never"}), nil), spiffe.ErrClaims},
		"two hours":                 {a.svid(t, good().with(claims{"exp": now + 7200}), nil), spiffe.ErrLifetime},
		"two hours without iat":     {a.svid(t, good().with(claims{"exp": now + 7200, "iat": nil}), nil), spiffe.ErrLifetime},
		"two hours, old":            {a.svid(t, good().with(claims{"exp": now + 60, "iat": now - 7140}), nil), spiffe.ErrLifetime},
		"from the future":           {a.svid(t, good().with(claims{"iat": now + 120}), nil), spiffe.ErrNotYet},
		"not yet":                   {a.svid(t, good().with(claims{"nbf": now + 120}), nil), spiffe.ErrNotYet},
		"bound to a key":            {a.svid(t, good().with(claims{"cnf": claims{"jkt": "x"}}), nil), spiffe.ErrClaims},
		"somebody acts":             {a.svid(t, good().with(claims{"act": claims{"sub": "root"}}), nil), spiffe.ErrClaims},
		"act without end":           {a.sign(t, `{"sub":"`+agent+`","act":`+deep+`}`, nil), spiffe.ErrMalformed},
		"two subjects":              {a.sign(t, `{"sub":"`+agent+`","aud":"`+home+`","exp":9999999999,"sub":"spiffe://example.org/x"}`, nil), spiffe.ErrMalformed},
		"an access token":           {a.svid(t, good(), map[jose.HeaderKey]any{"typ": "at+jwt"}), spiffe.ErrType},
		"a type of another type":    {a.svid(t, good(), map[jose.HeaderKey]any{"typ": 7}), spiffe.ErrType},
		"key by reference":          {a.svid(t, good(), map[jose.HeaderKey]any{"jku": "https://evil.example"}), spiffe.ErrMalformed},
		"jwk in the header":         {a.svid(t, good(), map[jose.HeaderKey]any{"jwk": map[string]any{"kty": "EC"}}), spiffe.ErrMalformed},
		"no kid":                    {authority{a.domain, "", a.alg, a.key}.svid(t, good(), nil), spiffe.ErrKey},
		"HMAC":                      {hs(), spiffe.ErrSignature},
		"none":                      {b64([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + "." + b64([]byte("x")), spiffe.ErrSignature},
		"other claims":              {parts[0] + "." + b64([]byte(strings.Replace(string(mustDecode(t, parts[1])), "agent", "admin", 1))) + "." + parts[2], spiffe.ErrSignature},
		"no signature":              {parts[0] + "." + parts[1] + ".", spiffe.ErrMalformed},
		"padded":                    {parts[0] + "=." + parts[1] + "." + parts[2], spiffe.ErrMalformed},
		"a line break":              {parts[0] + "." + parts[1] + ".\n" + parts[2], spiffe.ErrMalformed},
		"too long":                  {fine + strings.Repeat("A", 16<<10), spiffe.ErrMalformed},
		"nothing":                   {"", spiffe.ErrMalformed},
	} {
		p, err := v.Authenticate(t.Context(), bearer(row.token))
		var ref *authn.Refusal
		if !errors.Is(err, row.want) || !errors.As(err, &ref) || p.Valid() {
			t.Errorf("%s: %v, wanted %v", name, err, row.want)
			continue
		}
		if !strings.HasPrefix(ref.Challenge, `Bearer error="invalid_token"`) || !strings.Contains(ref.Challenge, "resource_metadata=") {
			t.Errorf("%s: %s", name, ref.Challenge)
		}
	}
	for name, r := range map[string]authn.Request{
		"DPoP scheme": {Header: http.Header{"Authorization": {"DPoP " + fine}}, Resource: home},
		"two headers": {Header: http.Header{"Authorization": {"Bearer " + fine, "Bearer " + fine}}, Resource: home},
		"no header":   {Header: http.Header{}, Resource: home},
		"no resource": {Header: http.Header{"Authorization": {"Bearer " + fine}}, Resource: "https://gw.example/mcp/nope"},
	} {
		if _, err := v.Authenticate(t.Context(), r); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	if p, err := new(spiffe.Verifier).Authenticate(t.Context(), bearer(fine)); err == nil || p.Valid() {
		t.Error("the zero value lets in")
	}
}

func mustDecode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRevokedAndEnded(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org", "k1")
	var revoked, ended atomic.Bool
	o := options(spiffe.Domain{Name: "example.org", File: file(t, bundleOf(t, "example.org", a))})
	o.Revoked = func(proof string) bool { return revoked.Load() && strings.HasPrefix(proof, "sha256:") }
	o.Ended = func(call.Identity) bool { return ended.Load() }
	v := verifier(t, o)
	token := a.svid(t, good(), nil)
	p, err := v.Authenticate(t.Context(), bearer(token))
	if err != nil || !v.Current(p) {
		t.Fatal(err)
	}
	for _, flag := range []*atomic.Bool{&revoked, &ended} {
		flag.Store(true)
		if _, err := v.Authenticate(t.Context(), bearer(token)); !errors.Is(err, spiffe.ErrRevoked) || v.Current(p) {
			t.Errorf("a token that was taken back: %v", err)
		}
		flag.Store(false)
	}
}

// TestWhoseTokenItIs is what the composition asks before anybody judges.
func TestWhoseTokenItIs(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org", "k1")
	for name, row := range map[string]struct {
		token  string
		issuer string
		svid   bool
	}{
		"svid":         {a.svid(t, good(), nil), "", true},
		"with issuer":  {a.svid(t, good().with(claims{"iss": "https://spire"}), nil), "https://spire", true},
		"access token": {a.svid(t, good(), map[jose.HeaderKey]any{"typ": "at+jwt"}), "", false},
		"user":         {a.svid(t, good().with(claims{"sub": "kim", "iss": "https://idp"}), nil), "https://idp", false},
		"issuer twice": {a.sign(t, `{"iss":"https://idp","sub":"`+agent+`","iss":"x"}`, nil), "", false},
		"opaque":       {"abc", "", false},
		"not JSON":     {"YQ.YQ.YQ", "", false},
		"issuer is 7":  {a.svid(t, good().with(claims{"iss": 7}), nil), "", false},
	} {
		if issuer, svid := spiffe.Form(row.token); issuer != row.issuer || svid != row.svid {
			t.Errorf("%s: %q %v", name, issuer, svid)
		}
	}
}

func TestBadBundles(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org", "k1")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	jwk := func(key any, use string) string {
		b, err := jose.JSONWebKey{Key: key, KeyID: "k1"}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return `{"keys":[` + strings.Replace(string(b), "{", `{"use":"`+use+`",`, 1) + `]}`
	}
	ok := jwk(a.key.Public(), "jwt-svid")
	for name, row := range map[string]struct {
		domain spiffe.Domain
		want   string
	}{
		"private key":     {spiffe.Domain{Name: "example.org", File: file(t, []byte(jwk(a.key, "jwt-svid")))}, "private key"},
		"weak key":        {spiffe.Domain{Name: "example.org", File: file(t, []byte(jwk(weak.Public(), "jwt-svid")))}, "weak RSA key"},
		"plain JWKS":      {spiffe.Domain{Name: "example.org", File: file(t, []byte(jwk(a.key.Public(), "sig")))}, "no key for JWT-SVIDs"},
		"a member twice":  {spiffe.Domain{Name: "example.org", File: file(t, []byte(strings.Replace(ok, `"kid"`, `"kid":"k2","kid"`, 1)))}, "same name"},
		"no JSON":         {spiffe.Domain{Name: "example.org", File: file(t, []byte("-----BEGIN CERTIFICATE-----"))}, "not written as JSON"},
		"no file":         {spiffe.Domain{Name: "example.org", File: filepath.Join(t.TempDir(), "none")}, "cannot be opened"},
		"file and URL":    {spiffe.Domain{Name: "example.org", File: "/x", URL: "https://x"}, "one of the two"},
		"neither":         {spiffe.Domain{Name: "example.org"}, "one of the two"},
		"relative":        {spiffe.Domain{Name: "example.org", File: "x"}, "not absolute"},
		"URL, no client":  {spiffe.Domain{Name: "example.org", URL: "https://x.example"}, "client"},
		"name with URL":   {spiffe.Domain{Name: "spiffe://example.org", File: file(t, []byte(ok))}, "bare name"},
		"name upper case": {spiffe.Domain{Name: "Example.org", File: file(t, []byte(ok))}, "bare name"},
		"no name":         {spiffe.Domain{File: file(t, []byte(ok))}, "bare name"},
	} {
		_, err := spiffe.New(options(row.domain))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, wanted %q", name, err, row.want)
		}
	}
	d := spiffe.Domain{Name: "example.org", File: file(t, []byte(ok))}
	if _, err := spiffe.New(options(d, d)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: %v", err)
	}
	o := options(d)
	o.Revoked = nil
	if _, err := spiffe.New(o); err == nil {
		t.Error("nobody says which tokens are revoked, and it starts")
	}
}

// TestRotation follows a file whose keys change, without a restart and without
// letting strangers make us read.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newAuthority(t, "example.org", "k1"), newAuthority(t, "example.org", "k2")
		at := file(t, bundleOf(t, "example.org", first))
		v := verifier(t, options(spiffe.Domain{Name: "example.org", File: at}))
		enter := func(a authority) error {
			_, err := v.Authenticate(t.Context(), bearer(a.svid(t, good(), nil)))
			synctest.Wait()
			return err
		}
		if err := enter(first); err != nil {
			t.Fatal(err)
		}
		if err := enter(second); !errors.Is(err, spiffe.ErrKey) {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, bundleOf(t, "example.org", second), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := enter(second); !errors.Is(err, spiffe.ErrKey) {
			t.Errorf("the file was read twice within %v: %v", spiffe.RefetchEvery, err)
		}
		time.Sleep(spiffe.RefetchEvery)
		if err := enter(second); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if err := enter(first); !errors.Is(err, spiffe.ErrKey) {
			t.Errorf("the old key: %v", err)
		}
		// A file that became nonsense changes nothing for a day.
		if err := os.WriteFile(at, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := enter(second); err != nil {
			t.Errorf("with a bad file: %v", err)
		}
		time.Sleep(spiffe.StaleAfter)
		if err := enter(second); !errors.Is(err, authn.ErrUnavailable) {
			t.Errorf("a bundle of yesterday: %v", err)
		}
	})
}

// TestBundleEndpoint fetches by https_web, through the rule for all fetches.
func TestBundleEndpoint(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org", "k1")
	var asked atomic.Int32
	var down atomic.Bool
	// The endpoint is go-spiffe's own.
	endpoint, err := federation.NewHandler(spiffeid.RequireTrustDomainFromString("example.org"), trusted(t, "example.org", a))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		endpoint.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	client := func(allow ...string) *http.Client {
		c, err := egress.Client(egress.Rules{Allow: allow, Roots: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	d := spiffe.Domain{Name: "example.org", URL: srv.URL}
	o := options(d)
	o.Client = client()
	v := verifier(t, o)
	if _, err := v.Authenticate(t.Context(), bearer(a.svid(t, good(), nil))); !errors.Is(err, authn.ErrUnavailable) || asked.Load() != 0 {
		t.Errorf("a private address that nobody opened: %v, asked %d times", err, asked.Load())
	}
	o.Client = client(strings.TrimPrefix(srv.URL, "https://"))
	v = verifier(t, o)
	down.Store(true)
	if err := v.Ready(t.Context()); err == nil {
		t.Error("ready without a bundle")
	}
	if _, err := v.Authenticate(t.Context(), bearer(a.svid(t, good(), nil))); !errors.Is(err, spiffe.ErrBundle) || !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("endpoint down: %v", err)
	}
	down.Store(false)
	v = verifier(t, o)
	if err := v.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	o.Keep = v
	before := asked.Load()
	v = verifier(t, o) // a reload asks nobody
	for range 3 {
		if _, err := v.Authenticate(t.Context(), bearer(a.svid(t, good(), nil))); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != before {
		t.Errorf("asked %d times more", asked.Load()-before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verifier(t, options(spiffe.Domain{Name: "example.org", File: file(t, bundleOf(t, "example.org", a))})).Authenticate(ctx, bearer(a.svid(t, good(), nil))); err != nil {
		t.Errorf("a bundle that is there needs no waiting: %v", err)
	}
}

// FuzzSVID: whatever the bytes, only a signed token makes a principal, and
// nothing panics.
func FuzzSVID(f *testing.F) {
	a := newAuthority(f, "example.org", "k1")
	v := verifier(f, options(spiffe.Domain{Name: "example.org", File: file(f, bundleOf(f, "example.org", a))}))
	fine := a.svid(f, good().with(claims{"exp": time.Now().Unix() + 3000}), nil)
	for _, s := range []string{fine, fine[:len(fine)-1], strings.ToUpper(fine), "..", "a.b.c", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.Authenticate(t.Context(), bearer(text))
		if (err == nil) != p.Valid() {
			t.Errorf("%v and %v", p, err)
		}
		if err == nil && text[:strings.LastIndexByte(text, '.')] != fine[:strings.LastIndexByte(fine, '.')] {
			t.Error("what nobody signed was let in")
		}
		_, _ = spiffe.Form(text)
	})
}
