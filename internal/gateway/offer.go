package gateway

import (
	"context"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Definitions says which definitions were approved.
type Definitions interface {
	// Look says how a definition stands, and which one is approved under its
	// name where that is another.
	Look(server string, kind catalog.Kind, name string, digest [32]byte) (catalog.Standing, *catalog.Definition)
	// Sight takes note of a definition that has no pin. It may be offered when
	// the reason is empty.
	Sight(ctx context.Context, s catalog.Sighting) call.Reason
	// Complete says that a list was seen to its end.
	Complete(ctx context.Context, server string, kind catalog.Kind)
	// Generation counts the changes of what a server may offer.
	Generation(server string) uint64
	// Barred reports that a name of a list is held.
	Barred(server string, kind catalog.Kind, name string) bool
}

// offer decides whether a definition may be shown and called: the same answer
// for a list and for a call. why is what the operator is told, and seen the
// bytes that go on.
func (g *Gateway) offer(ctx context.Context, p call.Principal, st call.Stage, server string, kind catalog.Kind, name string, d *guard.Declared) (seen []byte, why call.Reason) {
	standing, previous := g.o.Definitions.Look(server, kind, name, d.Digest)
	sub := guard.Subject{Principal: p, Target: call.Target{Server: server, Method: string(kind), Name: name},
		Definition: d, Raw: d.Raw, Approved: standing == catalog.Pinned}
	if previous != nil {
		sub.Previous = &guard.Declared{Digest: previous.Digest, Raw: previous.Raw}
	}
	verdict, seen := g.o.Guards.Inspect(ctx, guard.Definition, st, sub)
	passes := verdict.Effect.Passes()
	if passes && standing != catalog.Held {
		return seen, ""
	}
	s := catalog.Sighting{Server: server, Kind: kind, Name: name, Digest: d.Digest, Raw: d.Raw, Findings: verdict.Findings, Score: verdict.Score}
	if !passes {
		s.Stopped = verdict.Reason
	}
	if standing == catalog.Pinned {
		return nil, s.Stopped // approved, and yet a guard cannot let it pass
	}
	if why = g.o.Definitions.Sight(ctx, s); why == "" && !passes {
		why = s.Stopped
	}
	return seen, why
}

// offerAll shows definitions that came whole to the pins, so that what was seen
// together is judged together, whoever may see which of them.
func (g *Gateway) offerAll(ctx context.Context, p call.Principal, server string, kind catalog.Kind, raws [][]byte) {
	twice := repeated("tools", raws)
	for _, raw := range raws {
		if d, ok := catalog.Read(kind, raw); ok && d.Broken == "" && !twice[d.Name] {
			_, _ = g.offer(ctx, p, call.InspectResult, server, kind, d.Name, &guard.Declared{Digest: d.Digest, Raw: raw})
		}
	}
	g.o.Definitions.Complete(ctx, server, kind)
}

// barred refuses what is about a definition that is held, in the words of what
// does not exist.
func (g *Gateway) barred(c *call.Call, in *inbound) *refusal {
	var kinds []catalog.Kind
	switch in.msg.Method {
	case mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe:
		kinds = []catalog.Kind{mcp.MethodResourcesList}
	case mcp.MethodComplete:
		kinds = []catalog.Kind{mcp.MethodPromptsList, mcp.MethodResourcesTemplatesList, mcp.MethodResourcesList}
	}
	for _, k := range kinds {
		if g.o.Definitions.Barred(c.Target.Server, k, c.Target.Name) {
			return deny(c, call.Validate, call.ReasonUnknownTarget, "held")
		}
	}
	return nil
}

// generations are those that a call of one server depends on.
func (g *Gateway) generations(server string) func() call.Generations {
	return func() call.Generations {
		now := g.o.Generations()
		now.Pins = g.o.Definitions.Generation(server)
		return now
	}
}

// stands reports that the definition by which a call was judged may still be
// called, after something changed: it is approved, and the server shows no other
// one under its name.
func (g *Gateway) stands(c *call.Call, in *inbound) bool {
	switch {
	case in.def != nil:
		standing, _ := g.o.Definitions.Look(c.Target.Server, in.def.kind, c.Target.Name, in.def.digest)
		return standing != catalog.Held && !g.o.Definitions.Barred(c.Target.Server, in.def.kind, c.Target.Name)
	case in.msg.Method == mcp.MethodResourcesRead:
		return !g.o.Definitions.Barred(c.Target.Server, mcp.MethodResourcesList, c.Target.Name)
	}
	return true
}

// vouched takes out of what a server says of itself what nobody approved: its
// instructions, and of its name all but the one in the config.
func (g *Gateway) vouched(ctx context.Context, c *call.Call, server string, d upstream.Description) upstream.Description {
	said := strictjson.Object{}
	if d.Instructions != nil {
		said = said.With("instructions", d.Instructions)
	}
	if d.ServerInfo != nil {
		said = said.With("serverInfo", withoutVersion(d.ServerInfo))
	}
	raw := said.Append(nil)
	digest, ok := catalog.Digest(catalog.KindServer, raw)
	if ok {
		_, why := g.offer(ctx, c.Principal, call.InspectResult, server, catalog.KindServer, "", &guard.Declared{Digest: digest, Raw: raw})
		g.o.Definitions.Complete(ctx, server, catalog.KindServer)
		if why == "" {
			return d
		}
	}
	info := strictjson.Object{{Name: "name", Raw: strictjson.AppendString(nil, server)}, {Name: "version", Raw: []byte(`"0"`)}}.Append(nil)
	d.Instructions, d.ServerInfo = nil, info
	if d.Raw == nil {
		return d
	}
	o, err := strictjson.SplitObject(d.Raw)
	if err != nil {
		d.Raw = nil
		return d
	}
	o = o.Without("instructions")
	if _, has := o.Get("serverInfo"); has {
		o = o.With("serverInfo", info)
	}
	if m, has := o.Get("_meta"); has {
		if mo, err := mcp.ObjectOf(m); err == nil {
			if _, has := mo.Get(mcp.MetaServerInfo); has {
				o = mcp.WithMeta(o, strictjson.Object{{Name: mcp.MetaServerInfo, Raw: info}})
			}
		}
	}
	d.Raw = o.Append(nil)
	return d
}

// withoutVersion takes the version out of a server's info, where it is one: a
// server that is updated is no other server.
func withoutVersion(info []byte) []byte {
	o, err := mcp.ObjectOf(info)
	if err != nil {
		return info
	}
	v, ok := mcp.Text(o, "version", 64)
	if !ok {
		return info
	}
	for i := range len(v) {
		b := v[i]
		if !(b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '.' || b == '-' || b == '+' || b == '_') {
			return info
		}
	}
	return o.Without("version").Append(nil)
}
