package streamable

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Each hostile answer costs its own exchange and nothing else.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	note := `{"jsonrpc":"2.0","method":"notifications/x"}`
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	z.Close()
	tests := []struct {
		name string
		era  mcp.Era // zero: both
		raw  string
		want error
	}{
		{"another ID", 0, "JSON" + result("999", ""), upstream.ErrViolation},
		{"the ID as a string", 0, "JSON" + result(`"ID"`, ""), upstream.ErrViolation},
		{"no ID", 0, `JSON{"jsonrpc":"2.0","result":{}}`, upstream.ErrViolation},
		{"a null ID in a result", 0, "JSON" + result("null", ""), upstream.ErrViolation},
		{"another ID in an error", 0, `JSON{"jsonrpc":"2.0","id":999,"error":{"code":1,"message":"x"}}`, upstream.ErrViolation},
		{"a batch", 0, "JSON[" + result("ID", "") + "]", upstream.ErrViolation},
		{"two values", 0, "JSON" + result("ID", "") + result("ID", ""), upstream.ErrViolation},
		{"a duplicate member", 0, `JSON{"jsonrpc":"2.0","id":ID,"id":ID,"result":{}}`, upstream.ErrViolation},
		{"a duplicate with null", 0, `JSON{"jsonrpc":"2.0","id":null,"id":ID,"error":{}}`, upstream.ErrViolation},
		{"result and error", 0, `JSON{"jsonrpc":"2.0","id":ID,"result":{},"error":{"code":1,"message":"x"}}`, upstream.ErrViolation},
		{"a request", 0, `JSON{"jsonrpc":"2.0","id":ID,"method":"ping"}`, upstream.ErrViolation},
		{"a notification", 0, "JSON" + note, upstream.ErrViolation},
		{"nothing", 0, "JSON", upstream.ErrViolation},
		{"half a message", 0, `JSON{"jsonrpc":"2.0","id":ID`, upstream.ErrViolation},
		{"another type", 0, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", upstream.ErrViolation},
		{"no type", 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", upstream.ErrViolation},
		{"accepted", 0, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", upstream.ErrViolation},
		{"no content", 0, "HTTP/1.1 204 No Content\r\n\r\n", upstream.ErrViolation},
		{"a bomb", 0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(bomb.String()) + lastOne, upstream.ErrViolation},
		{"a bomb as events", 0, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(bomb.String()) + lastOne, upstream.ErrViolation},
		{"not HTTP", 0, "hello\r\n\r\n", upstream.ErrViolation},
		{"another protocol", 0, "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n", upstream.ErrViolation},
		{"endless headers", 0, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200_000) + "\r\n\r\n", upstream.ErrTooLarge},
		{"two framings", 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", upstream.ErrViolation},
		{"too large, announced", 0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n{}", upstream.ErrTooLarge},
		{"too large, in chunks", 0, strings.Replace(okStream, "text/event-stream", "application/json", 1) + chunk(strings.Repeat(" ", 2<<20)) + lastOne, upstream.ErrTooLarge},
		{"too large, to the end", 0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + strings.Repeat(" ", 2<<20) + "CLOSE", upstream.ErrTooLarge},
		{"shorter than announced", 0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{}CLOSE", upstream.ErrCutOff},
		{"cut off in a chunk", 0, strings.Replace(okStream, "text/event-stream", "application/json", 1) + "ff\r\n{}CLOSE", upstream.ErrCutOff},
		{"closed in the head", 0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCont\r\n\r\nCLOSE", upstream.ErrViolation},
		{"malformed chunks", 0, strings.Replace(okStream, "text/event-stream", "application/json", 1) + "zz\r\n{}\r\n", upstream.ErrViolation},
		{"stream: nothing", 0, okStream + lastOne, upstream.ErrCutOff},
		{"stream: cut off", 0, okStream + event(note) + "CLOSE", upstream.ErrCutOff},
		{"stream: no response", 0, okStream + event(note) + lastOne, upstream.ErrCutOff},
		{"stream: an event without end", 0, okStream + chunk("data: "+result("ID", "")+"\n") + lastOne, upstream.ErrCutOff},
		{"stream: another ID", 0, okStream + event(result("99", "")) + lastOne, upstream.ErrViolation},
		{"stream: another ID in an error", 0, okStream + event(`{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"x"}}`) + lastOne, upstream.ErrViolation},
		{"stream: twice in one piece", 0, okStream + chunk("data: "+result("ID", "")+"\n\ndata: "+result("ID", "")+"\n\n") + lastOne, upstream.ErrViolation},
		{"stream: twice", 0, okStream + event(result("ID", "")) + event(result("ID", "")) + lastOne, upstream.ErrViolation},
		{"stream: more after the response", 0, okStream + event(result("ID", "")) + event(note) + lastOne, upstream.ErrViolation},
		{"stream: a batch", 0, okStream + event("["+result("ID", "")+"]") + lastOne, upstream.ErrViolation},
		{"stream: no JSON", 0, okStream + event("hello") + lastOne, upstream.ErrViolation},
		{"stream: a request", mcp.Modern, okStream + event(`{"jsonrpc":"2.0","id":1,"method":"roots/list"}`) + lastOne, upstream.ErrViolation},
		{"stream: an event too large", 0, okStream + chunk("data: "+strings.Repeat("x", 2<<20)+"\n\n"), upstream.ErrTooLarge},
		{"stream: a line without end", 0, okStream + chunk(": "+strings.Repeat("x", 2<<20)), upstream.ErrTooLarge},
		{"stream: too much in all", 0, okStream + strings.Repeat(chunk(strings.Repeat(": tick\n", 10_000)), 100), upstream.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, era := range []mcp.Era{mcp.Modern, mcp.Legacy} {
				if tt.era != 0 && tt.era != era {
					continue
				}
				s := serveRaw(t, func(n int, r seen, c net.Conn) bool {
					if n == 1 {
						return play(tt.raw, r, c)
					}
					return good(r, c)
				})
				c := connect(t, s.url, era, func(c *Config) { c.Limits.JSON.Bytes, c.Limits.Stream = 1<<20, 3<<20 })
				m, err := c.call(t.Context(), "tools/call")
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v %s, want %v", era, err, m.Result, tt.want)
				}
				// The next one is answered, over a connection of its own unless the
				// answer at least ended well.
				if m, err := c.call(t.Context(), "tools/call"); err != nil || string(m.Result) != "{}" {
					t.Errorf("%s: the next exchange: %v", era, err)
				}
				ended := strings.HasSuffix(tt.raw, lastOne) && tt.want == upstream.ErrCutOff
				reqs := s.requests()
				if len(reqs) != 2 || (reqs[1].conn == reqs[0].conn) != ended {
					t.Errorf("%s: %d requests over %d connections", era, len(reqs), s.connections())
				}
			}
		})
	}
}

// An answer that comes unasked on an idle connection answers nothing.
func TestAnswerInAdvance(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		return reply(c, okJSON, result(r.id, "")) && reply(c, okJSON, result(r.id, `"forged":true`)) && reply(c, okJSON, result("2", `"forged":true`))
	})
	c := connect(t, s.url, mcp.Modern)
	for range 3 {
		// What is there before the next request is sent ends the connection;
		// what arrives later than that is another request's answer.
		m, err := c.call(t.Context(), "tools/call")
		if errors.Is(err, upstream.ErrViolation) {
			continue
		}
		if err != nil || string(m.Result) != "{}" {
			t.Fatalf("got %v %s", err, m.Result)
		}
	}
	// A request whose connection ended before the server read it is not seen.
	if reqs := s.requests(); len(reqs) > 1 && reqs[len(reqs)-1].conn == reqs[0].conn {
		t.Error("a connection that had answered in advance was used on")
	}
}

// Whatever a request that broke has done, it is not sent again.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	for _, warm := range []bool{false, true} {
		s := serveRaw(t, func(n int, r seen, c net.Conn) bool {
			return warm && n == 1 && good(r, c)
		})
		c := connect(t, s.url, mcp.Modern)
		want := 1
		if warm {
			want = 2
			if _, err := c.call(t.Context(), "tools/call"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.call(t.Context(), "tools/call"); !errors.Is(err, upstream.ErrCutOff) || errors.Is(err, upstream.ErrDown) {
			t.Errorf("warm %v: got %v", warm, err)
		}
		if n := len(s.requests()); n != want {
			t.Errorf("warm %v: %d requests arrived, want %d", warm, n, want)
		}
	}
}

// A server that closes idle connections costs nothing: the end is seen before
// a request is written.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	closed := make(chan bool)
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		good(r, c)
		c.Close()
		closed <- true
		return false
	})
	c := connect(t, s.url, mcp.Modern)
	for range 5 {
		done := make(chan error)
		go func() {
			_, err := c.call(t.Context(), "tools/call")
			done <- err
		}()
		<-closed
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.requests()); n != 5 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"json":     "JSON" + result("ID", ""),
		"chunked":  strings.Replace(okStream, "text/event-stream", "application/json", 1) + chunk(result("ID", "")) + lastOne,
		"stream":   okStream + event(result("ID", "")) + lastOne,
		"comments": okStream + event(result("ID", "")) + chunk(": bye\n") + lastOne,
	} {
		s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return play(raw, r, c) })
		c := connect(t, s.url, mcp.Legacy)
		for range 5 {
			if _, err := c.call(t.Context(), "tools/call"); err != nil {
				t.Fatal(err)
			}
			c.d.drains.Wait()
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%s: %d connections for 5 calls", name, n)
		}
	}
}

