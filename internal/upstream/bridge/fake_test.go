package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// peer is an MCP server in this process. It speaks the eras it is told to,
// over transports that behave like HTTP or like a process.
type peer struct {
	t              *testing.T
	kind           Kind
	modern, legacy bool
	// sticky: one connection holds the era it was opened in, as the Go SDK's
	// stdio server does.
	sticky bool
	// mute: what the peer does not speak is met with silence.
	mute    bool
	version string // answered to initialize; default: what was asked
	caps    string
	handle  func(x *exchange) (string, *mcp.Error)
	listen  func(p *pipe, ctx context.Context) error
	heard   func(m upstream.Outgoing) // a notification
	// refuse is what an HTTP peer answers to the era it does not speak.
	refuse error
	// admit judges on whose behalf each message of a pipe is sent (optional).
	admit func(pipe int, what string, who call.Subject) error

	mu    sync.Mutex
	pipes []*pipe
	log   []string
}

func (p *peer) Dial(_ context.Context, o upstream.DialOptions) (upstream.Transport, error) {
	pp := &pipe{p: p, o: o, closed: make(chan struct{}), answers: map[string]chan upstream.Outgoing{}}
	p.mu.Lock()
	pp.n = len(p.pipes)
	p.pipes = append(p.pipes, pp)
	p.mu.Unlock()
	return pp, nil
}

func (p *peer) note(format string, args ...any) {
	p.mu.Lock()
	p.log = append(p.log, fmt.Sprintf(format, args...))
	p.mu.Unlock()
}

// seen returns the log lines that begin with a prefix.
func (p *peer) seen(prefix string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, l := range p.log {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

func (p *peer) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pipes)
}

func (p *peer) pipe(i int) *pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i < 0 {
		i += len(p.pipes)
	}
	return p.pipes[i]
}

// pipe is one connection to a peer.
type pipe struct {
	p *peer
	o upstream.DialOptions
	n int

	mu      sync.Mutex
	era     mcp.Era
	last    int64
	posed   int64
	answers map[string]chan upstream.Outgoing
	closed  chan struct{}
	once    sync.Once
	cause   error
}

// exchange is a request as the peer's handlers see it.
type exchange struct {
	*pipe
	ctx    context.Context
	m      upstream.Outgoing
	id     mcp.ID
	params map[string]any
	asked  mcp.Era // of the request
	h      upstream.Handler

	emit sync.Mutex
	over bool
}

func (pp *pipe) Exchange(ctx context.Context, m upstream.Outgoing, h upstream.Handler) (mcp.Message, error) {
	pp.mu.Lock()
	pp.last++
	id := mcp.NumberID(pp.last)
	pp.mu.Unlock()
	if m.RequestID != nil {
		m.RequestID(id)
	}
	if m.Members != nil {
		m.Params = m.Members.Append(nil)
	}
	if _, err := mcp.Decode(mcp.AppendRequest(nil, id, m.Method, m.Params), strictjson.Default()); err != nil {
		pp.p.t.Errorf("the bridge sent a malformed request: %v: %s", err, m.Params)
	}
	if err := pp.admit(m.Method, m.Subject); err != nil {
		return mcp.Message{}, err
	}
	pp.p.note("%d> %s %s", pp.n, m.Method, m.Params)
	x := &exchange{pipe: pp, ctx: ctx, m: m, id: id, h: h}
	_ = json.Unmarshal(m.Params, &x.params)
	done := make(chan mcp.Message, 1)
	fail := make(chan error, 1)
	go func() {
		result, e, err := x.serve()
		if errors.Is(err, errSilence) {
			return // nobody waits any more
		}
		if err != nil {
			fail <- err
			return
		}
		done <- pp.p.decode(respond(id, result, e))
	}()
	defer func() { x.emit.Lock(); x.over = true; x.emit.Unlock() }()
	select {
	case msg := <-done:
		return msg, nil
	case err := <-fail:
		return mcp.Message{}, err
	case <-ctx.Done():
		return mcp.Message{}, ctx.Err()
	case <-pp.closed:
		return mcp.Message{}, pp.cause
	}
}

// admit resolves on whose behalf a message is sent as a transport does.
func (pp *pipe) admit(what string, who call.Subject) error {
	if pp.p.admit == nil {
		return nil
	}
	if !who.Principal.Valid() && pp.o.Subject != nil {
		who = pp.o.Subject()
	}
	return pp.p.admit(pp.n, what, who)
}

func respond(id mcp.ID, result string, e *mcp.Error) []byte {
	if e != nil {
		return mcp.AppendError(nil, id, e, false)
	}
	return mcp.AppendResult(nil, id, []byte(result))
}

func (p *peer) decode(b []byte) mcp.Message {
	msg, err := mcp.Decode(b, strictjson.Default())
	if err != nil {
		p.t.Errorf("the peer sent a malformed message: %v: %s", err, b)
	}
	return msg
}

