package face_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
)

const stranger = "https://client.example/c.json"

// TestRequestsThatAreRefused: what is wrong with a request is told to a client
// of the operator, and shown to the person otherwise. Nothing is ever sent to an
// address that is not the client's, and nothing waits afterwards.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	set := func(name string, v ...string) func(url.Values) { return func(q url.Values) { q[name] = v } }
	for _, c := range []struct {
		name   string
		change func(url.Values)
		told   string // the error at the client; empty means a page
	}{
		{"no PKCE", set("code_challenge"), "invalid_request"},
		{"plain", set("code_challenge_method", "plain"), "invalid_request"},
		{"no method, which means plain", set("code_challenge_method"), "invalid_request"},
		{"a short challenge", set("code_challenge", "abc"), "invalid_request"},
		{"implicit", set("response_type", "token"), "unsupported_response_type"},
		{"hybrid", set("response_type", "code token"), "unsupported_response_type"},
		{"no response type", set("response_type"), "unsupported_response_type"},
		{"an answer in the fragment", set("response_mode", "fragment"), "invalid_request"},
		{"no resource", set("resource"), "invalid_target"},
		{"somebody else's resource", set("resource", "https://other.example/mcp"), "invalid_target"},
		{"our own address without a server", set("resource", issuer), "invalid_target"},
		{"a resource in other letters", set("resource", "https://MCP.example.com/mcp/files"), "invalid_target"},
		{"a scope of another server", set("scope", "files:list other:call"), "invalid_scope"},
		{"openid", set("scope", "openid"), "invalid_scope"},
		{"a wildcard", set("scope", "*"), "invalid_scope"},
		{"a long state", set("state", strings.Repeat("x", 3000)), "invalid_request"},
		{"a state of two lines", set("state", "a\r\nSet-Cookie: x"), "invalid_request"},
		{"two resources", set("resource", resource, issuer+"/mcp/other"), ""},
		{"two clients", set("client_id", "editor", "web"), ""},
		{"two redirects", set("redirect_uri", redirect, "https://evil.example/cb"), ""},
		{"no client", set("client_id"), ""},
		{"an unknown client", set("client_id", "nobody"), ""},
		{"no redirect", set("redirect_uri"), ""},
		{"another redirect", set("redirect_uri", "https://evil.example/cb"), ""},
		{"a longer redirect", set("redirect_uri", redirect+"/../evil"), ""},
		{"a redirect with a query", set("redirect_uri", redirect+"?x=y"), ""},
		{"a script", set("redirect_uri", "javascript:alert(1)"), ""},
		{"a request object", set("request", "e30.e30."), ""},
		{"a request elsewhere", set("request_uri", "https://evil.example/r"), ""},
		{"a pushed request that is none", set("request_uri", "urn:ietf:params:oauth:request_uri:"+strings.Repeat("A", 26)), ""},
		{"a fault of a stranger's", func(q url.Values) { q.Set("client_id", stranger); q.Set("scope", "openid") }, ""},
		{"a fault of a stranger's on loopback", func(q url.Values) {
			q.Set("client_id", stranger)
			q.Set("redirect_uri", "http://127.0.0.1:4000/cb")
			q.Set("scope", "openid")
		}, "invalid_scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t)
			q := query()
			c.change(q)
			w := do(p.face(t), http.MethodGet, oauthserver.PathAuthorize, q)
			to, _ := url.Parse(w.Header().Get("Location"))
			if c.told == "" {
				if w.Code != http.StatusBadRequest || to.String() != "" {
					t.Errorf("%d %q", w.Code, to)
				}
			} else if w.Code != http.StatusSeeOther || to.Query().Get("error") != c.told || to.Query().Get("iss") != issuer || to.Query().Get("code") != "" ||
				!strings.HasPrefix(to.String(), q.Get("redirect_uri")+"?") {
				t.Errorf("%d %q", w.Code, to)
			}
			if got := p.reasons(); len(got) != 1 || !strings.HasPrefix(got[0], "deny ") {
				t.Errorf("recorded %v", got)
			}
			if strings.ContainsAny(w.Header().Get("Location"), "\r\n") {
				t.Error("a header was split")
			}
		})
	}
}

