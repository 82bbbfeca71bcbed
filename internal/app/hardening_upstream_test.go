package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// harmed says how a call of a harmful tool must end: with a result that has
// the words, or with a refusal for the reason; either, where both are given.
type harmed struct{ words, reason string }

func (r *rig) ends(h harmed, resp *http.Response, body string) {
	r.t.Helper()
	if h.reason != "" && (h.words == "" || !strings.Contains(body, h.words)) {
		r.refused(resp, body, http.StatusOK, h.reason)
		if strings.Contains(body, "stolen") || strings.Contains(body, "xxxx") {
			r.t.Error("the refusal has words of the server")
		}
		return
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, h.words) || strings.Contains(body, `"error"`) {
		r.t.Errorf("answered %d %.300s, want %q", resp.StatusCode, body, h.words)
	}
}

// othersServed waits until somebody else is served, which may take as long as
// a crashed server's rest, and checks what is said meanwhile.
func (r *rig) othersServed() {
	r.t.Helper()
	r.until("others are served", func() bool {
		resp, body := r.ask(call("bob", "echo", `{"text":"well"}`))
		if strings.Contains(body, `"text":"well"`) {
			return true
		}
		r.refused(resp, body, http.StatusOK, "server-unavailable")
		return false
	})
}

// A server in a process does each kind of harm. Whoever called is told, and
// the next caller is served.
func TestHardProcessHarm(t *testing.T) {
	t.Parallel()
	want := map[string]harmed{
		"crash":   {reason: "server-unavailable"},
		"hang":    {reason: "deadline"},
		"flood":   {"flooded", "server-violation"}, // whether it is faster than we are
		"twice":   {words: "first"},
		"others":  {words: "mine"},
		"asks":    {words: "asked"},
		"big":     {reason: "server-violation"},
		"endless": {reason: "server-violation"},
		"noise":   {words: "noisy"},
		"batch":   {words: "single"},
		// What cannot be read answers nothing.
		"utf8":    {reason: "deadline"},
		"lone":    {reason: "deadline"},
		"doubled": {reason: "deadline"},
		"list":    {reason: "deadline"},
	}
	for tool, h := range want {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			timeout := ""
			if h.reason == "deadline" {
				timeout = ", timeout: 1s"
			}
			r := newRig(t, process(t, timeout, "limits: { result: 1MiB }\n"))
			resp, body := r.ask(call("alice", tool, `{"n":67108864}`))
			r.ends(h, resp, body)
			r.othersServed()
		})
	}
}

// Whoever else waits for a process that ends is told so, and asks for nothing
// twice.
func TestHardProcessCrashConcernsOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t, process(t, ", shared: true", ""))
	hang := call("bob", "hang", `{}`)
	hang.progress = true
	var waiting []*sse
	for range 3 {
		w := r.opens(hang)
		w.hears("notifications/progress")
		waiting = append(waiting, w)
	}
	resp, body := r.ask(call("alice", "crash", `{}`))
	r.ends(harmed{reason: "server-unavailable"}, resp, body)
	for _, w := range waiting {
		r.refused(w.resp, strings.TrimPrefix(w.hears(`"error"`), "data: "), http.StatusOK, "server-unavailable")
	}
	r.othersServed()
}

// A client that does not read what a shared process tells it holds up nobody
// else.
func TestHardProcessUnreadStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, process(t, ", shared: true", "limits: { write_timeout: 1h, drain_timeout: 100ms }\n"))
	chat := call("alice", "chat", `{}`)
	chat.progress = true
	c := r.dial()
	r.send(c, r.whole(chat))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.othersServed()
	}
	r.stop()
	_ = await(r, r.done, "the end") // its call is cut off
	r.done <- nil
}

