package bridge

import (
	"context"
	"slices"
	"sync"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// wants are the resources that legacy sessions subscribed to. A modern server
// hears of them in the filter of the session's stream, which is opened again
// when they change.
type wants struct {
	mu   sync.Mutex
	sets map[string]map[string]*want // session, Principal.ClientKey
}

type want struct {
	uris    map[string]struct{}
	changed chan struct{}
}

// of returns the set of a session, made if need be. wants.mu is held.
func (w *wants) of(from upstream.Caller) *want {
	if w.sets == nil {
		w.sets = map[string]map[string]*want{}
	}
	owners := w.sets[from.Session]
	if owners == nil {
		owners = map[string]*want{}
		w.sets[from.Session] = owners
	}
	set := owners[from.Principal.ClientKey()]
	if set == nil {
		set = &want{uris: map[string]struct{}{}, changed: make(chan struct{}, 1)}
		owners[from.Principal.ClientKey()] = set
	}
	return set
}

func (w *want) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// add reports false when the session watches as much as it may.
func (w *wants) add(from upstream.Caller, uri string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	set := w.of(from)
	if _, ok := set.uris[uri]; ok {
		return true
	}
	if len(set.uris) >= maxURIs {
		return false
	}
	set.uris[uri] = struct{}{}
	set.tell()
	return true
}

func (w *wants) drop(from upstream.Caller, uri string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	set := w.of(from)
	if _, ok := set.uris[uri]; ok {
		delete(set.uris, uri)
		set.tell()
	}
}

// union takes further URIs into the set of a session and returns all, sorted.
func (w *wants) union(from upstream.Caller, more []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	set := w.of(from)
	for _, u := range more {
		if len(set.uris) < maxURIs {
			set.uris[u] = struct{}{}
		}
	}
	out := make([]string, 0, len(set.uris))
	for u := range set.uris {
		out = append(out, u)
	}
	slices.Sort(out)
	return out
}

func (w *wants) signal(from upstream.Caller) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of(from).changed
}

func (w *wants) forget(session string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sets, session)
}

// change answers resources/subscribe and unsubscribe for a modern server.
func (w *wants) change(r request, server features) upstream.Answer {
	o, err := mcp.ObjectOf(r.params)
	if err != nil {
		return refuse(mcp.CodeInvalidParams, "params must be an object")
	}
	uri, ok := mcp.Text(o, "uri", 1<<16)
	switch {
	case !ok:
		return refuse(mcp.CodeInvalidParams, "params.uri names the resource")
	case server.known && !server.subscribe:
		return refuse(mcp.CodeMethodNotFound, "the server has no subscriptions to resources")
	case r.method == mcp.MethodResourcesUnsubscribe:
		w.drop(r.from, uri)
	case !w.add(r.from, uri):
		return refuse(mcp.CodeInvalidRequest, "too many resources are watched: unsubscribe from some first")
	}
	return complete(mcp.EmptyObject())
}

// stream is one subscriptions/listen request at a modern server.
type stream struct {
	l      *listener
	cancel context.CancelFunc
	done   chan error
}

// listenRequest is subscriptions/listen in the name of a caller.
func (c *conn) listenRequest(r request, l *listener) (upstream.Outgoing, error) {
	o, err := mcp.ObjectOf(r.params)
	if err != nil {
		return upstream.Outgoing{}, err
	}
	params := modernParams(o.With("notifications", l.want.raw.Append(nil)), r.from, c.version,
		modernMeta{caps: callerCapabilities(r.from, r.from.Era == mcp.Legacy && len(l.want.tasks) > 0)})
	return upstream.Outgoing{Method: mcp.MethodListen, Params: params, Version: c.version, Subject: r.from.Subject(), RequestID: func(id mcp.ID) {
		l.mu.Lock()
		l.id = id
		l.mu.Unlock()
	}}, nil
}

