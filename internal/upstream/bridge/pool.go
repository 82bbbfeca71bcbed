package bridge

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// slot is a place in the pool: a connection that is open or being opened.
type slot struct {
	session string
	ready   chan struct{}
	c       *conn // after ready
	err     error // after ready
	doomed  bool  // End came while it was opened; guarded by Server.mu
}

// opened returns the connection of a slot that is ready, else nil.
func (sl *slot) opened() *conn {
	select {
	case <-sl.ready:
		return sl.c
	default:
		return nil
	}
}

// key names the connection that a caller's messages go over. Whatever holds
// state has the principal and client in its key, and the downstream session
// or what was declared at the handshake.
func (s *Server) key(e mcp.Era, from upstream.Caller) string {
	if e == mcp.Modern && (s.cfg.Kind == HTTP && !s.cfg.PerPrincipal || s.cfg.Shared) {
		return "modern"
	}
	owner := from.Principal.ClientKey()
	switch {
	case e == mcp.Modern:
		return "modern|" + owner
	case s.cfg.Shared:
		return "shared|" + string(handshakeVersion(from)) + "|" + s.capsKey(from)
	case from.Era == mcp.Legacy:
		return "session|" + strconv.Itoa(len(from.Session)) + ":" + from.Session + "|" + owner
	}
	return "client|" + s.capsKey(from) + "|" + owner
}

// capsKey is equal for callers whose handshakes declare the same.
func (s *Server) capsKey(from upstream.Caller) string {
	return from.Capabilities.Key() + "-" + strconv.FormatUint(maphash.Bytes(s.seed, legacyCapabilities(from)), 36)
}

func handshakeVersion(from upstream.Caller) mcp.Version {
	if from.Era == mcp.Legacy && mcp.EraOf(from.Version) == mcp.Legacy && mcp.Known(from.Version, "") {
		return from.Version
	}
	return mcp.LatestLegacy
}

// errForgotten says that what was remembered of the server's era is wrong and
// that nothing was executed.
var errForgotten = errors.New("the server changed its era")

// linked runs f with the connection for a caller. When the memory of the era
// fails before anything was executed, the server is asked anew, once.
func (s *Server) linked(ctx context.Context, from upstream.Caller, f func(*conn) error) error {
	for again := false; ; again = true {
		c, err := s.link(ctx, from)
		if err != nil {
			return err
		}
		err = f(c)
		c.release()
		if !errors.Is(err, errForgotten) {
			return err
		}
		s.era.forget(c.era)
		c.retire(errForgotten)
		if again {
			return upstream.ErrVersion
		}
	}
}

// link returns the connection for a caller with one use counted on it.
func (s *Server) link(ctx context.Context, from upstream.Caller) (*conn, error) {
	for range 4 {
		e, known := s.era.decide(from.Era)
		if !known {
			if err := s.ask(ctx, from); err != nil {
				return nil, err
			}
			if e, known = s.era.decide(from.Era); !known {
				continue
			}
		}
		c, err := s.acquire(ctx, s.key(e, from), e, from)
		if errors.Is(err, errForgotten) {
			continue
		}
		return c, err
	}
	return nil, upstream.ErrDown
}

// existing returns the connection that a caller has open, with one use
// counted, or nil. It opens nothing.
func (s *Server) existing(from upstream.Caller) *conn {
	e, known := s.era.decide(from.Era)
	if !known || e != mcp.Legacy {
		return nil
	}
	s.mu.Lock()
	sl := s.pool[s.key(e, from)]
	s.mu.Unlock()
	if sl == nil {
		return nil
	}
	if c := sl.opened(); c != nil && c.use() {
		c.heard(from)
		return c
	}
	return nil
}

// probed says who waits for one probe together: the callers of an era, and with
// credentials of their own those of one principal and client.
type probed struct {
	era   mcp.Era
	owner string
}

func (s *Server) probedBy(from upstream.Caller) probed {
	p := probed{era: from.Era}
	if s.cfg.PerPrincipal {
		p.owner = from.Principal.ClientKey()
	}
	return p
}

