package mcp

import (
	"bytes"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Meta is what a modern request says about itself in params._meta.
type Meta struct {
	Version       Version
	ClientInfo    []byte
	Capabilities  Capabilities
	LogLevel      string
	ProgressToken []byte
	TraceParent   string
}

// Capabilities is what a client can answer. The flags are read from Raw.
type Capabilities struct {
	// Raw is the capabilities object as the client sent it.
	Raw                               []byte
	Sampling, Form, URL, Roots, Tasks bool
	SamplingTools, RootsChanged       bool
	// TaskSampling and TaskElicit: a legacy client makes a task of such a
	// request where the server asks for it; TaskCancel: and takes tasks/cancel.
	TaskSampling, TaskElicit, TaskCancel bool
}

// Allows reports whether the client declared that it answers method.
func (c Capabilities) Allows(method string, params []byte) bool {
	switch method {
	case MethodSampling:
		return c.Sampling
	case MethodRootsList:
		return c.Roots
	case MethodElicit:
		if ElicitMode(params) == "url" {
			return c.URL
		}
		return c.Form
	}
	return false
}

// Without returns what is left when nobody may be asked for a sample, an
// elicitation or roots. What is kept stays as the client wrote it.
func (c Capabilities) Without(sampling, elicitation, roots bool) Capabilities {
	sampling, elicitation, roots = sampling && (c.Sampling || c.TaskSampling), elicitation && (c.Form || c.URL || c.TaskElicit), roots && c.Roots
	if !sampling && !elicitation && !roots {
		return c
	}
	o, err := strictjson.SplitObject(c.Raw)
	if err != nil {
		return Capabilities{Raw: EmptyObject()}
	}
	var gone, made []string
	if sampling {
		gone, made = append(gone, "sampling"), append(made, "sampling")
		c.Sampling, c.SamplingTools, c.TaskSampling = false, false, false
	}
	if elicitation {
		gone, made = append(gone, "elicitation"), append(made, "elicitation")
		c.Form, c.URL, c.TaskElicit = false, false, false
	}
	if roots {
		gone = append(gone, "roots")
		c.Roots, c.RootsChanged = false, false
	}
	o = o.Without(gone...)
	if tasks, ok := o.Get("tasks"); ok && len(made) > 0 {
		o = o.With("tasks", withoutPath(tasks, "requests", made))
	}
	if c.Raw = o.Append(nil); len(o) == 0 {
		c.Raw = EmptyObject()
	}
	return c
}

// withoutPath takes members out of an object within an object; what is none
// stays.
func withoutPath(raw []byte, within string, gone []string) []byte {
	o, err := strictjson.SplitObject(raw)
	inner, ok := o.Get(within)
	if err != nil || !ok || strictjson.TypeOf(inner) != strictjson.TypeObject {
		return raw
	}
	i, err := strictjson.SplitObject(inner)
	if err != nil {
		return raw
	}
	if i = i.Without(gone...); len(i) == 0 {
		return o.With(within, EmptyObject()).Append(nil)
	}
	return o.With(within, i.Append(nil)).Append(nil)
}

// ElicitMode returns "url" or "form" for the params of elicitation/create.
func ElicitMode(params []byte) string {
	o, err := strictjson.SplitObject(params)
	if err != nil {
		return "form"
	}
	if raw, ok := o.Get("mode"); ok && string(raw) == `"url"` {
		return "url"
	}
	return "form"
}

// Key returns a short text that is equal for equal abilities; sessions toward
// legacy servers are kept per ability because a handshake declares them once.
func (c Capabilities) Key() string {
	b := [6]byte{'-', '-', '-', '-', '-', '-'}
	for i, f := range []bool{c.Sampling, c.SamplingTools, c.Form, c.URL, c.Roots, c.Tasks} {
		if f {
			b[i] = "stfurk"[i]
		}
	}
	return string(b[:])
}

// ParseCapabilities reads a client's capabilities object.
func ParseCapabilities(raw []byte) (Capabilities, error) {
	c := Capabilities{Raw: raw}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return c, malformed("capabilities must be an object")
	}
	for _, m := range o {
		obj := strictjson.TypeOf(m.Raw) == strictjson.TypeObject
		switch m.Name {
		case "sampling", "elicitation", "roots", "tasks", "extensions", "experimental":
			if !obj {
				return c, malformed("capabilities." + m.Name + " must be an object")
			}
		}
		var sub strictjson.Object
		if obj {
			if sub, err = strictjson.SplitObject(m.Raw); err != nil {
				return c, err
			}
		}
		switch m.Name {
		case "sampling":
			c.Sampling = true
			_, c.SamplingTools = sub.Get("tools")
		case "elicitation":
			_, c.URL = sub.Get("url")
			_, c.Form = sub.Get("form")
			// 2025-11-25: an empty object means form mode.
			c.Form = c.Form || !c.URL
		case "roots":
			c.Roots = true
			lc, _ := sub.Get("listChanged")
			c.RootsChanged = string(lc) == "true"
		case "tasks":
			c.Tasks = true
			_, c.TaskCancel = sub.Get("cancel")
			c.TaskSampling = hasPath(sub, "requests", "sampling", "createMessage")
			c.TaskElicit = hasPath(sub, "requests", "elicitation", "create")
		case "extensions":
			if _, ok := sub.Get(ExtensionTasks); ok {
				c.Tasks = true
			}
		}
	}
	return c, nil
}

