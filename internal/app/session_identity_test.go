package app_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/audit"
)

// issuerRig is a rig whose callers bring tokens of a provider, for the resource
// of the server s.
func issuerRig(t *testing.T, upstream string) (*rig, *provider) {
	t.Helper()
	idp := newProvider(t)
	policy := filepath.Join(t.TempDir(), "p.cedar")
	if err := os.WriteFile(policy, []byte(`permit (principal, action, resource);`), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream = strings.ReplaceAll(upstream, ", may_ask: [sampling, elicitation, roots]", "") // the policy says it
	return newRig(t, fmt.Sprintf("public_url: %s\nidentity: { issuers: [{ issuer: %q }] }\negress: { allow: [%q] }\npolicy: [%q]\n%s",
		public, idp.URL, strings.TrimPrefix(idp.URL, "http://"), policy, upstream)), idp
}

// bearer is what the headers of a legacy client with a token are.
func bearer(token string, more ...string) []string {
	return append([]string{"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version: 2025-11-25", "Authorization: Bearer " + token}, more...)
}

// initialized opens a session with a token and returns its ID.
func (r *rig) initialized(token string) string {
	r.t.Helper()
	a := initialize("")
	a.headers = append(a.headers, "Authorization: Bearer "+token)
	resp, body := r.ask(a)
	id := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != 200 || id == "" {
		r.t.Fatalf("initialize: %d %s", resp.StatusCode, body)
	}
	return id
}

// A session answers to the principal and client that opened it, whatever token
// proves them; to all others it does not exist, which alarms and costs its owner
// nothing.
func TestSessionOfAnother(t *testing.T) {
	t.Parallel()
	r, idp := issuerRig(t, newStage(t).config(""))
	here, all := public+"/mcp/s", "s:list s:read s:call"
	as := func(sub, client string) func(map[string]any) {
		return func(c map[string]any) { c["sub"], c["client_id"] = sub, client }
	}
	n := 1
	call := func(token, session string) (*http.Response, string) {
		n++
		return r.ask(asked{headers: bearer(token, "Mcp-Session-Id: "+session),
			whole: fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"well"}}}`, n)})
	}
	mine := func(what, token, session string) {
		t.Helper()
		if resp, body := call(token, session); resp.StatusCode != 200 || !strings.Contains(body, "well") {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
	}
	kim, lee := idp.token(t, here, all, nil), idp.token(t, here, all, as("lee", "agent"))
	session, own := r.initialized(kim), r.initialized(lee)
	mine("the owner", kim, session)
	mine("the owner with a refreshed token", idp.token(t, here, all, nil), session)
	mine("the owner with fewer rights", idp.token(t, here, "s:call", nil), session)

	blind := func(body string) string {
		id, _ := errorID(t, body)
		i := strings.Index(body, `"id":`)
		return strings.ReplaceAll(body[:i]+body[strings.Index(body, `"error"`):], id, "")
	}
	resp, unknown := call(lee, strings.Repeat("A", len(session)))
	r.refused(resp, unknown, 404, "no-session")
	for who, token := range map[string]string{
		"another principal":          lee,
		"another client of the same": idp.token(t, here, all, as("kim", "other-agent")),
		"another issuer's namesake":  "", // no token at all below
	} {
		if token == "" {
			resp, body := call("none", session)
			r.refused(resp, body, 401, "unauthenticated")
			continue
		}
		resp, body := call(token, session)
		r.refused(resp, body, 404, "foreign-session")
		if blind(body) != blind(unknown) || resp.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s sees that there is such a session: %s, an unknown one: %s", who, body, unknown)
		}
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			req := r.request(r.ctx, asked{headers: bearer(token, "Mcp-Session-Id: "+session, "Accept: text/event-stream")})
			req.Method, req.Body, req.ContentLength = method, nil, 0
			resp, body := r.do(r.client(), req)
			r.refused(resp, body, 404, "foreign-session")
		}
	}
	mine("the owner, after others tried", kim, session)

	// Tries cost the one who makes them, whether there is such a session or not,
	// and nobody else.
	for _, id := range []string{session, strings.Repeat("B", len(session))} {
		tries := 0
		for ; tries < 1000; tries++ {
			if resp, body := call(lee, id); resp.StatusCode == http.StatusTooManyRequests {
				r.refused(resp, body, 429, "too-many-requests")
				break
			} else if resp.StatusCode != 404 {
				t.Fatalf("a try: %d %s", resp.StatusCode, body)
			}
		}
		if tries == 1000 {
			t.Error("tries cost nothing")
		}
		mine("who tried, in the own session", lee, own)
		mine("the owner, during the tries", kim, session)
	}
	r.close()
	alarms := 0
	for _, e := range r.record() {
		if e.Kind == audit.KindEvent && e.Reason == "foreign-session" {
			alarms++
			if e.Session != audit.ShortDigest(session) || !strings.HasPrefix(e.Detail["owner"], "kim@") || e.Detail["alarm"] == "" || e.Server != "s" {
				t.Errorf("an alarm without its facts: %+v", e)
			}
		}
		if b, _ := json.Marshal(e); strings.Contains(string(b), session) {
			t.Errorf("the session's ID is on the record: %s", b)
		}
	}
	// Three tries of the other client, then ten of lee's, and the flood is not
	// told one by one.
	if alarms < 4 || alarms > 20 {
		t.Errorf("%d alarms", alarms)
	}
}

// A session ends when its owner comes by more rights, by DELETE, and at an
// administrator's word; nobody else's does.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	r, idp := issuerRig(t, newStage(t).config(""))
	here := public + "/mcp/s"
	ping := func(token, session string) int {
		resp, _ := r.ask(asked{headers: bearer(token, "Mcp-Session-Id: "+session), whole: `{"jsonrpc":"2.0","id":"` + rand.Text() + `","method":"ping"}`})
		return resp.StatusCode
	}
	low, high := idp.token(t, here, "s:list", nil), idp.token(t, here, "s:list s:call", nil)
	for name, wide := range map[string]string{
		"scope":   high,
		"group":   idp.token(t, here, "s:list", func(c map[string]any) { c["groups"] = []string{"readers", "admins"} }),
		"sign-in": idp.token(t, here, "s:list", func(c map[string]any) { c["acr"] = "phr" }),
	} {
		session, other := r.initialized(low), r.initialized(low)
		// A refusal for want of a scope ends nothing.
		if resp, _ := r.ask(asked{headers: bearer(low, "Mcp-Session-Id: "+session),
			whole: `{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"echo","arguments":{}}}`}); resp.StatusCode != 403 {
			t.Errorf("%s: without the scope: %d", name, resp.StatusCode)
		}
		if ping(low, session) != 200 {
			t.Errorf("%s: the session ended with a challenge", name)
		}
		resp, body := r.ask(asked{headers: bearer(wide, "Mcp-Session-Id: "+session), whole: `{"jsonrpc":"2.0","id":9,"method":"ping"}`})
		r.refused(resp, body, 404, "session-stepped-up")
		if got := ping(low, session); got != 404 {
			t.Errorf("%s: the session of lower rights is still there: %d", name, got)
		}
		if ping(low, other) != 200 || ping(wide, r.initialized(wide)) != 200 {
			t.Errorf("%s: another session ended", name)
		}
	}
	session, other := r.initialized(low), r.initialized(low)
	req := r.request(r.ctx, asked{headers: bearer(low, "Mcp-Session-Id: "+session)})
	req.Method, req.Body, req.ContentLength = http.MethodDelete, nil, 0
	if resp, _ := r.do(r.client(), req); resp.StatusCode != http.StatusNoContent || ping(low, session) != 404 || ping(low, other) != 200 {
		t.Error("DELETE does not end the one session")
	}
	if got, err := r.app.EndSessions(r.ctx, audit.ShortDigest(other)); err != nil || got.Ended != 1 || ping(low, other) != 404 {
		t.Errorf("the administrator ended %+v, %v", got, err)
	}
	if _, err := r.app.EndSessions(r.ctx, ""); err == nil {
		t.Error("no name ends all")
	}
	if !slices.ContainsFunc(r.record(), func(e audit.Event) bool {
		return e.Reason == "sessions-ended" && e.Session == audit.ShortDigest(other) && e.Detail["ended"] == "1"
	}) {
		t.Error("an administrator's word is not on the record")
	}
}