func TestFramesAndOtherHosts(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	for name, change := range map[string]func(*http.Request){
		"a frame":         func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") },
		"a prefetch":      func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch") },
		"another host":    func(r *http.Request) { r.Host = "evil.example" },
		"another port":    func(r *http.Request) { r.Host = "mcp.example.com:444" },
		"another method":  func(r *http.Request) { r.Method = http.MethodPut },
		"an escaped path": func(r *http.Request) { r.URL.RawPath = "/oauth%2Fauthorize" },
	} {
		if w := do(f, http.MethodGet, oauthserver.PathAuthorize, query(), change); w.Code == http.StatusSeeOther || w.Code < 400 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	w := do(f, http.MethodPost, oauthserver.PathToken, nil, func(r *http.Request) { r.Method = http.MethodOptions; r.Header.Set("Origin", "https://a.example") })
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestCodesThatAreRefused: whatever is wrong with a redemption, no token comes
// of it, and the code is worth nothing afterwards where it was shown wrongly.
func TestCodesThatAreRefused(t *testing.T) {
	t.Parallel()
	set := func(name string, v ...string) func(url.Values) { return func(q url.Values) { q[name] = v } }
	for _, c := range []struct {
		name   string
		change func(url.Values)
		want   string
		spent  bool
	}{
		{"another verifier", set("code_verifier", strings.Repeat("x", 50)), "invalid_grant", true},
		{"no verifier", set("code_verifier"), "invalid_grant", false},
		{"another redirect of the client", set("redirect_uri", "http://127.0.0.1/cb"), "invalid_grant", true},
		{"no redirect", set("redirect_uri"), "invalid_request", false},
		{"another client", set("client_id", stranger), "invalid_grant", true},
		{"no client", set("client_id"), "invalid_client", false},
		{"a client that has to prove itself", set("client_id", "web"), "invalid_client", false},
		{"no resource", set("resource"), "invalid_target", false},
		{"another resource of ours", set("resource", issuer+"/mcp/other"), "invalid_target", true},
		{"two resources", set("resource", resource, issuer+"/mcp/other"), "invalid_target", false},
		{"an altered code", func(q url.Values) { q.Set("code", q.Get("code")+"A") }, "invalid_grant", false},
		{"a code for a refresh token", func(q url.Values) { q.Set("grant_type", "refresh_token"); q.Set("refresh_token", q.Get("code")) }, "invalid_grant", false},
		{"password", set("grant_type", "password"), "unsupported_grant_type", false},
		{"client credentials", set("grant_type", "client_credentials"), "unsupported_grant_type", false},
		{"an assertion where none is taken", set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), "unsupported_grant_type", false},
		{"two codes", func(q url.Values) { q.Add("code", "x") }, "invalid_request", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t)
			f := p.face(t)
			good := codeForm(code(t, f, query()))
			bad := url.Values{}
			for k, v := range good {
				bad[k] = slices.Clone(v)
			}
			c.change(bad)
			out, status := send(t, f, bad)
			if status == http.StatusOK || out.Error != c.want || out.Access != "" || out.Refresh != "" {
				t.Errorf("%d %+v", status, out)
			}
			if out, _ := send(t, f, good); (out.Access == "") != c.spent {
				t.Errorf("afterwards the code gives %+v", out)
			}
			if r := p.reasons(); !strings.HasPrefix(r[2], "deny ") {
				t.Errorf("recorded %v", r)
			}
		})
	}
}

