package gateway

import (
	"context"
	"errors"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// readFilter judges what a client wants to be told.
func (g *Gateway) readFilter(ctx context.Context, c *call.Call, in *inbound) (ref *refusal) {
	bad := func() *refusal {
		return deny(c, call.Validate, call.ReasonInvalidParams, "notifications").say("params.notifications must be an object")
	}
	raw, _ := in.params.Get("notifications")
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return bad()
	}
	var err error
	if in.filter, err = strictjson.SplitObject(raw); err != nil {
		return bad()
	}
	if mixedCase(in.filter, "toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds") {
		return deny(c, call.Validate, call.ReasonInvalidParams, "notifications").say("params.notifications has a member that differs from another one only in case")
	}
	if _, tasks := in.filter.Get("taskIds"); tasks && !in.caller.Capabilities.Tasks {
		return g.needTasks(c, call.Validate)
	}
	in.parts, ref = g.filters(ctx, c, in, in.filter)
	return ref
}

// part is what one server is asked to tell.
type part struct {
	server string
	params strictjson.Object
}

// filters splits a filter by server and drops what the caller may not read.
func (g *Gateway) filters(ctx context.Context, c *call.Call, in *inbound, filter strictjson.Object) ([]part, *refusal) {
	uris := map[string][][]byte{}
	tasks := map[string][][]byte{}
	if raw, ok := filter.Get("resourceSubscriptions"); ok {
		elems, err := texts(raw)
		if err != nil {
			return nil, deny(c, call.Validate, call.ReasonInvalidParams, "uris").say("resourceSubscriptions must be an array of strings")
		}
		for _, u := range elems {
			server, uri, ok := in.server, u, true
			if in.server == "" {
				server, uri, ok = g.split("uri", u)
			}
			if ok && g.o.Authz.Lists(ctx, authz.Query{Principal: c.Principal, Target: call.Target{Server: server, Method: mcp.MethodResourcesRead, Name: uri}}) {
				uris[server] = append(uris[server], strictjson.AppendString(nil, uri))
			}
		}
	}
	if raw, ok := filter.Get("taskIds"); ok {
		elems, err := texts(raw)
		if err != nil {
			return nil, deny(c, call.Validate, call.ReasonInvalidParams, "tasks").say("taskIds must be an array of strings")
		}
		for _, t := range elems {
			if server, id, ok := g.openTask(c, in, t); ok {
				tasks[server] = append(tasks[server], strictjson.AppendString(nil, id))
			}
		}
	}
	names := g.served(in)
	base := filter.Without("resourceSubscriptions", "taskIds")
	var parts []part
	for _, n := range names {
		f := base
		if len(uris[n]) > 0 {
			f = f.With("resourceSubscriptions", appendArray(nil, uris[n]))
		}
		if len(tasks[n]) > 0 {
			f = f.With("taskIds", appendArray(nil, tasks[n]))
		}
		if len(f) > 0 {
			parts = append(parts, part{n, in.params.With("notifications", f.Append(nil))})
		}
	}
	return parts, nil
}

// served are the servers of a message's path.
func (g *Gateway) served(in *inbound) []string {
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

const maxSubscribed = 1024

func texts(raw []byte) ([]string, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil, errors.New("not an array")
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil || len(elems) > maxSubscribed {
		return nil, errors.New("too many")
	}
	out := make([]string, 0, len(elems))
	for _, e := range elems {
		if strictjson.TypeOf(e) != strictjson.TypeString || len(e) > maxName {
			return nil, errors.New("not a string")
		}
		s, err := strictjson.String(e)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
