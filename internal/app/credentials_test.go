package app_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential/credentialtest"
)

// journal takes log lines from many goroutines.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// credited is a gateway whose servers get credentials, with all that it writes.
type credited struct {
	*app.App
	srv  *httptest.Server
	idp  *provider
	file string
	data string
	log  journal
}

// newCredited opens a gateway; servers is the value of servers:, allow names
// hosts for egress.allow, and after ca: a file for egress.ca.
func newCredited(t *testing.T, servers string, allow ...string) *credited {
	t.Helper()
	c := &credited{idp: newProvider(t), data: filepath.Join(t.TempDir(), "data")}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte("permit (principal, action, resource);"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.file = filepath.Join(dir, "m.yaml")
	hosts, ca := []string{strings.TrimPrefix(c.idp.URL, "http://")}, ""
	for _, host := range allow {
		if file, ok := strings.CutPrefix(host, "ca:"); ok {
			ca = ", ca: \"" + file + "\""
			continue
		}
		hosts = append(hosts, host)
	}
	text := "listen: 127.0.0.1:0\npublic_url: " + public + "\ndata: " + c.data + "\npolicy: [p.cedar]\nidentity: { issuers: [{ issuer: \"" + c.idp.URL +
		"\" }] }\negress: { allow: [\"" + strings.Join(hosts, `", "`) + "\"]" + ca + " }\nservers: " + servers + "\n"
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	build := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}
	cfg, err := build.Load(c.file)
	if err != nil {
		t.Fatal(err)
	}
	unheld(cfg)
	c.App, err = app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: os.LookupEnv,
		Logger: slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Load:   func() (*config.Config, error) { return build.Load(c.file) }})
	if err != nil {
		t.Fatal(err)
	}
	c.srv = httptest.NewServer(c.App)
	t.Cleanup(func() {
		c.srv.Close()
		if err := c.App.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *credited) token(t *testing.T, who string) string {
	t.Helper()
	return c.idp.token(t, public+"/mcp/s", "s:list s:read s:call", func(m map[string]any) { m["sub"] = who })
}

// written is all that the gateway left behind: its log and every file of its
// data folder.
func (c *credited) written(t *testing.T) string {
	t.Helper()
	all := c.log.String()
	err := filepath.WalkDir(c.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all += string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestHostileTokenEndpoints: whatever a token endpoint does, the call is not
// sent, the caller is told in our words without a challenge, and nothing that
// the endpoint wrote, nor the caller's token, nor the client's secret is in the
// log, on the record, in the store, or in the answer.
func TestHostileTokenEndpoints(t *testing.T) {
	t.Parallel()
	const marker = "hunter2-words-of-the-endpoint"
	page := func(status int, typ, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", typ)
			w.Header().Set("WWW-Authenticate", `Basic realm="`+marker+`"`)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"error page":         {page(500, "text/html", "<h1>"+marker+"</h1>"), "credential-unavailable"},
		"refusal with words": {page(400, "application/json", `{"error":"invalid_grant","error_description":"`+marker+`"}`), "credential-refused"},
		"refusal as a code":  {page(400, "application/json", `{"error":"`+marker+`"}`), "credential-refused"},
		"401":                {page(401, "application/json", `{"error":"invalid_client","error_uri":"https://x/`+marker+`"}`), "credential-refused"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/"+marker, http.StatusTemporaryRedirect)
		}, "credential-unavailable"},
		"line break":   {page(200, "application/json", `{"access_token":"a\r\nX: `+marker+`","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`), "credential-refused"},
		"another type": {page(200, "application/json", `{"access_token":"`+marker+`","token_type":"MAC","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`), "credential-refused"},
		"another server's": {page(200, "application/json", `{"access_token":"`+credentialtest.JWT("at+jwt", map[string]any{"aud": "https://bank.example", "x": marker})+
			`","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`), "credential-refused"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for range 100 {
				if _, err := io.WriteString(w, strings.Repeat(marker, 1<<15)); err != nil {
					return
				}
			}
		}, "credential-unavailable"},
		"not JSON": {page(200, "application/json", marker), "credential-unavailable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sts := httptest.NewServer(tt.answer)
			t.Cleanup(sts.Close)
			up := newCaptive(t, false)
			secret := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(secret, []byte("client-secret-of-the-gateway"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", credential: { type: token_exchange, token_endpoint: "`+sts.URL+`/token", client_id: gw, client_secret: { secret: "file:`+secret+`" } } } }`,
				strings.TrimPrefix(sts.URL, "http://"))
			token := c.token(t, "kim")
			resp, body := ask(t, c.srv, "/mcp/s", token, "tools/call", "look")
			if resp.StatusCode != http.StatusOK || resp.Header.Get("WWW-Authenticate") != "" || !strings.Contains(body, `"isError":true`) {
				t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
			}
			if n := len(up.requests()); n != 0 {
				t.Errorf("the server was sent %d requests without a credential", n)
			}
			all := c.written(t)
			if !strings.Contains(all, tt.reason) {
				t.Errorf("%s is not on the record", tt.reason)
			}
			for what, text := range map[string]string{"what was written": all, "the answer": body} {
				for _, piece := range []string{"hunter2", "client-secret-of", "bank.example"} {
					if strings.Contains(text, piece) {
						t.Errorf("%s has %q", what, piece)
					}
				}
				// The record names the subject and the issuer; of the token nothing.
				pieces := windows(token)
				maps.DeleteFunc(pieces, func(_, form string) bool { return form == "part 1, decoded" })
				if piece, form := found([]byte(text), pieces); form != "" {
					t.Errorf("%s has a piece of the token (%s): %q", what, form, piece)
				}
			}
		})
	}
}

// TestPrivateAuthority reaches a token endpoint whose certificate is of an
// authority that egress.ca names, and no other.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	sts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"for-kim","token_type":"Bearer","expires_in":60,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`)
	}))
	t.Cleanup(sts.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sts.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		up := newCaptive(t, false)
		allow := []string{strings.TrimPrefix(sts.URL, "https://")}
		if trusted {
			allow = append(allow, "ca:"+ca)
		}
		c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", credential: { type: token_exchange, token_endpoint: "`+sts.URL+`/token" } } }`, allow...)
		_, body := ask(t, c.srv, "/mcp/s", c.token(t, "kim"), "tools/call", "look")
		if strings.Contains(body, "done") != trusted || len(up.requests()) > 0 != trusted {
			t.Errorf("trusted %v: %s", trusted, body)
		}
	}
}