func TestTheBodyIsReadOnce(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	form := codeForm(code(t, f, query()))
	for name, change := range map[string]func(*http.Request){
		"parameters in the address": func(r *http.Request) { r.URL.RawQuery = "resource=" + url.QueryEscape(resource) },
		"JSON":                      func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"no type":                   func(r *http.Request) { r.Header.Del("Content-Type") },
		"two Authorization headers": func(r *http.Request) { r.Header["Authorization"] = []string{"Basic eA==", "Basic eQ=="} },
		"two proofs":                func(r *http.Request) { r.Header["Dpop"] = []string{"a.b.c", "a.b.c"} },
	} {
		if out, status := send(t, f, form, change); status != http.StatusBadRequest || out.Error != "invalid_request" {
			t.Errorf("%s: %d %+v", name, status, out)
		}
	}
	if out, _ := send(t, f, form); out.Access == "" {
		t.Error("a request that was not read used the code up")
	}
}

// TestACodeThatComesAgainEndsTheFamily: access and refresh tokens of it too.
func TestACodeThatComesAgainEndsTheFamily(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	form := codeForm(code(t, f, query()))
	first, _ := send(t, f, form)
	c := claimsOf(t, f, first.Access)
	if again, status := send(t, f, form); status != http.StatusBadRequest || again.Error != "invalid_grant" {
		t.Errorf("%d %+v", status, again)
	}
	if !p.revoked[authn.Pair(issuer, c["grant_id"].(string))] {
		t.Error("the access token lives on")
	}
	if out, _ := send(t, f, refreshForm(first.Refresh)); out.Error != "invalid_grant" {
		t.Errorf("%+v", out)
	}
	if r := p.reasons(); !slices.Contains(r, "deny code-replayed") {
		t.Errorf("recorded %v", r)
	}
}

// TestRefresh is the rotation: one is good at a time, the one before is
// forgiven for five seconds, and any other ends the family.
func TestRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t)
		f := p.face(t)
		first := login(t, f)
		second, _ := send(t, f, refreshForm(first.Refresh))
		for range 3 {
			time.Sleep(time.Second)
			if out, _ := send(t, f, refreshForm(first.Refresh)); out.Error != "invalid_grant" {
				t.Fatalf("a used token: %+v", out)
			}
		}
		third, status := send(t, f, refreshForm(second.Refresh))
		if status != http.StatusOK || len(p.revoked) != 0 {
			t.Fatalf("a retry within %v ended the family: %+v", face.ReuseGrace, third)
		}
		// Two generations back is no retry, however soon.
		if out, _ := send(t, f, refreshForm(first.Refresh)); out.Error != "invalid_grant" || len(p.revoked) != 1 {
			t.Errorf("%+v, %d ended", out, len(p.revoked))
		}
		if out, _ := send(t, f, refreshForm(third.Refresh)); out.Error != "invalid_grant" {
			t.Errorf("the family lives: %+v", out)
		}

		first = login(t, f)
		second, _ = send(t, f, refreshForm(first.Refresh))
		time.Sleep(face.ReuseGrace)
		if out, _ := send(t, f, refreshForm(first.Refresh)); out.Error != "invalid_grant" || len(p.revoked) != 2 {
			t.Errorf("%+v, %d ended", out, len(p.revoked))
		}
		if out, _ := send(t, f, refreshForm(second.Refresh)); out.Error != "invalid_grant" {
			t.Errorf("the family lives: %+v", out)
		}
		if r := p.reasons(); !slices.Contains(r, "deny refresh-reused") {
			t.Errorf("recorded %v", r)
		}

		// The family ends with the sign-in, and its last token with it.
		out := login(t, f)
		for range 143 {
			time.Sleep(5 * time.Minute)
			next, status := send(t, f, refreshForm(out.Refresh))
			if status != http.StatusOK {
				t.Fatalf("%d %+v", status, next)
			}
			out = next
		}
		time.Sleep(3 * time.Minute)
		if out, _ = send(t, f, refreshForm(out.Refresh)); out.Expires < 100 || out.Expires > 120 {
			t.Errorf("the last token lives %d s", out.Expires)
		}
		time.Sleep(3 * time.Minute)
		if out, _ := send(t, f, refreshForm(out.Refresh)); out.Error != "invalid_grant" {
			t.Errorf("after twelve hours: %+v", out)
		}
	})
}

