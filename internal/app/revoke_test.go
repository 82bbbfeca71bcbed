package app_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// vouched is a gateway in front of a modern server whose callers one issuer
// vouches for. It can be closed and opened again with the same data.
type vouched struct {
	t    *testing.T
	idp  *provider
	file string
	data string
	app  *app.App
	srv  *httptest.Server
}

// vouch makes one; issuer is added to the issuer's config, rest to the file.
func vouch(t *testing.T, idp *provider, issuer, rest string) *vouched {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		result := `{"resultType":"complete","tools":[{"name":"look","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`
		switch m.Method {
		case "server/discover":
			result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up","version":"1"}}}`
		case "tools/call":
			result = `{"resultType":"complete","content":[{"type":"text","text":"done"}]}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	}))
	t.Cleanup(up.Close)
	dir := t.TempDir()
	v := &vouched{t: t, idp: idp, file: filepath.Join(dir, "m.yaml"), data: filepath.Join(t.TempDir(), "data")}
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(`permit (principal, action, resource);`), 0o600); err != nil {
		t.Fatal(err)
	}
	if issuer != "" {
		issuer = ", " + issuer
	}
	text := "listen: 127.0.0.1:0\npublic_url: " + public + "\ndata: " + v.data + "\naudit: { durability: relaxed }\n" +
		"identity: { issuers: [{ issuer: \"" + idp.URL + "\"" + issuer + " }] }\negress: { allow: [\"" + idp.Listener.Addr().String() + "\"] }\n" +
		"policy: [p.cedar]\nservers: { s: { url: \"" + up.URL + "/mcp\", era: modern } }\n" + rest
	if err := os.WriteFile(v.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	v.open()
	t.Cleanup(v.close)
	return v
}

func (v *vouched) open() {
	v.t.Helper()
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(v.file)
	if err != nil {
		v.t.Fatal(err)
	}
	secrets := func(name string) (string, bool) { return "the value of " + name, true }
	unheld(cfg)
	if v.app, err = app.Open(v.t.Context(), cfg, app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: secrets}); err != nil {
		v.t.Fatal(err)
	}
	v.srv = httptest.NewServer(v.app)
}

func (v *vouched) close() {
	if v.app == nil {
		return
	}
	v.srv.Close()
	if err := v.app.Close(context.WithoutCancel(v.t.Context())); err != nil {
		v.t.Error(err)
	}
	v.app = nil
}

// call asks for a tool and returns the status and the challenge.
func (v *vouched) call(token string) (int, string) {
	v.t.Helper()
	resp, body := ask(v.t, v.srv, "/mcp/s", token, "tools/call", "look")
	if resp.StatusCode == http.StatusOK && !strings.Contains(body, "done") {
		v.t.Errorf("200 and %s", body)
	}
	return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
}

func (v *vouched) wants(what, token string, status int, challenge string) {
	v.t.Helper()
	if got, ch := v.call(token); got != status || !strings.Contains(ch, challenge) {
		v.t.Errorf("%s: %d %q, want %d %q", what, got, ch, status, challenge)
	}
}

func (v *vouched) token(change func(map[string]any)) string {
	v.t.Helper()
	return v.idp.token(v.t, public+"/mcp/s", "s:list s:read s:call", change)
}

// sign makes a JWT of any type by the provider's key.
func (p *provider) sign(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logoutToken is what the issuer sends when somebody signs out.
func (p *provider) logoutToken(t *testing.T, change map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": p.URL, "aud": "gateway", "iat": now, "exp": now + 120, "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
	for k, val := range change {
		claims[k] = val
	}
	return p.sign(t, "logout+jwt", claims)
}

// tell posts a form to the logout endpoint.
func (v *vouched) tell(form string) (int, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.srv.URL+app.LogoutPath, strings.NewReader(form))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := v.srv.Client().Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		v.t.Error("the answer may be stored")
	}
	return resp.StatusCode, string(b)
}

func (v *vouched) signsOut(change map[string]any) {
	v.t.Helper()
	if status, body := v.tell(url.Values{"logout_token": {v.idp.logoutToken(v.t, change)}}.Encode()); status != http.StatusOK || body != "" {
		v.t.Errorf("logout: %d %s", status, body)
	}
}

// entries are the events on the record with this reason.
func (v *vouched) entries(reason string) (out []audit.Event) {
	v.t.Helper()
	err := log.Read(filepath.Join(v.data, "audit"), log.OldestFirst, func(e audit.Event) bool {
		if e.Reason == reason {
			out = append(out, e)
		}
		return true
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}

// ago makes a token that was signed some seconds before, with more claims.
func ago(seconds int64, more map[string]any) func(map[string]any) {
	return func(c map[string]any) {
		c["iat"] = time.Now().Unix() - seconds
		for k, val := range more {
			c[k] = val
		}
	}
}

const tellsLogouts = `logout: { clients: [gateway] }`

// TestSigningOutEndsTokens: what the issuer says has ended is refused from the
// next request on, also after a restart, and the token that said so works once.
func TestSigningOutEndsTokens(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), tellsLogouts, "")
	old, other := v.token(ago(10, nil)), v.token(ago(10, map[string]any{"sub": "lee"}))
	v.wants("before", old, 200, "")
	said := v.idp.logoutToken(t, map[string]any{"sub": "kim", "iat": time.Now().Unix() - 5})
	form := url.Values{"logout_token": {said}}.Encode()
	if status, body := v.tell(form); status != 200 || body != "" {
		t.Fatalf("%d %s", status, body)
	}
	v.wants("afterwards", old, 401, `error="invalid_token"`)
	v.wants("one that was made before and never seen", v.token(ago(6, nil)), 401, "revoked")
	v.wants("one of the same second", v.token(ago(5, nil)), 401, "revoked")
	v.wants("a new one", v.token(ago(1, nil)), 200, "")
	v.wants("somebody else's", other, 200, "")
	if status, body := v.tell(form); status != 400 || !strings.Contains(body, "used before") {
		t.Errorf("again: %d %s", status, body)
	}
	v.close()
	v.open()
	v.wants("after a restart", old, 401, "revoked")
	v.wants("a new one after a restart", v.token(ago(1, nil)), 200, "")
	if status, _ := v.tell(form); status != 400 {
		t.Errorf("again after a restart: %d", status)
	}
	if e := v.entries("signed-out"); len(e) != 1 || e[0].Principal != "kim@"+v.idp.URL || e[0].Effect != "allow" {
		t.Errorf("%+v", e)
	}
	if e := v.entries("bad-logout-token"); len(e) != 2 || e[0].Effect != "deny" {
		t.Errorf("%+v", e)
	}
}

// TestWhatALogoutConcerns: a session's end leaves the user's other sessions
// alone, and takes the tokens that do not say which session they are of.
func TestWhatALogoutConcerns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		says           map[string]any
		s1, s2, no, by int // tokens of session 1, of session 2, of none, and of another subject in session 1
	}{
		{"the subject", map[string]any{"sub": "kim"}, 401, 401, 401, 200},
		{"the session", map[string]any{"sid": "s1"}, 401, 200, 200, 401},
		{"the session of the subject", map[string]any{"sub": "kim", "sid": "s1"}, 401, 200, 401, 401},
		{"another session", map[string]any{"sid": "s3"}, 200, 200, 200, 200},
		{"another subject", map[string]any{"sub": "ki"}, 200, 200, 200, 200},
	} {
		v := vouch(t, newProvider(t), tellsLogouts, "")
		tokens := []string{v.token(ago(9, map[string]any{"sid": "s1"})), v.token(ago(9, map[string]any{"sid": "s2"})), v.token(ago(9, nil)),
			v.token(ago(9, map[string]any{"sid": "s1", "sub": "lee"}))}
		v.signsOut(tt.says)
		for i, want := range []int{tt.s1, tt.s2, tt.no, tt.by} {
			if got, _ := v.call(tokens[i]); got != want {
				t.Errorf("%s, token %d: %d, want %d", tt.name, i, got, want)
			}
		}
		v.close()
	}
}

func TestLogoutEndpointRefuses(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), tellsLogouts, "")
	good := func() string { return v.idp.logoutToken(t, map[string]any{"sub": "kim"}) }
	for name, form := range map[string]string{
		"nothing":               "",
		"two tokens":            "logout_token=" + good() + "&logout_token=" + good(),
		"an access token":       "logout_token=" + v.token(nil),
		"garbage":               "logout_token=%zz",
		"an ID token":           "logout_token=" + v.idp.sign(t, "JWT", map[string]any{"iss": v.idp.URL, "aud": "gateway", "sub": "kim"}),
		"another client's":      "logout_token=" + v.idp.logoutToken(t, map[string]any{"sub": "kim", "aud": "other"}),
		"another issuer's":      "logout_token=" + newProvider(t).logoutToken(t, map[string]any{"sub": "kim", "iss": v.idp.URL}),
		"40 KB":                 "logout_token=" + strings.Repeat("a", 40<<10),
		"an old one":            "logout_token=" + v.idp.logoutToken(t, map[string]any{"sub": "kim", "iat": 1000, "exp": 1100}),
		"somebody with a nonce": "logout_token=" + v.idp.logoutToken(t, map[string]any{"sub": "kim", "nonce": "n"}),
	} {
		if status, body := v.tell(form); status != 400 || !strings.Contains(body, `"error":"invalid_request"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"by GET":          func(r *http.Request) { r.Method = http.MethodGet },
		"as JSON":         func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"in the query":    func(r *http.Request) { r.URL.RawQuery = "logout_token=" + good(); r.Body = http.NoBody },
		"at another path": func(r *http.Request) { r.URL.Path += "/" },
	} {
		r := httptest.NewRequest(http.MethodPost, app.LogoutPath, strings.NewReader("logout_token="+good()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(r)
		w := httptest.NewRecorder()
		v.app.ServeHTTP(w, r)
		if w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	v.wants("after all that", v.token(ago(9, nil)), 200, "")
	silent := vouch(t, newProvider(t), "", "")
	if status, _ := silent.tell("logout_token=" + silent.idp.logoutToken(t, map[string]any{"sub": "kim"})); status != 404 {
		t.Errorf("where no issuer tells of logouts: %d", status)
	}
}

// TestLogoutFloodIsBounded: strangers cannot fill the record, and what they send
// does not keep a real logout out.
func TestLogoutFloodIsBounded(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), tellsLogouts, "")
	for range 200 {
		if status, _ := v.tell("logout_token=x.y.z"); status != 400 {
			t.Fatal(status)
		}
	}
	old := v.token(ago(9, nil))
	v.signsOut(map[string]any{"sub": "kim"})
	v.wants("after the flood", old, 401, "revoked")
	if n := len(v.entries("bad-logout-token")); n == 0 || n > 60 {
		t.Errorf("%d entries", n)
	}
}

// TestIssuerDownAtLogout: the issuer is asked to try again, and can.
func TestIssuerDownAtLogout(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), tellsLogouts, "")
	said := v.idp.logoutToken(t, map[string]any{"sub": "kim"})
	v.idp.Close()
	if status, _ := v.tell("logout_token=" + said); status != 503 {
		t.Errorf("%d", status)
	}
}

