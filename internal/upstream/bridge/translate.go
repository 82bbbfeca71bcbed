package bridge

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// The functions of this file say a message of one era in the words of the
// other. They are pure, keep every member they do not know, and return their
// input when there is nothing to change. Input is validated JSON.

var resultComplete = []byte(`"` + mcp.ResultComplete + `"`)

// ResultForModern marks a legacy server's result as complete. A resultType
// that the server wrote has no meaning in its era and is replaced.
func ResultForModern(result []byte) []byte {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return result
	}
	return o.With("resultType", resultComplete).Append(nil)
}

// ResultForLegacy takes out what 2025-11-25 has no word for: resultType, cache
// hints, the server's identity in _meta, and of tools what a client of that
// revision would refuse the whole list or result for: output schemas and
// structured content that are no objects.
func ResultForLegacy(method string, result []byte) []byte {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return result
	}
	o = o.Without("resultType")
	if route, ok := mcp.RouteOf(mcp.Modern, method); ok && route.Cacheable {
		o = o.Without("ttlMs", "cacheScope")
	}
	if _, ok := o.Get("_meta"); ok {
		o = mcp.WithMeta(o, nil, mcp.MetaServerInfo, mcp.MetaSubscriptionID)
	}
	switch method {
	case mcp.MethodToolsCall:
		if sc, ok := o.Get("structuredContent"); ok && strictjson.TypeOf(sc) != strictjson.TypeObject {
			o = o.Without("structuredContent")
		}
	case mcp.MethodToolsList:
		if tools, ok := o.Get("tools"); ok {
			o = o.With("tools", eachObject(tools, toolForLegacy))
		}
	}
	return o.Append(nil)
}

func toolForLegacy(tool strictjson.Object) strictjson.Object {
	schema, ok := tool.Get("outputSchema")
	if !ok {
		return tool
	}
	if so, err := mcp.ObjectOf(schema); err == nil {
		if t, _ := so.Get("type"); string(t) == `"object"` {
			return tool
		}
	}
	return tool.Without("outputSchema")
}

// eachObject applies f to the objects of an array and leaves other elements.
func eachObject(array []byte, f func(strictjson.Object) strictjson.Object) []byte {
	elems, err := strictjson.SplitArray(array)
	if err != nil {
		return array
	}
	out := []byte{'['}
	for i, e := range elems {
		if i > 0 {
			out = append(out, ',')
		}
		if strictjson.TypeOf(e) == strictjson.TypeObject {
			if o, err := strictjson.SplitObject(e); err == nil {
				out = f(o).Append(out)
				continue
			}
		}
		out = append(out, e...)
	}
	return append(out, ']')
}

// ErrorForModern says a legacy server's error with codes that a modern peer
// may see: an unknown resource is -32602, and codes that the modern
// specification reserves mean nothing from a legacy server.
func ErrorForModern(e *mcp.Error) *mcp.Error {
	switch {
	case e.Code == mcp.CodeResourceNotFound:
		return &mcp.Error{Code: mcp.CodeInvalidParams, Message: e.Message, Data: e.Data}
	case e.Code == mcp.CodeMissingCapability && namesCapabilities(e.Data):
		return e // a server of both eras, telling in its legacy face what it lacks
	case e.Code <= -32020 && e.Code >= -32099:
		return &mcp.Error{Code: mcp.CodeInternal, Message: e.Message, Data: e.Data}
	}
	return e
}

// namesCapabilities reports that error data has the member which makes
// -32021 mean what the modern specification says.
func namesCapabilities(data []byte) bool {
	o, err := mcp.ObjectOf(data)
	if err != nil {
		return false
	}
	caps, ok := o.Get("requiredCapabilities")
	return ok && strictjson.TypeOf(caps) == strictjson.TypeObject
}

