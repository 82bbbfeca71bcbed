package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// outbox writes to the client. It takes releases and nothing else.
type outbox interface {
	// send writes a message that comes before the answer.
	send(rel call.Release) error
	// finish writes the answer, or a refusal with its status; r is nil for an
	// answer.
	finish(status int, r *refusal, rel call.Release)
	// accepted acknowledges a message that has no answer.
	accepted()
}

var (
	nosniff    = []string{"nosniff"}
	noStore    = []string{"no-store"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
	denyFrame  = []string{"DENY"}
	noReferrer = []string{"no-referrer"}
	sameOrigin = []string{"same-origin"}
	jsonType   = []string{mcp.ContentJSON}
	sseType    = []string{mcp.ContentEventStream}
	noBuffer   = []string{"no"}
)

// httpOut answers one POST: as JSON when the answer is all there is, as an
// event stream when something comes before it.
type httpOut struct {
	w          http.ResponseWriter
	rc         *http.ResponseController
	limits     Limits
	id         call.ID
	joined     *sync.Pool // of *[]byte, for answers that are written at once
	session    *Session
	newSession string
	// call is the context of a request of a session; nil for other messages.
	call      context.Context //nolint:containedctx // its cause says why the request ended
	preferSSE bool

	mu   sync.Mutex
	sse  *sseWriter
	keep *stream
	done bool
}

// hushed reports that the client cancelled the request.
func (o *httpOut) hushed() bool {
	return o.call != nil && errors.Is(context.Cause(o.call), errCancelled)
}

// hush ends the response to a request that its client cancelled: an event
// stream that has no response says so ("Not send a response for the cancelled
// request"). A stream that can be resumed ends with its response, since clients
// come back for it until they have one. The caller holds mu.
func (o *httpOut) hush() bool {
	if !o.hushed() || o.keep != nil {
		return false
	}
	if o.sse == nil {
		h := o.w.Header()
		h["Content-Type"], h["X-Accel-Buffering"] = sseType, noBuffer
		o.w.WriteHeader(http.StatusOK)
	}
	return true
}

// open turns the response into an event stream. The caller holds mu.
func (o *httpOut) open() {
	if o.sse != nil {
		return
	}
	h := o.w.Header()
	h["Content-Type"] = sseType
	h["X-Accel-Buffering"] = noBuffer
	if o.newSession != "" {
		h[mcp.HeaderSession] = []string{o.newSession}
	}
	o.w.WriteHeader(http.StatusOK)
	o.sse = &sseWriter{w: o.w, rc: o.rc, timeout: o.limits.WriteTime, keepAlive: o.limits.KeepAlive}
	if o.session != nil && resumable(o.session.version) {
		o.keep = o.session.newStream()
		_ = o.sse.prime(o.keep.eventID(0))
	}
}

func (o *httpOut) send(rel call.Release) error {
	body, err := rel.Take()
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.done:
		return errDone
	case o.hushed():
		return errCancelled
	}
	o.open()
	return o.event(body)
}

func (o *httpOut) event(parts [][]byte) error {
	id := ""
	if o.keep != nil {
		body := bytes.Join(parts, nil)
		id = o.keep.add(body)
		parts = [][]byte{body}
	}
	err := o.sse.event(id, parts...)
	if o.keep != nil {
		return nil // kept: the client may come back for it
	}
	return err
}

func (o *httpOut) finish(status int, r *refusal, rel call.Release) {
	body, err := rel.Take()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return
	}
	o.done = true
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	if o.hush() {
		return
	}
	if o.preferSSE && status == http.StatusOK {
		o.open()
	}
	if o.sse != nil {
		_ = o.event(body)
		if o.keep != nil {
			o.keep.finish()
		}
		return
	}
	h := o.w.Header()
	h["Content-Type"] = jsonType
	if r != nil && r.challenge != "" {
		h.Set("WWW-Authenticate", r.challenge)
	}
	if r != nil && r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retry))
	}
	if o.newSession != "" && r == nil {
		h[mcp.HeaderSession] = []string{o.newSession}
	}
	size := 0
	for _, p := range body {
		size += len(p)
	}
	h["Content-Length"] = []string{strconv.Itoa(size)}
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.limits.WriteTime))
	o.w.WriteHeader(status)
	o.write(body, size)
}

// write writes an answer. The connection's own buffer takes what is small; of
// more, each piece would be a packet of its own, down to the last brace, so it
// is put together first.
func (o *httpOut) write(body [][]byte, size int) {
	const buffered, most = 2 << 10, 128 << 10
	if size <= buffered || size > most {
		for _, p := range body {
			if _, err := o.w.Write(p); err != nil {
				return
			}
		}
		return
	}
	b, _ := o.joined.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	*b = slices.Grow((*b)[:0], size)
	for _, p := range body {
		*b = append(*b, p...)
	}
	_, _ = o.w.Write(*b)
	o.joined.Put(b)
}

func (o *httpOut) accepted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.done = true
		o.w.WriteHeader(http.StatusAccepted)
	}
}

// last lets nothing more be written, for the response is not ours once the
// handler has returned, and gives what the server still has to write its time,
// however long ago the last write was. It may have to wait for the rest of a
// body.
func (o *httpOut) last() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	_ = o.rc.SetWriteDeadline(time.Now().Add(unwantedBody + o.limits.WriteTime))
}

// opens names the session that the answer opens. It is told before the server
// is asked, which may take so long that the headers go out first.
func (o *httpOut) opens(session string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.newSession = session
}

// alive keeps a long call's connection open through intermediaries.
func (o *httpOut) alive() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return
	}
	o.open()
	_ = o.sse.comment()
}

// prefersStream reports that a client names the event stream before JSON.
func prefersStream(r *http.Request) bool {
	a := strings.Join(r.Header["Accept"], ",")
	s, j := strings.Index(a, mcp.ContentEventStream), strings.Index(a, mcp.ContentJSON)
	return s >= 0 && j >= 0 && s < j
}

// sseWriter writes server-sent events; each write has a deadline, so a reader
// that stands still is cut off.
type sseWriter struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	timeout   time.Duration
	keepAlive time.Duration
	buf       []byte
}

func (s *sseWriter) event(id string, parts ...[]byte) error {
	b := s.buf[:0]
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(b, "event: message\ndata: "...)
	for _, body := range parts {
		// A JSON text may hold raw line breaks between tokens; SSE would cut
		// there.
		if bytes.IndexByte(body, '\n') < 0 && bytes.IndexByte(body, '\r') < 0 {
			b = append(b, body...)
			continue
		}
		for _, c := range body {
			if c != '\n' && c != '\r' {
				b = append(b, c)
			}
		}
	}
	b = append(b, '\n', '\n')
	s.buf = b
	return s.flush(b)
}

func (s *sseWriter) prime(id string) error {
	return s.flush([]byte("id: " + id + "\nretry: 1000\ndata: \n\n"))
}

func (s *sseWriter) comment() error { return s.flush([]byte(":\n\n")) }

func (s *sseWriter) flush(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.timeout))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

// stream opens the response as a stream at once.
func (o *httpOut) stream() *sseWriter {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.w.Header()
	h["Content-Type"] = sseType
	h["X-Accel-Buffering"] = noBuffer
	o.w.WriteHeader(200)
	o.sse = &sseWriter{w: o.w, rc: o.rc, timeout: o.limits.WriteTime, keepAlive: o.limits.KeepAlive}
	_ = o.sse.comment()
	_ = o.rc.SetReadDeadline(time.Time{})
	return o.sse
}
