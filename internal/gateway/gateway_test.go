package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
	"github.com/munjigi/munjigi/test/fixture/server"
)

// tape is a record in memory.
type tape struct {
	mu     sync.Mutex
	events []audit.Event
	broken bool
}

func (t *tape) Record(_ context.Context, e *audit.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken {
		return io.ErrShortWrite
	}
	c := *e
	c.Trail = append([]audit.Step(nil), e.Trail...)
	t.events = append(t.events, c)
	return nil
}

func (t *tape) of(id string) (out []audit.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		if e.ID == id {
			out = append(out, e)
		}
	}
	return out
}

// nonces is a set in memory.
type nonces struct{ m sync.Map }

func (n *nonces) First(_ context.Context, key string, _ time.Time) (bool, error) {
	_, was := n.m.LoadOrStore(key, true)
	return !was, nil
}

// ring seals with a key that lives as long as the test.
type ring struct{ r *keys.Derived }

func (s ring) Seal(p string, plain, b []byte) (string, error) {
	x, err := s.r.Seal(keys.Purpose(p), plain, b)
	return string(json.RawMessage(hexed(x))), err
}

func (s ring) Name(p string, plain, b []byte) (string, error) { return s.Seal(p, plain, b) }

func (s ring) Open(p, sealed string, b []byte) ([]byte, error) {
	x, err := unhexed(sealed)
	if err != nil {
		return nil, err
	}
	return s.r.Open(keys.Purpose(p), x, b)
}

type bench struct {
	*httptest.Server
	tape  *tape
	gw    *gateway.Gateway
	token string
}

func limits() gateway.Limits {
	l := gateway.DefaultLimits()
	l.KeepAlive = time.Hour
	return l
}

