package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// checkEvery is how soon a stream notices that its caller's proof ended.
const checkEvery = 500 * time.Millisecond

// listen serves subscriptions/listen: one acknowledgement first, then what
// the filter named, all tagged with the request's ID.
func (g *Gateway) listen(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	parts, filter := in.parts, in.filter
	sub := &subscription{g: g, c: c, in: in, out: out, want: len(parts), asked: filter, honoured: strictjson.Object{}}
	ctx, cancel := g.streamContext(ctx, c, in, out)
	defer cancel()
	heard := g.openEars(c, in)
	defer heard.close()
	told, deaf := context.WithCancel(ctx)
	defer deaf()
	go func() { _ = g.contained(c, func() error { heard.tell(told, c, sub); return nil }) }()
	var wg sync.WaitGroup
	errs := make([]error, len(parts))
	for i, p := range parts {
		wg.Go(func() {
			errs[i] = g.listenPart(ctx, c, in, p, sub)
			sub.gone(p.server)
		})
	}
	if len(parts) == 0 {
		sub.acknowledge()
		<-ctx.Done()
	}
	wg.Wait()
	if !sub.acknowledged() {
		for _, err := range errs {
			var rpc *mcp.Error
			switch {
			case err == nil || ctx.Err() != nil:
			case in.server != "" && errors.As(err, &rpc):
				c.Pass(call.Send)
				return g.deliverError(ctx, c, in, out, rpc)
			default:
				return serverRefusal(ctx, c, err)
			}
		}
		if ctx.Err() == nil {
			return serverRefusal(ctx, c, errors.Join(upstream.ErrViolation, errors.New("the server ended a subscription that it never acknowledged")))
		}
	}
	c.Pass(call.Send)
	end := strictjson.Object{{Name: "resultType", Raw: []byte(`"complete"`)}}
	end = mcp.WithMeta(end, strictjson.Object{{Name: mcp.MetaSubscriptionID, Raw: []byte(in.msg.ID.Raw())}})
	return g.answer(ctx, c, in, out, end.Append(nil))
}

// streamContext ends with the caller's proof, with the gateway, or when the
// client goes away; in between it keeps the connection open.
func (g *Gateway) streamContext(ctx context.Context, c *call.Call, in *inbound, out outbox) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		check := time.NewTicker(checkEvery)
		defer check.Stop()
		alive := time.NewTicker(g.o.Limits.KeepAlive)
		defer alive.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-g.drain:
				cancel()
				return
			case <-in.over:
				cancel()
				return
			case <-check.C:
				if !g.o.Authn.Current(c.Principal) {
					cancel()
					return
				}
			case <-alive.C:
				if h, ok := out.(*httpOut); ok {
					h.alive()
				}
			}
		}
	}()
	return ctx, cancel
}

// listenTo opens the stream of one server under a clearance of its own.
func (g *Gateway) listenTo(ctx context.Context, c *call.Call, in *inbound, p part, sub *subscription) error {
	f := c.Fork(call.Target{Server: p.server, Method: mcp.MethodListen})
	f.Pass(call.Resolve)
	f.Pass(call.Validate)
	d := g.o.Authz.Decide(ctx, authz.Query{Principal: c.Principal, Target: f.Target, Asked: c.Asked})
	d.Stage = call.Authorize
	if in.server == "" && !g.allowed(c, in, f.Target) {
		d = call.Decision{Stage: call.Authorize, Reason: call.ReasonInsufficientScope}
	}
	f.Decide(d)
	f.Pass(call.InspectRequest)
	cl, err := f.Clear(p.params.Append(nil), g.lasting(f))
	if err != nil {
		return err
	}
	s := g.o.Servers[p.server]
	if s == nil {
		return upstream.ErrDown
	}
	return s.Listen(ctx, cl, g.toward(ctx, c, in.caller, p.server), &subscriber{sub: sub, c: f, cl: cl, server: p.server})
}

