package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tap keeps every byte that arrives on the connections of a listener.
type tap struct {
	net.Listener
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *tap) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapped{c, l}, nil
}

func (l *tap) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.all.Bytes())
}

type tapped struct {
	net.Conn
	l *tap
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.l.mu.Lock()
	c.l.all.Write(p[:n])
	c.l.mu.Unlock()
	return n, err
}

// heard is one request as a server got it.
type heard struct{ method, kind, who, auth string }

// captive is an MCP server of one era that keeps all it is sent. It refuses a
// credential once where a call asks for that, and says secrets in its refusals.
type captive struct {
	*httptest.Server
	tap    *tap
	legacy bool

	mu       sync.Mutex
	reqs     []heard
	sessions map[string]string // to their users
	refused  map[string]bool   // owners of credentials
	waits    map[string]chan struct{}
	n        int
	more     *sync.Cond // told of each request
}

func newCaptive(t *testing.T, legacy bool) *captive {
	t.Helper()
	c := &captive{legacy: legacy, sessions: map[string]string{}, refused: map[string]bool{}, waits: map[string]chan struct{}{}}
	c.more = sync.NewCond(&c.mu)
	c.Server = httptest.NewUnstartedServer(c)
	c.tap = &tap{Listener: c.Listener}
	c.Listener = c.tap
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// userOf finds the user whose client a message names.
func userOf(text string) string {
	for _, who := range []string{"kim", "lee"} {
		if strings.Contains(text, who+"-client") {
			return who
		}
	}
	return ""
}

type upMessage struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name           string
		Arguments      map[string]string
		InputResponses json.RawMessage
	}
}

func (c *captive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m upMessage
	_ = json.Unmarshal(body, &m)
	session := r.Header.Get("Mcp-Session-Id")
	c.mu.Lock()
	who := userOf(string(body))
	if who == "" {
		who = c.sessions[session]
	}
	kind := m.Method
	if kind == "" && r.Method == http.MethodPost {
		kind = "response"
	}
	auth := r.Header.Get("Authorization")
	c.reqs = append(c.reqs, heard{r.Method, kind, who, auth})
	if do := m.Params.Arguments["do"]; do == "wait" {
		c.reqs = append(c.reqs, heard{r.Method, kind + " " + do, who, auth})
	}
	c.more.Broadcast()
	owner := strings.Join(strings.SplitN(auth, "-", 3)[:min(2, strings.Count(auth, "-")+1)], "-")
	refuse := m.Params.Arguments["do"] == "refuse" && !c.refused[owner]
	if refuse {
		c.refused[owner] = true
	}
	c.mu.Unlock()
	if refuse {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://evil.example/upstream-words", error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "upstream-words")
		return
	}
	if c.legacy {
		c.serveLegacy(w, r, m, who, session)
	} else {
		c.serveModern(w, r, m)
	}
}

func answerWith(w http.ResponseWriter, id json.RawMessage, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func events(w http.ResponseWriter) func(string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	return func(event string) {
		_, _ = io.WriteString(w, event+"\n\n")
		_ = http.NewResponseController(w).Flush()
	}
}

const (
	listing  = `"tools":[{"name":"look","inputSchema":{"type":"object","properties":{"do":{"type":"string"}}}}],"prompts":[{"name":"p"}],"resources":[{"uri":"x:1","name":"r"}],"resourceTemplates":[{"uriTemplate":"x:{a}","name":"t"}]`
	contents = `"content":[{"type":"text","text":"done"}],"messages":[],"contents":[{"uri":"x:1","text":"t"}],"completion":{"values":[]}`
	question = `{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string"}}}}`
)

func (c *captive) serveModern(w http.ResponseWriter, r *http.Request, m upMessage) {
	const caching = `,"ttlMs":0,"cacheScope":"private"`
	switch {
	case m.Method == "initialize":
		w.WriteHeader(http.StatusBadRequest)
	case m.Method == "server/discover":
		answerWith(w, m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}`+caching+`}`)
	case strings.HasSuffix(m.Method, "/list"):
		answerWith(w, m.ID, `{"resultType":"complete",`+listing+caching+`}`)
	case m.Method == "subscriptions/listen":
		send := events(w)
		send(`data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":` + string(m.ID) + `},"notifications":{"toolsListChanged":true}}}`)
		<-r.Context().Done()
	case m.Params.Arguments["do"] == "ask" && m.Params.InputResponses == nil:
		answerWith(w, m.ID, `{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":`+question+`}},"requestState":"st"}`)
	case len(m.ID) == 0:
		w.WriteHeader(http.StatusAccepted)
	default:
		answerWith(w, m.ID, `{"resultType":"complete",`+contents+caching+`}`)
	}
}

