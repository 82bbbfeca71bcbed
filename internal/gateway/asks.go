package gateway

import (
	"context"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// toward is what one server is told of the client: that it answers samples,
// elicitations and roots only where the server may ask for them. A server that
// asks all the same is refused as if the client could not.
func (g *Gateway) toward(ctx context.Context, c *call.Call, from upstream.Caller, server string) upstream.Caller {
	caps := from.Capabilities
	if !caps.Sampling && !caps.Form && !caps.URL && !caps.Roots && !caps.TaskSampling && !caps.TaskElicit {
		return from
	}
	may := func(method string) bool {
		return g.o.Authz.Lists(ctx, asking(c, server, method))
	}
	from.Capabilities = caps.Without(!may(mcp.MethodSampling), !may(mcp.MethodElicit), !may(mcp.MethodRootsList))
	return from
}

// asking is the question whether a server may ask the caller's client.
func asking(c *call.Call, server, method string) authz.Query {
	return authz.Query{Principal: c.Principal, Target: call.Target{Server: server, Method: method}, Asked: c.Asked}
}

// mayAsk judges one request of a server to the client.
func (g *Gateway) mayAsk(ctx context.Context, c *call.Call, server, method string) bool {
	return g.o.Authz.Decide(ctx, asking(c, server, method)).Effect.Passes()
}
