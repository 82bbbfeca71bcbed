package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// client plays the client's script against the gateway and writes down what
// it is answered.
type client struct {
	t      *testing.T
	ctx    context.Context
	board  *board
	http   *http.Client
	base   string
	token  func(name string) string
	drain  func()
	decide func(yes bool) error
	stdio  func(server string) *lines
	lines  *lines // instead of HTTP, once opened
	view   *views
	out    strings.Builder
	// issuer is who vouches for callers, where an archive has one.
	issuer *goldenIssuer

	path, who, caps string
	session         string // current
	sessions        map[string]string
	version         string
	set             http.Header
	unset           []string
	open            map[string]*exchange
	last            []byte
	lastID          string // of the last event
}

func newClient(t *testing.T, ctx context.Context, b *board, base string, token func(string) string, v *views) *client {
	return &client{t: t, ctx: ctx, board: b, base: base, token: token, view: v, http: &http.Client{Transport: &http.Transport{}},
		path: "/mcp/s", who: "golden", caps: `{}`, sessions: map[string]string{}, version: "2025-11-25", set: http.Header{}, open: map[string]*exchange{}}
}

// play runs the whole script.
func (c *client) play(text string) error {
	steps, err := readSteps(text, 1, 0)
	if err != nil {
		return err
	}
	for _, s := range steps {
		s.rest = c.view.fill(s.rest)
		if c.issuer != nil {
			if s.rest, err = c.issuer.fill(s.rest); err != nil {
				return fmt.Errorf("client line %d: %w", s.line, err)
			}
		}
		if err := c.step(s); err != nil {
			return fmt.Errorf("client line %d: %s: %w", s.line, s.verb, err)
		}
	}
	for name := range c.open {
		return fmt.Errorf("the client never waited for %s nor closed it", name)
	}
	return nil
}

