package gateway

import (
	"context"
	"errors"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/minimize"
)

// minimize takes out of a result what the policies that allowed the call hold
// back. What then no longer fits the tool's own schema does not go out.
func (g *Gateway) minimize(ctx context.Context, c *call.Call, in *inbound, result []byte) ([]byte, *refusal) {
	rules := g.owed(ctx, c, in)
	if rules == nil {
		c.Pass(call.Minimize)
		return result, nil
	}
	typed := in.def != nil && c.Target.Method == mcp.MethodToolsCall && declares(in.def.raw, "outputSchema")
	for _, dropAll := range []bool{false, true} {
		out, w, err := g.minimal(c.Target.Server, rules, typed, dropAll, result, (*minimal).ofResult)
		if err != nil {
			return nil, withheld(c, err.Error())
		}
		if typed && string(out) != string(result) && !g.fitsSchema(ctx, c, in, out) && g.fitsSchema(ctx, c, in, result) {
			continue
		}
		g.minimized(c, w)
		return out, nil
	}
	return nil, withheld(c, "what is left does not fit the outputSchema")
}

// withheld refuses an answer of which too little is left.
func withheld(c *call.Call, detail string) *refusal {
	return deny(c, call.Minimize, call.ReasonWithheld, detail).say("the tool ran, and its answer is withheld: policy holds fields back without which the answer is not what the tool's outputSchema promises. " +
		"Do not call it again for this; the operator can permit the fields, or let the tool declare them optional")
}

// owed is what of an answer may come back. A list of tasks of several servers
// was decided server by server.
func (g *Gateway) owed(ctx context.Context, c *call.Call, in *inbound) *minimize.Rules {
	rules := c.Owed()
	if in.msg.Method == mcp.MethodTasksList && in.server == "" {
		for _, server := range g.served(in) {
			d := g.o.Authz.Decide(ctx, authz.Query{Principal: c.Principal, Target: call.Target{Server: server, Method: mcp.MethodTasksList}, Asked: c.Asked})
			rules = minimize.Join(rules, d.Obligations)
		}
	}
	return rules
}

// minimized puts on the record what was taken out; by name, never by value.
func (g *Gateway) minimized(c *call.Call, w *minimize.Work) {
	d := call.Decision{Effect: call.Allow, Stage: call.Minimize, Reason: call.ReasonOK}
	for _, name := range w.Touched() {
		d.Effect, d.Reason = call.Redact, call.ReasonMinimized
		d.Findings = append(d.Findings, call.Finding{Guard: "policy", Reason: call.ReasonMinimized, Path: name})
	}
	c.Decide(d)
}

func declares(definition []byte, member string) bool {
	o, err := strictjson.SplitObject(definition)
	if err != nil {
		return false
	}
	_, has := o.Get(member)
	return has
}

// fitsSchema asks whether structured content is what the tool promises.
func (g *Gateway) fitsSchema(ctx context.Context, c *call.Call, in *inbound, result []byte) bool {
	d, _ := g.o.Schemas.Inspect(ctx, guard.Result, call.Minimize, guard.Subject{Principal: c.Principal, Target: c.Target, Definition: in.def.declared(), Raw: result})
	return d.Effect.Passes()
}

// minimizeError does the same to an error of a server.
func (g *Gateway) minimizeError(c *call.Call, e *mcp.Error) (*mcp.Error, *refusal) {
	rules := c.Owed()
	if rules == nil {
		c.Pass(call.Minimize)
		return e, nil
	}
	out, w, err := g.minimal(c.Target.Server, rules, false, false, e.Append(nil), (*minimal).ofError)
	if err == nil {
		e, err = mcp.ParseError(out)
	}
	if err != nil {
		return nil, withheld(c, err.Error())
	}
	g.minimized(c, w)
	return e, nil
}

// minimizeMessage does the same to a message that comes before the answer, or
// that tells of a task. What is asked of a person stays as it is.
func (g *Gateway) minimizeMessage(ctx context.Context, c *call.Call, method string, params []byte) ([]byte, error) {
	rules := c.Owed()
	var of reading
	switch method {
	case mcp.NotifyTask, mcp.NotifyTaskStatus:
		// A stream that tells of tasks was allowed by another permit.
		d := g.o.Authz.Decide(ctx, authz.Query{Principal: c.Principal, Target: call.Target{Server: c.Target.Server, Method: mcp.MethodTasksList}, Asked: c.Asked})
		rules = minimize.Join(rules, d.Obligations)
		of = (*minimal).ofResult
	case mcp.NotifyMessage, mcp.NotifyProgress:
		of = (*minimal).ofNotice
	case mcp.MethodSampling:
		of = (*minimal).ofSampling
	}
	if rules == nil || of == nil {
		return params, nil
	}
	out, _, err := g.minimal(c.Target.Server, rules, false, false, params, of)
	return out, err
}

var errNoHash = errors.New("the gateway has no key to make digests with")

// minimal goes twice over an answer: first for the fields, then for what repeats
// them.
func (g *Gateway) minimal(server string, rules *minimize.Rules, typed, dropAll bool, raw []byte, of reading) ([]byte, *minimize.Work, error) {
	if g.o.Hash == nil {
		return nil, nil, errNoHash
	}
	w := rules.Begin(minimize.Options{Typed: typed, DropAll: dropAll, Limits: g.o.Limits.JSON,
		Hash: func(canonical []byte) string { return g.o.Hash(server, canonical) }})
	for _, sweep := range []bool{false, true} {
		var err error
		if raw, err = (&minimal{w, sweep}).members(raw, of); err != nil {
			return nil, nil, err
		}
	}
	return raw, w, nil
}
