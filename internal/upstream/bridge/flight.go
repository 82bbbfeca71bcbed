package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Bounds of what a server may send for one call before it is passed on.
const (
	maxQueue      = 256
	maxQueueBytes = 8 << 20
)

// inbox holds what the server sent for a call until it is passed on. The
// transport's reader never waits for a client.
type inbox struct {
	mu    sync.Mutex
	queue []mcp.Message
	bytes int
	wake  chan struct{}
	// waits holds what need not wait twice; nil where every message counts.
	waits map[string]struct{}
}

// newInbox returns an inbox in which a message that waits is not queued again.
func newInbox() inbox {
	return inbox{wake: make(chan struct{}, 1), waits: map[string]struct{}{}}
}

// put queues a message; it reports false when there is no room.
func (b *inbox) put(m mcp.Message) bool {
	size := len(m.Params) + len(m.Method)
	b.mu.Lock()
	key := ""
	if b.waits != nil {
		key = m.Method + "\x00" + string(m.Params)
		if _, dup := b.waits[key]; dup {
			b.mu.Unlock()
			return true
		}
	}
	if len(b.queue) >= maxQueue || b.bytes+size > maxQueueBytes {
		b.mu.Unlock()
		return false
	}
	if b.waits != nil {
		b.waits[key] = struct{}{}
	}
	b.queue = append(b.queue, m)
	b.bytes += size
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

func (b *inbox) take() []mcp.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue, b.bytes = nil, 0
	clear(b.waits)
	return q
}

// flight is one request of a caller on its way at the server.
type flight struct {
	c      *conn
	from   upstream.Caller
	method string
	task   string // that tasks/result waits for
	parked bool   // it waits for its client to come back; guarded by conn.mu
	began  uint64
	aside  bool // a request of the gateway's own
	// token is the raw progress token given to the server instead of the
	// client's, empty when the client asked for no progress.
	token string
	in    inbox
	id    atomic.Pointer[mcp.ID] // at the server, once chosen
	// fail ends the exchange with a legacy server for what the server did.
	fail atomic.Pointer[context.CancelCauseFunc]

	// ctx and client are set on calls whose messages a relay passes on; it is
	// started by the first message.
	ctx    context.Context
	client upstream.Client
	start  sync.Once
	relay  *relay
}

// depart registers a call on the connection. What the server sends for it is
// passed on to its client by a relay.
func (c *conn) depart(ctx context.Context, r request) *flight {
	f := &flight{c: c, from: r.from, method: r.method, ctx: ctx, client: r.client}
	c.register(f, r)
	return f
}

// departWaiting registers a call whose messages are taken by the one who
// waits for it.
func (c *conn) departWaiting(r request) *flight {
	f := &flight{c: c, from: r.from, method: r.method, in: inbox{wake: make(chan struct{}, 1)}}
	c.register(f, r)
	return f
}

func (c *conn) register(f *flight, r request) {
	f.aside = r.from.Aside
	if r.method == mcp.MethodTasksResult {
		f.task = paramTask(r.params)
	}
	if r.from.ProgressToken != nil {
		var b [12]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
		f.token = `"` + hex.EncodeToString(b[:]) + `"`
	}
	if c.permanent() {
		return // every message comes on the stream of its request
	}
	c.mu.Lock()
	c.began++
	f.began = c.began
	c.flights[f] = struct{}{}
	if f.token != "" {
		c.tokens[f.token] = f
	}
	c.mu.Unlock()
}

// arrive takes the call off the connection.
func (f *flight) arrive() {
	if f.c.permanent() {
		return
	}
	f.c.mu.Lock()
	delete(f.c.flights, f)
	if f.token != "" {
		delete(f.c.tokens, f.token)
	}
	f.c.mu.Unlock()
}

func (f *flight) ownsProgress(m mcp.Message) bool {
	return f.token != "" && progressToken(m.Params) == f.token
}

// put queues a message for the client.
func (f *flight) put(m mcp.Message) bool {
	if f.client != nil {
		f.start.Do(f.startRelay)
	}
	if !f.in.put(m) {
		if m.Kind == mcp.Notification {
			f.c.flood("notifications")
		}
		return false
	}
	return true
}

func (f *flight) setID(id mcp.ID) { f.id.Store(&id) }

