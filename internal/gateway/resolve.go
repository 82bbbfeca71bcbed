package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const maxName = 4096 // bytes of a tool, prompt, task name or URI

// resolve says which server and which target are meant.
func (g *Gateway) resolve(ctx context.Context, c *call.Call, in *inbound) *refusal {
	switch in.msg.Kind {
	case mcp.Notification:
		switch in.msg.Method {
		case mcp.NotifyInitialized, mcp.NotifyCancelled, mcp.NotifyRootsChanged, mcp.NotifyProgress:
		case mcp.NotifyTaskStatus:
			id, _ := mcp.Text(in.params, "taskId", maxTaskName)
			h := in.peer.hosting(id)
			if h == nil {
				return deny(c, call.Resolve, call.ReasonUnknownTarget, "task").say("there is no such task")
			}
			c.Target.Server = h.server
			c.Pass(call.Resolve)
			return nil
		default:
			return deny(c, call.Resolve, call.ReasonUnknownMethod, in.msg.Method)
		}
		c.Target.Server = in.server
		c.Pass(call.Resolve)
		return nil
	case mcp.Result, mcp.ErrorReply:
		if in.peer == nil || !in.peer.waitsFor(in.msg.ID) {
			return deny(c, call.Resolve, call.ReasonUnaskedAnswer, "").say("nobody asked for this answer")
		}
		c.Target = in.peer.asker(in.msg.ID)
		g.openRelated(c, in)
		c.Pass(call.Resolve)
		return nil
	}
	route, ok := mcp.RouteOf(in.era, in.msg.Method)
	if !ok {
		return deny(c, call.Resolve, call.ReasonUnknownMethod, in.msg.Method)
	}
	in.route = route
	if in.era == mcp.Modern && route.Name == "taskId" && !in.meta.Capabilities.Tasks {
		return g.needTasks(c, call.Resolve)
	}
	if route.Name != "" {
		name, ok := mcp.Text(in.params, route.Name, maxName)
		if !ok {
			return deny(c, call.Resolve, call.ReasonInvalidParams, route.Name).say("params." + route.Name + " must be a string of at most 4096 bytes")
		}
		in.name = name
	}
	if ref := g.headers(c, in); ref != nil {
		return ref
	}
	if ref := g.target(c, in); ref != nil {
		return ref
	}
	in.caller = g.caller(c, in)
	c.Pass(call.Resolve)
	return nil
}

// needTasks refuses what only a client that declared the tasks extension may
// ask for (SEP-2663, "Capability Negotiation").
func (g *Gateway) needTasks(c *call.Call, st call.Stage) *refusal {
	return deny(c, st, call.ReasonMissingCapability, "tasks").
		withData("requiredCapabilities", []byte(`{"extensions":{"`+mcp.ExtensionTasks+`":{}}}`))
}

// headers compares Mcp-Method and Mcp-Name with the body ("Server
// Validation").
func (g *Gateway) headers(c *call.Call, in *inbound) *refusal {
	if in.http == nil || in.era != mcp.Modern {
		return nil
	}
	mismatch := func(what string) *refusal {
		return deny(c, call.Resolve, call.ReasonHeaderMismatch, what).say("Header mismatch: " + what)
	}
	ms := in.http.Header[mcp.HeaderMethod]
	if len(ms) != 1 || strings.TrimSpace(ms[0]) != in.msg.Method {
		return mismatch("Mcp-Method must be sent once and equal the body's method")
	}
	ns := in.http.Header[mcp.HeaderName]
	if !in.route.Header {
		if len(ns) > 0 {
			return mismatch("Mcp-Name does not belong to this method")
		}
		return nil
	}
	if len(ns) != 1 {
		return mismatch("Mcp-Name must be sent once and equal params." + in.route.Name)
	}
	name, err := mcp.DecodeHeaderValue(ns[0])
	if err != nil || name != in.name {
		return mismatch("Mcp-Name must equal params." + in.route.Name)
	}
	return nil
}

