//go:build real

package real

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/peruser/perusertest"
	"github.com/munjigi/munjigi/internal/pages"
	"github.com/munjigi/munjigi/internal/store/sqlite"
	"github.com/munjigi/munjigi/test/real/kit"
)

// binary brings Munjigi alone: the pages need no other part.
var binary = sync.OnceValues(func() (*kit.Tools, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return kit.Install(ctx, kit.Want{Munjigi: true, Binary: os.Getenv("MUNJIGI"), Log: os.Stderr})
})

// chromium is a browser in which no script of a page runs.
type chromium struct {
	*testing.T
	*kit.Browser
}

func browse(t *testing.T, languages string) *chromium {
	t.Helper()
	b, err := kit.StartBrowser(t.Context(), t.TempDir(), kit.Look{Languages: languages})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &chromium{t, b}
}

func (c *chromium) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *chromium) open(url string)     { c.Helper(); c.must(c.Open(hurry(c.T), url)) }
func (c *chromium) click(css string)    { c.Helper(); c.must(c.Click(hurry(c.T), css)) }
func (c *chromium) fill(css, s string)  { c.Helper(); c.must(c.Type(hurry(c.T), css, s)) }
func (c *chromium) press(key ...string) { c.Helper(); c.must(c.Keys(hurry(c.T), key...)) }

func (c *chromium) source() string {
	c.Helper()
	html, err := c.Source(hurry(c.T))
	c.must(err)
	return html
}

// arrives waits until the browser is at a URL of this form.
func (c *chromium) arrives(form string) {
	c.Helper()
	re := regexp.MustCompile(form)
	eventually(c.T, "the browser is at "+form, func(ctx context.Context) bool {
		at, err := c.At(ctx)
		return err == nil && re.MatchString(at)
	})
}

// audit looks at the page as people do who see little, use a keyboard, or hold
// a phone, and keeps pictures where they are wanted.
func (c *chromium) audit(name string) {
	c.Helper()
	for _, w := range []int{1280, 390} {
		for _, colours := range []string{"light", "dark"} {
			if strings.HasSuffix(name, "-ko") && (w == 390) != (colours == "dark") {
				continue // what differs by language shows in two of the four
			}
			c.must(c.Show(hurry(c.T), w, 900, colours))
			var faults []string
			c.must(c.Eval(hurry(c.T), auditPage, &faults))
			for _, f := range faults {
				c.Errorf("%s, %d wide, %s: %s", name, w, colours, f)
			}
		}
	}
	c.picture(name)
	c.must(c.Show(hurry(c.T), 1280, 900, "light"))
}

// auditPage returns what is wrong with a page: texts of too little contrast
// (WCAG 2.2, 1.4.3), fields without a label, buttons without words, landmarks
// and headings that are missing, and what does not fit the width.
const auditPage = `
const bad = [];
const rgb = s => { const m = s.match(/[\d.]+/g).map(Number); return {c: m.slice(0, 3), a: m.length > 3 ? m[3] : 1}; };
const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126*r + 0.7152*g + 0.0722*b; };
const ground = e => { for (; e; e = e.parentElement) { const b = rgb(getComputedStyle(e).backgroundColor); if (b.a > 0) return b.c; } return null; };
let texts = 0;
for (const e of document.body.querySelectorAll('*')) {
  if (e.closest('[hidden], noscript')) continue;
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own && e.tagName !== 'INPUT') continue;
  if (e.type === 'hidden') continue;
  texts++;
  const s = getComputedStyle(e), g = ground(e);
  if (!g) { bad.push('no background is set under ' + e.tagName); continue; }
  const a = lum(rgb(s.color).c), b = lum(g), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push('contrast ' + ratio.toFixed(2) + ': ' + e.tagName + ' ' + e.textContent.trim().slice(0, 40));
}
if (texts < 5) bad.push('only ' + texts + ' texts were seen');
for (const e of document.querySelectorAll('input, select, textarea')) {
  if (e.type !== 'hidden' && !(e.labels && e.labels.length && e.labels[0].textContent.trim())) bad.push('no label: ' + e.name);
}
for (const e of document.querySelectorAll('button, a')) if (!e.textContent.trim()) bad.push('no words: ' + e.outerHTML);
for (const e of document.querySelectorAll('button, .button, input[type=text]')) {
  const r = e.getBoundingClientRect();
  if (r.height < 24 || r.width < 24) bad.push('too small to hit: ' + e.textContent);
}
for (const s of ['main', 'h1', 'header', 'footer', 'title']) if (document.querySelectorAll(s).length !== 1) bad.push(document.querySelectorAll(s).length + ' of ' + s);
if (!document.documentElement.lang) bad.push('no language');
const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
if (new Set(ids).size !== ids.length) bad.push('an ID twice');
for (const e of document.querySelectorAll('[aria-describedby]')) for (const id of e.getAttribute('aria-describedby').split(' ')) if (!document.getElementById(id)) bad.push('describes nothing: ' + id);
for (const e of document.querySelectorAll('[hidden]')) if (getComputedStyle(e).display !== 'none') bad.push('hidden, and shown: ' + e.textContent.trim().slice(0, 40));
let level = 0;
for (const h of document.querySelectorAll('h1,h2,h3')) { const n = +h.tagName[1]; if (n > level + 1) bad.push('heading skips to ' + h.tagName); level = n; }
if (document.documentElement.scrollWidth > innerWidth) bad.push('wider than the window: ' + document.documentElement.scrollWidth);
if (getComputedStyle(document.querySelector('button, .button, a')).fontFamily.includes('Times')) bad.push('the style was not applied');
return bad;`