// exchange sends the call and waits for its answer. When ctx ends first the
// server is told.
func (f *flight) exchange(ctx context.Context, out upstream.Outgoing) (mcp.Message, error) {
	out.RequestID, out.Subject = f.setID, f.subject()
	if f.c.era == mcp.Legacy {
		var fail context.CancelCauseFunc
		ctx, fail = context.WithCancelCause(ctx)
		defer fail(nil)
		f.fail.Store(&fail)
	}
	msg, err := f.c.t.Exchange(ctx, out, f.bound)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, upstream.ErrViolation) {
		f.cancelUpstream(ctx, out)
		return msg, cause
	}
	f.c.doubt(msg, err)
	if err != nil && !f.c.permanent() {
		f.c.failed(err)
		if cause := context.Cause(f.c.ctx); cause != nil {
			if f.c.s.cfg.Kind == HTTP && cause == err && errors.Is(err, upstream.ErrDown) { //nolint:errorlint // this very error
				return msg, err // it was not reached: nothing was sent
			}
			return msg, lostInFlight(cause)
		}
		if ctx.Err() != nil {
			f.cancelUpstream(ctx, out)
		}
	}
	return msg, err
}

// subject is on whose behalf the call is made: the one who last came back for it.
func (f *flight) subject() call.Subject {
	if f.c.permanent() {
		return f.from.Subject()
	}
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.from.Subject()
}

// broke ends the call, for the server broke the protocol in a way that leaves
// what it asked without a meaning.
func (f *flight) broke(words string) {
	if fail := f.fail.Load(); fail != nil {
		(*fail)(violationError(words))
	}
}

// cancelUpstream tells the server that nobody waits any more, unless the call
// is a task, which is not cancelled this way.
func (f *flight) cancelUpstream(ctx context.Context, out upstream.Outgoing) {
	if id := f.id.Load(); id != nil && !isTaskCall(out.Params, f.c.era) {
		f.c.cancelRequest(ctx, *id, f.subject())
	}
}

// cancelRequest sends notifications/cancelled. A modern HTTP server learns it
// from the closed stream instead ("Transport-Specific Cancellation").
func (c *conn) cancelRequest(ctx context.Context, id mcp.ID, who call.Subject) {
	if c.permanent() || !c.alive() {
		return
	}
	reason := "the client cancelled the request"
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		reason = "the request took too long"
	}
	if errors.Is(context.Cause(ctx), upstream.ErrViolation) {
		reason = "the server broke the protocol"
	}
	params := strictjson.Object{{Name: "requestId", Raw: []byte(id.Raw())},
		{Name: "reason", Raw: strictjson.AppendString(nil, reason)}}.Append(nil)
	ctx = context.WithoutCancel(ctx)
	c.s.spawn(func() { _ = c.send(ctx, upstream.Outgoing{Method: mcp.NotifyCancelled, Params: params, Subject: who}) })
}

// isTaskCall reports a legacy request that was augmented with a task.
func isTaskCall(params []byte, e mcp.Era) bool {
	if e != mcp.Legacy {
		return false
	}
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return false
	}
	_, ok := o.Get("task")
	return ok
}

// notification translates a notification for this call's client; ok is false
// when it is not for it.
func (f *flight) notification(m mcp.Message) (method string, params []byte, ok bool) {
	switch m.Method {
	case mcp.NotifyProgress:
		if !f.ownsProgress(m) {
			return m.Method, m.Params, true // of a task, translated already
		}
		if f.from.ProgressToken == nil {
			return "", nil, false
		}
		o, err := mcp.ObjectOf(m.Params)
		if err != nil {
			return "", nil, false
		}
		return m.Method, o.With(mcp.MetaProgressToken, f.from.ProgressToken).Append(nil), true
	case mcp.NotifyMessage:
		return m.Method, m.Params, f.wantsLog(m.Params)
	case mcp.NotifyCancelled:
		return "", nil, false
	}
	return m.Method, m.Params, true
}

// wantsLog reports whether a log message is at or above what the client asked
// for. A modern client that named no level gets none; what a legacy server
// sends to a legacy client is the server's choice.
func (f *flight) wantsLog(params []byte) bool {
	if f.from.Era == mcp.Legacy && f.c.era == mcp.Legacy {
		return true
	}
	floor := mcp.LogRank(f.from.LogLevel)
	if floor < 0 {
		return f.from.Era == mcp.Legacy
	}
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return false
	}
	level, ok := mcp.Text(o, "level", 32)
	return ok && mcp.LogRank(level) >= floor
}