// A server that says nothing, trickles or never ends is left when the context
// ends, at any point of the exchange.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"before the head":  "",
		"in the head":      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX",
		"after the head":   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n",
		"in the body":      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"in a chunk":       strings.Replace(okStream, "text/event-stream", "application/json", 1) + "5\r\n{",
		"in a stream":      okStream,
		"between events":   okStream + event(`{"jsonrpc":"2.0","method":"notifications/x"}`),
		"in an event":      okStream + chunk("data: {"),
		"in a chunk line":  okStream + "5",
		"in an error body": "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, trickle := range []bool{false, true} {
				ready, tick := make(chan struct{}), time.Tick(time.Millisecond)
				s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
					_, err := c.Write([]byte(raw))
					close(ready)
					for trickle && err == nil {
						// A byte that belongs there, as slowly as it likes.
						b := " "
						if strings.Contains(raw, "event-stream") && !strings.HasSuffix(raw, "5") {
							b = chunk(":\n")
						}
						_, err = c.Write([]byte(b))
						<-tick
					}
					return err == nil
				})
				c := connect(t, s.url, mcp.Modern)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					_, err := c.call(ctx, "tools/call")
					done <- err
				}()
				<-ready
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) && !(trickle && errors.Is(err, upstream.ErrViolation)) {
					t.Errorf("trickle %v: got %v", trickle, err)
				}
				if !trickle {
					// The server learns of it: the stream is closed.
					<-s.gone
				}
			}
		})
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{"at once": "", "in a stream": okStream + event(`{"jsonrpc":"2.0","method":"notifications/x"}`)} {
		s := serveRaw(t, func(n int, r seen, c net.Conn) bool {
			if n > 1 {
				return good(r, c)
			}
			_, err := c.Write([]byte(raw))
			return err == nil
		})
		c := connect(t, s.url, mcp.Modern, func(c *Config) { c.Limits.Idle = 50 * time.Millisecond })
		if _, err := c.call(context.WithoutCancel(t.Context()), "tools/call"); !errors.Is(err, upstream.ErrCutOff) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := c.call(t.Context(), "tools/call"); err != nil {
			t.Errorf("%s: the next: %v", name, err)
		}
	}
}

