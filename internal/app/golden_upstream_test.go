package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is a scripted MCP server over real HTTP, or behind a real process that
// passes its standard streams on to it. It is hostile exactly where its script
// says so.
type fake struct {
	t      *testing.T
	ctx    context.Context
	name   string // prefix of what it counts on the board, "" or "a:"
	script *script
	board  *board
	http   *httptest.Server
	pipe   net.Listener
	work   sync.WaitGroup

	mu       sync.Mutex
	taken    map[string]int
	sessions int
	entries  []entry
	numbers  map[string]string // session and raw ID to the number of the view
	next     int
	placeOf  map[string]int // request's number to its entry
	raw      [][]byte
	live     map[string]context.CancelFunc
	answers  map[string]chan struct{}
	made     map[string]string // "${task ID}" of a request of the server to the task that answered it
	conns    map[net.Conn]struct{}
}

// entry is one thing that an upstream saw. GET streams come first and DELETE
// last in the view, since nothing orders them among the calls.
type entry struct {
	class int
	text  string
	ends  []string // how a request went on, in no order
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func newFake(t *testing.T, ctx context.Context, name string, s *script, b *board) *fake {
	t.Helper()
	f := &fake{t: t, ctx: ctx, name: name, script: s, board: b, taken: map[string]int{}, numbers: map[string]string{}, placeOf: map[string]int{},
		live: map[string]context.CancelFunc{}, answers: map[string]chan struct{}{}, made: map[string]string{}, conns: map[net.Conn]struct{}{}}
	f.http = httptest.NewServer(http.HandlerFunc(f.serveHTTP))
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.pipe = l
	go f.accept()
	return f
}

// close ends the server and waits for everything that it still does.
func (f *fake) close() {
	_ = f.pipe.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.http.CloseClientConnections()
	f.http.Close()
	f.work.Wait()
}

func (f *fake) saw(class int, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, entry{class: class, text: fmt.Sprintf(format, args...)})
}

// ended notes with a request how it went on. Nothing orders that among what
// came meanwhile.
func (f *fake) ended(number, how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok := f.placeOf[number]; ok {
		f.entries[i].ends = append(f.entries[i].ends, how)
		return
	}
	f.entries = append(f.entries, entry{class: 1, text: number + " " + how})
}

// view is what the server saw, in the order described at entry.
func (f *fake) view() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	es := slices.Clone(f.entries)
	slices.SortStableFunc(es, func(a, b entry) int {
		if a.class == b.class && a.class != 1 {
			return strings.Compare(a.text, b.text)
		}
		return a.class - b.class
	})
	var b strings.Builder
	for _, e := range es {
		b.WriteString(e.text)
		b.WriteByte('\n')
		for _, end := range slices.Sorted(slices.Values(e.ends)) {
			b.WriteString("  " + end + "\n")
		}
	}
	return b.String()
}

// number names a request ID in the view by the order of arrival.
func (f *fake) number(session string, id json.RawMessage) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	n := "#" + strconv.Itoa(f.next)
	f.numbers[session+" "+string(id)] = n
	return n
}

// block takes the next block of a method.
func (f *fake) block(method string) *block {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.taken[method]; n < len(f.script.once[method]) {
		f.taken[method]++
		return f.script.once[method][n]
	}
	return f.script.always[method]
}

// line is where an answer goes: one HTTP response, or a process's output.
type line interface {
	message(b []byte) error
	raw(b []byte) error
	together(messages []string) error
	part(typ string, b []byte) error
	status(code int, header http.Header, body []byte) error
	drop()
}

