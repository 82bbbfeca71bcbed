package pages_test

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/consent"
	"github.com/munjigi/munjigi/internal/oauthserver/oauthservertest"
	"github.com/munjigi/munjigi/internal/pages"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// asked is a site with an authorization server behind it.
type asked struct {
	*site
	flow oauthservertest.Flow
}

func newAsked(t *testing.T, change func(*pages.Options)) *asked {
	t.Helper()
	a := &asked{}
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "c.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	decisions, err1 := db.Bucket("oauth-consent")
	steps, err2 := db.Bucket("oauth-step")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	c, err := consent.New(consent.Options{Decisions: consent.NewDecisions(decisions), Steps: steps, Flow: &a.flow})
	if err != nil {
		t.Fatal(err)
	}
	a.site = newSite(t, func(o *pages.Options) {
		o.Consent, o.Decisions = c, c
		if change != nil {
			change(o)
		}
	})
	return a
}

func (a *asked) add(change func(*oauthserver.Asking)) {
	q := oauthserver.Asking{ID: "q1", Redirect: "http://127.0.0.1:5000/cb", Resource: base + "/mcp", Scopes: []string{"files:list", "files:call", "mail:list"}, Until: time.Now().Add(time.Minute),
		Client: oauthserver.Client{ID: "https://app.example/c.json", Kind: oauthserver.Document, Name: "Editor", Host: "app.example", Auth: oauthserver.AuthNone, Digest: "d"}}
	if change != nil {
		change(&q)
	}
	a.flow.Add(q)
}

// yes is the form with every box ticked.
func yes(t *testing.T, page answer) url.Values {
	t.Helper()
	return url.Values{"token": {page.token(t, oauthserver.PathConsent)}, "about": {about(t, page)}, "id": {"q1"}, "answer": {"yes"}, "server:files": {"on"}, "server:mail": {"on"},
		"scope:files:list": {"on"}, "scope:files:call": {"on"}, "scope:mail:list": {"on"}}
}

var aboutField = regexp.MustCompile(`name="about" value="([^"]+)"`)

func about(t *testing.T, page answer) string {
	t.Helper()
	m := aboutField.FindStringSubmatch(page.body)
	if m == nil {
		t.Fatalf("the page says nothing about what it asks:\n%s", page.body)
	}
	return m[1]
}

// TestConsentSwapped: an answer to one question is none to another, nor to the
// same one after its client, its redirect or its scopes changed.
func TestConsentSwapped(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*oauthserver.Asking){
		"another request":     nil,
		"another client":      func(q *oauthserver.Asking) { q.Client.ID = "https://evil.example/c.json" },
		"a changed client":    func(q *oauthserver.Asking) { q.Client.Digest = "d2" },
		"another redirect":    func(q *oauthserver.Asking) { q.Redirect = "https://evil.example/cb" },
		"more scopes":         func(q *oauthserver.Asking) { q.Scopes = append(q.Scopes, "mail:call") },
		"another resource":    func(q *oauthserver.Asking) { q.Resource = base + "/mcp/mail" },
		"the same, unchanged": func(*oauthserver.Asking) {},
	} {
		a := newAsked(t, nil)
		a.add(nil)
		b := a.browser(t)
		b.signIn(a.site, "/grants")
		form := yes(t, b.get("/oauth/consent?id=q1"))
		if change == nil {
			a.add(func(q *oauthserver.Asking) { q.ID, q.Client.ID = "q2", "https://evil.example/c.json" })
			form.Set("id", "q2")
		} else {
			a.add(change)
		}
		r := b.submit(oauthserver.PathConsent, form)
		if name == "the same, unchanged" {
			if len(a.flow.Codes()) != 1 {
				t.Errorf("%s: %d", name, r.StatusCode)
			}
			continue
		}
		if e := a.record.last(); r.StatusCode != http.StatusForbidden || len(a.flow.Codes()) != 0 || e.Reason != "consent-other-question" {
			t.Errorf("%s: %d %s", name, r.StatusCode, e.Reason)
		}
	}
}