// missingResource says a modern server's error about a resource that does not
// exist with the code of legacy revisions. Their successor shares its code with
// all invalid parameters; what tells it from them is that data.uri is the
// resource that was asked for (2026-07-28, resources, "Error Handling").
func missingResource(method string, params []byte, e *mcp.Error) *mcp.Error {
	if method != mcp.MethodResourcesRead || e.Code != mcp.CodeInvalidParams || strictjson.TypeOf(e.Data) != strictjson.TypeObject {
		return e
	}
	asked, err1 := mcp.ObjectOf(params)
	data, err2 := mcp.ObjectOf(e.Data)
	if err1 != nil || err2 != nil {
		return e
	}
	want, _ := mcp.Text(asked, "uri", 1<<16)
	if uri, ok := mcp.Text(data, "uri", 1<<16); !ok || uri != want {
		return e
	}
	return &mcp.Error{Code: mcp.CodeResourceNotFound, Message: e.Message, Data: e.Data}
}

// ErrorForLegacy says a modern server's error with codes that a legacy client
// knows.
func ErrorForLegacy(e *mcp.Error) *mcp.Error {
	if e.Code <= -32020 && e.Code >= -32099 {
		return &mcp.Error{Code: mcp.CodeInvalidRequest, Message: e.Message, Data: e.Data}
	}
	return e
}

// InputRequest builds one entry of inputRequests from a legacy server's
// request. What identifies a legacy request or its task is left out; a URL
// elicitation has no elicitationId in modern revisions.
func InputRequest(method string, params []byte) []byte {
	entry := strictjson.Object{{Name: "method", Raw: strictjson.AppendString(nil, method)}}
	o, err := mcp.ObjectOf(params)
	if err == nil && params != nil {
		o = mcp.WithMeta(o, nil, mcp.MetaProgressToken, mcp.MetaRelatedTask).Without("task")
		if method == mcp.MethodElicit && mcp.ElicitMode(params) == "url" {
			o = o.Without("elicitationId")
		}
		if len(o) > 0 || method != mcp.MethodRootsList {
			entry = append(entry, strictjson.Member{Name: "params", Raw: o.Append(nil)})
		}
	}
	return entry.Append(nil)
}

// ResponseForLegacy turns an entry of inputResponses into the result of a
// legacy request.
func ResponseForLegacy(response []byte) []byte {
	o, err := mcp.ObjectOf(response)
	if err != nil {
		return response
	}
	if _, ok := o.Get("resultType"); !ok {
		return response
	}
	return o.Without("resultType").Append(nil)
}

// AskForLegacy turns the params of an input request into those of a request
// to a legacy client of a revision: 2025-11-25 wants an elicitationId with a
// URL, earlier revisions know no mode.
func AskForLegacy(method string, params []byte, v mcp.Version) []byte {
	if method != mcp.MethodElicit {
		return params
	}
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return params
	}
	if mcp.ElicitMode(params) == "url" {
		if _, ok := o.Get("elicitationId"); ok {
			return params
		}
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
		return o.With("elicitationId", strictjson.AppendString(nil, hex.EncodeToString(b[:]))).Append(nil)
	}
	if v < mcp.V20251125 {
		return o.Without("mode").Append(nil)
	}
	return params
}

// legacyCapabilities says a caller's capabilities in an initialize: those that
// legacy revisions have a word for, and extensions other than tasks, which a
// server that does not know them ignores.
func legacyCapabilities(from upstream.Caller) []byte {
	return convertCapabilities(from.Capabilities.Raw, func(name string, sub strictjson.Object) (strictjson.Object, bool) {
		switch name {
		case "roots":
			return sub.Without("listChanged"), true
		case "sampling", "elicitation", "experimental":
			return sub, true
		case "extensions":
			sub = sub.Without(mcp.ExtensionTasks)
			return sub, len(sub) > 0
		}
		return nil, false
	})
}

