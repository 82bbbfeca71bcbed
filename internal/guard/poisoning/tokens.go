package poisoning

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is one word, or one address or path, with what it means.
type token struct {
	text     string
	is       class
	from, to int // code points of the text
}

// segment is what is judged at once: a sentence, or a piece of a long one.
type segment struct {
	tokens   []token
	from, to int
	in       class // of all its tokens
}

const (
	longest = 44 // words of a segment
	overlap = 14
)

// reader knows all words. It is built once and not changed.
type reader struct {
	words  map[string]class
	stems  map[string]class // by their beginning
	pairs  map[string][]phrase
	pieces map[rune][]piece
}

type phrase struct {
	words []string
	is    class
}

type piece struct {
	text []rune
	is   class
}

func newReader() *reader {
	r := &reader{words: map[string]class{}, stems: map[string]class{}, pairs: map[string][]phrase{}, pieces: map[rune][]piece{}}
	for is, text := range lexicon {
		for w := range strings.FieldsSeq(text) {
			if s, ok := strings.CutSuffix(w, "*"); ok {
				r.stems[s] |= is
				continue
			}
			r.words[w] |= is
		}
	}
	for is, text := range phrases {
		for p := range strings.SplitSeq(text, "|") {
			if ws := strings.Fields(p); len(ws) > 1 {
				r.pairs[ws[0]] = append(r.pairs[ws[0]], phrase{ws, is})
			}
		}
	}
	for is, text := range runs {
		for p := range strings.SplitSeq(text, "|") {
			rs := []rune(p)
			r.pieces[rs[0]] = append(r.pieces[rs[0]], piece{rs, is})
		}
	}
	return r
}

// inWord reports a code point that words are made of.
func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '\'' || r == '’'
}

// unspaced reports scripts whose pieces are looked for inside of words.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Arabic, unicode.Thai)
}

// read parts a folded text into segments. self is the name of the tool.
func (r *reader) read(text []rune, self string) []segment {
	var all []token
	var segs []segment
	end := func() {
		segs = append(segs, cut(all)...)
		all = nil
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '.' && (i+1 == len(text) || unicode.IsSpace(text[i+1]) || unicode.IsUpper(text[i+1])),
			c == '!' && (i+1 == len(text) || text[i+1] != '['), c == '?' && (i+1 == len(text) || unicode.IsSpace(text[i+1])), c == ';', c == '\n', c == '。', c == '！', c == '？':
			end()
			i++
		case unicode.IsSpace(c):
			i++
		case unspaced(c):
			i = r.piecesAt(text, i, &all)
		default:
			i = r.atom(text, i, self, &all)
		}
	}
	end()
	return segs
}

// piecesAt finds what is known in a run of text without spaces.
func (r *reader) piecesAt(text []rune, i int, all *[]token) int {
	start, found := i, false
	for i < len(text) && unspaced(text[i]) {
		best := piece{}
		for _, p := range r.pieces[text[i]] {
			if len(p.text) > len(best.text) && matches(text[i:], p.text) {
				best = p
			}
		}
		if best.text == nil {
			i++
			continue
		}
		// All meanings of the longest match count, and those of shorter ones
		// that lie in it.
		is := best.is
		for j := range best.text {
			for _, p := range r.pieces[best.text[j]] {
				if j+len(p.text) <= len(best.text) && matches(best.text[j:], p.text) {
					is |= p.is
				}
			}
		}
		*all = append(*all, token{string(best.text), is, i, i + len(best.text)})
		found = true
		i += len(best.text)
	}
	if !found {
		*all = append(*all, token{"", 0, start, i})
	}
	return i
}

func matches(text, p []rune) bool {
	if len(text) < len(p) {
		return false
	}
	for i := range p {
		if text[i] != p[i] {
			return false
		}
	}
	return true
}

// longestAtom is how many characters of an address or a path are looked at.
const longestAtom = 2048

// atom reads one word, name, path or address.
func (r *reader) atom(text []rune, i int, self string, all *[]token) int {
	if n := phoneAt(text[i:]); n > 0 {
		*all = append(*all, token{string(text[i : i+n]), phone, i, i + n})
		return i + n
	}
	// Up to the next space, quote or bracket it may be an address or a path.
	j := i
	for j < min(len(text), i+longestAtom) && !unicode.IsSpace(text[j]) && !strings.ContainsRune("\"`<>()[]{},;|“”‘", text[j]) && !unspaced(text[j]) {
		j++
	}
	if j > i {
		whole := strings.TrimRight(string(text[i:j]), ".:!?'’")
		n := utf8.RuneCountInString(whole)
		if is := atomClass(whole, self); is != 0 {
			*all = append(*all, token{whole, is, i, i + n})
			return i + max(n, 1)
		}
	}
	if text[i] == '<' || text[i] == '[' || text[i] == '#' {
		if n := poses(text[i:]); n > 0 {
			*all = append(*all, token{string(text[i : i+n]), mark, i, i + n})
			return i + n
		}
	}
	if !inWord(text[i]) {
		if text[i] == '|' || text[i] == '/' {
			*all = append(*all, token{string(text[i]), 0, i, i + 1})
		}
		return i + 1
	}
	j = i
	for j < len(text) && (inWord(text[j]) && !unspaced(text[j]) || text[j] == '-' && j > i && j+1 < len(text) && inWord(text[j+1])) {
		j++
	}
	if j == i {
		j++
	}
	w := strings.Trim(strings.ReplaceAll(strings.ToLower(string(text[i:j])), "’", "'"), "'")
	parts := []string{w}
	if r.words[w] == 0 && strings.Contains(w, "-") {
		parts = strings.Split(w, "-")
	}
	at := i
	for _, p := range parts {
		n := utf8.RuneCountInString(p)
		*all = append(*all, token{p, r.meaning(p), at, at + n})
		at += n + 1
	}
	r.join(*all, len(parts))
	return j
}

