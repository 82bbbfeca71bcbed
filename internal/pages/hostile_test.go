package pages_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/pages"
)

// TestForgedForms is CSRF in each form it takes: nothing changes, and the
// refusal is on the record.
func TestForgedForms(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	b.signIn(s, "/grants")
	ask := b.get("/grants/open?id=g1")
	token := ask.token(t, "/grants/open")
	other := s.browser(t)
	other.signIn(s, "/grants")
	theirs := other.get("/grants/open?id=g1").token(t, "/grants/open")
	good := func() url.Values { return url.Values{"id": {"g1"}, "answer": {"yes"}, "token": {token}} }
	for name, c := range map[string]struct {
		form   func(url.Values)
		change func(*http.Request)
	}{
		"no token":                {form: func(f url.Values) { f.Del("token") }},
		"empty token":             {form: func(f url.Values) { f.Set("token", "") }},
		"another browser's token": {form: func(f url.Values) { f.Set("token", theirs) }},
		"another form's token":    {form: func(f url.Values) { f.Set("token", ask.token(t, "/signin/out")) }},
		"two tokens":              {form: func(f url.Values) { f.Add("token", token) }},
		"two answers":             {form: func(f url.Values) { f.Add("answer", "no") }},
		"another origin":          {change: func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }},
		"origin null":             {change: func(r *http.Request) { r.Header.Set("Origin", "null") }},
		"origin by http":          {change: func(r *http.Request) { r.Header.Set("Origin", "https://localhost:8931") }},
		"another port":            {change: func(r *http.Request) { r.Header.Set("Origin", "http://localhost:3000") }},
		"two origins":             {change: func(r *http.Request) { r.Header.Add("Origin", base) }},
		"same site, other origin": {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }},
		"cross site":              {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"typed in":                {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }},
		"by a script":             {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") }},
		"nothing says where from": {change: func(r *http.Request) { r.Header.Del("Origin"); r.Header.Del("Sec-Fetch-Site") }},
		"in a frame":              {change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") }},
		"plain text":              {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		"multipart":               {change: func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }},
		"JSON":                    {change: func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }},
		"no content type":         {change: func(r *http.Request) { r.Header.Del("Content-Type") }},
		"token in the query":      {form: func(f url.Values) { f.Del("token") }, change: func(r *http.Request) { r.URL.RawQuery = "token=" + token }},
		"a query beside the form": {change: func(r *http.Request) { r.URL.RawQuery = "x=y" }},
		"a body without end":      {form: func(f url.Values) { f.Set("x", strings.Repeat("a", 1<<20)) }},
		"without the browser": {change: func(r *http.Request) {
			r.Header.Set("Cookie", "munjigi-session-8931="+b.cookies["munjigi-session-8931"])
		}},
		"without the session": {change: func(r *http.Request) {
			r.Header.Set("Cookie", "munjigi-browser-8931="+b.cookies["munjigi-browser-8931"])
		}},
		"a planted second session": {change: func(r *http.Request) { r.Header.Add("Cookie", "munjigi-session-8931=AAAAAAAAAAAAAAAAAAAAAAAAAA") }},
	} {
		form := good()
		if c.form != nil {
			c.form(form)
		}
		r := b.send(http.MethodPost, "/grants/open", form, c.change)
		if r.StatusCode < 400 || s.grants.started != 0 {
			t.Errorf("%s: %d, started %d", name, r.StatusCode, s.grants.started)
		}
		if e := s.record.last(); e.Effect != "deny" || !strings.Contains(r.body, e.ID) {
			t.Errorf("%s: the page does not name the entry %q", name, e.ID)
		}
	}
	if r := b.send(http.MethodPost, "/grants/open", good(), nil); r.StatusCode != 200 || s.grants.started != 1 {
		t.Errorf("the good form: %d", r.StatusCode)
	}
}