// TestBrowserOperator signs the lone operator in to a real gateway, by the
// keyboard and without scripts.
func TestBrowserOperator(t *testing.T) {
	tools, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "munjigi.yaml")
	if err := os.WriteFile(file, []byte("listen: "+addr+"\ndata: "+filepath.Join(dir, "data")+"\nservers: { s: { url: \"http://127.0.0.1:9/mcp\" } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", file, "-quiet"}, Addr: addr})
	ending(t, p, err)
	_, port, _ := strings.Cut(addr, ":")
	base := "http://localhost:" + port
	code := func() string {
		all := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(p.Output(), -1)
		if len(all) == 0 {
			return ""
		}
		return all[len(all)-1]
	}

	c := browse(t, "en")
	// Another spelling of the host leads to the one that cookies belong to.
	c.open("http://" + addr + "/grants")
	c.arrives("^" + base + "/signin")
	c.audit("signin-operator")
	c.click("main button")
	eventually(t, "a code on the terminal", func(context.Context) bool { return code() != "" })
	c.audit("code")
	c.press("W", "R", "O", "N", "G", "\ue007") // the field has the focus; Enter
	eventually(t, "the wrong code refused", func(context.Context) bool { return strings.Contains(c.source(), `role="alert"`) })
	c.audit("code-wrong")
	for _, r := range strings.ToLower(code()) {
		c.press(string(r))
	}
	c.press("\ue007")
	c.arrives("^" + base + "/grants$")
	c.audit("given-none")
	cookies, err := c.Cookies(hurry(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(cookies) != 2 {
		t.Errorf("%+v", cookies)
	}
	for _, k := range cookies {
		if !k.HTTPOnly || k.SameSite != "Lax" || k.Domain != "localhost" || k.Path != "/" || !strings.HasSuffix(k.Name, "-"+port) {
			t.Errorf("%+v", k)
		}
	}
	c.open(base + "/signin/out")
	c.audit("signout")
	c.open(base + "/grants")
	c.click("nav button")
	eventually(t, "signed out", func(context.Context) bool { return strings.Contains(c.source(), "You are signed out") })
	c.audit("signed-out")
	c.open(base + "/grants")
	c.arrives("/signin")
}

// TestBrowserProvider follows the link that a call without a grant brings: the
// browser signs in at a provider that shows a page of its own, the person
// allows it here and at the server's authorization server, and the call
// succeeds.
func TestBrowserProvider(t *testing.T) {
	tools, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	idp, up := signintest.New(t), perusertest.New(t)
	idp.Screen()
	dir := t.TempDir()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	base := "http://localhost:" + port
	for name, text := range map[string]string{
		"all.cedar": "permit (principal, action, resource);\n",
		"munjigi.yaml": "listen: " + addr + "\npublic_url: " + base + "\ndata: " + filepath.Join(dir, "data") + "\npolicy: [all.cedar]\ndefinitions: { first_sight: clean }\n" +
			"servers: { files: { url: \"" + up.URL + "/mcp\", credential: { type: per_user, issuer: \"" + up.URL + "\", client_id: " + perusertest.ClientID + " } } }\n" +
			"egress: { allow: [\"" + strings.TrimPrefix(idp.URL, "http://") + "\", \"" + strings.TrimPrefix(up.URL, "http://") + "\"] }\n" +
			"identity: { issuers: [{ issuer: \"" + idp.URL + "\", signin: { client_id: " + signintest.ClientID + ", client_secret: { secret: env:SIGNIN_SECRET } } }] }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", filepath.Join(dir, "munjigi.yaml"), "-quiet"}, Addr: addr,
		Env: []string{"SIGNIN_SECRET=" + signintest.ClientSecret, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}})
	ending(t, p, err)
	call := func() string {
		t.Helper()
		token, err := idp.AccessToken(base+"/mcp/files", "alice", "editor", "files:list files:read files:call")
		if err != nil {
			t.Fatal(err)
		}
		peer := kit.DialHTTP(base+"/mcp/files", &kit.Peer{Modern: true, Capabilities: `{"elicitation":{"url":{}}}`}, http.Header{"Authorization": {"Bearer " + token}})
		r, err := peer.Call(hurry(t), "look", `{}`, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Body)
	}
	link := regexp.MustCompile(regexp.QuoteMeta(base) + `/grants/open\?id=[A-Za-z0-9_-]+`).FindString(call())
	if link == "" {
		t.Fatalf("no link: %s", call())
	}
	c := browse(t, "en")
	c.open(link)
	c.arrives("^" + base + "/signin")
	c.audit("signin-provider")
	c.click("main button")
	c.arrives("^" + idp.URL + "/authorize")
	c.click("#go")
	c.arrives("^" + regexp.QuoteMeta(link) + "$")
	c.audit("ask-provider")
	c.click("button[value=yes]")
	c.arrives("^" + up.URL + "/authorize")
	c.click("#go")
	c.arrives("^" + base + "/grants/callback")
	if html := c.source(); !strings.Contains(html, "files may now be used for you") {
		t.Fatalf("%s", html)
	}
	if got := call(); !strings.Contains(got, "the files of a person") {
		t.Errorf("with the grant: %s", got)
	}
	c.open(base + "/grants")
	c.audit("given-provider")
	c.click("main li button")
	c.arrives("/grants/withdraw")
	if got := call(); strings.Contains(got, "the files of a person") || up.Tokens() != 0 {
		t.Errorf("after withdrawal: %s", got)
	}
}

