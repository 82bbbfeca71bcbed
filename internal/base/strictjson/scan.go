package strictjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const spaces = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'

func isSpace(c byte) bool { return c <= ' ' && uint64(spaces)>>c&1 != 0 }

func isDigit(c byte) bool { return c-'0' <= 9 }

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, by its high bit, each of the eight bytes of w that is not
// printable ASCII, or is the quote or the backslash. Only the lowest mark is
// to be trusted: a borrow in the subtractions can mark a byte above it. The
// high bit of a byte outside ASCII outlives at least one of the subtractions.
func special(w uint64) uint64 { return marks(w) & highs }

// marks is special with noise in the other bits, so that several words can be
// looked at together.
func marks(w uint64) uint64 {
	quote := w ^ '"'*ones
	slash := w ^ '\\'*ones
	return (w - ' '*ones) | (quote - ones) | (slash - ones)
}

// skipPlain skips printable ASCII without quotes and backslashes, 32 bytes at a
// time, from i on.
func skipPlain(b []byte, i int) int {
	for i+32 <= len(b) {
		p := b[i : i+32 : i+32]
		m := marks(binary.LittleEndian.Uint64(p)) | marks(binary.LittleEndian.Uint64(p[8:])) |
			marks(binary.LittleEndian.Uint64(p[16:])) | marks(binary.LittleEndian.Uint64(p[24:]))
		if m&highs != 0 {
			break
		}
		i += 32
	}
	return i
}

// scanString reads a string whose opening quote is just before i. It returns
// the index of the closing quote and whether there was a backslash. Otherwise
// kind is not zero and end is where the fault lies.
func scanString(b []byte, i int) (end int, escaped bool, kind Kind) {
	for {
		// A long plain text is looked at in larger steps; most texts end before.
		for clean := 0; i+8 <= len(b); clean++ {
			if clean == 4 {
				i = skipPlain(b, i)
				if i+8 > len(b) {
					break
				}
			}
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m != 0 {
				i += int(uint(bits.TrailingZeros64(m)) / 8)
				break
			}
			i += 8
		}
		if i >= len(b) {
			return len(b), escaped, KindTruncated
		}
		switch c := b[i]; {
		case c == '"':
			return i, escaped, 0
		case c == '\\':
			escaped = true
			n, kind := scanEscape(b[i:])
			if kind == KindTruncated {
				return len(b), escaped, kind
			}
			if kind != 0 {
				return i, escaped, kind
			}
			i += n
		case c < ' ':
			return i, escaped, KindControl
		case c < utf8.RuneSelf:
			i++
		default:
			for i < len(b) && b[i] >= utf8.RuneSelf {
				n := runeLen(b[i:])
				if n == 0 {
					return i, escaped, KindUTF8
				}
				i += n
			}
		}
	}
}

// runeLen returns the length of the rune outside ASCII at the start of b, or 0
// if it is not valid UTF-8. Most such runes outside the Latin scripts take
// three bytes, and those are decided without decoding.
func runeLen(b []byte) int {
	if len(b) >= 3 {
		lead := b[0]
		if lead > 0xE0 && lead < 0xF0 && lead != 0xED {
			if b[1]&0xC0 == 0x80 && b[2]&0xC0 == 0x80 {
				return 3
			}
			return 0
		}
	}
	if _, n := utf8.DecodeRune(b); n > 1 {
		return n
	}
	return 0
}

// scanEscape reads the escape at the start of b, both halves of a surrogate
// pair as one, and returns its length in bytes.
func scanEscape(b []byte) (int, Kind) {
	if len(b) < 2 {
		return 0, KindTruncated
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, 0
	case 'u':
	default:
		return 0, KindEscape
	}
	_, n, kind := unicodeEscape(b)
	return n, kind
}

// unicodeEscape decodes the \u escape at the start of b, both halves of a
// surrogate pair as one rune, and returns its length in bytes.
func unicodeEscape(b []byte) (rune, int, Kind) {
	r, kind := hex4(b[2:])
	if kind != 0 {
		return 0, 0, kind
	}
	switch {
	case r >= 0xDC00 && r <= 0xDFFF:
		return 0, 0, KindSurrogate
	case r < 0xD800 || r > 0xDBFF:
		return r, 6, 0
	}
	if len(b) < 8 {
		for i, c := range b[6:] {
			if c != `\u`[i] {
				return 0, 0, KindSurrogate
			}
		}
		return 0, 0, KindTruncated
	}
	if b[6] != '\\' || b[7] != 'u' {
		return 0, 0, KindSurrogate
	}
	low, kind := hex4(b[8:])
	if kind != 0 {
		return 0, 0, kind
	}
	if low < 0xDC00 || low > 0xDFFF {
		return 0, 0, KindSurrogate
	}
	return (r-0xD800)<<10 + (low - 0xDC00) + 0x10000, 12, 0
}

func hex4(b []byte) (rune, Kind) {
	var r rune
	for i := range 4 {
		if i == len(b) {
			return 0, KindTruncated
		}
		c := b[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, KindEscape
		}
		r = r<<4 | rune(c)
	}
	return r, 0
}

// scanNumber reads the number that begins at i, which is a minus or a digit,
// and returns the index after it. Otherwise end is where the fault lies.
func scanNumber(b []byte, i int) (end int, kind Kind) {
	if b[i] == '-' {
		i++
	}
	switch {
	case i == len(b):
		return i, KindTruncated
	case b[i] == '0':
		i++
		if i < len(b) && isDigit(b[i]) {
			return i, KindNumber
		}
	default:
		if i, kind = scanDigits(b, i); kind != 0 {
			return i, kind
		}
	}
	if i < len(b) && b[i] == '.' {
		if i, kind = scanDigits(b, i+1); kind != 0 {
			return i, kind
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return scanDigits(b, i)
	}
	return i, 0
}

func scanDigits(b []byte, i int) (int, Kind) {
	if i == len(b) {
		return i, KindTruncated
	}
	if !isDigit(b[i]) {
		return i, KindNumber
	}
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i, 0
}

// scanLiteral reads true, false or null at i and returns the index after it.
func scanLiteral(b []byte, i int) (end int, kind Kind) {
	want := "null"
	switch b[i] {
	case 't':
		want = "true"
	case 'f':
		want = "false"
	}
	for k := range len(want) {
		if i+k == len(b) {
			return i + k, KindTruncated
		}
		if b[i+k] != want[k] {
			return i + k, KindSyntax
		}
	}
	return i + len(want), 0
}

// scanScalar reads the string, number or literal that begins at i and returns
// the index after it.
func scanScalar(b []byte, i int) (end int, kind Kind) {
	switch c := b[i]; {
	case c == '"':
		end, _, kind = scanString(b, i+1)
		if kind == 0 {
			end++
		}
		return end, kind
	case c == '-' || isDigit(c):
		return scanNumber(b, i)
	case c == 't' || c == 'f' || c == 'n':
		return scanLiteral(b, i)
	case c == '+' || c == '.':
		return i, KindNumber
	}
	return i, KindSyntax
}