// take reads one message and reports what to do for it.
func (f *fake) take(session, how, headers string, body []byte) (m message, number string, ok bool) {
	f.mu.Lock()
	f.raw = append(f.raw, slices.Clone(body))
	f.mu.Unlock()
	if err := json.Unmarshal(body, &m); err != nil {
		f.saw(1, "%s what is no message: %q", how, body)
		return m, "", false
	}
	switch {
	case m.Method == "" && m.Result != nil:
		f.saw(1, "%s answer %s%s\n  result %s", how, m.ID, headers, m.Result)
		f.answered(session, m)
	case m.Method == "" && m.Error != nil:
		f.saw(1, "%s answer %s%s\n  error %s", how, m.ID, headers, m.Error)
		f.answered(session, m)
	case m.Method == "notifications/cancelled":
		f.cancelled(session, headers, m)
	case m.ID == nil:
		f.saw(1, "%s %s%s%s", how, m.Method, headers, f.params(m))
	default:
		number = f.number(session, m.ID)
		f.saw(1, "%s %s %s%s%s", how, number, m.Method, headers, f.params(m))
		ok = true
		f.mu.Lock()
		f.placeOf[number] = len(f.entries) - 1
		f.mu.Unlock()
	}
	if m.Method != "" {
		f.board.count(f.name + m.Method)
	} else {
		f.board.count(f.name + "answer")
	}
	return m, number, ok
}

func (f *fake) params(m message) string {
	if m.Params == nil {
		return ""
	}
	return "\n  " + string(m.Params)
}

// cancelled notes notifications/cancelled with the request that it names:
// nothing orders it among what else the gateway sends.
func (f *fake) cancelled(session, headers string, m message) {
	var p struct {
		RequestID json.RawMessage `json:"requestId"`
		Reason    string          `json:"reason"`
	}
	_ = json.Unmarshal(m.Params, &p)
	key := session + " " + string(p.RequestID)
	f.mu.Lock()
	number, cancel := f.numbers[key], f.live[key]
	f.mu.Unlock()
	if number == "" {
		number = string(p.RequestID)
	}
	f.ended(number, m.Method+headers+": "+p.Reason)
	if cancel != nil {
		cancel()
	}
}

func (f *fake) answer(session string, id string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.answers[session+" "+id]
	if c == nil {
		c = make(chan struct{})
		f.answers[session+" "+id] = c
	}
	return c
}

func (f *fake) answered(session string, m message) {
	c := f.answer(session, string(m.ID))
	var r struct {
		Task struct {
			ID string `json:"taskId"`
		} `json:"task"`
	}
	_ = json.Unmarshal(m.Result, &r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made["${task "+string(m.ID)+"}"] = r.Task.ID
	select {
	case <-c:
		f.entries = append(f.entries, entry{class: 1, text: "  ... which was answered before"})
	default:
		close(c)
	}
}

// modernMeta reports a request of the modern era.
func modernMeta(m message) bool {
	return bytes.Contains(m.Params, []byte(metaPrefix+"protocolVersion"))
}

// handle answers one request. ctx ends when the requester gives up.
func (f *fake) handle(ctx context.Context, session, number string, m message, out line) {
	modern := modernMeta(m)
	b := f.block(m.Method)
	switch {
	case b != nil:
		f.run(ctx, session, number, m, b, out)
		return
	case modern && !f.script.modern:
		_ = out.status(400, nil, envelope(m.ID, `"error":{"code":-32000,"message":"Bad Request: Server not initialized"}`))
		return
	case !modern && !f.script.legacy:
		_ = out.status(400, nil, envelope(m.ID, `"error":{"code":-32020,"message":"Header mismatch: MCP-Protocol-Version is missing"}`))
		return
	}
	if body, ok := f.usual(m, modern); ok {
		_ = out.message(envelope(m.ID, `"result":`+body))
		return
	}
	status := 200
	if modern {
		status = 404
	}
	_ = out.status(status, nil, envelope(m.ID, `"error":{"code":-32601,"message":"Method not found"}`))
}

const upstreamInfo = `{"name":"upstream","version":"1"}`

// usual is what the server answers where its script says nothing.
func (f *fake) usual(m message, modern bool) (string, bool) {
	words := ""
	if f.script.instructions != "" {
		words = `,"instructions":` + f.script.instructions
	}
	list, ok := f.script.lists[m.Method]
	switch {
	case m.Method == "server/discover" && modern:
		return `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + f.script.caps + words +
			`,"ttlMs":0,"cacheScope":"private","_meta":{"` + metaPrefix + `serverInfo":` + upstreamInfo + `}}`, true
	case m.Method == "initialize" && !modern:
		var p struct {
			ProtocolVersion json.RawMessage `json:"protocolVersion"`
		}
		_ = json.Unmarshal(m.Params, &p)
		return `{"protocolVersion":` + string(p.ProtocolVersion) + `,"capabilities":` + f.script.caps + `,"serverInfo":` + upstreamInfo + words + `}`, true
	case ok && modern:
		return `{"resultType":"complete","` + listMember(m.Method) + `":` + list + `,"ttlMs":60000,"cacheScope":"private"}`, true
	case ok:
		return `{"` + listMember(m.Method) + `":` + list + `}`, true
	case !modern && slices.Contains([]string{"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}, m.Method):
		return `{}`, true
	}
	return "", false
}

func listMember(method string) string {
	if method == "resources/templates/list" {
		return "resourceTemplates"
	}
	return strings.TrimSuffix(method, "/list")
}

func envelope(id json.RawMessage, rest string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":` + string(id) + `,` + rest + `}`)
}

