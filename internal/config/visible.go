package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s so that a person sees every character of it, on one line
// of a terminal and in their order: control, format and bidirectional
// characters, separators of lines, characters without a shape, spaces that
// are not the plain one, combining marks and bytes that are not UTF-8 come out
// as \u{…} or \x…, and a backslash that could be taken for the beginning of one is
// doubled, so that no two texts look alike.
func Visible(s string) string {
	clean := true
	for _, r := range s {
		if r < 0x20 || r >= 0x7f || r == '\\' {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case Hidden(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		case r == '\\' && beforeEscape(s[i+1:]):
			b.WriteString(`\\`)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// beforeEscape reports whether what follows a backslash would make it look
// like the beginning of an escape.
func beforeEscape(rest string) bool {
	if rest == "" {
		return false
	}
	r, size := utf8.DecodeRuneInString(rest)
	return r == 'u' || r == 'x' || r == '\\' || r == utf8.RuneError && size <= 1 || Hidden(r)
}

// Hidden reports whether a person would not see the character, or would see
// another one in its place.
func Hidden(r rune) bool {
	switch {
	case r == ' ':
		return false
	case r < 0x20 || r == 0x7f:
		return true
	case r < 0x7f:
		return false
	}
	switch {
	case r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, // fillers of Hangul
		r == 0x2800,              // blank Braille
		r == 0x034f,              // grapheme joiner
		r == 0x17b4, r == 0x17b5, // Khmer vowels without a shape
		r >= 0xfe00 && r <= 0xfe0f, // variation selectors
		r >= 0xe0000 && r <= 0xe0fff,
		r == utf8.RuneError:
		return true
	}
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Co)
}

// short is Visible for names in messages: cut when it is long, and left out
// when it looks like a secret that was put in the wrong place.
func short(s string) string {
	if SecretText(s) {
		return "…"
	}
	const most = 64
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return Visible(s)
}
