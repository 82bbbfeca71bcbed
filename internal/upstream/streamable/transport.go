package streamable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// transport is one connection in the sense of MCP: a legacy session, or the
// endpoint of a stateless server.
type transport struct {
	d       *Dialer
	era     mcp.Era
	unbound upstream.Handler
	down    func(error)

	lastID  atomic.Int64
	session atomic.Pointer[string]
	version atomic.Pointer[mcp.Version]

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	downOnce sync.Once
}

func newTransport(d *Dialer, o upstream.DialOptions) *transport {
	ctx, cancel := context.WithCancel(context.Background())
	return &transport{d: d, era: o.Era, unbound: o.Unbound, down: o.Down, ctx: ctx, cancel: cancel}
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
	own, end := t.bind(ctx)
	defer end()
	x := exchange{t: t, id: id, h: h, m: &m}
	msg, err := x.run(own)
	if err != nil {
		return mcp.Message{}, t.cause(ctx, err)
	}
	return msg, nil
}

// Send implements upstream.Transport.
func (t *transport) Send(ctx context.Context, m upstream.Outgoing) error {
	var body []byte
	switch {
	case mcp.IsNotification(m.Method):
		body = mcp.AppendNotification(nil, m.Method, m.Params)
	case m.Method == "" && !m.Answer.IsZero() && m.Error != nil:
		body = mcp.AppendError(nil, m.Answer, m.Error, false)
	case m.Method == "" && !m.Answer.IsZero() && m.Result != nil:
		body = mcp.AppendResult(nil, m.Answer, m.Result)
	default:
		return errors.New("only a notification or a response can be sent")
	}
	own, end := t.bind(ctx)
	defer end()
	res, err := t.post(own, &m, body)
	if err != nil {
		return t.cause(ctx, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		if res.ContentLength != 0 && !isStream(res.Header) {
			_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
		}
		return nil
	}
	_, err = t.refused(res, mcp.ID{})
	if err == nil {
		err = &upstream.StatusError{Status: res.StatusCode}
	}
	return t.cause(ctx, err)
}

// Listen implements upstream.Transport. A server without such a stream answers
// *upstream.StatusError 405. When the server ends the stream, Listen opens it
// again, from the last event on where there is one, and returns nil after
// Limits.Resumes streams in a row on which nothing came.
func (t *transport) Listen(ctx context.Context) error {
	if t.era != mcp.Legacy {
		return fmt.Errorf("only legacy servers have a stream beside the calls: %w", upstream.ErrNotExpressible)
	}
	own, end := t.bind(ctx)
	defer end()
	return t.cause(ctx, t.listen(own))
}

func (t *transport) listen(ctx context.Context) error {
	var s events
	defer s.release()
	for idle := 0; ; {
		res, err := t.get(ctx, s.lastID)
		if err == nil && res.StatusCode != http.StatusOK {
			_, err = t.refused(res, mcp.ID{})
			res.Body.Close()
			if err == nil {
				err = &upstream.StatusError{Status: res.StatusCode}
			}
			return err
		}
		if err == nil && !isStream(res.Header) {
			res.Body.Close()
			return violation("the server answered GET with something else than an event stream")
		}
		if err == nil {
			var got bool
			got, err = t.hear(res.Body, &s)
			res.Body.Close()
			if got {
				idle = 0
			}
			if errors.Is(err, upstream.ErrViolation) || errors.Is(err, upstream.ErrTooLarge) {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if idle++; idle > t.d.limits.Resumes {
			if errors.Is(err, errEnded) {
				return nil
			}
			return err
		}
		if err := wait(ctx, s.pause(idle)); err != nil {
			return err
		}
	}
}

// hear hands on what comes over one GET stream and reports whether anything
// did.
func (t *transport) hear(body io.Reader, s *events) (got bool, err error) {
	s.open(body, t.d.limits.JSON.Bytes, math.MaxInt64)
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
	select {
	case <-t.ctx.Done():
		return nil
	default:
	}
	t.cancel()
	if t.session.Load() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	res, err := t.do(ctx, http.MethodDelete, nil, nil, "")
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	res.Body.Close()
	return nil
}

// bind derives a context that also ends with the transport.
func (t *transport) bind(ctx context.Context) (context.Context, func()) {
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(t.ctx, cancel)
	return own, func() { stop(); cancel() }
}

// cause names the reason for which an operation of ctx failed.
func (t *transport) cause(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case t.ctx.Err() != nil:
		return errClosed
	case errors.Is(err, upstream.ErrSessionGone):
		t.lost(err)
	}
	return err
}

func (t *transport) lost(err error) {
	t.downOnce.Do(func() {
		if t.down != nil {
			t.down(err)
		}
	})
}

// contained notes what a server did wrong where no caller can be told.
func (t *transport) contained(what string) {
	t.d.log.Warn("server broke the protocol", slog.String("what", what))
}

// wait sleeps until d has passed or ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func violation(what string) error { return fmt.Errorf("%w: %s", upstream.ErrViolation, what) }
