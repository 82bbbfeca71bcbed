package poisoning

import (
	"strings"
	"unicode"
)

// hiding is something that a person who looks at a definition does not see and
// a model reads.
type hiding struct {
	reason   string
	weight   float64
	from, to int
}

// hidden finds it in one text. Where honest writing needs an invisible
// character, as Arabic, Indic scripts and emoji do, it is none.
func hidden(text []rune) []hiding {
	var all []hiding
	add := func(reason string, w float64, from, to int) { all = append(all, hiding{reason, w, from, to}) }
	plain := true
	rtl := false
	for i, r := range text {
		if r >= 0x80 {
			plain = false
			rtl = rtl || unicode.In(r, unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana, unicode.Nko)
			continue
		}
		if r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f {
			add("control-characters", 0.95, i, i+1)
		}
	}
	if !plain {
		for i := 0; i < len(text); i++ {
			if w := misplaced(text, i, rtl); w > 0 {
				j := i + 1
				for j < len(text) && (shapeless(text[j]) || tagLetter(text[j]) != 0) {
					j++
				}
				add("hidden-characters", w, i, j)
				i = j - 1
			}
		}
		all = append(all, mixed(text)...)
	}
	return append(all, markup(text)...)
}

// misplaced weighs an invisible character by whether honest writing has one
// there.
func misplaced(text []rune, i int, rtl bool) float64 {
	const sure = 0.95
	r := text[i]
	if r < 0x80 {
		return 0
	}
	before, after := rune(0), rune(0)
	if i > 0 {
		before = text[i-1]
	}
	if i+1 < len(text) {
		after = text[i+1]
	}
	switch {
	case r >= 0x80 && r <= 0x9f:
		return sure
	case r == 0x200d: // joiner
		joins := func(c rune) bool {
			return c >= 0x2190 && !shapeless(c) && !unicode.IsLetter(c) || c == 0xfe0f || unicode.In(c, unicode.Arabic, unicode.Devanagari, unicode.Bengali, unicode.Gujarati, unicode.Gurmukhi, unicode.Kannada, unicode.Malayalam, unicode.Oriya, unicode.Sinhala, unicode.Tamil, unicode.Telugu, unicode.Khmer, unicode.Myanmar, unicode.Mn, unicode.Mc)
		}
		if joins(before) && before >= 0x80 && (joins(after) || !unicode.IsLetter(after) && after < 0x2000) {
			return 0
		}
		return sure
	case r == 0x200c: // non-joiner
		if unicode.IsLetter(before) && before >= 0x600 && unicode.In(before, unicode.Arabic, unicode.Devanagari, unicode.Bengali, unicode.Kannada, unicode.Malayalam, unicode.Telugu, unicode.Tamil, unicode.Sinhala, unicode.Gujarati, unicode.Khmer) || unicode.In(before, unicode.Mn, unicode.Mc) && before > 0x600 {
			return 0
		}
		return sure
	case r == 0x200b: // space of no width
		spaced := func(c rune) bool { return unicode.In(c, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) }
		if spaced(before) || spaced(after) {
			return 0
		}
		return sure
	case r == 0x200e || r == 0x200f || r == 0x61c:
		if rtl {
			return 0
		}
		return sure
	case r >= 0x2066 && r <= 0x2069:
		if rtl && balanced(text) {
			return 0
		}
		return sure
	case r == 0xfe0f || r == 0xfe0e: // how an emoji or a sign is drawn
		if before >= 0x2000 && (!unicode.IsLetter(before) || before >= 0x2100 && before <= 0x214f) && !shapeless(before) || before == 0xa9 || before == 0xae || before >= '0' && before <= '9' || before == '#' || before == '*' {
			return 0
		}
		return sure
	case r >= 0xfe00 && r <= 0xfe0d, r >= 0xe0100 && r <= 0xe01ef:
		if unicode.In(before, unicode.Han, unicode.Myanmar, unicode.Phags_Pa) || r <= 0xfe02 && before >= 0x2200 && before <= 0x2aff {
			return 0
		}
		return sure
	case r >= 0x180b && r <= 0x180e:
		if unicode.Is(unicode.Mongolian, before) {
			return 0
		}
		return sure
	case r == 0x1160 || r == 0x115f:
		if unicode.Is(unicode.Hangul, before) && before >= 0x1100 && before <= 0x115f || unicode.Is(unicode.Hangul, after) && after >= 0x1160 && after <= 0x11ff {
			return 0
		}
		return sure
	case tagLetter(r) != 0 || r == 0xe007f || r == 0xe0001:
		if flag(text, i) {
			return 0
		}
		return sure
	case shapeless(r), unicode.Is(unicode.Co, r), r == 0x2800 && before != 0x2800:
		if unicode.Is(unicode.Co, r) {
			return 0.2
		}
		return sure
	}
	return 0
}

