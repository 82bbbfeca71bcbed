// Package normalize makes the view of a text that detectors judge: what a
// model would understand, whatever the text was dressed in.
//
// Threat: an instruction that a person and a model read and a detector does
// not: letters of other alphabets, characters nobody sees, and encodings that
// a model undoes in its head.
//
// Text removes what is invisible and counts it, folds compatibility forms
// (NFKC, Unicode UAX #15) and look-alike letters, undoes percent signs, HTML
// entities, JSON escapes and terminal sequences in place, and puts the text of
// base64, base32 and hex runs, data URIs included, where the run stood. What
// that uncovers is looked at again, in a bounded number of passes. Sentences
// written backwards are turned round, and the short strings of JSON are also
// seen joined. Each pass is one walk over its input, and passes only shrink
// what they decode, so that the whole is linear; ASCII without any of this is
// not copied.
//
// A view is for judging and is never forwarded. Every part of it maps back to
// a range in code points of the text. What it does not undo: other ciphers,
// letters swapped for digits, images of text, and what is encoded deeper than
// the passes reach, which Signals.Deep says.
package normalize

import (
	"sort"
	"unicode/utf8"
)

// maxPasses bounds how many encodings, one inside the other, are undone.
const maxPasses = 5

// Signals count what had to be undone. Honest text has little of it.
type Signals struct {
	// Invisible counts zero-width and control characters where neither a script
	// nor an emoji needs them, and terminal sequences.
	Invisible int
	// Tags counts characters of the tag block outside of flags, and variation
	// selectors that carry bytes.
	Tags int
	// Bidi counts overrides and embeddings, which show text in another order.
	Bidi int
	// LookAlikes counts words that mix Latin letters with others that look
	// like them.
	LookAlikes int
	// Folded counts letters in another dress: wide, mathematical, circled.
	Folded int
	// Escaped counts percent signs, entities and escapes, Encoded the runs of
	// base64, base32 and hex, Reversed the passages turned round.
	Escaped, Encoded, Reversed int
	// Deep says that something was still encoded after the last pass.
	Deep bool
}

// Hidden reports characters that are there so that a person does not see what
// a model reads.
func (s Signals) Hidden() bool { return s.Tags > 0 || s.Bidi > 0 || s.Invisible > 2 }

// Mark is where a signal was met first.
type Mark struct {
	Kind string // invisible, tag, bidi, look-alike
	Span [2]int // code points of the original, end exclusive
}

// View is a text as it is judged.
type View struct {
	// Text is the view; case is kept.
	Text string
	// Joined is the view of JSON's short strings put together, nil where there
	// are none that look split.
	Joined  *View
	Signals Signals

	original string
	levels   []level
	marks    []mark
}

// level maps one pass's output to its input, in bytes.
type level struct {
	text string // the output
	from string // the input
	segs []seg
}

// seg says where the output from dst on comes from: byte by byte, or rune by
// rune where letters were folded, if it is plain, and else as a whole from the
// input between src and the next seg's.
type seg struct {
	dst, src int
	kind     segKind
}

type segKind uint8

const (
	plain   segKind = iota
	undone          // an escape, or a character that was removed or expanded
	decoded         // a run that was decoded, or turned round
)

type mark struct {
	kind     string
	from, to int // bytes of the input of the first pass
}

// Text returns the view of a text. Bytes that are not UTF-8 are kept.
func Text(s string) View {
	v := build(s, 0)
	if j, l, ok := join(s); ok {
		inner := build(j, 0)
		inner.levels = append([]level{l}, inner.levels...)
		inner.original, inner.marks = s, nil
		v.Joined = &inner
	}
	return v
}

func build(s string, spent int) View {
	v := View{Text: s, original: s}
	for n := spent; ; n++ {
		if n == maxPasses {
			v.Signals.Deep = true
			return v
		}
		p := pass{src: v.Text, sig: &v.Signals, first: n == 0}
		p.run()
		if n == 0 {
			v.marks = p.marks
		}
		changed := p.out != nil
		if changed {
			v.add(p.finish(), p.src, p.segs)
		}
		if p.backwards >= minBackwards && v.Signals.Reversed == 0 {
			if text, segs, n := turn(v.Text); n > 0 {
				v.add(text, v.Text, segs)
				v.Signals.Reversed += n
				p.again, changed = true, true
			}
		}
		if !changed || !p.again {
			return v
		}
	}
}

