package streamable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxSession    = 1 << 10
	maxChallenges = 4
	maxChallenge  = 4 << 10
)

// exchange is one request and all that the server says about it.
type exchange struct {
	t  *transport
	id mcp.ID
	h  upstream.Handler
	m  *upstream.Outgoing
}

func (x *exchange) run(ctx context.Context) (mcp.Message, error) {
	res, err := x.t.post(ctx, x.m, mcp.AppendRequest(nil, x.id, x.m.Method, x.m.Params))
	if err != nil {
		return mcp.Message{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return x.t.refused(res, x.id)
	}
	session := ""
	if x.t.era == mcp.Legacy && x.m.Method == mcp.MethodInitialize {
		if session, err = sessionID(res.Header); err != nil {
			return mcp.Message{}, err
		}
	}
	var msg mcp.Message
	switch kind(res.Header) {
	case mcp.ContentJSON:
		msg, err = x.single(res)
	case mcp.ContentEventStream:
		msg, err = x.stream(ctx, res.Body, session)
	default:
		err = violation("the answer is neither JSON nor an event stream")
	}
	if err == nil && session != "" && msg.Kind == mcp.Result {
		x.t.session.Store(&session)
	}
	return msg, err
}

// single reads an answer that is one JSON message.
func (x *exchange) single(res *http.Response) (mcp.Message, error) {
	body, err := x.t.read(res)
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
// legacy server asks for.
func (x *exchange) stream(ctx context.Context, body io.Reader, session string) (mcp.Message, error) {
	var s events
	defer s.release()
	left := x.t.d.limits.Stream
	if x.m.Method == mcp.MethodListen {
		left = math.MaxInt64
	}
	s.open(body, x.t.d.limits.JSON.Bytes, left)
	seen := ""
	for tries := 0; ; {
		msg, err := x.read(&s)
		if err == nil || errors.Is(err, upstream.ErrViolation) || errors.Is(err, upstream.ErrTooLarge) {
			return msg, err
		}
		if ctx.Err() != nil {
			return mcp.Message{}, ctx.Err()
		}
		if x.t.era != mcp.Legacy || s.lastID == "" {
			return mcp.Message{}, cutOff(err)
		}
		if session != "" {
			x.t.session.Store(&session)
			session = ""
		}
		if s.lastID != seen {
			seen, tries = s.lastID, 0
		}
		body, err := x.resume(ctx, &s, &tries)
		if err != nil {
			return mcp.Message{}, err
		}
		defer body.Close()
		s.open(body, x.t.d.limits.JSON.Bytes, s.left)
	}
}

func cutOff(err error) error {
	if err == nil || errors.Is(err, errEnded) {
		return fmt.Errorf("%w: the server ended its stream before it answered, and it cannot be resumed", upstream.ErrDown)
	}
	return fmt.Errorf("%w: the connection broke before the server answered: %w", upstream.ErrDown, err)
}

// read returns the response from one connection's stream.
func (x *exchange) read(s *events) (mcp.Message, error) {
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
			if s.more() {
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
func (x *exchange) resume(ctx context.Context, s *events, tries *int) (io.ReadCloser, error) {
	var last error
	for {
		if *tries++; *tries > x.t.d.limits.Resumes {
			return nil, cutOff(last)
		}
		if err := wait(ctx, s.pause(*tries)); err != nil {
			return nil, err
		}
		res, err := x.t.get(ctx, s.lastID)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, upstream.ErrViolation) {
				return nil, err
			}
			last = err
			continue
		}
		switch {
		case res.StatusCode == http.StatusOK && isStream(res.Header):
			return res.Body, nil
		case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
			res.Body.Close()
			last = &upstream.StatusError{Status: res.StatusCode}
			continue
		}
		_, err = x.t.refused(res, x.id)
		res.Body.Close()
		if errors.Is(err, upstream.ErrSessionGone) || errors.Is(err, upstream.ErrViolation) {
			return nil, err
		}
		return nil, cutOff(&upstream.StatusError{Status: res.StatusCode})
	}
}

// pause returns how long to wait before the n-th reconnection.
func (s *events) pause(n int) time.Duration {
	d := s.retry
	if d == 0 {
		d = time.Second
	}
	for ; n > 1 && d < maxRetry; n-- {
		d *= 2
	}
	return min(d, maxRetry)
}

// open starts reading another connection, keeping the last event ID.
func (s *events) open(r io.Reader, maxData int, left int64) {
	s.r, s.max, s.left = r, maxData, left
	s.pos, s.end, s.lf, s.cr = 0, 0, 0, 0
	s.skipLF, s.started = false, false
}

func (s *events) release() { s.buf = nil }

// more reports whether another message was read already.
func (s *events) more() bool {
	return bytes.Contains(s.buf[s.pos:s.end], []byte("data:"))
}

// decode reads one message.
func (t *transport) decode(b []byte) (mcp.Message, error) {
	msg, err := mcp.Decode(b, t.d.limits.JSON)
	if err == nil {
		return msg, nil
	}
	if o, splitErr := strictjson.SplitObject(b); splitErr == nil && strictjson.Validate(b, t.d.limits.JSON) == nil {
		// JSON-RPC 2.0 writes the ID of an error about no request as null.
		if id, _ := o.Get("id"); string(id) == "null" {
			if msg, err := mcp.Decode(o.Without("id").Append(nil), t.d.limits.JSON); err == nil && msg.Kind == mcp.ErrorReply {
				return msg, nil
			}
		}
	}
	var se *strictjson.Error
	if errors.As(err, &se) && se.Kind == strictjson.KindSize {
		return mcp.Message{}, fmt.Errorf("%w: %w", upstream.ErrTooLarge, err)
	}
	return mcp.Message{}, fmt.Errorf("%w: %w", upstream.ErrViolation, err)
}

// read returns the whole body, in a buffer of its own.
func (t *transport) read(res *http.Response) ([]byte, error) {
	limit := t.d.limits.JSON.Bytes
	if res.ContentLength > int64(limit) {
		return nil, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
	}
	size := int64(512)
	if res.ContentLength >= 0 {
		size = min(res.ContentLength, 256<<10)
	}
	b := make([]byte, 0, size+1)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := res.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		if len(b) > limit {
			return nil, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the answer was cut off: %w", upstream.ErrDown, err)
		}
	}
}

// refused reads an answer whose status is not 200: the JSON-RPC error in it,
// else what the status means.
func (t *transport) refused(res *http.Response, id mcp.ID) (mcp.Message, error) {
	status := &upstream.StatusError{Status: res.StatusCode}
	for i, c := range res.Header.Values("WWW-Authenticate") {
		if i < maxChallenges && len(c) <= maxChallenge {
			status.WWWAuthenticate = append(status.WWWAuthenticate, c)
		}
	}
	switch {
	case res.StatusCode == http.StatusNotFound && t.era == mcp.Legacy && t.session.Load() != nil:
		return mcp.Message{}, upstream.ErrSessionGone
	case res.StatusCode == http.StatusUnauthorized, len(status.WWWAuthenticate) > 0,
		res.StatusCode < 400, kind(res.Header) != mcp.ContentJSON:
		return mcp.Message{}, status
	}
	body, err := t.read(res)
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

// kind returns the media type of an answer, "" when there is not exactly one.
func kind(h http.Header) string {
	v := h["Content-Type"]
	if len(v) != 1 {
		return ""
	}
	switch v[0] {
	case mcp.ContentJSON, mcp.ContentEventStream:
		return v[0]
	}
	t, p, err := mime.ParseMediaType(v[0])
	if err != nil {
		return ""
	}
	if c, ok := p["charset"]; ok && !bytes.EqualFold([]byte(c), []byte("utf-8")) {
		return ""
	}
	return t
}

func isStream(h http.Header) bool { return kind(h) == mcp.ContentEventStream }

// sessionID reads the session of an initialize response, "" when the server
// keeps none (2025-11-25, "Session Management": visible ASCII).
func sessionID(h http.Header) (string, error) {
	v := h[mcp.HeaderSession]
	switch {
	case len(v) == 0:
		return "", nil
	case len(v) > 1 || len(v[0]) > maxSession || !visible(v[0]):
		return "", violation("the session ID is not one short text of visible ASCII")
	}
	return v[0], nil
}
