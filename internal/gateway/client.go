package gateway

import (
	"context"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// client is the caller's side of one call, as a server may address it.
type client struct {
	g   *Gateway
	c   *call.Call
	in  *inbound
	out outbox
	cl  *call.Clearance
	// timer ends a call whose server is silent; it stands still while the
	// client is asked.
	timer   *time.Timer
	silence time.Duration
}

// Notify implements upstream.Client.
func (k *client) Notify(method string, params []byte) error {
	return k.g.contained(k.c, func() error { return k.notify(method, params) })
}

func (k *client) notify(method string, params []byte) error {
	if k.timer != nil {
		k.timer.Reset(k.silence)
	}
	if !k.g.still(context.Background(), k.c, k.in, k.cl) {
		return call.ErrStale
	}
	params, d, err := k.g.pass(context.Background(), k.c, k.in, method, params)
	if err != nil {
		return err
	}
	rel, err := k.c.Message(mcp.AppendNotification(nil, method, params), d)
	if err != nil {
		return err
	}
	return k.out.send(rel)
}

// still reports that a call or stream may go on: nothing changed since it was
// cleared, or what changed allows it as well.
func (g *Gateway) still(ctx context.Context, c *call.Call, in *inbound, cl *call.Clearance) bool {
	if cl.Current() {
		return true
	}
	if !g.o.Authn.Current(c.Principal) || !g.stands(c, in) {
		return false
	}
	d := g.o.Authz.Decide(ctx, queryOf(c, in))
	c.Owe(d.Obligations)
	return d.Effect.Passes() || d.Effect == call.Hold && len(in.rests()) > 0
}

// queryOf is the question that a call puts to the decision point.
func queryOf(c *call.Call, in *inbound) authz.Query {
	q := authz.Query{Principal: c.Principal, Target: c.Target, Asked: c.Asked}
	q.Arguments, _ = in.params.Get("arguments")
	return q
}

// pass inspects one message of a stream and renames what it names.
func (g *Gateway) pass(ctx context.Context, c *call.Call, in *inbound, method string, params []byte) ([]byte, call.Decision, error) {
	if params == nil {
		return nil, call.Decision{Effect: call.Allow, Stage: call.InspectResult, Reason: call.ReasonOK}, nil
	}
	o, err := strictjson.SplitObject(params)
	if err != nil {
		return nil, call.Decision{}, upstream.ErrViolation
	}
	if in.server == "" || mentionsTask(o) {
		o = g.renameTasks(c, in, o)
		if in.server == "" && method == mcp.NotifyResourceUpdated {
			o = renameMember(o, "uri", c.Target.Server)
		}
		if in.server == "" && method == mcp.NotifyTask {
			o = g.attributeTask(c.Target.Server, o)
		}
		params = o.Append(nil)
	}
	return g.inspectMessage(ctx, c, method, params)
}

// inspectMessage minimizes one message of a stream and lets the guards look at it.
func (g *Gateway) inspectMessage(ctx context.Context, c *call.Call, method string, params []byte) ([]byte, call.Decision, error) {
	params, err := g.minimizeMessage(ctx, c, method, params)
	if err != nil {
		return nil, call.Decision{}, err
	}
	d, seen := g.o.Guards.Inspect(ctx, guard.Stream, call.InspectResult,
		guard.Subject{Principal: c.Principal, Target: call.Target{Server: c.Target.Server, Method: method}, Raw: params})
	if !d.Effect.Passes() {
		return nil, d, errHeld
	}
	return seen, d, nil
}

// Ask implements upstream.Client.
func (k *client) Ask(ctx context.Context, method string, params []byte) (result []byte, refused *mcp.Error, err error) {
	err = k.g.contained(k.c, func() (err error) {
		result, refused, err = k.ask(ctx, method, params)
		return err
	})
	return result, refused, err
}

func (k *client) ask(ctx context.Context, method string, params []byte) ([]byte, *mcp.Error, error) {
	if k.in.era != mcp.Legacy || k.in.peer == nil {
		return nil, nil, upstream.ErrNotExpressible
	}
	if !k.g.still(ctx, k.c, k.in, k.cl) {
		return nil, nil, call.ErrStale
	}
	if k.timer != nil {
		k.timer.Stop()
		defer k.timer.Reset(k.silence)
	}
	var q question
	var h *hosted
	var d call.Decision
	var err error
	if aboutHosted(method) {
		if h, q, params = k.about(method, params); h == nil {
			return nil, &mcp.Error{Code: mcp.CodeInvalidParams, Message: "there is no such task"}, nil
		}
		params, d, err = k.g.inspectMessage(ctx, k.c, method, params)
	} else {
		if !k.g.mayAsk(ctx, k.c, k.c.Target.Server, method) {
			return nil, &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "the client is not asked for this: the policy of the gateway does not permit it"}, nil
		}
		var may bool
		may, params = wish(k.in.caller.Capabilities, method, params)
		if k.in.server == "" {
			params = k.g.attribute(k.c.Target.Server, method, params)
		}
		params, d, err = k.g.pass(ctx, k.c, k.in, method, params)
		q = readQuestion(method, params)
		q.Task = may && k.in.session != nil
	}
	if err != nil {
		return nil, nil, err
	}
	id, wait, ok := k.in.peer.ask(q, call.Target{Server: k.c.Target.Server, Method: method}, queryOf(k.c, k.in), len(k.in.rests()) > 0)
	if !ok {
		return nil, nil, upstream.ErrBusy
	}
	defer k.in.peer.forget(id)
	rel, err := k.c.Message(mcp.AppendRequest(nil, id, method, params), d)
	if err != nil {
		return nil, nil, err
	}
	if err := k.out.send(rel); err != nil {
		return nil, nil, err
	}
	select {
	case r := <-wait.answer:
		switch {
		case r.err != nil:
		case h != nil:
			r.result = h.named(method, r.result)
		default:
			r.result, r.err = k.adopt(q, r.result)
		}
		return r.result, r.err, nil
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-k.in.over:
		return nil, nil, errGone
	}
}
