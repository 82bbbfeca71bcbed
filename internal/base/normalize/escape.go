package normalize

import (
	"html"
	"strings"
	"unicode/utf8"
)

// escape undoes what begins with %, & or \ at i, and returns where to go on.
func (p *pass) escape(i int) int {
	var text []byte // may lie in p.scratch
	var j int
	switch p.src[i] {
	case '%':
		text, j = percent(p.src, i, p.scratch[:0])
	case '&':
		text, j = entity(p.src, i)
	default:
		text, j = backslash(p.src, i, p.scratch[:0])
	}
	if j == i {
		return i + 1
	}
	if p.first {
		p.sig.Escaped++
	}
	for _, c := range text {
		if k := classOf(c); k == run || k == special || k == high || k == control {
			p.again = true
		}
	}
	if joins(p.src, i, j) {
		p.again = true
	}
	p.replace(i, j, text, undone)
	return j
}

// joins reports letters on both sides of src[i:j], so that what was cut there
// may be one run without it.
func joins(s string, i, j int) bool {
	return i >= minRun && j < len(s) && classOf(s[i-1]) == run && classOf(s[j]) == run &&
		mixed(s[i-8:i])
}

// percent undoes a run of percent-encoded bytes (RFC 3986 section 2.1) if they
// are text.
func percent(s string, i int, out []byte) ([]byte, int) {
	j := i
	for j+2 < len(s) && s[j] == '%' && len(out) < 1<<12 {
		hi, lo := digit(s[j+1]), digit(s[j+2])
		if hi < 0 || lo < 0 {
			break
		}
		out = append(out, byte(hi<<4|lo)) //nolint:gosec // both are below 16
		j += 3
	}
	if len(out) == 0 || !utf8.Valid(out) {
		return nil, i
	}
	return out, j
}

// entity undoes one HTML character reference, with or without its semicolon
// where it is numeric.
func entity(s string, i int) ([]byte, int) {
	if i+2 >= len(s) {
		return nil, i
	}
	if s[i+1] != '#' {
		end := i + 1
		for end < len(s) && end < i+32 && (s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z' || s[end] >= '0' && s[end] <= '9') {
			end++
		}
		if end == len(s) || s[end] != ';' {
			return nil, i
		}
		if t := html.UnescapeString(s[i : end+1]); t != s[i:end+1] {
			return []byte(t), end + 1
		}
		return nil, i
	}
	base, j := 10, i+2
	if s[j] == 'x' || s[j] == 'X' {
		base, j = 16, j+1
	}
	r, n := number(s, j, 7, base)
	if n == 0 || !readable(r) {
		return nil, i
	}
	if j += n; j < len(s) && s[j] == ';' {
		j++
	}
	return utf8.AppendRune(nil, r), j
}

// backslash undoes the escapes of JSON, and the longer ones of its neighbours.
func backslash(s string, i int, out []byte) ([]byte, int) {
	if i+1 >= len(s) {
		return nil, i
	}
	switch c := s[i+1]; c {
	case 'n', 'r', 't', 'f', 'b', '"', '/', '\\', '\'':
		return append(out, " \b\t\n\f\r\"/\\'"[strings.IndexByte(" btnfr\"/\\'", c)]), i + 2
	case 'u':
		if i+2 < len(s) && s[i+2] == '{' {
			r, n := number(s, i+3, 6, 16)
			if end := i + 3 + n; n > 0 && end < len(s) && s[end] == '}' && readable(r) {
				return utf8.AppendRune(out, r), end + 1
			}
			return nil, i
		}
		r, n := number(s, i+2, 4, 16)
		if n != 4 {
			return nil, i
		}
		if r >= 0xd800 && r < 0xdc00 && i+7 < len(s) && s[i+6] == '\\' && s[i+7] == 'u' {
			if low, m := number(s, i+8, 4, 16); m == 4 && low >= 0xdc00 && low < 0xe000 {
				return utf8.AppendRune(out, (r-0xd800)<<10+(low-0xdc00)+0x10000), i + 12
			}
		}
		if readable(r) {
			return utf8.AppendRune(out, r), i + 6
		}
	case 'U':
		if r, n := number(s, i+2, 8, 16); n == 8 && readable(r) {
			return utf8.AppendRune(out, r), i + 10
		}
	case 'x':
		return hexBytes(s, i, out)
	}
	return nil, i
}

// hexBytes undoes a run of \x69 escapes if they are text.
func hexBytes(s string, i int, out []byte) ([]byte, int) {
	j := i
	for j+3 < len(s) && s[j] == '\\' && s[j+1] == 'x' && digit(s[j+2]) >= 0 && digit(s[j+3]) >= 0 && len(out) < 1<<12 {
		out = append(out, byte(digit(s[j+2])<<4|digit(s[j+3]))) //nolint:gosec // both are below 16
		j += 4
	}
	if len(out) == 0 || !utf8.Valid(out) {
		return nil, i
	}
	return out, j
}

func readable(r rune) bool {
	return r > 0 && r <= utf8.MaxRune && (r < 0xd800 || r > 0xdfff)
}

// number reads at most most digits at i and returns their value and how many.
func number(s string, i, most, base int) (r rune, n int) {
	for n < most && i+n < len(s) {
		d := digit(s[i+n])
		if d < 0 || d >= base {
			break
		}
		r = r*rune(base) + rune(d)
		n++
	}
	return r, n
}

// digit is the value of a hexadecimal digit, -1 for other bytes.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