// lasting returns generations for a stream. They stay what they were as long
// as what changed allows the stream as well: one client's revocation must not
// end the streams of others.
func (g *Gateway) lasting(c *call.Call) func() call.Generations {
	began := g.o.Generations()
	return func() call.Generations {
		now := g.o.Generations()
		if now != began && g.o.Authn.Current(c.Principal) &&
			g.o.Authz.Decide(context.Background(), authz.Query{Principal: c.Principal, Target: c.Target, Asked: c.Asked}).Effect.Passes() {
			return began
		}
		return now
	}
}

// subscription joins the streams of one or several servers into the client's.
type subscription struct {
	g    *Gateway
	c    *call.Call
	in   *inbound
	out  outbox
	want int

	// asked is the client's filter.
	asked strictjson.Object

	mu       sync.Mutex
	honoured strictjson.Object
	acked    bool
	waiting  []func() error
}

// subscriber is the client that one server sees.
type subscriber struct {
	sub    *subscription
	c      *call.Call
	cl     *call.Clearance
	server string
	once   bool
}

// Notify implements upstream.Client.
func (s *subscriber) Notify(method string, params []byte) error {
	return s.sub.g.contained(s.c, func() error { return s.notify(method, params) })
}

func (s *subscriber) notify(method string, params []byte) error {
	if !s.sub.g.still(context.Background(), s.c, s.sub.in, s.cl) {
		return call.ErrStale
	}
	s.sub.g.changed(s.server, method)
	if method == mcp.NotifySubscriptionAck {
		s.sub.ack(s, params)
		return nil
	}
	params, d, err := s.sub.g.pass(context.Background(), s.c, s.sub.in, method, params)
	if err != nil {
		return err
	}
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return upstream.ErrViolation
	}
	if s.sub.in.era == mcp.Modern {
		o = mcp.WithMeta(o, strictjson.Object{{Name: mcp.MetaSubscriptionID, Raw: []byte(s.sub.in.msg.ID.Raw())}})
	}
	var body []byte
	if len(o) > 0 {
		body = o.Append(nil)
	}
	return s.sub.emit(func() error {
		rel, err := s.c.Message(mcp.AppendNotification(nil, method, body), d)
		if err != nil {
			return err
		}
		return s.sub.out.send(rel)
	})
}

// Ask implements upstream.Client; nobody is asked on a stream of changes.
func (s *subscriber) Ask(context.Context, string, []byte) ([]byte, *mcp.Error, error) {
	return nil, nil, upstream.ErrNotExpressible
}

// emit writes now, or after the acknowledgement.
func (s *subscription) emit(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.acked {
		if len(s.waiting) >= maxWaiting {
			return upstream.ErrBusy
		}
		s.waiting = append(s.waiting, f)
		return nil
	}
	return f()
}

// ack joins what one server honours; the last one sends it on.
func (s *subscription) ack(from *subscriber, params []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.once {
		return
	}
	from.once = true
	if o, err := mcp.ObjectOf(params); err == nil {
		raw, _ := o.Get("notifications")
		s.join(from.server, raw)
	}
	if s.want--; s.want == 0 {
		s.ackLocked()
	}
}

// gone counts a server that ended before it acknowledged.
func (s *subscription) gone(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acked {
		return
	}
	if s.want--; s.want == 0 && len(s.honoured) > 0 {
		s.ackLocked()
	}
}

func (s *subscription) join(server string, raw []byte) {
	o, err := mcp.ObjectOf(raw)
	if err != nil {
		return
	}
	for _, m := range o {
		// Only what the client asked for, so that no server says anything
		// else here.
		asked, ok := s.asked.Get(m.Name)
		if !ok {
			continue
		}
		switch m.Name {
		case "resourceSubscriptions", "taskIds":
			elems, err := texts(m.Raw)
			if err != nil {
				continue
			}
			wanted, _ := texts(asked)
			var list [][]byte
			if old, ok := s.honoured.Get(m.Name); ok {
				list, _ = strictjson.SplitArray(old)
			}
			for _, e := range elems {
				if name := s.outside(m.Name, server, e); slices.Contains(wanted, name) {
					list = append(list, strictjson.AppendString(nil, name))
				}
			}
			s.honoured = s.honoured.With(m.Name, appendArray(nil, list))
		default:
			if string(m.Raw) == string(asked) {
				s.honoured = s.honoured.With(m.Name, asked)
			}
		}
	}
}

