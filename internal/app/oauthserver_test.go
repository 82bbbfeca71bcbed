package app_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
)

const (
	oauthVerifier = "a-verifier-of-at-least-forty-three-characters-y"
	oauthRedirect = "http://127.0.0.1:5999/cb"
	oauthClients  = "authorization_server: { clients: [ { id: editor, name: My editor, redirect_uris: [\"http://127.0.0.1/cb\"] } ] }\npolicy: [all.cedar]\n"
)

// asked begins a login in a browser and returns the page that it is shown.
func (v *visitor) asked(base string, change func(url.Values)) (*http.Response, string) {
	v.t.Helper()
	sum := sha256.Sum256([]byte(oauthVerifier))
	q := url.Values{"response_type": {"code"}, "client_id": {"editor"}, "redirect_uri": {oauthRedirect}, "scope": {"s:list s:call"}, "state": {"st"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "resource": {base + "/mcp/s"}}
	if change != nil {
		change(q)
	}
	resp, page := v.do(http.MethodGet, "/oauth/authorize?"+q.Encode(), nil)
	if to := resp.Header.Get("Location"); resp.StatusCode == http.StatusSeeOther && strings.HasPrefix(to, "/") {
		return v.do(http.MethodGet, to, nil)
	}
	return resp, page
}

// leaves returns where a page sends the browser.
func (v *visitor) leaves(page string) string {
	v.t.Helper()
	m := regexp.MustCompile(`content="0;url=([^"]+)"`).FindStringSubmatch(page)
	if m == nil {
		v.t.Fatalf("leads nowhere:\n%s", page)
	}
	return html.UnescapeString(m[1])
}

func yes(scopes ...string) url.Values {
	f := url.Values{"answer": {"yes"}}
	for _, s := range scopes {
		server, _, _ := strings.Cut(s, ":")
		f.Set("server:"+server, "on")
		f.Set("scope:"+s, "on")
	}
	return f
}

// redeem takes the code of an answer to the client and trades it in.
func (v *visitor) redeem(base, at string) (map[string]any, int) {
	v.t.Helper()
	u, err := url.Parse(at)
	if err != nil || !strings.HasPrefix(at, oauthRedirect+"?") || u.Query().Get("iss") != base || u.Query().Get("state") != "st" {
		v.t.Fatalf("the answer goes to %q", at)
	}
	return v.token(url.Values{"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {oauthRedirect}, "client_id": {"editor"},
		"code_verifier": {oauthVerifier}, "resource": {base + "/mcp/s"}})
}

func (v *visitor) token(form url.Values) (map[string]any, int) {
	v.t.Helper()
	resp, body := v.do(http.MethodPost, "/oauth/token", form)
	var out map[string]any
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		v.t.Fatalf("%d %s", resp.StatusCode, body)
	}
	return out, resp.StatusCode
}

// mcp sends one message with a token.
func (v *visitor) mcp(token, method string) *http.Response {
	v.t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"x","uri":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.p.srv.URL+"/mcp/s", strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	u, err := url.Parse(v.p.base)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Host = u.Host
	for k, val := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": "x"} {
		r.Header.Set(k, val)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := v.p.srv.Client().Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// TestLogInAtAProvider is a whole login of a client that knows nothing but the
// server's address, at a provider that knows nothing of the client.
func TestLogInAtAProvider(t *testing.T) {
	t.Parallel()
	idp := signintest.New(t)
	p := withPages(t, public, issuers(idp)+oauthClients)
	v := p.visitor(t)
	if resp := v.mcp("", "tools/list"); resp.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(resp.Header.Get("WWW-Authenticate"), `resource_metadata="`+public+`/.well-known/oauth-protected-resource/mcp/s"`) {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	_, meta := v.do(http.MethodGet, "/.well-known/oauth-protected-resource/mcp/s", nil)
	if !strings.Contains(meta, `"authorization_servers":["`+public+`"]`) {
		t.Error(meta)
	}
	_, meta = v.do(http.MethodGet, "/.well-known/oauth-authorization-server", nil)
	if !strings.Contains(meta, `"issuer":"`+public+`"`) || !strings.Contains(meta, `"code_challenge_methods_supported":["S256"]`) {
		t.Error(meta)
	}
	resp, page := v.asked(public, nil)
	if resp.StatusCode != http.StatusOK || !strings.Contains(page, "My editor") {
		t.Fatalf("%d %s", resp.StatusCode, page)
	}
	// One scope is unticked; then to the provider, back, and on to the client.
	_, page = v.submit(page, "/oauth/consent", yes("s:list"))
	resp, page = v.do(http.MethodGet, "/signin/callback?"+idp.Follow(t, v.leaves(page)).Encode(), nil)
	if resp.StatusCode == http.StatusSeeOther {
		_, page = v.do(http.MethodGet, resp.Header.Get("Location"), nil)
	}
	out, status := v.redeem(public, v.leaves(page))
	if status != http.StatusOK || out["scope"] != "s:list" {
		t.Fatalf("%d %v", status, out)
	}
	token, _ := out["access_token"].(string)
	if resp := v.mcp(token, "tools/list"); resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp := v.mcp(token, "resources/read"); resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `insufficient_scope`) {
		t.Errorf("a scope that was unticked: %d %v", resp.StatusCode, resp.Header)
	}
	// What was given is shown, and taken back at once.
	_, page = v.do(http.MethodGet, "/grants", nil)
	if !strings.Contains(page, "My editor") {
		t.Errorf("not listed:\n%s", page)
	}
	if resp, body := v.submit(page, "/grants/client/withdraw", nil); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if resp := v.mcp(token, "tools/list"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token outlived its consent: %d", resp.StatusCode)
	}
	refresh, _ := out["refresh_token"].(string)
	if out, _ := v.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {"editor"}}); out["error"] != "invalid_grant" {
		t.Errorf("%v", out)
	}
	var reasons []string
	for _, e := range p.events(t) {
		if e.Stage == "authorization-server" || e.Stage == "consent" {
			reasons = append(reasons, e.Reason)
			if e.Reason == "token-issued" && e.Principal != "alice@"+idp.URL {
				t.Errorf("%+v", e)
			}
		}
	}
	for _, want := range []string{"client-asks", "consent-before-sign-in", "consent-given", "code-issued", "token-issued", "consent-withdrawn", "grants-withdrawn", "token-refused"} {
		if !slices.Contains(reasons, want) {
			t.Errorf("no %s in %v", want, reasons)
		}
	}
}

