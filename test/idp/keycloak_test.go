//go:build real

package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// keycloakPolicy is by group, by role and by kind of principal.
func keycloakPolicy(issuer string) string {
	return strings.ReplaceAll(`
permit (principal, action in [Munjigi::Action::"list", Munjigi::Action::"connect", Munjigi::Action::"listen"], resource);
permit (principal in Munjigi::Group::"ISSUER|readers", action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/test_simple_text");
permit (principal in Munjigi::Role::"ISSUER|realm:auditor", action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/test_error_handling");
permit (principal is Munjigi::Workload, action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/test_simple_text");
permit (principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/test_simple_text") when { principal has client && principal.client == "front" };
`, "ISSUER", issuer)
}

func TestKeycloak(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	folder := filepath.Join(tools.Root, ".tools")
	sh := filepath.Join(tools.Root, "test", "idp", "keycloak.sh")
	script(t, sh, "install", folder)
	ours, theirs := free(t), free(t)
	issuer := "http://" + theirs + "/realms/corp"
	p := begin(t, kit.Command{Name: "keycloak", Path: "sh", Args: []string{sh, "run", folder, port(theirs), "http://" + ours}},
		issuer, issuer+"/.well-known/openid-configuration")
	g := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`", provider: keycloak, clock_skew: 1s, `+signsIn(t)+`, logout: { clients: [editor, pages] } }] }`, keycloakPolicy(issuer), theirs)
	admin := keycloakAdmin{at: "http://" + theirs}

	robot := func(t *testing.T, scope string) string {
		return grant(t, p.meta.Token, "robot", "robot-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
	}
	t.Run("pages", func(t *testing.T) {
		kim := signIn(t, g, "files", "editor", newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"}))
		pagesAt(t, g, p, func() error {
			_, err := kim.use(t, "test_simple_text")
			return err
		}, "#kc-logout")
	})
	t.Run("login", func(t *testing.T) {
		kim := signIn(t, g, "files", "editor", newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"}))
		text, err := kim.use(t, "test_simple_text")
		if err != nil || text == "" {
			t.Fatalf("a reader: %q %v", text, err)
		}
		if n := kim.asked.Load(); n != 2 {
			t.Errorf("the provider was asked %d times, wanted once to list and once more to call", n)
		}
		if a := g.call(t, "files", kim.token(t), "test_error_handling"); !a.done() {
			t.Errorf("by role: %v", a)
		}
		if a := g.call(t, "mail", kim.token(t), "test_simple_text"); a.status != 401 {
			t.Errorf("a token for files at mail: %v", a)
		}
		lee := signIn(t, g, "files", "editor", newBrowser(t, map[string]string{"username": "lee", "password": "lee-password"}))
		if _, err := lee.use(t, "test_simple_text"); err == nil {
			t.Error("somebody without the group may call")
		}
	})
	t.Run("workload", func(t *testing.T) {
		if a := g.call(t, "files", robot(t, "files:call"), "test_simple_text"); !a.done() {
			t.Errorf("%v", a)
		}
		if a := g.call(t, "files", robot(t, "files:list"), "test_simple_text"); a.status != 403 || !strings.Contains(a.challenge, `scope="files:call files:list"`) {
			t.Errorf("without the scope: %v", a)
		}
	})
	t.Run("private key", func(t *testing.T) {
		key := newKey(t)
		admin.client(t, "signer", map[string]any{"use.jwks.string": "true", "jwks.string": key.jwks(t)})
		token := grant(t, p.meta.Token, "", "", key.assertion(t, "signer", issuer, url.Values{"grant_type": {"client_credentials"}, "scope": {"files:call"}}))
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Errorf("%v", a)
		}
	})
	t.Run("audience", func(t *testing.T) {
		for name, scope := range map[string]string{"no mapper": "openid", "another resource": "mail:call"} {
			if a := g.call(t, "files", robot(t, scope), "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "another resource") {
				t.Errorf("%s: %v", name, a)
			}
		}
		// One token for two resources opens both: that is what its audience says.
		if a := g.call(t, "files", robot(t, "files:call mail:call"), "test_simple_text"); !a.done() {
			t.Errorf("both: %v", a)
		}
	})
	t.Run("DPoP", func(t *testing.T) {
		k := newKey(t)
		token := provenGrant(t, p.meta.Token, "prover", "prover-secret", k, url.Values{"grant_type": {"client_credentials"}, "scope": {"files:call"}})
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
		kim := signIn(t, g, "files", "editor", newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"}))
		if _, err := kim.use(t, "test_simple_text"); err != nil {
			t.Fatal(err)
		}
		token := kim.token(t)
		stream := openStream(t, g, "files", token)
		began := time.Now()
		admin.signOut(t, "kim")
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "revoked") {
			t.Errorf("the token of somebody who was signed out: %v", a)
		}
		stream.ended(t)
		t.Logf("the stream ended %v after an administrator began to sign the person out", time.Since(began).Round(10*time.Millisecond))
	})
	t.Run("expiry", func(t *testing.T) {
		token := grant(t, p.meta.Token, "short", "short-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"files:call"}})
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Fatalf("%v", a)
		}
		expires(t, g, token)
	})
	t.Run("keys that change", func(t *testing.T) {
		before := robot(t, "files:call")
		admin.newSigningKey(t)
		after := robot(t, "files:call")
		if kid(t, before) == kid(t, after) {
			t.Fatal("Keycloak signs with the same key")
		}
		// A fetch may be 30 seconds old at most.
		eventually(t, "the new key is known", func() bool { return g.call(t, "files", after, "test_simple_text").done() })
		if a := g.call(t, "files", before, "test_simple_text"); !a.done() {
			t.Errorf("a key that is still published: %v", a)
		}
	})
	t.Run("exchange for a server", func(t *testing.T) { judgeExchange(t, p, admin, g, theirs) })
	t.Run("introspection", func(t *testing.T) {
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		g := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`", provider: keycloak,
  introspection: { tokens: jwt, client_id: gateway, client_secret: { secret: "file:gateway.secret" }, cache: 5s } }] }`, keycloakPolicy(issuer), theirs)
		token := robot(t, "files:call")
		if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
			t.Fatalf("%v", a)
		}
		if status, body, _ := post(t, p.meta.Revocation, "robot", "robot-secret", url.Values{"token": {token}}); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		eventually(t, "a token that was taken back is refused", func() bool { return g.call(t, "files", token, "test_simple_text").status == 401 })
	})
	t.Run("own authorization server", func(t *testing.T) {
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		ownAuthorizationServer(t, ours, theirs, issuer)
	})
}