// flag reports a tag that belongs to the flag of a region: a black flag, two to
// six tags, and the end tag.
func flag(text []rune, i int) bool {
	from := i
	for from > 0 && (tagLetter(text[from-1]) != 0) {
		from--
	}
	to := i
	for to < len(text) && tagLetter(text[to]) != 0 {
		to++
	}
	n := to - from
	return from > 0 && text[from-1] == 0x1f3f4 && n >= 3 && n <= 6 && to < len(text) && text[to] == 0xe007f
}

// balanced reports that isolates open and close in order.
func balanced(text []rune) bool {
	depth := 0
	for _, r := range text {
		switch r {
		case 0x2066, 0x2067, 0x2068:
			depth++
		case 0x2069:
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

// mixed finds words that are Latin but for letters which only look it.
func mixed(text []rune) []hiding {
	var all []hiding
	for i := 0; i < len(text); {
		if !unicode.IsLetter(text[i]) {
			i++
			continue
		}
		j, latin, alike, foreign := i, 0, 0, 0
		for j < len(text) && unicode.IsLetter(text[j]) {
			switch {
			case text[j] < 0x250:
				latin++
			case looksLatin[text[j]] != 0 && !unicode.Is(unicode.Greek, text[j]):
				alike++
			default:
				foreign++
			}
			j++
		}
		if latin >= 2 && alike > 0 && foreign == 0 {
			all = append(all, hiding{"mixed-scripts", 0.45, i, j})
		}
		i = j
	}
	return all
}

// markup finds what is written so that it is not shown.
func markup(text []rune) []hiding {
	var all []hiding
	add := func(reason string, w float64, from, to int) { all = append(all, hiding{reason, w, from, to}) }
	blank, lines := 0, 0
	for i, r := range text {
		switch {
		case r == '\n':
			lines++
			blank++
		case unicode.IsSpace(r):
			blank++
		default:
			if lines >= 20 || blank-lines >= 150 && i > blank {
				add("far-off-text", 0.7, i, len(text))
			}
			blank, lines = 0, 0
		}
		if r == '<' && i+1 < len(text) {
			end := min(len(text), i+2000)
			head := strings.ToLower(string(text[i:end]))
			switch {
			case strings.HasPrefix(head, "<!--"):
				inner := head[4:]
				n := strings.Index(inner, "-->")
				if n < 0 {
					n = len(inner)
				}
				if words := len(strings.Fields(inner[:n])); words >= 4 {
					add("hidden-markup", 0.6, i, min(len(text), i+4+n+3))
				}
			default:
				tag, _, ok := strings.Cut(head, ">")
				if ok && len(tag) < 600 && unseen(tag) {
					add("hidden-markup", 0.75, i, i+len([]rune(tag))+1)
				}
			}
		}
		if r == '[' && i+5 < len(text) && strings.HasPrefix(string(text[i:i+6]), "[//]: ") {
			add("hidden-markup", 0.6, i, i+6)
		}
	}
	return all
}

// unseen reports a tag whose style hides what is in it.
func unseen(tag string) bool {
	s := strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(tag)
	if strings.Contains(s, "style=") {
		for _, p := range []string{"display:none", "visibility:hidden", "font-size:0", "opacity:0", "color:transparent", "color:white", "color:#fff", "text-indent:-", "left:-9", "height:0", "width:0", "clip:rect(0", "font-size:1px"} {
			if strings.Contains(s, p) {
				return true
			}
		}
	}
	fields := strings.Fields(tag)
	for _, f := range fields[min(1, len(fields)):] {
		if f == "hidden" || strings.HasPrefix(f, "hidden=") || strings.HasPrefix(f, `aria-hidden="false"`) {
			return true
		}
	}
	return false
}