// withoutTaskList takes out of a legacy client's capabilities that it lists its
// tasks: it would list to one server what it does for others, so it is not
// asked.
func withoutTaskList(caps []byte) []byte {
	o, err := mcp.ObjectOf(caps)
	if err != nil {
		return caps
	}
	raw, _ := o.Get("tasks")
	tasks, err := mcp.ObjectOf(raw)
	if _, lists := tasks.Get("list"); err != nil || !lists {
		return caps
	}
	return o.With("tasks", tasks.Without("list").Append(nil)).Append(nil)
}

// callerCapabilities says a caller's capabilities in the _meta of a modern
// request. tasks declares the extension in the name of a legacy client whose
// call is a task.
func callerCapabilities(from upstream.Caller, tasks bool) []byte {
	if from.Era == mcp.Modern {
		if from.Capabilities.Raw == nil {
			return mcp.EmptyObject()
		}
		return from.Capabilities.Raw
	}
	out := convertCapabilities(from.Capabilities.Raw, func(name string, sub strictjson.Object) (strictjson.Object, bool) {
		switch name {
		case "roots":
			return sub.Without("listChanged"), true
		case "tasks":
			return nil, false
		case "extensions":
			sub = sub.Without(mcp.ExtensionTasks)
			return sub, len(sub) > 0
		}
		return sub, true
	})
	if !tasks {
		return out
	}
	o, _ := mcp.ObjectOf(out)
	raw, _ := o.Get("extensions")
	ext, _ := mcp.ObjectOf(raw)
	return o.With("extensions", ext.With(mcp.ExtensionTasks, mcp.EmptyObject()).Append(nil)).Append(nil)
}

func convertCapabilities(raw []byte, keep func(string, strictjson.Object) (strictjson.Object, bool)) []byte {
	o, err := mcp.ObjectOf(raw)
	if err != nil {
		return mcp.EmptyObject()
	}
	var out strictjson.Object
	for _, m := range o {
		if strictjson.TypeOf(m.Raw) != strictjson.TypeObject {
			continue
		}
		sub, err := strictjson.SplitObject(m.Raw)
		if err != nil {
			continue
		}
		if sub, ok := keep(m.Name, sub); ok {
			out = append(out, strictjson.Member{Name: m.Name, Raw: sub.Append(nil)})
		}
	}
	return out.Append(nil)
}

// ServerCapabilities says a server's capabilities to a client of an era: what
// differs is how tasks are named.
func ServerCapabilities(client, server mcp.Era, caps []byte) []byte {
	if client == server {
		return caps
	}
	o, err := mcp.ObjectOf(caps)
	if err != nil {
		return caps
	}
	f := readFeatures(caps)
	if client == mcp.Modern {
		o = o.Without("tasks")
		if f.tasksAsk {
			raw, _ := o.Get("extensions")
			ext, _ := mcp.ObjectOf(raw)
			o = o.With("extensions", ext.With(mcp.ExtensionTasks, mcp.EmptyObject()).Append(nil))
		}
		return o.Append(nil)
	}
	if raw, ok := o.Get("extensions"); ok && f.tasks {
		ext, _ := mcp.ObjectOf(raw)
		if ext = ext.Without(mcp.ExtensionTasks); len(ext) > 0 {
			o = o.With("extensions", ext.Append(nil))
		} else {
			o = o.Without("extensions")
		}
		o = o.With("tasks", []byte(`{"cancel":{},"requests":{"tools":{"call":{}}}}`))
	}
	return o.Append(nil)
}

// modernMeta is what the gateway itself puts into the _meta of a modern
// request.
type modernMeta struct {
	caps  []byte
	level string
	token string // raw
}

// The members of _meta that only this gateway sets toward a server.
func ownMeta(name string) bool {
	switch name {
	case mcp.MetaProtocolVersion, mcp.MetaClientInfo, mcp.MetaClientCapabilities, mcp.MetaLogLevel, mcp.MetaProgressToken,
		mcp.MetaSubscriptionID, mcp.MetaServerInfo, mcp.MetaRelatedTask, "traceparent", "tracestate", "baggage":
		return true
	}
	return false
}

