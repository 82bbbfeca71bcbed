package cedar

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	schema "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

// shape is what is known of a JSON value as policies see it. The zero shape is
// anything.
type shape struct {
	kind    kind
	members map[types.String]memberShape // of a record
	open    bool                         // a record may have other members
}

type memberShape struct {
	shape
	required bool
}

type kind uint8

const (
	anything kind = iota
	aString
	aLong
	aBool
	aRecord
)

// maxShape bounds how deep a schema is followed.
const maxShape = 24

// argumentShape is the shape of the arguments that a JSON Schema admits. closes
// says that the gateway refuses properties which an object that lists some does
// not list. indices are the places in arrays that policies ask for.
//
// It follows what tools declare: types, properties, required, local references.
// What it does not follow is anything. A number is a Long, since that is all
// that a policy can compare; one with a fraction fails there and is denied.
func argumentShape(declared json.RawMessage, closes bool, indices []types.String) shape {
	var root any
	if json.Unmarshal(declared, &root) != nil {
		return shape{kind: aRecord, open: true}
	}
	r := reader{root: root, closes: closes, indices: indices}
	o, ok := root.(map[string]any)
	if !ok {
		return shape{kind: aRecord, open: true}
	}
	if _, typed := o["type"]; !typed {
		o["type"] = "object" // arguments are always an object
	}
	s := r.read(o, 0)
	if s.kind != aRecord {
		return shape{kind: aRecord, open: true}
	}
	return s
}

type reader struct {
	root    any
	closes  bool
	indices []types.String
}

// isRemark reports a member of a schema that does not say what a value is.
func isRemark(name string) bool {
	return slices.Contains([]string{"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$id", "$schema", "$defs", "definitions"}, name)
}

func (r reader) read(node any, depth int) shape {
	o, ok := node.(map[string]any)
	if !ok || depth > maxShape {
		return shape{}
	}
	if ref, is := o["$ref"].(string); is {
		for name := range o {
			if name != "$ref" && !isRemark(name) {
				return shape{}
			}
		}
		return r.read(r.at(ref), depth+1)
	}
	for _, unclear := range []string{"allOf", "anyOf", "oneOf", "if", "$dynamicRef", "$recursiveRef", "dependentSchemas", "unevaluatedProperties"} {
		if _, has := o[unclear]; has {
			return shape{}
		}
	}
	if list, is := o["enum"].([]any); is {
		return sameKind(list)
	}
	if v, is := o["const"]; is {
		return sameKind([]any{v})
	}
	t, _ := o["type"].(string)
	if list, is := o["type"].([]any); is && len(list) == 1 {
		t, _ = list[0].(string)
	}
	switch t {
	case "string":
		return shape{kind: aString}
	case "integer", "number":
		return shape{kind: aLong}
	case "boolean":
		return shape{kind: aBool}
	case "null":
		return shape{kind: aRecord, members: map[types.String]memberShape{tagNull: {shape{kind: aBool}, true}}}
	case "object":
		return r.object(o, depth)
	case "array":
		return r.array(o, depth)
	}
	return shape{}
}

func (r reader) object(o map[string]any, depth int) shape {
	s := shape{kind: aRecord, members: map[types.String]memberShape{}}
	properties, lists := o["properties"].(map[string]any)
	required, _ := o["required"].([]any)
	for name, p := range properties {
		s.members[escapeMember(name)] = memberShape{r.read(p, depth+1), slices.Contains(required, any(name))}
	}
	_, patterns := o["patternProperties"]
	more, says := o["additionalProperties"]
	s.open = patterns || says && more != false || !says && !(lists && r.closes)
	return s
}

func (r reader) array(o map[string]any, depth int) shape {
	s := shape{kind: aRecord, members: map[types.String]memberShape{tagLength: {shape{kind: aLong}, true}}}
	var each shape
	if _, tuple := o["prefixItems"]; !tuple {
		each = r.read(o["items"], depth+1)
	}
	for _, i := range r.indices {
		s.members[i] = memberShape{shape: each}
	}
	return s
}

// at follows a local reference.
func (r reader) at(ref string) any {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	node := r.root
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if part == "" {
			continue
		}
		o, is := node.(map[string]any)
		if !is {
			return nil
		}
		node = o[strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")]
	}
	return node
}

func sameKind(values []any) shape {
	var s shape
	for i, v := range values {
		k := anything
		switch v.(type) {
		case string:
			k = aString
		case float64:
			k = aLong
		case bool:
			k = aBool
		}
		if k == anything || i > 0 && k != s.kind {
			return shape{}
		}
		s.kind = k
	}
	return s
}

func escapeMember(name string) types.String {
	if strings.HasPrefix(name, reserved) {
		name = reserved + name
	}
	return types.String(name)
}

// certain reports that every value of the shape is known to its end.
func (s shape) certain() bool {
	if s.kind == anything || s.open {
		return false
	}
	for _, m := range s.members {
		if !m.certain() {
			return false
		}
	}
	return true
}

// follow says what a path of members leads to: whether that is known at all.
// A member that a closed record does not have is known not to be there.
func (s shape) follow(path []types.String) (end shape, known bool) {
	for _, name := range path {
		if s.kind == anything {
			return shape{}, false
		}
		m, has := s.members[name]
		switch {
		case s.kind != aRecord, !has && !s.open:
			return shape{kind: aBool}, true // the validator finds that it is not there
		case !has:
			return shape{}, false
		}
		s = m.shape
	}
	return s, s.kind != anything
}

// cedarType is the shape as a schema's type. What is not certain is left out:
// no expression that needs it is ever shown to the validator.
func (s shape) cedarType() schema.IsType {
	switch s.kind {
	case aString:
		return schema.String()
	case aLong:
		return schema.Long()
	case aBool:
		return schema.Bool()
	}
	r := schema.RecordType{}
	for name, m := range s.members {
		if m.kind != anything {
			r[name] = schema.Attribute{Type: m.cedarType(), Optional: !m.required}
		}
	}
	return r
}

// isIndex reports a place in an array as policies write it.
func isIndex(s types.String) bool {
	n, err := strconv.Atoi(string(s))
	return err == nil && n >= 0 && strconv.Itoa(n) == string(s)
}