// start serves the demo server behind a whole gateway.
func start(t *testing.T, change func(*gateway.Options)) *bench {
	t.Helper()
	r, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	set, err := guard.Build(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := r.Subkey("client-token")
	if err != nil {
		t.Fatal(err)
	}
	auth := &local.Local{Key: key, Revoked: func(string) bool { return false }}
	b := &bench{tape: &tape{}}
	srv := httptest.NewUnstartedServer(nil)
	host := srv.Listener.Addr().String()
	o := gateway.Options{
		Name: "munjigi", Version: "test",
		Servers: map[string]upstream.Server{"demo": demo.New(demo.Options{Version: "test"})},
		Order:   []string{"demo"}, Merged: []string{"demo"},
		Authn: auth, Guards: set, Definitions: unpinned{}, Catalog: catalog.New(16), Record: b.tape, Outcomes: b.tape,
		Authz:  authz.Owner{On: true, Asks: anything, Refused: map[string]string{"demo/" + demo.RefusedTool: "the demonstration refuses it"}},
		Sealer: ring{r}, Once: &nonces{}, Limits: limits(), Floor: mcp.DefaultFloor,
		Hosts: []string{host}, Origins: []string{"http://" + host}, BaseURL: "http://" + host,
		Sessions:    gateway.NewSessions(limits(), nil),
		Generations: func() call.Generations { return call.Generations{} },
		Logger:      slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	b.gw, err = gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = b.gw
	srv.Start()
	t.Cleanup(srv.Close)
	b.Server = srv
	if b.token, err = auth.Mint(local.Token{Client: "test", Serial: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return b
}

// send posts a body with the headers given as "Name: value".
func (b *bench) send(t *testing.T, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+b.token)
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		if v == "" {
			req.Header.Del(name)
			continue
		}
		if name == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(name, v)
	}
	resp, err := b.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(raw)
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}`

// modern posts one modern request with its headers built from the body.
func (b *bench) modern(t *testing.T, path, method, name, params string) (*http.Response, string) {
	t.Helper()
	if params != "" {
		params = "," + params
	}
	h := []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: " + method}
	if name != "" {
		h = append(h, "Mcp-Name: "+name)
	}
	return b.send(t, path, `{"jsonrpc":"2.0","id":7,"method":"`+method+`","params":{`+modernMeta+params+`}}`, h...)
}

func TestModernCallLeavesIntentAndOutcome(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	resp, body := b.modern(t, "/mcp/demo", "tools/call", "count_words", `"name":"count_words","arguments":{"text":"one two three"}`)
	if resp.StatusCode != 200 || !strings.Contains(body, `"resultType":"complete"`) || !strings.Contains(body, "3") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	var kinds []string
	for _, e := range b.tape.events {
		if e.Method == "tools/call" {
			kinds = append(kinds, e.Kind+" "+e.Effect+" "+e.Server+" "+e.Target)
		}
	}
	if got := strings.Join(kinds, "; "); got != "intent allow demo count_words; outcome allow demo count_words" {
		t.Errorf("record: %s", got)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	ok := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`
	mod := []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: tools/list"}
	with := func(more ...string) []string { return append(append([]string(nil), mod...), more...) }
	tests := []struct {
		name, path, body string
		headers          []string
		status           int
		want             string
	}{
		{"no token", "/mcp/demo", ok, with("Authorization: "), 401, `-32600`},
		{"wrong token", "/mcp/demo", ok, with("Authorization: Bearer mjc_x.1.9999999999.AAAA"), 401, `not valid`},
		{"basic", "/mcp/demo", ok, with("Authorization: Basic eDp5"), 401, `Bearer`},
		{"token in query", "/mcp/demo?access_token=x", ok, mod, 400, `URL`},
		{"host", "/mcp/demo", ok, with("Host: evil.example"), 403, `Host`},
		{"origin", "/mcp/demo", ok, with("Origin: https://evil.example"), 403, `Origin`},
		{"null origin", "/mcp/demo", ok, with("Origin: null"), 403, `Origin`},
		{"content type", "/mcp/demo", ok, with("Content-Type: text/plain"), 415, `application/json`},
		{"no content type", "/mcp/demo", ok, with("Content-Type: "), 415, `application/json`},
		{"compressed", "/mcp/demo", ok, with("Content-Encoding: gzip"), 415, `compressed`},
		{"accept", "/mcp/demo", ok, with("Accept: text/html"), 406, `Accept`},
		{"unknown server", "/mcp/nope", ok, mod, 404, `endpoint`},
		{"batch", "/mcp/demo", "[" + ok + "]", mod, 400, `batches`},
		{"empty", "/mcp/demo", "", mod, 400, `-32700`},
		{"truncated", "/mcp/demo", ok[:40], mod, 400, `-32700`},
		{"duplicate", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}`, mod, 400, `-32700`},
		{"case-folded", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}`, mod, 400, `-32600`},
		{"case-folded param", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"x",` + modernMeta + `}}`, []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call"}, 400, `case`},
		{"surrogate", "/mcp/demo", `{"jsonrpc":"2.0","id":"\ud800","method":"tools/list"}`, mod, 400, `-32700`},
		{"null id", "/mcp/demo", `{"jsonrpc":"2.0","id":null,"method":"tools/list"}`, mod, 400, `-32600`},
		{"response", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"result":{}}`, mod, 400, `responses`},
		{"no meta", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, mod, 400, `-32602`},
		{"version", "/mcp/demo", strings.Replace(ok, "2026-07-28", "1900-01-01", 1), []string{"Mcp-Protocol-Version: 1900-01-01", "Mcp-Method: tools/list"}, 400, `-32022`},
		{"versions differ", "/mcp/demo", strings.Replace(ok, "2026-07-28", "2025-11-25", 1), mod, 400, `-32020`},
		{"no method header", "/mcp/demo", ok, mod[:1], 400, `-32020`},
		{"method header differs", "/mcp/demo", ok, []string{mod[0], "Mcp-Method: TOOLS/LIST"}, 400, `-32020`},
		{"unknown method", "/mcp/demo", strings.Replace(ok, "tools/list", "tools/eat", 1), []string{mod[0], "Mcp-Method: tools/eat"}, 404, `-32601`},
		{"initialize is not modern", "/mcp/demo", strings.Replace(ok, "tools/list", "initialize", 1), []string{mod[0], "Mcp-Method: initialize"}, 404, `-32601`},
		{"legacy without session", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, nil, 400, `initialize`},
		{"unknown session", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"Mcp-Session-Id: AAAA", "Mcp-Protocol-Version: 2025-11-25"}, 404, `session`},
		{"below the floor", "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"Mcp-Protocol-Version: 2025-03-26"}, 400, `-32022`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := b.send(t, tt.path, tt.body, tt.headers...)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.want) {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
			var e struct {
				Error struct{ Data struct{ ID string } }
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err)
			}
			recs := b.tape.of(e.Error.Data.ID)
			if len(recs) != 1 || recs[0].Effect != "deny" || recs[0].Kind != "outcome" {
				t.Errorf("the ID %q finds %+v", e.Error.Data.ID, recs)
			}
		})
	}
}

