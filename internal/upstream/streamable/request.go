package streamable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	// headRoom is how long a head may be to share one write with its message.
	headRoom  = 1 << 10
	maxPooled = 128 << 10
)

// scratch is where a request is put together: the message after headRoom
// bytes, and the head apart until its length is known.
type scratch struct{ head, msg []byte }

// outgoing is one HTTP request.
type outgoing struct {
	method string // http.MethodPost, MethodGet or MethodDelete
	m      *upstream.Outgoing
	id     mcp.ID
	// lastEventID resumes a stream.
	lastEventID string
	// listens says that the answer may be silent for ever.
	listens bool
	// credential are the headers that authenticate it.
	credential http.Header
}

// flight is one HTTP request under way and its connection.
type flight struct {
	t    *transport
	c    *conn
	stop func() bool
}

// once makes one HTTP request with headers that are built here and the
// credential's, and reads the head of its answer. The caller ends the flight.
func (t *transport) once(ctx context.Context, o outgoing) (flight, error) {
	s := t.d.scratch.Get().(*scratch)
	defer func() {
		if cap(s.msg) <= maxPooled {
			t.d.scratch.Put(s)
		}
	}()
	out, err := t.build(s, o)
	if err != nil {
		return flight{}, err
	}
	idle := t.d.limits.Idle
	if end, ok := ctx.Deadline(); ok && time.Until(end) < idle {
		idle = 0 // the context ends first
	}
	for {
		f, fresh, err := t.take(ctx)
		if err != nil {
			return flight{}, err
		}
		if idle > 0 {
			f.c.timed = true
			_ = f.c.rw.SetDeadline(time.Now().Add(idle))
		}
		n, err := f.c.rw.Write(out)
		if err != nil && n == 0 && !fresh && ctx.Err() == nil {
			f.end(false)
			continue // nothing left this process
		}
		if readErr := f.c.h.read(f.c.br, t.d.limits.Head); readErr != nil {
			f.end(false)
			return flight{}, broke(either(err, readErr))
		}
		f.c.h.close = f.c.h.close || err != nil
		if o.listens {
			idle = 0
			_ = f.c.rw.SetDeadline(time.Time{})
		}
		f.c.b.begin(&f.c.h, idle)
		return f, nil
	}
}

// broke says what it means that a connection failed after a request was
// written to it.
func broke(err error) error {
	if errors.Is(err, upstream.ErrViolation) || errors.Is(err, upstream.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", upstream.ErrCutOff, err)
}

// take gets a connection that ends with the context or the transport.
func (t *transport) take(ctx context.Context) (f flight, fresh bool, err error) {
	c, fresh, err := t.d.pool.get(ctx)
	if err != nil {
		return flight{}, false, err
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.d.pool.put(c)
		return flight{}, false, errClosed
	}
	t.live[c] = struct{}{}
	t.mu.Unlock()
	return flight{t: t, c: c, stop: context.AfterFunc(ctx, c.ends)}, fresh, nil
}

// end gives the connection back, for reuse if the answer was read to its end
// or soon will be.
func (f *flight) end(reuse bool) {
	stopped := f.stop()
	f.t.mu.Lock()
	delete(f.t.live, f.c)
	f.t.mu.Unlock()
	if !reuse || !stopped || f.c.dead.Load() {
		f.c.abort()
		return
	}
	f.t.d.release(f.c)
}

// build puts the request together and returns its bytes, valid as long as s.
func (t *transport) build(s *scratch, o outgoing) ([]byte, error) {
	if s.msg == nil {
		s.msg = make([]byte, headRoom, headRoom+4<<10)
	}
	msg, err := appendMessage(s.msg[:headRoom], o.m, o.id)
	s.msg = msg
	if err != nil {
		return nil, err
	}
	h := append(s.head[:0], t.d.prefix(o.method)...)
	if o.m != nil {
		h = append(h, "Content-Length: "...)
		h = strconv.AppendInt(h, int64(len(msg)-headRoom), 10)
		h = append(h, "\r\n"...)
	}
	h, err = t.fields(h, o)
	s.head = h
	if err != nil {
		return nil, err
	}
	h = append(h, "\r\n"...)
	s.head = h
	if len(h) > headRoom {
		s.head = append(h, msg[headRoom:]...)
		return s.head, nil
	}
	start := headRoom - len(h)
	copy(msg[start:], h)
	return msg[start:], nil
}

func appendMessage(dst []byte, m *upstream.Outgoing, id mcp.ID) ([]byte, error) {
	if m == nil {
		return dst, nil
	}
	return m.Append(dst, id)
}

// fields appends the headers that differ from request to request.
func (t *transport) fields(h []byte, o outgoing) ([]byte, error) {
	var err error
	add := func(name, value string) {
		if err != nil {
			return
		}
		if !validField(name, value) {
			err = errors.New("a header of the request has characters that no header may have: " + strconv.Quote(name))
			return
		}
		h = append(h, name...)
		h = append(h, ": "...)
		h = append(h, value...)
		h = append(h, "\r\n"...)
	}
	if t.era == mcp.Legacy {
		t.legacyFields(o, add)
	} else if m := o.m; m != nil {
		if m.Version != "" {
			add(mcp.HeaderVersion, string(m.Version))
		}
		if m.Method != "" {
			add(mcp.HeaderMethod, m.Method)
		}
		if m.Name != "" {
			add(mcp.HeaderName, mcp.EncodeHeaderValue(m.Name))
		}
		for _, f := range m.Headers {
			if len(f.Name) <= len(mcp.HeaderParamPrefix) || !strings.EqualFold(f.Name[:len(mcp.HeaderParamPrefix)], mcp.HeaderParamPrefix) {
				return h, errors.New("only " + mcp.HeaderParamPrefix + " headers follow a message")
			}
			add(f.Name, f.Value)
		}
	}
	for name, values := range o.credential {
		if reserved(name) {
			return h, errors.New("a credential may not set the header " + strconv.Quote(name))
		}
		for _, v := range values {
			add(name, v)
		}
	}
	return h, err
}

func (t *transport) legacyFields(o outgoing, add func(name, value string)) {
	version := mcp.Version("")
	if o.m != nil {
		version = o.m.Version
	} else if v := t.version.Load(); v != nil {
		version = *v
	}
	if version != "" {
		add(mcp.HeaderVersion, string(version))
		if t.version.Load() == nil {
			t.version.Store(&version)
		}
	}
	if s := t.session.Load(); s != nil {
		add(mcp.HeaderSession, *s)
	}
	if o.lastEventID != "" {
		add(mcp.HeaderLastEventID, o.lastEventID)
	}
}

// validField reports whether a header can be sent as it is.
func validField(name, value string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			// Annotations may use the rest of RFC 9110's token characters.
			if strings.IndexByte("!#$%&'*+^`|~", c) < 0 {
				return false
			}
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; (c < 0x20 && c != '\t') || c > 0x7e {
			return false
		}
	}
	return name != ""
}

// reserved reports whether a header says where a message ends, where it goes
// or what it is.
func reserved(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect",
		"accept", "accept-encoding", "content-type", "content-encoding", "user-agent", "last-event-id":
		return true
	}
	return strings.HasPrefix(n, "mcp-")
}