// TestSessionFixation: what a browser brought before it signed in is worth
// nothing afterwards.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	const planted = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
	b := s.browser(t)
	b.cookies["munjigi-session-8931"], b.cookies["munjigi-browser-8931"] = planted, planted
	b.signIn(s, "/grants")
	for _, name := range []string{"munjigi-session-8931", "munjigi-browser-8931"} {
		if v := b.cookies[name]; v == planted || len(v) != 26 {
			t.Errorf("%s is %q after signing in", name, v)
		}
	}
	attacker := s.browser(t)
	attacker.cookies["munjigi-session-8931"], attacker.cookies["munjigi-browser-8931"] = planted, planted
	if r := attacker.get("/grants"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the planted session is signed in: %d", r.StatusCode)
	}
	before := b.cookies["munjigi-session-8931"]
	page := b.get("/grants")
	old := page.token(t, "/signin/out")
	b.post(page, "/signin/out", url.Values{})
	again := s.browser(t)
	again.cookies["munjigi-session-8931"] = before
	if r := again.get("/grants"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("a session that was ended is signed in: %d", r.StatusCode)
	}
	b.signIn(s, "/grants")
	if r := b.send(http.MethodPost, "/signin/out", url.Values{"token": {old}}, nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("a token of the session before: %d", r.StatusCode)
	}
}

// TestLoginCSRF: a code, and a sign-in that was begun, serve only the browser
// that asked; and signing in needs a form of ours.
func TestLoginCSRF(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	attacker, victim := s.browser(t), s.browser(t)
	attacker.post(attacker.get("/signin"), "/signin/code", url.Values{"to": {"/grants"}})
	page := victim.get("/signin")
	r := victim.post(page, "/signin/code", url.Values{"to": {"/grants"}, "code": {s.codes[0]}})
	if r.StatusCode != http.StatusForbidden || victim.cookies["munjigi-session-8931"] != "" || s.record.last().Reason != "code-refused" {
		t.Errorf("the attacker's code signed the victim in: %d", r.StatusCode)
	}
	if r := victim.send(http.MethodPost, "/signin/code", url.Values{"code": {s.codes[0]}}, func(r *http.Request) { r.Header.Set("Origin", "http://localhost:3000") }); r.StatusCode != http.StatusForbidden {
		t.Errorf("posted by another page: %d", r.StatusCode)
	}
	if r := victim.get("/signin/code?code=" + s.codes[0]); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("by a link: %d", r.StatusCode)
	}
}

func TestGuessing(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	page := b.post(b.get("/signin"), "/signin/code", url.Values{"to": {"/grants"}})
	for range signin.CodeGuesses {
		r := b.post(page, "/signin/code", url.Values{"code": {"AAAAAAAA"}})
		if r.StatusCode != http.StatusForbidden || !strings.Contains(r.body, `role="alert"`) || !strings.Contains(r.body, s.record.last().ID) {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
	}
	if r := b.post(page, "/signin/code", url.Values{"code": {s.codes[0]}}); r.StatusCode != http.StatusForbidden {
		t.Errorf("the right code after too many wrong ones: %d", r.StatusCode)
	}
	for range 20 {
		b.post(page, "/signin/code", url.Values{"to": {"/grants"}})
	}
	if len(s.codes) > 6 {
		t.Errorf("%d codes were shown", len(s.codes))
	}
	shown := 0
	for _, e := range s.record.events {
		if e.Reason == "code-shown" {
			shown++
		}
	}
	if shown != len(s.codes) {
		t.Errorf("%d entries of %d codes", shown, len(s.codes))
	}
}

// TestNoOpenRedirect: wherever a link says, signing in ends on a page of ours.
func TestNoOpenRedirect(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, to := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "/grants/open?id=../x"} {
		if r := s.browser(t).get("/signin?to=" + url.QueryEscape(to)); strings.Contains(r.body, "evil") || !strings.Contains(r.body, `name="to" value="/grants"`) {
			t.Errorf("%q stands on the page:\n%s", to, r.body)
		}
	}
	if got := s.browser(t).signIn(s, "//evil.example").Header.Get("Location"); got != "/grants" {
		t.Errorf("leads to %q", got)
	}
}

func TestHostHeader(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	for host, want := range map[string]int{
		"localhost:8931": 200, "LOCALHOST:8931": 200, "127.0.0.1:8931": 308, "[::1]:8931": 308,
		"evil.example": 421, "evil.example:8931": 421, "localhost": 421, "localhost:80": 421, "localhost.evil.example:8931": 421, "": 421, "localhost:8931@evil.example": 421,
	} {
		r := b.send(http.MethodGet, "/signin", nil, func(r *http.Request) { r.Host = host })
		if r.StatusCode != want || want == 308 && r.Header.Get("Location") != base+"/signin" || want == 421 && strings.Contains(r.body, "<form") {
			t.Errorf("%q: %d %s", host, r.StatusCode, r.Header.Get("Location"))
		}
	}
	if r := b.send(http.MethodPost, "/signin/code", url.Values{}, func(r *http.Request) { r.Host = "127.0.0.1:8931" }); r.StatusCode != 421 {
		t.Errorf("a form under an alias: %d", r.StatusCode)
	}
}

