//go:build real

package idp

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/test/real/kit"
)

const opPolicy = `
permit (principal, action in [Munjigi::Action::"list", Munjigi::Action::"connect", Munjigi::Action::"listen"], resource);
permit (principal in Munjigi::Group::"ISSUER|readers", action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/test_simple_text");
permit (principal is Munjigi::Workload, action == Munjigi::Action::"call", resource)
when { ["robot", "signer", "short", "prover", "opaque"].contains(principal.subject) };
`

func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	ours, theirs, own := free(t), free(t), newKey(t)
	issuer := "http://" + theirs
	p := begin(t, kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), "http://" + ours, own.jwks(t)}}, issuer, issuer+"/.well-known/openid-configuration")
	g := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`", clock_skew: 1s, logout: { clients: [editor] },
  introspection: { client_id: gateway, client_secret: { secret: "file:gateway.secret" }, cache: 5s } }] }`, strings.ReplaceAll(opPolicy, "ISSUER", issuer), theirs)
	files := g.resource("files")
	asRobot := func(scope, resource string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "resource": {resource}}
	}

	t.Run("login", func(t *testing.T) {
		// The client is not known to the provider: it registers itself.
		kim := signIn(t, g, "files", "", newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"}))
		if text, err := kim.use(t, "test_simple_text"); err != nil || text == "" {
			t.Fatalf("a reader: %q %v", text, err)
		}
		if h := part(t, kim.token(t), 0); h["typ"] != "at+jwt" {
			t.Errorf("%v", h)
		}
		if a := g.call(t, "mail", kim.token(t), "test_simple_text"); a.status != 401 {
			t.Errorf("a token for files at mail: %v", a)
		}
		lee := signIn(t, g, "files", "", newBrowser(t, map[string]string{"username": "lee", "password": "lee-password"}))
		if _, err := lee.use(t, "test_simple_text"); err == nil {
			t.Error("somebody without the group may call")
		}
	})
	t.Run("workload", func(t *testing.T) {
		token := grant(t, p.meta.Token, "robot", "robot-secret", asRobot("files:call", files))
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Errorf("%v", a)
		}
		token = grant(t, p.meta.Token, "robot", "robot-secret", asRobot("files:list", files))
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 403 {
			t.Errorf("without the scope: %v", a)
		}
	})
	t.Run("private key", func(t *testing.T) {
		token := grant(t, p.meta.Token, "", "", own.assertion(t, "signer", issuer, asRobot("files:call", files)))
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Errorf("%v", a)
		}
	})
	t.Run("audience", func(t *testing.T) {
		token := grant(t, p.meta.Token, "robot", "robot-secret", asRobot("mail:call", g.resource("mail")))
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "another resource") {
			t.Errorf("the sibling's: %v", a)
		}
		if a := g.call(t, "mail", token, "test_simple_text"); !a.done() {
			t.Errorf("its own: %v", a)
		}
	})
	t.Run("introspection", func(t *testing.T) {
		token := grant(t, p.meta.Token, "opaque", "opaque-secret", asRobot("files:call", files))
		if strings.Contains(token, ".") {
			t.Fatal("the token is not opaque")
		}
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Fatalf("%v", a)
		}
		if a := g.call(t, "mail", token, "test_simple_text"); a.status != 401 {
			t.Errorf("at the sibling: %v", a)
		}
		if a := g.call(t, "files", grant(t, p.meta.Token, "opaque", "opaque-secret", asRobot("files:list", files)), "test_simple_text"); a.status != 403 {
			t.Errorf("without the scope: %v", a)
		}
		if a := g.call(t, "files", "nobody-made-this", "test_simple_text"); a.status != 401 {
			t.Errorf("not of the provider: %v", a)
		}
		if status, body, _ := post(t, p.meta.Revocation, "opaque", "opaque-secret", url.Values{"token": {token}}); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		eventually(t, "a token that was taken back is refused", func() bool { return g.call(t, "files", token, "test_simple_text").status == 401 })
	})
	t.Run("DPoP", func(t *testing.T) {
		k := newKey(t)
		token := provenGrant(t, p.meta.Token, "prover", "prover-secret", k, asRobot("files:call", files))
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 401 {
			t.Errorf("a bound token as a bearer's: %v", a)
		}
		for name, row := range map[string]struct {
			key  key
			done bool
		}{"its key": {k, true}, "another key": {newKey(t), false}} {
			if a := provenCall(t, g, "files", token, row.key); a.done() != row.done {
				t.Errorf("%s: %v", name, a)
			}
		}
	})
	t.Run("logout", func(t *testing.T) {
		b := newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"})
		kim := signIn(t, g, "files", "editor", b)
		if _, err := kim.use(t, "test_simple_text"); err != nil {
			t.Fatal(err)
		}
		token := kim.token(t)
		stream, session := openStream(t, g, "files", token), openSession(t, g, "files", token)
		if status := session.ping(t, token); status != http.StatusOK {
			t.Fatalf("the session does not live: %d", status)
		}
		began := time.Now()
		opLogout(t, b, p.meta.EndSession)
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "revoked") {
			t.Errorf("the token of somebody who signed out: %v", a)
		}
		stream.ended(t)
		t.Logf("the stream ended %v after the person began to sign out", time.Since(began).Round(10*time.Millisecond))
		// Who signs in again begins anew. The logout names no session here, so
		// that what was made within its second is over too.
		told := time.Now().Unix()
		eventually(t, "the second after the logout", func() bool { return time.Now().Unix() > told })
		again := signIn(t, g, "files", "editor", b).token(t)
		if status := session.ping(t, again); status != http.StatusNotFound {
			t.Errorf("the session of before: %d", status)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		token := grant(t, p.meta.Token, "short", "short-secret", asRobot("files:call", files))
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Fatalf("%v", a)
		}
		expires(t, g, token)
	})
}