// target translates the client's name into a server and the server's name.
func (g *Gateway) target(c *call.Call, in *inbound) *refusal {
	c.Target = call.Target{Server: in.server, Method: in.msg.Method, Name: in.name}
	if in.route.Name == "taskId" {
		return g.taskTarget(c, in)
	}
	if in.msg.Method == mcp.MethodComplete {
		return g.completionTarget(c, in)
	}
	if in.server != "" || in.route.Name == "" {
		if in.server == "" {
			c.Target.Server = mergedName
		}
		return nil
	}
	server, name, ok := g.split(in.route.Name, in.name)
	if !ok {
		return deny(c, call.Resolve, call.ReasonUnknownTarget, in.name)
	}
	c.Target.Server, c.Target.Name = server, name
	in.params = in.params.With(in.route.Name, strictjson.AppendString(nil, name))
	in.msg.Params = in.params.Append(nil)
	return nil
}

// mergedName stands on the record for what concerns all servers of /mcp.
const mergedName = "*"

// split takes a merged name apart: server__name at the first __, or
// server+uri at the first +. Only the names that /mcp serves are servers, so
// the encoding is injective.
func (g *Gateway) split(member, s string) (server, name string, ok bool) {
	sep := "__"
	if member == "uri" {
		sep = "+"
	}
	server, name, ok = strings.Cut(s, sep)
	return server, name, ok && g.merged[server] && name != ""
}

// join is the reverse of split.
func join(member, server, name string) string {
	if member == "uri" {
		return server + "+" + name
	}
	return server + "__" + name
}

// mixedCase reports a protocol object that a peer which matches names without
// regard to case would read as another.
func mixedCase(o strictjson.Object, known ...string) bool {
	if _, _, dup := strictjson.FoldedDuplicate(o); dup {
		return true
	}
	_, bad := strictjson.UnexpectedCase(o, known...)
	return bad
}

func (g *Gateway) completionTarget(c *call.Call, in *inbound) *refusal {
	raw, _ := in.params.Get("ref")
	ref, err := strictjson.SplitObject(raw)
	if err != nil || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return deny(c, call.Resolve, call.ReasonInvalidParams, "ref").say("params.ref must be an object")
	}
	if mixedCase(ref, "type", "name", "uri", "title") {
		return deny(c, call.Resolve, call.ReasonInvalidParams, "ref").say("params.ref has a member that differs from another one only in case")
	}
	member := "name"
	if typ, _ := mcp.Text(ref, "type", 32); typ == "ref/resource" {
		member = "uri"
	}
	name, ok := mcp.Text(ref, member, maxName)
	if !ok {
		return deny(c, call.Resolve, call.ReasonInvalidParams, "ref").say("params.ref." + member + " must be a string")
	}
	in.name, c.Target.Name = name, name
	if in.server != "" {
		return nil
	}
	server, inner, ok := g.split(member, name)
	if !ok {
		return deny(c, call.Resolve, call.ReasonUnknownTarget, name)
	}
	c.Target.Server, c.Target.Name = server, inner
	ref = ref.With(member, strictjson.AppendString(nil, inner))
	in.params = in.params.With("ref", ref.Append(nil))
	in.msg.Params = in.params.Append(nil)
	return nil
}

// caller is what the upstream is told of the client.
func (g *Gateway) caller(c *call.Call, in *inbound) upstream.Caller {
	u := upstream.Caller{Principal: c.Principal, Token: in.token, Era: in.era, Version: in.meta.Version,
		Capabilities: in.meta.Capabilities, ClientInfo: in.meta.ClientInfo, LogLevel: in.meta.LogLevel,
		ProgressToken: in.meta.ProgressToken, TraceParent: in.meta.TraceParent}
	if s := in.session; s != nil {
		u.Session, u.Version, u.Capabilities, u.ClientInfo, u.LogLevel = s.key, s.version, s.capabilities, s.clientInfo, s.level()
		c.Session = s.key
	}
	if u.ClientInfo == nil {
		u.ClientInfo = []byte(`{"name":"unknown","version":"0"}`)
	}
	return u
}

