package normalize

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// beyond handles one word that has characters beyond ASCII, from i on, and
// returns where to go on.
func (p *pass) beyond(i int) int {
	if i >= p.wordEnd {
		p.wordFold, p.wordEnd = p.folds(i)
	}
	s, k := p.src, i
	for k < len(s) && s[k] >= utf8.RuneSelf {
		k = p.one(k, p.wordFold && k < p.wordEnd)
	}
	return k
}

// folds reports that the word at i, which has letters beyond ASCII, is read as
// Latin, and how far that holds.
func (p *pass) folds(i int) (fold bool, end int) {
	s := p.src
	// What kind of word it is: Latin letters before i count.
	latin := p.tokenEnd == i && i > 0 && p.token >= p.kept && hasLetter(s[p.token:i])
	alike, foreign := 0, 0
	end = i
	over := false
	for k := i; k < len(s) && k < i+256 && !over; {
		c := s[k]
		if c < utf8.RuneSelf {
			if !isLetter(c) {
				break
			}
			latin = true
			k++
			end = k
			continue
		}
		r, w := utf8.DecodeRuneInString(s[k:])
		if !stable(r) && !invisible(r) {
			switch {
			case lookAlike(r) != 0:
				alike++
			case unicode.IsLetter(r):
				if t := base(s[k : k+w]); t != 0 && isLetter(byte(t)) {
					latin = true
				} else {
					foreign++
				}
			case !unicode.IsMark(r):
				over = true
			}
		} else if stable(r) {
			foreign++
			if r >= 0x1100 && alike == 0 && !latin {
				over = true // Hangul, Han, kana: no letter of theirs is an alike
			}
		}
		k += w
		end = k
	}
	fold = alike > 0 && (latin || foreign == 0)
	if fold && latin && foreign == 0 && p.first {
		p.sig.LookAlikes++
		p.mark("look-alike", i, end)
	}
	return fold, max(end, i+1)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func hasLetter(s string) bool {
	for i := len(s) - 1; i >= 0 && i > len(s)-8; i-- {
		if isLetter(s[i]) {
			return true
		}
	}
	return false
}

// stable reports characters that stay as they are: Hangul, Han, kana, Arabic,
// Hebrew, Devanagari, Thai and most emoji.
func stable(r rune) bool {
	return r >= 0xac00 && r <= 0xd7a3 || r >= 0x4e00 && r <= 0x9fff || r >= 0x3041 && r <= 0x30fe && r != 0x309b && r != 0x309c ||
		r >= 0x5d0 && r <= 0x5ea || r >= 0x620 && r <= 0x66f && r != 0x640 || r >= 0x905 && r <= 0x957 || r >= 0xe01 && r <= 0xe32 || r >= 0x1f300 && r <= 0x1faff && r != 0x1f3f4
}

// one handles one character beyond ASCII.
func (p *pass) one(i int, fold bool) int {
	s := p.src
	r, w := utf8.DecodeRuneInString(s[i:])
	j := i + w
	switch {
	case stable(r):
	case r == utf8.RuneError && w == 1:
	case r == 0x1f3f4:
		return i + w + flag(s[j:])
	case invisible(r):
		return p.vanish(i, j, r)
	case fold && lookAlike(r) != 0:
		p.swap(i, j, lookAlike(r))
		p.again = p.again || p.first
	case punctuation(r) != 0:
		p.swap(i, j, punctuation(r))
	case r >= 0x300 && r <= 0x36f:
		p.replace(i, j, nil, undone)
		p.again = p.again || p.first
	case r >= 0x1100 && r <= 0x11ff:
		return p.jamo(i)
	default:
		p.compatible(i, j, r)
	}
	return j
}

// flag is the length of a tag sequence that makes a flag of the black one
// (Unicode UTS #51).
func flag(s string) int {
	n := 0
	for letters := 0; letters < 8; letters++ {
		r, w := utf8.DecodeRuneInString(s[n:])
		n += w
		if r == 0xe007f && letters > 0 {
			return n
		}
		if r < 0xe0030 || r > 0xe007a {
			break
		}
	}
	return 0
}

// base is the ASCII letter under a Latin letter's marks, 0 if there is none.
func base(c string) rune {
	d := norm.NFKD.PropertiesString(c).Decomposition()
	if len(d) > 1 && isLetter(d[0]) && d[1] >= utf8.RuneSelf {
		return rune(d[0])
	}
	return 0
}

// compatible folds one character to its NFKC form, without its marks.
func (p *pass) compatible(i, j int, r rune) {
	c := p.src[i:j]
	if t := base(c); t != 0 {
		p.swap(i, j, t)
		p.again = p.again || p.first
		return
	}
	if norm.NFKC.QuickSpanString(c) == len(c) {
		return
	}
	t := norm.NFKC.String(c)
	if t == c || utf8.RuneCountInString(t) > 4 {
		return
	}
	if t[0] < utf8.RuneSelf {
		p.again = true
		if isLetter(t[0]) {
			p.sig.Folded++
		}
	}
	if q, w := utf8.DecodeRuneInString(t); w == len(t) {
		p.swap(i, j, q)
		return
	}
	p.replace(i, j, []byte(t), undone)
}

// jamo composes Hangul that came in pieces.
func (p *pass) jamo(i int) int {
	s, j := p.src, i
	for j < len(s) && j < i+96 {
		r, w := utf8.DecodeRuneInString(s[j:])
		if r < 0x1100 || r > 0x11ff || r == 0x115f || r == 0x1160 {
			break
		}
		j += w
	}
	if j == i {
		_, w := utf8.DecodeRuneInString(s[i:])
		return i + w
	}
	if t := norm.NFC.String(s[i:j]); t != s[i:j] {
		p.replace(i, j, []byte(t), undone)
	}
	return j
}

// vanish removes a character that is not seen. Tags and variation selectors
// that carry text are made readable.
func (p *pass) vanish(i, j int, r rune) int {
	s := p.src
	switch {
	case r >= 0xe0000 && r <= 0xe007f || r >= 0xe0100 && r <= 0xe01ef:
		text, k := smuggled(s, i)
		if p.first {
			p.sig.Tags += max(1, len(text))
		}
		p.mark("tag", i, k)
		p.again = true
		p.replace(i, k, text, decoded)
		return k
	case r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
		if p.first && r != 0x202c && r < 0x2066 {
			p.sig.Bidi++
			p.mark("bidi", i, j)
		}
	case r >= 0xfe00 && r <= 0xfe0f:
		if k := j; k < len(s) {
			if q, _ := utf8.DecodeRuneInString(s[k:]); q >= 0xfe00 && q <= 0xfe0f || q >= 0xe0100 && q <= 0xe01ef {
				text, k := smuggled(s, i)
				if p.first {
					p.sig.Tags += max(1, len(text))
				}
				p.mark("tag", i, k)
				p.again = true
				p.replace(i, k, text, decoded)
				return k
			}
		}
	case !needed(s, i, j, r):
		if p.first {
			p.sig.Invisible++
		}
		p.mark("invisible", i, j)
		p.again = true
	}
	p.replace(i, j, nil, undone)
	return j
}

// smuggled reads the text that a run of tag characters or variation selectors
// stands for.
func smuggled(s string, i int) (text []byte, end int) {
	for end = i; end < len(s); {
		r, w := utf8.DecodeRuneInString(s[end:])
		switch {
		case r >= 0xe0020 && r < 0xe007f:
			text = append(text, byte(r-0xe0000))
		case r >= 0xe0000 && r <= 0xe007f:
		case r >= 0xfe00 && r <= 0xfe0f:
			text = append(text, byte(r-0xfe00))
		case r >= 0xe0100 && r <= 0xe01ef:
			text = append(text, byte(r-0xe0100+16))
		default:
			return printable(text), end
		}
		end += w
	}
	return printable(text), end
}

func printable(b []byte) []byte {
	if !textual(b) {
		return nil
	}
	return b
}

// needed reports an invisible character that its neighbours need: joiners in
// emoji and in scripts whose letters join, marks of direction beside letters
// written from the right, soft hyphens inside words of small letters.
func needed(s string, i, j int, r rune) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[j:])
	switch r {
	case 0xfeff:
		return i == 0
	case 0xad:
		return true
	case 0x200c, 0x200d, 0x200e, 0x200f, 0x61c:
		return before >= 0x590 && before != utf8.RuneError || after >= 0x590 && after != utf8.RuneError && !invisible(after)
	case 0x200b, 0x2060:
		return before >= 0xe00 && before != utf8.RuneError && after >= 0xe00 && after != utf8.RuneError && !invisible(before) && !invisible(after)
	}
	return r >= 0x180b && r <= 0x180f
}

// invisible reports characters that leave no mark on a screen (the default
// ignorable ones of Unicode, and the fillers of Hangul).
func invisible(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x3164, r == 0xfeff, r == 0xffa0:
		return true
	case r >= 0x180b && r <= 0x180f, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r >= 0xfe00 && r <= 0xfe0f, r >= 0xfff0 && r <= 0xfffb, r >= 0x1bca0 && r <= 0x1bca3, r >= 0x1d173 && r <= 0x1d17a, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}
