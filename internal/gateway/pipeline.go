package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// inbound is one message on its way through the pipeline. Stages fill it in
// from left to right; no stage changes what an earlier one wrote.
type inbound struct {
	// Facts of the transport.
	http    *http.Request // nil on stdio
	reply   http.Header   // of the answer; nil on stdio
	path    string        // "/mcp" or "/mcp/{server}"
	server  string        // the server of the path; empty on the merged path
	peer    *peer         // the legacy session or stdio connection; may be nil
	session *Session      // nil for modern clients
	read    func() ([]byte, *refusal)
	parsed  *parsed       // what read would give, where it was needed before
	over    chan struct{} // closed when the client can say nothing more; may be nil
	token   secret.Value  // that the caller presented; empty on stdio
	// Decoded.
	msg    mcp.Message
	params strictjson.Object
	meta   mcp.Meta
	era    mcp.Era
	route  mcp.Route
	// Resolved.
	name   string // the target as the client knows it
	def    *definition
	resume *upstream.Resume
	asked  *asked
	caller upstream.Caller
	// What validate read of the parameters of one method.
	cursor []byte            // what a list's cursor says; nil for its beginning
	places map[string]string // the cursor of each server, on the merged path
	filter strictjson.Object // of subscriptions/listen
	parts  []part            // what of it each server is asked
	hello  *hello            // of initialize
	// What a missing permission of the person makes of a call.
	need      *credential.GrantNeeded // the server's definitions cannot be had without it
	granting  *granting               // it was asked for before, by this call
	connected bool                    // the call is of the connect tool, and the permission is there
	// What a person has to say to a call that is held.
	approvals []*yes   // that it rests on
	holding   *holding // it was asked for before, by this call
	rewrote   bool     // a guard changed what the client sent
	// volunteered answers nobody asked for yet; spent marks a used state.
	volunteered strictjson.Object
	spent       bool
	// intended marks that the intent is on the record.
	intended bool
}

// serve is the whole of what happens to one message. The recorder wraps it;
// a panic anywhere is a deny.
func (g *Gateway) serve(ctx context.Context, c *call.Call, in *inbound, out outbox) {
	defer g.outcome(ctx, c, in, out)
	release, ref := g.judge(ctx, c, in)
	defer release()
	if ref == nil {
		ref = g.forward(ctx, c, in, out)
	}
	if ref != nil {
		g.refuse(c, in, out, ref)
	}
}

// judge takes a message from its first byte to the point where it may be
// sent. The order is the order of the design and is not configurable.
func (g *Gateway) judge(ctx context.Context, c *call.Call, in *inbound) (release func(), ref *refusal) {
	release = func() {}
	if ref = g.accept(c, in); ref != nil {
		return release, ref
	}
	if ref = g.authenticate(ctx, c, in); ref != nil {
		return release, ref
	}
	if release, ref = g.admit(c, in); ref != nil {
		return release, ref
	}
	if ref = g.decode(c, in); ref != nil {
		return release, ref
	}
	if release, ref = g.admitCall(c, in, release); ref != nil {
		return release, ref
	}
	if ref = g.resolve(ctx, c, in); ref != nil {
		return release, ref
	}
	if ref = g.validate(ctx, c, in); ref != nil {
		return release, ref
	}
	if ref = g.authorize(ctx, c, in); ref != nil {
		return release, ref
	}
	return release, g.inspectRequest(ctx, c, in)
}

// forward sends what was judged and writes what comes back.
func (g *Gateway) forward(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	if in.need != nil {
		return grantRefusal(c, in.need)
	}
	ctx, end, ref := g.claim(ctx, c, in, out)
	if ref != nil {
		return ref
	}
	defer end()
	if ref := g.useApprovals(ctx, c, in); ref != nil {
		return ref
	}
	if ref := g.intent(ctx, c, in); ref != nil {
		return ref
	}
	switch in.msg.Kind {
	case mcp.Request:
		return g.request(ctx, c, in, out)
	case mcp.Notification:
		return g.notification(ctx, c, in, out)
	case mcp.Result, mcp.ErrorReply:
		return g.clientAnswer(ctx, c, in, out)
	}
	return deny(c, call.Decode, call.ReasonMalformed, "no kind")
}

