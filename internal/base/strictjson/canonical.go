package strictjson

import (
	"bytes"
	"slices"
)

// Canonical returns the canonical form of raw, for digests: two texts have the
// same form exactly if they differ in nothing but white space, the order of
// members and the escaping of strings. Members are sorted by the bytes of
// their names in UTF-8, there is no white space, strings are written as
// AppendString does, and numbers as they came, so that 1 and 1.0 differ. It is
// not RFC 8785, which rewrites numbers and sorts by UTF-16.
//
// The error is the *Error of Validate with no limits but MaxBytes and
// MaxDepth: text that is not strict has no canonical form. It takes some
// hundred bytes of memory for each member and element, so validate what a
// stranger sent with real limits first.
func Canonical(raw []byte) ([]byte, error) {
	no := MaxBytes
	if err := Validate(raw, Limits{Bytes: no, Depth: MaxDepth, Members: no}); err != nil {
		return nil, err
	}
	t := tree{b: raw}
	root := t.value()
	return root.append(make([]byte, 0, len(raw))), nil
}

// node is a value with its members sorted, so that writing it is one walk:
// moving written text about would copy each byte once per level.
type node struct {
	name   []byte // of a member: unescaped
	scalar []byte // as it is to be written; nil for an array or object
	object bool
	kids   []node
}

// tree reads a validated text; its recursion is at most MaxDepth deep.
type tree struct {
	b    []byte
	i    int
	kids []node // of all open arrays and objects, the innermost last
}

// space skips white space and returns the byte after it.
func (t *tree) space() byte {
	t.i = skipSpace(t.b, t.i)
	return t.b[t.i]
}

// string reads a string and returns its text and how it is to be written.
func (t *tree) string() (text, written []byte) {
	start := t.i
	end, escaped, _ := scanString(t.b, start+1)
	t.i = end + 1
	text = t.b[start+1 : end]
	if !escaped {
		return text, t.b[start:t.i]
	}
	text = appendUnescaped(make([]byte, 0, len(text)), text)
	return text, AppendString(nil, string(text))
}

func (t *tree) value() node {
	var n node
	c := t.space()
	switch c {
	case '"':
		_, n.scalar = t.string()
		return n
	case '{', '[':
	default:
		start := t.i
		t.i, _ = scanScalar(t.b, start)
		n.scalar = t.b[start:t.i]
		return n
	}
	n.object = c == '{'
	base := len(t.kids)
	t.i++
	for t.space() != c+2 { // in ASCII each closing bracket is its opening one plus two
		if t.b[t.i] == ',' {
			t.i++
			t.space()
		}
		var name []byte
		if n.object {
			name, _ = t.string()
			t.space()
			t.i++
		}
		kid := t.value()
		kid.name = name
		t.kids = append(t.kids, kid)
	}
	t.i++
	n.kids = slices.Clone(t.kids[base:])
	clear(t.kids[base:])
	t.kids = t.kids[:base]
	if n.object {
		slices.SortFunc(n.kids, func(a, b node) int { return bytes.Compare(a.name, b.name) })
	}
	return n
}

func (n *node) append(dst []byte) []byte {
	if n.scalar != nil {
		return append(dst, n.scalar...)
	}
	open := byte('[')
	if n.object {
		open = '{'
	}
	dst = append(dst, open)
	for i := range n.kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		if n.object {
			dst = AppendString(dst, string(n.kids[i].name))
			dst = append(dst, ':')
		}
		dst = n.kids[i].append(dst)
	}
	return append(dst, open+2)
}
