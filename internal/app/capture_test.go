package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/credential/credentialtest"
	"github.com/munjigi/munjigi/internal/oauth"
)

// noise is what a client and the proxies before the gateway may add, and no
// server gets.
func noise() map[string]string {
	list := map[string]string{}
	for _, name := range []string{"Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-User", "X-Real-Ip", "Via", "Baggage", "Tracestate",
		"Proxy-Authorization", "X-Api-Key", "X-Original-Url", "Referer", "Cf-Connecting-Ip", "X-Ms-Token-Aad-Access-Token"} {
		list[name] = "noise-of-" + strings.ToLower(name)
	}
	return list
}

// windows are all pieces of 16 bytes of a token in every form in which it could
// travel: as it is, what its parts decode to, encoded again in other ways.
func windows(token string) map[string]string {
	forms := map[string]string{"the token": token, "percent-encoded": percent(token), "in hexadecimal": hex.EncodeToString([]byte(token))}
	for i, part := range strings.Split(token, ".") {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			continue
		}
		// The header says nothing of whose token it is; others have the same.
		if i > 0 || !strings.Contains(token, ".") {
			forms[fmt.Sprintf("part %d, decoded", i)] = string(b)
		}
	}
	for shift := range 3 {
		b := base64.StdEncoding.EncodeToString(append(make([]byte, shift), token...))
		forms[fmt.Sprintf("in base64, shifted by %d", shift)] = b[4*((shift+2)/3):]
	}
	out := map[string]string{}
	for name, form := range forms {
		for i := 0; i+16 <= len(form); i++ {
			out[form[i:i+16]] = name
		}
	}
	// What every JWT begins with, and the issuer's address, are no secret.
	head, _, _ := strings.Cut(token, ".")
	c, _ := oauth.Peek(token)
	if !strings.Contains(token, ".") {
		head = ""
	}
	for _, known := range []string{head, c.Text("iss")} {
		for i := 0; i+16 <= len(known); i++ {
			delete(out, known[i:i+16])
		}
	}
	return out
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// found looks for pieces of a token in what was captured, as it came and
// percent-decoded.
func found(captured []byte, pieces map[string]string) (piece, form string) {
	views := [][]byte{captured}
	if plain, err := url.QueryUnescape(strings.ReplaceAll(string(captured), "\n", "")); err == nil {
		views = append(views, []byte(plain))
	}
	for _, v := range views {
		for i := 0; i+16 <= len(v); i++ {
			if form, hit := pieces[string(v[i:i+16])]; hit {
				return string(v[i : i+16]), form
			}
		}
	}
	return "", ""
}

func search(t *testing.T, where string, captured []byte, pieces map[string]string) {
	t.Helper()
	if piece, form := found(captured, pieces); form != "" {
		t.Errorf("%s got a piece of the client's token (%s): …%q…", where, form, piece)
	}
}

