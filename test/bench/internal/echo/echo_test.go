package echo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// TestOfficialClient lets the official SDK's client list and call, in each
// era, over HTTP and over lines: it would refuse what the protocol forbids.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	for _, version := range []string{wire.Modern, wire.Legacy, "2025-06-18"} {
		for _, transport := range []string{"http", "stdio"} {
			t.Run(version+"/"+transport, func(t *testing.T) {
				t.Parallel()
				s := New(1001)
				var how mcp.Transport
				if transport == "http" {
					srv := httptest.NewServer(s.Handler())
					t.Cleanup(srv.Close)
					how = &mcp.StreamableClientTransport{Endpoint: srv.URL + "/mcp"}
				} else {
					inR, inW := io.Pipe()
					outR, outW := io.Pipe()
					go func() {
						outW.CloseWithError(s.ServeLines(inR, outW))
					}()
					how = &mcp.IOTransport{Reader: outR, Writer: inW}
				}
				client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
				session, err := client.Connect(t.Context(), how, &mcp.ClientSessionOptions{ProtocolVersion: version})
				if err != nil {
					t.Fatal(err)
				}
				if got := session.InitializeResult().ProtocolVersion; got != version {
					t.Errorf("speaks %s", got)
				}
				var names []string
				for tool, err := range session.Tools(t.Context(), nil) {
					if err != nil {
						t.Fatal(err)
					}
					names = append(names, tool.Name)
				}
				if len(names) != 1001 || names[0] != "echo" || names[1000] != "echo-1001" {
					t.Errorf("%d tools, %q", len(names), names[:min(3, len(names))])
				}
				args := map[string]any{"nonce": "1", "text": "a \"quoted\" line\nand 한국어"}
				for _, name := range []string{"echo", "echo-1001"} {
					res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: args})
					if err != nil {
						t.Fatal(err)
					}
					var got map[string]any
					if err := json.Unmarshal([]byte(res.Content[0].(*mcp.TextContent).Text), &got); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(args, got); diff != "" {
						t.Error(diff)
					}
				}
				if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo-1002", Arguments: args}); err == nil {
					t.Error("a tool that does not exist was called")
				}
				if err := session.Close(); err != nil {
					t.Error(err)
				}
				if n := s.Sessions(); n != 0 {
					t.Errorf("%d sessions are left after the client closed", n)
				}
			})
		}
	}
}

