package redact

import (
	"github.com/munjigi/munjigi/internal/base/normalize"
)

// Bounds of the parts of a text that are looked at in another writing.
const (
	longRun = 24 // bytes that look like an encoding
	around  = 48 // bytes beside a part
)

// Views finds the parts of a text that may be written otherwise than they are
// meant - encoded, escaped, with letters that look alike or characters nobody
// sees - and gives the view of each to f, which returns what it finds there;
// the hits are of the text. Text that is only itself costs one pass.
func Views(text []byte, f func(view []byte) []Hit) []Hit {
	var hits []Hit
	last := 0
	for i := 0; i < len(text); {
		from, to, ok := dressed(text, i)
		if !ok {
			break
		}
		to = beyond(text, to)
		for to < len(text) {
			_, b, more := dressed(text[:min(to+around, len(text))], to)
			if !more {
				break
			}
			to = beyond(text, b)
		}
		for from = max(from-around, last); from > last && (encodes(text[from-1]) || text[from]&0xc0 == 0x80); {
			from--
		}
		part := string(text[from:to])
		v := normalize.Text(part)
		if v.Changed() {
			for _, h := range f([]byte(v.Text)) {
				a, b := v.Bytes(h.From, h.To)
				if a < b {
					h.From, h.To = from+a, from+b
					hits = append(hits, h)
				}
			}
		}
		i, last = to, to
	}
	return hits
}

// beyond returns the end of a part: some bytes after it, where neither a run
// nor a character is cut.
func beyond(text []byte, to int) int {
	for to = min(to+around, len(text)); to < len(text) && (encodes(text[to]) || text[to]&0xc0 == 0x80); {
		to++
	}
	return to
}

// dressed finds the next thing from i on that the view would change.
func dressed(text []byte, i int) (from, to int, ok bool) {
	start := i
	for ; i < len(text); i++ {
		c := text[i]
		if kinds[c] == run {
			continue
		}
		if i-start >= longRun && decodes(text[start:i]) {
			return start, i, true
		}
		start = i + 1
		if kinds[c] == other && c < 0x80 {
			continue
		}
		switch {
		case c == '%' && i+2 < len(text) && hex(text[i+1]) && hex(text[i+2]),
			c == '&' && i+2 < len(text) && (text[i+1] == '#' || letter(text[i+1])) && entity(text[i:]),
			c == '\\' && i+1 < len(text) && (text[i+1] == 'u' || text[i+1] == 'x' || text[i+1] >= '0' && text[i+1] <= '7'):
			return i, min(i+3, len(text)), true
		case c >= 0x80 && odd(text, i):
			return i, i + 1, true
		}
	}
	if i-start >= longRun && decodes(text[start:]) {
		return start, i, true
	}
	return 0, 0, false
}

// The kinds of a byte.
const (
	other = iota
	run   // of base64, of its other alphabet, or of hex
	sign  // that begins an escape
)

// kinds are the kinds of the ASCII bytes.
var kinds = [256]uint8{
	'A': run, 'B': run, 'C': run, 'D': run, 'E': run, 'F': run, 'G': run, 'H': run, 'I': run, 'J': run,
	'K': run, 'L': run, 'M': run, 'N': run, 'O': run, 'P': run, 'Q': run, 'R': run, 'S': run, 'T': run,
	'U': run, 'V': run, 'W': run, 'X': run, 'Y': run, 'Z': run, 'a': run, 'b': run, 'c': run, 'd': run,
	'e': run, 'f': run, 'g': run, 'h': run, 'i': run, 'j': run, 'k': run, 'l': run, 'm': run, 'n': run,
	'o': run, 'p': run, 'q': run, 'r': run, 's': run, 't': run, 'u': run, 'v': run, 'w': run, 'x': run,
	'y': run, 'z': run, '0': run, '1': run, '2': run, '3': run, '4': run, '5': run, '6': run, '7': run,
	'8': run, '9': run, '+': run, '/': run, '=': run, '_': run, '-': run, '%': sign, '&': sign, '\\': sign,
}

func encodes(c byte) bool { return kinds[c] == run }

// decodes reports that a run, or what follows a sign in it, is text in base64
// or hex: that its first bytes come out as ASCII that people write.
func decodes(run []byte) bool {
	for i := 0; i+16 <= len(run); i++ {
		if i > 0 && !separates(run[i-1]) {
			continue
		}
		if plain64(run[i:min(i+24, len(run))]) || plainHex(run[i:min(i+24, len(run))]) {
			return true
		}
	}
	return false
}

func separates(c byte) bool { return c == '=' || c == '/' || c == '_' || c == '-' || c == '+' }

func plain64(b []byte) bool {
	var acc uint32
	for i, c := range b {
		var v uint32
		switch {
		case c >= 'A' && c <= 'Z':
			v = uint32(c - 'A')
		case c >= 'a' && c <= 'z':
			v = uint32(c-'a') + 26
		case c >= '0' && c <= '9':
			v = uint32(c-'0') + 52
		case c == '+' || c == '-':
			v = 62
		case c == '/' || c == '_':
			v = 63
		default:
			return i >= 20
		}
		acc = acc<<6 | v
		if i%4 == 3 {
			for _, d := range [...]byte{byte(acc >> 16), byte(acc >> 8), byte(acc)} {
				if !printed(d) {
					return false
				}
			}
		}
	}
	return true
}

func plainHex(b []byte) bool {
	for i := 0; i+1 < len(b); i += 2 {
		if !hex(b[i]) || !hex(b[i+1]) || !printed(nibble(b[i])<<4|nibble(b[i+1])) {
			return false
		}
	}
	return true
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&0xf + 9
}

func printed(c byte) bool { return c >= ' ' && c < 0x7f || c == '\n' || c == '\r' || c == '\t' }

func hex(c byte) bool    { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func entity(b []byte) bool {
	for i := 1; i < len(b) && i < 12; i++ {
		if b[i] == ';' {
			return true
		}
	}
	return false
}

// odd reports a character beyond ASCII that nobody sees, or that looks like an
// ASCII letter and stands beside one.
func odd(b []byte, i int) bool {
	at := func(k int) byte {
		if k < 0 || k >= len(b) {
			return 0
		}
		return b[k]
	}
	c, d, e := at(i), at(i+1), at(i+2)
	switch c {
	case 0xc2:
		return d == 0xad
	case 0xcd:
		return d == 0x8f
	case 0xd0, 0xd1, 0xce, 0xcf:
		return encodes(at(i-1)) || encodes(at(i+2))
	case 0xe2:
		return d == 0x80 && (e >= 0x8b && e <= 0x8f || e >= 0xaa && e <= 0xae) || d == 0x81 && e >= 0xa0 && e <= 0xaf
	case 0xef:
		return d == 0xbb && e == 0xbf || d == 0xbc || d == 0xbd
	case 0xf3:
		return d == 0xa0
	case 0xf0:
		return d == 0x9d
	}
	return false
}
