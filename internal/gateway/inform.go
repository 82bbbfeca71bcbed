package gateway

import (
	"context"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
)

// inform passes a notification of a legacy session on to servers. Each gets it
// under a clearance of its own and only over a connection that this session has
// open already; what a server's era has no place for goes no further.
func (g *Gateway) inform(ctx context.Context, c *call.Call, in *inbound, servers []string, params []byte) {
	if in.session == nil {
		return
	}
	in.caller = g.caller(c, in)
	for i, err := range g.each(c, servers, func(_ int, server string) error {
		f := c.Fork(call.Target{Server: server, Method: in.msg.Method})
		f.Pass(call.Resolve)
		f.Pass(call.Validate)
		d := g.o.Authz.Decide(ctx, authz.Query{Principal: c.Principal, Target: f.Target, Asked: c.Asked})
		d.Stage = call.Authorize
		if in.server == "" && !g.allowed(c, in, f.Target) {
			d = call.Decision{Stage: call.Authorize, Reason: call.ReasonInsufficientScope}
		}
		f.Decide(d)
		f.Pass(call.InspectRequest)
		cl, err := f.Clear(params, g.o.Generations)
		if err != nil {
			return err
		}
		return g.o.Servers[server].Notify(ctx, cl, g.toward(ctx, c, in.caller, server))
	}) {
		if err != nil {
			g.o.Logger.Debug("a notification was not taken", "server", servers[i], "err", err)
		}
	}
}

// servers names what the path of a message leads to: one server, or each of
// /mcp.
func (g *Gateway) servers(in *inbound) []string {
	if in.server != "" {
		return []string{in.server}
	}
	var names []string
	for _, n := range g.o.Order {
		if g.merged[n] {
			names = append(names, n)
		}
	}
	return names
}
