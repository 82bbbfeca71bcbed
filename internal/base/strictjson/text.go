package strictjson

import (
	"bytes"
	"unicode/utf8"
)

// String returns the text of a JSON string, unescaped. White space around it
// is ignored. The error, an *Error, says why raw is not a string that Validate
// would accept.
func String(raw []byte) (string, error) {
	i := skipSpace(raw, 0)
	if i == len(raw) {
		return "", &Error{Offset: i, Kind: KindTruncated}
	}
	if raw[i] != '"' {
		return "", &Error{Offset: i, Kind: KindType}
	}
	start := i + 1
	end, escaped, kind := scanString(raw, start)
	if kind != 0 {
		return "", &Error{Offset: end, Kind: kind}
	}
	if i = skipSpace(raw, end+1); i != len(raw) {
		return "", &Error{Offset: i, Kind: KindTrailing}
	}
	if !escaped {
		return string(raw[start:end]), nil
	}
	return string(appendUnescaped(make([]byte, 0, end-start), raw[start:end])), nil
}

// appendUnescaped appends the text of a scanned string, given without quotes.
func appendUnescaped(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 || i+1 >= len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		n := 2
		switch c := s[1]; c {
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
			r, size, kind := unicodeEscape(s)
			if kind != 0 {
				return dst
			}
			dst, n = utf8.AppendRune(dst, r), size
		default:
			dst = append(dst, c)
		}
		s = s[n:]
	}
}

// AppendString appends s as a JSON string with the fewest escapes that are
// valid: the quote, the backslash and the control characters U+0000 to U+001F,
// in the short form where there is one and else as \u00xx with lower-case
// digits (the form of RFC 8785 section 3.2.2.2). Bytes that are not valid
// UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[start:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Compact appends the validated text raw without the white space between its
// tokens. The result has no line break, since strings cannot hold a raw one.
// dst and raw may not overlap.
func Compact(dst, raw []byte) []byte {
	start := 0
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			end, _, kind := scanString(raw, i+1)
			if kind != 0 {
				return append(dst, raw[start:]...)
			}
			i = end + 1
		case isSpace(c):
			dst = append(dst, raw[start:i]...)
			i = skipSpace(raw, i)
			start = i
		default:
			i++
		}
	}
	return append(dst, raw[start:]...)
}
