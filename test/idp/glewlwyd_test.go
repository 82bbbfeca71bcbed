//go:build real

package idp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/munjigi/munjigi/test/real/kit"
)

// TestGlewlwyd is the recipe for everybody: RFC 9068 without a word about it in
// the config, from a provider that shares no code with the others.
func TestGlewlwyd(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	sh := filepath.Join(tools.Root, "test", "idp", "glewlwyd.sh")
	script(t, sh, "install")
	ours, theirs := free(t), free(t)
	issuer := "http://" + theirs + "/api/oidc"
	p := begin(t, kit.Command{Name: "glewlwyd", Path: "sh", Args: []string{sh, "run", t.TempDir(), port(theirs), "http://" + ours}},
		issuer, issuer+"/.well-known/openid-configuration")
	g := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`" }] }`, `permit (principal, action, resource);`, theirs)
	robot := func(scope, server string) string {
		return grant(t, p.meta.Token, "robot", "robot-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {scope}, "resource": {g.resource(server)}})
	}

	t.Run("login", func(t *testing.T) {
		b := newBrowser(t, nil)
		b.pages = glewlwydPages("http://"+theirs+"/api", "kim", "kim-password")
		kim := signIn(t, g, "files", "editor", b)
		if text, err := kim.use(t, "test_simple_text"); err != nil || text == "" {
			t.Fatalf("%q %v", text, err)
		}
		if a := g.call(t, "mail", kim.token(t), "test_simple_text"); a.status != 401 {
			t.Errorf("a token for files at mail: %v", a)
		}
	})
	t.Run("workload", func(t *testing.T) {
		if a := g.call(t, "files", robot("files:call", "files"), "test_simple_text"); !a.done() {
			t.Errorf("%v", a)
		}
		if a := g.call(t, "files", robot("files:list", "files"), "test_simple_text"); a.status != 403 {
			t.Errorf("without the scope: %v", a)
		}
	})
	t.Run("audience", func(t *testing.T) {
		if a := g.call(t, "files", robot("mail:call", "mail"), "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "another resource") {
			t.Errorf("the sibling's: %v", a)
		}
		// Without resource the audience is the list of scopes.
		token := grant(t, p.meta.Token, "robot", "robot-secret", url.Values{"grant_type": {"client_credentials"}, "scope": {"files:call"}})
		if a := g.call(t, "files", token, "test_simple_text"); a.status != 401 || !strings.Contains(a.challenge, "another resource") {
			t.Errorf("for no resource: %v", a)
		}
	})
}

// glewlwydPages is what the provider's sign-in pages do, which are scripts: they
// sign in, and grant what the client asks for.
func glewlwydPages(api, user, password string) func(context.Context, *http.Client, *auth.AuthorizationArgs) error {
	return func(ctx context.Context, c *http.Client, args *auth.AuthorizationArgs) error {
		send := func(method, path string, body any) error {
			text, err := json.Marshal(body)
			if err != nil {
				return err
			}
			r, err := http.NewRequestWithContext(ctx, method, api+path, bytes.NewReader(text))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/json")
			res, err := c.Do(r)
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s %s: %d", method, path, res.StatusCode)
			}
			return errors.Join(err, res.Body.Close())
		}
		u, err := url.Parse(args.URL)
		if err != nil {
			return err
		}
		q := u.Query()
		if err := send(http.MethodPost, "/auth/", map[string]string{"username": user, "password": password}); err != nil {
			return err
		}
		if err := send(http.MethodPut, "/auth/grant/"+q.Get("client_id"), map[string]string{"scope": q.Get("scope")}); err != nil {
			return err
		}
		q.Set("g_continue", "true")
		u.RawQuery = q.Encode()
		args.URL = u.String()
		return nil
	}
}
