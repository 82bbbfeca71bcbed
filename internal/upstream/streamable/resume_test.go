package streamable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	noteA = `{"jsonrpc":"2.0","method":"notifications/a"}`
	noteB = `{"jsonrpc":"2.0","method":"notifications/b"}`
)

// primed is the start of a stream that can be resumed at once.
func primed(id string) string {
	return okStream + chunk("id: "+id+"\nretry: 10\ndata:\n\n")
}

// TestResume plays a server that closes the stream of a call early. answers
// are what it says to each GET, in which ID stands for the call's ID; an empty
// one closes the connection.
func TestResume(t *testing.T) {
	t.Parallel()
	found := okStream + event(result("ID", `"resumed":true`)) + lastOne
	tests := []struct {
		name    string
		first   string
		answers []string
		want    error // nil: the answer arrives
		bound   []string
		lastIDs []string
	}{
		{"graceful close", primed("a_0") + lastOne, []string{found}, nil, nil, []string{"a_0"}},
		{"connection lost", primed("a_0"), []string{found}, nil, nil, []string{"a_0"}},
		{"cut off in an event", primed("a_0") + chunk("id: a_1\ndata: {"), []string{found}, nil, nil, []string{"a_0"}},
		{"messages on both", primed("a_0") + chunk("id: a_1\ndata: "+noteA+"\n\n") + lastOne, []string{okStream + event(noteB) + event(result("ID", "")) + lastOne},
			nil, []string{"notifications/a", "notifications/b"}, []string{"a_1"}},
		{"polled more than once", primed("a_0") + lastOne, []string{primed("a_1") + lastOne, primed("a_2") + lastOne, found}, nil, nil, []string{"a_0", "a_1", "a_2"}},
		{"server busy for a moment", primed("a_0") + lastOne, []string{"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "", found}, nil, nil, []string{"a_0", "a_0", "a_0"}},
		{"no progress for ever", primed("a_0") + lastOne, []string{okStream + lastOne, okStream + lastOne, okStream + lastOne, okStream + lastOne}, upstream.ErrCutOff, nil, []string{"a_0", "a_0", "a_0"}},
		{"not resumable", primed("a_0") + lastOne, []string{"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"}, upstream.ErrCutOff, nil, []string{"a_0"}},
		{"session gone", primed("a_0") + lastOne, []string{"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"}, upstream.ErrSessionGone, nil, []string{"a_0"}},
		{"retry without an ID", okStream + chunk("retry: 10\ndata:\n\n") + lastOne, nil, upstream.ErrCutOff, nil, nil},
		{"an ID taken back", primed("a_0") + chunk("id:\ndata:\n\n") + lastOne, nil, upstream.ErrCutOff, nil, nil},
		{"an answer to another request", primed("a_0") + lastOne, []string{okStream + event(result("99", "")) + lastOne}, upstream.ErrViolation, nil, []string{"a_0"}},
		{"JSON instead of a stream", primed("a_0") + lastOne, []string{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"}, upstream.ErrCutOff, nil, []string{"a_0"}},
		{"another protocol", primed("a_0") + lastOne, []string{"hello\r\n\r\n"}, upstream.ErrViolation, nil, []string{"a_0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			id, gets := "", 0
			s := serveRaw(t, func(n int, r seen, c net.Conn) bool {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case strings.Contains(r.body, `"initialize"`):
					return reply(c, okJSON+"\r\nMcp-Session-Id: s-1", result(r.id, ""))
				case r.Method == "POST" && r.id == "":
					return good(r, c)
				case r.Method == "POST":
					id = r.id
					_, _ = c.Write([]byte(tt.first))
					return strings.HasSuffix(tt.first, lastOne)
				case r.Method == "GET" && gets < len(tt.answers):
					raw := tt.answers[gets]
					gets++
					return raw != "" && play(raw, seen{id: id}, c)
				}
				return false
			})
			c := connect(t, s.url, mcp.Legacy, func(c *Config) { c.Limits.Resumes = 3 })
			c.initialize(t)
			m, err := c.Exchange(t.Context(), upstream.Outgoing{Method: "tools/call", Version: mcp.V20251125}, func(m mcp.Message) { c.bound = append(c.bound, m.Method) })
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && m.ID.Raw() != id {
				t.Errorf("the answer has ID %s, want %s", m.ID.Raw(), id)
			}
			if diff := cmp.Diff(tt.bound, c.bound); diff != "" {
				t.Error(diff)
			}
			var lastIDs []string
			posts := 0
			for _, r := range s.requests() {
				switch {
				case r.Method == "GET":
					lastIDs = append(lastIDs, r.Header.Get("Last-Event-Id"))
					if r.Header.Get("Mcp-Session-Id") != "s-1" || r.Header.Get("Accept") != "text/event-stream" || r.Header.Get("Mcp-Protocol-Version") != "2025-11-25" {
						t.Errorf("GET with %v", r.Header)
					}
				case strings.Contains(r.body, "tools/call"):
					posts++
				}
			}
			if posts != 1 {
				t.Errorf("the call was sent %d times", posts)
			}
			if diff := cmp.Diff(tt.lastIDs, lastIDs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A modern stream cannot be resumed, whatever IDs it has.
func TestNoResumeInTheModernEra(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		_, err := c.Write([]byte(primed("a_0") + lastOne))
		return err == nil
	})
	c := connect(t, s.url, mcp.Modern)
	if _, err := c.call(t.Context(), "tools/call"); !errors.Is(err, upstream.ErrCutOff) {
		t.Errorf("got %v", err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestResumeEndsWithTheContext(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		_, err := c.Write([]byte(okStream + chunk("id: 1\nretry: 30000\ndata: "+noteA+"\n\n") + lastOne))
		return err == nil
	})
	c := connect(t, s.url, mcp.Legacy)
	ctx, cancel := context.WithCancel(t.Context())
	// The wait begins after this message at the latest.
	_, err := c.Exchange(ctx, upstream.Outgoing{Method: "tools/call"}, func(mcp.Message) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	got := make(chan error, 1)
	heard := make(chan struct{}, 1)
	go func() {
		_, err := c.Exchange(ctx, upstream.Outgoing{Method: "tools/call"}, func(mcp.Message) { heard <- struct{}{} })
		got <- err
	}()
	<-heard
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, upstream.ErrDown) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(n int, r seen, c net.Conn) bool {
		if r.Method != "GET" {
			return good(r, c)
		}
		switch n {
		case 1:
			return play(okStream+chunk("id: g_1\nretry: 10\ndata: "+noteA+"\n\n")+lastOne, r, c)
		case 2:
			return play(okStream+event(noteB)+lastOne, r, c)
		}
		_, err := c.Write([]byte(okStream + event(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q","method":"ping%d"}`, n))))
		return err == nil
	})
	c := connect(t, s.url, mcp.Legacy)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Listen(ctx) }()
	for want := 0; want < 3; {
		c.mu.Lock()
		want = len(c.unbound)
		c.mu.Unlock()
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"notifications/a", "notifications/b", "ping3"}, c.unbound); diff != "" {
		t.Error(diff)
	}
	var ids []string
	for _, r := range s.requests() {
		ids = append(ids, r.Header.Get("Last-Event-Id"))
	}
	if diff := cmp.Diff([]string{"", "g_1", "g_1"}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestListenRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, raw string
		want      error
	}{
		{"a response", okStream + event(result("1", "")) + lastOne, upstream.ErrViolation},
		{"an error", okStream + event(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`) + lastOne, upstream.ErrViolation},
		{"no stream", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", upstream.ErrViolation},
		{"no message", okStream + event("x") + lastOne, upstream.ErrViolation},
		{"too large", okStream + event(strings.Repeat("x", 5<<20)) + lastOne, upstream.ErrTooLarge},
		{"nothing comes", okStream + chunk("retry: 10\n\n") + lastOne, nil},
	}
	for _, tt := range tests {
		s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return play(tt.raw, seen{id: "1"}, c) })
		c := connect(t, s.url, mcp.Legacy, func(c *Config) { c.Limits.Resumes = 1 })
		if err := c.Listen(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if len(c.unbound) > 0 {
			t.Errorf("%s: handed on %v", tt.name, c.unbound)
		}
	}
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return reply(c, "405 No", "") })
	c := connect(t, s.url, mcp.Legacy)
	if status, ok := errors.AsType[*upstream.StatusError](c.Listen(t.Context())); !ok || status.Status != 405 {
		t.Errorf("a server without a stream: %v", status)
	}
	if err := connect(t, s.url, mcp.Modern).Listen(t.Context()); !errors.Is(err, upstream.ErrNotExpressible) {
		t.Errorf("modern: %v", err)
	}
}