// inspectRequest lets the guards look at what a model wrote: arguments,
// answers to elicitation and sampling.
func (g *Gateway) inspectRequest(ctx context.Context, c *call.Call, in *inbound) *refusal {
	raw := in.msg.Params
	if in.msg.Kind == mcp.Result {
		raw = in.msg.Result
	}
	if in.msg.Kind == mcp.ErrorReply {
		raw = in.msg.Error
	}
	if raw == nil {
		c.Pass(call.InspectRequest)
		return nil
	}
	d, rewritten := g.o.Guards.Inspect(ctx, guard.Arguments, call.InspectRequest,
		guard.Subject{Principal: c.Principal, Target: c.Target, Request: in.msg.Kind == mcp.Request, Definition: in.def.declared(), Raw: raw})
	if d.Effect == call.Hold {
		if ref := g.hold(ctx, c, in, d); ref != nil {
			return ref
		}
	} else if !c.Decide(d) {
		return refuseDecision(d)
	}
	if &rewritten[0] != &raw[0] {
		if ref := g.rewritten(ctx, c, in, rewritten); ref != nil {
			return ref
		}
	}
	return g.inspectAnswers(ctx, c, in)
}

// rewritten judges what a guard wrote like what came from the wire.
func (g *Gateway) rewritten(ctx context.Context, c *call.Call, in *inbound, raw []byte) *refusal {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return deny(c, call.InspectRequest, call.ReasonInternal, "rewrite is not an object")
	}
	switch in.msg.Kind {
	case mcp.Result:
		in.msg.Result = raw
	case mcp.ErrorReply:
		in.msg.Error = raw
	default:
		in.msg.Params, in.params, in.rewrote = raw, o, true
	}
	if ref := g.validate(ctx, c, in); ref != nil {
		return ref
	}
	return g.authorize(ctx, c, in)
}

// inspectAnswers lets the guards look at inputResponses, which travel beside
// the parameters of a retry.
func (g *Gateway) inspectAnswers(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.resume == nil {
		return nil
	}
	answers, err := mcp.ObjectOf(in.resume.Responses)
	if err != nil {
		return deny(c, call.InspectRequest, call.ReasonInternal, "answers are not an object")
	}
	for _, o := range []strictjson.Object{answers, in.volunteered} {
		if len(o) == 0 {
			continue
		}
		raw := o.Append(nil)
		d, seen := g.o.Guards.Inspect(ctx, guard.Arguments, call.InspectRequest,
			guard.Subject{Principal: c.Principal, Target: c.Target, Raw: raw})
		if !c.Decide(d) {
			return refuseDecision(d)
		}
		if &seen[0] == &raw[0] {
			continue
		}
		now, err := strictjson.SplitObject(seen)
		if err != nil {
			return deny(c, call.InspectRequest, call.ReasonInternal, "rewrite is not an object")
		}
		if len(answers) == 0 || &o[0] != &answers[0] {
			in.volunteered = now
			continue
		}
		for _, r := range now {
			if q, was := in.asked.Questions[r.Name]; !was || q.fits(r.Raw) != "" {
				return deny(c, call.InspectRequest, call.ReasonInvalidParams, "a rewritten answer does not fit what was asked")
			}
		}
		in.resume.Responses = seen
	}
	return nil
}

// deadline gives the call its last moment.
func (g *Gateway) deadline(ctx context.Context, c *call.Call) (context.Context, context.CancelFunc) {
	most := g.o.Limits.CallTime
	if t := g.o.Times[c.Target.Server]; t.Call > 0 {
		most = t.Call
	}
	c.Deadline = c.Started.Add(most)
	if exp := c.Principal.Identity().Expires; exp != 0 {
		if t := time.Unix(exp, 0); t.Before(c.Deadline) {
			c.Deadline = t
		}
	}
	return context.WithDeadline(ctx, c.Deadline)
}