// TestRefusingServer: a server that refuses everything gets each call twice at
// most, with two credentials, and the caller is not told to sign in.
func TestRefusingServer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		var mu sync.Mutex
		var auths []string
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			auths = append(auths, r.Header.Get("Authorization"))
			mu.Unlock()
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="evil", resource_metadata="https://evil.example/"`)
			w.WriteHeader(status)
		}))
		t.Cleanup(up.Close)
		sts := credentialtest.New(t)
		c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", era: modern, credential: { type: token_exchange, issuer: "`+sts.URL+`" } } }`, sts.Host())
		resp, body := ask(t, c.srv, "/mcp/s", c.token(t, "kim"), "tools/list", "")
		if resp.StatusCode != http.StatusOK || resp.Header.Get("WWW-Authenticate") != "" || strings.Contains(body, "evil") || !strings.Contains(body, "-32603") {
			t.Errorf("%d: %d %v %s", status, resp.StatusCode, resp.Header, body)
		}
		want := map[int]int{http.StatusUnauthorized: 2, http.StatusForbidden: 1}[status]
		if len(auths) != want || want == 2 && auths[0] == auths[1] {
			t.Errorf("%d: sent %q", status, auths)
		}
		if n := len(sts.Forms()); n != want {
			t.Errorf("%d: %d exchanges", status, n)
		}
	}
}

