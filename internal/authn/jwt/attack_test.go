package jwt

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

func TestAGoodTokenProvesWhoCalls(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	now := time.Now().Unix()
	token := p.token(t, map[string]any{"iat": now, "exp": now + 300, "aud": []string{"https://other.example", home}, "acr": "gold",
		"amr": []string{"pwd", "hwk"}, "auth_time": now - 5, "sid": "s1", "groups": []string{"b", "a", "a"}, "roles": []string{"r"},
		"act": map[string]any{"sub": "agent", "act": map[string]any{"iss": "https://x.example", "sub": "boss"}}})
	for range 2 {
		got, err := ask(v, home, token)
		if err != nil {
			t.Fatal(err)
		}
		id := got.Identity()
		if !json.Valid(id.Claims) {
			t.Errorf("claims: %s", id.Claims)
		}
		id.Claims = nil
		want := call.Identity{Issuer: p.url, Subject: "alice", Kind: call.Person, Client: "editor", Scopes: []string{"files:call", "files:list"},
			Actors: []string{authn.Pair(p.url, "agent"), authn.Pair("https://x.example", "boss")}, Proof: Proof(p.url, "t1"), Expires: now + 360, Issued: now,
			Session: "s1", Groups: []string{"a", "b"}, Roles: []string{"r"}, ACR: "gold", AMR: []string{"hwk", "pwd"}, AuthTime: now - 5}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if !v.Current(got) {
			t.Error("not current")
		}
	}
	if v.Current(call.Principal{}) || v.Current(call.NewPrincipal(call.Identity{Issuer: "https://x.example", Subject: "alice", Kind: call.Person, Expires: now + 100, Proof: "x"})) {
		t.Error("somebody else's principal is current")
	}
	if p.count("/jwks") != 1 {
		t.Errorf("keys were fetched %d times", p.count("/jwks"))
	}
}