// TestHeaders holds every answer, good and bad, to the rules for headers.
func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, at := range []string{base, "https://gw.example"} {
		s := newSite(t, func(o *pages.Options) { o.Base = at })
		b := s.browser(t)
		b.base = at
		for _, path := range []string{"/signin", "/grants", "/grants/open?id=g1", "/grants/open", "/grants/callback?state=x", "/signin/callback?state=x", "/signin/out", "/signin/code", "/signin/style.css"} {
			r := b.get(path)
			for k, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
				"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := r.Header.Values(k); len(got) != 1 || got[0] != want {
					t.Errorf("%s: %s is %q", path, k, got)
				}
			}
			if hsts := r.Header.Get("Strict-Transport-Security") != ""; hsts != strings.HasPrefix(at, "https") {
				t.Errorf("%s%s: HSTS %v", at, path, hsts)
			}
			if strings.Contains(r.body, "<script") || strings.Contains(r.body, " style=") || strings.Contains(r.body, " on") && strings.Contains(r.body, "onclick") {
				t.Errorf("%s: something runs", path)
			}
			for _, c := range r.Cookies() {
				secure := strings.HasPrefix(at, "https")
				if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != secure || strings.HasPrefix(c.Name, "__Host-") != secure {
					t.Errorf("%s: %s", path, c.Raw)
				}
			}
		}
	}
}

// TestFramesAndPrefetch: a page is opened by a person, in a tab.
func TestFramesAndPrefetch(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	for name, change := range map[string]func(*http.Request){
		"iframe":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") },
		"object":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "object") },
		"image":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "image") },
		"fetch":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "empty") },
		"prefetch": func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") },
	} {
		if r := b.send(http.MethodGet, "/grants/callback?code=c&state=s1", nil, change); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	for _, m := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, "TRACE", "get"} {
		if r := b.send(m, "/signin", nil, nil); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d", m, r.StatusCode)
		}
	}
	r := httptest.NewRequest(http.MethodGet, base+"/signin", nil)
	r.URL.RawPath = "/%73ignin"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusNotFound {
		t.Errorf("another spelling of a path: %d", w.Code)
	}
	if s.Serves("/mcp") || s.Serves("/signin/") || s.Serves("/.well-known/x") || (*pages.Pages)(nil).Serves("/signin") {
		t.Error("paths of others are taken")
	}
}

// TestTextOfOthers puts hostile text where others can put text.
func TestTextOfOthers(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)`, `{{.Form}}`, `</title><script>`, "javascript:alert(1)",
		"\u202egpj.exe", "a\u2066b", "a\u200bb", "a\x00b", "a\r\nSet-Cookie: x=y", "\xff\xfe", strings.Repeat("x", 10_000),
	} {
		s := newSite(t, nil)
		s.grants.asked["g1"] = credential.Asked{ID: "g1", Server: evil, ServerURL: evil, Client: evil, Issuer: evil, Scopes: []string{evil}, Widens: []string{evil}}
		s.grants.given = []credential.Given{{Server: evil, Client: evil, Issuer: evil, Scopes: []string{evil}}}
		s.grants.finish = &credential.Declined{Server: evil, Code: evil}
		b := s.browser(t)
		b.signIn(s, "/grants")
		for _, path := range []string{"/grants/open?id=g1", "/grants", "/grants/callback?state=s1&error=" + url.QueryEscape(evil) + "&error_description=" + url.QueryEscape(evil)} {
			r := b.get(path)
			if r.StatusCode >= 500 {
				t.Errorf("%q on %s: %d", evil, path, r.StatusCode)
			}
			body := r.body
			for _, bad := range []string{"<script", "<img", "onfocus='", `="javascript:`, "\u202e", "\u2066", "\u200b", "\x00", "\r", strings.Repeat("x", 400)} {
				// The hidden fields of a form carry names back as they are.
				if strings.Contains(hiddenField.ReplaceAllString(body, ""), bad) {
					t.Errorf("%q on %s shows %q", evil, path, bad)
				}
			}
		}
	}
}

