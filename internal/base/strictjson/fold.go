package strictjson

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// FoldedDuplicate returns two different members of o whose names are equal
// under Unicode simple case folding, in source order: a peer that matches
// names without regard to case would read one of them as the other.
func FoldedDuplicate(o Object) (a, b string, dup bool) {
	if len(o) <= few {
		for i := range o {
			for j := range i {
				if strings.EqualFold(o[j].Name, o[i].Name) {
					return o[j].Name, o[i].Name, true
				}
			}
		}
		return "", "", false
	}
	first := make(map[string]int, len(o))
	for i := range o {
		key := fold(o[i].Name)
		if j, ok := first[key]; ok {
			return o[j].Name, o[i].Name, true
		}
		first[key] = i
	}
	return "", "", false
}

// UnexpectedCase returns the first member of o whose name is equal to a known
// name under Unicode simple case folding, but is not that name: a peer that
// matches names without regard to case would read it as the known one.
func UnexpectedCase(o Object, known ...string) (name string, bad bool) {
	for i := range o {
		for _, k := range known {
			if o[i].Name != k && strings.EqualFold(o[i].Name, k) {
				return o[i].Name, true
			}
		}
	}
	return "", false
}

// fold maps two strings to the same one exactly if strings.EqualFold holds of
// them: each rune becomes the smallest of those that fold together.
func fold(s string) string {
	plain := true
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'a' <= c && c <= 'z' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - ('a' - 'A')
		}
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, s)
}
