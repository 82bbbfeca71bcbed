package app_test

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
	"github.com/munjigi/munjigi/internal/gateway"
)

// paged is a gateway with pages, reached under its public name.
type paged struct {
	*app.App
	srv  *httptest.Server
	base string
	data string
	file string
	term *terminal
}

type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func (t *terminal) code() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(t.b.String(), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func withPages(t *testing.T, base, more string) *paged {
	t.Helper()
	p := &paged{base: base, data: filepath.Join(t.TempDir(), "data"), file: filepath.Join(t.TempDir(), "m.yaml"), term: &terminal{}}
	p.write(t, more)
	load := func() (*config.Config, error) {
		cfg, err := config.Build{Identity: true, AuthorizationServer: true, Policy: true, Getenv: os.Getenv}.Load(p.file)
		if err == nil {
			unheld(cfg)
		}
		return cfg, err
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) { return signintest.ClientSecret, name == "SIGNIN_SECRET" }
	if p.App, err = app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: env, Load: load, Terminal: p.term}); err != nil {
		t.Fatal(err)
	}
	p.srv = httptest.NewServer(p.App)
	t.Cleanup(func() {
		p.srv.Close()
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *paged) write(t *testing.T, more string) {
	t.Helper()
	p.overwrite(t, "listen: 127.0.0.1:8931\ndata: "+p.data+"\naudit: { durability: relaxed }\nservers: { s: { url: \"http://127.0.0.1:1/mcp\" } }\n"+more)
}

// overwrite replaces the config; beside it lies a policy that permits all.
func (p *paged) overwrite(t *testing.T, text string) {
	t.Helper()
	for file, s := range map[string]string{p.file: text, filepath.Join(filepath.Dir(p.file), "all.cedar"): "permit (principal, action, resource);\n"} {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// visitor is a browser on the public side of the gateway.
type visitor struct {
	t *testing.T
	p *paged
	c *http.Client
}

func (p *paged) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, p, &http.Client{Jar: jar, Transport: p.srv.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do reaches the test's server under the gateway's own name; cookies are kept
// for that name.
func (v *visitor) do(method, path string, form url.Values) (*http.Response, string) {
	v.t.Helper()
	own, err := url.Parse(v.p.base + path)
	if err != nil {
		v.t.Fatal(err)
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.p.srv.URL+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Host = own.Host
	for _, c := range v.c.Jar.Cookies(own) {
		r.AddCookie(c)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.p.base)
	}
	plain := *v.c
	plain.Jar = nil
	resp, err := plain.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.c.Jar.SetCookies(own, resp.Cookies())
	return resp, string(b)
}

// submit sends the form for path on a page, with what it holds and more.
func (v *visitor) submit(page, path string, more url.Values) (*http.Response, string) {
	v.t.Helper()
	_, rest, ok := strings.Cut(page, `action="`+path+`">`)
	rest, _, ok2 := strings.Cut(rest, "</form>")
	if !ok || !ok2 {
		v.t.Fatalf("no form for %s in\n%s", path, page)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(rest, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	for k, val := range more {
		form[k] = val
	}
	return v.do(http.MethodPost, path, form)
}

// signIn goes to the provider and returns the answer to its answer.
func (v *visitor) signIn(idp *signintest.Provider) (*http.Response, string) {
	v.t.Helper()
	_, page := v.do(http.MethodGet, "/signin", nil)
	_, page = v.submit(page, "/signin", nil)
	m := regexp.MustCompile(`content="0;url=([^"]+)"`).FindStringSubmatch(page)
	if m == nil {
		v.t.Fatalf("leads nowhere:\n%s", page)
	}
	return v.do(http.MethodGet, "/signin/callback?"+idp.Follow(v.t, html.UnescapeString(m[1])).Encode(), nil)
}

func issuers(idp *signintest.Provider) string {
	return "public_url: " + public + "\nidentity: { issuers: [{ issuer: \"" + idp.URL + "\", signin: { client_id: " + signintest.ClientID +
		", client_secret: { secret: env:SIGNIN_SECRET } } }] }\negress: { allow: [\"" + strings.TrimPrefix(idp.URL, "http://") + "\"] }\n"
}

func (p *paged) events(t *testing.T) []audit.Event {
	t.Helper()
	var out []audit.Event
	if err := log.Read(filepath.Join(p.data, "audit"), log.NewestFirst, func(e audit.Event) bool {
		out = append(out, e)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPagesAtAProvider signs in at a real provider, is ended by the operator,
// and by a config without that provider.
func TestPagesAtAProvider(t *testing.T) {
	t.Parallel()
	idp := signintest.New(t)
	p := withPages(t, public, issuers(idp))
	v := p.visitor(t)
	resp, body := v.signIn(idp)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/grants" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if resp, body := v.do(http.MethodGet, "/grants", nil); resp.StatusCode != 200 || !strings.Contains(body, "alice") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if e := p.events(t)[0]; e.Reason != "signed-in" || e.Principal != "alice@"+idp.URL {
		t.Errorf("%+v", e)
	}

	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.ServeControl(ctx) }()
	t.Cleanup(func() { stop(); <-served })
	var rows []gateway.SessionInfo
	for len(rows) == 0 {
		if err := control.Call(ctx, app.ControlPath(p.data), app.OpSessionsList, nil, &rows); err == nil && len(rows) == 0 {
			t.Fatal("the browser is not listed")
		}
		select {
		case err := <-served:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if rows[0].Principal != "alice@"+idp.URL {
		t.Errorf("%+v", rows)
	}
	var ended app.EndedAnswer
	if err := control.Call(ctx, app.ControlPath(p.data), app.OpSessionsEnd, app.NameArg{Name: rows[0].Digest}, &ended); err != nil || ended.Ended != 1 {
		t.Errorf("%+v %v", ended, err)
	}
	if resp, _ := v.do(http.MethodGet, "/grants", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("signed in after the operator ended it: %d", resp.StatusCode)
	}

	if resp, _ := v.signIn(idp); resp.StatusCode != http.StatusSeeOther {
		t.Fatal("not signed in again")
	}
	other := signintest.New(t)
	p.write(t, issuers(other))
	if err := p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, _ := v.do(http.MethodGet, "/grants", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("signed in by a provider that was taken out: %d", resp.StatusCode)
	}
}

// TestPagesOfTheOperator signs in by the code that the terminal shows.
func TestPagesOfTheOperator(t *testing.T) {
	t.Parallel()
	p := withPages(t, "http://localhost:8931", "")
	v := p.visitor(t)
	if resp, _ := v.do(http.MethodGet, "/grants", nil); resp.Header.Get("Location") != "/signin?to=%2Fgrants" {
		t.Fatalf("%v", resp.Header)
	}
	_, page := v.do(http.MethodGet, "/signin", nil)
	if p.term.code() != "" {
		t.Error("a code without asking")
	}
	_, page = v.submit(page, "/signin/code", nil)
	code := p.term.code()
	if code == "" || strings.Contains(page, code) {
		t.Fatalf("the code %q; the page\n%s", code, page)
	}
	if resp, _ := v.submit(page, "/signin/code", url.Values{"code": {code}}); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d", resp.StatusCode)
	}
	if resp, body := v.do(http.MethodGet, "/grants", nil); resp.StatusCode != 200 || !strings.Contains(body, "You have allowed nothing") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for _, e := range p.events(t) {
		if strings.Contains(string(e.Append(nil)), code) {
			t.Error("the code is on the record")
		}
	}
	// The session opens pages, and nothing else.
	resp, _ := v.do(http.MethodPost, "/mcp", url.Values{"x": {"y"}})
	if resp.StatusCode < 400 {
		t.Errorf("a session called: %d", resp.StatusCode)
	}
}

// TestNoPagesWithoutAWayIn: with issuers and no signin there are no pages.
func TestNoPagesWithoutAWayIn(t *testing.T) {
	t.Parallel()
	idp := signintest.New(t)
	p := withPages(t, public, "public_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\" }] }\n")
	for _, path := range []string{"/signin", "/grants", "/signin/code"} {
		if resp, body := p.visitor(t).do(http.MethodGet, path, nil); resp.StatusCode != 404 || strings.Contains(body, "<form") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// TestSignedOutElsewhere: a logout at the provider, and a subject that the
// operator takes back, end the session of the pages too.
func TestSignedOutElsewhere(t *testing.T) {
	t.Parallel()
	idp := signintest.New(t)
	p := withPages(t, public, strings.Replace(issuers(idp), "signin: {", "logout: { clients: ["+signintest.ClientID+"] }, signin: {", 1))
	v := p.visitor(t)
	in := func() bool {
		t.Helper()
		resp, _ := v.do(http.MethodGet, "/grants", nil)
		return resp.StatusCode == 200
	}
	v.signIn(idp)
	if !in() {
		t.Fatal("not signed in")
	}
	now := time.Now().Unix()
	token, err := idp.SignAs("logout+jwt", map[string]any{"iss": idp.URL, "aud": signintest.ClientID, "iat": now, "exp": now + 60, "jti": "l1", "sid": "s-alice",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := v.do(http.MethodPost, app.LogoutPath, url.Values{"logout_token": {token}}); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if in() {
		t.Error("signed in after a logout at the provider")
	}
	idp.SignedIn("bob")
	v.signIn(idp)
	if !in() {
		t.Fatal("not signed in again")
	}
	if _, err := p.Revoke(t.Context(), app.Revocation{Issuer: idp.URL, Subject: "bob"}); err != nil {
		t.Fatal(err)
	}
	if in() {
		t.Error("signed in after the operator took it back")
	}
}
