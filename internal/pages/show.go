package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/config"
)

// functions are what templates may call.
func functions() template.FuncMap {
	return template.FuncMap{
		"say": say, "visible": visible, "host": host, "coded": coded, "odd": odd, "spelled": spelled, "dict": dict, "whole": config.Visible, "lines": lines,
		"day":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"when": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}

func say(format string, args ...any) string { return fmt.Sprintf(format, args...) }

const longest = 300

// visible shows text of others: every character, on one line, not too long.
func visible(s string) string {
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest]) + "…"
	}
	return config.Visible(s)
}

// host is the host of a URL as resolvers read it: its xn-- form is not
// decoded, and whatever is not ASCII is shown as its number.
func host(raw string) string {
	h := raw
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		h = strings.ToLower(u.Host)
	}
	var b strings.Builder
	for _, r := range visible(h) {
		if r < 0x20 || r > 0x7e {
			fmt.Fprintf(&b, `\u{%x}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// coded reports that a host holds letters beyond a to z.
func coded(raw string) bool {
	h := host(raw)
	return strings.HasPrefix(h, "xn--") || strings.Contains(h, ".xn--") || strings.Contains(h, `\u{`)
}

// odd reports that a name holds letters that can look like others: of alphabets
// that have twins of Latin letters, or Latin ones in a costume.
func odd(name string) bool { return strings.ContainsFunc(name, strange) }

// strange reports a letter or a digit that is neither plain Latin nor of a
// script that nobody takes for Latin.
func strange(r rune) bool {
	switch {
	case r < 0x80:
		return false
	case unicode.In(r, unicode.Latin):
		return r > 0x17f // past Latin Extended-A: phonetic, full-width and small capital forms
	case unicode.In(r, unicode.Hangul, unicode.Han, unicode.Hiragana, unicode.Katakana):
		return false
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || r >= 0x2460 && r <= 0x24ff || r >= 0x1f100 && r <= 0x1f1ff
}

// spelled shows a name with each such letter as its number.
func spelled(name string) string {
	var b strings.Builder
	for _, r := range visible(name) {
		if strange(r) {
			fmt.Fprintf(&b, `\u{%x}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// dict gives a block of a template several values.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		k, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("the name %v is no text", pairs[i])
		}
		m[k] = pairs[i+1]
	}
	return m, nil
}
