package poisoning

import (
	"strings"
	"unicode/utf8"
)

// added returns of the texts of a definition what the previous one did not say.
func added(all []place, previous []byte) []place {
	before := texts{}
	before.walk(previous, "", 0)
	said := map[string]bool{}
	for _, p := range before.all {
		said[p.text] = true
		for _, s := range sentences(p.text) {
			said[s] = true
		}
	}
	var out []place
	for _, p := range all {
		if said[p.text] {
			continue
		}
		if !p.key {
			p.text = masked(p.text, said)
		}
		out = append(out, p)
	}
	return out
}

// masked puts dashes in the place of what was said before, so that all else
// stays where it is.
func masked(text string, said map[string]bool) string {
	for _, s := range sentences(text) {
		if said[s] {
			text = strings.Replace(text, s, strings.Repeat("-", utf8.RuneCountInString(s)), 1)
		}
	}
	return text
}

// sentences parts a text where sentences end.
func sentences(text string) []string {
	var out []string
	for s := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '.' || r == '!' || r == '?' || r == ';' || r == '。' }) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