func modernBody(method, params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + wire.Meta + `}}`
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	s := New(1)
	session := s.openSession()
	call := modernBody("tools/call", `"name":"echo","arguments":{"a":1},`)
	legacyCall := `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo","arguments":{"a":[1,"b"]}}}`
	head := func(pairs ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = pairs[i+1]
		}
		return h
	}
	modern := func(method, name string) map[string]string {
		return head("Mcp-Protocol-Version", wire.Modern, "Mcp-Method", method, "Mcp-Name", name)
	}
	tests := map[string]struct {
		method  string
		headers map[string]string
		body    string
		status  int
		want    string // the exact body, or a part of it after "…"
	}{
		"modern call":                 {"", modern("tools/call", "echo"), call, 200, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"{\"a\":1}"}]}}`},
		"legacy call":                 {"", head("Mcp-Session-Id", session), legacyCall, 200, `{"jsonrpc":"2.0","id":"x","result":{"content":[{"type":"text","text":"{\"a\":[1,\"b\"]}"}]}}`},
		"discover":                    {"", modern("server/discover", ""), modernBody("server/discover", ""), 200, `…"supportedVersions":["2026-07-28","2025-11-25"]`},
		"ping":                        {"", head("Mcp-Session-Id", session), `{"jsonrpc":"2.0","id":2,"method":"ping"}`, 200, `{"jsonrpc":"2.0","id":2,"result":{}}`},
		"notification":                {"", head("Mcp-Session-Id", session), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202, ``},
		"no session":                  {"", nil, legacyCall, 400, `…Mcp-Session-Id is missing`},
		"unknown session":             {"", head("Mcp-Session-Id", "guessed"), legacyCall, 404, `…Session not found`},
		"header says another version": {"", head("Mcp-Protocol-Version", wire.Legacy, "Mcp-Method", "tools/call", "Mcp-Name", "echo"), call, 400, `…-32020`},
		"header without meta":         {"", modern("tools/call", "echo"), legacyCall, 400, `…-32020`},
		"header says another method":  {"", modern("tools/list", "echo"), call, 400, `…-32020`},
		"header says another name":    {"", modern("tools/call", "echo-2"), call, 400, `…-32020`},
		"no mirrored headers":         {"", head("Mcp-Protocol-Version", wire.Modern), call, 400, `…-32020`},
		"version of the future": {"", head("Mcp-Protocol-Version", "2099-01-01"), strings.ReplaceAll(call, wire.Modern, "2099-01-01"), 400,
			`…"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25"],"requested":"2099-01-01"}}}`},
		"unknown modern method": {"", modern("a/b", ""), modernBody("a/b", ""), 404, `…-32601`},
		"unknown legacy method": {"", head("Mcp-Session-Id", session), `{"jsonrpc":"2.0","id":2,"method":"server/discover"}`, 200, `…-32601`},
		"unknown tool":          {"", modern("tools/call", "echo-2"), strings.Replace(call, `"echo"`, `"echo-2"`, 1), 400, `…-32602`},
		"first tool by number":  {"", head("Mcp-Session-Id", session), strings.Replace(legacyCall, `"echo"`, `"echo-1"`, 1), 200, `…-32602`},
		"unknown cursor":        {"", modern("tools/list", ""), modernBody("tools/list", `"cursor":"9",`), 400, `…-32602`},
		"no JSON":               {"", nil, `{"a`, 400, `…-32700`},
		"batch":                 {"", nil, `[` + legacyCall + `]`, 400, `…-32700`},
		"empty":                 {"", nil, ``, 400, `…-32700`},
		"a response":            {"", nil, `{"jsonrpc":"2.0","id":1,"result":{}}`, 400, `…-32600`},
		"GET":                   {"GET", nil, ``, 405, ``},
		"DELETE of another's":   {"DELETE", head("Mcp-Session-Id", "guessed"), ``, 404, ``},
	}
	for name, tc := range tests {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%v", name, chunked), func(t *testing.T) {
				t.Parallel()
				method := tc.method
				if method == "" {
					method = "POST"
				}
				req := httptest.NewRequest(method, "/mcp", strings.NewReader(tc.body))
				if chunked {
					req.ContentLength = -1
				}
				for name, value := range tc.headers {
					req.Header.Set(name, value)
				}
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, req)
				got := w.Body.String()
				part, isPart := strings.CutPrefix(tc.want, "…")
				if w.Code != tc.status || (isPart && !strings.Contains(got, part)) || (!isPart && got != tc.want) {
					t.Errorf("%d %s, want %d %s", w.Code, got, tc.status, tc.want)
				}
				if got != "" && !json.Valid(w.Body.Bytes()) {
					t.Errorf("not JSON: %s", got)
				}
			})
		}
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := New(1)
	do := func(method, session, body string) *http.Response {
		req := httptest.NewRequest(method, "/", strings.NewReader(body))
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		return w.Result()
	}
	initialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":` + wire.InitializeParams + `}`
	first, second := do("POST", "", initialize).Header.Get("Mcp-Session-Id"), do("POST", "", initialize).Header.Get("Mcp-Session-Id")
	if first == "" || first == second || s.Sessions() != 2 {
		t.Fatalf("sessions %q and %q, %d in all", first, second, s.Sessions())
	}
	if got := do("DELETE", first, "").StatusCode; got != http.StatusNoContent {
		t.Errorf("DELETE: %d", got)
	}
	ping := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	if a, b := do("POST", first, ping).StatusCode, do("POST", second, ping).StatusCode; a != 404 || b != 200 {
		t.Errorf("after the first session's end: %d and %d", a, b)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	big := `{"nonce":"1","text":"` + strings.Repeat("x", 300_000) + `"}`
	bigCall := func(id int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":%s}}`, id, big)
	}
	in := strings.Join([]string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":` + wire.InitializeParams + `}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		``,
		bigCall(2),
		bigCall(3),
		`{"jsonrpc":"2.0","id":4,"method":"ping"}` + "\r",
		`nonsense`,
		strings.ReplaceAll(modernBody("tools/list", ""), wire.Modern, "2099-01-01"),
		`{"jsonrpc":"2.0","id":5,"result":{}}`,
		`{"jsonrpc":"2.0","id":6,"method":"ping"}`,
	}, "\n") + "\ncut off"
	var out bytes.Buffer
	if err := New(1).ServeLines(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var msg struct {
			ID     any
			Result struct{ Content []struct{ Text string } }
			Error  struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &msg); err != nil {
			t.Fatal(err)
		}
		text := ""
		if len(msg.Result.Content) > 0 {
			text = fmt.Sprint(msg.Result.Content[0].Text == big)
		}
		got = append(got, fmt.Sprint(msg.ID, " ", msg.Error.Code, " ", text))
	}
	want := []string{"1 0 ", "2 0 true", "3 0 true", "4 0 ", "<nil> -32700 ", "1 -32022 ", "6 0 "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := New(1).ServeLines(io.MultiReader(strings.NewReader("{"), io.LimitReader(neverEnds{}, MaxBody+1<<20)), io.Discard); err == nil {
		t.Error("a line without end was read to its end")
	}
}

type neverEnds struct{}

func (neverEnds) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// FuzzLine holds that no input panics and every answer is one line of JSON.
func FuzzLine(f *testing.F) {
	f.Add([]byte(modernBody("tools/call", `"name":"echo","arguments":{"a":1},`)))
	f.Add([]byte(`{"id":1,"method":"tools/list","params":{"cursor":"-1"}}`))
	f.Add([]byte(`{"id":{"a":[1,2]},"method":"ping","params":{}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.ContainsAny(in, "\r\n") {
			return
		}
		out := New(1).line(nil, in)
		if len(out) == 0 {
			return
		}
		if bytes.Count(out, []byte("\n")) != 1 || out[len(out)-1] != '\n' {
			t.Fatalf("%q is not one line", out)
		}
		if json.Valid(in) && !json.Valid(out) {
			t.Fatalf("%q is answered by %q, which is not JSON", in, out)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c, err := wire.LineCall(true, "echo", size)
			if err != nil {
				b.Fatal(err)
			}
			s := New(1)
			var out []byte
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				out = s.line(out[:0], c.Bytes())
			}
		})
	}
}
