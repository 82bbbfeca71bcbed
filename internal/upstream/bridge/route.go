package bridge

import (
	"context"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// unbound takes a message of the server that no exchange surely owns and
// finds whom it belongs to.
func (c *conn) unbound(m mcp.Message) {
	switch m.Kind {
	case mcp.Request:
		c.request(m, nil)
	case mcp.Notification:
		c.notified(m, nil)
	default:
		c.s.violation("unasked-answer", "the server answered a request that is not waiting")
	}
}

// bound takes a message from the response stream of a call.
func (f *flight) bound(m mcp.Message) {
	switch {
	case m.Kind == mcp.Request:
		f.c.request(m, f)
	case m.Kind != mcp.Notification:
		f.c.s.violation("unasked-answer", "the server put another answer on the stream of a call")
	case m.Method == mcp.NotifyProgress && f.ownsProgress(m), m.Method == mcp.NotifyMessage:
		f.put(m)
	case m.Method == mcp.NotifyProgress && f.c.lateProgress(m):
	case m.Method == mcp.NotifyProgress:
		f.c.s.violation("foreign-progress", "the server sent progress for a token that the call did not give")
	case isChange(m.Method), m.Method == mcp.NotifyCancelled:
		f.c.notified(m, f)
	case f.from.Era == f.c.era:
		f.put(m) // what this gateway does not know may still mean something to both
	}
}

// notified routes a notification that belongs to no call by what it says. f is
// the call on whose stream it came, nil when it came on none.
func (c *conn) notified(m mcp.Message, f *flight) {
	switch m.Method {
	case mcp.NotifyProgress:
		if f := c.flightOf(m); f != nil {
			f.put(m)
		} else {
			c.lateProgress(m)
		}
	case mcp.NotifyMessage:
		if f := c.logged(); f != nil {
			f.put(m)
		} else {
			c.tell(m, nil)
		}
	case mcp.NotifyCancelled:
		c.withdrawn(m)
	default:
		c.tell(m, f)
	}
}

// ask is a request of the server that waits for its answer.
type ask struct {
	f      *flight
	token  string // raw progress token that the server gave
	cancel context.CancelFunc
}

var (
	errNotYours    = &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "this request belongs to no call that is in progress: send it while one call is, or on the stream of its call"}
	errNotDeclared = &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "the client did not declare that it answers this"}
	errTooMany     = &mcp.Error{Code: mcp.CodeInternal, Message: "too many requests wait for the client: send fewer at once"}
	errNoAnswer    = &mcp.Error{Code: mcp.CodeInternal, Message: "the client did not answer"}
)

// request takes a request of the server. f is the call on whose stream it
// came, nil when it came on none.
func (c *conn) request(m mcp.Message, f *flight) {
	if c.routed() == mcp.Modern {
		c.s.violation("server-request", "a modern server sent a request: "+known(m.Method))
		return
	}
	if m.Method == mcp.MethodPing {
		c.later(upstream.Outgoing{Answer: m.ID, Result: mcp.EmptyObject()})
		return
	}
	switch {
	case f == nil, f.aside && c.private():
		f = c.claimed(m)
	case f.aside:
		f = nil // another's call may be the only one
	}
	if f == nil {
		c.s.violation("unbound-request", "the server asked outside of any one call: "+known(m.Method))
		c.later(upstream.Outgoing{Answer: m.ID, Error: errNotYours})
		return
	}
	if !f.answers(m) {
		c.s.violation("undeclared-request", "the server asked what the client did not declare: "+known(m.Method))
		c.later(upstream.Outgoing{Answer: m.ID, Error: errNotDeclared})
		return
	}
	c.mu.Lock()
	if first := c.asks[m.ID.Raw()]; first != nil {
		c.mu.Unlock()
		c.s.violation("reused-id", "the server used the ID of a request that still waits")
		// An answer would be the answer to either: neither call can go on.
		const words = "it used the ID of a request of its own that still waits"
		first.f.broke(words)
		f.broke(words)
		return
	}
	full := len(c.asks) >= maxAsks
	if !full {
		c.asks[m.ID.Raw()] = &ask{f: f, token: requestToken(m.Params)}
	}
	c.mu.Unlock()
	if full || !f.put(m) {
		if !full {
			c.answered(m.ID)
		}
		c.flood("requests")
		c.later(upstream.Outgoing{Answer: m.ID, Error: errTooMany})
	}
}

// known keeps text of a server out of the detail of a violation.
func known(method string) string {
	switch method {
	case mcp.MethodSampling, mcp.MethodElicit, mcp.MethodRootsList, mcp.MethodTasksGet, mcp.MethodTasksResult, mcp.MethodTasksCancel, mcp.MethodTasksList:
		return method
	}
	return "another method"
}

// answers reports whether the client declared that it answers a request. A
// legacy client with tasks of its own may be asked about them.
func (f *flight) answers(m mcp.Message) bool {
	f.c.mu.Lock()
	from := f.from
	f.c.mu.Unlock()
	switch m.Method {
	case mcp.MethodTasksGet, mcp.MethodTasksResult:
		return from.Era == mcp.Legacy && from.Capabilities.Tasks
	case mcp.MethodTasksCancel:
		return from.Era == mcp.Legacy && from.Capabilities.TaskCancel
	}
	return from.Capabilities.Allows(m.Method, m.Params)
}

