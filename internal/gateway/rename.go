package gateway

import (
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// rename gives what one server answered the names of the merged path:
// resources that a result links, embeds or returns are found again only under
// their merged URI.
func (g *Gateway) rename(c *call.Call, in *inbound, r strictjson.Object) strictjson.Object {
	if in.server != "" {
		return r
	}
	server := c.Target.Server
	switch in.msg.Method {
	case mcp.MethodToolsCall, mcp.MethodTasksGet, mcp.MethodTasksResult:
		r = renameBlocks(r, "content", server)
		if in.msg.Method == mcp.MethodTasksGet {
			r = g.attributeTask(server, r)
		}
		if raw, ok := r.Get("result"); ok {
			if o, err := strictjson.SplitObject(raw); err == nil {
				r = r.With("result", renameBlocks(o, "content", server).Append(nil))
			}
		}
	case mcp.MethodPromptsGet:
		r = eachObject(r, "messages", func(m strictjson.Object) strictjson.Object {
			raw, ok := m.Get("content")
			if !ok {
				return m
			}
			if strictjson.TypeOf(raw) == strictjson.TypeArray {
				return renameBlocks(m, "content", server)
			}
			o, err := strictjson.SplitObject(raw)
			if err != nil {
				return m
			}
			return m.With("content", renameBlock(o, server).Append(nil))
		})
	case mcp.MethodResourcesRead:
		r = eachObject(r, "contents", func(o strictjson.Object) strictjson.Object { return renameMember(o, "uri", server) })
	}
	return r
}

// attributeTask says in what a task asks which server it is.
func (g *Gateway) attributeTask(server string, o strictjson.Object) strictjson.Object {
	raw, ok := o.Get("inputRequests")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return o
	}
	requests, err := strictjson.SplitObject(raw)
	if err != nil {
		return o
	}
	for i, r := range requests {
		q, err := mcp.ObjectOf(r.Raw)
		if err != nil || strictjson.TypeOf(r.Raw) != strictjson.TypeObject {
			continue
		}
		method, _ := mcp.Text(q, "method", 64)
		if params, ok := q.Get("params"); ok {
			requests[i].Raw = q.With("params", g.attribute(server, method, params)).Append(nil)
		}
	}
	return o.With("inputRequests", requests.Append(nil))
}

func renameBlocks(r strictjson.Object, member, server string) strictjson.Object {
	return eachObject(r, member, func(o strictjson.Object) strictjson.Object { return renameBlock(o, server) })
}

func renameBlock(o strictjson.Object, server string) strictjson.Object {
	switch typ, _ := mcp.Text(o, "type", 32); typ {
	case "resource_link":
		return renameMember(o, "uri", server)
	case "resource":
		raw, _ := o.Get("resource")
		if inner, err := strictjson.SplitObject(raw); err == nil {
			return o.With("resource", renameMember(inner, "uri", server).Append(nil))
		}
	}
	return o
}

// renameMember prefixes a name or URI member of one definition.
func renameMember(o strictjson.Object, member, server string) strictjson.Object {
	raw, ok := o.Get(member)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return o
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return o
	}
	kind := member
	if member == "uriTemplate" {
		kind = "uri"
	}
	return o.With(member, strictjson.AppendString(nil, join(kind, server, s)))
}

// eachObject rewrites the objects of an array member.
func eachObject(r strictjson.Object, member string, f func(strictjson.Object) strictjson.Object) strictjson.Object {
	raw, ok := r.Get(member)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeArray {
		return r
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil {
		return r
	}
	out := []byte{'['}
	for i, e := range elems {
		if i > 0 {
			out = append(out, ',')
		}
		if o, err := strictjson.SplitObject(e); err == nil && strictjson.TypeOf(e) == strictjson.TypeObject {
			out = f(o).Append(out)
			continue
		}
		out = append(out, e...)
	}
	return r.With(member, append(out, ']'))
}

// renameError prefixes data.uri of an error about a resource.
func (g *Gateway) renameError(c *call.Call, e *mcp.Error) *mcp.Error {
	if strictjson.TypeOf(e.Data) != strictjson.TypeObject {
		return e
	}
	o, err := strictjson.SplitObject(e.Data)
	if err != nil {
		return e
	}
	return &mcp.Error{Code: e.Code, Message: e.Message, Data: renameMember(o, "uri", c.Target.Server).Append(nil)}
}

// mentionsTask reports whether an object has a member that can name a task.
func mentionsTask(o strictjson.Object) bool {
	for i := range o {
		switch o[i].Name {
		case "taskId", "task", "tasks":
			return true
		case "_meta":
			meta, err := mcp.ObjectOf(o[i].Raw)
			if _, ok := meta.Get(mcp.MetaRelatedTask); ok || err != nil {
				return true
			}
		}
	}
	return false
}

// renameTasks seals the task IDs of a result or notification. The ID that the
// client itself named comes back as it named it.
func (g *Gateway) renameTasks(c *call.Call, in *inbound, o strictjson.Object) strictjson.Object {
	o = g.renameTaskID(c, in, o)
	if raw, ok := o.Get("task"); ok && strictjson.TypeOf(raw) == strictjson.TypeObject {
		if t, err := strictjson.SplitObject(raw); err == nil {
			o = o.With("task", g.renameTaskID(c, in, t).Append(nil))
		}
	}
	o = eachObject(o, "tasks", func(t strictjson.Object) strictjson.Object { return g.renameTaskID(c, in, t) })
	if raw, ok := o.Get("_meta"); ok && strictjson.TypeOf(raw) == strictjson.TypeObject {
		if m, err := strictjson.SplitObject(raw); err == nil {
			if rel, ok := m.Get(mcp.MetaRelatedTask); ok && strictjson.TypeOf(rel) == strictjson.TypeObject {
				if t, err := strictjson.SplitObject(rel); err == nil {
					o = o.With("_meta", m.With(mcp.MetaRelatedTask, g.renameTaskID(c, in, t).Append(nil)).Append(nil))
				}
			}
		}
	}
	return o
}

func (g *Gateway) renameTaskID(c *call.Call, in *inbound, o strictjson.Object) strictjson.Object {
	id, ok := mcp.Text(o, "taskId", maxName)
	if !ok {
		return o
	}
	if in.route.Name == "taskId" && id == c.Target.Name {
		return o.With("taskId", strictjson.AppendString(nil, in.name))
	}
	sealed, err := g.sealTask(c, in, c.Target.Server, id)
	if err != nil {
		sealed = ""
	}
	return o.With("taskId", strictjson.AppendString(nil, sealed))
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