// ask probes the server, once for all callers of an era that wait for it, and
// puts the connection that the probe opened into the pool.
func (s *Server) ask(ctx context.Context, from upstream.Caller) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	who := s.probedBy(from)
	sl := s.probes[who]
	if sl == nil {
		if _, known := s.era.decide(from.Era); known {
			s.mu.Unlock()
			return nil // another's probe ended meanwhile
		}
		sl = &slot{ready: make(chan struct{})}
		s.probes[who] = sl
		s.spawn(func() { s.runProbe(context.WithoutCancel(ctx), sl, from) })
	}
	s.mu.Unlock()
	select {
	case <-sl.ready:
		return sl.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) runProbe(ctx context.Context, sl *slot, from upstream.Caller) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var kept *slot
	s.mu.Lock()
	full := s.full()
	s.mu.Unlock()
	if full {
		sl.err = upstream.ErrBusy
	} else {
		c, err := s.probe(ctx, from)
		if sl.err = err; err == nil {
			c.key, c.owner = s.key(c.era, from), from.Principal.ClientKey()
			kept = &slot{ready: make(chan struct{}), c: c}
			if s.ofSession(c.era) {
				kept.session = from.Session
			}
			close(kept.ready)
		}
	}
	s.mu.Lock()
	delete(s.probes, s.probedBy(from))
	var surplus *conn
	if kept != nil {
		if s.closed || s.pool[kept.c.key] != nil || !kept.c.alive() {
			surplus = kept.c
		} else {
			s.pool[kept.c.key] = kept
			kept.c.start()
		}
	}
	s.mu.Unlock()
	surplus.discard()
	close(sl.ready)
}

// ofSession reports whether a connection in an era belongs to one downstream
// session, where there is one, and ends with it.
func (s *Server) ofSession(e mcp.Era) bool { return e == mcp.Legacy && !s.cfg.Shared }

// acquire returns the connection of a key, opening it if need be.
func (s *Server) acquire(ctx context.Context, key string, e mcp.Era, from upstream.Caller) (*conn, error) {
	for range 4 {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errClosed
		}
		sl := s.pool[key]
		if sl == nil {
			if s.full() {
				s.mu.Unlock()
				return nil, upstream.ErrBusy
			}
			sl = &slot{ready: make(chan struct{})}
			if s.ofSession(e) {
				sl.session = from.Session
			}
			s.pool[key] = sl
			s.spawn(func() { s.open(context.WithoutCancel(ctx), sl, key, e, from) })
		}
		s.mu.Unlock()
		select {
		case <-sl.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if sl.err != nil {
			return nil, sl.err
		}
		if sl.c.use() {
			sl.c.heard(from)
			if sl.c.sure(ctx, from) {
				return sl.c, nil
			}
			sl.c.release()
		}
		s.drop(sl.c)
	}
	return nil, upstream.ErrDown
}

// open fills a slot. It goes on when the caller that asked first has left,
// since others may wait.
func (s *Server) open(ctx context.Context, sl *slot, key string, e mcp.Era, from upstream.Caller) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	c, err := s.connect(ctx, e, from)
	if other := (*otherEra)(nil); errors.As(err, &other) {
		c.discard()
		c = nil
		if s.era.setting == EraAuto {
			s.era.forget(e)
			err = errForgotten
		} else {
			err = other.cause
		}
	}
	if err == nil {
		c.key, c.owner = key, from.Principal.ClientKey()
	}
	s.mu.Lock()
	if err == nil && (s.closed || sl.doomed) {
		err = errClosed
	}
	sl.err = err
	if err != nil {
		if s.pool[key] == sl {
			delete(s.pool, key)
		}
	} else {
		sl.c = c
		c.start()
	}
	s.mu.Unlock()
	if err != nil {
		c.discard()
	}
	close(sl.ready)
}

// connect opens a connection in an era that is known. Each process is asked
// who it is; a modern endpoint was asked once and holds nothing to be opened.
func (s *Server) connect(ctx context.Context, e mcp.Era, from upstream.Caller) (*conn, error) {
	if e == mcp.Legacy || s.cfg.Kind == Stdio || s.cfg.PerPrincipal || !s.era.knowsModern() {
		return s.attempt(ctx, e, from, nil)
	}
	c, err := s.dial(ctx, e, from)
	if err != nil {
		return nil, err
	}
	c.setEra(e)
	return c, nil
}

func (m *memory) knowsModern() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.modern == yes
}

// full reports that no connection may be opened. It makes room by closing the
// connection that is idle for the longest time. Server.mu is held.
func (s *Server) full() bool {
	if len(s.pool) < s.cfg.MaxConns {
		return false
	}
	var oldest *conn
	var since time.Time
	for _, sl := range s.pool {
		c := sl.opened()
		if c == nil {
			continue
		}
		if t, idle := c.idleSince(); idle && (oldest == nil || t.Before(since)) {
			oldest, since = c, t
		}
	}
	if oldest == nil {
		return true
	}
	delete(s.pool, oldest.key)
	s.spawn(func() { oldest.lose(errIdle) })
	return false
}

var errIdle = errors.New("the connection was idle")

// drop takes a connection out of the pool.
func (s *Server) drop(c *conn) {
	s.mu.Lock()
	if sl := s.pool[c.key]; sl != nil && sl.opened() == c {
		delete(s.pool, c.key)
	}
	s.mu.Unlock()
}