func notes(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range n {
		_ = event(w, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%d}}`, i))
	}
}

func answerOf(m message, result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// The same over HTTP.
func TestHardHTTPHarm(t *testing.T) {
	t.Parallel()
	hangUp := func(w http.ResponseWriter) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	}
	// What a server sends that no message can hold, as JSON and as an event.
	unreadable := func(f func(m message) string) [2]func(http.ResponseWriter, *http.Request, message) {
		return [2]func(http.ResponseWriter, *http.Request, message){
			func(w http.ResponseWriter, _ *http.Request, m message) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(f(m)))
			},
			func(w http.ResponseWriter, _ *http.Request, m message) {
				w.Header().Set("Content-Type", "text/event-stream")
				_ = event(w, f(m))
			},
		}
	}
	type harm struct {
		harmed
		do func(http.ResponseWriter, *http.Request, message)
	}
	harms := map[string]harm{
		"crash": {harmed{reason: "server-unavailable"}, func(w http.ResponseWriter, _ *http.Request, _ message) { hangUp(w) }},
		"crash in a stream": {harmed{reason: "server-unavailable"}, func(w http.ResponseWriter, _ *http.Request, _ message) {
			notes(w, 3)
			hangUp(w)
		}},
		"hang": {harmed{reason: "deadline"}, func(_ http.ResponseWriter, r *http.Request, _ message) { <-r.Context().Done() }},
		"flood": {harmed{words: "flooded"}, func(w http.ResponseWriter, _ *http.Request, m message) {
			notes(w, 2000)
			_ = event(w, answerOf(m, text("flooded")))
		}},
		"no end": {harmed{reason: "server-unavailable"}, func(w http.ResponseWriter, _ *http.Request, _ message) { notes(w, 1) }},
		"asks": {harmed{reason: "server-violation"}, func(w http.ResponseWriter, _ *http.Request, m message) {
			notes(w, 1)
			_ = event(w, `{"jsonrpc":"2.0","id":1,"method":"roots/list"}`)
			_ = event(w, answerOf(m, text("stolen")))
		}},
		"asks for what was not declared": {harmed{reason: "server-violation"}, func(w http.ResponseWriter, _ *http.Request, m message) {
			reply(w, m, `{"resultType":"input_required","requestState":"x","inputRequests":{"k":{"method":"roots/list"}}}`)
		}},
		"asks for what there is not": {harmed{reason: "server-violation"}, func(w http.ResponseWriter, _ *http.Request, m message) {
			reply(w, m, `{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call","params":{"name":"stolen"}}}}`)
		}},
		"500": {harmed{reason: "server-unavailable"}, func(w http.ResponseWriter, _ *http.Request, _ message) {
			http.Error(w, "stolen", http.StatusInternalServerError)
		}},
		"redirect": {harmed{reason: "server-unavailable"}, func(w http.ResponseWriter, r *http.Request, _ message) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		}},
		"page": {harmed{reason: "server-violation"}, func(w http.ResponseWriter, _ *http.Request, _ message) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<p>stolen"))
		}},
		"error": {harmed{reason: "server-error"}, func(w http.ResponseWriter, _ *http.Request, m message) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-1,"message":"its own words","data":{"id":"none of ours"}}}`, m.ID)
		}},
	}
	for name, f := range map[string]func(m message) string{
		"twice":      func(m message) string { return answerOf(m, text("first")) + answerOf(m, text("stolen")) },
		"another ID": func(m message) string { m.ID = []byte("999"); return answerOf(m, text("stolen")) },
		"text ID":    func(m message) string { m.ID = []byte(`"` + string(m.ID) + `"`); return answerOf(m, text("stolen")) },
		"no ID":      func(message) string { return `{"jsonrpc":"2.0","result":{}}` },
		"batch":      func(m message) string { return "[" + answerOf(m, text("stolen")) + "]" },
		"64 MiB":     func(m message) string { return answerOf(m, text(strings.Repeat("x", 64<<20))) },
		"utf8":       func(m message) string { return answerOf(m, `{"content":[{"type":"text","text":"`+"\xff\xfe"+`"}]}`) },
		"lone":       func(m message) string { return answerOf(m, `{"content":[{"type":"text","text":"\ud800"}]}`) },
		"doubled":    func(m message) string { return answerOf(m, `{"content":[],"content":[]}`) },
		"list":       func(m message) string { return answerOf(m, `[]`) },
		"deep": func(m message) string {
			return answerOf(m, `{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`)
		},
		"both": func(m message) string {
			return `{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{},"error":{"code":1,"message":"stolen"}}`
		},
	} {
		for i, do := range unreadable(f) {
			harms[name+[]string{"", " in a stream"}[i]] = harm{harmed{reason: "server-violation"}, do}
		}
	}
	for name, h := range harms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.tools["harm"] = h.do
			conf := s.config("limits: { result: 1MiB }\n")
			if h.reason == "deadline" {
				conf = strings.Replace(conf, "era: modern", "era: modern, timeout: 1s", 1)
			}
			r := newRig(t, conf)
			resp, body := r.ask(call("alice", "harm", `{}`))
			if h.reason == "server-error" {
				if id, _ := errorID(t, body); id != "none of ours" || !strings.Contains(body, "its own words") {
					t.Errorf("the server's error came as %s", body)
				}
				return
			}
			r.ends(h.harmed, resp, body)
			r.othersServed()
		})
	}
}
