package gateway

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// selfInfo is how the gateway names itself on the merged path.
func (g *Gateway) selfInfo() []byte {
	b, err := json.Marshal(map[string]string{"name": g.o.Name, "version": g.o.Version})
	if err != nil {
		return mcp.EmptyObject()
	}
	return b
}

// hello is what initialize declares.
type hello struct {
	version mcp.Version // that will be spoken
	caps    mcp.Capabilities
	info    []byte // clientInfo; may be nil
}

// maxHello bounds what a session remembers of its client.
const maxHello = 64 << 10

// readHello judges the parameters of initialize.
func (g *Gateway) readHello(c *call.Call, in *inbound) *refusal {
	bad := func(what string) *refusal {
		return deny(c, call.Validate, call.ReasonInvalidParams, what).say(what)
	}
	if in.session != nil && in.session.version != "" {
		return bad("this session is initialized already")
	}
	asked, ok := mcp.Text(in.params, "protocolVersion", 64)
	if !ok {
		return bad("params.protocolVersion must be a string")
	}
	version := mcp.Version(asked)
	if !mcp.Known(version, g.o.Floor) || mcp.EraOf(version) != mcp.Legacy {
		version = mcp.LatestLegacy
	}
	capsRaw, _ := in.params.Get("capabilities")
	if capsRaw == nil {
		return bad("params.capabilities must be an object")
	}
	caps, err := mcp.ParseCapabilities(append([]byte(nil), capsRaw...))
	if err != nil {
		return bad(err.Error())
	}
	info, _ := in.params.Get("clientInfo")
	if info != nil && strictjson.TypeOf(info) != strictjson.TypeObject {
		return bad("params.clientInfo must be an object")
	}
	if len(capsRaw) > maxHello || len(info) > maxHello {
		return bad("params.capabilities and params.clientInfo may have 64 KiB each")
	}
	in.hello = &hello{version, caps, append([]byte(nil), info...)}
	return nil
}

// initialize opens a legacy session (2025-11-25, "Lifecycle").
func (g *Gateway) initialize(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	s := in.session
	if s == nil {
		var ok bool
		if s, ok = g.o.Sessions.open(c.Principal, in.path); !ok {
			return deny(c, call.Admit, call.ReasonTooMany, "sessions").say("too many sessions: end one first")
		}
	}
	if h, ok := out.(*httpOut); ok {
		h.opens(s.id)
	}
	s.capabilities, s.clientInfo, s.version = in.hello.caps, in.hello.info, in.hello.version
	s.opened(in.msg.ID)
	in.session, in.peer = s, &s.peer
	in.caller = g.caller(c, in)
	d, ref := g.describe(ctx, c, in)
	if ref != nil {
		g.o.Sessions.close(s)
		return ref
	}
	r, ref := g.initializeResult(c, in, d, s)
	if ref != nil {
		g.o.Sessions.close(s)
		return ref
	}
	c.Pass(call.Send)
	if ref := g.answer(ctx, c, in, out, r.Append(nil)); ref != nil {
		g.o.Sessions.close(s)
		return ref
	}
	return nil
}

// initializeResult keeps a legacy server's own words member by member and
// writes those of a modern server in the legacy shape.
func (g *Gateway) initializeResult(c *call.Call, in *inbound, d upstream.Description, s *Session) (strictjson.Object, *refusal) {
	if d.Era == mcp.Legacy && d.Raw != nil {
		if !mcp.Known(d.Version, g.o.Floor) {
			return nil, deny(c, call.Send, call.ReasonServerViolation, "version "+string(d.Version)).
				say("the server speaks protocol version " + string(d.Version) + ", which is below protocol_floor")
		}
		s.version = d.Version
		r, err := strictjson.SplitObject(d.Raw)
		if err != nil {
			return nil, deny(c, call.Send, call.ReasonServerViolation, err.Error())
		}
		return r, nil
	}
	r := strictjson.Object{
		{Name: "protocolVersion", Raw: strictjson.AppendString(nil, string(s.version))},
		{Name: "capabilities", Raw: legacyCapabilities(d.Capabilities)},
	}
	info := d.ServerInfo
	if info == nil {
		info = []byte(`{"name":"unknown","version":"0"}`)
	}
	r = append(r, strictjson.Member{Name: "serverInfo", Raw: info})
	if d.Instructions != nil {
		r = append(r, strictjson.Member{Name: "instructions", Raw: d.Instructions})
	}
	return r, nil
}

// legacyCapabilities gives a modern server's capabilities legacy words. The
// tasks extension becomes the tasks capability of 2025-11-25.
func legacyCapabilities(raw []byte) []byte {
	o, err := mcp.ObjectOf(raw)
	if err != nil || o == nil {
		return mcp.EmptyObject()
	}
	if ext, ok := o.Get("extensions"); ok {
		if e, err := mcp.ObjectOf(ext); err == nil {
			if _, tasks := e.Get(mcp.ExtensionTasks); tasks {
				o = o.With("tasks", []byte(`{"cancel":{},"requests":{"tools":{"call":{}}}}`))
			}
		}
		o = o.Without("extensions")
	}
	return o.Append(nil)
}