// longestStem is longer than any stem in the lists.
const longestStem = 64

func (r *reader) meaning(w string) class {
	is := r.words[w]
	for n := min(len(w), longestStem); n >= 4; n-- {
		is |= r.stems[w[:n]]
	}
	return is
}

// join gives the last words the meaning of the phrases that end with them. One
// short word may stand between two of a phrase.
func (r *reader) join(all []token, fresh int) {
	const back = 6
	for i := max(0, len(all)-back-fresh); i < len(all); i++ {
		for _, p := range r.pairs[all[i].text] {
			k, gap := i, 0
			for n, w := range p.words {
				if n == 0 {
					continue
				}
				k++
				for gap < 1 && k < len(all) && all[k].text != w && len(all[k].text) <= 4 {
					k, gap = k+1, gap+1
				}
				if k >= len(all) || all[k].text != w {
					k = -1
					break
				}
			}
			if k >= len(all)-fresh {
				all[k].is |= p.is
			}
		}
	}
}

// cut makes segments of the words of one sentence.
func cut(all []token) []segment {
	for i := 1; i < len(all); i++ {
		if all[i].is&not != 0 && describes(all[i-1].text) && !(i+1 < len(all) && all[i+1].text == "to") {
			all[i].is &^= not
		}
	}
	var segs []segment
	for len(all) > 0 {
		n := min(len(all), longest)
		s := segment{tokens: all[:n], from: all[0].from, to: all[n-1].to}
		for _, t := range s.tokens {
			s.in |= t.is
		}
		segs = append(segs, s)
		if n == len(all) {
			break
		}
		all = all[n-overlap:]
	}
	return segs
}

// has reports that every class is in the segment.
func (s *segment) has(cs ...class) bool {
	for _, c := range cs {
		if s.in&c == 0 {
			return false
		}
	}
	return true
}

// near reports that a token of a is followed within n tokens by one of b.
func (s *segment) near(a, b class, n int) bool {
	if s.in&a == 0 || s.in&b == 0 {
		return false
	}
	for i, t := range s.tokens {
		if t.is&a == 0 {
			continue
		}
		for j := i + 1; j < len(s.tokens) && j <= i+n; j++ {
			if s.tokens[j].is&b != 0 {
				return true
			}
		}
	}
	return false
}

// around is near in either order; the same token does not count twice.
func (s *segment) around(a, b class, n int) bool { return s.near(a, b, n) || s.near(b, a, n) }

// chain is near for three classes in their order.
func (s *segment) chain(a, b, c class, n int) bool {
	if !s.has(a, b, c) {
		return false
	}
	for i, t := range s.tokens {
		if t.is&a == 0 {
			continue
		}
		for j := i + 1; j < len(s.tokens) && j <= i+n; j++ {
			if s.tokens[j].is&b == 0 {
				continue
			}
			for k := j + 1; k < len(s.tokens) && k <= j+n; k++ {
				if s.tokens[k].is&c != 0 {
					return true
				}
			}
		}
	}
	return false
}

// ordered reports a token of a that nothing passive stands right before: an
// order rather than a description.
func (s *segment) ordered(a class) bool {
	for i, t := range s.tokens {
		if t.is&a == 0 {
			continue
		}
		if i > 0 && s.tokens[i-1].is&passive != 0 && !(i > 1 && s.tokens[i-2].is&must != 0) {
			continue
		}
		return true
	}
	return false
}

// with is a sentence and the next one.
func (s segment) with(next *segment) segment {
	both := make([]token, 0, len(s.tokens)+len(next.tokens))
	both = append(append(both, s.tokens...), next.tokens...)
	return segment{both, s.from, next.to, s.in | next.in}
}

// describes reports a word before "not" that makes it a description of what
// the tool does rather than an order.
func describes(w string) bool {
	switch w {
	case "does", "is", "are", "was", "were", "did", "will", "would", "can", "could", "has", "have", "do", "it", "they":
		return w != "do"
	}
	return false
}

// says reports one of the words.
func (s *segment) says(words ...string) bool {
	for _, t := range s.tokens {
		if slices.Contains(words, t.text) {
			return true
		}
	}
	return false
}

// count counts the tokens of a class.
func (s *segment) count(c class) int {
	n := 0
	for _, t := range s.tokens {
		if t.is&c != 0 {
			n++
		}
	}
	return n
}