func (v *View) add(text, from string, segs []seg) {
	v.levels = append(v.levels, level{text, from, segs})
	v.Text = text
}

// Changed reports that the view is not the text itself.
func (v *View) Changed() bool { return len(v.levels) > 0 }

// Span is Bytes in code points. It counts them from the beginning of the
// original: ask for few spans, or for bytes.
func (v *View) Span(from, to int) [2]int {
	from, to = v.Bytes(from, to)
	a := utf8.RuneCountInString(v.original[:from])
	return [2]int{a, a + utf8.RuneCountInString(v.original[from:to])}
}

// Bytes returns the range of the original, end exclusive, that a range of the
// view in bytes comes from.
func (v *View) Bytes(from, to int) (a, b int) {
	from, to = clamp(from, len(v.Text)), clamp(to, len(v.Text))
	for i := len(v.levels) - 1; i >= 0; i-- {
		from, to = v.levels[i].back(from, to)
	}
	a = boundary(v.original, from)
	return a, max(a, boundary(v.original, to))
}

// Covered reports that a range of the view, in bytes, holds text that stood
// encoded or backwards in the original.
func (v *View) Covered(from, to int) bool {
	for i := len(v.levels) - 1; i >= 0; i-- {
		l := &v.levels[i]
		for k := l.at(from); k < len(l.segs) && (l.segs[k].dst < to || k == l.at(from)); k++ {
			if l.segs[k].kind == decoded {
				return true
			}
		}
		from, to = l.back(from, to)
	}
	return false
}

// Marks returns where characters that a person does not see, or takes for
// others, were met; at most sixteen.
func (v *View) Marks() []Mark {
	out := make([]Mark, 0, len(v.marks))
	for _, m := range v.marks {
		a := utf8.RuneCountInString(v.original[:m.from])
		out = append(out, Mark{m.kind, [2]int{a, a + utf8.RuneCountInString(v.original[m.from:m.to])}})
	}
	return out
}

// boundary moves i back to where a character begins.
func boundary(s string, i int) int {
	for k := 1; k < utf8.UTFMax && k <= i && i < len(s); k++ {
		if utf8.RuneStart(s[i-k]) {
			if _, w := utf8.DecodeRuneInString(s[i-k:]); w > k {
				return i - k
			}
			return i
		}
	}
	return i
}

func clamp(i, n int) int { return min(max(i, 0), n) }

// at returns the last seg that begins at or before a byte of the output.
func (l *level) at(dst int) int {
	return max(0, sort.Search(len(l.segs), func(i int) bool { return l.segs[i].dst > dst })-1)
}

// back maps a range of the output to one of the input.
func (l *level) back(from, to int) (int, int) {
	from, to = boundary(l.text, from), boundary(l.text, to)
	a := l.begin(from)
	if to <= from {
		return a, a
	}
	return a, max(a, l.end(to))
}

func (l *level) begin(dst int) int {
	if len(l.segs) == 0 {
		return min(dst, len(l.from))
	}
	s := l.segs[l.at(dst)]
	if s.kind != plain {
		return s.src
	}
	return l.walk(s, dst)
}

func (l *level) end(dst int) int {
	if len(l.segs) == 0 {
		return min(dst, len(l.from))
	}
	k := l.at(dst - 1)
	if s := l.segs[k]; s.kind == plain {
		return l.walk(s, dst)
	}
	if k+1 < len(l.segs) {
		return l.segs[k+1].src
	}
	return len(l.from)
}

// walk follows a plain seg rune by rune.
func (l *level) walk(s seg, dst int) int {
	src := s.src
	for range l.text[s.dst:min(dst, len(l.text))] {
		_, w := utf8.DecodeRuneInString(l.from[src:])
		src += w
	}
	return src
}
