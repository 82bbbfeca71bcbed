package streamable

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// What is sent is built here, to the byte.
func TestRequestBytes(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	wire := make(chan string, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					b, _ := httputil.DumpRequest(r, true)
					wire <- string(b)
					reply(c, okJSON+"\r\nMcp-Session-Id: s-1", result("1", ""))
				}
			}()
		}
	}()
	host := ln.Addr().String()
	secret := func(c *Config) {
		c.Credential = source{give: func(call.Subject) (http.Header, error) {
			return http.Header{"Authorization": {"Bearer abc"}}, nil
		}}
	}
	// DumpRequest sorts the headers but for Host.
	const common = "Accept-Encoding: identity\r\n"
	post := "POST /mcp?a=b HTTP/1.1\r\nHost: " + host + "\r\nAccept: application/json, text/event-stream\r\n" + common
	modern := connect(t, "http://"+host+"/mcp?a=b", mcp.Modern, secret)
	m := upstream.Outgoing{Method: "tools/call", Params: []byte(`{"name":"é"}`), Version: mcp.V20260728, Name: "é",
		Headers: []upstream.Header{{Name: "Mcp-Param-Region", Value: "eu"}}}
	if _, err := modern.Exchange(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	want := post + "Authorization: Bearer abc\r\nContent-Length: 73\r\nContent-Type: application/json\r\nMcp-Method: tools/call\r\nMcp-Name: =?base64?w6k=?=\r\nMcp-Param-Region: eu\r\nMcp-Protocol-Version: 2026-07-28\r\nUser-Agent: munjigi\r\n\r\n" +
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é"}}`
	want = strings.Replace(want, "Length: 73", "Length: "+strconv.Itoa(len(want)-strings.Index(want, "\r\n\r\n")-4), 1)
	if diff := cmp.Diff(want, <-wire); diff != "" {
		t.Error(diff)
	}

	legacy := connect(t, "http://"+host+"/mcp?a=b", mcp.Legacy)
	if _, err := legacy.Exchange(t.Context(), upstream.Outgoing{Method: "initialize"}, nil); err != nil {
		t.Fatal(err)
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"initialize"}`
	want = post + "Content-Length: " + strconv.Itoa(len(body)) + "\r\nContent-Type: application/json\r\nUser-Agent: munjigi\r\n\r\n" + body
	if diff := cmp.Diff(want, <-wire); diff != "" {
		t.Error(diff)
	}
	if err := legacy.Send(t.Context(), upstream.Outgoing{Answer: mcp.StringID("x"), Result: []byte(`{}`), Version: mcp.V20251125, Name: "never", Headers: []upstream.Header{{Name: "X", Value: "never"}}}); err != nil {
		t.Fatal(err)
	}
	body = `{"jsonrpc":"2.0","id":"x","result":{}}`
	want = post + "Content-Length: " + strconv.Itoa(len(body)) + "\r\nContent-Type: application/json\r\nMcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: s-1\r\nUser-Agent: munjigi\r\n\r\n" + body
	if diff := cmp.Diff(want, <-wire); diff != "" {
		t.Error(diff)
	}
	if err := legacy.Close(); err != nil {
		t.Fatal(err)
	}
	want = "DELETE /mcp?a=b HTTP/1.1\r\nHost: " + host + "\r\nAccept: application/json\r\n" + common + "Mcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: s-1\r\nUser-Agent: munjigi\r\n\r\n"
	if diff := cmp.Diff(want, <-wire); diff != "" {
		t.Error(diff)
	}
}

func TestHeadersThatCannotBe(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return good(r, c) })
	c := connect(t, s.url, mcp.Modern)
	bad := []upstream.Outgoing{
		{Method: "tools/call\r\nX: y"},
		{Method: "tools/call", Version: "2026\r\nX: y"},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "Mcp-Param-A\r\nX", Value: "y"}}},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "Mcp-Param-A", Value: "y\r\nX: z"}}},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "Mcp-Param-A", Value: "é"}}},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "Mcp-Param-", Value: "y"}}},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "Authorization", Value: "y"}}},
		{Method: "tools/call", Headers: []upstream.Header{{Name: "", Value: "y"}}},
		{Method: ""},
		{Method: "notifications/x"},
	}
	for _, m := range bad {
		if _, err := c.Exchange(t.Context(), m, nil); err == nil {
			t.Errorf("%+v was sent", m)
		}
	}
	for name, value := range map[string]string{"Host": "evil", "Content-Length": "0", "Transfer-Encoding": "chunked", "Mcp-Session-Id": "x",
		"Connection": "close", "X": "a\r\nY: b", "a b": "c", "mcp-method": "x"} {
		c := connect(t, s.url, mcp.Modern, func(c *Config) {
			c.Credential = source{give: func(call.Subject) (http.Header, error) { return http.Header{name: {value}}, nil }}
		})
		if _, err := c.call(t.Context(), "ping"); err == nil {
			t.Errorf("a credential set %s", name)
		}
	}
	refused := errors.New("no token")
	c = connect(t, s.url, mcp.Modern, func(c *Config) {
		c.Credential = source{give: func(call.Subject) (http.Header, error) { return nil, refused }}
	})
	if _, err := c.call(t.Context(), "ping"); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// A head that is longer than the room before its message still arrives whole.
func TestLongHead(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return good(r, c) })
	c := connect(t, s.url, mcp.Modern)
	var h []upstream.Header
	for i := range 20 {
		h = append(h, upstream.Header{Name: "Mcp-Param-" + strconv.Itoa(i), Value: strings.Repeat("v", 200)})
	}
	for _, n := range []int{1, 20, 1} {
		if _, err := c.Exchange(t.Context(), upstream.Outgoing{Method: "tools/call", Params: []byte(`{"a":1}`), Headers: h[:n]}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range s.requests() {
		if want := `{"jsonrpc":"2.0","id":` + r.id + `,"method":"tools/call","params":{"a":1}}`; r.body != want {
			t.Errorf("request %d: %s", i, r.body)
		}
	}
}

func TestExchangeShapes(t *testing.T) {
	t.Parallel()
	note := func(n string) string {
		return `{"jsonrpc":"2.0","method":"notifications/progress","params":{"n":` + n + `}}`
	}
	ask := `{"jsonrpc":"2.0","id":"s1","method":"roots/list"}`
	fault := `{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no"}}`
	tests := []struct {
		name  string
		era   mcp.Era
		raw   string
		kind  mcp.Kind
		want  string // result or error
		bound []string
	}{
		{"json", mcp.Modern, "JSON" + result("ID", `"a":1`), mcp.Result, `{"a":1}`, nil},
		{"json error", mcp.Modern, "JSON" + fault, mcp.ErrorReply, `{"code":-32602,"message":"no"}`, nil},
		{"json chunked", mcp.Legacy, strings.Replace(okStream, "text/event-stream", "application/json", 1) + chunk(`{"jsonrpc":"2.0",`) + chunk(`"id":ID,"result":{}}`) + lastOne, mcp.Result, `{}`, nil},
		{"json until the end", mcp.Legacy, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + result("ID", "") + "CLOSE", mcp.Result, `{}`, nil},
		{"stream", mcp.Modern, okStream + event(note("1")) + chunk(": hi\n\n") + event(note("2")) + event(result("ID", "")) + lastOne, mcp.Result, `{}`,
			[]string{`notifications/progress{"n":1}`, `notifications/progress{"n":2}`}},
		{"stream error", mcp.Modern, okStream + event(fault) + lastOne, mcp.ErrorReply, `{"code":-32602,"message":"no"}`, nil},
		{"an error about nothing", mcp.Legacy, okStream + event(strings.Replace(fault, "ID", "null", 1)) + lastOne, mcp.ErrorReply, `{"code":-32602,"message":"no"}`, nil},
		{"a request in a legacy stream", mcp.Legacy, okStream + event(ask) + event(result("ID", "")) + lastOne, mcp.Result, `{}`, []string{"roots/list"}},
		{"a stream that goes on", mcp.Legacy, okStream + event(result("ID", "")), mcp.Result, `{}`, nil},
		{"an event in pieces", mcp.Legacy, okStream + chunk("da") + chunk("ta: ") + chunk(result("ID", "")) + chunk("\n") + chunk("\n") + lastOne, mcp.Result, `{}`, nil},
		{"HTTP error with a message", mcp.Modern, "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: LEN\r\n\r\n" + fault, mcp.ErrorReply, `{"code":-32602,"message":"no"}`, nil},
		{"HTTP error about nothing", mcp.Legacy, "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + strings.Replace(fault, "ID", "null", 1) + "CLOSE", mcp.ErrorReply, `{"code":-32602,"message":"no"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return play(tt.raw, r, c) })
			c := connect(t, s.url, tt.era)
			for range 3 {
				c.bound = nil
				m, err := c.call(t.Context(), "tools/call")
				if err != nil {
					t.Fatal(err)
				}
				if m.Kind != tt.kind || string(m.Result)+string(m.Error) != tt.want {
					t.Errorf("got %d %s%s", m.Kind, m.Result, m.Error)
				}
				if diff := cmp.Diff(tt.bound, c.bound); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// play writes an answer in which ID stands for the ID, JSON for a whole head
// and LEN for the length of what follows the head. CLOSE ends the connection.
func play(raw string, r seen, c net.Conn) bool {
	id := r.id
	if raw, ok := strings.CutPrefix(raw, "JSON"); ok {
		return reply(c, okJSON, strings.ReplaceAll(raw, "ID", id))
	}
	raw, end := strings.CutSuffix(raw, "CLOSE")
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	if strings.Contains(head, "chunked") {
		// The chunks were made for a text of the same length as "ID".
		for len(id) < len("ID") {
			id = " " + id
		}
	}
	body = strings.ReplaceAll(body, "ID", id)
	head = strings.Replace(head, "LEN", strconv.Itoa(len(body)), 1)
	_, err := c.Write([]byte(head + "\r\n\r\n" + body))
	return err == nil && !end
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		_, text, _ := strings.Cut(r.body, `"text":"`)
		text, _, _ = strings.Cut(text, `"`)
		if len(text)%2 == 0 {
			return reply(c, okJSON, result(r.id, `"text":"`+text+`"`))
		}
		_, err := c.Write([]byte(okStream + event(result(r.id, `"text":"`+text+`"`)) + lastOne))
		return err == nil
	})
	c := connect(t, s.url, mcp.Modern)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 10 {
				text := strings.Repeat(string(rune('a'+i%26)), 1+i*97*(j%3))
				m, err := c.Exchange(t.Context(), upstream.Outgoing{Method: "tools/call", Params: []byte(`{"text":"` + text + `"}`)}, nil)
				if err != nil || string(m.Result) != `{"text":"`+text+`"}` {
					t.Errorf("call %d.%d: %v, %d bytes", i, j, err, len(m.Result))
				}
			}
		})
	}
	wg.Wait()
}

