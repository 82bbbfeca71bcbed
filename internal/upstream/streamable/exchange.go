package streamable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// firstBody is how much is set aside for an answer before its bytes are there:
// a length is a claim.
const firstBody = 256 << 10

// exchange is one request and all that the server says about it.
type exchange struct {
	t  *transport
	id mcp.ID
	h  upstream.Handler
	m  *upstream.Outgoing
}

func (x *exchange) run(ctx context.Context) (msg mcp.Message, err error) {
	listens := x.m.Method == mcp.MethodListen
	f, err := x.t.send(ctx, outgoing{method: http.MethodPost, m: x.m, id: x.id, listens: listens})
	if err != nil {
		return msg, err
	}
	h := &f.c.h
	if h.status > http.StatusOK && h.status < 300 {
		f.end(false)
		return msg, violation("the answer to a request has a status that carries none")
	}
	if h.status != http.StatusOK {
		msg, err = x.t.refused(f.c, x.id)
		f.end(sound(err))
		return msg, err
	}
	session := ""
	if x.t.era == mcp.Legacy && x.m.Method == mcp.MethodInitialize {
		if session = h.session; h.badSession {
			f.end(false)
			return msg, violation("the session ID is not one short text of visible ASCII")
		}
	}
	switch h.kind {
	case mcp.ContentJSON:
		msg, err = x.single(f.c)
		f.end(err == nil)
	case mcp.ContentEventStream:
		msg, err = x.stream(ctx, f, session)
	default:
		f.end(false)
		return msg, violation("the answer is neither JSON nor an event stream")
	}
	if err == nil && session != "" && msg.Kind == mcp.Result {
		x.t.keepSession(session)
	}
	return msg, err
}

func (t *transport) keepSession(id string) { t.session.Store(&id) }

// sound reports whether a connection can be used again after err.
func sound(err error) bool {
	var status *upstream.StatusError
	return err == nil || errors.As(err, &status) || errors.Is(err, upstream.ErrSessionGone)
}

// single reads an answer that is one JSON message.
func (x *exchange) single(c *conn) (mcp.Message, error) {
	body, err := x.t.read(c)
	if err != nil {
		return mcp.Message{}, err
	}
	msg, err := x.t.decode(body)
	if err != nil {
		return mcp.Message{}, err
	}
	if done, err := x.take(msg); err != nil {
		return mcp.Message{}, err
	} else if !done {
		return mcp.Message{}, violation("the answer to a request is not a response")
	}
	return msg, nil
}

// take judges one message of the exchange's own streams. It reports whether
// the message is the response.
func (x *exchange) take(msg mcp.Message) (bool, error) {
	switch msg.Kind {
	case mcp.Result:
		if msg.ID != x.id {
			return false, violation("the response carries the ID of another request")
		}
		return true, nil
	case mcp.ErrorReply:
		if msg.ID != x.id && !msg.ID.IsZero() {
			return false, violation("the error carries the ID of another request")
		}
		return true, nil
	}
	return false, nil
}

// stream reads messages until the response, over as many connections as a
// legacy server asks for. It ends the flight.
func (x *exchange) stream(ctx context.Context, f flight, session string) (mcp.Message, error) {
	s := x.t.d.events.Get().(*events)
	defer x.t.d.keep(s)
	left := x.t.d.limits.Stream
	if x.m.Method == mcp.MethodListen {
		left = math.MaxInt64
	}
	s.reset()
	s.open(&f.c.b, x.t.d.limits.JSON.Bytes, left)
	seen := ""
	for tries := 0; ; {
		msg, err := x.read(s, f.c)
		f.end(err == nil || errors.Is(err, errEnded))
		if err == nil || !resumable(err) {
			return msg, err
		}
		if ctx.Err() != nil {
			return mcp.Message{}, ctx.Err()
		}
		if x.t.era != mcp.Legacy || s.lastID == "" {
			return mcp.Message{}, cutOff(err)
		}
		if session != "" {
			x.t.keepSession(session)
			session = ""
		}
		if s.lastID != seen {
			seen, tries = s.lastID, 0
		}
		if f, err = x.resume(ctx, s, &tries); err != nil {
			return mcp.Message{}, err
		}
		s.open(&f.c.b, x.t.d.limits.JSON.Bytes, s.left)
	}
}

// resumable reports whether a stream ended for a reason other than what the
// server said on it.
func resumable(err error) bool {
	return !errors.Is(err, upstream.ErrViolation) && !errors.Is(err, upstream.ErrTooLarge)
}

func cutOff(err error) error {
	if err == nil || errors.Is(err, errEnded) {
		return fmt.Errorf("%w: the server ended its stream early and does not let it be resumed", upstream.ErrCutOff)
	}
	return broke(err)
}