// openStream sends subscriptions/listen; done gets nil when the server ends
// the stream gracefully.
func (c *conn) openStream(ctx context.Context, r request, want filter) (*stream, error) {
	l := c.listen(r.from, want)
	out, err := c.listenRequest(r, l)
	if err != nil {
		c.unlisten(l)
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{l: l, cancel: cancel, done: make(chan error, 1)}
	stop := context.AfterFunc(c.ctx, cancel)
	c.s.spawn(func() {
		defer stop()
		msg, err := c.t.Exchange(ctx, out, l.bound)
		c.unlisten(l)
		switch {
		case err != nil && ctx.Err() != nil:
			l.mu.Lock()
			id := l.id
			l.mu.Unlock()
			if !id.IsZero() {
				c.cancelRequest(ctx, id, r.from.Subject())
			}
			if !c.alive() {
				err = lostInFlight(context.Cause(c.ctx))
			}
		case err != nil:
			c.failed(err)
			err = c.modernFailure(err)
		case msg.Kind == mcp.ErrorReply:
			err = errorOf(msg)
		}
		cancel()
		st.done <- err
	})
	return st, nil
}

func errorOf(msg mcp.Message) error {
	e, err := mcp.ParseError(msg.Error)
	switch {
	case err != nil:
		return violationError("its error is no error object")
	case e.Code == mcp.CodeUnsupportedVersion:
		return errForgotten
	}
	return e
}

// listenModern serves a stream from a modern server. For a legacy session the
// filter is what the session wants at the time; a changed one opens a second
// stream and closes the first once the second is acknowledged.
func (c *conn) listenModern(ctx context.Context, cl *call.Clearance, r request) error {
	var changed <-chan struct{}
	wanted := func() filter { return readFilter(r.params) }
	if r.from.Era == mcp.Legacy {
		changed = c.s.wants.signal(r.from)
		select {
		case <-changed: // what changed so far is in the first filter
		default:
		}
		wanted = func() filter {
			w := readFilter(r.params)
			if w.uris = c.s.wants.union(r.from, nil); len(w.uris) > 0 {
				w.raw = w.raw.With("resourceSubscriptions", textArray(w.uris))
			} else {
				w.raw = w.raw.Without("resourceSubscriptions")
			}
			return w
		}
		c.s.wants.union(r.from, readFilter(r.params).uris)
	}
	if c.s.cfg.Kind == Stdio && wanted().plain() {
		return c.listenHub(ctx, cl, r, wanted, changed)
	}
	cur, err := c.openStream(ctx, r, wanted())
	if err != nil {
		return err
	}
	defer func() { cur.cancel() }()
	var next *stream
	stale := false
	defer func() {
		if next != nil {
			next.cancel()
		}
	}()
	for {
		if err := cur.l.deliver(ctx, cl, r.client); err != nil {
			return err
		}
		if stale && next == nil {
			stale = false
			if want := wanted(); !slices.Equal(want.uris, cur.l.want.uris) {
				if next, err = c.openStream(ctx, r, want); err != nil {
					return err
				}
			}
		}
		var nextWake <-chan struct{}
		var nextDone <-chan error
		if next != nil {
			nextWake, nextDone = next.l.in.wake, next.done
		}
		select {
		case <-cur.l.in.wake:
		case <-nextWake:
			if err := cur.l.deliver(ctx, cl, r.client); err != nil {
				return err
			}
			cur.cancel()
			cur, next = next, nil
			cur.l.dropAck()
		case <-nextDone:
			next = nil // the first stream goes on with what it has
		case <-changed:
			stale = true
		case <-cur.l.end:
			return cur.l.deliver(ctx, cl, r.client)
		case err := <-cur.done:
			if derr := cur.l.deliver(ctx, cl, r.client); derr != nil {
				return derr
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dropAck takes the acknowledgement of a reopened stream out of what waits:
// the client has seen one.
func (l *listener) dropAck() {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.in.queue = slices.DeleteFunc(l.in.queue, func(m mcp.Message) bool { return m.Method == mcp.NotifySubscriptionAck })
	select {
	case l.in.wake <- struct{}{}:
	default:
	}
}
