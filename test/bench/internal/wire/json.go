package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Member is one name and value of a JSON object. Both alias what was scanned;
// Name is still escaped, without its quotes.
type Member struct{ Name, Raw []byte }

// Members calls fn for each member of the JSON object that b holds, in order,
// until fn returns false. It checks only what it needs to find its way.
func Members(b []byte, fn func(Member) bool) error {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return errors.New("not a JSON object")
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return nil
	}
	for {
		end, err := skip(b, i)
		if err != nil {
			return err
		}
		if b[i] != '"' {
			return fmt.Errorf("at byte %d: a member's name is not a string", i)
		}
		name := b[i+1 : end-1]
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return fmt.Errorf("at byte %d: no colon after a member's name", i)
		}
		i = space(b, i+1)
		if end, err = skip(b, i); err != nil {
			return err
		}
		if !fn(Member{name, b[i:end]}) {
			return nil
		}
		if i = space(b, end); i >= len(b) {
			return errors.New("object has no end")
		}
		switch b[i] {
		case '}':
			return nil
		case ',':
			i = space(b, i+1)
		default:
			return fmt.Errorf("at byte %d: neither comma nor end of object", i)
		}
	}
}

// First is the first element of the JSON array that b holds.
func First(b []byte) ([]byte, error) {
	i := space(b, 0)
	if i >= len(b) || b[i] != '[' {
		return nil, errors.New("not a JSON array")
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return nil, errors.New("empty JSON array")
	}
	end, err := skip(b, i)
	if err != nil {
		return nil, err
	}
	return b[i:end], nil
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skip returns the index after the value that starts at i.
func skip(b []byte, i int) (int, error) {
	if i >= len(b) {
		return 0, errors.New("a value is missing at the end")
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] != ' ' && b[i] != '\n' && b[i] != '\r' && b[i] != '\t' {
		i++
	}
	if i == start {
		return 0, fmt.Errorf("at byte %d: a value is missing", i)
	}
	return i, nil
}

func skipNested(b []byte, i int) (int, error) {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			end, err := skipString(b, i)
			if err != nil {
				return 0, err
			}
			i = end
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
		i++
	}
	return 0, errors.New("a nested value has no end")
}

func skipString(b []byte, i int) (int, error) {
	for j := i + 1; ; j++ {
		n := bytes.IndexByte(b[j:], '"')
		if n < 0 {
			return 0, fmt.Errorf("at byte %d: a string has no end", i)
		}
		j += n
		slashes := 0
		for b[j-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return j + 1, nil
		}
	}
}

// Unquote appends to dst the text that the JSON string raw stands for.
func Unquote(dst, raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return dst, errors.New("not a JSON string")
	}
	raw = raw[1 : len(raw)-1]
	for {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			return append(dst, raw...), nil
		}
		dst = append(dst, raw[:n]...)
		raw = raw[n+1:]
		if len(raw) == 0 {
			return dst, errors.New("an escape is cut off")
		}
		c := raw[0]
		raw = raw[1:]
		switch c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, size, err := unicodeEscape(raw)
			if err != nil {
				return dst, err
			}
			dst = utf8.AppendRune(dst, r)
			raw = raw[size:]
		default:
			return dst, fmt.Errorf("unknown escape \\%c", c)
		}
	}
}

// unicodeEscape reads the digits after \u, and a whole second escape where
// the first is the high half of a surrogate pair.
func unicodeEscape(raw []byte) (r rune, size int, err error) {
	high, err := hex4(raw)
	if err != nil {
		return 0, 0, err
	}
	if high < 0xD800 || high > 0xDFFF {
		return high, 4, nil
	}
	if high < 0xDC00 && len(raw) >= 10 && raw[4] == '\\' && raw[5] == 'u' {
		low, err := hex4(raw[6:])
		if err == nil && low >= 0xDC00 && low <= 0xDFFF {
			return (high-0xD800)<<10 + (low - 0xDC00) + 0x10000, 10, nil
		}
	}
	return 0, 0, errors.New("half of a surrogate pair")
}

func hex4(raw []byte) (rune, error) {
	if len(raw) < 4 {
		return 0, errors.New("an escape is cut off")
	}
	v, err := strconv.ParseUint(string(raw[:4]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("bad digits in escape: %q", raw[:4])
	}
	return rune(v), nil
}

// AppendQuoted appends s as a JSON string. Only what JSON demands is escaped.
func AppendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			break
		}
		switch c := s[n]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		default:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		s = s[n+1:]
	}
	return append(dst, '"')
}

// plain is the length of the longest beginning of s that a JSON string holds
// unescaped. It looks at eight bytes at a time: the echo server must stay
// cheap beside what it helps to measure.
func plain(s []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & highs
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' || s[i] < 0x20 {
			break
		}
	}
	return i
}
