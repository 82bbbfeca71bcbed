package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// hub shares the subscriptions of one modern process among those who listen to
// it. There are servers that keep one subscription of a kind per process,
// where another takes the place of the first and the end of either ends both.
// So no kind is asked for twice: who wants what is told already joins, and
// what is new is asked for beside it. Nothing is cancelled while anybody
// listens, and after the last has left nothing is asked for before the server
// has ended what was cancelled.
type hub struct {
	c *conn

	mu      sync.Mutex
	members map[*listener]*member
	streams map[*shared]struct{}
	ending  map[*shared]struct{} // cancelled; the server has not said that they ended
	ended   chan struct{}        // closed when none of these is left; nil while nobody waits
	tended  bool
}

// member is what the hub knows of a listener. hub.mu guards it.
type member struct {
	r     request
	acked bool
	// missed: the server was asked anew for what this one hears already, and
	// may have changed something meanwhile.
	missed bool
}

// shared is one subscriptions/listen request at the process.
type shared struct {
	l        *listener
	acked    bool
	said     bool // the cancellation was sent
	honoured filter
	drop     context.CancelFunc // waits for its end no longer
}

const (
	maxShared = 16              // requests at one process before they are made one
	endTime   = 2 * time.Second // for a server to end what was cancelled
)

// listenHub serves a stream from a modern process.
func (c *conn) listenHub(ctx context.Context, cl *call.Clearance, r request, wanted func() filter, changed <-chan struct{}) error {
	l := newListener(c, r.from, wanted())
	defer c.hub.leave(l)
	c.hub.want(r, l, l.want)
	for {
		if err := l.deliver(ctx, cl, r.client); err != nil {
			return err
		}
		select {
		case <-l.in.wake:
		case <-changed:
			c.hub.want(r, l, wanted())
		case <-l.end:
			if err := l.deliver(ctx, cl, r.client); err != nil {
				return err
			}
			return l.why
		case <-c.ctx.Done():
			return lostInFlight(context.Cause(c.ctx))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// plain reports a filter of which every member is known, so that it can be
// joined with others.
func (f filter) plain() bool {
	for _, m := range f.raw {
		switch m.Name {
		case "toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds":
		default:
			return false
		}
	}
	return true
}

// cover is what several filters ask for together.
type cover struct {
	tools, prompts, resources bool
	uris, tasks               map[string]struct{}
}

func (c *cover) add(f filter) {
	if c.uris == nil {
		c.uris, c.tasks = map[string]struct{}{}, map[string]struct{}{}
	}
	c.tools, c.prompts, c.resources = c.tools || f.tools, c.prompts || f.prompts, c.resources || f.resources
	for _, u := range f.uris {
		c.uris[u] = struct{}{}
	}
	for _, t := range f.tasks {
		c.tasks[t] = struct{}{}
	}
}

// less returns what f asks for and c does not.
func (f filter) less(c cover) filter {
	f.tools, f.prompts, f.resources = f.tools && !c.tools, f.prompts && !c.prompts, f.resources && !c.resources
	f.uris, f.tasks = within(f.uris, c.uris, false), within(f.tasks, c.tasks, false)
	return f
}

// both returns what f and c ask for.
func (f filter) both(c cover) filter {
	f.tools, f.prompts, f.resources = f.tools && c.tools, f.prompts && c.prompts, f.resources && c.resources
	f.uris, f.tasks = within(f.uris, c.uris, true), within(f.tasks, c.tasks, true)
	return f
}

func within(list []string, set map[string]struct{}, want bool) (out []string) {
	for _, s := range list {
		if _, in := set[s]; in == want {
			out = append(out, s)
		}
	}
	return out
}

func (f filter) empty() bool {
	return !f.tools && !f.prompts && !f.resources && len(f.uris) == 0 && len(f.tasks) == 0
}

// object writes the members of a filter.
func (f filter) object() strictjson.Object {
	o := strictjson.Object{}
	for _, k := range []struct {
		name string
		on   bool
	}{{"toolsListChanged", f.tools}, {"promptsListChanged", f.prompts}, {"resourcesListChanged", f.resources}} {
		if k.on {
			o = append(o, strictjson.Member{Name: k.name, Raw: []byte("true")})
		}
	}
	if len(f.uris) > 0 {
		o = append(o, strictjson.Member{Name: "resourceSubscriptions", Raw: textArray(f.uris)})
	}
	if len(f.tasks) > 0 {
		o = append(o, strictjson.Member{Name: "taskIds", Raw: textArray(f.tasks)})
	}
	return o
}

// want makes a listener hear what a filter names.
func (h *hub) want(r request, l *listener, f filter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members[l] == nil {
		h.members[l] = &member{r: r}
	}
	l.mu.Lock()
	l.want = f
	clear(l.uris)
	for _, u := range f.uris {
		l.uris[u] = struct{}{}
	}
	l.mu.Unlock()
	if !h.tended {
		h.tended = true
		h.c.s.spawn(h.tend)
	}
}

// tend asks the server for what is wanted and not asked for yet. It outlives
// the listener that gave rise to it, since others may wait for the same.
func (h *hub) tend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.quiet() && h.fill() {
	}
	h.tended = false
}

// fill brings what is asked of the server nearer to what is wanted; it reports
// whether more is to be done. hub.mu is held.
func (h *hub) fill() bool {
	var asked cover
	for s := range h.streams {
		asked.add(s.l.want)
	}
	var fresh filter
	for l := range h.members {
		f := l.want.less(asked)
		asked.add(f)
		fresh.tools, fresh.prompts, fresh.resources = fresh.tools || f.tools, fresh.prompts || f.prompts, fresh.resources || f.resources
		fresh.uris, fresh.tasks = append(fresh.uris, f.uris...), append(fresh.tasks, f.tasks...)
	}
	switch {
	case fresh.empty():
		h.acknowledge()
		return false
	case len(h.streams) >= maxShared:
		// One request for all; what changes meanwhile is told as a change.
		for s := range h.streams {
			h.cancel(s)
		}
		for _, m := range h.members {
			m.missed = m.acked
		}
	default:
		h.open(h.speaker(fresh), fresh)
	}
	return true
}

// quiet waits until the server has ended what was cancelled; it reports false
// when the connection is lost. hub.mu is held before and after.
func (h *hub) quiet() bool {
	late := time.NewTimer(endTime)
	defer late.Stop()
	for len(h.ending) > 0 {
		ended := make(chan struct{})
		h.ended = ended
		h.mu.Unlock()
		select {
		case <-ended:
		case <-late.C:
			h.giveUp()
		case <-h.c.ctx.Done():
		}
		h.mu.Lock()
		if !h.c.alive() {
			return false
		}
	}
	return h.c.alive()
}

// speaker is in whose name something is asked for: one who wants it, and the
// states of tasks one who declared tasks. hub.mu is held.
func (h *hub) speaker(f filter) (r request) {
	var wanted cover
	wanted.add(f)
	for l, m := range h.members {
		if l.want.both(wanted).empty() {
			continue
		}
		r = m.r
		if len(f.tasks) == 0 || r.from.Capabilities.Tasks {
			break
		}
	}
	return r
}

// open sends a request for what nobody hears yet. hub.mu is held.
func (h *hub) open(r request, f filter) {
	c := h.c
	f.raw = f.object()
	s := &shared{l: newListener(c, r.from, f)}
	s.l.sink = func(m mcp.Message) { h.told(s, m) }
	h.streams[s] = struct{}{}
	c.mu.Lock()
	c.listeners[s.l] = struct{}{}
	c.mu.Unlock()
	ctx, drop := context.WithCancel(c.ctx)
	s.drop = drop
	c.s.spawn(func() {
		defer drop()
		done := make(chan error, 1)
		go func() {
			out, err := c.listenRequest(r, s.l)
			var msg mcp.Message
			if err == nil {
				msg, err = c.t.Exchange(ctx, out, s.l.bound)
			}
			switch {
			case !c.alive():
				err = lostInFlight(context.Cause(c.ctx))
			case err != nil:
				c.failed(err)
				err = c.modernFailure(err)
			case msg.Kind == mcp.ErrorReply:
				err = errorOf(msg)
			}
			done <- err
		}()
		var err error
		select {
		case err = <-done:
		case <-s.l.end: // the server cancelled it
			drop()
			<-done
		}
		c.unlisten(s.l)
		h.over(s, err)
	})
}

// told hands on what a stream brings.
func (h *hub) told(s *shared, m mcp.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.Method == mcp.NotifySubscriptionAck {
		s.acked, s.honoured = true, readFilter(m.Params)
		if _, over := h.ending[s]; over {
			h.say(s)
		}
		h.acknowledge()
		return
	}
	var near, far []*listener
	for l := range h.members {
		switch {
		case !l.takes(m):
		case m.Method == mcp.NotifyResourceUpdated && !l.watches(m.Params):
			far = append(far, l)
		default:
			near = append(near, l)
		}
	}
	if len(near) == 0 && !h.c.s.cfg.Shared && !s.l.watches(m.Params) {
		near = far // nobody asked for it by this name, which may be another of the same resource
	}
	for _, l := range near {
		l.put(m)
	}
}

// takes reports whether a listener asked for notifications of a kind. hub.mu is
// held.
func (l *listener) takes(m mcp.Message) bool {
	switch m.Method {
	case mcp.NotifyToolsChanged:
		return l.want.tools
	case mcp.NotifyPromptsChanged:
		return l.want.prompts
	case mcp.NotifyResourcesChanged:
		return l.want.resources
	case mcp.NotifyResourceUpdated:
		return len(l.want.uris) > 0
	case mcp.NotifyTask:
		return l.wantsTask(m.Params)
	}
	return l.from.Era == mcp.Modern
}

// acknowledge tells each listener what the server honours of what it wants,
// once that is known. hub.mu is held.
func (h *hub) acknowledge() {
	var asked, unsure, honoured cover
	for s := range h.streams {
		asked.add(s.l.want)
		if s.acked {
			honoured.add(s.honoured)
		} else {
			unsure.add(s.l.want)
		}
	}
	for l, m := range h.members {
		if m.acked && !m.missed || !l.want.less(asked).empty() || !l.want.both(unsure).empty() {
			continue
		}
		if !m.acked {
			m.acked = true
			params := strictjson.Object{{Name: "notifications", Raw: l.want.both(honoured).object().Append(nil)}}.Append(nil)
			l.put(mcp.Message{Kind: mcp.Notification, Method: mcp.NotifySubscriptionAck, Params: params})
		}
		if m.missed {
			m.missed = false
			l.suppose()
		}
	}
}

// suppose tells a listener that everything it hears of may have changed.
func (l *listener) suppose() {
	tell := func(on bool, method string, params []byte) {
		if on {
			l.put(mcp.Message{Kind: mcp.Notification, Method: method, Params: params})
		}
	}
	tell(l.want.tools, mcp.NotifyToolsChanged, nil)
	tell(l.want.prompts, mcp.NotifyPromptsChanged, nil)
	tell(l.want.resources, mcp.NotifyResourcesChanged, nil)
	for _, uri := range l.want.uris {
		tell(true, mcp.NotifyResourceUpdated, strictjson.Object{{Name: "uri", Raw: strictjson.AppendString(nil, uri)}}.Append(nil))
	}
}

// leave takes a listener out. After the last one every stream is cancelled.
func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.members, l)
	h.deserted()
}