// errSilence makes an exchange wait until it is given up.
var errSilence = errors.New("silence")

func (x *exchange) serve() (string, *mcp.Error, error) {
	p := x.p
	no := func() (string, *mcp.Error, error) {
		if p.mute {
			<-x.ctx.Done()
			return "", nil, errSilence
		}
		if p.refuse != nil {
			return "", nil, p.refuse
		}
		return "", &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "Method not found"}, nil
	}
	meta, _ := x.params["_meta"].(map[string]any)
	_, isModern := meta[mcp.MetaProtocolVersion]
	asked := mcp.Legacy
	if isModern {
		asked = mcp.Modern
	}
	x.asked = asked
	x.mu.Lock()
	if x.era == 0 {
		x.era = asked
	}
	spoiled := p.sticky && x.era != asked
	x.mu.Unlock()
	if spoiled || isModern && !p.modern || !isModern && !p.legacy {
		return no()
	}
	caps := p.caps
	if caps == "" {
		caps = `{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{}}`
	}
	switch x.m.Method {
	case mcp.MethodDiscover:
		return `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + caps +
			`,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"peer","version":"1"}},"instructions":"be kind","ttlMs":1,"cacheScope":"public"}`, nil, nil
	case mcp.MethodInitialize:
		v := p.version
		if v == "" {
			v, _ = x.params["protocolVersion"].(string)
		}
		return `{"protocolVersion":"` + v + `","capabilities":` + caps + `,"serverInfo":{"name":"peer","version":"1"},"instructions":"be kind"}`, nil, nil
	}
	if p.handle == nil {
		return `{}`, nil, nil
	}
	r, e := p.handle(x)
	if r == "silence" {
		<-x.ctx.Done()
		return "", nil, errSilence
	}
	if r == "" && e == nil {
		r = `{}`
	}
	return r, e, nil
}

func (x *exchange) out(b []byte) {
	msg := x.p.decode(b)
	if x.p.kind == Stdio {
		x.o.Unbound(msg)
		return
	}
	x.emit.Lock()
	defer x.emit.Unlock()
	if !x.over {
		x.h(msg)
	}
}

func (x *exchange) notify(method, params string) {
	x.out(mcp.AppendNotification(nil, method, []byte(params)))
}

// ask sends a request of the server and waits for its answer.
func (x *exchange) ask(method, params string) upstream.Outgoing {
	id, ch := x.question()
	x.out(mcp.AppendRequest(nil, id, method, []byte(params)))
	return x.await(ch)
}

func (pp *pipe) question() (mcp.ID, chan upstream.Outgoing) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.posed++
	id := mcp.StringID(fmt.Sprintf("q%d", pp.posed))
	ch := make(chan upstream.Outgoing, 4)
	pp.answers[id.Raw()] = ch
	return id, ch
}

func (pp *pipe) await(ch chan upstream.Outgoing) upstream.Outgoing {
	select {
	case a := <-ch:
		return a
	case <-pp.closed:
		return upstream.Outgoing{Result: []byte(`{}`)}
	}
}

func (x *exchange) token() string {
	meta, _ := x.params["_meta"].(map[string]any)
	b, _ := json.Marshal(meta["progressToken"])
	return string(b)
}

// unboundAsk sends a request that belongs to no exchange.
func (pp *pipe) unboundAsk(method, params string) chan upstream.Outgoing {
	id, ch := pp.question()
	pp.o.Unbound(pp.p.decode(mcp.AppendRequest(nil, id, method, []byte(params))))
	return ch
}

func (pp *pipe) unboundNotify(method, params string) {
	pp.o.Unbound(pp.p.decode(mcp.AppendNotification(nil, method, []byte(params))))
}

func (pp *pipe) Send(_ context.Context, m upstream.Outgoing) error {
	if err := pp.admit(m.Method, m.Subject); err != nil {
		return err
	}
	if m.Method != "" {
		pp.p.note("%d! %s %s", pp.n, m.Method, m.Params)
		if pp.p.heard != nil {
			pp.p.heard(m)
		}
		return nil
	}
	pp.p.decode(respond(m.Answer, string(m.Result), m.Error))
	pp.p.note("%d= %s %s", pp.n, m.Answer.Raw(), respond(m.Answer, string(m.Result), m.Error))
	pp.mu.Lock()
	ch := pp.answers[m.Answer.Raw()]
	pp.mu.Unlock()
	if ch == nil {
		pp.p.t.Errorf("the bridge answered what was not asked: %s", m.Answer.Raw())
		return nil
	}
	ch <- m
	return nil
}

func (pp *pipe) Listen(ctx context.Context) error {
	if err := pp.admit("GET", call.Subject{}); err != nil {
		return err
	}
	if pp.p.listen != nil {
		return pp.p.listen(pp, ctx)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pp.closed:
		return pp.cause
	}
}

func (pp *pipe) Close() error {
	_ = pp.admit("DELETE", call.Subject{})
	pp.end(upstream.ErrDown)
	return nil
}

func (pp *pipe) end(cause error) {
	pp.once.Do(func() {
		pp.cause = cause
		close(pp.closed)
		pp.p.note("%d closed", pp.n)
	})
}

// crash ends the connection from the peer's side.
func (pp *pipe) crash(cause error) {
	pp.end(cause)
	pp.o.Down(cause)
}

// client is the caller's side of a call.
type client struct {
	mu     sync.Mutex
	got    []string
	answer func(ctx context.Context, method string, params []byte) (string, *mcp.Error, error)
}

func (c *client) Notify(method string, params []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, strings.TrimSpace(method+" "+string(params)))
	return nil
}

func (c *client) Ask(ctx context.Context, method string, params []byte) ([]byte, *mcp.Error, error) {
	c.mu.Lock()
	c.got = append(c.got, strings.TrimSpace("ask "+method+" "+string(params)))
	c.mu.Unlock()
	if c.answer == nil {
		return nil, nil, errors.New("nobody answers")
	}
	r, e, err := c.answer(ctx, method, params)
	return []byte(r), e, err
}

func (c *client) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// rig is a bridge with its peer.
type rig struct {
	*Server
	t    *testing.T
	peer *peer
	mu   sync.Mutex
	bad  []string
}

func newRig(t *testing.T, p *peer, tune func(*Config)) *rig {
	t.Helper()
	if p.kind == 0 {
		p.kind = HTTP
	}
	p.t = t
	r := &rig{t: t, peer: p}
	cfg := Config{Name: "srv", Era: EraAuto, Kind: p.kind, Violation: func(kind, detail string) {
		r.mu.Lock()
		r.bad = append(r.bad, kind)
		r.mu.Unlock()
	}}
	if tune != nil {
		tune(&cfg)
	}
	s, err := New(cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func (r *rig) violations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bad)
}

func principal(name string) call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "test", Subject: name, Kind: call.Operator, Client: "cli"})
}

func caps(raw string) mcp.Capabilities {
	c, err := mcp.ParseCapabilities([]byte(raw))
	if err != nil {
		panic(err)
	}
	return c
}

const everything = `{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}`

func modernCaller(name, capabilities string) upstream.Caller {
	return upstream.Caller{Principal: principal(name), Era: mcp.Modern, Version: mcp.V20260728,
		Capabilities: caps(capabilities), ClientInfo: []byte(`{"name":"c","version":"2"}`)}
}

func legacyCaller(name, session, capabilities string) upstream.Caller {
	return upstream.Caller{Principal: principal(name), Session: session, Era: mcp.Legacy, Version: mcp.V20251125,
		Capabilities: caps(capabilities), ClientInfo: []byte(`{"name":"c","version":"2"}`)}
}

var allStages = []call.Stage{call.Accept, call.Authenticate, call.Admit, call.Decode, call.Resolve, call.Validate, call.Authorize, call.InspectRequest}

// clear mints a clearance as the pipeline does.
func (r *rig) clear(from upstream.Caller, method, name, params string) *call.Clearance {
	return r.clearFor("srv", from, method, name, params, func() call.Generations { return call.Generations{} })
}

func (r *rig) clearFor(server string, from upstream.Caller, method, name, params string, gens func() call.Generations) *call.Clearance {
	c := call.New(time.Now())
	c.Principal, c.Session = from.Principal, from.Session
	c.Target = call.Target{Server: server, Method: method, Name: name}
	for _, s := range allStages {
		c.Pass(s)
	}
	var raw []byte
	if params != "" {
		raw = []byte(params)
	}
	cl, err := c.Clear(raw, gens)
	if err != nil {
		panic(err)
	}
	return cl
}

// do makes a call with a fresh clearance.
func (r *rig) do(ctx context.Context, from upstream.Caller, c upstream.Client, method, params string) (upstream.Answer, error) {
	r.t.Helper()
	name := ""
	if route, ok := mcp.RouteOf(from.Era, method); ok && route.Name != "" {
		o, _ := mcp.ObjectOf([]byte(params))
		name, _ = mcp.Text(o, route.Name, 1024)
	}
	return r.Call(ctx, r.clear(from, method, name, params), from, c)
}

func (r *rig) must(from upstream.Caller, c upstream.Client, method, params string) upstream.Answer {
	r.t.Helper()
	a, err := r.do(r.t.Context(), from, c, method, params)
	if err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
	return a
}

// resume brings responses back.
func resumed(from upstream.Caller, a upstream.Answer, responses string) upstream.Caller {
	from.Resume = &upstream.Resume{State: a.State, Responses: []byte(responses)}
	return from
}
