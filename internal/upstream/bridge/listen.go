package bridge

import (
	"context"
	"strings"
	"sync"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// maxURIs bounds the resources that one stream or session watches.
const maxURIs = 1024

// Listen implements upstream.Server.
func (s *Server) Listen(ctx context.Context, cl *call.Clearance, from upstream.Caller, client upstream.Client) error {
	cleared, err := s.spend(cl, from)
	if err != nil {
		return err
	}
	r := request{method: mcp.MethodListen, params: cleared.Params, from: from, client: client, target: cleared.Target}
	return s.linked(ctx, from, func(c *conn) error {
		if c.era == mcp.Modern {
			return c.listenModern(ctx, cl, r)
		}
		return c.listenLegacy(ctx, cl, r)
	})
}

// filter is what a stream wants to hear of ("Notification Filter").
type filter struct {
	tools, prompts, resources bool
	uris, tasks               []string
	raw                       strictjson.Object // members as the client sent them
}

func readFilter(params []byte) filter {
	var f filter
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return f
	}
	raw, _ := o.Get("notifications")
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return f
	}
	if f.raw, err = strictjson.SplitObject(raw); err != nil {
		return f
	}
	on := func(name string) bool { v, _ := f.raw.Get(name); return string(v) == "true" }
	f.tools, f.prompts, f.resources = on("toolsListChanged"), on("promptsListChanged"), on("resourcesListChanged")
	f.uris, f.tasks = texts(f.raw, "resourceSubscriptions"), texts(f.raw, "taskIds")
	return f
}

func texts(o strictjson.Object, name string) []string {
	raw, _ := o.Get(name)
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range elems {
		if s, err := strictjson.String(e); err == nil && len(out) < maxURIs {
			out = append(out, s)
		}
	}
	return out
}

func textArray(list []string) []byte {
	b := []byte{'['}
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strictjson.AppendString(b, s)
	}
	return append(b, ']')
}

// listener is one stream of a client on a connection.
type listener struct {
	c    *conn
	from upstream.Caller
	want filter
	uris map[string]struct{}
	in   inbox
	end  chan struct{} // closed when the server ends the stream
	once sync.Once

	mu    sync.Mutex
	id    mcp.ID // of the request, modern
	acked bool
	// sink takes what a stream brings that several listeners share.
	sink func(mcp.Message)
	why  error // of the end
}

func (c *conn) listen(from upstream.Caller, want filter) *listener {
	l := newListener(c, from, want)
	c.mu.Lock()
	c.listeners[l] = struct{}{}
	c.mu.Unlock()
	return l
}

func newListener(c *conn, from upstream.Caller, want filter) *listener {
	l := &listener{c: c, from: from, want: want, uris: map[string]struct{}{}, in: newInbox(), end: make(chan struct{})}
	for _, u := range want.uris {
		l.uris[u] = struct{}{}
	}
	return l
}

func (c *conn) unlisten(l *listener) {
	c.mu.Lock()
	delete(c.listeners, l)
	c.mu.Unlock()
}

func (l *listener) finish() { l.once.Do(func() { close(l.end) }) }

// put queues a notification; one that waits already is not queued again.
func (l *listener) put(m mcp.Message) {
	if l.sink != nil {
		l.sink(m)
	} else if !l.in.put(m) {
		l.c.flood("notifications")
	}
}

// deliver hands on what waits.
func (l *listener) deliver(ctx context.Context, cl *call.Clearance, client upstream.Client) error {
	for _, m := range l.in.take() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !cl.Current() {
			return call.ErrStale
		}
		method, params, ok := l.c.forListener(ctx, l, client, m)
		if !ok {
			continue
		}
		if err := client.Notify(method, params); err != nil {
			return err
		}
	}
	return nil
}

// forListener says a notification in the words of the client's era.
func (c *conn) forListener(ctx context.Context, l *listener, client upstream.Client, m mcp.Message) (method string, params []byte, ok bool) {
	params = m.Params
	if metaMember(params, mcp.MetaSubscriptionID) != nil {
		o, _ := mcp.ObjectOf(params)
		params = mcp.WithMeta(o, nil, mcp.MetaSubscriptionID).Append(nil)
	}
	return c.taskNotification(ctx, l, client, m.Method, params)
}

// isChange reports the notifications that belong to streams, not to calls.
func isChange(method string) bool {
	switch method {
	case mcp.NotifyToolsChanged, mcp.NotifyPromptsChanged, mcp.NotifyResourcesChanged, mcp.NotifyResourceUpdated,
		mcp.NotifyTask, mcp.NotifyTaskStatus, mcp.NotifySubscriptionAck, mcp.NotifyElicitationComplete:
		return true
	}
	return false
}

