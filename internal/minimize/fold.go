package minimize

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// appendFolded appends the letters and digits of a character in the form in which
// they are compared: compatibility forms taken apart, without marks and case.
func appendFolded(dst []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		switch {
		case r >= 'A' && r <= 'Z':
			return append(dst, byte(r)|0x20)
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return append(dst, byte(r))
		}
		return dst
	}
	var buf [utf8.UTFMax]byte
	for _, part := range string(norm.NFKD.Bytes(buf[:utf8.EncodeRune(buf[:], r)])) {
		if unicode.IsLetter(part) || unicode.IsNumber(part) {
			dst = utf8.AppendRune(dst, unicode.ToLower(part))
		}
	}
	return dst
}

// fold returns a text in that form.
func fold(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = appendFolded(b, r)
	}
	return string(b)
}

// folded is a text in that form with the place in the text of each of its bytes.
type folded struct {
	text     []byte
	from, to []int32
}

func foldWithPlaces(s string) folded {
	f := folded{text: make([]byte, 0, len(s)), from: make([]int32, 0, len(s)), to: make([]int32, 0, len(s))}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		before := len(f.text)
		f.text = appendFolded(f.text, r)
		for range len(f.text) - before {
			f.from = append(f.from, int32(i)) //nolint:gosec // texts are far below 2 GiB
			f.to = append(f.to, int32(i+n))   //nolint:gosec // the same
		}
		i += n
	}
	return f
}

// word reports a character that a word goes on with.
func word(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
