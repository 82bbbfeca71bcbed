package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

var (
	errCancelled = errors.New("the client cancelled the request")
	errEnded     = errors.New("the conversation ended")
	errDone      = errors.New("the answer was written already")
	errSilent    = errors.New("the server showed no sign of life for longer than its timeout")
	errHeld      = errors.New("a message was held by a check")
	errGone      = errors.New("the client ended its input and can answer nothing")
	errPanic     = errors.New("the gateway failed on this message")
)

// claim makes a request's ID its own until end is called.
func (g *Gateway) claim(ctx context.Context, c *call.Call, in *inbound, out outbox) (_ context.Context, end func(), ref *refusal) {
	if in.msg.Kind != mcp.Request || in.peer == nil || in.peer.era() == 0 {
		return ctx, func() {}, nil
	}
	cctx, free, end, why, text := in.peer.begin(ctx, in.msg.ID)
	if why != "" {
		return ctx, func() {}, deny(c, call.Clear, why, text).say(text)
	}
	switch o := out.(type) {
	case *lineOut:
		o.call, o.free = cctx, free
	case *httpOut:
		o.call = cctx
	}
	return cctx, end, nil
}

// request sends a request to where it is answered and writes the answer.
func (g *Gateway) request(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	if in.session != nil {
		// The session's end ends its calls.
		stop := context.AfterFunc(in.session.ctx, func() { in.peer.cancel([]byte(in.msg.ID.Raw()), errEnded) })
		defer stop()
	}
	if in.msg.Method == mcp.MethodListen {
		return g.listen(ctx, c, in, out)
	}
	ctx, cancel := g.deadline(ctx, c)
	defer cancel()
	if h, ok := out.(*httpOut); ok {
		h.preferSSE = prefersStream(in.http)
		alive := time.AfterFunc(g.o.Limits.KeepAlive, h.alive)
		defer alive.Stop()
	}
	if in.connected {
		return g.connected(ctx, c, in, out)
	}
	switch in.msg.Method {
	case mcp.MethodInitialize:
		return g.initialize(ctx, c, in, out)
	case mcp.MethodPing:
		return g.answer(ctx, c, in, out, mcp.EmptyObject())
	case mcp.MethodSetLevel:
		l, _ := mcp.Text(in.params, "level", 32)
		in.session.setLevel(l)
		in.caller.LogLevel = l
		if in.server == "" {
			// Each server is told before its next call.
			return g.answer(ctx, c, in, out, mcp.EmptyObject())
		}
	case mcp.MethodDiscover:
		return g.discover(ctx, c, in, out)
	}
	if in.route.List != "" {
		return g.list(ctx, c, in, out)
	}
	return g.callServer(ctx, c, in, out)
}

// callServer is the road of every request that one server answers.
func (g *Gateway) callServer(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	cl, err := c.Clear(paramsOf(in), g.generations(c.Target.Server))
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	a, err := g.send(ctx, c, in, out, cl)
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	if a.Kind == mcp.ResultInputRequired && len(in.volunteered) > 0 {
		if again, ok := g.volunteer(in, a); ok {
			if a, err = g.again(ctx, c, in, out, again); err != nil {
				return serverRefusal(ctx, c, err)
			}
		}
	}
	if !cl.Current() && !g.stands(c, in) {
		return serverRefusal(ctx, c, call.ErrStale)
	}
	c.Pass(call.Send)
	return g.deliver(ctx, c, in, out, a)
}

func paramsOf(in *inbound) []byte {
	if in.msg.Params == nil {
		return mcp.EmptyObject()
	}
	return in.msg.Params
}

func (g *Gateway) send(ctx context.Context, c *call.Call, in *inbound, out outbox, cl *call.Clearance) (upstream.Answer, error) {
	s := g.o.Servers[c.Target.Server]
	if s == nil {
		return upstream.Answer{}, upstream.ErrDown
	}
	k := &client{g: g, c: c, in: in, out: out, cl: cl}
	if t := g.o.Times[c.Target.Server]; t.Silence > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		k.silence = t.Silence
		k.timer = time.AfterFunc(t.Silence, func() { cancel(errSilent) })
		defer k.timer.Stop()
	}
	a, err := s.Call(ctx, cl, g.toward(ctx, c, in.caller, c.Target.Server), k)
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		err = errors.Join(errSilent, err)
	}
	if err == nil {
		c.Pass(call.Credential)
	}
	return a, err
}