// tell gives a notification that belongs to no call to those who listen. A
// change reaches a legacy client that has no stream open for it on that of a
// call: the one it came on, f, or any that is under way on a connection of its
// own.
func (c *conn) tell(m mcp.Message, f *flight) {
	if c.routed() == mcp.Modern {
		if l := c.listenerOf(string(metaMember(m.Params, mcp.MetaSubscriptionID))); l != nil {
			l.bound(m)
		}
		return
	}
	c.s.changed(m.Method)
	c.mu.Lock()
	var to []*listener
	for l := range c.listeners {
		to = append(to, l)
	}
	if f != nil && f.aside {
		f = nil
	}
	if f == nil && c.private() {
		f = c.oldest()
	}
	c.mu.Unlock()
	for _, l := range to {
		if f != nil && l.from.Session == f.from.Session && same(l.from.Principal, f.from.Principal) {
			f = nil // it has a stream for what it may hear
		}
		if l.hears(m) {
			l.put(m)
		}
	}
	if f != nil && f.from.Era == mcp.Legacy && isChange(m.Method) {
		f.put(m)
	}
}

// changed tells the owner of the server which of its lists is another now.
func (s *Server) changed(method string) {
	switch method {
	case mcp.NotifyToolsChanged, mcp.NotifyPromptsChanged, mcp.NotifyResourcesChanged:
		if s.cfg.Changed != nil {
			s.cfg.Changed(method)
		}
	}
}

func (c *conn) listenerOf(id string) *listener {
	if id == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		l.mu.Lock()
		same := !l.id.IsZero() && l.id.Raw() == id
		l.mu.Unlock()
		if same {
			return l
		}
	}
	return nil
}

// hears reports whether a stream asked for a notification of a legacy server.
// What a legacy client's session may hear outside of calls it hears only on a
// connection that is its own.
func (l *listener) hears(m mcp.Message) bool {
	own := l.from.Era == mcp.Legacy && l.c.private()
	switch m.Method {
	case mcp.NotifyToolsChanged:
		return l.want.tools
	case mcp.NotifyPromptsChanged:
		return l.want.prompts
	case mcp.NotifyResourcesChanged:
		return l.want.resources
	case mcp.NotifyResourceUpdated:
		return own || l.watches(m.Params)
	case mcp.NotifyTaskStatus:
		return own || l.wantsTask(m.Params)
	case mcp.NotifySubscriptionAck, mcp.NotifyTask:
		return false
	}
	return own
}

// watches reports whether an updated resource is one that was subscribed to,
// or lies below it.
func (l *listener) watches(params []byte) bool {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return false
	}
	uri, ok := mcp.Text(o, "uri", 1<<16)
	if !ok {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.uris[uri]; ok {
		return true
	}
	for u := range l.uris {
		if strings.HasPrefix(uri, strings.TrimSuffix(u, "/")+"/") {
			return true
		}
	}
	return false
}

// bound takes a message from the stream of a modern subscription: nothing
// before the acknowledgement, and nothing that was not asked for.
func (l *listener) bound(m mcp.Message) {
	if m.Kind != mcp.Notification {
		l.c.s.violation("server-request", "a modern server sent a request on a stream")
		return
	}
	l.mu.Lock()
	acked := l.acked
	if m.Method == mcp.NotifySubscriptionAck {
		l.acked = true
	}
	l.mu.Unlock()
	ok := acked
	switch m.Method {
	case mcp.NotifySubscriptionAck:
		ok = !acked
	case mcp.NotifyToolsChanged:
		ok = ok && l.want.tools
	case mcp.NotifyPromptsChanged:
		ok = ok && l.want.prompts
	case mcp.NotifyResourcesChanged:
		ok = ok && l.want.resources
	case mcp.NotifyResourceUpdated:
		ok = ok && len(l.want.uris) > 0
	case mcp.NotifyTask:
		ok = ok && l.wantsTask(m.Params)
	case mcp.NotifyProgress, mcp.NotifyMessage, mcp.NotifyCancelled:
		ok = false
	default:
		ok = ok && l.from.Era == mcp.Modern
	}
	if !ok {
		l.c.s.violation("unasked-notification", "the server sent on a stream what was not asked for, or before its acknowledgement")
		return
	}
	l.c.s.changed(m.Method)
	l.put(m)
}

