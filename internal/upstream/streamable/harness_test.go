package streamable

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func TestMain(m *testing.M) {
	if size := os.Getenv(echoEnv); size != "" {
		n, err := strconv.Atoi(size)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		serveEcho(n)
	}
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines are left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines of this package that do not end.
func leaked() string {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "upstream/streamable.(*") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// seen is one request as it arrived at a rawServer.
type seen struct {
	*http.Request
	body string
	id   string // the ID of the message, as raw JSON
	conn int
}

// rawServer reads requests and lets a script write whatever bytes it likes. A
// script that returns false closes the connection.
type rawServer struct {
	url    string
	mu     sync.Mutex
	reqs   []seen
	conns  int
	script func(n int, r seen, c net.Conn) bool
	gone   chan int // connections that the client closed
}

func serveRaw(t *testing.T, script func(n int, r seen, c net.Conn) bool) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + ln.Addr().String() + "/mcp", script: script, gone: make(chan int, 1024)}
	var wg sync.WaitGroup
	var open sync.Map
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(k, _ any) bool { k.(net.Conn).Close(); return true })
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			n := s.conns
			s.mu.Unlock()
			open.Store(c, nil)
			wg.Go(func() {
				defer c.Close()
				s.serve(n, c)
			})
		}
	})
	return s
}

func (s *rawServer) serve(conn int, c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			s.gone <- conn
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			s.gone <- conn
			return
		}
		req := seen{Request: r, body: string(b), conn: conn}
		if _, rest, ok := strings.Cut(req.body, `"id":`); ok {
			req.id, _, _ = strings.Cut(rest, ",")
		}
		s.mu.Lock()
		s.reqs = append(s.reqs, req)
		n := len(s.reqs)
		s.mu.Unlock()
		if !s.script(n, req, c) {
			return
		}
	}
}

func (s *rawServer) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.reqs...)
}

func (s *rawServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// reply writes an answer with a content length.
func reply(c net.Conn, head, body string) bool {
	_, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body)
	return err == nil
}

const (
	okJSON   = "200 OK\r\nContent-Type: application/json"
	okStream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	lastOne  = "0\r\n\r\n"
)

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

func event(data string) string { return chunk("data: " + data + "\n\n") }

func result(id, members string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":{` + members + `}}`
}

// good answers every request with an empty result, and notifications with 202.
func good(r seen, c net.Conn) bool {
	if r.id == "" {
		return reply(c, "202 Accepted", "")
	}
	return reply(c, okJSON, result(r.id, ""))
}

type client struct {
	upstream.Transport
	d       *Dialer
	mu      sync.Mutex
	bound   []string
	unbound []string
	downs   []error
}

func connect(t *testing.T, url string, era mcp.Era, change ...func(*Config)) *client {
	t.Helper()
	c := Config{URL: url, Limits: DefaultLimits()}
	for _, f := range change {
		f(&c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{d: d}
	cl.Transport, err = d.Dial(t.Context(), upstream.DialOptions{Era: era,
		Unbound: func(m mcp.Message) {
			cl.mu.Lock()
			defer cl.mu.Unlock()
			cl.unbound = append(cl.unbound, m.Method+string(m.Params))
		},
		Down: func(err error) {
			cl.mu.Lock()
			defer cl.mu.Unlock()
			cl.downs = append(cl.downs, err)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cl.Transport.Close()
		d.Close()
	})
	return cl
}

func (c *client) call(ctx context.Context, method string) (mcp.Message, error) {
	return c.Exchange(ctx, upstream.Outgoing{Method: method, Params: []byte(`{}`)}, func(m mcp.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bound = append(c.bound, m.Method+string(m.Params))
	})
}

// initialize opens a session as the server's script grants it.
func (c *client) initialize(t *testing.T) {
	t.Helper()
	if _, err := c.call(t.Context(), mcp.MethodInitialize); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), upstream.Outgoing{Method: mcp.NotifyInitialized, Version: mcp.V20251125}); err != nil {
		t.Fatal(err)
	}
}