// hasPath reports whether objects within each other lead to a member.
func hasPath(o strictjson.Object, names ...string) bool {
	for i, name := range names {
		raw, ok := o.Get(name)
		if !ok || i == len(names)-1 {
			return ok
		}
		if strictjson.TypeOf(raw) != strictjson.TypeObject {
			return false
		}
		var err error
		if o, err = strictjson.SplitObject(raw); err != nil {
			return false
		}
	}
	return false
}

// ReadMeta reads the _meta of a modern request's params and checks that the
// required fields are there and have their types ("Per-request protocol
// fields"; a missing one is -32602).
func ReadMeta(params strictjson.Object) (Meta, error) {
	var m Meta
	raw, ok := params.Get("_meta")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return m, invalid("params._meta is required on every request of this protocol version")
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return m, err
	}
	if name, bad := strictjson.UnexpectedCase(o, MetaProtocolVersion, MetaClientInfo, MetaClientCapabilities, MetaLogLevel, MetaProgressToken); bad {
		_ = name
		return m, invalid("params._meta has a member that differs from a reserved one only in case")
	}
	var hasVersion, hasCaps bool
	for _, x := range o {
		switch x.Name {
		case MetaProtocolVersion:
			s, err := str(x.Raw, 32)
			if err != nil {
				return m, invalid("the protocol version in _meta must be a short string")
			}
			m.Version, hasVersion = Version(s), true
		case MetaClientInfo:
			if strictjson.TypeOf(x.Raw) != strictjson.TypeObject {
				return m, invalid("the client info in _meta must be an object")
			}
			m.ClientInfo = x.Raw
		case MetaClientCapabilities:
			if m.Capabilities, err = ParseCapabilities(x.Raw); err != nil {
				return m, invalid("the client capabilities in _meta are malformed: " + err.Error())
			}
			hasCaps = true
		case MetaLogLevel:
			s, err := str(x.Raw, 32)
			if err != nil || LogRank(s) < 0 {
				return m, invalid("the log level in _meta is not one of the specification's")
			}
			m.LogLevel = s
		case MetaProgressToken:
			if !validID(x.Raw) {
				return m, invalid("the progress token must be a string or an integer")
			}
			m.ProgressToken = x.Raw
		case "traceparent":
			m.TraceParent, _ = str(x.Raw, 64)
		}
	}
	if !hasVersion {
		return m, invalid("params._meta lacks " + MetaProtocolVersion)
	}
	if !hasCaps {
		return m, invalid("params._meta lacks " + MetaClientCapabilities)
	}
	return m, nil
}

// LegacyMeta reads the progress token of a legacy request's params.
func LegacyMeta(params strictjson.Object) (Meta, error) {
	var m Meta
	raw, ok := params.Get("_meta")
	if !ok {
		return m, nil
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return m, invalid("params._meta must be an object")
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return m, err
	}
	if _, bad := strictjson.UnexpectedCase(o, MetaProgressToken, MetaRelatedTask); bad {
		return m, invalid("params._meta has a member that differs from a reserved one only in case")
	}
	if tok, ok := o.Get(MetaProgressToken); ok {
		if !validID(tok) {
			return m, invalid("the progress token must be a string or an integer")
		}
		m.ProgressToken = tok
	}
	if tp, ok := o.Get("traceparent"); ok {
		m.TraceParent, _ = str(tp, 64)
	}
	return m, nil
}

func invalid(reason string) error {
	return &DecodeError{Code: CodeInvalidParams, Reason: reason, cause: errMalformed}
}

func str(raw []byte, limit int) (string, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeString || len(raw) > limit*6+2 {
		return "", errMalformed
	}
	s, err := strictjson.String(raw)
	if err != nil || len(s) > limit {
		return "", errMalformed
	}
	return s, nil
}

// Text reads a JSON string member of at most limit bytes.
func Text(o strictjson.Object, name string, limit int) (string, bool) {
	raw, ok := o.Get(name)
	if !ok {
		return "", false
	}
	s, err := str(raw, limit)
	return s, err == nil
}

// EmptyObject returns a fresh "{}".
func EmptyObject() []byte { return []byte("{}") }

// ObjectOf splits raw params; nil and absent are the empty object.
func ObjectOf(raw []byte) (strictjson.Object, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	return strictjson.SplitObject(raw)
}

// WithMeta returns params whose _meta has the given members set and the named
// ones removed; an empty _meta is dropped.
func WithMeta(params strictjson.Object, set strictjson.Object, drop ...string) strictjson.Object {
	var meta strictjson.Object
	if raw, ok := params.Get("_meta"); ok {
		meta, _ = strictjson.SplitObject(raw)
	}
	meta = meta.Without(drop...)
	for _, m := range set {
		meta = meta.With(m.Name, m.Raw)
	}
	if len(meta) == 0 {
		return params.Without("_meta")
	}
	return params.With("_meta", meta.Append(nil))
}
