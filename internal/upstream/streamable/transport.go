package streamable

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// closeTime is how long a server may take to end a session.
const closeTime = 2 * time.Second

// transport is one connection in the sense of MCP: a legacy session, or the
// endpoint of a stateless server.
type transport struct {
	d       *Dialer
	era     mcp.Era
	unbound upstream.Handler
	down    func(error)
	keeper  func() call.Subject // see upstream.DialOptions.Subject

	lastID  atomic.Int64
	session atomic.Pointer[string]
	version atomic.Pointer[mcp.Version]

	mu     sync.Mutex
	closed bool
	live   map[*conn]struct{} // the connections of exchanges under way
	ended  chan struct{}      // closed by Close

	downOnce sync.Once
}

var errClosed = fmt.Errorf("the connection was closed: %w", upstream.ErrDown)

// Exchange implements upstream.Transport.
func (t *transport) Exchange(ctx context.Context, m upstream.Outgoing, h upstream.Handler) (mcp.Message, error) {
	if m.Method == "" || mcp.IsNotification(m.Method) {
		return mcp.Message{}, errors.New("an exchange sends a request")
	}
	id := mcp.NumberID(t.lastID.Add(1))
	if m.RequestID != nil {
		m.RequestID(id)
	}
	x := exchange{t: t, id: id, h: h, m: &m}
	msg, err := x.run(ctx)
	if err != nil {
		return mcp.Message{}, t.cause(ctx, err)
	}
	return msg, nil
}

// Send implements upstream.Transport.
func (t *transport) Send(ctx context.Context, m upstream.Outgoing) error {
	f, err := t.send(ctx, outgoing{method: http.MethodPost, m: &m})
	if err != nil {
		return t.cause(ctx, err)
	}
	switch f.c.h.status {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		f.end(f.c.h.kind != mcp.ContentEventStream)
		return nil
	}
	return t.cause(ctx, t.rejected(f))
}

// rejected ends a flight whose answer has an unwelcome status, and says why it
// was unwelcome.
func (t *transport) rejected(f flight) error {
	status := f.c.h.status
	_, err := t.refused(f.c, mcp.ID{})
	f.end(sound(err))
	if err == nil {
		err = &upstream.StatusError{Status: status}
	}
	return err
}

// Listen implements upstream.Transport. A server without such a stream answers
// *upstream.StatusError 405. When the server ends the stream, Listen opens it
// again, from the last event on where there is one, and returns nil after
// Limits.Resumes streams in a row on which nothing came.
func (t *transport) Listen(ctx context.Context) error {
	if t.era != mcp.Legacy {
		return fmt.Errorf("only legacy servers have a stream beside the calls: %w", upstream.ErrNotExpressible)
	}
	s := t.d.events.Get().(*events)
	defer t.d.keep(s)
	s.reset()
	for quiet := 1; ; quiet++ {
		got, err := t.hear(ctx, s)
		if got {
			quiet = 1
		}
		var status *upstream.StatusError
		if ctx.Err() != nil || !resumable(err) || errors.As(err, &status) || errors.Is(err, upstream.ErrSessionGone) || errors.Is(err, upstream.ErrCredential) || errors.Is(err, errClosed) {
			return t.cause(ctx, err)
		}
		if quiet > t.d.limits.Resumes {
			if errors.Is(err, errEnded) {
				return nil
			}
			return err
		}
		if err := t.wait(ctx, s.pause(quiet)); err != nil {
			return t.cause(ctx, err)
		}
	}
}

// hear hands on what comes over one GET stream and reports whether anything
// did.
func (t *transport) hear(ctx context.Context, s *events) (got bool, err error) {
	f, err := t.send(ctx, outgoing{method: http.MethodGet, lastEventID: s.lastID, listens: true})
	if err != nil {
		return false, err
	}
	if f.c.h.status != http.StatusOK {
		return false, t.rejected(f)
	}
	defer func() { f.end(errors.Is(err, errEnded)) }()
	if f.c.h.kind != mcp.ContentEventStream {
		return false, violation("the server answered GET with something else than an event stream")
	}
	s.open(&f.c.b, t.d.limits.JSON.Bytes, math.MaxInt64)
	for {
		data, err := s.next()
		if err != nil {
			return got, err
		}
		msg, err := t.decode(data)
		if err != nil {
			return got, err
		}
		if msg.Kind == mcp.Result || msg.Kind == mcp.ErrorReply {
			return got, violation("the server sent a response outside of the request's stream")
		}
		got = true
		if t.unbound != nil {
			t.unbound(msg)
		}
	}
}

// Close implements upstream.Transport. Exchanges under way fail; a legacy
// session is ended, for which the server has two seconds.
func (t *transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.ended)
	for c := range t.live {
		c.abort()
	}
	t.mu.Unlock()
	session := t.session.Load()
	if session == nil || *session == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// A transport of its own, since this one takes no connection any more.
	last := &transport{d: t.d, era: t.era, keeper: t.keeper, live: map[*conn]struct{}{}}
	last.session.Store(session)
	last.version.Store(t.version.Load())
	f, err := last.send(ctx, outgoing{method: http.MethodDelete})
	if err != nil {
		return err
	}
	f.end(true)
	return nil
}

// cause names the reason for which an operation of ctx failed.
func (t *transport) cause(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-t.ended:
		return errClosed
	default:
	}
	if errors.Is(err, upstream.ErrSessionGone) {
		t.downOnce.Do(func() {
			if t.down != nil {
				t.down(err)
			}
		})
	}
	return err
}

// wait sleeps until d has passed or the context or the transport ends.
func (t *transport) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.ended:
		return errClosed
	case <-timer.C:
		return nil
	}
}

func violation(what string) error { return fmt.Errorf("%w: %s", upstream.ErrViolation, what) }