// reasons are those on the record, of the consent.
func (s *site) reasons() []string {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	var out []string
	for _, e := range s.record.events {
		if e.Stage == "consent" || e.Reason == "signed-in" {
			out = append(out, e.Reason)
		}
	}
	return out
}

// TestConsentThenCode is the way of a stranger's browser: the question, the yes,
// signing in, the code; in this order.
func TestConsentThenCode(t *testing.T) {
	t.Parallel()
	a := newAsked(t, nil)
	a.add(nil)
	b := a.browser(t)
	q := b.get("/oauth/consent?id=q1")
	for _, want := range []string{"Editor", "app.example", "127.0.0.1:5000", "http://127.0.0.1:5000/cb", "program on your own computer", "files", "mail", "also those that change", "Allow and sign in"} {
		if !strings.Contains(q.body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	form := yes(t, q)
	form.Del("scope:files:call")
	form.Del("server:mail")
	r := b.submit(oauthserver.PathConsent, form)
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/signin?to=%2Foauth%2Fconsent%3Fid%3Dq1" || len(a.flow.Codes()) != 0 {
		t.Fatalf("%d %q", r.StatusCode, to)
	}
	b.signIn(a.site, "/oauth/consent?id=q1")
	r = b.get("/oauth/consent?id=q1")
	if r.StatusCode != http.StatusOK || !strings.Contains(r.body, "http://127.0.0.1:5000/cb?code=cq1") {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	codes := a.flow.Codes()
	if len(codes) != 1 || !cmp.Equal(codes[0].Scopes, []string{"files:list"}) || codes[0].Who.Identity().Kind != call.Operator {
		t.Errorf("%+v", codes)
	}
	if d := cmp.Diff([]string{"consent-before-sign-in", "signed-in", "consent-given"}, a.reasons()); d != "" {
		t.Error(d)
	}
	if r = b.get("/oauth/consent?id=q1"); r.StatusCode != http.StatusNotFound {
		t.Errorf("again: %d", r.StatusCode)
	}
}

func TestConsentRefused(t *testing.T) {
	t.Parallel()
	a := newAsked(t, nil)
	a.add(nil)
	b := a.browser(t)
	form := yes(t, b.get("/oauth/consent?id=q1"))
	form.Set("answer", "no")
	if r := b.submit(oauthserver.PathConsent, form); !strings.Contains(r.body, "http://127.0.0.1:5000/cb?error=access_denied") || len(a.flow.Codes()) != 0 {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if d := cmp.Diff([]string{"consent-refused"}, a.reasons()); d != "" {
		t.Error(d)
	}
}

// TestConsentForms: what is posted in another way than the page does changes
// nothing.
func TestConsentForms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		form   func(url.Values)
		change func(*http.Request)
		want   int
	}{
		"no token":             {form: func(f url.Values) { f.Del("token") }, want: 403},
		"another page's token": {form: func(f url.Values) { f.Set("token", "x") }, want: 403},
		"another origin":       {change: func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, want: 403},
		"cross site":           {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, want: 403},
		"in a frame":           {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") }, want: 403},
		"by a script":          {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") }, want: 403},
		"another browser":      {change: func(r *http.Request) { r.Header.Del("Cookie") }, want: 403},
		"no answer":            {form: func(f url.Values) { f.Del("answer") }, want: 400},
		"two answers":          {form: func(f url.Values) { f.Add("answer", "no") }, want: 403},
		"another id":           {form: func(f url.Values) { f.Set("id", "q2") }, want: 404},
		"no id":                {form: func(f url.Values) { f.Del("id") }, want: 404},
		"nothing ticked":       {form: func(f url.Values) { f.Del("server:files"); f.Del("server:mail") }, want: 400},
		"only what was not asked": {form: func(f url.Values) {
			for k := range f {
				if strings.HasPrefix(k, "s") {
					f.Del(k)
				}
			}
			f.Set("server:admin", "on")
			f.Set("scope:admin:call", "on")
		}, want: 400},
	} {
		a := newAsked(t, nil)
		a.add(nil)
		b := a.browser(t)
		b.signIn(a.site, "/grants")
		form := yes(t, b.get("/oauth/consent?id=q1"))
		if c.form != nil {
			c.form(form)
		}
		if r := b.send(http.MethodPost, oauthserver.PathConsent, form, c.change); r.StatusCode != c.want || len(a.flow.Codes()) != 0 {
			t.Errorf("%s: %d, %d codes", name, r.StatusCode, len(a.flow.Codes()))
		}
	}
}

// TestConsentOtherBrowser: the link of a request that one browser opened says
// nothing to another, and that is on the record.
func TestConsentOtherBrowser(t *testing.T) {
	t.Parallel()
	a := newAsked(t, nil)
	a.add(nil)
	evil, victim := a.browser(t), a.browser(t)
	evil.submit(oauthserver.PathConsent, yes(t, evil.get("/oauth/consent?id=q1")))
	victim.signIn(a.site, "/oauth/consent?id=q1")
	r := victim.get("/oauth/consent?id=q1")
	never := victim.get("/oauth/consent?id=q9")
	if r.StatusCode != http.StatusNotFound || strings.Contains(r.body, "Editor") || never.StatusCode != r.StatusCode || len(a.flow.Codes()) != 0 {
		t.Errorf("%d and %d", r.StatusCode, never.StatusCode)
	}
	if d := cmp.Diff([]string{"consent-before-sign-in", "signed-in", "consent-other-browser", "consent-unknown"}, a.reasons()); d != "" {
		t.Error(d)
	}
}

// TestConsentNotOnRecord: without an entry there is no code.
func TestConsentNotOnRecord(t *testing.T) {
	t.Parallel()
	a := newAsked(t, nil)
	a.add(nil)
	b := a.browser(t)
	b.signIn(a.site, "/grants")
	form := yes(t, b.get("/oauth/consent?id=q1"))
	a.record.broken = true
	if r := b.submit(oauthserver.PathConsent, form); r.StatusCode != http.StatusServiceUnavailable || len(a.flow.Codes()) != 0 {
		t.Errorf("%d", r.StatusCode)
	}
}

// TestConsentShows: what strangers wrote is shown as what it is.
func TestConsentShows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change     func(*oauthserver.Asking)
		has, lacks []string
	}{
		"a script as name":         {func(q *oauthserver.Asking) { q.Client.Name = "<script>alert(1)</script>" }, []string{"&lt;script&gt;alert"}, []string{"<script"}},
		"text that runs backwards": {func(q *oauthserver.Asking) { q.Client.Name = "Editor \u202erotidE" }, []string{`\u{202e}`}, []string{"\u202e"}},
		"zero width":               {func(q *oauthserver.Asking) { q.Client.Name = "Ed\u200bitor" }, []string{`\u{200b}`}, []string{"\u200b"}},
		"a Cyrillic twin":          {func(q *oauthserver.Asking) { q.Client.Name = "Cl\u0430ude" }, []string{"can look like others", `Cl\u{430}ude`}, nil},
		"full width":               {func(q *oauthserver.Asking) { q.Client.Name = "\uff23laude" }, []string{"can look like others", `\u{ff23}laude`}, nil},
		"in costume":               {func(q *oauthserver.Asking) { q.Client.Name = "\U0001d402laude" }, []string{"can look like others", `\u{1d402}laude`}, nil},
		"Korean is no costume":     {func(q *oauthserver.Asking) { q.Client.Name = "편집기 Editör" }, []string{"편집기 Editör"}, []string{"can look like others"}},
		"a coded redirect":         {func(q *oauthserver.Asking) { q.Redirect = "https://xn--80ak6aa92e.com/cb" }, []string{"xn--80ak6aa92e.com", "letters beyond a to z", "another host than the one"}, []string{"own computer"}},
		"a coded document":         {func(q *oauthserver.Asking) { q.Client.Host = "xn--80ak6aa92e.com" }, []string{"letters beyond a to z"}, nil},
		"the same host":            {func(q *oauthserver.Asking) { q.Redirect = "https://app.example/cb" }, nil, []string{"another host than the one", "own computer"}},
		"nobody vouches":           {func(q *oauthserver.Asking) { q.Client.Unvouched = true }, []string{"has not named this host"}, nil},
		"somebody vouches":         {nil, nil, []string{"has not named this host"}},
		"registered": {func(q *oauthserver.Asking) {
			q.Client.Kind, q.Client.Host, q.Client.ID = oauthserver.Registered, "", "reg_x"
		}, []string{"Nobody vouches for it"}, []string{"app.example"}},
		"configured": {func(q *oauthserver.Asking) {
			q.Client.Kind, q.Client.Host, q.Client.ID = oauthserver.Configured, "", "ci"
		}, []string{"Your operator set it up", "ci"}, nil},
		"a long name": {func(q *oauthserver.Asking) { q.Client.Name = strings.Repeat("e", 5000) }, []string{"eee…"}, nil},
		"no logo":     {nil, nil, []string{"<img", "http-equiv"}},
	} {
		a := newAsked(t, nil)
		a.add(c.change)
		r := a.browser(t).get("/oauth/consent?id=q1")
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
		for _, want := range c.has {
			if !strings.Contains(r.body, want) {
				t.Errorf("%s: no %q in\n%s", name, want, r.body)
			}
		}
		for _, no := range c.lacks {
			if strings.Contains(r.body, no) {
				t.Errorf("%s: %q", name, no)
			}
		}
		if h := r.Header; !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, h)
		}
	}
}