// people are the grants of one person, as a gateway would keep them.
type people struct {
	mu    sync.Mutex
	owner string
	asked *credential.Asked
	state string
	to    string
	given []credential.Given
}

func (g *people) Pending(_ context.Context, id string, p call.Principal) (credential.Asked, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked == nil || g.asked.ID != id || p.Key() != g.owner {
		return credential.Asked{}, credential.ErrNoGrant
	}
	return *g.asked, nil
}

func (g *people) Start(ctx context.Context, id string, p call.Principal) (string, error) {
	a, err := g.Pending(ctx, id, p)
	if err != nil {
		return "", err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = nil
	g.given = append(g.given, credential.Given{Server: a.Server, Client: a.Client, Issuer: a.Issuer, Scopes: a.Scopes, Since: time.Unix(1_790_000_000, 0), Lasting: true})
	return g.to, nil
}

func (g *people) Finish(_ context.Context, q url.Values, p call.Principal) (credential.Given, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q.Get("state") != g.state || p.Key() != g.owner {
		return credential.Given{}, credential.ErrNoGrant
	}
	g.state = ""
	return g.given[len(g.given)-1], nil
}

func (g *people) Given(_ context.Context, p call.Principal) ([]credential.Given, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != "" || p.Key() != g.owner {
		return nil, nil
	}
	return g.given, nil
}

func (g *people) Withdraw(context.Context, call.Principal, string, string) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.given = nil
	return false, nil
}

// TestBrowserGrant walks a grant from its link to its withdrawal, in both
// languages, with an authorization server on another origin, and then lets that
// origin attack.
func TestBrowserGrant(t *testing.T) {
	for _, lang := range []string{"en", "ko"} {
		t.Run(lang, func(t *testing.T) { browserGrant(t, lang) })
	}
}