func (s *subscription) outside(member, server, name string) string {
	if member == "taskIds" {
		sealed, err := s.g.sealTask(s.c, s.in, server, name)
		if err != nil {
			return ""
		}
		return sealed
	}
	if s.in.server == "" {
		return join("uri", server, name)
	}
	return name
}

func (s *subscription) acknowledge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ackLocked()
}

func (s *subscription) acknowledged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

func (s *subscription) ackLocked() {
	if s.acked {
		return
	}
	s.acked = true
	if s.in.era == mcp.Modern {
		o := strictjson.Object{
			{Name: "_meta", Raw: strictjson.Object{{Name: mcp.MetaSubscriptionID, Raw: []byte(s.in.msg.ID.Raw())}}.Append(nil)},
			{Name: "notifications", Raw: s.honoured.Append(nil)},
		}
		_ = s.out.send(s.c.Refusal(mcp.AppendNotification(nil, mcp.NotifySubscriptionAck, o.Append(nil))))
	}
	for _, f := range s.waiting {
		_ = f()
	}
	s.waiting = nil
}

// changed forgets definitions that a server says have changed.
func (g *Gateway) changed(server, method string) {
	switch method {
	case mcp.NotifyToolsChanged:
		g.o.Catalog.Forget(server, catalog.Kind(mcp.MethodToolsList))
	case mcp.NotifyPromptsChanged:
		g.o.Catalog.Forget(server, catalog.Kind(mcp.MethodPromptsList))
	}
}

// listenLegacy serves the GET stream of a legacy session: what its servers
// tell outside of calls, or the rest of a stream that broke.
func (g *Gateway) listenLegacy(ctx context.Context, c *call.Call, in *inbound, out *httpOut) {
	s := in.session
	heard := g.openEars(c, in)
	defer heard.close()
	w := out.stream()
	if last := in.http.Header.Get(mcp.HeaderLastEventID); last != "" {
		if st, seq, ok := s.find(last); ok {
			c.Pass(call.Reply)
			ctx, cancel := g.streamContext(ctx, c, in, nil)
			defer cancel()
			st.replay(ctx, seq, w)
			if st.over(time.Now()) {
				s.dropStream(st)
			}
			return
		}
	}
	ctx, cancel := g.streamContext(ctx, c, in, out)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	c.Pass(call.Resolve)
	c.Pass(call.Validate)
	c.Pass(call.Authorize)
	c.Pass(call.InspectRequest)
	g.hear(ctx, c, in, out, heard)
	c.Pass(call.Reply)
}

// hear subscribes a legacy conversation to every change its servers tell.
func (g *Gateway) hear(ctx context.Context, c *call.Call, in *inbound, out outbox, heard *ears) {
	in.caller = g.caller(c, in)
	filter := strictjson.Object{
		{Name: "toolsListChanged", Raw: []byte("true")},
		{Name: "promptsListChanged", Raw: []byte("true")},
		{Name: "resourcesListChanged", Raw: []byte("true")},
	}
	in.params = strictjson.Object{{Name: "notifications", Raw: filter.Append(nil)}}
	parts, _ := g.filters(ctx, c, in, filter)
	sub := &subscription{g: g, c: c, in: in, out: out, acked: true, asked: filter}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() {
			err := g.listenPart(ctx, c, in, p, sub)
			if err != nil && ctx.Err() == nil {
				g.o.Logger.Debug("a stream of changes ended", "server", p.server, "err", err)
			}
		})
	}
	heard.tell(ctx, c, sub)
	wg.Wait()
}