// TestHundredRefreshes: one wins, the others are told, the family lives.
func TestHundredRefreshes(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	first := login(t, f)
	outs := make([]tokens, 100)
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() { outs[i], _ = send(t, f, refreshForm(first.Refresh)) })
	}
	wg.Wait()
	seen := map[string]bool{}
	var winner tokens
	for _, o := range outs {
		if o.Refresh != "" {
			winner = o
			seen[o.Refresh] = true
		} else if o.Error != "invalid_grant" || o.Access != "" {
			t.Errorf("%+v", o)
		}
	}
	if len(seen) != 1 || len(p.revoked) != 0 {
		t.Fatalf("%d won, %d families ended", len(seen), len(p.revoked))
	}
	if out, status := send(t, f, refreshForm(winner.Refresh)); status != http.StatusOK {
		t.Errorf("the family died: %+v", out)
	}
}

func TestScopesOnlyShrink(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	first := login(t, f)
	form := refreshForm(first.Refresh)
	form.Set("scope", "files:read")
	if out, _ := send(t, f, form); out.Error != "invalid_scope" {
		t.Errorf("%+v", out)
	}
	form.Set("scope", "files:list")
	out, _ := send(t, f, form)
	if out.Scope != "files:list" || claimsOf(t, f, out.Access)["scope"] != "files:list" {
		t.Errorf("%+v", out)
	}
	form = refreshForm(out.Refresh)
	form.Set("resource", issuer+"/mcp/other")
	if out, _ := send(t, f, form); out.Error != "invalid_target" {
		t.Errorf("%+v", out)
	}
}

// TestApproving: a request is answered once, by no more than it asked for.
func TestApproving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t)
		f := p.face(t)
		some := oauthserver.Approval{Who: alice(), Scopes: []string{"files:list"}}
		id := asks(t, f, query())
		a, err := f.Asking(t.Context(), id)
		if err != nil || a.Client.ID != "editor" || a.Redirect != redirect || a.Resource != resource || len(a.Scopes) != 2 || a.ID != id {
			t.Errorf("%+v %v", a, err)
		}
		if _, err := f.Approve(t.Context(), id, oauthserver.Approval{Scopes: some.Scopes}); err == nil {
			t.Error("nobody approved")
		}
		if _, err := f.Approve(t.Context(), id, oauthserver.Approval{Who: alice()}); err == nil {
			t.Error("nothing was approved")
		}
		to, err := f.Approve(t.Context(), id, some)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(to)
		if out, _ := send(t, f, codeForm(u.Query().Get("code"))); out.Scope != "files:list" {
			t.Errorf("a part was granted: %+v", out)
		}
		for name, try := range map[string]func() error{
			"again":   func() error { _, err := f.Approve(t.Context(), id, some); return err },
			"refused": func() error { _, err := f.Refuse(t.Context(), id); return err },
			"shown":   func() error { _, err := f.Asking(t.Context(), id); return err },
			"made up": func() error { _, err := f.Asking(t.Context(), strings.Repeat("A", 26)); return err },
			"empty":   func() error { _, err := f.Asking(t.Context(), ""); return err },
		} {
			if err := try(); !errors.Is(err, oauthserver.ErrNoAsking) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := f.Approve(t.Context(), asks(t, f, query()), oauthserver.Approval{Who: alice(), Scopes: []string{"files:list", "files:read"}}); !errors.Is(err, oauthserver.ErrWider) {
			t.Errorf("wider: %v", err)
		}
		id = asks(t, f, query())
		time.Sleep(oauthserver.AskingLife)
		if _, err := f.Approve(t.Context(), id, some); !errors.Is(err, oauthserver.ErrNoAsking) {
			t.Errorf("late: %v", err)
		}
		id = asks(t, f, query())
		p.set(func() { c := p.clients["editor"]; c.Digest = "2"; p.clients["editor"] = c })
		if _, err := f.Approve(t.Context(), id, some); !errors.Is(err, oauthserver.ErrNoAsking) {
			t.Errorf("a client that changed: %v", err)
		}
		id = asks(t, f, query())
		p.set(func() { delete(p.clients, "editor") })
		if _, err := f.Approve(t.Context(), id, some); !errors.Is(err, oauthserver.ErrNoAsking) {
			t.Errorf("a client that went: %v", err)
		}
	})
}

