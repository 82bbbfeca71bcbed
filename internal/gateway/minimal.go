package gateway

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/minimize"
)

// minimal is one walk over an answer in the shapes of MCP: the first takes
// fields out, the second (sweep) what repeats them.
type minimal struct {
	w     *minimize.Work
	sweep bool
}

// reading is what a walk makes of one member: nothing when keep is false.
type reading func(m *minimal, name string, raw []byte) (out []byte, keep bool, err error)

// members walks over the members of an object; anything else is fields.
func (m *minimal) members(raw []byte, of reading) ([]byte, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return m.fields(raw)
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, err
	}
	same, kept := true, make(strictjson.Object, 0, len(o))
	for _, member := range o {
		out, keep, err := of(m, member.Name, member.Raw)
		if err != nil {
			return nil, err
		}
		same = same && keep && bytes.Equal(out, member.Raw)
		if keep {
			member.Raw = out
			kept = append(kept, member)
		}
	}
	if same {
		return raw, nil
	}
	return kept.Append(nil), nil
}

// each walks over the elements of an array; anything else is one element.
func (m *minimal) each(raw []byte, of func([]byte) ([]byte, error)) ([]byte, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return of(raw)
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, err
	}
	same := true
	for i, e := range elems {
		if elems[i], err = of(e); err != nil {
			return nil, err
		}
		same = same && bytes.Equal(e, elems[i])
	}
	if same {
		return raw, nil
	}
	return appendArray(nil, elems), nil
}

// fields is JSON that rules name fields of.
func (m *minimal) fields(raw []byte) ([]byte, error) {
	if m.sweep {
		return m.w.Sweep(raw)
	}
	return m.w.Fields(raw)
}

// member is a member of a protocol object that is not the protocol's: a field
// under its own name.
func (m *minimal) member(name string, raw []byte) (out []byte, keep bool, err error) {
	whole, err := m.fields(strictjson.Object{{Name: name, Raw: raw}}.Append(nil))
	if err != nil {
		return nil, false, err
	}
	o, err := strictjson.SplitObject(whole)
	if err != nil {
		return nil, false, err
	}
	out, keep = o.Get(name)
	return out, keep, nil
}

// swept is a member of the protocol's own in which nothing is named.
func (m *minimal) swept(raw []byte) ([]byte, bool, error) {
	if !m.sweep {
		return raw, true, nil
	}
	out, err := m.w.Sweep(raw)
	return out, true, err
}

// words is a text: fields if it is JSON.
func (m *minimal) words(s string) (string, error) {
	switch fields, broken := m.w.HasFields(s); {
	case broken:
		return minimize.Withheld, nil
	case fields:
		out, err := m.fields([]byte(s))
		return string(out), err
	case m.sweep && s != minimize.Withheld:
		out, _ := m.w.Text(s)
		return out, nil
	}
	return s, nil
}

// text is a member that is a text.
func (m *minimal) text(raw []byte) ([]byte, bool, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		out, err := m.fields(raw)
		return out, true, err
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return nil, false, err
	}
	out, err := m.words(s)
	if err != nil || out == s {
		return raw, true, err
	}
	return strictjson.AppendString(nil, out), true, nil
}

// ofResult reads the result of any method, and a task with its result.
func (m *minimal) ofResult(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "content":
		out, err = m.each(raw, m.block)
	case "contents":
		out, err = m.each(raw, func(e []byte) ([]byte, error) { return m.members(e, (*minimal).ofContents) })
	case "messages":
		out, err = m.each(raw, func(e []byte) ([]byte, error) { return m.members(e, (*minimal).ofPrompt) })
	case "structuredContent":
		out, err = m.fields(raw)
	case "_meta":
		out, err = m.members(raw, (*minimal).ofMeta)
	case "result", "task":
		out, err = m.members(raw, (*minimal).ofResult)
	case "tasks":
		out, err = m.each(raw, func(e []byte) ([]byte, error) { return m.members(e, (*minimal).ofResult) })
	case "error":
		out, err = m.members(raw, (*minimal).ofError)
	case "statusMessage", "description":
		return m.text(raw)
	case "resultType", "isError", "taskId", "status", "createdAt", "lastUpdatedAt", "ttl", "ttlMs", "pollInterval", "pollIntervalMs",
		"cacheScope", "nextCursor", "requestState", "inputRequests":
		return raw, true, nil
	default:
		return m.member(name, raw)
	}
	return out, true, err
}

