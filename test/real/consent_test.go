//go:build real

package real

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/test/real/kit"
)

// listener is where a client waits for its answers.
type listener struct {
	*httptest.Server
	mu  sync.Mutex
	got []url.Values
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cb" {
			l.mu.Lock()
			l.got = append(l.got, r.URL.Query())
			l.mu.Unlock()
		}
		_, _ = w.Write([]byte("<!DOCTYPE html><title>client</title><p>You can close this."))
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) answers() []url.Values {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]url.Values(nil), l.got...)
}

const verifier = "a-verifier-of-forty-three-characters-or-more-0123456789"

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sent posts to the gateway and reads JSON.
func sent(t *testing.T, at, kind, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(hurry(t), http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	_ = json.Unmarshal(b, &out)
	return resp.StatusCode, out
}

const asForm = "application/x-www-form-urlencoded"

// TestBrowserConsent lets a client in that registered itself, in a browser
// without scripts, and takes it back; each page is looked at as people do who
// see little, use a keyboard, or hold a phone.
func TestBrowserConsent(t *testing.T) {
	tools, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	base, data := "http://localhost:"+port, filepath.Join(dir, "data")
	file := filepath.Join(dir, "munjigi.yaml")
	if err := os.WriteFile(file, []byte("listen: "+addr+"\ndata: "+data+"\nauthorization_server: { registration: true }\nservers: { files: { url: \"http://127.0.0.1:9/mcp\" } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", file, "-quiet"}, Addr: addr})
	ending(t, p, err)
	client := newListener(t)
	status, made := sent(t, base+"/oauth/register", "application/json", `{"client_name":"Editor","redirect_uris":["`+client.URL+`/cb"],"token_endpoint_auth_method":"none"}`)
	id, _ := made["client_id"].(string)
	if status != http.StatusCreated || id == "" {
		t.Fatalf("%d %v", status, made)
	}
	asks := func(scope string) string {
		return base + "/oauth/authorize?" + url.Values{"response_type": {"code"}, "client_id": {id}, "redirect_uri": {client.URL + "/cb"}, "scope": {scope},
			"resource": {base + "/mcp/files"}, "state": {"st"}, "code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}}.Encode()
	}

	ko := browse(t, "ko")
	ko.open(asks("files:list files:call"))
	ko.arrives("^" + base + "/oauth/consent")
	ko.audit("consent-ko")

	c := browse(t, "en")
	c.open(asks("files:list files:call"))
	c.arrives("^" + base + "/oauth/consent")
	c.audit("consent")
	c.click(`button[value=yes]`)
	c.arrives("^" + base + "/signin")
	if len(client.answers()) != 0 {
		t.Error("there is an answer before anybody signed in")
	}
	c.click("main button")
	codes := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`)
	eventually(t, "a code on the terminal", func(context.Context) bool { return codes.MatchString(p.Output()) })
	c.fill("#code", codes.FindString(p.Output())+"\ue007")
	eventually(t, "the client has its answer", func(context.Context) bool { return len(client.answers()) == 1 })
	got := client.answers()[0]
	if got.Get("state") != "st" || got.Get("iss") != base || got.Get("code") == "" {
		t.Fatalf("%v", got)
	}
	status, tokens := sent(t, base+"/oauth/token", asForm, url.Values{"grant_type": {"authorization_code"}, "code": {got.Get("code")}, "redirect_uri": {client.URL + "/cb"},
		"client_id": {id}, "code_verifier": {verifier}, "resource": {base + "/mcp/files"}}.Encode())
	refresh, _ := tokens["refresh_token"].(string)
	if status != http.StatusOK || refresh == "" {
		t.Fatalf("%d %v", status, tokens)
	}

	// The same client asks for more: what is new is marked, and there is no code
	// without a click although the person is signed in.
	c.open(asks("files:list files:read files:call"))
	c.arrives("^" + base + "/oauth/consent")
	if s := c.source(); !strings.Contains(s, "It asks for more this time") || len(client.answers()) != 1 {
		t.Error("what is new is not marked, or there was a code")
	}
	c.audit("consent-again")
	for _, box := range []string{"list", "read", "call"} {
		c.click(`input[name="scope:files:` + box + `"]`)
	}
	c.click(`button[value=yes]`)
	eventually(t, "nothing ticked", func(context.Context) bool { return strings.Contains(c.source(), "Nothing is ticked") })
	c.audit("consent-nothing")
	c.click(`button[value=no]`)
	eventually(t, "the client was told", func(context.Context) bool {
		all := client.answers()
		return len(all) == 2 && all[1].Get("error") == "access_denied" && all[1].Get("code") == ""
	})

	c.open(base + "/grants")
	c.audit("given-clients")
	c.click(`form[action="/grants/client/withdraw"] button`)
	eventually(t, "withdrawn", func(context.Context) bool {
		return strings.Contains(c.source(), "The client can no longer act for you")
	})
	c.audit("withdrawn-client")
	status, again := sent(t, base+"/oauth/token", asForm, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {id}, "resource": {base + "/mcp/files"}}.Encode())
	if status != http.StatusBadRequest || again["error"] != "invalid_grant" {
		t.Errorf("a withdrawn client refreshes: %d %v", status, again)
	}
	c.open(asks("files:list"))
	c.arrives("^" + base + "/oauth/consent")
	if s := c.source(); strings.Contains(s, "You let it in before") {
		t.Error("what was withdrawn is remembered")
	}
	seen := map[string]int{}
	if err := log.Read(filepath.Join(data, "audit"), log.NewestFirst, func(e audit.Event) bool { seen[e.Reason]++; return true }); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"client-registered", "consent-before-sign-in", "signed-in", "consent-given", "consent-refused", "consent-withdrawn"} {
		if seen[reason] != 1 {
			t.Errorf("%s is on the record %d times", reason, seen[reason])
		}
	}
}