// volunteer matches answers that a client sent unasked with what the server
// now asks: they go on only when they answer every question and fit it.
func (g *Gateway) volunteer(in *inbound, a upstream.Answer) (*upstream.Resume, bool) {
	reqs, err := strictjson.SplitObject(a.Requests)
	if err != nil || a.Suspended || len(reqs) == 0 {
		return nil, false
	}
	kept := strictjson.Object{}
	for _, r := range reqs {
		o, err := strictjson.SplitObject(r.Raw)
		if err != nil {
			return nil, false
		}
		method, _ := mcp.Text(o, "method", 64)
		params, _ := o.Get("params")
		answer, ok := in.volunteered.Get(r.Name)
		if !ok || readQuestion(method, params).fits(answer) != "" {
			return nil, false
		}
		kept = append(kept, strictjson.Member{Name: r.Name, Raw: answer})
	}
	return &upstream.Resume{State: a.State, Responses: kept.Append(nil)}, true
}

// again sends a request a second time with answers, judged anew.
func (g *Gateway) again(ctx context.Context, c *call.Call, in *inbound, out outbox, r *upstream.Resume) (upstream.Answer, error) {
	f := c.Fork(c.Target)
	f.Pass(call.Resolve)
	f.Pass(call.Validate)
	if ref := g.authorize(ctx, f, in); ref != nil {
		return upstream.Answer{}, call.ErrNotCleared
	}
	if ref := g.inspectRequest(ctx, f, in); ref != nil {
		return upstream.Answer{}, call.ErrNotCleared
	}
	c.Owe(f.Owed())
	cl, err := f.Clear(paramsOf(in), g.generations(f.Target.Server))
	if err != nil {
		return upstream.Answer{}, err
	}
	in.caller.Resume = r
	return g.send(ctx, c, in, out, cl)
}

// deliver inspects an answer, gives it the shape of the client's era and
// writes it.
func (g *Gateway) deliver(ctx context.Context, c *call.Call, in *inbound, out outbox, a upstream.Answer) *refusal {
	if a.Error != nil && a.Refused != "" {
		return refusedThere(c, a)
	}
	if a.Error != nil {
		return g.deliverError(ctx, c, in, out, a.Error)
	}
	result, err := strictjson.SplitObject(a.Result)
	if err != nil && a.Kind != mcp.ResultInputRequired {
		return serverRefusal(ctx, c, upstream.ErrViolation)
	}
	if a.Kind == mcp.ResultInputRequired {
		if result, err = g.inputRequired(ctx, c, in, result, a); err != nil {
			return serverRefusal(ctx, c, err)
		}
	}
	whole := result
	result = g.rename(c, in, result)
	if a.Kind == mcp.ResultTask || in.route.Name == "taskId" || mentionsTask(result) {
		result = g.renameTasks(c, in, result)
	}
	result = g.shape(in, result, a)
	if same(result, whole) && a.Kind != mcp.ResultInputRequired {
		return g.answer(ctx, c, in, out, a.Result)
	}
	return g.answer(ctx, c, in, out, result.Append(nil))
}