func TestEveryAlgorithm(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	ed := edKey(t)
	p256, p384, p521 := ec(t, elliptic.P256()), ec(t, elliptic.P384()), ec(t, elliptic.P521())
	p.publish(jwk(t, "k1", rsaKeys().first.Public(), nil), jwk(t, "p256", p256.Public(), nil), jwk(t, "p384", p384.Public(), nil),
		jwk(t, "p521", p521.Public(), nil), jwk(t, "ed", ed.Public(), nil))
	v := p.verifier(t)
	signers := map[string]any{"k1": rsaKeys().first, "p256": p256, "p384": p384, "p521": p521, "ed": ed}
	fits := map[string]string{"RS256": "k1", "RS384": "k1", "RS512": "k1", "PS256": "k1", "PS384": "k1", "PS512": "k1",
		"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed"}
	for alg, right := range fits {
		for kid, k := range signers {
			h := encode(t, map[string]any{"alg": alg, "typ": "AT+JWT", "kid": kid})
			if kid != right {
				token := b64(h) + "." + b64(encode(t, p.good())) + "." + b64("signature of some length")
				if _, err := ask(v, home, token); !errors.Is(err, ErrKey) {
					t.Errorf("%s with %s: %v", alg, kid, err)
				}
				continue
			}
			if _, err := ask(v, home, sign(t, alg, k, h, encode(t, p.good()))); err != nil {
				t.Errorf("%s with %s: %v", alg, kid, err)
			}
		}
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	log := &locked{}
	o := p.options(t)
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	o.Revoked = func(proof string) bool { return proof == Proof(p.url, "gone") }
	v := verifier(t, o)
	now := time.Now().Unix()
	der, err := x509.MarshalPKIXPublicKey(rsaKeys().first.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKeys().first.PublicKey)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hs := func(secret []byte) string {
		return sign(t, "HS256", secret, encode(t, alter(header(), map[string]any{"alg": "HS256"})), encode(t, p.good()))
	}
	claim := func(name string, value any) string { return p.token(t, map[string]any{name: value}) }
	head := func(name string, value any) string {
		return p.with(t, alter(header(), map[string]any{name: value}), nil)
	}
	rawClaims := func(s string) string { return sign(t, "RS256", rsaKeys().first, encode(t, header()), s) }
	rawHeader := func(s string) string { return sign(t, "RS256", rsaKeys().first, s, encode(t, p.good())) }
	splice := func(member string) string { return strings.TrimSuffix(encode(t, p.good()), "}") + "," + member + "}" }
	good := p.token(t, nil)
	parts := strings.Split(good, ".")
	other := rsaKeys().second

	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"wrong audience", claim("aud", "https://elsewhere.example"), ErrAudience},
		{"sibling resource", claim("aud", sibling), ErrAudience},
		{"the resource above", claim("aud", "https://gw.example/mcp"), ErrAudience},
		{"the origin", claim("aud", "https://gw.example"), ErrAudience},
		{"below the resource", claim("aud", home+"/x"), ErrAudience},
		{"trailing slash", claim("aud", home+"/"), ErrAudience},
		{"path in another case", claim("aud", "https://gw.example/mcp/Files"), ErrAudience},
		{"with a port", claim("aud", "https://gw.example:443/mcp/files"), ErrAudience},
		{"with a query", claim("aud", home+"?a=b"), ErrAudience},
		{"with a user", claim("aud", "https://a@gw.example/mcp/files"), ErrAudience},
		{"percent-encoded", claim("aud", "https://gw.example/mcp/%66iles"), ErrAudience},
		{"in plain http", claim("aud", "http://gw.example/mcp/files"), ErrAudience},
		{"the client as audience", claim("aud", "editor"), ErrAudience},
		{"no audience", claim("aud", nil), ErrAudience},
		{"empty audience", claim("aud", []string{}), ErrAudience},
		{"audience with a number", claim("aud", []any{home, 1}), ErrAudience},
		{"audience is an object", claim("aud", map[string]any{home: true}), ErrAudience},
		{"two audience members", rawClaims(splice(`"aud":"x"`)), ErrMalformed},
		{"two audience members, one escaped", rawClaims(splice(`"\u0061ud":"x"`)), ErrMalformed},

		{"wrong issuer", claim("iss", "https://evil.example"), ErrIssuer},
		{"issuer with a slash", claim("iss", p.url+"/"), ErrIssuer},
		{"issuer in capitals", claim("iss", strings.ToUpper(p.url)), ErrIssuer},
		{"no issuer", claim("iss", nil), ErrClaims},
		{"issuer is a number", claim("iss", 1), ErrClaims},

		{"none", b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", ErrMalformed},
		{"none with a signature", b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"None", b64(`{"alg":"None","typ":"at+jwt","kid":"k1"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"nOnE", b64(`{"alg":"nOnE","typ":"at+jwt","kid":"k1"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"rs256 in small letters", head("alg", "rs256"), ErrAlgorithm},
		{"no algorithm", rawHeader(`{"typ":"at+jwt","kid":"k1"}`), ErrMalformed},
		{"algorithm is a list", head("alg", []string{"RS256"}), ErrMalformed},
		{"HS256 with the key as PEM", hs(asPEM), ErrAlgorithm},
		{"HS256 with the key as PEM, trimmed", hs([]byte(strings.TrimSpace(string(asPEM)))), ErrAlgorithm},
		{"HS256 with the key as DER", hs(der), ErrAlgorithm},
		{"HS256 with the key as PKCS #1", hs(pkcs1), ErrAlgorithm},
		{"HS256 with no key", hs(nil), ErrAlgorithm},
		{"PS256 in the header of an RS256 signature", head("alg", "PS256"), ErrSignature},
		{"RS512 in the header of an RS256 signature", head("alg", "RS512"), ErrSignature},
		{"ES256 with an RSA key", head("alg", "ES256"), ErrKey},
		{"EdDSA with an RSA key", head("alg", "EdDSA"), ErrKey},
		{"two algorithms", rawHeader(`{"alg":"RS256","alg":"none","typ":"at+jwt","kid":"k1"}`), ErrMalformed},
		{"two algorithms in two cases", rawHeader(`{"alg":"RS256","Alg":"none","typ":"at+jwt","kid":"k1"}`), ErrMalformed},

		{"another key under a known kid", sign(t, "RS256", other, encode(t, header()), encode(t, p.good())), ErrSignature},
		{"unknown kid", head("kid", "k9"), ErrKey},
		{"kid that is a path", head("kid", "../../../../etc/passwd"), ErrKey},
		{"kid that is a URL", head("kid", "https://evil.example/jwks"), ErrKey},
		{"kid that is SQL", head("kid", "k1' OR '1'='1"), ErrKey},
		{"kid with a zero byte", head("kid", "k1\x00"), ErrKey},
		{"kid too long", head("kid", strings.Repeat("k", 300)), ErrMalformed},
		{"kid is a number", head("kid", 1), ErrMalformed},
		{"changed claims", parts[0] + "." + b64(encode(t, alter(p.good(), map[string]any{"sub": "root"}))) + "." + parts[2], ErrSignature},
		{"signature of another token", parts[0] + "." + parts[1] + "." + strings.Split(claim("sub", "bob"), ".")[2], ErrSignature},
		{"signature cut off", good[:len(good)-2], ErrSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrMalformed},

		{"expired", p.token(t, map[string]any{"iat": now - 1000, "exp": now - 61}), ErrExpired},
		{"not yet", claim("nbf", now+3600), ErrNotYet},
		{"made in the future", p.token(t, map[string]any{"iat": now + 3600, "exp": now + 3700}), ErrNotYet},
		{"no exp", claim("exp", nil), ErrClaims},
		{"no iat", claim("iat", nil), ErrClaims},
		{"exp as text", claim("exp", fmt.Sprint(now+300)), ErrClaims},
		{"exp with an exponent", claim("exp", json.RawMessage("1e30")), ErrClaims},
		{"exp negative", claim("exp", -1), ErrClaims},
		{"exp zero", claim("exp", 0), ErrClaims},
		{"exp null", claim("exp", json.RawMessage("null")), ErrClaims},
		{"exp huge", claim("exp", json.Number("99999999999999999999")), ErrClaims},
		{"exp beyond int64", claim("exp", json.Number("9223372036854775808")), ErrClaims},
		{"exp in milliseconds", claim("exp", (now+300)*1000), ErrClaims},
		{"exp before iat", p.token(t, map[string]any{"iat": now, "exp": now - 1}), ErrClaims},
		{"nbf as text", claim("nbf", "soon"), ErrClaims},
		{"lives too long", p.token(t, map[string]any{"iat": now, "exp": now + 5401}), ErrLifetime},
		{"lives until 5138", claim("exp", int64(99999999999)), ErrLifetime},

		{"typ JWT", head("typ", "JWT"), ErrType},
		{"no typ", head("typ", nil), ErrType},
		{"typ of a logout token", head("typ", "logout+jwt"), ErrType},
		{"typ of a DPoP proof", head("typ", "dpop+jwt"), ErrType},
		{"typ is a list", head("typ", []string{"at+jwt"}), ErrMalformed},
		{"nonce of an ID token", claim("nonce", "n"), ErrIDToken},
		{"at_hash of an ID token", claim("at_hash", "h"), ErrIDToken},
		{"events of a logout token", claim("events", map[string]any{}), ErrIDToken},

		{"crit", head("crit", []string{"exp"}), ErrMalformed},
		{"crit, empty", head("crit", []string{}), ErrMalformed},
		{"b64 false without crit", head("b64", false), ErrMalformed},
		{"zip", head("zip", "DEF"), ErrMalformed},
		{"its own key", sign(t, "RS256", other, encode(t, alter(header(), map[string]any{"jwk": jwk(t, "k1", other.Public(), nil)})), encode(t, p.good())), ErrMalformed},
		{"keys from elsewhere", head("jku", "https://evil.example/jwks"), ErrMalformed},
		{"certificates from elsewhere", head("x5u", "https://evil.example/cert"), ErrMalformed},
		{"JSON serialization", fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]), ErrMalformed},
		{"two signatures", fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2], parts[0], parts[2]), ErrMalformed},
		{"five parts", good + ".x.y", ErrMalformed},
		{"four parts", good + "." + parts[2], ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"opaque", "ya29.a0AfH6SMBx", ErrMalformed},
		{"empty", "", ErrMalformed},
		{"dots", "..", ErrMalformed},

		{"space before", " " + good, ErrMalformed},
		{"space after", good + " ", ErrMalformed},
		{"line break inside", parts[0] + ".\n" + parts[1] + "." + parts[2], ErrMalformed},
		{"carriage return at the end", good + "\r", ErrMalformed},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], ErrMalformed},
		{"padded signature", good + "==", ErrMalformed},
		{"stray bits in the signature", good[:len(good)-1] + stray(good[len(good)-1]), ErrMalformed},
		{"base64 of the other alphabet", base64.RawStdEncoding.EncodeToString([]byte(encode(t, header())+"??>>")) + "+/." + parts[1] + "." + parts[2], ErrMalformed},
		{"header is an array", rawHeader(`["RS256"]`), ErrMalformed},
		{"claims are an array", rawClaims(`["a"]`), ErrMalformed},
		{"claims with a byte order mark", rawClaims("\ufeff" + encode(t, p.good())), ErrMalformed},
		{"claims with something behind", rawClaims(encode(t, p.good()) + "{}"), ErrMalformed},
		{"claims not UTF-8", rawClaims(splice("\"x\":\"\xff\"")), ErrMalformed},
		{"claims with a lone surrogate", rawClaims(splice(`"x":"\ud800"`)), ErrMalformed},
		{"claims very deep", rawClaims(splice(`"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100))), ErrMalformed},
		{"17 KiB", claim("x", strings.Repeat("x", 17<<10)), ErrMalformed},

		{"no subject", claim("sub", nil), ErrClaims},
		{"empty subject", claim("sub", ""), ErrClaims},
		{"subject is a number", claim("sub", 7), ErrClaims},
		{"no client", claim("client_id", nil), ErrClaims},
		{"two clients", claim("azp", "another"), ErrClaims},
		{"scope with a quotation mark", claim("scope", `a"b`), ErrClaims},
		{"scope is a number", claim("scope", 1), ErrClaims},
		{"very many scopes", claim("scope", strings.Join(numbers(257), " ")), ErrClaims},
		{"groups are an object", claim("groups", map[string]any{}), ErrClaims},
		{"amr is a text", claim("amr", "pwd"), ErrClaims},
		{"auth_time is a text", claim("auth_time", "1"), ErrClaims},
		{"jti is a number", claim("jti", 1), ErrClaims},
		{"actor without a name", claim("act", map[string]any{"x": 1}), ErrClaims},
		{"actor is a text", claim("act", "agent"), ErrClaims},
		{"too many actors", claim("act", chain(9)), ErrClaims},
		{"bound to a DPoP key", claim("cnf", map[string]any{"jkt": strings.Repeat("A", 43)}), ErrBound},
		{"bound to a certificate", claim("cnf", map[string]any{"x5t#S256": strings.Repeat("A", 43)}), ErrBound},
		{"bound to something unknown", claim("cnf", map[string]any{"kid": "x"}), ErrBound},
		{"bound to Keycloak's word alone", claim("cnf", map[string]any{"kc-jkt-type": "DPoP"}), ErrBound},
		{"bound in another of Keycloak's ways", claim("cnf", map[string]any{"kc-jkt-type": "x", "jkt": strings.Repeat("A", 43)}), ErrBound},
		{"bound to nothing", claim("cnf", map[string]any{}), ErrBound},
		{"bound by a text", claim("cnf", "x"), ErrBound},
		{"revoked", claim("jti", "gone"), ErrRevoked},
	}
	for _, tt := range tests {
		for range 2 {
			got, err := ask(v, home, tt.token)
			var no *authn.Refusal
			if !errors.Is(err, tt.want) || !errors.As(err, &no) || got.Valid() {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
				continue
			}
			wantReason := call.ReasonUnauthenticated
			if tt.want == ErrExpired {
				wantReason = call.ReasonTokenExpired
			}
			wantChallenge := `Bearer error="invalid_token", error_description="` + tt.want.Error() +
				`", resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp/files", scope="files:list"`
			if no.Reason != wantReason || no.Challenge != wantChallenge {
				t.Errorf("%s: %s %s", tt.name, no.Reason, no.Challenge)
			}
			if leaks(tt.token, no.Text+no.Challenge) {
				t.Errorf("%s: the refusal quotes the token: %s", tt.name, no.Challenge)
			}
		}
	}
	if _, err := ask(v, home, good); err != nil {
		t.Errorf("afterwards the good one: %v", err)
	}
	for _, tt := range tests {
		if leaks(tt.token, log.String()) {
			t.Errorf("%s: the log quotes the token", tt.name)
		}
	}
	if n := p.count("/jwks"); n > 2 {
		t.Errorf("strangers had keys fetched %d times", n)
	}
}

// stray returns a base64url character that differs in bits that a decoder may
// ignore.
func stray(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("s", i))
	}
	return out
}