// ofMeta leaves what the protocol itself says, such as the task that a message
// belongs to.
func (m *minimal) ofMeta(name string, raw []byte) (out []byte, keep bool, err error) {
	if strings.HasPrefix(name, "io.modelcontextprotocol/") || name == "progressToken" {
		return raw, true, nil
	}
	return m.member(name, raw)
}

func (m *minimal) ofPrompt(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "role":
		return raw, true, nil
	case "content":
		out, err = m.each(raw, m.block)
		return out, true, err
	}
	return m.member(name, raw)
}

// ofError reads an error of JSON-RPC.
func (m *minimal) ofError(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "code":
		return raw, true, nil
	case "message", "data":
		return m.text(raw)
	}
	return m.member(name, raw)
}

// ofNotice reads progress and log messages.
func (m *minimal) ofNotice(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "message", "data":
		return m.text(raw)
	case "progressToken", "progress", "total", "level", "logger":
		return raw, true, nil
	case "_meta":
		out, err = m.members(raw, (*minimal).ofMeta)
		return out, true, err
	}
	return m.member(name, raw)
}

// ofSampling reads what a server asks the client's model.
func (m *minimal) ofSampling(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "messages":
		out, err = m.each(raw, func(e []byte) ([]byte, error) { return m.members(e, (*minimal).ofPrompt) })
		return out, true, err
	case "systemPrompt":
		return m.text(raw)
	case "metadata":
		out, err = m.fields(raw)
		return out, true, err
	case "_meta":
		out, err = m.members(raw, (*minimal).ofMeta)
		return out, true, err
	}
	return m.swept(raw)
}

// block is one block of content.
func (m *minimal) block(raw []byte) ([]byte, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return m.fields(raw)
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, err
	}
	kind, _ := mcp.Text(o, "type", 64)
	switch kind {
	case "text", "resource", "resource_link", "tool_use", "tool_result":
		return m.members(raw, (*minimal).ofBlock)
	}
	if m.sweep && !m.w.Opaque() {
		return strictjson.Object{{Name: "type", Raw: []byte(`"text"`)}, {Name: "text", Raw: strictjson.AppendString(nil, minimize.Withheld)}}.Append(nil), nil
	}
	return raw, nil
}

func (m *minimal) ofBlock(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "type":
		return raw, true, nil
	case "text":
		return m.text(raw)
	case "resource":
		out, err = m.members(raw, (*minimal).ofContents)
	case "input", "structuredContent":
		out, err = m.fields(raw)
	case "_meta":
		out, err = m.members(raw, (*minimal).ofMeta)
	case "content":
		out, err = m.each(raw, m.block)
	default:
		return m.swept(raw)
	}
	return out, true, err
}

// ofContents reads the contents of a resource.
func (m *minimal) ofContents(name string, raw []byte) (out []byte, keep bool, err error) {
	switch name {
	case "text":
		return m.text(raw)
	case "blob":
		out, err = m.blob(raw)
		return out, true, err
	case "_meta":
		out, err = m.members(raw, (*minimal).ofMeta)
		return out, true, err
	}
	return m.swept(raw)
}

// blob is JSON or another text in base64, or nothing that could be read.
func (m *minimal) blob(raw []byte) ([]byte, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return m.fields(raw)
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	}
	text := string(b)
	switch {
	case err == nil && utf8.ValidString(text) && !strings.ContainsRune(text, 0):
		if text, err = m.words(text); err != nil || text == string(b) {
			return raw, err
		}
	case m.sweep && !m.w.Opaque():
		text = minimize.Withheld
	default:
		return raw, nil
	}
	return strictjson.AppendString(nil, base64.StdEncoding.EncodeToString([]byte(text))), nil
}