// answered forgets a request of the server.
func (c *conn) answered(id mcp.ID) {
	c.mu.Lock()
	delete(c.asks, id.Raw())
	c.mu.Unlock()
}

// answer sends the client's answer to a request of the server.
func (f *flight) answer(ctx context.Context, id mcp.ID, result []byte, refused *mcp.Error) {
	c := f.c
	c.answered(id)
	if err := c.send(ctx, upstream.Outgoing{Answer: id, Result: result, Error: refused, Subject: f.subject()}); err != nil && c.alive() {
		c.s.cfg.Logger.Debug("an answer did not reach the server", "error", err.Error())
	}
}

// withdrawn handles notifications/cancelled of a server: a legacy server
// withdraws a request, a modern one ends a subscription.
func (c *conn) withdrawn(m mcp.Message) {
	o, err := mcp.ObjectOf(m.Params)
	if err != nil {
		return
	}
	id, _ := o.Get("requestId")
	if len(id) == 0 {
		return
	}
	if c.routed() == mcp.Modern {
		if l := c.listenerOf(string(id)); l != nil {
			l.finish()
		}
		return
	}
	c.mu.Lock()
	a := c.asks[string(id)]
	var cancel context.CancelFunc
	if a != nil {
		cancel = a.cancel
	}
	c.mu.Unlock()
	if a == nil {
		return
	}
	if cancel != nil {
		cancel()
	}
	a.f.put(m)
}

func (c *conn) routed() mcp.Era {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.routing
}

// claimed returns the one live call that an unbound request can belong to.
func (c *conn) claimed(m mcp.Message) *flight {
	if f := c.taskFlight(m); f != nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.hosted(m); f != nil {
		return f
	}
	return c.sole(func(*flight) bool { return true })
}

// hosted returns the call that a request about a task of the client belongs to:
// the one in which the client made the task or, when that is over, another of
// the same session. conn.mu is held.
func (c *conn) hosted(m mcp.Message) *flight {
	switch m.Method {
	case mcp.MethodTasksGet, mcp.MethodTasksResult, mcp.MethodTasksCancel:
	default:
		return nil
	}
	f := c.hosts[paramTask(m.Params)]
	if f == nil {
		return nil
	}
	if _, live := c.flights[f]; !live && c.private() {
		return c.oldest()
	} else if !live {
		return nil
	}
	return f
}

// host notes in which call a client made a task of its own.
func (c *conn) host(f *flight, result []byte) {
	_, id, ok := taskOf(result)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.hosts {
		if len(c.hosts) < maxTasks {
			break
		}
		delete(c.hosts, k)
	}
	c.hosts[id] = f
}

// sole returns the only live call that fits, nil when there is none or more
// than one. On a connection of one client a call that waits for its client to
// come back counts only when no other fits: the server waits for its answers
// too, and what it sends now belongs to what it works on. conn.mu is held.
func (c *conn) sole(fits func(*flight) bool) *flight {
	var served, parked []*flight
	for f := range c.flights {
		switch {
		case f.aside || !fits(f):
		case f.parked && c.private():
			parked = append(parked, f)
		default:
			served = append(served, f)
		}
	}
	if len(served) == 0 {
		served = parked
	}
	if len(served) != 1 {
		return nil
	}
	return served[0]
}

// logged returns the call that an unbound log message goes to. Messages name
// no call: one call takes them; on a connection of a single client's session
// the oldest call does.
func (c *conn) logged() *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	wants := func(f *flight) bool { return f.from.Era == mcp.Legacy || f.from.LogLevel != "" }
	if f := c.sole(wants); f != nil {
		return f
	}
	if !c.private() {
		return nil
	}
	return c.oldest()
}

// oldest returns the call of a legacy client that is under way for the longest
// time. conn.mu is held.
func (c *conn) oldest() *flight {
	var oldest *flight
	for f := range c.flights {
		if f.from.Era == mcp.Legacy && !f.aside && (oldest == nil || f.began < oldest.began) {
			oldest = f
		}
	}
	return oldest
}

// flightOf returns the call whose progress token a notification carries.
func (c *conn) flightOf(m mcp.Message) *flight {
	tok := progressToken(m.Params)
	if tok == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens[tok]
}

func (c *conn) askedWithToken(params []byte) bool {
	tok := progressToken(params)
	if tok == "" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.asks {
		if a.token == tok {
			return true
		}
	}
	return false
}

// progressToken returns the raw token of a progress notification.
func progressToken(params []byte) string {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return ""
	}
	raw, _ := o.Get(mcp.MetaProgressToken)
	return string(raw)
}

// requestToken returns the raw progress token in the _meta of a request.
func requestToken(params []byte) string {
	return string(metaMember(params, mcp.MetaProgressToken))
}

func metaMember(params []byte, name string) []byte {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return nil
	}
	raw, ok := o.Get("_meta")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil
	}
	meta, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil
	}
	v, _ := meta.Get(name)
	return v
}
