package normalize

import "unicode/utf8"

// pass is one walk over a text. Nothing is copied until something differs.
type pass struct {
	src   string
	out   []byte // nil until something differs
	segs  []seg
	kept  int // src up to here is in out
	sig   *Signals
	marks []mark
	first bool // signals of characters are counted once
	again bool // what came out may hide more
	// backwards counts words that look like common ones written backwards.
	backwards int
	// token is the last run of letters, digits and base64's signs.
	token, tokenEnd int
	// extended is how far lines were tried together, wordEnd how far the letters
	// of the word at hand were looked at, and wordFold what came of it.
	extended, wordEnd int
	wordFold          bool
	// scratch is where an escape is undone.
	scratch [64]byte
	// pairs is the run of two-digit hex groups that is being followed.
	pairs pairs
}

// class is what a byte may be the beginning of.
type class uint8

const (
	other   class = iota
	run           // a letter, digit or sign of base64
	special       // % & \
	control       // no one sees it
	high          // not ASCII
)

func classOf(c byte) class { return class(classTable[c]) }

func (p *pass) run() {
	s := p.src
	for i := 0; i < len(s); {
		switch classOf(s[i]) {
		case other:
			i++
		case run:
			j := i + 1
			for j < len(s) && classOf(s[j]) == run {
				j++
			}
			p.token, p.tokenEnd = i, j
			i = p.word(i, j)
		case special:
			p.pairsEnd()
			i = p.escape(i)
		case control:
			p.pairsEnd()
			i = p.unseen(i)
		default:
			p.pairsEnd()
			i = p.beyond(i)
		}
	}
	p.pairsEnd()
}

// word looks at one run of letters, digits and signs and returns where to go
// on.
func (p *pass) word(i, j int) int {
	n := j - i
	if (n == 2 || n == 4) && p.pair(i, j) {
		return j
	}
	p.pairsEnd()
	switch {
	case n >= minRun || n >= 8 && mixed(p.src[i:j]):
		if end := p.encoded(i, j); end > 0 {
			return end
		}
	}
	if n >= 3 && isBackwards(p.src[i:j]) {
		p.backwards++
	}
	return j
}

// keep brings what stands before i into out.
func (p *pass) keep(i int) {
	if i > p.kept || p.out == nil {
		if p.out == nil {
			p.out = make([]byte, 0, len(p.src)+16)
			p.segs = make([]seg, 0, 16+len(p.src)/256)
		}
		if len(p.segs) == 0 || p.segs[len(p.segs)-1].kind != plain {
			p.segs = append(p.segs, seg{len(p.out), p.kept, plain})
		}
		p.out = append(p.out, p.src[p.kept:i]...)
	}
	p.kept = i
}

// replace puts text in the place of src[i:j].
func (p *pass) replace(i, j int, text []byte, k segKind) {
	p.keep(i)
	if n := len(p.segs); n > 0 && p.segs[n-1].kind == plain && p.segs[n-1].dst == len(p.out) {
		p.segs = p.segs[:n-1]
	}
	p.segs = append(p.segs, seg{len(p.out), i, k})
	p.out = append(p.out, text...)
	p.kept = j
	p.segs = append(p.segs, seg{len(p.out), j, plain})
}

// swap puts one rune in the place of another.
func (p *pass) swap(i, j int, r rune) {
	p.keep(i)
	if len(p.segs) == 0 || p.segs[len(p.segs)-1].kind != plain {
		p.segs = append(p.segs, seg{len(p.out), i, plain})
	}
	p.out = utf8.AppendRune(p.out, r)
	p.kept = j
}

func (p *pass) finish() string {
	p.keep(len(p.src))
	return string(p.out)
}

func (p *pass) mark(kind string, i, j int) {
	if p.first && len(p.marks) < 16 {
		p.marks = append(p.marks, mark{kind, i, j})
	}
}

// unseen removes a control character, or a terminal sequence (ECMA-48).
func (p *pass) unseen(i int) int {
	s, j := p.src, i+1
	if s[i] == 0x1b && j < len(s) {
		switch s[j] {
		case '[':
			for j++; j < len(s) && s[j] >= 0x20 && s[j] < 0x40; j++ {
			}
			if j < len(s) && s[j] >= 0x40 && s[j] < 0x7f {
				j++
			}
		case ']':
			for j++; j < len(s) && s[j] >= 0x20; j++ {
			}
			if j < len(s) && s[j] == 7 {
				j++
			}
		}
	}
	if p.first {
		p.sig.Invisible++
	}
	p.mark("invisible", i, j)
	p.replace(i, j, nil, undone)
	return j
}