// listenLegacy serves a stream from a legacy server: it subscribes to each
// resource and passes on the changes of the session.
func (c *conn) listenLegacy(ctx context.Context, cl *call.Clearance, r request) error {
	want := readFilter(r.params)
	var holder any = new(byte)
	if r.from.Era == mcp.Legacy {
		holder = r.from.Session
		want.uris = c.s.wants.union(r.from, want.uris)
	}
	want.tools, want.prompts = want.tools && c.features.tools, want.prompts && c.features.prompts
	want.resources = want.resources && c.features.resources
	asked := want.uris
	want.uris = nil
	l := c.listen(r.from, want)
	defer c.unlisten(l)
	var held []string
	for _, uri := range asked {
		if !c.features.subscribe {
			break
		}
		if _, err := c.subscribe(ctx, r, uri, holder); err == nil {
			held = append(held, uri)
			l.mu.Lock()
			l.uris[uri] = struct{}{}
			l.mu.Unlock()
		} else if ctx.Err() != nil || !c.alive() {
			break
		}
	}
	if r.from.Era == mcp.Modern {
		defer func() {
			out := context.WithoutCancel(ctx)
			c.s.spawn(func() {
				for _, uri := range held {
					_ = c.unsubscribe(out, r, uri, holder)
				}
			})
		}()
	}
	ack := strictjson.Object{}
	for _, m := range []struct {
		name string
		on   bool
	}{{"toolsListChanged", want.tools}, {"promptsListChanged", want.prompts}, {"resourcesListChanged", want.resources}} {
		if m.on {
			ack = append(ack, strictjson.Member{Name: m.name, Raw: []byte("true")})
		}
	}
	if len(held) > 0 {
		ack = append(ack, strictjson.Member{Name: "resourceSubscriptions", Raw: textArray(held)})
	}
	if tasks := c.ackTasks(r.from, want.tasks); len(tasks) > 0 {
		ack = append(ack, strictjson.Member{Name: "taskIds", Raw: textArray(tasks)})
	}
	params := strictjson.Object{{Name: "notifications", Raw: ack.Append(nil)}}.Append(nil)
	if err := r.client.Notify(mcp.NotifySubscriptionAck, params); err != nil {
		return err
	}
	for {
		if err := l.deliver(ctx, cl, r.client); err != nil {
			return err
		}
		select {
		case <-l.in.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return lostInFlight(context.Cause(c.ctx))
		}
	}
}

// subscribe makes the server watch a resource for a holder. The answer is the
// server's, unless it watches already for another.
func (c *conn) subscribe(ctx context.Context, r request, uri string, holder any) (upstream.Answer, error) {
	unlock, err := c.lockSubs(ctx)
	if err != nil {
		return upstream.Answer{}, err
	}
	defer unlock()
	c.mu.Lock()
	watched := len(c.subs[uri]) > 0
	c.mu.Unlock()
	a := complete(mcp.EmptyObject())
	if !watched {
		if a, err = c.resourceCall(ctx, mcp.MethodResourcesSubscribe, r, uri); err != nil {
			return a, err
		}
		if a.Error != nil {
			return a, a.Error
		}
	}
	c.mu.Lock()
	if c.subs[uri] == nil {
		c.subs[uri] = map[any]struct{}{}
	}
	c.subs[uri][holder] = struct{}{}
	c.mu.Unlock()
	return a, nil
}

// unsubscribe ends the watch of a holder, and the server's with the last one.
func (c *conn) unsubscribe(ctx context.Context, r request, uri string, holder any) error {
	unlock, err := c.lockSubs(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c.mu.Lock()
	_, had := c.subs[uri][holder]
	delete(c.subs[uri], holder)
	last := had && len(c.subs[uri]) == 0
	if len(c.subs[uri]) == 0 {
		delete(c.subs, uri)
	}
	c.mu.Unlock()
	if !last || !c.alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	_, err = c.resourceCall(ctx, mcp.MethodResourcesUnsubscribe, r, uri)
	return err
}

func (c *conn) lockSubs(ctx context.Context) (unlock func(), err error) {
	select {
	case c.subing <- struct{}{}:
		return func() { <-c.subing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, lostInFlight(context.Cause(c.ctx))
	}
}

func (c *conn) resourceCall(ctx context.Context, method string, r request, uri string) (upstream.Answer, error) {
	params := strictjson.Object{{Name: "uri", Raw: strictjson.AppendString(nil, uri)}}.Append(nil)
	msg, err := c.t.Exchange(ctx, upstream.Outgoing{Method: method, Params: params, Version: c.version, Subject: r.from.Subject()}, c.unbound)
	if err != nil {
		c.failed(err)
		return upstream.Answer{}, err
	}
	return answerOf(msg)
}

// callSubscribe carries a legacy client's subscription to a legacy server.
func (c *conn) callSubscribe(ctx context.Context, r request) (upstream.Answer, error) {
	o, err := mcp.ObjectOf(r.params)
	if err != nil {
		return upstream.Answer{}, err
	}
	uri, ok := mcp.Text(o, "uri", 1<<16)
	if !ok {
		return refuse(mcp.CodeInvalidParams, "params.uri names the resource"), nil
	}
	if r.method == mcp.MethodResourcesUnsubscribe {
		c.s.wants.drop(r.from, uri)
		c.eachListener(r.from.Session, func(l *listener) { delete(l.uris, uri) })
		return complete(mcp.EmptyObject()), c.unsubscribe(ctx, r, uri, r.from.Session)
	}
	a, err := c.subscribe(ctx, r, uri, r.from.Session)
	if err != nil {
		if a.Error != nil {
			return a, nil
		}
		return a, err
	}
	if !c.s.wants.add(r.from, uri) {
		return refuse(mcp.CodeInvalidRequest, "too many resources are watched: unsubscribe from some first"), nil
	}
	c.eachListener(r.from.Session, func(l *listener) { l.uris[uri] = struct{}{} })
	return a, nil
}

// eachListener visits the streams of a downstream session.
func (c *conn) eachListener(session string, f func(*listener)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		if l.from.Session == session {
			l.mu.Lock()
			f(l)
			l.mu.Unlock()
		}
	}
}
