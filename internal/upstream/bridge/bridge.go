// Package bridge brings any MCP client to one configured MCP server: it finds
// out which era the server speaks, keeps the connections to it, and carries
// requests, server requests, notifications and tasks between the four pairs of
// client and server era.
//
// Threats: state of one caller that leaks into the calls of another; a server
// that asks what nobody called for, asks for what was not declared, answers
// with kinds of results that were not offered, or floods; a downgrade from a
// modern server to a legacy one; a call that is executed twice because its
// connection broke.
//
// It guarantees that a connection with state belongs to one principal, client
// and session (unless the operator marked the server as shared); that a
// server's request is answered only if it belongs to exactly one live call and
// the client declared it; that every message goes up in the name of the caller
// it belongs to, and on a connection of one caller in the name of that caller's
// newest proof; that every queue, wait and number of connections is
// bounded; that a suspended call is continued at most once, by its own caller;
// and that nothing is sent a second time after a connection was lost. It does
// not judge what the messages say: the pipeline does, before and after.
package bridge

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// EraSetting is the operator's word on the era of a server.
type EraSetting uint8

// The zero EraSetting is refused by New.
const (
	EraAuto EraSetting = iota + 1
	EraModern
	EraLegacy
)

// Kind is how the server is reached.
type Kind uint8

// The zero Kind is refused by New.
const (
	HTTP Kind = iota + 1
	Stdio
)

// Config describes one configured server. Era, Kind and Name are required; a
// zero duration, count or version means the default named with it.
type Config struct {
	Name string
	Era  EraSetting
	Kind Kind
	// Floor is the oldest revision that the server may answer with
	// (mcp.DefaultFloor).
	Floor mcp.Version
	// Shared states that the server keeps no state of its callers, so that one
	// connection may serve them all.
	Shared bool
	// PerPrincipal states that the server is given a credential of each caller's
	// own: no connection, and nothing remembered of one, serves another, whatever
	// Shared says.
	PerPrincipal bool
	// IdleTimeout closes a connection that nobody used for so long (10 min).
	IdleTimeout time.Duration
	// MaxConns bounds processes and sessions (256).
	MaxConns int
	// HandshakeTimeout bounds each attempt to open a connection (10 s),
	// ProbeTimeout the question to a process whether it is modern (3 s).
	HandshakeTimeout, ProbeTimeout time.Duration
	// MaxSuspended bounds the suspended calls of one principal (16), SuspendFor
	// how long one waits for its client (5 min), RoundGather how long further
	// requests of the server are awaited to form one round (50 ms).
	MaxSuspended int
	SuspendFor   time.Duration
	RoundGather  time.Duration
	// Logger gets what an operator may want to know (none). It names the
	// server itself.
	Logger *slog.Logger
	// WasModern says that the server was seen modern before this process began;
	// Modern is told when it is for the first time. A server that was modern
	// and says that it is not any more is held until Approve.
	WasModern bool
	Modern    func()
	// Changed is told of each notifications/…/list_changed of the server,
	// whoever listens to it. It must not block.
	Changed func(method string)
	// Violation is told when the server breaks the protocol: a kebab-case kind
	// and words of our own. It must not block; without it the Logger is told.
	Violation func(kind, detail string)
}