// TestExpiryInMidCall: a token that ends while calls are under way is replaced
// once, and no call fails, however many come at that moment.
func TestExpiryInMidCall(t *testing.T) {
	t.Parallel()
	sts := credentialtest.New(t)
	var good atomic.Pointer[string]
	sts.Mint = func(url.Values) (int, map[string]any) {
		token := sts.Fresh()
		good.Store(&token)
		return 200, credentialtest.Answer(token, 600)
	}
	var calls atomic.Int64
	inner := newCaptive(t, false)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+*good.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Header.Get("Mcp-Method") == "tools/call" {
			calls.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(up.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", credential: { type: client_credentials, issuer: "`+sts.URL+`", client_id: gw, client_secret: { secret: "file:`+secret+`" } } } }`, sts.Host())
	token := c.token(t, "kim")
	if _, body := ask(t, c.srv, "/mcp/s", token, "tools/call", "look"); !strings.Contains(body, "done") {
		t.Fatal(body)
	}
	ended := "ended"
	good.Store(&ended) // the server takes the old token no more
	before := len(sts.Forms())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, body := ask(t, c.srv, "/mcp/s", token, "tools/call", "look"); !strings.Contains(body, "done") {
				t.Error(body)
			}
		})
	}
	wg.Wait()
	if n := len(sts.Forms()) - before; n != 1 {
		t.Errorf("%d token requests", n)
	}
	if n := calls.Load(); n != 41 {
		t.Errorf("%d calls were executed, want each once", n)
	}
}

// TestProviderComesBack: while the provider is down nothing is sent and callers
// are told so; other servers and callers with tokens are served.
func TestProviderComesBack(t *testing.T) {
	t.Parallel()
	sts := credentialtest.New(t)
	var down atomic.Bool
	sts.Mint = func(f url.Values) (int, map[string]any) {
		if down.Load() {
			return 503, map[string]any{"error": "temporarily_unavailable"}
		}
		return mintFor(sts, sts, f)
	}
	up, other := newCaptive(t, false), newCaptive(t, false)
	c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", credential: { type: token_exchange, issuer: "`+sts.URL+`" } }, o: { url: "`+other.URL+`/mcp" } }`, sts.Host())
	kim, lee := c.token(t, "kim"), c.token(t, "lee")
	if _, body := ask(t, c.srv, "/mcp/s", kim, "tools/call", "look"); !strings.Contains(body, "done") {
		t.Fatal(body)
	}
	down.Store(true)
	sent := len(up.requests())
	if _, body := ask(t, c.srv, "/mcp/s", lee, "tools/call", "look"); !strings.Contains(body, "cannot be had at the moment") {
		t.Error(body)
	}
	if len(up.requests()) != sent {
		t.Error("the server was reached for a caller without a credential")
	}
	if _, body := ask(t, c.srv, "/mcp/s", kim, "tools/call", "look"); !strings.Contains(body, "done") {
		t.Errorf("a caller whose token is there: %s", body)
	}
	toOther := c.idp.token(t, public+"/mcp/o", "o:list o:read o:call", nil)
	if _, body := ask(t, c.srv, "/mcp/o", toOther, "tools/call", "look"); !strings.Contains(body, "done") {
		t.Errorf("another server: %s", body)
	}
	for _, h := range up.requests() {
		if strings.HasPrefix(h.auth, "Bearer for-lee") {
			t.Error("lee was served")
		}
	}
}

// TestStaticSecretAtReload: a reload reads the secret again, a secret that is
// gone makes the reload fail and changes nothing.
func TestStaticSecretAtReload(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(v string) {
		if err := os.WriteFile(secret, []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	up := newCaptive(t, false)
	c := newCredited(t, `{ s: { url: "`+up.URL+`/mcp", credential: { type: static, headers: { X-Api-Key: { secret: "file:`+secret+`" }, Authorization: { prefix: "Token ", secret: "file:`+secret+`" } } } } }`)
	token := c.token(t, "kim")
	last := func() string {
		t.Helper()
		ask(t, c.srv, "/mcp/s", token, "tools/list", "")
		all := up.requests()
		return all[len(all)-1].auth
	}
	if got := last(); got != "Token first" {
		t.Errorf("got %q", got)
	}
	write("second")
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := last(); got != "Token second" {
		t.Errorf("after a reload: %q", got)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("a reload without the secret: %v", err)
	}
	if got := last(); got != "Token second" {
		t.Errorf("after a failed reload: %q", got)
	}
	if strings.Contains(fmt.Sprint(c.log.String()), "second") {
		t.Error("the secret is in the log")
	}
}