func TestRefusing(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	to, err := f.Refuse(t.Context(), asks(t, f, query()))
	u, _ := url.Parse(to)
	if err != nil || u.Query().Get("error") != "access_denied" || u.Query().Get("iss") != issuer || u.Query().Get("state") != "st" || u.Query().Get("code") != "" {
		t.Errorf("%q %v", to, err)
	}
	if r := p.reasons(); r[1] != "deny person-refused" {
		t.Errorf("%v", r)
	}
}

func TestCodesAreShortLived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newParts(t).face(t)
		c := code(t, f, query())
		time.Sleep(face.CodeLife)
		if out, _ := send(t, f, codeForm(c)); out.Error != "invalid_grant" {
			t.Errorf("%+v", out)
		}
	})
}

// TestWhatItRestsOn: a sign-out, a consent that ended and a client that is gone
// end a family at its next use, and a withdrawal at once.
func TestWhatItRestsOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*parts)
		reason string
		ended  int
	}{
		"signed out":     {func(p *parts) { p.over = true }, "deny signed-out", 1},
		"consent":        {func(p *parts) { p.consent = oauthserver.ErrNoConsent }, "deny consent-ended", 1},
		"client is gone": {func(p *parts) { delete(p.clients, "editor") }, "deny token-refused", 0},
		"client expired": {func(p *parts) { x := p.clients["editor"]; x.Expires = time.Unix(1, 0); p.clients["editor"] = x }, "deny token-refused", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t)
			f := p.face(t)
			first := login(t, f)
			unredeemed := codeForm(code(t, f, query()))
			p.set(func() { c.change(p) })
			if out, _ := send(t, f, refreshForm(first.Refresh)); out.Access != "" || len(p.revoked) != c.ended {
				t.Errorf("%+v, %d ended", out, len(p.revoked))
			}
			if out, _ := send(t, f, unredeemed); out.Access != "" {
				t.Errorf("a code: %+v", out)
			}
			if r := p.reasons(); !slices.Contains(r, c.reason) {
				t.Errorf("recorded %v", r)
			}
		})
	}
	p := newParts(t)
	f := p.face(t)
	mine, other := login(t, f), login(t, f)
	id := alice().Identity()
	for _, wrong := range [][3]string{{id.Issuer, "bob", "editor"}, {"https://other.example", "alice", "editor"}, {id.Issuer, "alice", "web"}, {id.Issuer, "alice", "edit"}} {
		if n, err := f.Withdraw(t.Context(), wrong[0], wrong[1], wrong[2]); n != 0 || err != nil {
			t.Errorf("%v: %d %v", wrong, n, err)
		}
	}
	pending := code(t, f, query())
	if n, err := f.Withdraw(t.Context(), id.Issuer, id.Subject, "editor"); n != 3 || err != nil || len(p.revoked) != 3 {
		t.Errorf("%d %v", n, err)
	}
	for _, form := range []url.Values{refreshForm(mine.Refresh), refreshForm(other.Refresh), codeForm(pending)} {
		if out, _ := send(t, f, form); out.Error != "invalid_grant" {
			t.Errorf("%+v", out)
		}
	}
}