// TestConsentAgain shows what stood before and what is new, and takes it back.
func TestConsentAgain(t *testing.T) {
	t.Parallel()
	a := newAsked(t, nil)
	a.add(func(q *oauthserver.Asking) { q.Scopes = []string{"files:list"} })
	b := a.browser(t)
	b.signIn(a.site, "/grants")
	b.submit(oauthserver.PathConsent, yes(t, b.get("/oauth/consent?id=q1")))
	a.add(func(q *oauthserver.Asking) { q.Client.Digest, q.Redirect = "d2", "https://evil.example/cb" })
	q := b.get("/oauth/consent?id=q1")
	for _, want := range []string{"You let it in before", "asks for more", "in another way than it did", "another address than then"} {
		if !strings.Contains(q.body, want) {
			t.Errorf("no %q", want)
		}
	}
	if n := strings.Count(q.body, `class="new"`); n != 3 { // files:call, mail whole and mail:list
		t.Errorf("%d are new", n)
	}
	given := b.get("/grants")
	if !strings.Contains(given.body, "Editor") || !strings.Contains(given.body, "app.example") {
		t.Error(given.body)
	}
	r := b.submit(pages.PathWithdrawClient, url.Values{"token": {given.token(t, pages.PathWithdrawClient)}, "client": {"https://app.example/c.json"}})
	if r.StatusCode != http.StatusOK || !cmp.Equal(a.flow.Withdrawn(), []string{"https://app.example/c.json"}) {
		t.Errorf("%d %v", r.StatusCode, a.flow.Withdrawn())
	}
	if given = b.get("/grants"); strings.Contains(given.body, "Editor") {
		t.Error("still there")
	}
}

// TestConsentOff: without an authorization server its page is none.
func TestConsentOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	if r := b.get("/oauth/consent?id=q1"); r.StatusCode != http.StatusNotFound {
		t.Error(r.StatusCode)
	}
}

func (b *browser) submit(path string, form url.Values) answer {
	return b.send(http.MethodPost, path, form, nil)
}