// TestSearchFinds is the control of the search: a piece of a token is found in
// whatever form it travels.
func TestSearchFinds(t *testing.T) {
	t.Parallel()
	token := newProvider(t).token(t, public+"/mcp/m", "m:list", nil)
	parts := strings.Split(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	middle := len(token) / 2
	pieces := windows(token)
	for name, form := range map[string]string{
		"whole": token, "16 bytes": token[middle : middle+16], "cut": token[:middle], "signature": parts[2], "claims": string(claims[60:100]),
		"basic": base64.StdEncoding.EncodeToString([]byte("user:" + token)), "basic of one more": base64.StdEncoding.EncodeToString([]byte("users:" + token)),
		"basic of two more": base64.StdEncoding.EncodeToString([]byte("userss:" + token)), "percent": percent(token[middle : middle+20]), "hex": hex.EncodeToString([]byte(token[middle : middle+20])),
		"escaped claims": url.QueryEscape(string(claims[60:120])),
	} {
		if _, got := found([]byte("POST / HTTP/1.1\r\nX: "+form+"\r\n\r\n"), pieces); got == "" {
			t.Errorf("%s was not found", name)
		}
	}
	if piece, form := found([]byte("POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer for-kim-token-1\r\n\r\n"), pieces); form != "" {
		t.Errorf("found %q where it is not", piece)
	}
}

// person is a user with a client of one era at one server of the gateway.
type person struct {
	t       *testing.T
	srv     *httptest.Server
	who     string
	path    string
	token   string
	session string
	id      int
}

func (p *person) do(ctx context.Context, method, body string, headers map[string]string) *http.Response {
	p.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, p.srv.URL+p.path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Host = strings.TrimPrefix(public, "https://")
	for k, v := range noise() {
		r.Header.Set(k, v)
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.srv.Client().Do(r)
	if err != nil {
		if ctx.Err() == nil {
			p.t.Errorf("%s: %v", p.who, err)
		}
		return nil
	}
	if ch := resp.Header.Get("WWW-Authenticate"); ch != "" {
		p.t.Errorf("%s was challenged: %s", p.who, ch)
	}
	return resp
}

// modern sends one modern request and returns the answer's body.
func (p *person) modern(method, members string) string {
	p.t.Helper()
	p.id++
	headers := map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method}
	for _, name := range []string{`"name":"`, `"uri":"`} {
		if _, rest, ok := strings.Cut(members, name); ok && method != "completion/complete" {
			headers["Mcp-Name"], _, _ = strings.Cut(rest, `"`)
			break
		}
	}
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}},` +
		`"io.modelcontextprotocol/clientInfo":{"name":"` + p.who + `-client","version":"1"},"tracestate":"noise-of-meta-tracestate","baggage":"noise-of-meta-baggage"}`
	resp := p.do(p.t.Context(), http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s%s}}`, p.id, method, members, meta), headers)
	return p.read(resp)
}

// old sends one message of a legacy session.
func (p *person) old(body string) *http.Response {
	p.t.Helper()
	h := map[string]string{}
	if p.session != "" {
		h["Mcp-Session-Id"], h["Mcp-Protocol-Version"] = p.session, "2025-11-25"
	}
	return p.do(p.t.Context(), http.MethodPost, body, h)
}

func (p *person) legacy(method, params string) string {
	p.t.Helper()
	p.id++
	return p.read(p.old(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, p.id, method, params)))
}