// same reports that nothing rewrote an object, so that its bytes can go on as
// they came.
func same(a, b strictjson.Object) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// inputRequired seals what the client has to carry.
func (g *Gateway) inputRequired(ctx context.Context, c *call.Call, in *inbound, rest strictjson.Object, a upstream.Answer) (strictjson.Object, error) {
	if in.era != mcp.Modern || !in.route.Inputs {
		return nil, upstream.ErrViolation
	}
	var reqs strictjson.Object
	if a.Requests != nil {
		var err error
		if reqs, err = strictjson.SplitObject(a.Requests); err != nil || len(reqs) > maxResponses {
			return nil, upstream.ErrViolation
		}
	}
	for i, r := range reqs {
		o, err := strictjson.SplitObject(r.Raw)
		if err != nil {
			return nil, upstream.ErrViolation
		}
		method, _ := mcp.Text(o, "method", 64)
		params, _ := o.Get("params")
		if !in.caller.Capabilities.Allows(method, params) {
			return nil, errors.Join(upstream.ErrViolation, errors.New("the server asked for what the client did not declare"))
		}
		if !g.mayAsk(ctx, c, c.Target.Server, method) {
			return nil, errors.Join(upstream.ErrViolation, errors.New("the server asked for what it may not ask: "+method))
		}
		if in.server == "" {
			params = g.attribute(c.Target.Server, method, params)
		} else if params == nil {
			params = mcp.EmptyObject() // legacy roots/list has none; modern clients read one
		} else {
			continue
		}
		reqs[i].Raw = o.With("params", params).Append(nil)
	}
	sealed, err := g.sealState(c, in, reqs, a.State)
	if err != nil {
		return nil, err
	}
	out := rest.Without("resultType", "inputRequests", "requestState", "ttlMs", "cacheScope")
	out = append(strictjson.Object{{Name: "resultType", Raw: []byte(`"input_required"`)}}, out...)
	if reqs != nil {
		out = append(out, strictjson.Member{Name: "inputRequests", Raw: reqs.Append(nil)})
	}
	return append(out, strictjson.Member{Name: "requestState", Raw: strictjson.AppendString(nil, sealed)}), nil
}

// attribute says in a merged elicitation which server asks, and keeps one
// server's sampling from seeing another's context.
func (g *Gateway) attribute(server, method string, params []byte) []byte {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return params
	}
	switch method {
	case mcp.MethodElicit:
		if m, ok := mcp.Text(o, "message", 1<<20); ok {
			o = o.With("message", strictjson.AppendString(nil, "["+server+"] "+m))
		}
	case mcp.MethodSampling:
		if _, ok := o.Get("includeContext"); ok {
			o = o.With("includeContext", []byte(`"none"`))
		}
	}
	if o == nil {
		return mcp.EmptyObject()
	}
	return o.Append(nil)
}

// shape gives a result the members of the client's era.
func (g *Gateway) shape(in *inbound, r strictjson.Object, a upstream.Answer) strictjson.Object {
	if in.era == mcp.Legacy {
		if a.Era == mcp.Modern {
			r = r.Without("resultType", "ttlMs", "cacheScope")
		}
		return r
	}
	if _, ok := r.Get("resultType"); !ok {
		r = append(strictjson.Object{{Name: "resultType", Raw: []byte(`"complete"`)}}, r...)
	}
	if in.route.Cacheable && a.Kind != mcp.ResultInputRequired {
		r = hints(r, in.asked != nil)
	}
	if a.Era == mcp.Legacy && a.ServerInfo != nil {
		r = mcp.WithMeta(r, strictjson.Object{{Name: mcp.MetaServerInfo, Raw: a.ServerInfo}})
	}
	return r
}

// hints makes every cacheable result private with a bounded lifetime: what we
// serve depends on the caller. Nothing that came of inputs is to be cached.
func hints(r strictjson.Object, inputs bool) strictjson.Object {
	ttl := ttlOf(r).Milliseconds()
	if inputs {
		ttl = 0
	}
	return r.With("ttlMs", appendInt(nil, ttl)).With("cacheScope", []byte(`"private"`))
}

// answer minimizes and inspects a result, and releases it to the client.
func (g *Gateway) answer(ctx context.Context, c *call.Call, in *inbound, out outbox, result []byte) *refusal {
	if in.http != nil && !g.o.Authn.Current(c.Principal) {
		// The proof ended while the call was under way.
		r := deny(c, call.InspectResult, call.ReasonUnauthenticated, "the proof ended during the call")
		r.challenge = g.challenge(in, scheme(c.Principal), "invalid_token")
		return r
	}
	result, ref := g.minimize(ctx, c, in, result)
	if ref != nil {
		return ref
	}
	d, seen := g.o.Guards.Inspect(ctx, guard.Result, call.InspectResult, guard.Subject{Principal: c.Principal, Target: c.Target, Definition: in.def.declared(), Raw: result})
	if !c.Decide(d) {
		return refuseDecision(d)
	}
	rel, err := c.Release(mcp.AppendResultHead(make([]byte, 0, 64), in.msg.ID), seen, brace())
	if err != nil {
		return deny(c, call.Releasing, call.ReasonNotCleared, err.Error())
	}
	c.Pass(call.Releasing)
	out.finish(http.StatusOK, nil, rel)
	c.Pass(call.Reply)
	return nil
}