// modernParams gives params the _meta of a modern request. Members that nobody
// knows stay.
func modernParams(o strictjson.Object, from upstream.Caller, v mcp.Version, m modernMeta) []byte {
	return modernMembers(o, from, v, m).Append(nil)
}

// modernMembers is modernParams, not joined yet.
func modernMembers(o strictjson.Object, from upstream.Caller, v mcp.Version, m modernMeta) strictjson.Object {
	meta := append(keptMeta(o), strictjson.Member{Name: mcp.MetaProtocolVersion, Raw: strictjson.AppendString(nil, string(v))})
	if from.ClientInfo != nil {
		meta = append(meta, strictjson.Member{Name: mcp.MetaClientInfo, Raw: from.ClientInfo})
	}
	meta = append(meta, strictjson.Member{Name: mcp.MetaClientCapabilities, Raw: m.caps})
	if m.level != "" {
		meta = append(meta, strictjson.Member{Name: mcp.MetaLogLevel, Raw: strictjson.AppendString(nil, m.level)})
	}
	return o.With("_meta", callMeta(meta, from, m.token).Append(nil))
}

// legacyParams gives params the _meta of a legacy request, and takes out what
// belongs to modern rounds.
func legacyParams(params []byte, from upstream.Caller, token string) []byte {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return params
	}
	if from.Era == mcp.Modern {
		o = o.Without("inputResponses", "requestState", "task")
	}
	meta := callMeta(keptMeta(o), from, token)
	if _, had := o.Get("_meta"); !had && len(meta) == 0 && from.Era == mcp.Legacy {
		return params // nothing to change: the bytes go on as they came
	}
	if len(meta) > 0 {
		o = o.With("_meta", meta.Append(nil))
	} else {
		o = o.Without("_meta")
	}
	if len(o) == 0 && params == nil {
		return nil
	}
	return o.Append(nil)
}

func callMeta(meta strictjson.Object, from upstream.Caller, token string) strictjson.Object {
	if token != "" {
		meta = append(meta, strictjson.Member{Name: mcp.MetaProgressToken, Raw: []byte(token)})
	}
	if from.TraceParent != "" {
		meta = append(meta, strictjson.Member{Name: "traceparent", Raw: strictjson.AppendString(nil, from.TraceParent)})
	}
	return meta
}

// keptMeta returns the members of _meta that are not ours, with room for more.
func keptMeta(o strictjson.Object) strictjson.Object {
	raw, ok := o.Get("_meta")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return make(strictjson.Object, 0, 6)
	}
	all, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil
	}
	kept := make(strictjson.Object, 0, len(all)+6)
	for _, m := range all {
		if !ownMeta(m.Name) {
			kept = append(kept, m)
		}
	}
	return kept
}

// elicitationsOf reads error.data of "URL elicitation required".
func elicitationsOf(data []byte) ([][]byte, bool) {
	o, err := mcp.ObjectOf(data)
	if data == nil || err != nil {
		return nil, false
	}
	raw, _ := o.Get("elicitations")
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil, false
	}
	list, err := strictjson.SplitArray(raw)
	if err != nil || len(list) == 0 || len(list) > maxRequests {
		return nil, false
	}
	for _, p := range list {
		if strictjson.TypeOf(p) != strictjson.TypeObject || mcp.ElicitMode(p) != "url" {
			return nil, false
		}
	}
	return list, true
}

// allAccepted reports that there are responses and each accepts.
func allAccepted(responses []byte) bool {
	o, err := mcp.ObjectOf(responses)
	if err != nil || len(o) == 0 {
		return false
	}
	for _, m := range o {
		r, err := mcp.ObjectOf(m.Raw)
		if err != nil {
			return false
		}
		if action, ok := mcp.Text(r, "action", 32); !ok || action != "accept" {
			return false
		}
	}
	return true
}