// ownAuthorizationServer: the official SDKs' clients log in at the gateway by each
// path, with Keycloak as the provider behind, which knows none of them; what its
// people may do is by Keycloak's groups and roles.
func ownAuthorizationServer(t *testing.T, ours, theirs, issuer string) {
	paths, config, ca := clientPaths(t)
	g := serveBy(t, http.DefaultClient, "http://"+ours, config, `{ issuers: [{ issuer: "`+issuer+`", provider: keycloak, `+signsIn(t)+` }] }`,
		keycloakPolicy(issuer), theirs, "ca:"+ca)
	knows := func(name string) map[string]string {
		return map[string]string{"username": name, "password": name + "-password"}
	}
	for path, who := range paths {
		t.Run("Go SDK, "+path, func(t *testing.T) {
			t.Parallel()
			goClient(t, g, newBrowser(t, knows("kim")), who)
		})
		t.Run("TypeScript SDK, "+path, func(t *testing.T) {
			t.Parallel()
			tsClient(t, g, newBrowser(t, knows("kim")), who)
		})
	}
	t.Run("somebody without the group", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int32
		l := goLogin(t, g, newBrowser(t, knows("lee")), "editor", &asked)
		if _, err := l.use(t, "test_simple_text"); err == nil || asked.Load() == 0 {
			t.Errorf("may call; asked %d times", asked.Load())
		}
		if a := g.call(t, "files", l.token(t), "test_simple_text"); a.done() || a.status == http.StatusUnauthorized {
			t.Errorf("with a good token: %v", a)
		}
	})
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// keycloakAdmin speaks Keycloak's admin API.
type keycloakAdmin struct{ at string }

func (a keycloakAdmin) do(t *testing.T, method, path string, in, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	token := grant(t, a.at+"/realms/master/protocol/openid-connect/token", "", "", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"},
		"username": {"admin"}, "password": {"admin"}})
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.at+"/admin/realms/corp"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 || out != nil && json.Unmarshal(b, out) != nil {
		t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, b, err)
	}
}

// client sets attributes of a client.
func (a keycloakAdmin) client(t *testing.T, id string, attributes map[string]any) {
	t.Helper()
	var found []map[string]any
	a.do(t, http.MethodGet, "/clients?clientId="+id, nil, &found)
	if len(found) != 1 {
		t.Fatalf("%d clients %s", len(found), id)
	}
	c := found[0]
	have, _ := c["attributes"].(map[string]any)
	for k, v := range attributes {
		have[k] = v
	}
	a.do(t, http.MethodPut, "/clients/"+c["id"].(string), c, nil)
}

// signOut ends every session of a person, and has the clients told.
func (a keycloakAdmin) signOut(t *testing.T, name string) {
	t.Helper()
	var found []struct{ ID string }
	a.do(t, http.MethodGet, "/users?exact=true&username="+name, nil, &found)
	if len(found) != 1 {
		t.Fatalf("%d people called %s", len(found), name)
	}
	a.do(t, http.MethodPost, "/users/"+found[0].ID+"/logout", nil, nil)
}

// newSigningKey adds a key that Keycloak prefers from then on.
func (a keycloakAdmin) newSigningKey(t *testing.T) {
	t.Helper()
	var realm struct{ ID string }
	a.do(t, http.MethodGet, "", nil, &realm)
	a.do(t, http.MethodPost, "/components", map[string]any{"name": "next", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
		"parentId": realm.ID, "config": map[string][]string{"priority": {"200"}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"}, "keySize": {"2048"}}}, nil)
}