func brace() []byte { return []byte{'}'} }

// deliverError inspects and writes an error that a server answered.
func (g *Gateway) deliverError(ctx context.Context, c *call.Call, in *inbound, out outbox, e *mcp.Error) *refusal {
	if in.era == mcp.Modern {
		switch e.Code {
		case mcp.CodeResourceNotFound:
			e = &mcp.Error{Code: mcp.CodeInvalidParams, Message: e.Message, Data: e.Data}
		case mcp.CodeURLElicitation:
			e = &mcp.Error{Code: mcp.CodeInternal, Message: e.Message}
		}
	}
	if in.server == "" && in.route.Name == "uri" {
		e = g.renameError(c, e)
	}
	e, ref := g.minimizeError(c, e)
	if ref != nil {
		return ref
	}
	d, seen := g.o.Guards.Inspect(ctx, guard.Result, call.InspectResult, guard.Subject{Principal: c.Principal, Target: c.Target, Raw: e.Append(nil)})
	if !c.Decide(d) {
		return refuseDecision(d)
	}
	rel, err := c.Release(append(append([]byte(`{"jsonrpc":"2.0","id":`), in.msg.ID.Raw()...), `,"error":`...), seen, brace())
	if err != nil {
		return deny(c, call.Releasing, call.ReasonNotCleared, err.Error())
	}
	c.Decide(call.Decision{Effect: call.Allow, Stage: call.Releasing, Reason: call.ReasonServerError})
	status := http.StatusOK
	if in.era == mcp.Modern {
		switch e.Code {
		case mcp.CodeMethodNotFound:
			status = http.StatusNotFound
		case mcp.CodeHeaderMismatch, mcp.CodeMissingCapability, mcp.CodeUnsupportedVersion:
			status = http.StatusBadRequest
		}
	}
	out.finish(status, nil, rel)
	return nil
}

// notification takes a client's notification.
func (g *Gateway) notification(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	ctx, cancel := g.deadline(ctx, c)
	defer cancel()
	switch in.msg.Method {
	case mcp.NotifyCancelled:
		if id, ok := in.params.Get("requestId"); ok && in.peer != nil {
			in.peer.cancel(id, errCancelled)
		}
	case mcp.NotifyRootsChanged, mcp.NotifyProgress:
		g.inform(ctx, c, in, g.servers(in), paramsOf(in))
	case mcp.NotifyTaskStatus:
		id, _ := mcp.Text(in.params, "taskId", maxTaskName)
		if h := in.peer.hosting(id); h != nil {
			g.inform(ctx, c, in, []string{h.server}, h.named(in.msg.Method, paramsOf(in)))
		}
	}
	c.Pass(call.Reply)
	out.accepted()
	return nil
}

// clientAnswer hands a client's answer to the server that asked.
func (g *Gateway) clientAnswer(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	r := reply{result: in.msg.Result}
	payload := in.msg.Result
	if in.msg.Kind == mcp.ErrorReply {
		e, err := mcp.ParseError(in.msg.Error)
		if err != nil {
			return deny(c, call.Validate, call.ReasonInvalidParams, err.Error())
		}
		r, payload = reply{err: e}, in.msg.Error
	}
	cl, err := c.Clear(payload, g.o.Generations)
	if err == nil {
		_, err = cl.Spend()
	}
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	if !in.peer.deliver(in.msg.ID, r) {
		return deny(c, call.Send, call.ReasonUnaskedAnswer, "answered twice").say("nobody asked for this answer")
	}
	c.Pass(call.Reply)
	out.accepted()
	return nil
}