func TestUnlistedAndUnknownToolsLookAlike(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) { o.Authz = hiding{o.Authz, "count_words"} })
	_, hidden := b.modern(t, "/mcp/demo", "tools/call", "count_words", `"name":"count_words","arguments":{"text":"x"}`)
	_, never := b.modern(t, "/mcp/demo", "tools/call", "count_wordz", `"name":"count_wordz","arguments":{"text":"x"}`)
	if blank(t, hidden) != blank(t, never) || !strings.Contains(hidden, "-32602") {
		t.Errorf("\n%s\n%s", hidden, never)
	}
	_, list := b.modern(t, "/mcp/demo", "tools/list", "", "")
	if strings.Contains(list, "count_words") {
		t.Error("a tool that may not be called is listed")
	}
}

// hiding hides one tool by name.
type hiding struct {
	authz.Decider
	name string
}

func (h hiding) Lists(ctx context.Context, q authz.Query) bool {
	return q.Target.Name != h.name && h.Decider.Lists(ctx, q)
}

func (h hiding) Decide(ctx context.Context, q authz.Query) call.Decision {
	if q.Target.Name == h.name {
		return call.Decision{}
	}
	return h.Decider.Decide(ctx, q)
}

// blank removes the ID that differs in every refusal.
func blank(t *testing.T, body string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	if e, ok := m["error"].(map[string]any); ok {
		if d, ok := e["data"].(map[string]any); ok {
			d["id"] = "?"
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRefusedToolIsAResultTheModelCanRead(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	resp, body := b.modern(t, "/mcp/demo", "tools/call", demo.RefusedTool, `"name":"`+demo.RefusedTool+`","arguments":{}`)
	if resp.StatusCode != 200 || !strings.Contains(body, `"isError":true`) || !strings.Contains(body, gateway.MetaID) {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
}

func TestNothingIsServedWithoutARecord(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.tape.broken = true
	resp, body := b.modern(t, "/mcp/demo", "tools/list", "", "")
	if resp.StatusCode != 503 || strings.Contains(body, "count_words") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
}

func TestMultiRoundTrip(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	_, body := b.modern(t, "/mcp/demo", "tools/call", "ask_name", `"name":"ask_name","arguments":{}`)
	var r struct {
		Result struct {
			ResultType    string
			InputRequests map[string]json.RawMessage
			RequestState  string
		}
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Result.ResultType != "input_required" || r.Result.RequestState == "" {
		t.Fatalf("%v %s", err, body)
	}
	key := ""
	for k := range r.Result.InputRequests {
		key = k
	}
	retry := func(state, answer string) string {
		_, body := b.modern(t, "/mcp/demo", "tools/call", "ask_name", `"name":"ask_name","arguments":{},"requestState":"`+state+`","inputResponses":{"`+key+`":`+answer+`}`)
		return body
	}
	good := `{"action":"accept","content":{"name":"Alice"}}`
	if got := retry(r.Result.RequestState+"00", good); !strings.Contains(got, "-32602") {
		t.Errorf("altered state: %s", got)
	}
	if got := retry(r.Result.RequestState, `{"action":"accept","content":{"name":5}}`); !strings.Contains(got, "-32602") {
		t.Errorf("an answer that does not fit: %s", got)
	}
	if got := retry(r.Result.RequestState, good); !strings.Contains(got, "Alice") {
		t.Errorf("answer: %s", got)
	}
	if got := retry(r.Result.RequestState, good); !strings.Contains(got, "-32602") {
		t.Errorf("replayed state: %s", got)
	}
	// The arguments are part of what the state is bound to.
	_, body = b.modern(t, "/mcp/demo", "tools/call", "ask_name", `"name":"ask_name","arguments":{"x":1},"requestState":"`+r.Result.RequestState+`"`)
	if !strings.Contains(body, "-32602") {
		t.Errorf("state with other arguments: %s", body)
	}
}

func TestLegacySession(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	resp, body := b.send(t, "/mcp/demo", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	sid := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != 200 || len(sid) < 26 || !strings.Contains(body, `"protocolVersion":"2025-11-25"`) {
		t.Fatalf("%d %q %s", resp.StatusCode, sid, body)
	}
	h := []string{"Mcp-Session-Id: " + sid, "Mcp-Protocol-Version: 2025-11-25"}
	if resp, body := b.send(t, "/mcp/demo", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, h...); resp.StatusCode != 202 || body != "" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	_, body = b.send(t, "/mcp/demo", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"count_words","arguments":{"text":"a b"}}}`, h...)
	if !strings.Contains(body, "2") || strings.Contains(body, "resultType") {
		t.Errorf("call: %s", body)
	}
	if resp, _ := b.send(t, "/mcp", `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, h...); resp.StatusCode != 404 {
		t.Errorf("the session opens another path: %d", resp.StatusCode)
	}
	if resp, _ := b.send(t, "/mcp/demo", `{"jsonrpc":"2.0","id":9,"result":{}}`, h...); resp.StatusCode != 400 {
		t.Errorf("an answer nobody asked for: %d", resp.StatusCode)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, b.URL+"/mcp/demo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	req.Header.Set("Mcp-Session-Id", sid)
	del, err := b.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = del.Body.Close()
	if del.StatusCode != 204 {
		t.Errorf("delete: %d", del.StatusCode)
	}
	if resp, _ := b.send(t, "/mcp/demo", `{"jsonrpc":"2.0","id":3,"method":"ping"}`, h...); resp.StatusCode != 404 {
		t.Errorf("after delete: %d", resp.StatusCode)
	}
}

func TestMergedNames(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	_, list := b.modern(t, "/mcp", "tools/list", "", "")
	if !strings.Contains(list, `"name":"demo__count_words"`) {
		t.Errorf("list: %s", list)
	}
	_, body := b.modern(t, "/mcp", "tools/call", "demo__count_words", `"name":"demo__count_words","arguments":{"text":"a b c d"}`)
	if !strings.Contains(body, "4") {
		t.Errorf("call: %s", body)
	}
	if _, body := b.modern(t, "/mcp", "tools/call", "count_words", `"name":"count_words","arguments":{}`); !strings.Contains(body, "-32602") {
		t.Errorf("an unprefixed name: %s", body)
	}
}

func TestSecurityHeadersOnEveryResponse(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, path := range []string{"/", "/mcp", "/mcp/demo", "/mcp/demo/x", "/.well-known/anything"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			req, err := http.NewRequestWithContext(t.Context(), method, b.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := b.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
			for _, h := range []string{"X-Content-Type-Options", "Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Cache-Control"} {
				if resp.Header.Get(h) == "" {
					t.Errorf("%s %s: no %s", method, path, h)
				}
			}
		}
	}
}

// A tool that the caller may not see is not betrayed by its definition: by the
// headers that it wants, for instance.
func TestHiddenToolsAreNotBetrayed(t *testing.T) {
	t.Parallel()
	const tool = "test_x_mcp_header"
	seen := func(hidden string) string {
		g := startGranting(t, server.Modern, func(o *gateway.Options) {
			o.Authz = hiding{authz.Owner{On: true, Asks: anything}, hidden}
		})
		c := g.as(caller{path: "/mcp/free"})
		s, _ := g.ask(c, "tools/call", tool, `"arguments":{"region":"x"}`)
		u, _ := g.ask(c, "tools/call", "nothing_of_this_name", `"arguments":{"region":"x"}`)
		same := s.status == u.status && s.Error.Code == u.Error.Code && s.Error.Message == u.Error.Message
		return fmt.Sprintf("%d same as unknown: %t", s.Error.Code, same)
	}
	if got := seen(tool); got != "-32602 same as unknown: true" {
		t.Errorf("hidden: %s", got)
	}
	if got := seen("another"); got != "-32020 same as unknown: false" {
		t.Errorf("shown, which proves the test: %s", got)
	}
}

// anything lets every server ask for everything.
func anything(string, string) bool { return true }