// read returns a body, and answers what is asked on its way.
func (p *person) read(resp *http.Response) string {
	p.t.Helper()
	if resp == nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	var all strings.Builder
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, `"method":"elicitation/create"`) && p.session != "" {
			var m struct{ ID json.RawMessage }
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &m); err != nil {
				p.t.Error(err)
			}
			_ = p.read(p.old(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"action":"accept","content":{"a":"x"}}}`))
		}
		if err != nil {
			return all.String()
		}
	}
}

func (p *person) want(body, piece string) {
	p.t.Helper()
	if !strings.Contains(body, piece) {
		p.t.Errorf("%s at %s: no %s in %s", p.who, p.path, piece, body)
	}
}

// useModern makes every kind of request of a modern client.
func (p *person) useModern(c *captive, refusable bool) {
	p.want(p.modern("server/discover", ""), "supportedVersions")
	p.want(p.modern("tools/list", ""), `"look"`)
	p.want(p.modern("tools/call", `"name":"look","arguments":{},`), "done")
	refused := p.modern("tools/call", `"name":"look","arguments":{"do":"refuse"},`)
	if refusable {
		p.want(refused, "done")
	} else if strings.Contains(refused, "upstream-words") {
		p.t.Errorf("the server's words reached the client: %s", refused)
	}
	asked := p.modern("tools/call", `"name":"look","arguments":{"do":"ask"},`)
	var m struct {
		Result struct {
			RequestState  string
			InputRequests map[string]json.RawMessage
		}
	}
	_ = json.Unmarshal([]byte(asked), &m)
	for key := range m.Result.InputRequests {
		p.want(p.modern("tools/call", fmt.Sprintf(`"name":"look","arguments":{"do":"ask"},"requestState":%q,"inputResponses":{%q:{"action":"accept","content":{"a":"x"}}},`,
			m.Result.RequestState, key)), "done")
	}
	if len(m.Result.InputRequests) == 0 {
		p.t.Errorf("nothing was asked: %s", asked)
	}
	p.want(p.modern("prompts/list", ""), `"p"`)
	p.want(p.modern("prompts/get", `"name":"p",`), "messages")
	p.want(p.modern("resources/list", ""), "x:1")
	p.want(p.modern("resources/templates/list", ""), "x:{a}")
	p.want(p.modern("resources/read", `"uri":"x:1",`), "contents")
	p.want(p.modern("completion/complete", `"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"},`), "completion")
	ctx, cancel := context.WithCancel(p.t.Context())
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"` + p.who + `-client","version":"1"}}`
	resp := p.do(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]},`+meta+`}}`,
		map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"})
	if resp != nil {
		line, _ := bufio.NewReader(resp.Body).ReadString('\n')
		if !strings.Contains(line, "data:") && !strings.Contains(line, "event:") && !strings.HasPrefix(line, ":") {
			p.t.Errorf("no stream: %q", line)
		}
		cancel()
		_ = resp.Body.Close()
	}
	cancel()
	if c.legacy {
		c.await(p.t, http.MethodGet, "", p.who)
		c.await(p.t, http.MethodPost, "response", p.who)
		c.await(p.t, http.MethodPost, "resources/subscribe", p.who)
	}
}

// useLegacy makes every kind of request of a legacy client.
func (p *person) useLegacy(c *captive, refusable bool) {
	resp := p.old(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"roots":{"listChanged":true}},"clientInfo":{"name":"` + p.who + `-client","version":"1"}}}`)
	if resp == nil {
		return
	}
	p.session = resp.Header.Get("Mcp-Session-Id")
	p.want(p.read(resp), "protocolVersion")
	_ = p.read(p.old(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	ctx, cancel := context.WithCancel(p.t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		resp := p.do(ctx, http.MethodGet, "", map[string]string{"Mcp-Session-Id": p.session, "Mcp-Protocol-Version": "2025-11-25"})
		if resp != nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
	p.want(p.legacy("tools/list", ""), `"look"`)
	p.want(p.legacy("tools/call", `"name":"look","arguments":{}`), "done")
	refused := p.legacy("tools/call", `"name":"look","arguments":{"do":"refuse"}`)
	if refusable {
		p.want(refused, "done")
	} else if strings.Contains(refused, "upstream-words") {
		p.t.Errorf("the server's words reached the client: %s", refused)
	}
	p.want(p.legacy("tools/call", `"name":"look","arguments":{"do":"ask"}`), "done")
	if c.legacy {
		p.want(p.legacy("tools/call", `"name":"look","arguments":{"do":"cut"}`), "done")
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			_ = p.read(p.old(`{"jsonrpc":"2.0","id":"w","method":"tools/call","params":{"name":"look","arguments":{"do":"wait"}}}`))
		}()
		c.awaitCall(p.t, p.who, "wait")
		_ = p.read(p.old(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"w"}}`))
		<-waiting
		c.await(p.t, http.MethodPost, "notifications/cancelled", p.who)
	}
	p.want(p.legacy("prompts/list", ""), `"p"`)
	p.want(p.legacy("prompts/get", `"name":"p"`), "messages")
	p.want(p.legacy("resources/list", ""), "x:1")
	p.want(p.legacy("resources/templates/list", ""), "x:{a}")
	p.want(p.legacy("resources/read", `"uri":"x:1"`), "contents")
	p.want(p.legacy("completion/complete", `"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"}`), "completion")
	p.want(p.legacy("resources/subscribe", `"uri":"x:1"`), "result")
	p.want(p.legacy("logging/setLevel", `"level":"debug"`), "result")
	p.want(p.legacy("ping", ""), "result")
	_ = p.read(p.old(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`))
	if c.legacy {
		c.await(p.t, http.MethodGet, "", p.who)
		c.await(p.t, http.MethodPost, "response", p.who)
		c.await(p.t, http.MethodPost, "notifications/roots/list_changed", p.who)
	} else {
		c.await(p.t, http.MethodPost, "subscriptions/listen", p.who)
	}
	p.want(p.legacy("resources/unsubscribe", `"uri":"x:1"`), "result")
	resp = p.do(p.t.Context(), http.MethodDelete, "", map[string]string{"Mcp-Session-Id": p.session, "Mcp-Protocol-Version": "2025-11-25"})
	if resp != nil {
		_ = resp.Body.Close()
	}
	if c.legacy {
		c.await(p.t, http.MethodDelete, "", p.who)
	}
}

const (
	staticSecret = "Bearer static-secret-of-the-operator"
	platformJWT  = "platform.assertion.jwt"
)

