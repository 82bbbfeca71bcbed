package pages_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/pages"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

const base = "http://localhost:8931"

// record keeps what was recorded, or refuses to.
type record struct {
	mu     sync.Mutex
	events []audit.Event
	broken bool
}

func (r *record) Record(_ context.Context, e *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return errors.New("the disk is full")
	}
	if err := e.Check(); err != nil {
		return err
	}
	r.events = append(r.events, *e)
	return nil
}

func (r *record) last() audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		return audit.Event{}
	}
	return r.events[len(r.events)-1]
}

// grants are those of one person, in memory.
type grants struct {
	owner    string
	asked    map[string]credential.Asked
	given    []credential.Given
	started  int
	finished int
	finish   error
}

func (g *grants) Pending(_ context.Context, id string, p call.Principal) (credential.Asked, error) {
	a, ok := g.asked[id]
	if !ok || p.Key() != g.owner {
		return credential.Asked{}, credential.ErrNoGrant
	}
	return a, nil
}

func (g *grants) Start(ctx context.Context, id string, p call.Principal) (string, error) {
	if _, err := g.Pending(ctx, id, p); err != nil {
		return "", err
	}
	delete(g.asked, id)
	g.started++
	return "https://login.example.net/authorize?state=s1&x=%22%3E%3Cscript%3E", nil
}

func (g *grants) Finish(_ context.Context, q url.Values, p call.Principal) (credential.Given, error) {
	if p.Key() != g.owner || q.Get("state") != "s1" || g.finished > 0 {
		return credential.Given{}, credential.ErrNoGrant
	}
	if g.finish != nil {
		return credential.Given{}, g.finish
	}
	g.finished++
	g.given = append(g.given, credential.Given{Server: "files", Client: "editor", Issuer: "https://login.example.net", Since: time.Unix(0, 0)})
	return g.given[len(g.given)-1], nil
}

func (g *grants) Given(_ context.Context, p call.Principal) ([]credential.Given, error) {
	if p.Key() != g.owner {
		return nil, nil
	}
	return g.given, nil
}

func (g *grants) Withdraw(_ context.Context, p call.Principal, client, server string) (bool, error) {
	for i, x := range g.given {
		if p.Key() == g.owner && x.Client == client && x.Server == server {
			g.given = append(g.given[:i], g.given[i+1:]...)
			return true, nil
		}
	}
	return false, credential.ErrNoGrant
}

// site is the pages of a lone operator.
type site struct {
	*pages.Pages
	record   *record
	grants   *grants
	sessions *signin.Sessions
	codes    []string
}

func newSite(t *testing.T, change func(*pages.Options)) *site {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := db.Bucket("browser-session")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{record: &record{}, sessions: signin.NewSessions(kv, nil), grants: &grants{
		owner: local.Attached("").Key(),
		asked: map[string]credential.Asked{"g1": {ID: "g1", Server: "files", ServerURL: "https://files.example.net/mcp", Client: "editor",
			Issuer: "https://login.example.net", Scopes: []string{"read", "write"}, Expires: time.Unix(0, 0)}},
	}}
	o := pages.Options{Base: base, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Sessions: s.sessions, Record: s.record, FormKey: [32]byte{1}, Grants: s.grants,
		Pairing: signin.NewPairing(local.Attached("browser"), func(c string) { s.codes = append(s.codes, c) })}
	if change != nil {
		change(&o)
	}
	if s.Pages, err = pages.New(o); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser keeps cookies and sends what browsers send.
type browser struct {
	t       *testing.T
	site    http.Handler
	base    string
	cookies map[string]string
	lang    string
}

func (s *site) browser(t *testing.T) *browser {
	return &browser{t: t, site: s, base: base, cookies: map[string]string{}}
}

type answer struct {
	*http.Response
	body string
}

// send makes a request; change edits it.
func (b *browser) send(method, path string, form url.Values, change func(*http.Request)) answer {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, b.base+path, body)
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "none")
	if b.lang != "" {
		r.Header.Set("Accept-Language", b.lang)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for k, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	b.site.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return answer{res, w.Body.String()}
}