// TestLogInAsTheOperator is the same without a provider: the person at the
// terminal lets the client in. The operator's own token goes on.
func TestLogInAsTheOperator(t *testing.T) {
	t.Parallel()
	const base = "http://localhost:8931"
	p := withPages(t, base, oauthClients)
	v := p.visitor(t)
	if resp := v.mcp("", "tools/list"); resp.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(resp.Header.Get("WWW-Authenticate"), `resource_metadata="`+base+`/.well-known/oauth-protected-resource/mcp/s"`) {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, bad := range []string{"mjc_x.1.1.AAAA", "a.b.c", "x"} {
		if resp := v.mcp(bad, "tools/list"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "resource_metadata=") {
			t.Errorf("%s: %d %v", bad, resp.StatusCode, resp.Header)
		}
	}
	_, page := v.asked(base, nil)
	resp, page := v.submit(page, "/oauth/consent", yes("s:list", "s:call"))
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", resp.StatusCode, page)
	}
	_, page = v.do(http.MethodGet, resp.Header.Get("Location"), nil)
	_, page = v.submit(page, "/signin/code", nil)
	resp, page = v.submit(page, "/signin/code", url.Values{"code": {p.term.code()}})
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", resp.StatusCode, page)
	}
	_, page = v.do(http.MethodGet, resp.Header.Get("Location"), nil)
	out, status := v.redeem(base, v.leaves(page))
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, out)
	}
	token, _ := out["access_token"].(string)
	for _, good := range []string{token, clientToken(t, p)} {
		for _, method := range []string{"tools/list", "tools/call"} {
			if resp := v.mcp(good, method); resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
				t.Errorf("%.4s %s: %d %v", good, method, resp.StatusCode, resp.Header)
			}
		}
	}
	// A restart of the config keeps what was granted.
	if err := p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp := v.mcp(token, "tools/list"); resp.StatusCode == http.StatusUnauthorized {
		t.Errorf("after a reload: %v", resp.Header)
	}
	// Consent is for one client, and the next one asks anew.
	if resp, _ := v.asked(base, func(q url.Values) { q.Set("client_id", "other") }); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown client: %d", resp.StatusCode)
	}
	p.write(t, "")
	if err := p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp := v.mcp(token, "tools/list"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without an authorization server its token is good: %d", resp.StatusCode)
	}
	if resp, _ := v.do(http.MethodGet, "/.well-known/oauth-authorization-server", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("its metadata is there: %d", resp.StatusCode)
	}
}

func clientToken(t *testing.T, p *paged) string {
	t.Helper()
	s, _, err := p.ClientToken(context.WithoutCancel(t.Context()), "paste")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWhoCannotBeLetInIsToldSo sends a person with what must not lead back to a client: the answer is a page of ours
// with the ID of its record, and no redirect.
func TestWhoCannotBeLetInIsToldSo(t *testing.T) {
	t.Parallel()
	p := withPages(t, public, issuers(signintest.New(t))+oauthClients)
	v := p.visitor(t)
	for name, change := range map[string]func(url.Values){
		"another client":   func(q url.Values) { q.Set("client_id", "<script>nobody</script>") },
		"another redirect": func(q url.Values) { q.Set("redirect_uri", "https://evil.example/") },
	} {
		resp, page := v.asked(public, change)
		if resp.StatusCode < 400 || resp.Header.Get("Location") != "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") ||
			!strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		if !strings.Contains(page, "This client cannot be let in") || strings.Contains(page, "<script>nobody") || !strings.Contains(page, `<p class="id">`) {
			t.Errorf("%s: %s", name, page)
		}
	}
}
