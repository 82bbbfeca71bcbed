package gateway

import (
	"math/big"
	"slices"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
)

// fits checks an answer against what was asked; the empty string means that it
// does. Sampling and roots answers are checked for their shape, elicitation
// answers also against the requested schema, which the specification keeps
// flat ("Requested Schema").
func (q question) fits(raw []byte) string {
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return "an answer must be an object"
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return "an answer must be an object"
	}
	if mixedCase(o, "action", "content", "role", "model", "roots") {
		return "an answer has a member that differs from another one only in case"
	}
	if raw, ok := o.Get("task"); ok && q.Task {
		task, err := mcp.ObjectOf(raw)
		if err != nil || strictjson.TypeOf(raw) != strictjson.TypeObject {
			return "task must be an object"
		}
		return fitsTask(task, "")
	}
	switch q.Method {
	case mcp.MethodTasksGet, mcp.MethodTasksCancel:
		return fitsTask(o, q.TaskID)
	case mcp.MethodTasksResult:
		return q.Of.fits(raw)
	case mcp.MethodRootsList:
		roots, _ := o.Get("roots")
		if strictjson.TypeOf(roots) != strictjson.TypeArray {
			return "roots must be an array"
		}
	case mcp.MethodSampling:
		if role, _ := mcp.Text(o, "role", 32); role != "assistant" && role != "user" {
			return "role must be user or assistant"
		}
		content, _ := o.Get("content")
		if t := strictjson.TypeOf(content); t != strictjson.TypeObject && t != strictjson.TypeArray {
			return "content must be an object or an array"
		}
		if _, ok := mcp.Text(o, "model", 1024); !ok {
			return "model must be a string"
		}
	case mcp.MethodElicit:
		return q.elicited(o)
	default:
		return "nothing of this kind was asked"
	}
	return ""
}

// trim drops from an elicitation answer what was not asked for: nothing that a
// server did not ask reaches it. Other answers stay as they are.
func (q question) trim(raw []byte) []byte {
	if q.Method == mcp.MethodTasksResult {
		return q.Of.trim(raw)
	}
	if q.Method != mcp.MethodElicit || q.Schema == nil {
		return raw
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return raw
	}
	content, _ := o.Get("content")
	have, err1 := mcp.ObjectOf(content)
	schema, err2 := mcp.ObjectOf(q.Schema)
	if err1 != nil || err2 != nil {
		return raw
	}
	propsRaw, _ := schema.Get("properties")
	props, _ := mcp.ObjectOf(propsRaw)
	kept := have[:0:0]
	for _, m := range have {
		if _, asked := props.Get(m.Name); asked {
			kept = append(kept, m)
		}
	}
	if len(kept) == len(have) {
		return raw
	}
	return o.With("content", kept.Append(nil)).Append(nil)
}

func (q question) elicited(o strictjson.Object) string {
	action, _ := mcp.Text(o, "action", 16)
	switch action {
	case "accept":
	case "decline", "cancel":
		return ""
	default:
		return "action must be accept, decline or cancel"
	}
	if q.Mode == "url" {
		return ""
	}
	raw, ok := o.Get("content")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return "content must be an object when the action is accept"
	}
	content, err := strictjson.SplitObject(raw)
	if err != nil {
		return "content must be an object"
	}
	schema, err := mcp.ObjectOf(q.Schema)
	if err != nil || schema == nil {
		return ""
	}
	return fitsFlat(schema, content)
}

func fitsFlat(schema, content strictjson.Object) string {
	propsRaw, _ := schema.Get("properties")
	props, _ := mcp.ObjectOf(propsRaw)
	if reqRaw, ok := schema.Get("required"); ok && strictjson.TypeOf(reqRaw) == strictjson.TypeArray {
		req, _ := strictjson.SplitArray(reqRaw)
		for _, r := range req {
			name, err := strictjson.String(r)
			if err != nil {
				continue
			}
			if _, has := content.Get(name); !has {
				return "content lacks " + printable(name)
			}
		}
	}
	for _, m := range content {
		p, asked := props.Get(m.Name)
		if !asked {
			continue // dropped by trim
		}
		po, err := mcp.ObjectOf(p)
		if err != nil {
			continue
		}
		if !fitsPrimitive(po, m.Raw) {
			return "content." + printable(m.Name) + " does not fit what was asked"
		}
	}
	return ""
}

func fitsPrimitive(p strictjson.Object, v []byte) bool {
	typ, _ := mcp.Text(p, "type", 16)
	switch typ {
	case "string":
		if strictjson.TypeOf(v) != strictjson.TypeString {
			return false
		}
		s, err := strictjson.String(v)
		return err == nil && inEnum(p, s) && within(p, "minLength", "maxLength", new(big.Rat).SetInt64(int64(utf8.RuneCountInString(s))))
	case "boolean":
		return strictjson.TypeOf(v) == strictjson.TypeBool
	case "integer", "number":
		if strictjson.TypeOf(v) != strictjson.TypeNumber || len(v) > 64 {
			return false
		}
		n, ok := number(v)
		return ok && (typ == "number" || n.IsInt()) && within(p, "minimum", "maximum", n)
	case "array":
		if strictjson.TypeOf(v) != strictjson.TypeArray {
			return false
		}
		elems, err := strictjson.SplitArray(v)
		if err != nil || !within(p, "minItems", "maxItems", new(big.Rat).SetInt64(int64(len(elems)))) {
			return false
		}
		itemsRaw, _ := p.Get("items")
		items, _ := mcp.ObjectOf(itemsRaw)
		for _, e := range elems {
			s, err := strictjson.String(e)
			if strictjson.TypeOf(e) != strictjson.TypeString || err != nil || !inEnum(items, s) {
				return false
			}
		}
		return true
	}
	return true
}

// number reads a JSON number exactly; exponents beyond any honest answer are
// refused so that no power of ten is ever written out.
func number(v []byte) (*big.Rat, bool) {
	if i := slices.IndexFunc(v, func(b byte) bool { return b == 'e' || b == 'E' }); i >= 0 && len(v)-i > 5 {
		return nil, false
	}
	return new(big.Rat).SetString(string(v))
}

func within(p strictjson.Object, low, high string, n *big.Rat) bool {
	if raw, ok := p.Get(low); ok {
		if b, ok := number(raw); ok && n.Cmp(b) < 0 {
			return false
		}
	}
	if raw, ok := p.Get(high); ok {
		if b, ok := number(raw); ok && n.Cmp(b) > 0 {
			return false
		}
	}
	return true
}

// inEnum checks enum, oneOf/anyOf of const, and accepts where there is none.
func inEnum(p strictjson.Object, s string) bool {
	if raw, ok := p.Get("enum"); ok && strictjson.TypeOf(raw) == strictjson.TypeArray {
		elems, _ := strictjson.SplitArray(raw)
		return slices.ContainsFunc(elems, func(e []byte) bool { t, err := strictjson.String(e); return err == nil && t == s })
	}
	for _, k := range []string{"oneOf", "anyOf"} {
		raw, ok := p.Get(k)
		if !ok || strictjson.TypeOf(raw) != strictjson.TypeArray {
			continue
		}
		elems, _ := strictjson.SplitArray(raw)
		return slices.ContainsFunc(elems, func(e []byte) bool {
			o, err := mcp.ObjectOf(e)
			if err != nil {
				return false
			}
			t, ok := mcp.Text(o, "const", maxName)
			return ok && t == s
		})
	}
	return true
}