func TestFaultsOfOurs(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	first := login(t, f)
	p.set(func() { p.consent = errors.New("the store is down") })
	if out, status := send(t, f, refreshForm(first.Refresh)); status != http.StatusServiceUnavailable || out.Error != "temporarily_unavailable" || len(p.revoked) != 0 {
		t.Errorf("%d %+v", status, out)
	}
	p.set(func() { p.consent = nil; p.record = errors.New("the disk is full") })
	if out, status := send(t, f, refreshForm(first.Refresh)); status != http.StatusServiceUnavailable || out.Access != "" {
		t.Errorf("a token left without a record: %d %+v", status, out)
	}
	if _, err := f.Approve(t.Context(), strings.Repeat("A", 26), oauthserver.Approval{Who: alice(), Scopes: []string{"files:list"}}); err == nil {
		t.Error("made up")
	}
	p.set(func() { p.record = nil })
	id := asks(t, f, query())
	p.set(func() { p.record = errors.New("the disk is full") })
	if to, err := f.Approve(t.Context(), id, oauthserver.Approval{Who: alice(), Scopes: []string{"files:list"}}); err == nil || to != "" {
		t.Errorf("a code left without a record: %q %v", to, err)
	}
}

func revokeForm(token string) url.Values {
	return url.Values{"token": {token}, "client_id": {"editor"}}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	for i, pick := range []func(tokens) string{func(o tokens) string { return o.Refresh }, func(o tokens) string { return o.Access }} {
		out := login(t, f)
		form := revokeForm(pick(out))
		form.Set("client_id", stranger)
		do(f, http.MethodPost, oauthserver.PathRevoke, form)
		if len(p.revoked) != i {
			t.Errorf("%d: another client revoked it", i)
		}
		if w := do(f, http.MethodPost, oauthserver.PathRevoke, revokeForm(pick(out))); w.Code != http.StatusOK || len(p.revoked) != i+1 {
			t.Errorf("%d: %d %s", i, w.Code, w.Body)
		}
		if out, _ := send(t, f, refreshForm(out.Refresh)); out.Error != "invalid_grant" {
			t.Errorf("%d: %+v", i, out)
		}
	}
	for _, token := range []string{"x", "mjr_x", "a.b.c", strings.Repeat("x", 5000)} {
		if w := do(f, http.MethodPost, oauthserver.PathRevoke, revokeForm(token)); w.Code != http.StatusOK {
			t.Errorf("%.10q: %d %s", token, w.Code, w.Body)
		}
	}
	if w := do(f, http.MethodPost, oauthserver.PathRevoke, revokeForm("")); w.Code != http.StatusBadRequest {
		t.Errorf("no token: %d", w.Code)
	}
}

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	f := newParts(t).face(t)
	q := query()
	q.Set("client_id", "web")
	form := codeForm(code(t, f, q))
	form.Del("client_id")
	for name, change := range map[string]func(*http.Request){
		"wrong": basic("web", "guess"), "empty": basic("web", ""), "none": func(*http.Request) {},
	} {
		if out, status := send(t, f, form, change); status != http.StatusUnauthorized || out.Error != "invalid_client" {
			t.Errorf("%s: %d %+v", name, status, out)
		}
	}
	posted := codeForm(form.Get("code"))
	posted.Set("client_id", "web")
	posted.Set("client_secret", "s3cret")
	if out, _ := send(t, f, posted); out.Error != "invalid_client" {
		t.Errorf("by another method than registered: %+v", out)
	}
	if out, status := send(t, f, form, basic("web", "s3cret")); status != http.StatusOK || out.Refresh == "" {
		t.Errorf("%d %+v", status, out)
	}
}