func (b *browser) get(path string) answer { return b.send(http.MethodGet, path, nil, nil) }

var tokenField = regexp.MustCompile(`(?s)<form method="post" action="([^"]+)">\s*<input type="hidden" name="token" value="([^"]+)">`)

// token returns the token of the form that posts to path.
func (a answer) token(t *testing.T, path string) string {
	t.Helper()
	for _, m := range tokenField.FindAllStringSubmatch(a.body, -1) {
		if m[1] == path {
			return m[2]
		}
	}
	t.Fatalf("no form for %s in\n%s", path, a.body)
	return ""
}

// post fills the form for path that stands on a page.
func (b *browser) post(on answer, path string, form url.Values) answer {
	b.t.Helper()
	form.Set("token", on.token(b.t, path))
	return b.send(http.MethodPost, path, form, nil)
}

// signIn goes through the code.
func (b *browser) signIn(s *site, to string) answer {
	b.t.Helper()
	page := b.get("/signin?to=" + url.QueryEscape(to))
	page = b.post(page, "/signin/code", url.Values{"to": {to}})
	page = b.post(page, "/signin/code", url.Values{"to": {to}, "code": {s.codes[len(s.codes)-1]}})
	if page.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("not signed in: %d\n%s", page.StatusCode, page.body)
	}
	return page
}