// modernCapabilities is the reverse.
func modernCapabilities(raw []byte) []byte {
	o, err := mcp.ObjectOf(raw)
	if err != nil || o == nil {
		return mcp.EmptyObject()
	}
	if _, ok := o.Get("tasks"); ok {
		o = o.Without("tasks").With("extensions", []byte(`{"`+mcp.ExtensionTasks+`":{}}`))
	}
	return o.Append(nil)
}

// describe asks a server, or all of /mcp, what it is.
func (g *Gateway) describe(ctx context.Context, c *call.Call, in *inbound) (upstream.Description, *refusal) {
	if in.server != "" {
		d, err := g.o.Servers[in.server].Describe(ctx, g.toward(ctx, c, in.caller, in.server))
		if grantOf(err) != nil {
			return describeLacking(in.server), nil
		}
		if err != nil {
			return d, serverRefusal(ctx, c, err)
		}
		return g.vouched(ctx, c, in.server, d), nil
	}
	var names []string
	for _, n := range g.o.Order {
		if g.merged[n] {
			names = append(names, n)
		}
	}
	ds := make([]upstream.Description, len(names))
	errs := g.each(c, names, func(i int, server string) (err error) {
		if ds[i], err = g.o.Servers[server].Describe(ctx, g.toward(ctx, c, in.caller, server)); grantOf(err) != nil {
			ds[i], err = describeLacking(server), nil
		} else if err == nil {
			ds[i] = g.vouched(ctx, c, server, ds[i])
		}
		return err
	})
	all := strictjson.Object{}
	var words []string
	failed := 0
	for i, d := range ds {
		if errs[i] != nil {
			failed++
			g.o.Logger.Warn("a server is left out", "server", names[i], "err", errs[i])
			continue
		}
		caps := d.Capabilities
		if in.era == mcp.Modern && d.Era == mcp.Legacy {
			caps = modernCapabilities(caps)
		}
		if in.era == mcp.Legacy && d.Era == mcp.Modern {
			caps = legacyCapabilities(caps)
		}
		all = unite(all, caps)
		if d.Instructions != nil {
			if s, err := strictjson.String(d.Instructions); err == nil && s != "" {
				words = append(words, "["+names[i]+"] "+s)
			}
		}
	}
	if failed == len(names) {
		return upstream.Description{}, serverRefusal(ctx, c, errs[0])
	}
	d := upstream.Description{Era: mcp.Modern, Version: mcp.LatestModern, Capabilities: all.Append(nil), ServerInfo: g.selfInfo()}
	if len(words) > 0 {
		d.Instructions = strictjson.AppendString(nil, strings.Join(words, "\n\n"))
	}
	return d, nil
}

// unite merges capability objects: objects member by member, true wins.
func unite(a strictjson.Object, raw []byte) strictjson.Object {
	b, err := mcp.ObjectOf(raw)
	if err != nil {
		return a
	}
	for _, m := range b {
		old, ok := a.Get(m.Name)
		switch {
		case !ok:
			a = a.With(m.Name, m.Raw)
		case strictjson.TypeOf(old) == strictjson.TypeObject && strictjson.TypeOf(m.Raw) == strictjson.TypeObject:
			inner, err := strictjson.SplitObject(old)
			if err == nil {
				a = a.With(m.Name, unite(inner, m.Raw).Append(nil))
			}
		case string(m.Raw) == "true":
			a = a.With(m.Name, m.Raw)
		}
	}
	return a
}

// discover answers server/discover.
func (g *Gateway) discover(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	d, ref := g.describe(ctx, c, in)
	if ref != nil {
		return ref
	}
	c.Pass(call.Send)
	var r strictjson.Object
	if d.Era == mcp.Modern && d.Raw != nil {
		var err error
		if r, err = strictjson.SplitObject(d.Raw); err != nil {
			return serverRefusal(ctx, c, upstream.ErrViolation)
		}
		r = r.With("supportedVersions", g.versions())
	} else {
		caps := d.Capabilities
		if d.Era == mcp.Legacy {
			caps = modernCapabilities(caps)
		}
		r = strictjson.Object{
			{Name: "resultType", Raw: []byte(`"complete"`)},
			{Name: "supportedVersions", Raw: g.versions()},
			{Name: "capabilities", Raw: caps},
		}
		if d.Instructions != nil {
			r = append(r, strictjson.Member{Name: "instructions", Raw: d.Instructions})
		}
		if d.ServerInfo != nil {
			r = mcp.WithMeta(r, strictjson.Object{{Name: mcp.MetaServerInfo, Raw: d.ServerInfo}})
		}
	}
	return g.answer(ctx, c, in, out, hints(r, false).Append(nil))
}

func (g *Gateway) versions() []byte {
	var vs [][]byte
	for _, v := range mcp.Supported(g.o.Floor) {
		vs = append(vs, strictjson.AppendString(nil, string(v)))
	}
	return appendArray(nil, vs)
}