// TestAdministratorRevokes: by subject, session and token; the record says so.
func TestAdministratorRevokes(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), "", "")
	now := time.Now().Unix()
	tokens := map[string]string{
		"subject": v.token(ago(9, map[string]any{"sub": "kim", "jti": "a"})),
		"session": v.token(ago(9, map[string]any{"sub": "lee", "sid": "s1", "jti": "b"})),
		"id":      v.token(ago(9, map[string]any{"sub": "joo", "jti": "c"})),
		"nobody":  v.token(ago(9, map[string]any{"sub": "jin", "sid": "s2", "jti": "d"})),
	}
	for name, token := range tokens {
		v.wants(name, token, 200, "")
	}
	for _, r := range []app.Revocation{{Subject: "kim"}, {Issuer: v.idp.URL, Session: "s1"}, {ID: "c"}} {
		if _, err := v.app.Revoke(t.Context(), r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	check := func(when string) {
		for name, token := range tokens {
			want := 401
			if name == "nobody" {
				want = 200
			}
			v.wants(name+" "+when, token, want, "")
		}
	}
	check("afterwards")
	v.wants("a token that the issuer's clock, ahead of ours, makes", v.token(func(c map[string]any) { c["iat"], c["exp"] = now+30, now+600 }), 401, "revoked")
	v.close()
	v.open()
	check("after a restart")
	for _, r := range []app.Revocation{{}, {Subject: "a", Session: "b"}, {Issuer: "https://evil.example", Subject: "a"}, {Issuer: v.idp.URL}, {Issuer: v.idp.URL + "/", ID: "c"}} {
		if _, err := v.app.Revoke(t.Context(), r); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
	var got []string
	for _, e := range v.entries("token-revoked") {
		got = append(got, e.Stage+" "+e.Principal+" "+e.Detail["what"]+" "+e.Detail["token"])
		if e.Detail["issuer"] != v.idp.URL || strings.Contains(e.Detail["session"], "s1") {
			t.Errorf("%+v", e)
		}
	}
	if want := []string{"administration kim@" + v.idp.URL + " subject ", "administration  session ", "administration  token c"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
}

// TestLogoutEndsSessionsAndStreams: a legacy session of the subject is gone, and
// its open stream with it; another's goes on.
func TestLogoutEndsSessionsAndStreams(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), tellsLogouts, "")
	open := func(token string) (id string, stream io.ReadCloser) {
		send := func(method, body, session string) *http.Response {
			r, err := http.NewRequestWithContext(t.Context(), method, v.srv.URL+"/mcp/s", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = strings.TrimPrefix(public, "https://")
			r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + token}}
			if session != "" {
				r.Header.Set("Mcp-Session-Id", session)
				r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
			}
			resp, err := v.srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		first := send(http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`, "")
		b, _ := io.ReadAll(first.Body)
		_ = first.Body.Close()
		id = first.Header.Get("Mcp-Session-Id")
		if first.StatusCode != 200 || id == "" {
			t.Fatalf("initialize: %d %s", first.StatusCode, b)
		}
		_ = send(http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, id).Body.Close()
		s := send(http.MethodGet, "", id)
		if s.StatusCode != 200 {
			t.Fatalf("stream: %d", s.StatusCode)
		}
		return id, s.Body
	}
	_, kims := open(v.token(ago(9, nil)))
	_, lees := open(v.token(ago(9, map[string]any{"sub": "lee"})))
	v.signsOut(map[string]any{"sub": "kim"})
	_, _ = io.Copy(io.Discard, kims) // ends, or the test never does
	_ = kims.Close()
	left := v.app.Sessions().List()
	if len(left) != 1 || !strings.HasPrefix(left[0].Principal, "lee@") {
		t.Errorf("%+v", left)
	}
	_ = lees.Close()
}

// TestScopeHierarchies: a broader scope of the issuer opens what it contains, and
// nothing beside it.
func TestScopeHierarchies(t *testing.T) {
	t.Parallel()
	v := vouch(t, newProvider(t), `implied_scopes: { files: [s:call] }`, "")
	for scope, want := range map[string]int{"files": 200, "openid files": 200, "file": 403, "files:all": 403, "openid": 403} {
		if got, _ := v.call(v.idp.token(t, public+"/mcp/s", scope, nil)); got != want {
			t.Errorf("%q: %d, want %d", scope, got, want)
		}
	}
}

// TestPrivateAuthorityOfAnIssuer: an issuer whose certificate no public
// authority signed is reached where egress.ca names the one that did.
func TestPrivateAuthorityOfAnIssuer(t *testing.T) {
	t.Parallel()
	idp := newProvider(t)
	plain := idp.Server
	idp.Server = httptest.NewTLSServer(plain.Config.Handler)
	t.Cleanup(idp.Server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: idp.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	v := vouch(t, idp, "", "")
	v.wants("an authority that nobody trusts", v.token(nil), 503, "")
	v.close()
	text, err := os.ReadFile(v.file)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "egress: { ", "egress: { ca: "+ca+", ", 1)
	if err := os.WriteFile(v.file, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	v.open()
	v.wants("an authority that the operator trusts", v.token(nil), 200, "")
}