func TestAGrantFromItsLinkToItsWithdrawal(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	r := b.get("/grants/open?id=g1")
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/signin?to=%2Fgrants%2Fopen%3Fid%3Dg1" {
		t.Fatalf("%d %s", r.StatusCode, to)
	}
	if to := b.signIn(s, "/grants/open?id=g1").Header.Get("Location"); to != "/grants/open?id=g1" {
		t.Fatal(to)
	}
	ask := b.get("/grants/open?id=g1")
	for _, want := range []string{"login.example.net", "files.example.net", "editor", "<code>read</code>", "<code>write</code>"} {
		if !strings.Contains(ask.body, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	if s.grants.started != 0 {
		t.Fatal("looking starts a grant")
	}
	leave := b.post(ask, "/grants/open", url.Values{"id": {"g1"}, "answer": {"yes"}})
	if leave.StatusCode != 200 || s.grants.started != 1 || !strings.Contains(leave.body, `content="0;url=https://login.example.net/authorize?state=s1&amp;x=%22%3E%3Cscript%3E"`) {
		t.Fatalf("%d %s", leave.StatusCode, leave.body)
	}
	if e := s.record.last(); e.Reason != "grant-approved" || e.Server != "files" || e.Client != "editor" || e.Principal == "" || e.Session == "" {
		t.Errorf("%+v", e)
	}
	if r := b.get("/grants/open?id=g1"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a link that was used: %d", r.StatusCode)
	}
	done := b.get("/grants/callback?code=c&state=s1")
	if done.StatusCode != 200 || !strings.Contains(done.body, "files may now be used for you") {
		t.Errorf("%d %s", done.StatusCode, done.body)
	}
	if r := b.get("/grants/callback?code=c&state=s1"); r.StatusCode != http.StatusNotFound {
		t.Errorf("replayed: %d", r.StatusCode)
	}
	list := b.get("/grants")
	gone := b.post(list, "/grants/withdraw", url.Values{"server": {"files"}, "client": {"editor"}})
	if gone.StatusCode != 200 || len(s.grants.given) != 0 || !strings.Contains(gone.body, "the other side has ended it") {
		t.Errorf("%d %s", gone.StatusCode, gone.body)
	}
	out := b.post(b.get("/grants"), "/signin/out", url.Values{})
	if out.StatusCode != 200 || b.get("/grants").StatusCode != http.StatusSeeOther {
		t.Errorf("still signed in: %d", out.StatusCode)
	}
}

func TestNo(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	b.signIn(s, "/grants")
	r := b.post(b.get("/grants/open?id=g1"), "/grants/open", url.Values{"id": {"g1"}, "answer": {"no"}})
	if r.StatusCode != 200 || s.grants.started != 0 || s.record.last().Reason != "grant-declined" {
		t.Errorf("%d %+v", r.StatusCode, s.record.last())
	}
	for _, a := range []string{"", "YES", "yes "} {
		if r := b.post(b.get("/grants/open?id=g1"), "/grants/open", url.Values{"id": {"g1"}, "answer": {a}}); r.StatusCode != 400 || s.grants.started != 0 {
			t.Errorf("%q: %d", a, r.StatusCode)
		}
	}
}

// TestAnothersLink: it looks exactly like one that never was.
func TestAnothersLink(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.grants.owner = "somebody else"
	s.grants.given = []credential.Given{{Server: "files", Client: "editor"}}
	b := s.browser(t)
	b.signIn(s, "/grants")
	id := regexp.MustCompile(`<p class="id">.*</p>`)
	theirs, none := b.get("/grants/open?id=g1"), b.get("/grants/open?id=nothing")
	if theirs.StatusCode != 404 || none.StatusCode != 404 || id.ReplaceAllString(theirs.body, "") != id.ReplaceAllString(none.body, "") {
		t.Errorf("%d %d\n%s\n%s", theirs.StatusCode, none.StatusCode, theirs.body, none.body)
	}
	if a, b := len(theirs.Header), len(none.Header); a != b {
		t.Errorf("%d and %d headers", a, b)
	}
	page := b.get("/grants")
	if strings.Contains(page.body, "editor") {
		t.Error("another's grants are listed")
	}
	for path, form := range map[string]url.Values{"/grants/open": {"id": {"g1"}, "answer": {"yes"}}, "/grants/withdraw": {"server": {"files"}, "client": {"editor"}}} {
		form.Set("token", tokenFor(t, b, path))
		if r := b.send(http.MethodPost, path, form, nil); r.StatusCode != 404 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if r := b.get("/grants/callback?code=c&state=s1"); r.StatusCode != 404 {
		t.Errorf("another's answer: %d", r.StatusCode)
	}
	if s.grants.started+s.grants.finished != 0 || len(s.grants.given) != 1 {
		t.Error("another's grant was touched")
	}
	if e := s.record.last(); e.Effect != "deny" || e.Principal == "" {
		t.Errorf("%+v", e)
	}
}

// tokenFor takes a real token of this browser and session from a second site
// with the same key, on which the form is shown.
func tokenFor(t *testing.T, b *browser, path string) string {
	t.Helper()
	s := newSite(t, nil)
	other := *b
	// The session must be known there: the operator's, under the same ID.
	s.Pages = replace(t, s, b)
	other.site = s
	s.grants.given = []credential.Given{{Server: "files", Client: "editor"}}
	at := map[string]string{"/grants/open": "/grants/open?id=g1", "/grants/withdraw": "/grants"}[path]
	return other.get(at).token(t, path)
}

// oneSession knows one session by heart.
type oneSession struct{ id string }

func (o oneSession) Start(context.Context, call.Principal) (string, error) { return o.id, nil }
func (o oneSession) End(context.Context, string) error                     { return nil }
func (o oneSession) Find(_ context.Context, id string) (call.Principal, error) {
	if id != o.id {
		return call.Principal{}, errors.New("unknown")
	}
	return local.Attached("browser"), nil
}

func replace(t *testing.T, s *site, b *browser) *pages.Pages {
	t.Helper()
	p, err := pages.New(pages.Options{Base: base, Sessions: oneSession{b.cookies["munjigi-session-8931"]}, Record: s.record, FormKey: [32]byte{1},
		Grants: s.grants, Pairing: signin.NewPairing(local.Attached("browser"), func(string) {})})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var hiddenField = regexp.MustCompile(`<input type="hidden"[^>]*>`)