func browserGrant(t *testing.T, lang string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	base := "http://localhost:" + port
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch r.URL.Path {
		case "/authorize": // redirects once on its own origin, as those with a sign-in elsewhere do
			if s := r.Referer(); s != "" {
				t.Errorf("the referrer went out: %s", s)
			}
			if visits.Add(1) == 1 {
				w.WriteHeader(http.StatusNoContent) // the browser stays where it is
				return
			}
			http.Redirect(w, r, "/consent", http.StatusFound)
		case "/consent":
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>AS</title><p id="ref">%s</p><a href="%s/grants/callback?state=s1&code=c">agree</a>`, r.Referer(), base)
		case "/script":
			_, _ = fmt.Fprint(w, `<!DOCTYPE html><title>x</title><script>document.write("ran")</script><noscript><p>no scripts run</p></noscript>`)
		case "/frame":
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>evil</title><iframe src="%s/grants"></iframe>`, base)
		case "/form":
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>evil</title><form method="post" action="%s/grants/withdraw"><input name="server" value="files"><input name="client" value="editor"><button>x</button></form>`, base)
		}
	}))
	t.Cleanup(elsewhere.Close)
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	kv, err := db.Bucket("browser-session")
	if err != nil {
		t.Fatal(err)
	}
	record, err := log.Open(log.Options{Dir: filepath.Join(dir, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = record.Close() })
	g := &people{owner: local.Attached("").Key(), state: "s1", to: elsewhere.URL + "/authorize?client_id=x&state=s1", asked: &credential.Asked{
		ID: "g1", Server: "files", ServerURL: "https://files.example.net/mcp", Client: "editor \u202e<b>x</b>", Issuer: "https://login.xn--exmple-cua.net/realms/x",
		Scopes: []string{"files:read", "files:write", "<script>alert(1)</script>"}, Widens: []string{"files:write"}, Expires: time.Unix(1_790_000_600, 0)}}
	codes := make(chan string, 8)
	site, err := pages.New(pages.Options{Base: base, Sessions: signin.NewSessions(kv, nil), Record: record.With(log.Relaxed), FormKey: [32]byte{7}, Grants: g,
		Pairing: signin.NewPairing(local.Attached("browser"), func(c string) { codes <- c })})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: site, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })

	c, suffix := browse(t, lang), ""
	if lang != "en" {
		suffix = "-" + lang
	}
	c.open(base + "/grants/open?id=g1")
	c.arrives("/signin")
	c.click("main button")
	c.fill("#code", <-codes)
	c.click("main form:first-of-type button")
	c.arrives(`/grants/open\?id=g1$`)
	c.audit("ask" + suffix)
	if html := c.source(); strings.Contains(html, "<script>alert") || strings.Contains(html, "\u202e") || !strings.Contains(html, "login.xn--exmple-cua.net") || !strings.Contains(html, `lang="`+lang+`"`) {
		t.Errorf("the page shows text of others as it should not:\n%s", html)
	}
	c.click("button[value=yes]")
	// The page goes on by itself; where that fails, its link does.
	eventually(t, "the browser asked for the authorization server", func(context.Context) bool { return visits.Load() == 1 })
	c.audit("leave" + suffix)
	c.click("main a.button")
	c.arrives("^" + elsewhere.URL + "/consent")
	if html := c.source(); !strings.Contains(html, `<p id="ref"></p>`) {
		t.Errorf("the referrer went out: %s", html)
	}
	c.click("a")
	c.arrives("/grants/callback")
	c.audit("done" + suffix)
	c.open(base + "/grants/callback?state=s1&code=c")
	c.audit("no-grant" + suffix)
	c.open(base + "/grants")
	c.audit("given" + suffix)

	c.open(elsewhere.URL + "/script")
	if html := c.source(); !strings.Contains(html, "no scripts run") {
		t.Errorf("scripts run in this browser, so it proves nothing: %s", html)
	}
	c.open(elsewhere.URL + "/frame")
	c.open(elsewhere.URL + "/form")
	c.click("button")
	c.arrives("/grants/withdraw")
	c.audit("forged" + suffix)
	c.open(base + "/grants")
	if html := c.source(); !strings.Contains(html, "files") {
		t.Error("another page withdrew a grant")
	}
	c.click("main li button")
	c.arrives("/grants/withdraw")
	c.audit("withdrawn" + suffix)
	seen := map[string]bool{}
	if err := log.Read(filepath.Join(dir, "audit"), log.NewestFirst, func(e audit.Event) bool { seen[e.Reason] = true; return true }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"code-shown", "signed-in", "grant-approved", "grant-given", "grant-unknown", "not-a-page", "form-from-elsewhere", "grant-withdrawn"} {
		if !seen[want] {
			t.Errorf("%s is not on the record: %v", want, seen)
		}
	}
}
