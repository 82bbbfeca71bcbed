package injection

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// piece is one string of a message.
type piece struct {
	text string
	// from and to bound its bytes in the message, quotes included.
	from, to int
}

// Bounds of what counts as short: such strings are judged together, so that
// what was split over fields is read as one.
const (
	shortText = 64
	shortName = 16
)

// pieces gives the strings of a valid JSON message in their order, names of
// members only where they are long enough to say something.
func pieces(raw []byte) ([]piece, error) {
	var out []piece
	for i := 0; i < len(raw); i++ {
		if raw[i] != '"' {
			continue
		}
		from := i
		for i++; i < len(raw) && raw[i] != '"'; i++ {
			if raw[i] == '\\' {
				i++
			}
		}
		if i >= len(raw) {
			break
		}
		k := i + 1
		for k < len(raw) && (raw[k] == ' ' || raw[k] == '\n' || raw[k] == '\t' || raw[k] == '\r') {
			k++
		}
		if name := k < len(raw) && raw[k] == ':'; name && i-from < shortName || i-from < 4 {
			continue
		}
		text, err := strictjson.String(raw[from : i+1])
		if err != nil {
			return nil, err
		}
		out = append(out, piece{text, from, i + 1})
	}
	return out, nil
}

// known are strings of the protocol that say nothing.
func known(s string) bool {
	switch s {
	case "text", "image", "audio", "resource", "resource_link", "complete", "user", "assistant", "object", "string", "2.0", "private", "public":
		return true
	}
	return false
}

// together is short strings as one JSON array, so that the view also joins
// them.
type together struct {
	text   string
	pieces []piece
	starts []int // of each piece, in code points of text
}

func join(short []piece) together {
	t := together{pieces: short}
	if len(short) == 1 {
		t.text, t.starts = short[0].text, []int{0}
		return t
	}
	var b strings.Builder
	at := 0
	b.WriteByte('[')
	for i, p := range short {
		if i > 0 {
			b.WriteString(",\n")
			at += 2
		}
		b.WriteByte('"')
		at += 2
		if i > 0 {
			at--
		}
		t.starts = append(t.starts, at)
		b.WriteString(p.text)
		b.WriteByte('"')
		at += utf8.RuneCountInString(p.text) + 1
	}
	b.WriteByte(']')
	t.text = b.String()
	return t
}

// place finds the piece where a span of the joined text begins, and the span
// inside of it.
func (t together) place(span [2]int) (piece, [2]int) {
	i := 0
	for i+1 < len(t.starts) && t.starts[i+1] <= span[0] {
		i++
	}
	n := utf8.RuneCountInString(t.pieces[i].text)
	from := min(max(span[0]-t.starts[i], 0), n)
	return t.pieces[i], [2]int{from, min(max(span[1]-t.starts[i], from), n)}
}

// pointer is the JSON pointer (RFC 6901) of what begins at a byte of a valid
// message. A name of a member is told by its value's pointer. Names are shown
// only if they are short and plain, since a server wrote them.
func pointer(raw []byte, at int) string {
	type frame struct {
		object bool
		name   string
		index  int
	}
	var stack []frame
	for i := 0; i < len(raw) && i <= at; i++ {
		switch raw[i] {
		case '{', '[':
			stack = append(stack, frame{object: raw[i] == '{'})
		case '}', ']':
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].index++
			}
		case '"':
			from := i
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			k := i + 1
			for k < len(raw) && (raw[k] == ' ' || raw[k] == '\n' || raw[k] == '\t' || raw[k] == '\r') {
				k++
			}
			if k < len(raw) && raw[k] == ':' && len(stack) > 0 {
				stack[len(stack)-1].name = shown(raw[from+1 : min(i, len(raw))])
			}
		}
	}
	var b strings.Builder
	for _, f := range stack {
		b.WriteByte('/')
		if f.object {
			b.WriteString(f.name)
		} else {
			b.WriteString(strconv.Itoa(f.index))
		}
	}
	return b.String()
}

func shown(name []byte) string {
	if len(name) > 40 {
		return "*"
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return "*"
		}
	}
	return string(name)
}