// A deadline of one exchange does not reach into the next on its connection.
func TestDeadlinesEndWithTheirExchange(t *testing.T) {
	t.Parallel()
	const idle = 300 * time.Millisecond
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return good(r, c) })
	c := connect(t, s.url, mcp.Modern, func(c *Config) { c.Limits.Idle = idle })
	if _, err := c.call(context.WithoutCancel(t.Context()), "tools/call"); err != nil {
		t.Fatal(err)
	}
	<-time.After(idle)
	// The context ends before the silence would, so no deadline is set anew.
	ctx, cancel := context.WithTimeout(t.Context(), idle*9/10)
	defer cancel()
	if _, err := c.call(ctx, "tools/call"); err != nil {
		t.Errorf("got %v", err)
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	var ready sync.WaitGroup
	ready.Add(4)
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		if r.Method == "GET" {
			_, _ = c.Write([]byte(okStream))
		}
		ready.Done()
		return true
	})
	c := connect(t, s.url, mcp.Legacy)
	done := make(chan error, 4)
	for range 3 {
		go func() {
			_, err := c.call(context.WithoutCancel(t.Context()), "tools/call")
			done <- err
		}()
	}
	go func() { done <- c.Listen(context.WithoutCancel(t.Context())) }()
	ready.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := <-done; !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
	}
	if len(c.downs) != 0 {
		t.Errorf("Down(%v) after Close", c.downs)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := connect(t, "http://"+ln.Addr().String(), mcp.Modern)
	if _, err := c.call(t.Context(), "tools/call"); !errors.Is(err, upstream.ErrDown) {
		t.Errorf("got %v", err)
	}
	if err := c.Send(t.Context(), upstream.Outgoing{Method: "notifications/x"}); !errors.Is(err, upstream.ErrDown) {
		t.Errorf("got %v", err)
	}
}