func TestSession(t *testing.T) {
	t.Parallel()
	gone := false
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		switch {
		case strings.Contains(r.body, `"initialize"`):
			return reply(c, okJSON+"\r\nMcp-Session-Id: s-1", result(r.id, ""))
		case gone:
			return reply(c, "404 Not Found\r\nContent-Type: application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)
		}
		// A session of another name in a later answer changes nothing.
		return r.id != "" && reply(c, okJSON+"\r\nMcp-Session-Id: other", result(r.id, "")) || good(r, c)
	})
	c := connect(t, s.url, mcp.Legacy)
	c.initialize(t)
	for range 2 {
		if _, err := c.Exchange(t.Context(), upstream.Outgoing{Method: "ping", Version: mcp.V20251125}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range s.requests() {
		want, version := "s-1", "2025-11-25"
		if i == 0 {
			want, version = "", ""
		}
		if got := r.Header.Get("Mcp-Session-Id"); got != want {
			t.Errorf("request %d has session %q", i, got)
		}
		if got := r.Header.Get("Mcp-Protocol-Version"); got != version {
			t.Errorf("request %d has version %q", i, got)
		}
		if r.Header.Get("Mcp-Method") != "" {
			t.Errorf("request %d has a modern header", i)
		}
	}
	s.mu.Lock()
	gone = true
	s.mu.Unlock()
	for range 2 {
		if _, err := c.call(t.Context(), "ping"); !errors.Is(err, upstream.ErrSessionGone) {
			t.Errorf("got %v", err)
		}
		if err := c.Send(t.Context(), upstream.Outgoing{Method: "notifications/x"}); !errors.Is(err, upstream.ErrSessionGone) {
			t.Errorf("got %v", err)
		}
		if err := c.Listen(t.Context()); !errors.Is(err, upstream.ErrSessionGone) {
			t.Errorf("got %v", err)
		}
	}
	if len(c.downs) != 1 || !errors.Is(c.downs[0], upstream.ErrSessionGone) {
		t.Errorf("Down(%v)", c.downs)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	reqs := s.requests()
	if last := reqs[len(reqs)-1]; last.Method != "DELETE" || last.Header.Get("Mcp-Session-Id") != "s-1" {
		t.Errorf("the last request is %s", last.Method)
	}
	if _, err := c.call(t.Context(), "ping"); !errors.Is(err, upstream.ErrDown) {
		t.Errorf("after Close: %v", err)
	}
	if n := len(s.requests()); n != len(reqs) {
		t.Errorf("%d requests after Close", n-len(reqs))
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	elsewhere := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return good(r, c) })
	tests := []struct {
		head, body string
		want       upstream.StatusError
	}{
		{"401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata=\"https://x\"\r\nContent-Type: application/json", `{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"x"}}`,
			upstream.StatusError{Status: 401, WWWAuthenticate: []string{`Bearer resource_metadata="https://x"`}}},
		{"403 Forbidden\r\nWWW-Authenticate: Bearer error=\"insufficient_scope\"\r\nContent-Type: application/json", `{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"x"}}`,
			upstream.StatusError{Status: 403, WWWAuthenticate: []string{`Bearer error="insufficient_scope"`}}},
		{"405 No\r\nContent-Type: text/plain", "no", upstream.StatusError{Status: 405}},
		{"404 No\r\nContent-Type: text/html", strings.Repeat("x", 100_000), upstream.StatusError{Status: 404}},
		{"500 Oops", "", upstream.StatusError{Status: 500}},
		{"502 Bad\r\nContent-Type: application/json", `{"error":"bad gateway"}`, upstream.StatusError{Status: 502}},
		{"400 Bad\r\nContent-Type: application/json", `not json`, upstream.StatusError{Status: 400}},
		{"400 Bad\r\nContent-Type: application/json", `{"jsonrpc":"2.0","id":ID,"result":{}}`, upstream.StatusError{Status: 400}},
		{"301 Moved\r\nLocation: " + elsewhere.url, "", upstream.StatusError{Status: 301}},
		{"307 Moved\r\nLocation: " + elsewhere.url, "", upstream.StatusError{Status: 307}},
		{"308 Moved\r\nLocation: " + elsewhere.url + "\r\nContent-Type: application/json", `{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"x"}}`, upstream.StatusError{Status: 308}},
	}
	for _, tt := range tests {
		s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
			return reply(c, tt.head, strings.ReplaceAll(tt.body, "ID", r.id))
		})
		for _, era := range []mcp.Era{mcp.Modern, mcp.Legacy} {
			c := connect(t, s.url, era)
			_, err := c.call(t.Context(), "tools/call")
			got, ok := errors.AsType[*upstream.StatusError](err)
			if !ok {
				t.Errorf("%.20s: %v", tt.head, err)
				continue
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("%.20s: %s", tt.head, diff)
			}
			if err := c.Send(t.Context(), upstream.Outgoing{Method: "notifications/x"}); !errors.As(err, &got) {
				t.Errorf("%.20s: Send: %v", tt.head, err)
			}
		}
	}
	if n := len(elsewhere.requests()); n != 0 {
		t.Errorf("%d requests followed a redirect", n)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no limits":  {URL: "https://example.com/"},
		"no URL":     {Limits: DefaultLimits()},
		"plain http": {URL: "http://example.com/", Limits: DefaultLimits()},
		"a password": {URL: "https://u:p@example.com/", Limits: DefaultLimits()},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	d, err := New(Config{URL: "https://example.com/", Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context(), upstream.DialOptions{}); err == nil {
		t.Error("no era was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, upstream.DialOptions{Era: mcp.Modern}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