func (c *captive) serveLegacy(w http.ResponseWriter, r *http.Request, m upMessage, who, session string) {
	switch {
	case m.Method == "server/discover":
		w.WriteHeader(http.StatusBadRequest)
	case m.Method == "initialize":
		c.mu.Lock()
		c.n++
		id := fmt.Sprintf("session-%d", c.n)
		c.sessions[id] = who
		c.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", id)
		answerWith(w, m.ID, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}},"serverInfo":{"name":"captive","version":"1"}}`)
	case r.Method == http.MethodGet && r.Header.Get("Last-Event-ID") != "":
		events(w)("data: {\"jsonrpc\":\"2.0\",\"id\":" + strings.TrimPrefix(r.Header.Get("Last-Event-ID"), "for-") + ",\"result\":{" + contents + "}}")
	case r.Method == http.MethodGet:
		send := events(w)
		send(`data: {"jsonrpc":"2.0","id":"sp","method":"ping"}`)
		<-r.Context().Done()
	case r.Method == http.MethodDelete:
	case m.Method == "" && len(m.ID) > 0:
		c.mu.Lock()
		if wait := c.waits[session+string(m.ID)]; wait != nil {
			close(wait)
			delete(c.waits, session+string(m.ID))
		}
		c.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	case len(m.ID) == 0:
		w.WriteHeader(http.StatusAccepted)
	case strings.HasSuffix(m.Method, "/list"):
		answerWith(w, m.ID, `{`+listing+`}`)
	case m.Params.Arguments["do"] == "ask":
		wait := make(chan struct{})
		c.mu.Lock()
		c.n++
		id := fmt.Sprintf(`"q%d"`, c.n)
		c.waits[session+id] = wait
		c.mu.Unlock()
		send := events(w)
		send(`data: {"jsonrpc":"2.0","id":` + id + `,"method":"elicitation/create","params":` + question + `}`)
		select {
		case <-wait:
			send(`data: {"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{` + contents + `}}`)
		case <-r.Context().Done():
		}
	case m.Params.Arguments["do"] == "cut":
		events(w)("id: for-" + string(m.ID) + "\nretry: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}")
	case m.Params.Arguments["do"] == "wait":
		events(w)(": waiting")
		<-r.Context().Done()
	default:
		answerWith(w, m.ID, `{`+contents+`}`)
	}
}

func (c *captive) requests() []heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]heard(nil), c.reqs...)
}

// await waits until a request of a user came.
func (c *captive) await(t *testing.T, method, kind, who string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, c.more.Broadcast)()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !slices.ContainsFunc(c.reqs, func(h heard) bool { return h.method == method && h.kind == kind && h.who == who }) {
		if ctx.Err() != nil {
			t.Errorf("no %s %s of %s came", method, kind, who)
			return
		}
		c.more.Wait()
	}
}

// awaitCall waits until a call that asks for something came.
func (c *captive) awaitCall(t *testing.T, who, do string) {
	t.Helper()
	c.await(t, http.MethodPost, "tools/call "+do, who)
}