func (c *client) step(s step) error {
	switch s.verb {
	case "caps":
		c.caps = s.rest
	case "path":
		c.path = s.rest
	case "issuer":
		if c.issuer == nil {
			return errors.New("the archive has no issuer")
		}
		return c.issuer.set(s.rest)
	case "name":
		name, value, _ := strings.Cut(s.rest, " = ")
		c.view.name(name, value)
	case "as":
		c.who = s.rest
	case "in":
		c.session = s.rest
	case "version":
		c.version = s.rest
	case "set":
		name, v, _ := strings.Cut(s.rest, ": ")
		c.set.Add(name, v)
	case "unset":
		c.unset = append(c.unset, http.CanonicalHeaderKey(s.rest))
	case "let":
		return c.let(s)
	case "session":
		return c.begin(s.rest)
	case "signal":
		c.board.signal(s.rest)
	case "await":
		return c.board.wait(c.ctx, s.rest)
	case "seen":
		what := s.word()
		n := 1
		if s.rest != "" {
			var err error
			if n, err = strconv.Atoi(s.rest); err != nil {
				return err
			}
		}
		return c.board.seen(c.ctx, what, n)
	case "silent":
		e := c.open[s.rest]
		if e == nil {
			return errors.New("no such exchange is open")
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.status != 0 {
			return errors.New("something was answered already")
		}
	case "opened":
		e := c.open[s.rest]
		if e == nil {
			return errors.New("no such exchange is open")
		}
		return c.opened(e)
	case "event":
		e := c.open[s.rest]
		if e == nil {
			return errors.New("no such exchange is open")
		}
		fmt.Fprintf(&c.out, "> event %s\n", s.rest)
		return c.event(e)
	case "wait":
		e := c.open[s.rest]
		if e == nil {
			return errors.New("no such exchange is open")
		}
		delete(c.open, s.rest)
		fmt.Fprintf(&c.out, "> wait %s\n", s.rest)
		return c.finish(e)
	case "close":
		e := c.open[s.rest]
		if e == nil {
			return errors.New("no such exchange is open")
		}
		delete(c.open, s.rest)
		fmt.Fprintf(&c.out, "> close %s\n", s.rest)
		e.cancel()
		<-e.done
	case "stdio":
		fmt.Fprintf(&c.out, "> stdio %s\n", s.rest)
		c.lines = c.stdio(s.rest)
	case "read":
		fmt.Fprintf(&c.out, "> read\n")
		l, err := c.lines.next(c.ctx)
		if err != nil {
			return err
		}
		c.last = []byte(l)
		fmt.Fprintf(&c.out, "%s\n", c.view.client(l))
	case "eof":
		fmt.Fprintf(&c.out, "> eof\n")
		err := c.lines.close()
		for _, l := range c.lines.rest() {
			fmt.Fprintf(&c.out, "%s\n", c.view.client(l))
		}
		return err
	case "approve", "deny":
		fmt.Fprintf(&c.out, "> %s\n", s.verb)
		return c.decide(s.verb == "approve")
	case "drain":
		fmt.Fprintf(&c.out, "> drain\n")
		c.drain()
	case "go":
		name := s.word()
		verb := s.word()
		e, err := c.send(step{line: s.line, verb: verb, rest: s.rest}, "go "+name+" ")
		if err != nil {
			return err
		}
		c.open[name] = e
	default:
		e, err := c.send(s, "")
		if err != nil || e == nil {
			return err
		}
		return c.finish(e)
	}
	return nil
}

// let names a part of the last message; "flip" names an altered text.
func (c *client) let(s step) error {
	name, value, _ := strings.Cut(s.rest, " = ")
	if text, ok := strings.CutPrefix(value, "flip "); ok {
		b := []byte(text)
		i := len(b) / 2
		if b[i]++; b[i] > 'Z' && b[i] != '_' && b[i] < 'a' || b[i] > 'z' || b[i] > '9' && b[i] < 'A' || b[i] == '.' {
			b[i] = 'A' // another letter of the same alphabet
		}
		c.view.name(name, string(b))
		return nil
	}
	if value == "event ID" {
		c.view.name(name, c.lastID)
		return nil
	}
	var cur any
	d := json.NewDecoder(bytes.NewReader(c.last))
	d.UseNumber()
	if err := d.Decode(&cur); err != nil {
		return fmt.Errorf("the last message is no JSON: %w", err)
	}
	for _, part := range strings.Split(strings.Trim(value, "/"), "/") {
		switch v := cur.(type) {
		case map[string]any:
			cur = v[strings.ReplaceAll(part, "~1", "/")]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return fmt.Errorf("no element %q", part)
			}
			cur = v[i]
		default:
			return fmt.Errorf("nothing at %q in %s", value, c.last)
		}
	}
	switch v := cur.(type) {
	case string:
		c.view.name(name, v)
	case json.Number:
		c.view.name(name, v.String())
	default:
		return fmt.Errorf("%q is no text in %s", value, c.last)
	}
	return nil
}

const metaPrefix = "io.modelcontextprotocol/"

// modernParams puts the required _meta in front of what the script gives.
func (c *client) modernParams(params string) (string, error) {
	own := `"` + metaPrefix + `protocolVersion":"2026-07-28","` + metaPrefix + `clientInfo":{"name":"golden","version":"1"},"` + metaPrefix + `clientCapabilities":` + c.caps
	if params == "" {
		params = "{}"
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(params), &o); err != nil {
		return "", fmt.Errorf("params: %w", err)
	}
	meta, has := o["_meta"]
	if has {
		inner := strings.TrimSpace(string(meta))
		inner = strings.TrimSpace(inner[1 : len(inner)-1])
		if inner != "" {
			inner = "," + inner
		}
		return strings.Replace(params, string(meta), "{"+own+inner+"}", 1), nil
	}
	rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(params), "{"))
	if rest != "}" {
		rest = "," + rest
	}
	return `{"_meta":{` + own + `}` + rest, nil
}

