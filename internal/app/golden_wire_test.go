package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

type httpLine struct {
	w   http.ResponseWriter
	m   message
	sse bool
	one bool // a JSON answer was written
}

func (l *httpLine) message(b []byte) error {
	response := !bytes.Contains(b, []byte(`"method":`))
	if !l.sse && response && !l.one {
		l.one = true
		return l.status(200, http.Header{"Content-Type": {"application/json"}}, b)
	}
	return l.raw([]byte("event: message\ndata: " + strings.ReplaceAll(string(b), "\n", " ") + "\n\n"))
}

func (l *httpLine) raw(b []byte) error {
	if !l.sse {
		l.sse = true
		l.w.Header().Set("Content-Type", "text/event-stream")
	}
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

func (l *httpLine) status(code int, h http.Header, body []byte) error {
	if h == nil {
		h = http.Header{"Content-Type": {"application/json"}}
	}
	for name, v := range h {
		l.w.Header()[name] = v
	}
	l.w.WriteHeader(code)
	_, err := l.w.Write(body)
	return err
}

// part writes a piece of a body of any type.
func (l *httpLine) part(typ string, b []byte) error {
	l.sse = true
	l.w.Header().Set("Content-Type", typ)
	return l.raw(b)
}

// together writes several messages in one piece.
func (l *httpLine) together(messages []string) error {
	return l.raw([]byte("data: " + strings.Join(messages, "\n\ndata: ") + "\n\n"))
}

func (l *httpLine) drop() { panic(http.ErrAbortHandler) }

func (f *fake) serveHTTP(w http.ResponseWriter, r *http.Request) {
	f.work.Add(1)
	defer f.work.Done()
	session := r.Header.Get("Mcp-Session-Id")
	switch r.Method {
	case http.MethodGet:
		b := f.block("GET")
		if b == nil {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		f.saw(0, "GET%s", f.headers(r, message{}))
		f.board.count(f.name + "GET")
		out := &httpLine{w: w}
		_ = out.raw([]byte(":\n\n"))
		f.run(r.Context(), session, "GET", message{}, b, out)
		select {
		case <-r.Context().Done():
		case <-f.ctx.Done():
		}
		return
	case http.MethodDelete:
		f.saw(2, "DELETE%s", f.headers(r, message{}))
		f.board.count(f.name + "DELETE")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m message
	_ = json.Unmarshal(body, &m)
	m, number, ok := f.take(session, "POST", f.headers(r, m), body)
	if !ok {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if m.Method == "initialize" && !modernMeta(m) && f.script.legacy {
		f.mu.Lock()
		f.sessions++
		w.Header().Set("Mcp-Session-Id", "up-"+strconv.Itoa(f.sessions))
		f.mu.Unlock()
	}
	f.handle(r.Context(), session, number, m, &httpLine{w: w, m: m})
}

// headers shows every header that is not the same in each request, so that
// one that slipped through shows up in the view.
func (f *fake) headers(r *http.Request, m message) string {
	usual := map[string]string{"User-Agent": "munjigi", "Accept-Encoding": "identity",
		"Accept": "application/json, text/event-stream", "Content-Type": "application/json", "Mcp-Method": m.Method}
	switch r.Method {
	case http.MethodGet:
		usual["Accept"] = "text/event-stream"
	case http.MethodDelete:
		usual["Accept"] = "application/json"
	}
	modern := modernMeta(m)
	if modern {
		usual["Mcp-Protocol-Version"] = "2026-07-28"
	} else if m.Method != "initialize" {
		usual["Mcp-Protocol-Version"] = "2025-11-25"
		delete(usual, "Mcp-Method")
	}
	if r.Method != http.MethodPost {
		delete(usual, "Content-Type")
	}
	if !modern {
		delete(usual, "Mcp-Method")
	}
	var out []string
	for name, vs := range r.Header {
		for _, v := range vs {
			if name != "Content-Length" && (usual[name] != v || len(vs) > 1) {
				out = append(out, name+": "+v)
			}
		}
	}
	for name := range usual {
		if len(r.Header[name]) == 0 {
			out = append(out, "no "+name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return " [" + strings.Join(out, "; ") + "]"
}

// Standard streams: the process is the test binary itself, which connects
// back and copies; its first line says what environment it was given.

func (f *fake) accept() {
	for {
		c, err := f.pipe.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[c] = struct{}{}
		f.sessions++
		session := "process-" + strconv.Itoa(f.sessions)
		f.mu.Unlock()
		f.work.Go(func() { f.serveLines(c, session) })
	}
}

type pipeLine struct {
	mu *sync.Mutex
	c  net.Conn
}

func (l pipeLine) message(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.c.Write([]byte(strings.ReplaceAll(string(b), "\n", " ") + "\n"))
	return err
}

func (l pipeLine) raw(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.c.Write(b)
	return err
}

func (l pipeLine) together(messages []string) error {
	return l.raw([]byte(strings.Join(messages, "\n") + "\n"))
}

func (l pipeLine) part(_ string, b []byte) error { return l.raw(b) }

func (l pipeLine) status(_ int, _ http.Header, body []byte) error { return l.message(body) }

func (l pipeLine) drop() { _ = l.c.Close() }

func (f *fake) serveLines(c net.Conn, session string) {
	ctx, cancel := context.WithCancel(f.ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	env, err := in.ReadString('\n')
	if err != nil {
		return
	}
	f.saw(0, "PROCESS with the environment %s", strings.TrimSpace(env))
	out := pipeLine{mu: &sync.Mutex{}, c: c}
	for {
		body, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		m, number, ok := f.take(session, "LINE", "", bytes.TrimSpace(body))
		if ok {
			work.Go(func() { f.handle(ctx, session, number, m, out) })
		}
	}
}
