package strictjson

import (
	"bytes"
	"slices"
	"strings"
)

// Object is the members of one JSON object in source order.
type Object []Member

// Member is one member of an object. Raw is a whole JSON value; in a Member
// from SplitObject it is the value's exact source bytes, without surrounding
// white space, and aliases the input.
type Member struct {
	Name string
	Raw  []byte

	quoted []byte // the name as the source wrote it, if that had escapes
}

// Equal reports whether both members have the same name and the same bytes as
// value. How the name was escaped does not matter.
func (m Member) Equal(n Member) bool {
	return m.Name == n.Name && bytes.Equal(m.Raw, n.Raw)
}

// SplitObject takes a validated object apart, one level deep. An empty object
// gives an empty Object that is not nil. The error is an *Error, of KindType
// if valid is another type of value.
func SplitObject(valid []byte) (Object, error) {
	i, err := begin(valid, '{')
	if err != nil {
		return nil, err
	}
	var buf [16]Member
	members := buf[:0]
	total := 0
	for {
		i = skipSpace(valid, i)
		if len(members) == 0 && i < len(valid) && valid[i] == '}' {
			break
		}
		if i == len(valid) || valid[i] != '"' {
			return nil, fault(valid, i)
		}
		end, kind := skipString(valid, i+1)
		if kind != 0 {
			return nil, &Error{Offset: end, Kind: kind}
		}
		quoted := valid[i : end+1 : end+1]
		i = skipSpace(valid, end+1)
		if i == len(valid) || valid[i] != ':' {
			return nil, fault(valid, i)
		}
		i = skipSpace(valid, i+1)
		if end, kind = skipValue(valid, i); kind != 0 {
			return nil, &Error{Offset: end, Kind: kind}
		}
		members = append(members, Member{Raw: valid[i:end:end], quoted: quoted})
		total += len(quoted) - 2
		i = skipSpace(valid, end)
		if i < len(valid) && valid[i] == ',' {
			i++
			continue
		}
		if i == len(valid) || valid[i] != '}' {
			return nil, fault(valid, i)
		}
		break
	}
	if i = skipSpace(valid, i+1); i != len(valid) {
		return nil, &Error{Offset: i, Kind: KindTrailing}
	}
	o := make(Object, len(members))
	copy(o, members)
	o.name(total)
	return o, nil
}

// name sets the names of o from their quoted form, all in one allocation of
// at most total bytes.
func (o Object) name(total int) {
	var all strings.Builder
	all.Grow(total)
	for i := range o {
		m := &o[i]
		text := m.quoted[1 : len(m.quoted)-1]
		from := all.Len()
		if bytes.IndexByte(text, '\\') >= 0 {
			all.Write(appendUnescaped(nil, text))
		} else {
			all.Write(text)
			m.quoted = nil
		}
		m.Name = all.String()[from:]
	}
}

// SplitArray takes a validated array apart, one level deep. The elements are
// their exact source bytes without surrounding white space and alias the
// input. An empty array gives an empty slice that is not nil. The error is an
// *Error, of KindType if valid is another type of value.
func SplitArray(valid []byte) ([][]byte, error) {
	i, err := begin(valid, '[')
	if err != nil {
		return nil, err
	}
	elements := [][]byte{}
	for {
		i = skipSpace(valid, i)
		if len(elements) == 0 && i < len(valid) && valid[i] == ']' {
			break
		}
		end, kind := skipValue(valid, i)
		if kind != 0 {
			return nil, &Error{Offset: end, Kind: kind}
		}
		elements = append(elements, valid[i:end:end])
		i = skipSpace(valid, end)
		if i < len(valid) && valid[i] == ',' {
			i++
			continue
		}
		if i == len(valid) || valid[i] != ']' {
			return nil, fault(valid, i)
		}
		break
	}
	if i = skipSpace(valid, i+1); i != len(valid) {
		return nil, &Error{Offset: i, Kind: KindTrailing}
	}
	return elements, nil
}

// begin returns the index after the opening bracket.
func begin(b []byte, bracket byte) (int, error) {
	i := skipSpace(b, 0)
	if i == len(b) {
		return 0, &Error{Offset: i, Kind: KindTruncated}
	}
	if b[i] != bracket {
		return 0, &Error{Offset: i, Kind: KindType}
	}
	return i + 1, nil
}

func fault(b []byte, i int) *Error {
	if i == len(b) {
		return &Error{Offset: i, Kind: KindTruncated}
	}
	return &Error{Offset: i, Kind: KindSyntax}
}

// skipValue returns the index after the validated value that begins at i. Of
// arrays and objects it only counts brackets outside strings.
func skipValue(b []byte, i int) (end int, kind Kind) {
	if i == len(b) {
		return i, KindTruncated
	}
	if b[i] == '"' {
		if end, kind = skipString(b, i+1); kind != 0 {
			return end, kind
		}
		return end + 1, 0
	}
	if b[i] != '{' && b[i] != '[' {
		return scanScalar(b, i)
	}
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i, kind = skipString(b, i+1); kind != 0 {
				return i, kind
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, 0
			}
		}
		i++
	}
	return i, KindTruncated
}

// skipString returns the index of the quote that ends the validated string
// whose text begins at i. It looks at quotes and the backslashes before them
// only; what stands between was judged by Validate.
func skipString(b []byte, i int) (end int, kind Kind) {
	for from := i; ; {
		j := bytes.IndexByte(b[from:], '"')
		if j < 0 {
			return len(b), KindTruncated
		}
		j += from
		escapes := 0
		for k := j - 1; k >= i && b[k] == '\\'; k-- {
			escapes++
		}
		if escapes%2 == 0 {
			return j, 0
		}
		i, from = j+1, j+1
	}
}

// Get returns the value of the member with this name, exactly as it is
// written, and whether there is one.
func (o Object) Get(name string) ([]byte, bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Raw, true
		}
	}
	return nil, false
}

// With returns a copy of o in which the member has the value raw, which must
// be one valid JSON value: in the same place if there was one, else at the
// end. raw is not copied.
func (o Object) With(name string, raw []byte) Object {
	c := make(Object, len(o), len(o)+1)
	copy(c, o)
	for i := range c {
		if c[i].Name == name {
			c[i].Raw = raw
			return c
		}
	}
	return append(c, Member{Name: name, Raw: raw})
}

// Without returns a copy of o that lacks the members with these names.
func (o Object) Without(names ...string) Object {
	c := make(Object, 0, len(o))
	for _, m := range o {
		if !slices.Contains(names, m.Name) {
			c = append(c, m)
		}
	}
	return c
}

// Append appends o as JSON in the order of its members. It writes no white
// space of its own and each value as it is: Compact also removes the white
// space inside values. A name is written as the source did unless Name was
// changed.
func (o Object) Append(dst []byte) []byte {
	size := 2
	for i := range o {
		size += len(o[i].Name) + len(o[i].Raw) + 6
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, '{')
	for i := range o {
		m := &o[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		if m.quoted != nil && string(appendUnescaped(nil, m.quoted[1:len(m.quoted)-1])) == m.Name {
			dst = append(dst, m.quoted...)
		} else {
			dst = AppendString(dst, m.Name)
		}
		dst = append(dst, ':')
		dst = append(dst, m.Raw...)
	}
	return append(dst, '}')
}
