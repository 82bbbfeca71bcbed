//go:build real

package idp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/test/real/kit"
)

// waiter is where a client takes its codes.
type waiter struct {
	*httptest.Server
	id string
	mu sync.Mutex
	n  []url.Values
}

func (w *waiter) answers() []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]url.Values(nil), w.n...)
}

// newWaiter registers a client of that name at the gateway.
func newWaiter(t *testing.T, g *gateway, name string) *waiter {
	t.Helper()
	w := &waiter{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cb" {
			w.mu.Lock()
			w.n = append(w.n, r.URL.Query())
			w.mu.Unlock()
		}
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte("<!DOCTYPE html><title>client</title><p>done"))
	}))
	t.Cleanup(w.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.base+"/oauth/register", strings.NewReader(`{"client_name":"`+name+`","redirect_uris":["`+w.URL+`/cb"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var made struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.ID == "" {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	w.id = made.ID
	return w
}

// asks is the client's authorization request.
func (w *waiter) asks(g *gateway) string {
	sum := sha256.Sum256([]byte("a-verifier-of-forty-three-characters-or-more-0123456789"))
	return g.base + "/oauth/authorize?" + url.Values{"response_type": {"code"}, "client_id": {w.id}, "redirect_uri": {w.URL + "/cb"}, "scope": {"files:list files:call"},
		"resource": {g.resource("files")}, "state": {"s-" + w.id}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}.Encode()
}

// person is somebody at a browser of their own.
type person struct {
	t *testing.T
	*kit.Browser
}

func newPerson(t *testing.T) *person {
	t.Helper()
	b, err := kit.StartBrowser(t.Context(), t.TempDir(), kit.Look{Languages: "en", Scripts: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &person{t, b}
}

func (p *person) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) open(at string) { p.t.Helper(); p.must(p.Open(p.t.Context(), at)) }

func (p *person) source() string {
	p.t.Helper()
	s, err := p.Source(p.t.Context())
	p.must(err)
	return s
}

func (p *person) arrives(at string) {
	p.t.Helper()
	last := ""
	defer func() {
		if p.t.Failed() {
			p.t.Logf("it is at %s", last)
		}
	}()
	eventually(p.t, "the browser at "+at, func() bool {
		now, err := p.At(p.t.Context())
		last = now
		return err == nil && strings.HasPrefix(now, at)
	})
}

func (p *person) sees(text string) {
	p.t.Helper()
	eventually(p.t, "a page that says "+text, func() bool { return strings.Contains(p.source(), text) })
}

func (p *person) press(css string) { p.t.Helper(); p.must(p.Click(p.t.Context(), css)) }

func (p *person) logIn(name string) {
	p.t.Helper()
	p.must(p.Type(p.t.Context(), "input[name=username]", name))
	p.must(p.Type(p.t.Context(), "input[name=password]", name+"-password\ue007"))
}

// TestConfusedDeputy replays the attack of the MCP security guide step by step,
// in a browser and at a provider that remembers who is signed in and what was
// consented to: it asks nothing the second time. The gateway's own question is
// all that stands between a stranger's client and kim.
func TestConfusedDeputy(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	ours, theirs, own := free(t), free(t), newKey(t)
	issuer := "http://" + theirs
	begin(t, kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), "http://" + ours, own.jwks(t)}}, issuer, issuer+"/.well-known/openid-configuration")
	g := serveBy(t, http.DefaultClient, "http://"+ours, "authorization_server: { registration: true }\n",
		`{ issuers: [{ issuer: "`+issuer+`", `+signsIn(t)+` }] }`, `permit (principal, action, resource);`, theirs)
	good, evil := newWaiter(t, g, "Editor"), newWaiter(t, g, "Editor")
	consent := g.base + "/oauth/consent"
	nothing := func(step string) {
		t.Helper()
		if n := len(evil.answers()); n != 0 {
			t.Fatalf("%s: the stranger has %v", step, evil.answers())
		}
	}

	// 1. kim lets her own client in. Only after her yes the provider is visited.
	kim := newPerson(t)
	kim.open(good.asks(g))
	kim.arrives(consent)
	kim.press("button[value=yes]")
	kim.arrives(issuer)
	kim.logIn("kim")
	eventually(t, "her client has a code", func() bool { return len(good.answers()) == 1 })
	if got := good.answers()[0]; got.Get("code") == "" || got.Get("iss") != g.base {
		t.Fatalf("%v", got)
	}

	// 2. A stranger's client of the same name sends her a link. She is signed in
	// here and there: without a click there is no code.
	kim.open(evil.asks(g))
	kim.arrives(consent)
	kim.sees("It registered itself")
	nothing("signed in here")

	// 3. The same while she is signed in at the provider only, which would ask
	// nothing: the question comes first.
	kim.press("nav form button")
	kim.sees("You are signed out")
	kim.open(evil.asks(g))
	kim.arrives(consent)
	nothing("signed in at the provider")

	// 4. State set before approval: a link that signs her in for the stranger's
	// request comes back to the question, not to a code.
	at, err := kim.At(t.Context())
	kim.must(err)
	kim.open(g.base + "/signin?" + url.Values{"to": {strings.TrimPrefix(at, g.base)}}.Encode())
	kim.press("main button")
	kim.arrives(consent)
	kim.sees("It registered itself")
	nothing("signed in before the yes")

	// 5. The stranger says yes in a browser of their own, stops before the
	// provider, and gives kim the provider's URL with their state. The provider
	// lets her through at once; her browser holds no such state.
	theirID, to := approves(t, g, evil.asks(g))
	if !strings.HasPrefix(to, issuer) {
		t.Fatalf("the stranger is sent to %s", to)
	}
	kim.open(to)
	kim.arrives(g.base + "/signin/callback")
	kim.sees("begun in another browser")
	nothing("the stranger's state")

	// 6. The stranger's request itself, in her browser.
	kim.open(theirID)
	kim.sees("There is nothing to decide here")
	nothing("the stranger's request")

	// 7. The answer to one question for another: her own client's form, with the
	// stranger's request swapped in after the page was shown.
	kim.open(evil.asks(g))
	kim.arrives(consent)
	swap, err := kim.At(t.Context())
	kim.must(err)
	kim.open(good.asks(g))
	kim.arrives(consent)
	kim.must(kim.Eval(t.Context(), `document.querySelector('input[name=id]').value = '`+regexp.MustCompile(`id=([\w-]+)`).FindStringSubmatch(swap)[1]+`'; return 0`, nil))
	kim.press("button[value=yes]")
	kim.sees("This form was not accepted")
	nothing("a swapped request")

	// 8. A page of the stranger posts the form, and frames the page.
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/frame" {
			_, _ = w.Write([]byte(`<!DOCTYPE html><title>trap</title><iframe src="` + swap + `"></iframe>`))
			return
		}
		_, _ = w.Write([]byte(`<!DOCTYPE html><title>trap</title><form method="post" action="` + consent + `"><input name="id" value="` +
			regexp.MustCompile(`id=([\w-]+)`).FindStringSubmatch(swap)[1] + `"><input name="answer" value="yes"><input name="server:files" value="on"><input name="scope:files:call" value="on"><button>Win</button></form>`))
	}))
	t.Cleanup(trap.Close)
	kim.open(trap.URL + "/post")
	kim.press("button")
	kim.sees("This form was not accepted")
	kim.open(trap.URL + "/frame")
	eventually(t, "the frame stays empty", func() bool { return count(t, g, "not-a-page") > 0 })
	nothing("a page of the stranger")

	// 9. A redirect that the client never registered, and no state at all.
	changed := strings.Replace(evil.asks(g), url.QueryEscape(evil.URL+"/cb"), url.QueryEscape(evil.URL+"/cb?x=1"), 1)
	kim.open(changed)
	if now, err := kim.At(t.Context()); err != nil || !strings.HasPrefix(now, g.base+"/oauth/authorize") {
		t.Errorf("a changed redirect leads to %s", now)
	}
	kim.open(g.base + "/signin/callback?code=x")
	kim.sees("begun in another browser")
	nothing("a changed redirect")

	// 10. Her own answer once more: neither the request nor the provider's answer
	// serves twice.
	kim.open(good.asks(g))
	kim.arrives(consent)
	again, err := kim.At(t.Context())
	kim.must(err)
	kim.press("button[value=yes]")
	eventually(t, "her client has another code", func() bool { return len(good.answers()) == 2 })
	kim.open(again)
	kim.sees("There is nothing to decide here")
	if n := len(good.answers()); n != 2 {
		t.Errorf("%d answers", n)
	}

	for reason, least := range map[string]int{"consent-given": 2, "sign-in-not-begun": 2, "consent-other-browser": 1, "consent-other-question": 1, "form-from-elsewhere": 1,
		"consent-unknown": 1, "not-a-page": 1, "redirect-refused": 1} {
		if n := count(t, g, reason); n < least {
			t.Errorf("%s is on the record %d times, want %d", reason, n, least)
		}
	}
}

// count is how often a reason is on the record.
func count(t *testing.T, g *gateway, reason string) (n int) {
	t.Helper()
	if err := log.Read(filepath.Join(g.data, "audit"), log.NewestFirst, func(e audit.Event) bool {
		if e.Reason == reason {
			n++
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// approves is a stranger at a browser of their own, who says yes and stops before
// the provider: it returns the page of the question and the provider's URL.
func approves(t *testing.T, g *gateway, asks string) (question, provider string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{Client: &http.Client{Jar: jar, Timeout: patience}, knows: map[string]string{"answer": "yes"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, asks, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, at, err := b.page(r)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = b.submit(t.Context(), page, at); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", g.base)
	left, _, err := b.page(r)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`<a class="button" rel="noreferrer" href="([^"]+)"`).FindStringSubmatch(left)
	if m == nil {
		t.Fatalf("no way to the provider:\n%s", left)
	}
	return at.String(), html.UnescapeString(m[1])
}