func TestPushedRequests(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	push := func(q url.Values) string {
		t.Helper()
		w := do(f, http.MethodPost, oauthserver.PathPAR, q)
		var out struct {
			URI     string `json:"request_uri"`
			Expires int    `json:"expires_in"`
		}
		unmarshal(t, w.Body.Bytes(), &out)
		if w.Code != http.StatusCreated || !strings.HasPrefix(out.URI, "urn:ietf:params:oauth:request_uri:") || out.Expires != 60 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return out.URI
	}
	// What the browser brings besides is nothing.
	at := url.Values{"client_id": {"editor"}, "request_uri": {push(query())}, "scope": {"files:read"}, "redirect_uri": {"https://evil.example"}, "state": {"evil"}}
	id := asks(t, f, at)
	if a, err := f.Asking(t.Context(), id); err != nil || len(a.Scopes) != 2 || a.Redirect != redirect {
		t.Errorf("%+v %v", a, err)
	}
	to, err := f.Approve(t.Context(), id, oauthserver.Approval{Who: alice(), Scopes: []string{"files:call"}})
	u, _ := url.Parse(to)
	if err != nil || u.Query().Get("state") != "st" {
		t.Errorf("%q %v", to, err)
	}
	if out, _ := send(t, f, codeForm(u.Query().Get("code"))); out.Scope != "files:call" {
		t.Errorf("%+v", out)
	}
	if w := do(f, http.MethodGet, oauthserver.PathAuthorize, at); w.Code != http.StatusBadRequest {
		t.Errorf("used twice: %d", w.Code)
	}
	at.Set("request_uri", push(query()))
	at.Set("client_id", stranger)
	if w := do(f, http.MethodGet, oauthserver.PathAuthorize, at); w.Code != http.StatusBadRequest {
		t.Errorf("by another client: %d", w.Code)
	}
	for name, change := range map[string]func(url.Values){
		"another redirect": func(q url.Values) { q.Set("redirect_uri", "https://evil.example") },
		"no PKCE":          func(q url.Values) { q.Del("code_challenge") },
		"no resource":      func(q url.Values) { q.Del("resource") },
		"nested":           func(q url.Values) { q.Set("request_uri", "urn:x") },
		"unproved":         func(q url.Values) { q.Set("client_id", "web") },
		"unknown":          func(q url.Values) { q.Set("client_id", "nobody") },
	} {
		q := query()
		change(q)
		if w := do(f, http.MethodPost, oauthserver.PathPAR, q); w.Code < 400 || w.Code > 401 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// FuzzAuthorize: whatever comes, the browser goes to the consent page, to an
// address of the client, or nowhere.
func FuzzAuthorize(f *testing.F) {
	for _, seed := range []string{query().Encode(), "client_id=editor&redirect_uri=https://evil.example", "%", "a=%zz", "client_id=editor&client_id=web", strings.Repeat("&", 99)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p := newParts(t)
		w := do(p.face(t), http.MethodGet, oauthserver.PathAuthorize, nil, func(r *http.Request) { r.URL.RawQuery = raw })
		to := w.Header().Get("Location")
		if to != "" && !strings.HasPrefix(to, oauthserver.PathConsent+"?id=") && !strings.HasPrefix(to, redirect+"?") && !strings.HasPrefix(to, "http://127.0.0.1") {
			t.Errorf("%q leads to %q", raw, to)
		}
		if (to == "") == (w.Code == http.StatusSeeOther) || w.Code >= 500 {
			t.Errorf("%q: %d %q", raw, w.Code, to)
		}
	})
}

func TestNothingServesNothing(t *testing.T) {
	t.Parallel()
	if _, err := (&face.Face{}).Asking(t.Context(), strings.Repeat("A", 26)); err == nil {
		t.Error("the zero value knows a request")
	}
	if _, err := face.New(face.Options{Issuer: issuer}); err == nil {
		t.Error("an authorization server of nothing")
	}
	var none *face.Face
	if none.Serves(oauthserver.PathToken) {
		t.Error("nothing serves")
	}
	for _, bad := range []string{"", "http://mcp.example.com", "https://mcp.example.com/x", "ftp://x"} {
		if _, err := face.New(face.Options{Issuer: bad}); err == nil {
			t.Error(bad)
		}
	}
}
