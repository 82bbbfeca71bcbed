package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// conn is one connection to the server with everything that lives on it.
type conn struct {
	s   *Server
	id  string // names the connection in the IDs of its tasks
	key string
	// owner is the Principal.ClientKey of the caller it was opened for.
	owner string
	t     upstream.Transport
	// ctx ends when the connection is lost; its cause says why.
	ctx    context.Context
	end    context.CancelCauseFunc
	dialed chan struct{} // t is set
	reply  chan struct{} // places for answers of our own
	level  chan struct{} // held while logging/setLevel is under way
	subing chan struct{} // held while subscriptions change
	hub    hub           // of a modern process

	// Set by the handshake, before anybody else sees the connection.
	era      mcp.Era
	version  mcp.Version
	features features
	desc     upstream.Description
	hello    *greeting // modern, when it was asked at the opening

	mu        sync.Mutex
	routing   mcp.Era // era, for messages that come before the handshake ends
	lost      bool
	doubted   bool  // the session may be gone
	retired   error // why it is closed once nobody uses it
	started   bool
	uses      int
	began     uint64 // calls so far
	idleFrom  time.Time
	idle      *time.Timer
	flights   map[*flight]struct{}
	tokens    map[string]*flight
	asks      map[string]*ask
	listeners map[*listener]struct{}
	subs      map[string]map[any]struct{} // URI to those who want it
	logLevel  string
	floods    int
	tasks     map[string]*remoteTask // by the server's ID
	late      map[string]*remoteTask // by progress token
	hosts     map[string]*flight     // calls in which a client made a task, by the server's name of it
	busyTo    time.Time              // tasks live until then
	caps      features               // of the last DiscoverResult, see capabilities
	keeper    call.Subject           // see heard
	renewed   chan struct{}          // has a place while keeper is new
}

// Bounds of one connection.
const (
	maxAsks    = 32 // requests of the server that wait for a client
	maxReplies = 64 // answers of our own under way
	sendTime   = 10 * time.Second
)

// dial opens a transport. The connection is not in the pool yet.
func (s *Server) dial(ctx context.Context, e mcp.Era, from upstream.Caller) (*conn, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand aborts the process instead
	c := &conn{
		s: s, id: hex.EncodeToString(id[:]), routing: e, dialed: make(chan struct{}),
		reply: make(chan struct{}, maxReplies), level: make(chan struct{}, 1), subing: make(chan struct{}, 1),
		flights: map[*flight]struct{}{}, tokens: map[string]*flight{}, asks: map[string]*ask{},
		listeners: map[*listener]struct{}{}, subs: map[string]map[any]struct{}{},
		tasks: map[string]*remoteTask{}, late: map[string]*remoteTask{}, hosts: map[string]*flight{}, renewed: make(chan struct{}, 1),
	}
	c.heard(from)
	c.hub = hub{c: c, members: map[*listener]*member{}, streams: map[*shared]struct{}{}, ending: map[*shared]struct{}{}}
	c.ctx, c.end = context.WithCancelCause(s.ctx)
	dctx, cancel := context.WithTimeout(ctx, s.cfg.HandshakeTimeout)
	defer cancel()
	t, err := s.dialer.Dial(dctx, upstream.DialOptions{Era: e, Unbound: c.unbound, Down: c.lose, Subject: c.kept})
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.t = t
	close(c.dialed)
	return c, nil
}

func (c *conn) setEra(e mcp.Era) {
	version := mcp.Version("")
	if e == mcp.Modern {
		version = c.s.era.modernVersion()
	}
	c.era = e
	c.mu.Lock()
	c.routing, c.version = e, version
	c.mu.Unlock()
}

// start begins what runs for as long as the connection is open.
func (c *conn) start() {
	c.mu.Lock()
	c.started, c.idleFrom = true, time.Now()
	if !c.lasting() {
		c.idle = time.AfterFunc(c.s.cfg.IdleTimeout, c.closeIdle)
	}
	c.mu.Unlock()
	if c.era == mcp.Legacy && c.s.cfg.Kind == HTTP {
		c.s.spawn(c.receive)
	}
}

// permanent reports a connection that holds no state: the modern endpoint.
func (c *conn) permanent() bool { return c.era == mcp.Modern && c.s.cfg.Kind == HTTP }

// lasting reports a connection that is not closed when idle: there is one.
func (c *conn) lasting() bool { return c.permanent() && !c.s.cfg.PerPrincipal }

// heard notes the newest proof of the caller whose connection this is. A
// connection that serves several is nobody's.
func (c *conn) heard(from upstream.Caller) {
	if c.s.cfg.Shared {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := from.Subject(); c.routing == mcp.Legacy || c.s.cfg.Kind == Stdio || c.s.cfg.PerPrincipal {
		if !s.Fresher(c.keeper) {
			return
		}
		renewed := c.keeper.Principal.Valid() && !s.Token.Equal(c.keeper.Token)
		c.keeper = s
		if renewed {
			select {
			case c.renewed <- struct{}{}:
			default:
			}
		}
	}
}

// kept is on whose behalf the connection is kept.
func (c *conn) kept() call.Subject {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keeper
}

// capabilities are what the server last said that it can do: to all callers, or
// to this one where its answer may depend on the caller's credential.
func (c *conn) capabilities() features {
	if !c.s.cfg.PerPrincipal {
		return c.s.era.capabilities()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caps
}

// private reports that the connection serves one principal and client, so
// that what cannot be tied to one call still reaches nobody else.
func (c *conn) private() bool { return !c.s.cfg.Shared && !c.permanent() }

func (c *conn) alive() bool { return c.ctx.Err() == nil }

// use counts a user; it reports false when the connection is lost.
func (c *conn) use() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost || c.retired != nil {
		return false
	}
	c.uses++
	return true
}

func (c *conn) release() {
	c.mu.Lock()
	var retired error
	if c.uses--; c.uses == 0 {
		c.idleFrom = time.Now()
		if c.idle != nil && !c.lost {
			c.idle.Reset(c.s.cfg.IdleTimeout)
		}
		retired = c.retired
	}
	c.mu.Unlock()
	if retired != nil {
		c.lose(retired)
	}
}

// retire lets nobody else use the connection and closes it when those who use
// it now are done.
func (c *conn) retire(cause error) {
	c.s.drop(c)
	c.mu.Lock()
	c.retired = cause
	unused := c.uses == 0
	c.mu.Unlock()
	if unused {
		c.lose(cause)
	}
}

func (c *conn) idleSince() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idleFrom, c.uses == 0 && c.started && !c.lasting() && time.Now().After(c.busyTo)
}