// run plays one block.
func (f *fake) run(ctx context.Context, session, number string, m message, b *block, out line) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	key := session + " " + string(m.ID)
	if m.ID != nil {
		f.mu.Lock()
		f.live[key] = cancel
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			delete(f.live, key)
			f.mu.Unlock()
		}()
	}
	for _, s := range b.steps {
		s.rest = f.fill(s.rest, m)
		err := f.play(ctx, session, number, m, s, out)
		switch {
		case err == nil:
		case errors.Is(err, errDropped):
			out.drop()
			return
		case f.ctx.Err() != nil:
			return
		case ctx.Err() != nil && s.verb != "gone":
			f.ended(number, "was cancelled at "+s.verb)
			return
		default:
			f.ended(number, s.verb+": "+err.Error())
			return
		}
	}
}

var errDropped = errors.New("dropped")

func (f *fake) play(ctx context.Context, session, number string, m message, s step, out line) error {
	switch s.verb {
	case "result":
		return out.message(envelope(m.ID, `"result":`+s.rest))
	case "error":
		return out.message(envelope(m.ID, `"error":`+s.rest))
	case "together":
		return out.together(strings.Split(s.rest, "\n"))
	case "message":
		text, err := s.text()
		if err != nil {
			return err
		}
		return out.message([]byte(text))
	case "notify":
		method := s.word()
		return out.message(notification(method, s.rest))
	case "ask":
		id, method := s.word(), s.word()
		params := ""
		if s.rest != "" {
			params = `,"params":` + s.rest
		}
		return out.message([]byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `"` + params + `}`))
	case "answered":
		select {
		case <-f.answer(session, s.rest):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "stream":
		return out.raw([]byte(":\n\n"))
	case "bytes":
		text, err := s.text()
		if err != nil {
			return err
		}
		return out.raw([]byte(text))
	case "part":
		typ := s.word()
		text, err := s.text()
		if err != nil {
			return err
		}
		return out.part(typ, []byte(text))
	case "http":
		code, err := strconv.Atoi(s.word())
		if err != nil {
			return err
		}
		typ := s.word()
		text, err := s.text()
		if err != nil {
			return err
		}
		h := http.Header{}
		for _, field := range strings.Split(typ, ";") {
			if name, v, ok := strings.Cut(field, "="); ok {
				h.Set(name, v)
			} else if field != "-" {
				h.Set("Content-Type", field)
			}
		}
		return out.status(code, h, []byte(text))
	case "signal":
		f.board.signal(s.rest)
		return nil
	case "wait":
		return f.board.wait(ctx, s.rest)
	case "gone":
		select {
		case <-ctx.Done():
			f.ended(number, "is not awaited any more")
			f.board.count(f.name + "gone")
			return nil
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	case "drop":
		return errDropped
	}
	return fmt.Errorf("line %d: no such action", s.line)
}

func notification(method, params string) []byte {
	if params != "" {
		params = `,"params":` + params
	}
	return []byte(`{"jsonrpc":"2.0","method":"` + method + `"` + params + `}`)
}

// fill puts what the request carried into an action.
func (f *fake) fill(text string, m message) string {
	if !strings.Contains(text, "${") {
		return text
	}
	var p struct {
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(m.Params, &p)
	pairs := []string{"${token}", string(p.Meta.Token), "${id}", string(m.ID)}
	f.mu.Lock()
	for name, id := range f.made {
		pairs = append(pairs, name, id)
	}
	f.mu.Unlock()
	return strings.NewReplacer(pairs...).Replace(text)
}