// deserted cancels every stream when nobody listens. hub.mu is held.
func (h *hub) deserted() {
	if len(h.members) > 0 {
		return
	}
	for s := range h.streams {
		h.cancel(s)
	}
}

// cancel tells the server that nobody listens any more. hub.mu is held.
func (h *hub) cancel(s *shared) {
	delete(h.streams, s)
	h.ending[s] = struct{}{}
	if s.acked {
		h.say(s)
	}
	time.AfterFunc(endTime, s.drop)
}

// say sends the cancellation, once. Before the acknowledgement the request may
// not have been written yet, and the server would not know what is cancelled.
// hub.mu is held.
func (h *hub) say(s *shared) {
	s.l.mu.Lock()
	id := s.l.id
	s.l.mu.Unlock()
	if !s.said && !id.IsZero() {
		s.said = true
		h.c.cancelRequest(h.c.ctx, id, s.l.from.Subject())
	}
}

// giveUp waits for the end of what was cancelled no longer.
func (h *hub) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.ending {
		s.drop()
		delete(h.ending, s)
	}
	h.settled()
}

// over notes that a stream has ended. Who heard what it brought is told.
func (h *hub) over(s *shared, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, open := h.streams[s]
	if !open {
		h.say(s)
	}
	delete(h.streams, s)
	delete(h.ending, s)
	h.settled()
	if !open {
		return
	}
	var gone cover
	gone.add(s.l.want)
	for l := range h.members {
		if !l.want.both(gone).empty() {
			l.why = err
			l.finish()
			delete(h.members, l)
		}
	}
	h.deserted()
}

// settled wakes those who wait for the end of what was cancelled. hub.mu is
// held.
func (h *hub) settled() {
	if len(h.ending) == 0 && h.ended != nil {
		close(h.ended)
		h.ended = nil
	}
}
