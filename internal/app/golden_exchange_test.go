package app_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// exchange is one HTTP request and what came back so far.
type exchange struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	changed chan struct{}
	status  int
	header  http.Header
	sse     bool
	events  []sseEvent
	body    []byte
	err     error

	// Read by the script only.
	shown  bool
	next   int
	primed map[string]string
}

type sseEvent struct {
	id, data string
}

func (e *exchange) touch(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *exchange) run(hc *http.Client, req *http.Request) {
	defer close(e.done)
	resp, err := hc.Do(req)
	if err != nil {
		e.touch(func() { e.err = err })
		return
	}
	defer func() { _ = resp.Body.Close() }()
	sse := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	e.touch(func() { e.status, e.header, e.sse = resp.StatusCode, resp.Header, sse })
	if !sse {
		b, err := io.ReadAll(resp.Body)
		e.touch(func() { e.body, e.err = b, err })
		return
	}
	in := bufio.NewReader(resp.Body)
	var cur sseEvent
	some := false
	for {
		l, err := in.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) || l != "" {
				e.touch(func() { e.err = err })
			}
			return
		}
		l = strings.TrimSuffix(l, "\n")
		name, v, _ := strings.Cut(l, ":")
		v = strings.TrimPrefix(v, " ")
		switch {
		case l == "" && some:
			e.touch(func() { e.events = append(e.events, cur) })
			cur, some = sseEvent{}, false
		case l == "" || name == "" || name == "retry" || name == "event" && v == "message":
		case name == "id":
			cur.id, some = v, true
		case name == "data":
			cur.data, some = cur.data+v, true
		default:
			cur.data, some = cur.data+"«unexpected line "+l+"»", true
		}
	}
}

// opened waits for the head of an answer.
func (c *client) opened(e *exchange) error {
	for {
		e.mu.Lock()
		ok, changed := e.status != 0, e.changed
		e.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-e.done:
			return e.err
		case <-c.ctx.Done():
			return fmt.Errorf("no answer began: %w", c.ctx.Err())
		}
	}
}

// event waits for the next event that is not the priming one and shows it.
func (c *client) event(e *exchange) error {
	for {
		e.mu.Lock()
		n, changed, ended := len(e.events), e.changed, e.err
		var ev sseEvent
		if n > e.next {
			c.head(e)
			ev = e.events[e.next]
		}
		e.mu.Unlock()
		if n > e.next {
			e.next++
			c.show(ev)
			if ev.data == "" {
				continue
			}
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-changed:
		case <-e.done:
			e.mu.Lock()
			n = len(e.events)
			e.mu.Unlock()
			if n == e.next {
				_ = c.rest(e)
				return errors.New("the answer ended without another event")
			}
		case <-c.ctx.Done():
			return fmt.Errorf("no event came: %w", c.ctx.Err())
		}
	}
}

func (c *client) finish(e *exchange) error {
	select {
	case <-e.done:
	case <-c.ctx.Done():
		_ = c.rest(e)
		return fmt.Errorf("the answer did not end: %w", c.ctx.Err())
	}
	e.cancel()
	return c.rest(e)
}

func (c *client) rest(e *exchange) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil && e.status == 0 {
		return e.err
	}
	c.head(e)
	for ; e.next < len(e.events); e.next++ {
		c.show(e.events[e.next])
	}
	if len(e.body) > 0 {
		c.last = e.body
		fmt.Fprintf(&c.out, "%s\n", c.view.client(strings.TrimSuffix(string(e.body), "\n")))
	}
	if e.err != nil {
		fmt.Fprintf(&c.out, "cut off\n")
	}
	return nil
}

func (c *client) show(ev sseEvent) {
	id := ""
	if ev.id != "" {
		c.lastID = ev.id
		id = " [" + c.view.eventID(ev.id) + "]"
	}
	if ev.data != "" {
		c.last = []byte(ev.data)
		id += " "
	}
	fmt.Fprintf(&c.out, "event%s%s\n", id, c.view.client(ev.data))
}

// head shows the status, and every header that is not the same in each
// response; what must be in each is checked.
func (c *client) head(e *exchange) {
	if e.shown {
		return
	}
	e.shown = true
	usual := map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
	}
	kind := e.header.Get("Content-Type")
	switch kind {
	case "application/json":
		kind = "json"
	case "text/event-stream":
		kind, usual["X-Accel-Buffering"] = "sse", "no"
	}
	if nonce := e.header.Get("Dpop-Nonce"); nonce != "" {
		c.view.name("nonce", nonce)
	}
	fmt.Fprintf(&c.out, "< %s\n", strings.TrimSpace(strconv.Itoa(e.status)+" "+kind))
	for name, v := range usual {
		if e.header.Get(name) != v {
			c.t.Errorf("a response without %s: %s", name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.header)) {
		switch name {
		case "Content-Type", "Content-Length", "Date":
			continue
		}
		for _, v := range e.header[name] {
			if usual[name] != v {
				fmt.Fprintf(&c.out, "  %s: %s\n", name, c.view.client(v))
			}
		}
	}
}
