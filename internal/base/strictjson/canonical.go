package strictjson

import (
	"slices"
	"strings"
)

// Canonical returns the canonical form of raw, for digests: two texts have the
// same form exactly if they differ in nothing but white space, the order of
// members and the escaping of strings. Members are sorted by the bytes of
// their names in UTF-8, there is no white space, strings are written as
// AppendString does, and numbers as they came, so that 1 and 1.0 differ. It is
// not RFC 8785, which rewrites numbers and sorts by UTF-16.
//
// The error is the *Error of Validate with no limits but MaxBytes and
// MaxDepth: text that is not strict has no canonical form.
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
	name   string
	scalar []byte // exact bytes, or nil for an array or object
	object bool
	kids   []node
}

// tree reads a validated text; its recursion is at most MaxDepth deep.
type tree struct {
	b []byte
	i int
}

func (t *tree) space() byte {
	t.i = skipSpace(t.b, t.i)
	return t.b[t.i]
}

func (t *tree) string() []byte {
	start := t.i
	end, _, _ := scanString(t.b, start+1)
	t.i = end + 1
	return t.b[start:t.i]
}

func (t *tree) value() node {
	c := t.space()
	if c != '{' && c != '[' {
		start := t.i
		t.i, _ = scanScalar(t.b, start)
		return node{scalar: t.b[start:t.i]}
	}
	n := node{object: c == '{'}
	t.i++
	for t.space() != c+2 { // in ASCII each closing bracket is its opening one plus two
		if t.b[t.i] == ',' {
			t.i++
			t.space()
		}
		var name string
		if n.object {
			name = unquote(t.string())
			t.space()
			t.i++
		}
		kid := t.value()
		kid.name = name
		n.kids = append(n.kids, kid)
	}
	t.i++
	if n.object {
		slices.SortFunc(n.kids, func(a, b node) int { return strings.Compare(a.name, b.name) })
	}
	return n
}

func unquote(quoted []byte) string {
	return string(appendUnescaped(nil, quoted[1:len(quoted)-1]))
}

func (n *node) append(dst []byte) []byte {
	if n.scalar != nil {
		if n.scalar[0] == '"' {
			return AppendString(dst, unquote(n.scalar))
		}
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
			dst = AppendString(dst, n.kids[i].name)
			dst = append(dst, ':')
		}
		dst = n.kids[i].append(dst)
	}
	return append(dst, open+2)
}