func (c *Config) defaults() {
	orDuration := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orDuration(&c.IdleTimeout, 10*time.Minute)
	orDuration(&c.HandshakeTimeout, 10*time.Second)
	orDuration(&c.ProbeTimeout, 3*time.Second)
	orDuration(&c.SuspendFor, 5*time.Minute)
	orDuration(&c.RoundGather, 50*time.Millisecond)
	if c.Floor == "" {
		c.Floor = mcp.DefaultFloor
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 256
	}
	if c.MaxSuspended <= 0 {
		c.MaxSuspended = 16
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Server is one configured server. It implements upstream.Server. Use New.
type Server struct {
	cfg    Config
	dialer upstream.Dialer
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	seed   maphash.Seed
	era    memory
	parked suspensions
	wants  wants
	own    ownTasks

	mu     sync.Mutex
	closed bool
	pool   map[string]*slot
	probes map[probed]*slot

	workMu  sync.Mutex
	work    sync.WaitGroup
	stopped bool
}

// spawn runs f in a goroutine that Close waits for.
func (s *Server) spawn(f func()) {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.stopped {
		go f()
		return
	}
	s.work.Go(f)
}

var _ upstream.Server = (*Server)(nil)

// New returns the server of a config. Nothing is dialed before the first call.
func New(cfg Config, d upstream.Dialer) (*Server, error) {
	switch {
	case cfg.Name == "" || d == nil:
		return nil, errors.New("bridge: a server needs a name and a dialer")
	case cfg.Era < EraAuto || cfg.Era > EraLegacy:
		return nil, errors.New("bridge: era must be auto, modern or legacy")
	case cfg.Kind != HTTP && cfg.Kind != Stdio:
		return nil, errors.New("bridge: a server is reached over HTTP or stdio")
	}
	cfg.defaults()
	cfg.Shared = cfg.Shared && !cfg.PerPrincipal
	s := &Server{cfg: cfg, dialer: d, pool: map[string]*slot{}, probes: map[probed]*slot{}, seed: maphash.MakeSeed()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.era.setting, s.era.seenModern, s.era.keep = cfg.Era, cfg.WasModern, cfg.Modern
	s.parked.init(s)
	return s, nil
}

var errClosed = errors.New("the gateway let go of this server")

// Approve lets a held server be spoken to as what it is now. It reports whether
// the server was held.
func (s *Server) Approve() bool {
	held := s.era.isHeld()
	s.era.approve()
	return held
}

// Close ends every call, stream and connection and waits until their
// goroutines are done or ctx ends.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	var open []*conn
	for _, sl := range s.pool {
		if c := sl.opened(); c != nil {
			open = append(open, c)
		}
	}
	s.mu.Unlock()
	s.parked.clear()
	s.cancel()
	for _, c := range open {
		c.lose(errClosed)
	}
	s.workMu.Lock()
	s.stopped = true
	s.workMu.Unlock()
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// End closes the connections of one downstream session and forgets what it
// subscribed to.
func (s *Server) End(session string) {
	if session == "" {
		return
	}
	s.mu.Lock()
	var open []*conn
	for key, sl := range s.pool {
		if sl.session != session {
			continue
		}
		delete(s.pool, key)
		sl.doomed = true
		if c := sl.opened(); c != nil {
			open = append(open, c)
		}
	}
	s.mu.Unlock()
	s.wants.forget(session)
	for _, c := range open {
		c.lose(errClosed)
	}
}

func (s *Server) violation(kind, detail string) {
	if s.cfg.Violation == nil {
		s.cfg.Logger.Warn("the server broke the protocol", "kind", kind, "detail", detail)
		return
	}
	s.cfg.Violation(kind, detail)
}

// spend uses a clearance up and checks that it is for this server and caller.
func (s *Server) spend(cl *call.Clearance, from upstream.Caller) (call.Cleared, error) {
	cleared, err := cl.Spend()
	if err != nil {
		return cleared, err
	}
	if cleared.Target.Server != s.cfg.Name || !same(cleared.Principal, from.Principal) || cleared.Session != from.Session {
		return cleared, call.ErrNotCleared
	}
	return cleared, nil
}

// same compares what ClientKey is made of.
func same(a, b call.Principal) bool {
	return a.Valid() && a.Key() == b.Key() && a.Identity().Client == b.Identity().Client
}

// greeting is what a modern server answered when its connection was opened.
type greeting struct {
	from upstream.Caller
	at   time.Time
	desc upstream.Description
}

// answers reports whether a caller that has waited since began would be told
// the same again.
func (g *greeting) answers(from upstream.Caller, began time.Time) bool {
	return g != nil && !g.at.Before(began) && same(g.from.Principal, from.Principal) && g.from.Era == from.Era &&
		bytes.Equal(g.from.Capabilities.Raw, from.Capabilities.Raw) && bytes.Equal(g.from.ClientInfo, from.ClientInfo)
}

// Describe implements upstream.Server. A modern server is asked each time,
// since its answer may depend on the caller; a legacy server said it at the
// handshake.
func (s *Server) Describe(ctx context.Context, from upstream.Caller) (upstream.Description, error) {
	var d upstream.Description
	began := time.Now()
	err := s.linked(ctx, from, func(c *conn) (err error) {
		switch {
		case c.era == mcp.Legacy:
			d = c.desc
		case c.hello.answers(from, began):
			d = c.hello.desc
		default:
			d, err = c.discover(ctx, from)
		}
		return err
	})
	if err != nil {
		return upstream.Description{}, err
	}
	d.Capabilities = ServerCapabilities(from.Era, d.Era, d.Capabilities)
	return d, nil
}

// Call implements upstream.Server.
func (s *Server) Call(ctx context.Context, cl *call.Clearance, from upstream.Caller, c upstream.Client) (upstream.Answer, error) {
	cleared, err := s.spend(cl, from)
	if err != nil {
		return upstream.Answer{}, err
	}
	if mcp.IsNotification(cleared.Target.Method) || cleared.Target.Method == mcp.MethodListen || cleared.Target.Method == mcp.MethodInitialize {
		return upstream.Answer{}, notExpressible("this message is not a call")
	}
	if from.Era == mcp.Modern && from.Resume != nil && from.Resume.State != "" {
		if f := s.parked.take(from.Resume.State, from.Principal.ClientKey(), cleared.Target); f != nil {
			a, err := f.resume(ctx, from, c)
			return f.c.signed(a), err
		}
	}
	r := request{method: cleared.Target.Method, params: cleared.Params, from: from, client: c, target: cleared.Target}
	if e, known := s.era.decide(from.Era); known && e == mcp.Legacy && r.aboutTask() {
		return s.callTask(ctx, r)
	}
	var a upstream.Answer
	err = s.linked(ctx, from, func(link *conn) (err error) {
		switch {
		case link.era == mcp.Modern:
			a, err = link.callModern(ctx, r)
		case r.aboutTask():
			a, err = s.callTask(ctx, r)
		case from.Era == mcp.Modern:
			a, err = link.callSuspendable(ctx, r)
		default:
			a, err = link.callLegacy(ctx, r)
		}
		a = link.signed(a)
		return err
	})
	if err != nil {
		return upstream.Answer{}, err
	}
	return a, nil
}

// signed says in an answer who answered.
func (c *conn) signed(a upstream.Answer) upstream.Answer {
	a.Era, a.ServerInfo = c.era, c.desc.ServerInfo
	return a
}

// request is one cleared call on its way up.
type request struct {
	method string
	params []byte
	from   upstream.Caller
	client upstream.Client
	target call.Target
	// asTask reports that the call becomes a task, if the server likes: the
	// extension is declared for a legacy client, or a legacy server is asked.
	asTask bool
}

// aboutTask reports a modern client's request about a task.
func (r *request) aboutTask() bool {
	switch r.method {
	case mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel:
		return r.from.Era == mcp.Modern
	}
	return false
}

// Notify implements upstream.Server. Notifications that the server's era has
// no place for, or that no open connection waits for, are dropped.
func (s *Server) Notify(ctx context.Context, cl *call.Clearance, from upstream.Caller) error {
	cleared, err := s.spend(cl, from)
	if err != nil {
		return err
	}
	c := s.existing(from)
	if c == nil {
		return nil
	}
	defer c.release()
	switch m := cleared.Target.Method; m {
	case mcp.NotifyRootsChanged:
		if !from.Capabilities.Roots {
			return nil
		}
	case mcp.NotifyProgress:
		if !c.askedWithToken(cleared.Params) {
			return nil
		}
	case mcp.NotifyTaskStatus:
		if !from.Capabilities.Tasks {
			return nil
		}
	default:
		return nil
	}
	return c.send(ctx, upstream.Outgoing{Method: cleared.Target.Method, Params: cleared.Params, Subject: from.Subject()})
}