// validate checks parameters by the definitions and rules that are known.
func (g *Gateway) validate(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.msg.Kind != mcp.Request {
		return g.validateOther(c, in)
	}
	bad := func(what string) *refusal {
		return deny(c, call.Validate, call.ReasonInvalidParams, what).say(what)
	}
	if raw, ok := in.params.Get("arguments"); ok && strictjson.TypeOf(raw) != strictjson.TypeObject {
		return bad("params.arguments must be an object")
	}
	if raw, ok := in.params.Get("cursor"); ok && strictjson.TypeOf(raw) != strictjson.TypeString {
		return bad("params.cursor must be a string")
	}
	if in.route.List != "" {
		if ref := g.openCursor(c, in); ref != nil {
			return ref
		}
	}
	switch in.msg.Method {
	case mcp.MethodListen:
		if ref := g.readFilter(ctx, c, in); ref != nil {
			return ref
		}
	case mcp.MethodInitialize:
		if ref := g.readHello(c, in); ref != nil {
			return ref
		}
	}
	if in.msg.Method == mcp.MethodSetLevel {
		if l, ok := mcp.Text(in.params, "level", 32); !ok || mcp.LogRank(l) < 0 {
			return bad("params.level is not a log level")
		}
	}
	if ref := g.granted(ctx, c, in); ref != nil {
		return ref
	}
	if in.msg.Method == mcp.MethodToolsCall || in.msg.Method == mcp.MethodPromptsGet {
		if ref := g.define(ctx, c, in); ref != nil {
			return ref
		}
	}
	if ref := g.barred(c, in); ref != nil {
		return ref
	}
	if ref := g.paramHeaders(c, in); ref != nil {
		return ref
	}
	if ref := g.awaited(ctx, c, in); ref != nil {
		return ref
	}
	if ref := g.inputs(c, in); ref != nil {
		return ref
	}
	if ref := g.taskAnswers(ctx, c, in); ref != nil {
		return ref
	}
	c.Pass(call.Validate)
	return nil
}

func (g *Gateway) validateOther(c *call.Call, in *inbound) *refusal {
	if in.msg.Kind == mcp.Result {
		if why := in.peer.fits(in.msg.ID, in.msg.Result); why != "" {
			// Whoever asked is told as well: the client will not answer twice.
			in.peer.deliver(in.msg.ID, reply{err: &mcp.Error{Code: mcp.CodeInvalidParams, Message: "the client's answer did not fit what was asked"}})
			return deny(c, call.Validate, call.ReasonInvalidParams, why).say(why)
		}
	}
	if in.msg.Kind == mcp.Result {
		in.msg.Result = in.peer.trim(in.msg.ID, in.msg.Result)
	}
	if in.msg.Kind == mcp.Notification && in.msg.Method == mcp.NotifyTaskStatus {
		if why := fitsTask(in.params, ""); why != "" {
			return deny(c, call.Validate, call.ReasonInvalidParams, why).say(why)
		}
	}
	if in.msg.Kind == mcp.ErrorReply {
		if _, err := mcp.ParseError(in.msg.Error); err != nil {
			return deny(c, call.Validate, call.ReasonInvalidParams, err.Error()).say(err.Error())
		}
	}
	c.Pass(call.Validate)
	return nil
}

