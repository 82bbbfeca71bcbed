package redact

import (
	"bytes"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Kind says what a text is. The zero Kind is none.
type Kind uint8

// The kinds of texts.
const (
	Value  Kind = iota + 1 // a string
	Name                   // the name of a member
	Number                 // a number, as it was written
)

// Text is one text of a document.
type Text struct {
	Kind Kind
	// From and To bound its bytes in the document, quotes included.
	From, To int
	// Text is what a reader gets. It may be part of the document: nobody may
	// write to it, or keep it beyond the call.
	Text []byte
	// Of is the name of the member whose value this is, else nil.
	Of []byte
	// Depth is the number of objects and arrays around it.
	Depth int
}

// Each gives each string, name and number of a valid document to f, once and in
// order, with its text unescaped, until f returns false. Of a document that
// strictjson.Validate would not accept it gives what it can read, within its
// bounds, and never fails.
func Each(doc []byte, f func(Text) bool) {
	var name []byte
	depth := 0
	for i := 0; i < len(doc); {
		switch c := doc[i]; {
		case c == '"':
			end, escaped := closing(doc, i+1)
			t := Text{Kind: Value, From: i, To: min(end+1, len(doc)), Text: doc[i+1 : min(end, len(doc))], Of: name, Depth: depth}
			if escaped {
				s, err := strictjson.String(doc[t.From:t.To])
				if err != nil {
					s = string(t.Text)
				}
				t.Text = []byte(s)
			}
			i = t.To
			for i < len(doc) && space(doc[i]) {
				i++
			}
			name = nil
			if i < len(doc) && doc[i] == ':' {
				t.Kind, t.Of, name = Name, nil, t.Text
				i++
			}
			if !f(t) {
				return
			}
		case c == '-' || c >= '0' && c <= '9':
			j := i + 1
			for j < len(doc) && numeral(doc[j]) {
				j++
			}
			if !f(Text{Kind: Number, From: i, To: j, Text: doc[i:j], Of: name, Depth: depth}) {
				return
			}
			i, name = j, nil
		case c == '{' || c == '[':
			depth++
			i, name = i+1, nil
		case c == '}' || c == ']':
			depth--
			i++
		case space(c):
			i++
		default:
			if c != ':' {
				name = nil
			}
			i++
		}
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func numeral(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

// closing returns where the quote stands that ends the string, and whether
// there are escapes before it.
func closing(doc []byte, i int) (end int, escaped bool) {
	for q := -1; ; {
		// The quote is looked for once, not once for each escape before it.
		if q < i {
			n := bytes.IndexByte(doc[i:], '"')
			if n < 0 {
				return len(doc), escaped
			}
			q = i + n
		}
		b := bytes.IndexByte(doc[i:q], '\\')
		if b < 0 {
			return q, escaped
		}
		escaped = true
		i += b + 2
		if i > len(doc) {
			return len(doc), escaped
		}
	}
}

// Edit puts With, which is JSON, in the place of the bytes from From up to To.
type Edit struct {
	From, To int
	With     []byte
}

// Apply returns a copy of doc with the edits made. They are in order and do not
// overlap.
func Apply(doc []byte, edits []Edit) []byte {
	size := len(doc)
	for _, e := range edits {
		size += len(e.With)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, doc[at:e.From]...), e.With...)
		at = e.To
	}
	return append(out, doc[at:]...)
}

// level is one object or array around a text.
type level struct {
	array bool
	at    int
	name  []byte
}

// Pointers returns the JSON pointers (RFC 6901) of the texts that begin at
// froms, which are in order: of a value its place, of a name the place of its
// value. Names of which say is false are written as *.
func Pointers(doc []byte, froms []int, say func(name []byte) bool) []string {
	out := make([]string, 0, len(froms))
	var stack []level
	last := 0
	Each(doc, func(t Text) bool {
		// The structure between two texts is in the bytes between them.
		for ; last < t.From; last++ {
			switch doc[last] {
			case '{':
				stack = append(stack, level{})
			case '[':
				stack = append(stack, level{array: true})
			case '}', ']':
				stack = stack[:max(len(stack)-1, 0)]
			case ',':
				if n := len(stack); n > 0 {
					stack[n-1].at++
				}
			}
		}
		last = t.To
		if t.Kind == Name && len(stack) > 0 {
			stack[len(stack)-1].name = t.Text
		}
		for len(out) < len(froms) && froms[len(out)] <= t.From {
			out = append(out, pointer(stack, say))
		}
		return len(out) < len(froms)
	})
	for len(out) < len(froms) {
		out = append(out, "")
	}
	return out
}

func pointer(stack []level, say func([]byte) bool) string {
	var out []byte
	for _, l := range stack {
		out = append(out, '/')
		switch {
		case l.array:
			out = strconv.AppendInt(out, int64(l.at), 10)
		case say != nil && !say(l.name):
			out = append(out, '*')
		default:
			for _, c := range l.name {
				switch c {
				case '~':
					out = append(out, "~0"...)
				case '/':
					out = append(out, "~1"...)
				default:
					out = append(out, c)
				}
			}
		}
	}
	return string(out)
}