// read returns the response from one connection's stream.
func (x *exchange) read(s *events, c *conn) (mcp.Message, error) {
	for {
		data, err := s.next()
		if err != nil {
			return mcp.Message{}, err
		}
		msg, err := x.t.decode(data)
		if err != nil {
			return mcp.Message{}, err
		}
		done, err := x.take(msg)
		if err != nil {
			return mcp.Message{}, err
		}
		if done {
			if s.more() || c.more() {
				return mcp.Message{}, violation("the server sent more after its response")
			}
			return msg, nil
		}
		if msg.Kind == mcp.Request && x.t.era == mcp.Modern {
			return mcp.Message{}, violation("the server sent a request, which this protocol version does not have")
		}
		if x.h != nil {
			x.h(msg)
		}
	}
}

// resume asks for the rest of a stream that ended early (2025-11-25,
// "Resumability and Redelivery").
func (x *exchange) resume(ctx context.Context, s *events, tries *int) (flight, error) {
	var last error
	for {
		if *tries++; *tries > x.t.d.limits.Resumes {
			return flight{}, cutOff(last)
		}
		if err := x.t.wait(ctx, s.pause(*tries)); err != nil {
			return flight{}, err
		}
		f, err := x.t.send(ctx, outgoing{method: http.MethodGet, lastEventID: s.lastID})
		if err != nil {
			if ctx.Err() != nil || !resumable(err) || errors.Is(err, upstream.ErrCredential) && !errors.Is(err, credential.ErrUnavailable) {
				return flight{}, err
			}
			last = err
			continue
		}
		status := f.c.h.status
		if status == http.StatusOK && f.c.h.kind == mcp.ContentEventStream {
			return f, nil
		}
		_, err = x.t.refused(f.c, x.id)
		f.end(sound(err))
		switch {
		case errors.Is(err, upstream.ErrSessionGone), err != nil && !resumable(err):
			return flight{}, err
		case status < 500 && status != http.StatusTooManyRequests:
			return flight{}, cutOff(&upstream.StatusError{Status: status})
		}
		last = &upstream.StatusError{Status: status}
	}
}

// decode reads one message.
func (t *transport) decode(b []byte) (mcp.Message, error) {
	msg, err := mcp.Decode(b, t.d.limits.JSON)
	if err == nil {
		return msg, nil
	}
	if msg, ok := t.nullID(b); ok {
		return msg, nil
	}
	var se *strictjson.Error
	if errors.As(err, &se) && se.Kind == strictjson.KindSize {
		return mcp.Message{}, fmt.Errorf("%w: %w", upstream.ErrTooLarge, err)
	}
	return mcp.Message{}, fmt.Errorf("%w: %w", upstream.ErrViolation, err)
}

// nullID reads an error whose ID is null, as JSON-RPC 2.0 writes an error about
// no request that could be read.
func (t *transport) nullID(b []byte) (mcp.Message, bool) {
	if strictjson.Validate(b, t.d.limits.JSON) != nil || strictjson.TypeOf(b) != strictjson.TypeObject {
		return mcp.Message{}, false
	}
	o, err := strictjson.SplitObject(b)
	if err != nil {
		return mcp.Message{}, false
	}
	if id, _ := o.Get("id"); string(id) != "null" {
		return mcp.Message{}, false
	}
	msg, err := mcp.Decode(o.Without("id").Append(nil), t.d.limits.JSON)
	return msg, err == nil && msg.Kind == mcp.ErrorReply
}

// read returns the whole body, in a buffer of its own.
func (t *transport) read(c *conn) ([]byte, error) {
	limit := int64(t.d.limits.JSON.Bytes)
	length := c.h.length
	if length > limit {
		return nil, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
	}
	c.b.idle = 0 // one message has one deadline
	size := int64(1 << 10)
	if length >= 0 {
		size = min(length, firstBody)
	}
	b := make([]byte, 0, size)
	for {
		if len(b) == cap(b) && !c.b.done {
			if int64(len(b)) > limit {
				return nil, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
			}
			b = append(b, 0)[:len(b)]
		}
		n, err := c.b.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			if int64(len(b)) > limit {
				return nil, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
			}
			return b, nil
		}
		if err != nil {
			return nil, broke(err)
		}
	}
}

// refused reads an answer whose status is not 200: the JSON-RPC error in it,
// else what the status means.
func (t *transport) refused(c *conn, id mcp.ID) (mcp.Message, error) {
	h := &c.h
	status := &upstream.StatusError{Status: h.status, WWWAuthenticate: h.challenges}
	switch {
	case h.status == http.StatusNotFound && t.era == mcp.Legacy && t.session.Load() != nil:
		return mcp.Message{}, upstream.ErrSessionGone
	case h.status == http.StatusUnauthorized, len(h.challenges) > 0, h.status < 400, h.kind != mcp.ContentJSON:
		return mcp.Message{}, status
	}
	body, err := t.read(c)
	if err != nil {
		return mcp.Message{}, err
	}
	msg, err := t.decode(body)
	if err != nil || msg.Kind != mcp.ErrorReply {
		return mcp.Message{}, status
	}
	if msg.ID != id && !msg.ID.IsZero() {
		return mcp.Message{}, violation("the error carries the ID of another request")
	}
	return msg, nil
}