// send makes one HTTP request of a step and does not wait for its answer.
func (c *client) send(s step, how string) (*exchange, error) {
	method, path, body := http.MethodPost, c.path, ""
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	label := s.verb
	switch s.verb {
	case "modern":
		id, m := s.word(), s.word()
		params, err := c.modernParams(s.rest)
		if err != nil {
			return nil, err
		}
		body = `{"jsonrpc":"2.0","id":` + id + `,"method":"` + m + `","params":` + params + `}`
		h.Set("Mcp-Protocol-Version", "2026-07-28")
		h.Set("Mcp-Method", m)
		var p struct{ Name, URI, TaskID string }
		_ = json.Unmarshal([]byte(params), &p)
		if n := p.Name + p.URI + p.TaskID; n != "" && m != "completion/complete" {
			h.Set("Mcp-Name", n)
		}
		label += " " + id + " " + m
	case "legacy":
		id, m := s.word(), s.word()
		params := ""
		if s.rest != "" {
			params = `,"params":` + s.rest
		}
		body = `{"jsonrpc":"2.0","id":` + id + `,"method":"` + m + `"` + params + `}`
		label += " " + id + " " + m
	case "notify":
		m := s.word()
		body = string(notification(m, s.rest))
		label += " " + m
	case "answer":
		id := s.word()
		body = `{"jsonrpc":"2.0","id":` + id + `,"result":` + s.rest + `}`
		label += " " + id
	case "refuse":
		id := s.word()
		body = `{"jsonrpc":"2.0","id":` + id + `,"error":` + s.rest + `}`
		label += " " + id
	case "get":
		method = http.MethodGet
		h = http.Header{"Accept": {"text/event-stream"}}
		if s.rest != "" {
			h.Set("Last-Event-Id", s.rest)
		}
	case "delete":
		method, h = http.MethodDelete, http.Header{}
	case "post":
		var err error
		if body, err = s.text(); err != nil {
			return nil, err
		}
	case "http":
		method, path = s.word(), s.word()
		h = http.Header{}
		body = s.rest
		label += " " + method + " " + path
	default:
		return nil, errors.New("no such step")
	}
	switch s.verb {
	case "legacy", "notify", "answer", "refuse", "get", "delete":
		if id := c.sessions[c.session]; id != "" {
			h.Set("Mcp-Session-Id", id)
			h.Set("Mcp-Protocol-Version", c.version)
		}
	}
	fmt.Fprintf(&c.out, "> %s%s\n", how, c.view.client(label))
	if c.lines != nil {
		return nil, c.lines.write(c.view.expand(body))
	}
	return c.do(method, path, body, h)
}

func (c *client) do(method, path, body string, h http.Header) (*exchange, error) {
	ctx, cancel := context.WithCancel(c.ctx)
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(c.view.expand(body)))
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header = h
	if c.who != "nobody" {
		h.Set("Authorization", "Bearer "+c.token(c.who))
	}
	for name, vs := range c.set {
		h[http.CanonicalHeaderKey(name)] = vs
	}
	for _, name := range c.unset {
		delete(h, name)
		if name == "Content-Length" {
			req.ContentLength = -1
			req.Body = io.NopCloser(strings.NewReader(c.view.expand(body)))
		}
	}
	if v := h.Get("Host"); v != "" {
		req.Host = v
		h.Del("Host")
	}
	c.set, c.unset = http.Header{}, nil
	if method == http.MethodGet || method == http.MethodDelete {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	e := &exchange{cancel: cancel, done: make(chan struct{}), changed: make(chan struct{}), primed: map[string]string{}}
	go e.run(c.http, req)
	return e, nil
}

// begin opens a legacy session and keeps it under a name.
func (c *client) begin(name string) error {
	c.session = ""
	fmt.Fprintf(&c.out, "> session %s\n", name)
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	e, err := c.do(http.MethodPost, c.path, `{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"`+c.version+
		`","capabilities":`+c.caps+`,"clientInfo":{"name":"golden","version":"1"}}}`, h)
	if err != nil {
		return err
	}
	<-e.done
	id := ""
	if e.header != nil {
		id = e.header.Get("Mcp-Session-Id")
	}
	if id != "" {
		c.view.name(name, id)
	}
	if err := c.finish(e); err != nil || id == "" {
		return err
	}
	c.sessions[name], c.session = id, name
	e, err = c.send(step{verb: "notify", rest: "notifications/initialized"}, "")
	if err != nil {
		return err
	}
	return c.finish(e)
}