// expires waits until a token of two seconds is refused: its two seconds, and
// the minute that clocks may differ.
func expires(t *testing.T, g *gateway, token string) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		a := g.call(t, "files", token, "test_simple_text")
		if a.status == http.StatusUnauthorized {
			if !strings.Contains(a.challenge, "expired") {
				t.Errorf("%v", a)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still good: %v", a)
		}
		pause(t, time.Second)
	}
}

// proof is a DPoP proof (RFC 9449 4.2).
func (k key) proof(t *testing.T, method, at, token, nonce string) string {
	t.Helper()
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": at, "iat": time.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	o := &jose.SignerOptions{EmbedJWK: true}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.PrivateKey}, o.WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// thumbprint names the key as cnf.jkt does.
func (k key) thumbprint(t *testing.T) string {
	t.Helper()
	j := k.jwk()
	sum, err := j.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// provenGrant gets a token that is bound to a key, following the provider's nonce.
func provenGrant(t *testing.T, at, user, password string, k key, form url.Values) string {
	t.Helper()
	nonce := ""
	for range 2 {
		status, body, h := post(t, at, user, password, form, "DPoP", k.proof(t, http.MethodPost, at, "", nonce))
		var out struct {
			Token string `json:"access_token"`
			Type  string `json:"token_type"`
		}
		if status == http.StatusOK && json.Unmarshal(body, &out) == nil && strings.EqualFold(out.Type, "DPoP") {
			if cnf, _ := part(t, out.Token, 1)["cnf"].(map[string]any); cnf["jkt"] != k.thumbprint(t) {
				t.Fatalf("the token is bound to %v", cnf)
			}
			return out.Token
		}
		if nonce = h.Get("DPoP-Nonce"); nonce == "" {
			t.Fatalf("%d %s", status, body)
		}
	}
	t.Fatal("the provider wants another nonce each time")
	return ""
}

// provenCall calls with a proof, following our nonce.
func provenCall(t *testing.T, g *gateway, server, token string, k key) answer {
	t.Helper()
	var a answer
	nonce := ""
	for range 2 {
		a = g.call(t, server, "", "test_simple_text", "Authorization", "DPoP "+token, "DPoP", k.proof(t, http.MethodPost, g.resource(server), token, nonce))
		if nonce = a.nonce; a.status != http.StatusUnauthorized || !strings.Contains(a.challenge, "use_dpop_nonce") {
			break
		}
	}
	return a
}
