package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/config"
)

// functions are what templates may call.
func functions() template.FuncMap {
	return template.FuncMap{
		"say": say, "visible": visible, "host": host, "coded": coded, "dict": dict,
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