// TestNothingOfTheClientTravels captures every byte that each server and token
// endpoint receives, in every credential mode, from clients of both eras at
// servers of both eras, with two users at once and every kind of request, and
// looks for pieces of the clients' tokens and for what proxies added. Each
// request carries the credential of its mode and of its own user.
func TestNothingOfTheClientTravels(t *testing.T) {
	t.Parallel()
	for mode, tt := range map[string]struct {
		config   string // with STS and AS for the authorization servers
		own      bool   // each user has its own
		sees     string // the parameter in which the first endpoint sees the client's token
		fetched  bool
		expected string // prefix of Authorization
	}{
		"none":               {`{ type: none }`, false, "", false, ""},
		"static":             {`{ type: static, headers: { Authorization: { prefix: "Bearer ", secret: file:secret } } }`, false, "", false, staticSecret},
		"client_credentials": {`{ type: client_credentials, issuer: STS, client_id: gw, client_secret: { secret: file:client }, scopes: [a] }`, false, "", true, "Bearer for-gateway-"},
		"private_key_jwt":    {`{ type: client_credentials, issuer: STS, client_id: gw, private_key: { secret: file:key.pem } }`, false, "", true, "Bearer for-gateway-"},
		"jwt_bearer":         {`{ type: jwt_bearer, issuer: STS, assertion: { secret: file:platform } }`, false, "", true, "Bearer for-gateway-"},
		"token_exchange":     {`{ type: token_exchange, issuer: STS, client_id: gw, client_secret: { secret: file:client }, actor_token: { secret: file:platform } }`, true, "subject_token", true, "Bearer for-"},
		"on_behalf_of":       {`{ type: on_behalf_of, issuer: STS, client_id: gw, client_secret: { secret: file:client }, client_auth: client_secret_post, scopes: [api://x/.default] }`, true, "assertion", true, "Bearer for-"},
		"idjag": {`{ type: idjag, issuer: STS, subject_issuers: [IDP], client_id: gw, client_secret: { secret: file:client }, authorization_server: { issuer: AS, client_id: gw, client_secret: { secret: file:client } } }`,
			true, "subject_token", true, "Bearer for-"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			idp, sts, as := newProvider(t), credentialtest.New(t), credentialtest.New(t)
			sts.Mint = func(f url.Values) (int, map[string]any) { return mintFor(sts, as, f) }
			as.Mint = func(f url.Values) (int, map[string]any) { return mintFor(as, as, f) }
			servers := map[string]*captive{"m": newCaptive(t, false), "l": newCaptive(t, true)}
			dir := t.TempDir()
			for name, text := range map[string]string{"secret": strings.TrimPrefix(staticSecret, "Bearer "), "client": "hunter2-client-secret", "platform": platformJWT, "key.pem": newKeyPEM(t)} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			credential := strings.NewReplacer("STS", `"`+sts.URL+`"`, "IDP", `"`+idp.URL+`"`, "AS", `"`+as.URL+`"`, "file:", "file:"+dir+"/").Replace(tt.config)
			a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\" }] }\negress: { allow: [\""+
				strings.TrimPrefix(idp.URL, "http://")+"\", \""+sts.Host()+"\", \""+as.Host()+"\"] }\nservers:\n"+
				"  m: { url: \""+servers["m"].URL+"/mcp\", credential: "+credential+" }\n  l: { url: \""+servers["l"].URL+"/mcp\", credential: "+credential+" }\n")
			srv := httptest.NewServer(a)
			t.Cleanup(srv.Close)
			var tokens []string
			var wg sync.WaitGroup
			for _, who := range []string{"kim", "lee"} {
				for name, c := range servers {
					token := idp.token(t, public+"/mcp/"+name, name+":list "+name+":read "+name+":call", func(m map[string]any) { m["sub"] = who })
					tokens = append(tokens, token)
					p := person{t: t, srv: srv, who: who, path: "/mcp/" + name, token: token}
					q := p
					wg.Go(func() {
						p.useModern(c, tt.fetched)
						q.useLegacy(c, tt.fetched)
					})
				}
			}
			wg.Wait()
			for name, c := range servers {
				judgeCapture(t, name, c, tokens, func(h heard) string {
					switch {
					case tt.expected == "":
						return ""
					case tt.own:
						return tt.expected + h.who + "-"
					}
					return tt.expected
				})
			}
			for at, s := range map[string]*credentialtest.Server{"the first token endpoint": sts, "the second token endpoint": as} {
				judgeForms(t, at, s, tokens, at == "the first token endpoint", tt.sees)
			}
			if n := len(sts.Forms()); (n > 0) != tt.fetched || n > 40 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// mintFor mints a token that names whom it is for.
func mintFor(s, as *credentialtest.Server, f url.Values) (int, map[string]any) {
	who := "gateway"
	for _, p := range []string{"subject_token", "assertion"} {
		if c, ok := oauth.Peek(f.Get(p)); ok && c.Text("sub") != "" {
			who = c.Text("sub")
		}
	}
	if f.Get("requested_token_type") == oauth.TypeIDJAG {
		a := credentialtest.Answer(credentialtest.JWT("oauth-id-jag+jwt", map[string]any{"Begins": "unlike others", "iss": s.URL, "aud": as.URL, "sub": who, "client_id": "gw",
			"resource": f.Get("resource"), "jti": s.Fresh(), "exp": time.Now().Add(time.Minute).Unix()}), 60)
		a["token_type"], a["issued_token_type"] = "N_A", oauth.TypeIDJAG
		return 200, a
	}
	return 200, credentialtest.Answer("for-"+who+"-"+s.Fresh(), 600)
}

// judgeCapture looks through all that one server was sent.
func judgeCapture(t *testing.T, name string, c *captive, tokens []string, want func(heard) string) {
	t.Helper()
	all := c.tap.bytes()
	if len(all) < 10_000 {
		t.Fatalf("only %d bytes were captured", len(all))
	}
	for _, token := range tokens {
		search(t, "server "+name, all, windows(token))
	}
	for _, piece := range []string{"noise-of-", "hunter2", "X-Forwarded", "\r\nCookie:", "\r\nForwarded:", "tracestate", "baggage"} {
		if bytes.Contains(bytes.ToLower(all), bytes.ToLower([]byte(piece))) {
			t.Errorf("server %s got %q", name, piece)
		}
	}
	kinds := map[string]bool{}
	for _, h := range c.requests() {
		kinds[h.method+" "+h.kind] = true
		w := want(h)
		if w == "" && h.auth != "" || !strings.HasPrefix(h.auth, w) {
			t.Errorf("server %s: %s %s of %q came with %q, want %q…", name, h.method, h.kind, h.who, h.auth, w)
		}
		if h.who == "" {
			t.Errorf("server %s: %s %s belongs to nobody", name, h.method, h.kind)
		}
	}
	expected := []string{"POST tools/list", "POST tools/call", "POST prompts/list", "POST prompts/get", "POST resources/list", "POST resources/read",
		"POST resources/templates/list", "POST completion/complete"}
	if c.legacy {
		expected = append(expected, "POST initialize", "POST notifications/initialized", "POST notifications/cancelled", "POST notifications/roots/list_changed",
			"POST resources/subscribe", "POST logging/setLevel", "POST response", "GET ", "DELETE ")
	} else {
		expected = append(expected, "POST server/discover", "POST subscriptions/listen")
	}
	for _, k := range expected {
		if !kinds[k] {
			t.Errorf("server %s: no %s was captured", name, k)
		}
	}
}

// judgeForms looks through what a token endpoint was sent: the client's token
// only at the first one, only where it is exchanged, only in its parameter.
func judgeForms(t *testing.T, at string, s *credentialtest.Server, tokens []string, first bool, sees string) {
	t.Helper()
	for _, form := range s.Forms() {
		for name, values := range form {
			if first && name == sees {
				continue
			}
			for _, v := range values {
				for _, token := range tokens {
					if t.Failed() {
						return
					}
					if strings.HasSuffix(name, "assertion") {
						// A JWT of its own has claims of the same names: what is the
						// token's alone is its signature.
						token = token[strings.LastIndex(token, ".")+1:]
					}
					search(t, at+" in "+name, []byte(v), windows(token))
				}
				if strings.Contains(v, "noise-of-") {
					t.Errorf("%s got %s", at, v)
				}
			}
		}
	}
}

func newKeyPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
