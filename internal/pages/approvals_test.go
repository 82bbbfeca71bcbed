package pages_test

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/authz/approval"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys/file"
	"github.com/munjigi/munjigi/internal/pages"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// waiting is a site where calls wait.
type waiting struct {
	*site
	approvals *approval.Approvals
}

func newWaiting(t *testing.T, maxAge time.Duration, change func(*pages.Options)) *waiting {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := db.Bucket("approval")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := file.Open(file.Options{Dir: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{}
	rec := &record{}
	if w.approvals, err = approval.New(approval.Options{Store: kv, Keys: ring, Record: rec, Wait: time.Minute, UseWithin: time.Minute, MostWaiting: 9, MostPerHour: 9,
		Lists: map[string]approval.List{"bosses": {Issuer: "https://idp.example", Subjects: []string{"boss"}}}, Strength: call.Requirement{MaxAge: maxAge}}); err != nil {
		t.Fatal(err)
	}
	w.site = newSite(t, func(o *pages.Options) {
		o.Approvals, o.Record = w.approvals, rec
		if change != nil {
			change(o)
		}
	})
	w.record = rec
	return w
}

func (w *waiting) held(t *testing.T, change ...func(*authz.Held)) (authz.Held, string) {
	t.Helper()
	h := authz.Held{Call: call.NewID(), Principal: local.Attached("editor"), Target: call.Target{Server: "bank", Method: "tools/call", Name: "pay"},
		Arguments: []byte(`{"amount":500,"to":["DE-1"]}`), Needs: call.Requirement{Approvers: []string{authz.Operator}}}
	for _, f := range change {
		f(&h)
	}
	s, err := w.approvals.Ask(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return h, s.ID
}

func (w *waiting) state(t *testing.T, h authz.Held) authz.ApprovalState {
	t.Helper()
	s, err := w.approvals.Ask(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

// TestAnApprovalFromItsLink: the link signs its opener in, shows the call, and
// takes one answer.
func TestAnApprovalFromItsLink(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "ko"} {
		for answer, want := range map[string]authz.ApprovalState{"yes": authz.Approved, "no": authz.Denied} {
			w := newWaiting(t, time.Minute, nil)
			h, id := w.held(t)
			link := "/approvals/open?id=" + id
			b := w.browser(t)
			b.lang = lang
			if r := b.get(link); r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/signin?to=%2Fapprovals%2Fopen") {
				t.Fatalf("%d %v", r.StatusCode, r.Header)
			}
			if to := b.signIn(w.site, link).Header.Get("Location"); to != link {
				t.Fatal(to)
			}
			page := b.get(link)
			for _, part := range []string{"bank", "pay", "editor", "operator", "&#34;amount&#34;: 500,", "&#34;DE-1&#34;"} {
				if !strings.Contains(page.body, part) {
					t.Errorf("%s: the page does not show %s\n%s", lang, part, page.body)
				}
			}
			if list := b.get("/approvals"); !strings.Contains(list.body, `href="/approvals/open?id=`+id) {
				t.Errorf("not listed: %s", list.body)
			}
			if w.state(t, h) != authz.Waiting {
				t.Fatal("looking decides")
			}
			for _, bad := range []string{"", "YES", "yes "} {
				if r := b.post(page, "/approvals/open", url.Values{"id": {id}, "answer": {bad}}); r.StatusCode != 400 {
					t.Errorf("%q: %d", bad, r.StatusCode)
				}
			}
			if r := b.post(page, "/approvals/open", url.Values{"id": {id}, "answer": {answer}}); r.StatusCode != 200 || w.state(t, h) != want {
				t.Errorf("%s: %d %v", answer, r.StatusCode, w.state(t, h))
			}
			if r := b.get(link); r.StatusCode != http.StatusNotFound {
				t.Errorf("a second look: %d", r.StatusCode)
			}
			if r := b.post(page, "/approvals/open", url.Values{"id": {id}, "answer": {"yes"}}); r.StatusCode != http.StatusNotFound || w.state(t, h) != want {
				t.Errorf("a second answer: %d %v", r.StatusCode, w.state(t, h))
			}
		}
	}
}

// TestNothingOfACallHides: whatever the caller wrote is seen, and is text.
func TestNothingOfACallHides(t *testing.T) {
	t.Parallel()
	w := newWaiting(t, time.Minute, nil)
	long := strings.Repeat("long ", 400) + "END"
	_, id := w.held(t, func(h *authz.Held) {
		h.Target.Name = "pay\u202eyap"
		h.Arguments = []byte("{\"<script>alert(1)</script>\":\"\u200b\u202etxt.exe\\u0007\\n\\\"}\",\"x\":\"" + long + "\"}")
	})
	b := w.browser(t)
	b.signIn(w.site, "/approvals")
	page := b.get("/approvals/open?id=" + id)
	if page.StatusCode != 200 {
		t.Fatal(page.StatusCode)
	}
	for _, want := range []string{`pay\u{202e}yap`, `\u{200b}\u{202e}txt.exe\u{7}\n`, "&lt;script&gt;", "END"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("%s does not show:\n%s", want, page.body)
		}
	}
	if strings.Contains(page.body, "<script>alert") || strings.ContainsAny(page.body, "\u202e\u200b\a") {
		t.Error("something hides or runs")
	}
}

// tokenOf is a token that is good for an answer of this browser, from a page
// that asks it something it may decide.
func (w *waiting) tokenOf(t *testing.T, b *browser) string {
	t.Helper()
	open := newWaiting(t, time.Minute, func(o *pages.Options) { o.Sessions = w.sessions })
	_, id := open.held(t)
	other := *b
	other.site = open.site
	return other.get("/approvals/open?id="+id).token(t, "/approvals/open")
}

// TestAnOldSignInDecidesNothing, and leads to a new one and back.
func TestAnOldSignInDecidesNothing(t *testing.T) {
	t.Parallel()
	w := newWaiting(t, -time.Second, nil) // no sign-in is new enough
	h, id := w.held(t)
	b := w.browser(t)
	b.signIn(w.site, "/approvals")
	page := b.get("/approvals/open?id=" + id)
	if strings.Contains(page.body, `value="yes"`) {
		t.Error("it may be approved")
	}
	form := url.Values{"id": {id}, "answer": {"yes"}, "token": {w.tokenOf(t, b)}}
	if r := b.send(http.MethodPost, "/approvals/open", form, nil); r.StatusCode != http.StatusForbidden || w.state(t, h) != authz.Waiting {
		t.Errorf("%d %v", r.StatusCode, w.state(t, h))
	}
	r := b.post(page, "/approvals/signin", url.Values{"id": {id}})
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/signin?to="+url.QueryEscape("/approvals/open?id="+id) {
		t.Errorf("%d %s", r.StatusCode, to)
	}
	if r := b.get("/approvals"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("still signed in: %d", r.StatusCode)
	}
}

// TestACallOfOthers looks like one that is not there.
func TestACallOfOthers(t *testing.T) {
	t.Parallel()
	w := newWaiting(t, time.Minute, nil)
	h, id := w.held(t, func(h *authz.Held) {
		h.Principal = call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: "kim", Kind: call.Person})
		h.Needs.Approvers = []string{"bosses"}
	})
	b := w.browser(t)
	b.signIn(w.site, "/approvals")
	theirs, none := b.get("/approvals/open?id="+id), b.get("/approvals/open?id="+strings.Repeat("a", 32))
	if theirs.StatusCode != 404 || none.StatusCode != 404 || len(theirs.body) != len(none.body) {
		t.Errorf("%d %d", theirs.StatusCode, none.StatusCode)
	}
	if list := b.get("/approvals"); strings.Contains(list.body, id) {
		t.Error("it is listed")
	}
	form := url.Values{"id": {id}, "answer": {"yes"}, "token": {w.tokenOf(t, b)}}
	if r := b.send(http.MethodPost, "/approvals/open", form, nil); r.StatusCode != 404 || w.state(t, h) != authz.Waiting {
		t.Errorf("%d %v", r.StatusCode, w.state(t, h))
	}
	if r := w.browser(t).send(http.MethodPost, "/approvals/open", form, nil); r.StatusCode != 403 || w.state(t, h) != authz.Waiting {
		t.Errorf("a stranger: %d %v", r.StatusCode, w.state(t, h))
	}
	for _, bad := range []string{"", "?id=", "?id=a&id=b", "?id=../x", "?id=" + strings.Repeat("a", 200)} {
		if r := b.get("/approvals/open" + bad); r.StatusCode != 404 {
			t.Errorf("%s: %d", bad, r.StatusCode)
		}
	}
}

// TestNoApprovalFromElsewhere: another site's form decides nothing.
func TestNoApprovalFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newWaiting(t, time.Minute, nil)
	h, id := w.held(t)
	b := w.browser(t)
	b.signIn(w.site, "/approvals")
	page := b.get("/approvals/open?id=" + id)
	form := url.Values{"id": {id}, "answer": {"yes"}, "token": {page.token(t, "/approvals/open")}}
	for name, change := range map[string]func(*http.Request){
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"a script":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") },
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		if r := b.send(http.MethodPost, "/approvals/open", form, change); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	form.Set("token", page.token(t, "/signin/out"))
	if r := b.send(http.MethodPost, "/approvals/open", form, nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("the token of another form: %d", r.StatusCode)
	}
	if w.state(t, h) != authz.Waiting {
		t.Error("decided")
	}
}
