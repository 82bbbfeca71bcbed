package arguments

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxViews bounds how many layers of encoding are taken off.
const maxViews = 4

// viewsOf returns a text as it is, and as it is after each layer of percent signs,
// entities, escapes, compatibility forms and unseen characters is taken off.
func viewsOf(s string) []string {
	if plain(s) {
		return []string{s}
	}
	views := []string{s}
	for range maxViews {
		t := s
		if strings.IndexByte(t, '%') >= 0 {
			t = percentDecoded(t)
		}
		if strings.IndexByte(t, '&') >= 0 {
			t = html.UnescapeString(t)
		}
		if strings.IndexByte(t, '\\') >= 0 {
			t = unescaped(t)
		}
		t = folded(t)
		if t == s {
			break
		}
		views = append(views, t)
		s = t
	}
	return views
}

// plain reports a text that no layer can be taken off.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c == '%' || c == '&' || c == '\\' {
			return false
		}
	}
	return true
}

// folded replaces compatibility forms, such as full-width letters, by what they
// stand for, and leaves out what does not show.
func folded(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0x2215 || r == 0x2044 || r == 0x29F8: // division and fraction slash
			return '/'
		case r == 0x2216 || r == 0x29F5 || r == 0x29F9:
			return '\\'
		case r == 0x3002: // ideographic full stop, a dot in host names (UTS #46)
			return '.'
		case unseen(r):
			return -1
		}
		return r
	}, norm.NFKC.String(s))
}

// unseen reports a character that changes nothing a person sees.
func unseen(r rune) bool {
	return r == 0xAD || r == 0x34F || r == 0x61C || r >= 0x180B && r <= 0x180E || r >= 0x200B && r <= 0x200F || r >= 0x202A && r <= 0x202E ||
		r >= 0x2060 && r <= 0x206F || r >= 0xFE00 && r <= 0xFE0F || r == 0xFEFF || r >= 0xE0000 && r <= 0xE0FFF
}

// percentDecoded decodes what is well formed, also overlong UTF-8 of one ASCII
// character and %uXXXX, and leaves the rest.
func percentDecoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+5 < len(s) && s[i+1]|0x20 == 'u' {
			if n, err := strconv.ParseUint(s[i+2:i+6], 16, 16); err == nil {
				b.WriteRune(rune(n)) //nolint:gosec // at most 16 bits
				i += 5
				continue
			}
		}
		c, ok := percent(s, i)
		switch d, long := percent(s, i+3); {
		case !ok:
			b.WriteByte('%')
			continue
		case (c == 0xC0 || c == 0xC1) && long && d>>6 == 2:
			b.WriteByte(c<<6 | d&0x3F)
			i += 5
		default:
			b.WriteByte(c)
			i += 2
		}
	}
	return b.String()
}

func percent(s string, i int) (byte, bool) {
	if i+2 >= len(s) || s[i] != '%' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
	return byte(n), err == nil
}

// unescaped decodes what stands behind \x and \u and leaves the rest.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			digits := 0
			switch s[i+1] {
			case 'x':
				digits = 2
			case 'u':
				digits = 4
			}
			if digits > 0 && i+2+digits <= len(s) {
				if n, err := strconv.ParseUint(s[i+2:i+2+digits], 16, 16); err == nil {
					b.WriteRune(rune(n)) //nolint:gosec // at most 16 bits
					i += 1 + digits
					continue
				}
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