func (c *conn) closeIdle() {
	c.mu.Lock()
	idle := c.uses == 0 && time.Since(c.idleFrom) >= c.s.cfg.IdleTimeout
	if left := time.Until(c.busyTo); idle && left >= 0 {
		idle = false
		c.idle.Reset(left + time.Millisecond)
	}
	c.mu.Unlock()
	if idle {
		c.lose(errIdle)
	}
}

// lose ends the connection: calls and streams on it fail with the cause, and
// the next call opens another.
func (c *conn) lose(cause error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if c.lost {
		c.mu.Unlock()
		return
	}
	c.lost = true
	if c.idle != nil {
		c.idle.Stop()
	}
	c.mu.Unlock()
	c.end(cause)
	c.s.drop(c)
	select {
	case <-c.dialed:
		// Closing may wait for a process; the caller may be its reader.
		c.s.spawn(func() { _ = c.t.Close() })
	default:
	}
}

// discard ends a connection that nobody else has seen.
func (c *conn) discard() { c.lose(errIdle) }

// doubt notes an error by which many servers say that they do not know a
// session, although the specification wants HTTP 404.
func (c *conn) doubt(msg mcp.Message, err error) {
	if c.era != mcp.Legacy || c.s.cfg.Kind != HTTP || err == nil && msg.Kind != mcp.ErrorReply {
		return
	}
	var st *upstream.StatusError
	if err != nil && (!errors.As(err, &st) || !wrongEra(st.Status)) {
		return
	}
	if err == nil {
		e, perr := mcp.ParseError(msg.Error)
		if perr != nil || e.Code != mcp.CodeInvalidRequest && (e.Code > -32000 || e.Code < -32001) {
			return
		}
	}
	c.mu.Lock()
	c.doubted = true
	c.mu.Unlock()
}

// sure asks a session that is in doubt whether it is there, and ends the
// connection when it is not.
func (c *conn) sure(ctx context.Context, from upstream.Caller) bool {
	c.mu.Lock()
	doubted := c.doubted
	c.doubted = false
	c.mu.Unlock()
	if !doubted {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	msg, err := c.t.Exchange(ctx, upstream.Outgoing{Method: mcp.MethodPing, Version: c.version, Subject: from.Subject()}, c.unbound)
	if err == nil && msg.Kind == mcp.Result {
		return true
	}
	c.lose(upstream.ErrSessionGone)
	return false
}

// failed looks at an error of the transport and ends the connection when it
// means that its state is gone.
func (c *conn) failed(err error) {
	if err == nil || c.s.cfg.Kind == HTTP && c.routed() == mcp.Modern {
		return
	}
	if errors.Is(err, upstream.ErrSessionGone) || errors.Is(err, upstream.ErrDown) {
		c.lose(err)
	}
}

// send posts a notification or an answer.
func (c *conn) send(ctx context.Context, m upstream.Outgoing) error {
	select {
	case <-c.dialed:
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	c.mu.Lock()
	m.Version = c.version
	c.mu.Unlock()
	err := c.t.Send(ctx, m)
	c.failed(err)
	return err
}

// later sends an answer of our own without keeping the reader waiting.
func (c *conn) later(m upstream.Outgoing) {
	select {
	case c.reply <- struct{}{}:
	default:
		c.flood("answers")
		return
	}
	c.s.spawn(func() {
		defer func() { <-c.reply }()
		if err := c.send(c.ctx, m); err != nil && c.alive() {
			c.s.cfg.Logger.Debug("an answer did not reach the server", "error", err.Error())
		}
	})
}

// flood counts what was dropped; one report per connection and power of two.
func (c *conn) flood(what string) {
	c.mu.Lock()
	c.floods++
	n := c.floods
	c.mu.Unlock()
	if n&(n-1) == 0 {
		c.s.violation("flood", "the server sends "+what+" faster than they can be passed on; some were dropped")
	}
}

// receive keeps the stream of a legacy session open on which the server sends
// what belongs to no request.
func (c *conn) receive() {
	const least, most = time.Second, 30 * time.Second
	wait := least
	for {
		began := time.Now()
		err := c.t.Listen(c.ctx)
		if c.ctx.Err() != nil {
			return
		}
		var st *upstream.StatusError
		switch {
		case errors.Is(err, upstream.ErrSessionGone):
			c.lose(err)
			return
		case errors.As(err, &st) && st.Status >= 400 && st.Status < 500:
			return // the server offers no such stream
		case errors.Is(err, upstream.ErrCredential) && !errors.Is(err, credential.ErrUnavailable):
			select {
			case <-c.renewed: // nothing changes before the caller proves itself anew
			case <-c.ctx.Done():
			}
		}
		if time.Since(began) > most {
			wait = least
		}
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
			return
		}
		wait = min(2*wait, most)
	}
}