// paramHeaders checks annotated Mcp-Param headers against the body and builds
// them again from it; unrecognized ones travel on with checked values.
func (g *Gateway) paramHeaders(c *call.Call, in *inbound) *refusal {
	mismatch := func(what string) *refusal {
		return deny(c, call.Validate, call.ReasonHeaderMismatch, what).say("Header mismatch: " + what)
	}
	var args []byte
	known := map[string]bool{}
	in.caller.Headers = nil
	if in.def != nil && len(in.def.headers) > 0 {
		args, _ = in.params.Get("arguments")
		for _, h := range in.def.headers {
			canonical := http.CanonicalHeaderKey(h.Name)
			known[canonical] = true
			want, has, err := h.Value(args)
			if err != nil {
				return deny(c, call.Validate, call.ReasonInvalidParams, err.Error()).say(err.Error())
			}
			if in.http != nil && in.era == mcp.Modern {
				got := in.http.Header[canonical]
				switch {
				case has && len(got) != 1, !has && len(got) > 0:
					return mismatch(h.Name + " must be sent exactly when its parameter has a value")
				case has:
					v, err := mcp.DecodeHeaderValue(got[0])
					if err != nil || !h.Same(v, want) {
						return mismatch(h.Name + " must equal its parameter")
					}
				}
			}
			if has {
				in.caller.Headers = append(in.caller.Headers, upstream.Header{Name: h.Name, Value: mcp.EncodeHeaderValue(want)})
			}
		}
	}
	if in.http == nil || in.era != mcp.Modern {
		return nil
	}
	for name, vs := range in.http.Header {
		if !strings.HasPrefix(name, mcp.HeaderParamPrefix) || known[name] {
			continue
		}
		if len(vs) != 1 || len(vs[0]) > 8192 {
			return mismatch(name + " must be sent once")
		}
		v, err := mcp.DecodeHeaderValue(vs[0])
		if err != nil {
			return mismatch(name + " is not a valid value")
		}
		in.caller.Headers = append(in.caller.Headers, upstream.Header{Name: name, Value: mcp.EncodeHeaderValue(v)})
	}
	return nil
}

// authorize asks the decision point. An unlisted target looks like one that
// never was.
func (g *Gateway) authorize(ctx context.Context, c *call.Call, in *inbound) *refusal {
	q := queryOf(c, in)
	if in.msg.Kind == mcp.Result || in.msg.Kind == mcp.ErrorReply {
		q = in.peer.query(in.msg.ID)
	}
	connects := c.Target.Name == connectTool && in.msg.Method == mcp.MethodToolsCall && (in.need != nil || in.connected)
	if connects {
		// Our own tool does nothing at the server but what a list does.
		q = authz.Query{Principal: c.Principal, Target: call.Target{Server: c.Target.Server, Method: mcp.MethodToolsList}, Asked: c.Asked}
	}
	if in.msg.Kind == mcp.Request && in.route.Name != "" && !connects {
		if !g.o.Authz.Lists(ctx, q) {
			return g.unlisted(ctx, c, call.Authorize, q)
		}
	}
	if in.msg.Kind == mcp.Request {
		if ref := g.scoped(c, in, q.Target); ref != nil {
			return ref
		}
	}
	d := g.o.Authz.Decide(ctx, q)
	d.Stage = call.Authorize
	if d.Effect == call.Hold {
		if ref := g.hold(ctx, c, in, d); ref != nil {
			return ref
		}
	} else if !c.Decide(d) {
		r := refuseDecision(d)
		switch {
		case d.Effect == call.Challenge && d.Needs != nil:
			g.demand(c, in, r)
		case d.Detail != "" && d.Reason == call.ReasonNotPermitted:
			r.text = "this call is not permitted: " + d.Detail
		}
		return r
	}
	if ref := g.spendState(ctx, c, in); ref != nil {
		return ref
	}
	return nil
}

// unlisted refuses what the caller may not know of; the record says by which
// policies.
func (g *Gateway) unlisted(ctx context.Context, c *call.Call, st call.Stage, q authz.Query) *refusal {
	d := call.Decision{Effect: call.Deny, Stage: st, Reason: call.ReasonUnknownTarget, Detail: "not listed for this principal",
		Findings: g.o.Authz.Decide(ctx, q).Findings}
	c.Decide(d)
	return refuseDecision(d)
}