func chain(n int) map[string]any {
	m := map[string]any{"sub": "last"}
	for range n - 1 {
		m = map[string]any{"sub": "a", "act": m}
	}
	return m
}

func TestTheEdgesOfWhatIsAccepted(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	now := time.Now().Unix()
	for name, change := range map[string]map[string]any{
		"expired within the skew":      {"iat": now - 1000, "exp": now - 20},
		"from a clock that runs ahead": {"iat": now + 30, "nbf": now + 30},
		"90 minutes":                   {"exp": now + 5400},
		"fractions of seconds":         {"iat": json.Number(fmt.Sprint(now) + ".25"), "exp": json.Number(fmt.Sprint(now+100) + ".999")},
		"host in capitals":             {"aud": "HTTPS://GW.Example/mcp/files"},
		"no jti":                       {"jti": nil},
		"azp in the place of client":   {"client_id": nil, "azp": "editor"},
		"no scope":                     {"scope": nil},
		"eight actors":                 {"act": chain(8)},
		"null where nothing is needed": {"acr": json.RawMessage("null"), "cnf": json.RawMessage("null")},
	} {
		if _, err := ask(v, home, p.token(t, change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	withChain := p.with(t, alter(header(), map[string]any{"x5t": "abc"}), nil)
	if _, err := ask(v, home, withChain); err != nil {
		t.Errorf("x5t: %v", err)
	}
	for _, r := range []string{"https://GW.example/mcp/files", "HTTPS://gw.EXAMPLE/mcp/files"} {
		if _, err := ask(v, r, p.token(t, nil)); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	if _, err := ask(v, sibling, p.token(t, nil)); !errors.Is(err, ErrAudience) {
		t.Errorf("at the sibling, after it was remembered here: %v", err)
	}
	self, err := ask(v, home, p.token(t, map[string]any{"sub": "editor"}))
	if err != nil || self.Identity().Kind != call.Workload {
		t.Errorf("a client for itself: %v %v", self.Identity().Kind, err)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	good := p.token(t, nil)
	const params = `resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp/files", scope="files:list"`
	tests := []struct {
		name          string
		resource      string
		authorization []string
		want          error
		challenge     string
	}{
		{"none", home, nil, ErrMissing, "Bearer " + params},
		{"two", home, []string{"Bearer " + good, "Bearer " + good}, ErrHeader, `Bearer error="invalid_request", error_description="` + ErrHeader.Error() + `", ` + params},
		{"no scheme", home, []string{good}, ErrHeader, ""},
		{"Basic", home, []string{"Basic " + good}, ErrHeader, ""},
		{"DPoP that nobody checks", home, []string{"DPoP " + good}, ErrHeader, ""},
		{"empty", home, []string{""}, ErrHeader, ""},
		{"only the scheme", home, []string{"Bearer"}, ErrHeader, ""},
		{"two spaces", home, []string{"Bearer  " + good}, ErrMalformed, ""},
		{"a list", home, []string{"Bearer " + good + ", Bearer " + good}, ErrMalformed, ""},
		{"a resource that is not", "https://gw.example/mcp/none", []string{"Bearer " + good}, ErrResource, "Bearer"},
		{"no resource", "", []string{"Bearer " + good}, ErrResource, "Bearer"},
		{"a resource without metadata", sibling, nil, ErrMissing, "Bearer"},
		{"small letters", home, []string{"bearer " + good}, nil, ""},
	}
	for _, tt := range tests {
		_, err := v.Authenticate(t.Context(), request(tt.resource, tt.authorization...))
		var no *authn.Refusal
		if !errors.Is(err, tt.want) || tt.want != nil && !errors.As(err, &no) {
			t.Errorf("%s: %v", tt.name, err)
		} else if tt.challenge != "" && no.Challenge != tt.challenge {
			t.Errorf("%s: %s", tt.name, no.Challenge)
		}
	}
	var zero Verifier
	if _, err := ask(&zero, home, good); err == nil || zero.Current(call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person})) {
		t.Error("the zero verifier lets somebody in")
	}
}

func TestRevocationTakesEffectAtOnce(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	o := p.options(t)
	var revoked, ended atomic.Value
	revoked.Store("")
	ended.Store("")
	o.Revoked = func(proof string) bool { return proof == revoked.Load() }
	o.Ended = func(id call.Identity) bool { return id.Session != "" && id.Session == ended.Load() }
	v := verifier(t, o)
	for name, change := range map[string]map[string]any{"with an ID": {"jti": "one"}, "without": {"jti": nil}, "by session": {"jti": "two", "sid": "s9"}} {
		token := p.token(t, change)
		who, err := ask(v, home, token)
		if err != nil || !v.Current(who) {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "by session" {
			ended.Store("s9")
		} else {
			revoked.Store(who.Identity().Proof)
		}
		if _, err := ask(v, home, token); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s: %v", name, err)
		}
		if v.Current(who) {
			t.Errorf("%s: still current", name)
		}
	}
}

// A signature over a curve can be turned into another one without the key: the
// name of the proof must not change with it.
func TestAProofHasOneName(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := ec(t, elliptic.P256())
	p.publish(jwk(t, "e", k.Public(), nil))
	v := p.verifier(t)
	token := sign(t, "ES256", k, `{"alg":"ES256","typ":"at+jwt","kid":"e"}`, encode(t, alter(p.good(), map[string]any{"jti": nil})))
	i := strings.LastIndexByte(token, '.')
	raw, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	s := bigOf(raw[32:])
	s.Sub(n, s).FillBytes(raw[32:])
	twin := token[:i+1] + base64.RawURLEncoding.EncodeToString(raw)
	a, err1 := ask(v, home, token)
	b, err2 := ask(v, home, twin)
	if err1 != nil || err2 != nil || twin == token {
		t.Fatal(err1, err2)
	}
	if a.Identity().Proof != b.Identity().Proof || a.Identity().Proof == "" {
		t.Errorf("%s and %s", a.Identity().Proof, b.Identity().Proof)
	}
	other := sign(t, "ES256", k, `{"alg":"ES256","typ":"at+jwt","kid":"e"}`, encode(t, alter(p.good(), map[string]any{"jti": nil, "sub": "bob"})))
	if c, err := ask(v, home, other); err != nil || c.Identity().Proof == a.Identity().Proof {
		t.Errorf("another token without an ID has the same name: %v", err)
	}
	if Proof("a", "b|c") == Proof("a|b", "c") {
		t.Error("issuer and ID run together")
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"HTTPS://A.Example/B?C#D": "https://a.example/B?C#D", "https://A.example": "https://a.example", "API://1F": "api://1f",
		"https://A.example?B": "https://a.example?B", "https://User@A.example/": "https://User@A.example/", "GUID": "GUID", "://X": "://X", "": "",
		"urn:X": "urn:X",
	} {
		if got := authn.Canonical(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTwoIssuersAreTwoWorlds(t *testing.T) {
	t.Parallel()
	a, b := newProvider(t), newProvider(t)
	b.publish(jwk(t, "k1", rsaKeys().second.Public(), nil))
	oa, ob := a.options(t), b.options(t)
	pool := both(a, b)
	oa.Client = pool(t)
	oa.Issuers = append(oa.Issuers, ob.Issuers...)
	v := verifier(t, oa)
	pa, err1 := ask(v, home, a.token(t, nil))
	pb, err2 := ask(v, home, sign(t, "RS256", rsaKeys().second, encode(t, header()), encode(t, b.good())))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if pa.Key() == pb.Key() || pa.Identity().Proof == pb.Identity().Proof {
		t.Error("the same subject of two issuers is one principal")
	}
	if _, err := ask(v, home, b.token(t, nil)); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by the other issuer's key of the same kid: %v", err)
	}
	if _, err := ask(v, home, sign(t, "RS256", rsaKeys().second, encode(t, header()), encode(t, a.good()))); !errors.Is(err, ErrSignature) {
		t.Errorf("and the other way: %v", err)
	}
}

func TestBoundTokens(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	o := p.options(t)
	asked := 0
	wrong := &authn.Refusal{Reason: call.ReasonUnauthenticated, Text: "wrong key", Challenge: "DPoP"}
	answer := error(wrong)
	o.Confirm = func(_ context.Context, _ authn.Request, scheme, _ string, p call.Principal) error {
		asked++
		if scheme != "DPoP" || p.Identity().Confirmation.JKT == "" {
			return wrong
		}
		return answer
	}
	v := verifier(t, o)
	bound := p.token(t, map[string]any{"cnf": map[string]any{"jkt": strings.Repeat("A", 43)}})
	free := p.token(t, nil)
	try := func(authorization string) error {
		_, err := v.Authenticate(t.Context(), request(home, authorization))
		return err
	}
	for range 2 {
		if err := try("DPoP " + bound); !errors.Is(err, wrong) {
			t.Errorf("a wrong proof: %v", err)
		}
	}
	answer = nil
	for range 2 {
		if err := try("dpop " + bound); !errors.Is(err, wrong) {
			t.Errorf("the scheme goes on as it came: %v", err)
		}
		if err := try("DPoP " + bound); err != nil {
			t.Errorf("a good proof: %v", err)
		}
	}
	if err := try("Bearer " + bound); !errors.Is(err, wrong) {
		t.Errorf("as a bearer token: %v", err)
	}
	if err := try("DPoP " + free); !errors.Is(err, wrong) {
		t.Errorf("an unbound token: %v", err)
	}
	if asked != 8 {
		t.Errorf("the proof was asked for %d times", asked)
	}
	if err := try("Bearer " + free); err != nil || asked != 8 {
		t.Errorf("a bearer token: %v", err)
	}
}

func TestOptionsAreJudged(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	good := func() Options { return p.options(t) }
	issuer := func(i Issuer) Options { o := good(); o.Issuers = []Issuer{i}; return o }
	resources := func(m map[string]authn.Resource) Options { o := good(); o.Resources = m; return o }
	const tenant = "/11111111-2222-3333-4444-555555555555/"
	for name, o := range map[string]Options{
		"nothing":                 {},
		"no client":               func() Options { o := good(); o.Client = nil; return o }(),
		"no revocation":           func() Options { o := good(); o.Revoked = nil; return o }(),
		"no issuer":               func() Options { o := good(); o.Issuers = nil; return o }(),
		"twice":                   func() Options { o := good(); o.Issuers = append(o.Issuers, o.Issuers[0]); return o }(),
		"no resources":            resources(nil),
		"plain issuer":            issuer(Issuer{Issuer: "http://idp.example"}),
		"issuer with a query":     issuer(Issuer{Issuer: "https://idp.example/?a"}),
		"issuer with a user":      issuer(Issuer{Issuer: "https://a@idp.example"}),
		"plain keys":              issuer(Issuer{Issuer: "https://idp.example", JWKSURI: "http://idp.example/jwks"}),
		"none":                    issuer(Issuer{Issuer: "https://idp.example", Algorithms: []string{"none"}}),
		"HS256":                   issuer(Issuer{Issuer: "https://idp.example", Algorithms: []string{"RS256", "HS256"}}),
		"no algorithm":            issuer(Issuer{Issuer: "https://idp.example", Algorithms: []string{}}),
		"ID token type":           issuer(Issuer{Issuer: "https://idp.example", Types: []string{"logout+jwt"}}),
		"skew":                    issuer(Issuer{Issuer: "https://idp.example", ClockSkew: 6 * time.Minute}),
		"lifetime":                issuer(Issuer{Issuer: "https://idp.example", MaxLifetime: 2 * time.Hour}),
		"lifetime with logout":    issuer(Issuer{Issuer: "https://idp.example", MaxLifetime: 49 * time.Hour, Ends: true}),
		"unknown provider":        issuer(Issuer{Issuer: "https://idp.example", Provider: "acme"}),
		"Google with a slash":     issuer(Issuer{Issuer: "https://accounts.google.com/", Provider: Google}),
		"Google elsewhere":        issuer(Issuer{Issuer: "https://google.example", Provider: Google}),
		"Entra common":            issuer(Issuer{Issuer: "https://login.microsoftonline.com/common/v2.0", Provider: Entra}),
		"Entra organizations":     issuer(Issuer{Issuer: "https://login.microsoftonline.com/organizations/v2.0", Provider: Entra}),
		"Entra template":          issuer(Issuer{Issuer: "https://login.microsoftonline.com/%7Btenantid%7D/v2.0", Provider: Entra}),
		"Entra personal accounts": issuer(Issuer{Issuer: "https://login.microsoftonline.com/" + entraConsumers + "/v2.0", Provider: Entra}),
		"Entra without slash":     issuer(Issuer{Issuer: "https://sts.windows.net" + strings.TrimSuffix(tenant, "/"), Provider: Entra}),
		"Okta org server":         issuer(Issuer{Issuer: "https://x.okta.example", Provider: Okta}),
		"as nobody":               issuer(Issuer{Issuer: "https://sts.windows.net" + tenant, Provider: Entra, As: "https://x.example"}),
		"as another tenant": func() Options {
			o := good()
			o.Issuers = []Issuer{{Issuer: "https://sts.windows.net" + tenant, Provider: Entra, As: "https://login.microsoftonline.com/11111111-2222-3333-4444-666666666666/v2.0"},
				{Issuer: "https://login.microsoftonline.com/11111111-2222-3333-4444-666666666666/v2.0", Provider: Entra}}
			return o
		}(),
		"as a generic one": func() Options {
			o := good()
			o.Issuers = append(o.Issuers, Issuer{Issuer: "https://idp.example", As: p.url})
			return o
		}(),
		"shared audience":     resources(map[string]authn.Resource{home: {Audiences: []string{"api"}}, sibling: {Audiences: []string{"api"}}}),
		"a sibling's URL":     resources(map[string]authn.Resource{home: {Audiences: []string{"HTTPS://gw.example/mcp/mail"}}, sibling: {}}),
		"a renamed sibling":   resources(map[string]authn.Resource{home: {Audiences: []string{sibling}}, sibling: {Audiences: []string{"x"}}}),
		"empty audience":      resources(map[string]authn.Resource{home: {Audiences: []string{""}}}),
		"no audience":         resources(map[string]authn.Resource{home: {Audiences: []string{}}}),
		"resource twice":      resources(map[string]authn.Resource{home: {}, "https://GW.example/mcp/files": {}}),
		"resource no URL":     resources(map[string]authn.Resource{"files": {}}),
		"broken scope":        resources(map[string]authn.Resource{home: {Scope: `a", error="x`}}),
		"header in the scope": resources(map[string]authn.Resource{home: {Scope: "a\r\nX: y"}}),
	} {
		if v, err := New(o); err == nil || v != nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, o := range map[string]Options{
		"as given":      good(),
		"long with end": issuer(Issuer{Issuer: "https://idp.example", MaxLifetime: 24 * time.Hour, Ends: true}),
		"typ JWT":       issuer(Issuer{Issuer: "https://idp.example", Types: []string{"JWT"}}),
		"audiences":     resources(map[string]authn.Resource{home: {Audiences: []string{"api://1", "1"}}, sibling: {}}),
	} {
		if _, err := New(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAudiencesThatAProviderMints(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	o := p.options(t)
	o.Resources = maps.Clone(o.Resources)
	o.Resources[home] = authn.Resource{Audiences: []string{"api://1F0C", "1f0c"}}
	v := verifier(t, o)
	for aud, want := range map[string]error{"api://1f0c": nil, "1f0c": nil, "1F0C": ErrAudience, "api://1f0c/": ErrAudience, home: ErrAudience} {
		if _, err := ask(v, home, p.token(t, map[string]any{"aud": aud})); !errors.Is(err, want) {
			t.Errorf("%s: %v", aud, err)
		}
	}
}
