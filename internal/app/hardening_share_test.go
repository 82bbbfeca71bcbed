package app_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// stream is an SSE response that is being read.
type sse struct {
	r    *rig
	resp *http.Response
	b    *bufio.Reader
}

// listens opens a stream of changes and waits for its acknowledgement.
func (r *rig) listens(who string) *sse {
	r.t.Helper()
	s := r.opens(asked{who: who, method: "subscriptions/listen", members: `"notifications":{"toolsListChanged":true}`})
	s.hears("acknowledged")
	return s
}

// opens sends a request whose answer is a stream.
func (r *rig) opens(a asked) *sse {
	r.t.Helper()
	resp, err := r.client().Do(r.request(r.ctx, a))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("no stream: %d %s", resp.StatusCode, b)
	}
	return &sse{r, resp, bufio.NewReader(resp.Body)}
}

// hears returns the next line that contains what.
func (s *sse) hears(what string) string {
	s.r.t.Helper()
	for {
		line, err := s.b.ReadString('\n')
		if err != nil {
			s.r.t.Fatalf("the stream ended before %q: %v %q", what, err, line)
		}
		if strings.Contains(line, what) {
			return line
		}
	}
}

// ends reads to the end and returns what came.
func (s *sse) ends() string {
	s.r.t.Helper()
	b, err := io.ReadAll(s.b)
	if err != nil {
		s.r.t.Fatalf("the stream broke: %v", err)
	}
	return string(b)
}

func TestHardCallsPerPrincipal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { per_principal_calls: 2 }\nidentity: { insecure_anonymous: true }\n"))
	done := make(chan string, 2)
	for range 2 {
		go func() {
			_, body := r.ask(call("alice", "wait", `{}`))
			done <- body
		}()
		await(r, s.entered, "the call")
	}
	resp, body := r.ask(call("bob", "echo", `{}`))
	r.refused(resp, body, http.StatusTooManyRequests, "too-many-requests")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Another principal is not concerned.
	r.serves("")
	close(s.release)
	for range 2 {
		if body := await(r, done, "an answer"); !strings.Contains(body, "released") {
			t.Error(body)
		}
	}
	r.serves("bob")
}

func TestHardStreamsPerPrincipal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { per_principal_streams: 2, per_principal_calls: 1, streams: 3 }\nidentity: { insecure_anonymous: true }\n"))
	listen := asked{who: "alice", method: "subscriptions/listen", members: `"notifications":{"toolsListChanged":true}`}
	first := r.listens("alice")
	r.listens("bob")
	resp, body := r.ask(listen)
	r.refused(resp, body, http.StatusTooManyRequests, "too-many-requests")
	// Streams are no calls: those still work.
	r.serves("alice")
	// Another principal has its own share, as long as there is room in all.
	r.listens("")
	stranger := listen
	stranger.who = ""
	resp, body = r.ask(stranger)
	r.refused(resp, body, http.StatusTooManyRequests, "too-many-requests")
	_ = first.resp.Body.Close()
	r.until("the place is free again", func() bool {
		resp, err := r.client().Do(r.request(r.ctx, listen))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode == 200
	})
}

// session opens a legacy session and returns its headers.
func (r *rig) session(who string) []string {
	r.t.Helper()
	resp, body := r.ask(initialize(who))
	if resp.StatusCode != 200 {
		r.t.Fatalf("initialize: %d %s", resp.StatusCode, body)
	}
	h := append(initialize(who).headers[:2:2], "Mcp-Protocol-Version: 2025-11-25", "Mcp-Session-Id: "+resp.Header.Get("Mcp-Session-Id"))
	r.say(who, h, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return h
}

func initialize(who string) asked {
	return asked{who: who, method: "initialize", headers: []string{"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version"},
		whole: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}`}
}

// say posts a whole message in a session.
func (r *rig) say(who string, session []string, body string) (*http.Response, string) {
	r.t.Helper()
	return r.ask(asked{who: who, headers: session, whole: body})
}

func TestHardSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("limits: { per_principal_sessions: 2, sessions: 3 }\nidentity: { insecure_anonymous: true }\n"))
	first := r.session("alice")
	r.session("bob")
	for _, who := range []string{"alice", "bob"} {
		resp, body := r.ask(initialize(who))
		r.refused(resp, body, http.StatusTooManyRequests, "too-many-requests")
	}
	r.session("")
	resp, body := r.ask(initialize(""))
	r.refused(resp, body, http.StatusTooManyRequests, "too-many-requests")
	end := r.request(r.ctx, asked{who: "alice", headers: first})
	end.Method, end.Body, end.ContentLength = http.MethodDelete, nil, 0
	if resp, body := r.do(r.client(), end); resp.StatusCode != http.StatusNoContent {
		t.Errorf("delete: %d %s", resp.StatusCode, body)
	}
	r.session("alice")
}

// Who is at the limit of its calls can still answer what they ask.
func TestHardAnswersAreNoCalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("limits: { per_principal_calls: 1 }\n"))
	h := r.session("alice")
	s := r.opens(asked{who: "alice", headers: h, whole: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask"}}`})
	var q struct{ ID json.RawMessage }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(s.hears("elicitation/create"), "data: ")), &q); err != nil {
		t.Fatal(err)
	}
	if resp, body := r.say("alice", h, `{"jsonrpc":"2.0","id":`+string(q.ID)+`,"result":{"action":"accept","content":{"a":"b"}}}`); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the answer: %d %s", resp.StatusCode, body)
	}
	s.hears("answered")
}