// TestHosts: a host is shown letter by letter.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser(t)
	b.signIn(s, "/grants")
	for issuer, want := range map[string]string{
		"https://login.example.net/realms/x":      `<bdi>login.example.net</bdi>`,
		"https://xn--lgin-wqa.example":            `<bdi>xn--lgin-wqa.example</bdi></span><span class="warn">`,
		"https://l\u043egin.example":              `<bdi>l\u{43e}gin.example</bdi></span><span class="warn">`,
		"https://login.example.net@evil.example/": `<bdi>evil.example</bdi>`,
		"https://evil.example:8443":               `<bdi>evil.example:8443</bdi>`,
	} {
		s.grants.asked["g1"] = credential.Asked{ID: "g1", Server: "files", Issuer: issuer}
		if r := b.get("/grants/open?id=g1"); !strings.Contains(r.body, want) {
			t.Errorf("%s is not shown as %s:\n%s", issuer, want, r.body)
		}
	}
}

// TestNothingWithoutARecord: a step that cannot be recorded does not happen.
func TestNothingWithoutARecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.grants.given = []credential.Given{{Server: "files", Client: "editor"}}
	b := s.browser(t)
	b.signIn(s, "/grants")
	ask, list := b.get("/grants/open?id=g1"), b.get("/grants")
	s.record.broken = true
	if r := b.post(ask, "/grants/open", url.Values{"id": {"g1"}, "answer": {"yes"}}); r.StatusCode != 503 || s.grants.started != 0 {
		t.Errorf("approved: %d", r.StatusCode)
	}
	if r := b.post(list, "/grants/withdraw", url.Values{"server": {"files"}, "client": {"editor"}}); r.StatusCode != 503 || len(s.grants.given) != 1 {
		t.Errorf("withdrawn: %d", r.StatusCode)
	}
	fresh := s.browser(t)
	if r := fresh.post(fresh.get("/signin"), "/signin/code", url.Values{}); r.StatusCode != 503 || len(s.codes) != 1 {
		t.Errorf("a code: %d", r.StatusCode)
	}
}

// TestHTTPSCookies: where there is TLS nobody else can set ours, and two of
// one name are refused.
func TestHTTPSCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *pages.Options) { o.Base = "https://gw.example:443" })
	b := s.browser(t)
	b.base = "https://gw.example"
	b.signIn(s, "/grants")
	if b.cookies["__Host-munjigi-session"] == "" {
		t.Fatalf("%v", b.cookies)
	}
	r := b.send(http.MethodGet, "/grants", nil, func(r *http.Request) { r.Header.Add("Cookie", "__Host-munjigi-browser=BBBBBBBBBBBBBBBBBBBBBBBBBB") })
	if r.StatusCode != http.StatusBadRequest || s.record.last().Reason != "cookie-planted" {
		t.Errorf("%d %+v", r.StatusCode, s.record.last())
	}
	plain := s.browser(t)
	plain.base = b.base
	plain.cookies["munjigi-session"] = b.cookies["__Host-munjigi-session"]
	if r := plain.get("/grants"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("a cookie without the prefix: %d", r.StatusCode)
	}
}

func TestOptionsThatRefuse(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	good := pages.Options{Base: base, Sessions: s.sessions, Record: s.record, FormKey: [32]byte{1}, Pairing: signin.NewPairing(local.Attached("x"), func(string) {})}
	for name, change := range map[string]func(*pages.Options){
		"no base":     func(o *pages.Options) { o.Base = "" },
		"plain http":  func(o *pages.Options) { o.Base = "http://gw.example" },
		"a path":      func(o *pages.Options) { o.Base = "https://gw.example/x" },
		"no key":      func(o *pages.Options) { o.FormKey = [32]byte{} },
		"no record":   func(o *pages.Options) { o.Record = nil },
		"no sessions": func(o *pages.Options) { o.Sessions = nil },
		"no way in":   func(o *pages.Options) { o.Pairing = nil },
	} {
		o := good
		change(&o)
		if _, err := pages.New(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
