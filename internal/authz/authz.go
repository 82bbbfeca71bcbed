// Package authz is the decision point: may this principal do this to that?
//
// Threat: a list that shows what a call refuses, or a call that does what no
// list shows. Both come from one Decider: Lists must be true for whatever
// Decide could allow for some arguments.
package authz

import (
	"context"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Query is one question. Arguments is the raw arguments object of a tool or
// prompt, nil otherwise.
type Query struct {
	Principal call.Principal
	Target    call.Target
	Arguments []byte
	Asked     call.Asked
	// Time is when it is asked; the zero time is now.
	Time time.Time
}

// Decider answers queries. Any error inside it is a deny.
type Decider interface {
	// Decide judges one call.
	Decide(ctx context.Context, q Query) call.Decision
	// Lists reports whether the target may be shown to the principal.
	Lists(ctx context.Context, q Query) bool
}

// Owner is the policy of a gateway without identity: the operator (or, with
// insecure_anonymous, anyone on loopback) may use what is listed, except the
// named tools, which stay listed and are refused. The zero Owner refuses
// everything.
type Owner struct {
	// On must be true for anything to be allowed.
	On bool
	// Refused holds server and tool names, "server/tool", with the words
	// shown to the caller.
	Refused map[string]string
	// Asks reports whether a server may send this request to the client. Where it
	// is nil no server may ask anything.
	Asks func(server, method string) bool
}

// Decide implements Decider.
func (o Owner) Decide(_ context.Context, q Query) call.Decision {
	d := call.Decision{Effect: call.Deny, Stage: call.Authorize, Reason: call.ReasonNotPermitted}
	if !o.On || !owns(q.Principal) {
		d.Detail = "the principal is not the operator"
		return d
	}
	if !o.lets(q.Target) {
		d.Detail = "nobody permitted the server to ask this"
		return d
	}
	if why, refused := o.Refused[q.Target.Server+"/"+q.Target.Name]; refused {
		d.Detail = why
		return d
	}
	d.Effect, d.Reason = call.Allow, call.ReasonOK
	return d
}

// Lists implements Decider.
func (o Owner) Lists(_ context.Context, q Query) bool {
	return o.On && owns(q.Principal) && o.lets(q.Target)
}

// lets is true of what clients ask of servers, and of what servers may ask.
func (o Owner) lets(t call.Target) bool {
	switch t.Method {
	case mcp.MethodSampling, mcp.MethodElicit, mcp.MethodRootsList:
		return o.Asks != nil && o.Asks(t.Server, t.Method)
	}
	return true
}

func owns(p call.Principal) bool {
	k := p.Identity().Kind
	return p.Valid() && (k == call.Operator || k == call.Anonymous)
}
