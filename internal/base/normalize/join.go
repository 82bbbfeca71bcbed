package normalize

import "strings"

// What makes strings of JSON look like pieces of one text.
const (
	minPieces = 3
	maxPiece  = 48
)

// join puts runs of short JSON strings together, wherever they stand: what was
// cut into fields reads as one. Names of members are left out.
func join(s string) (string, level, bool) {
	i := strings.IndexByte(s, '"')
	if i < 0 {
		return "", level{}, false
	}
	p := pass{src: s}
	var run []piece
	count := 0
	flush := func() {
		if worthJoining(s, run) {
			count += len(run)
			direct := cutInWords(s, run)
			for k, r := range run {
				if k > 0 && !direct {
					p.out = append(p.out, ' ')
				}
				p.segs = append(p.segs, seg{len(p.out), r.from, plain})
				p.out = append(p.out, s[r.from:r.to]...)
				p.segs = append(p.segs, seg{len(p.out), r.to, undone})
			}
			p.out = append(p.out, '\n')
		}
		run = run[:0]
	}
	for i < len(s) {
		next := strings.IndexByte(s[i:], '"')
		if next < 0 {
			break
		}
		if len(run) > 0 && !separates(s[i:i+next]) {
			flush()
		}
		i += next
		from := i + 1
		to := from
		for to < len(s) && s[to] != '"' {
			if s[to] == '\\' {
				to++
			}
			to++
		}
		if to >= len(s) {
			break
		}
		if t := s[from:to]; to-from > 0 && to-from <= maxPiece && strings.ContainsAny(t, ",:") && separates(t) {
			// An odd quote came before: this one ends a string.
			i = from
			continue
		}
		i = to + 1
		k := i
		for k < len(s) && (s[k] == ' ' || s[k] == '\n') {
			k++
		}
		if k < len(s) && s[k] == ':' {
			continue
		}
		if k < len(s) && s[k] != ',' && s[k] != ']' && s[k] != '}' {
			// Nothing of JSON ends so: the second quote may begin a string.
			flush()
			i = to
			continue
		}
		if to-from > maxPiece {
			flush()
			continue
		}
		run = append(run, piece{from, to})
	}
	flush()
	if count == 0 {
		return "", level{}, false
	}
	text := string(p.out)
	return text, level{text, s, p.segs}, true
}

// separates reports what may stand between two strings of JSON, names aside.
func separates(s string) bool {
	if len(s) > maxPiece {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c > ' ' && strings.IndexByte(",:[]{}+-.eE", c) < 0 && (c < '0' || c > '9') {
			return s[i:] == "true" || s[i:] == "false" || s[i:] == "null"
		}
	}
	return true
}

type piece struct{ from, to int }

// worthJoining reports pieces that may be one text: some go on where others
// stop.
func worthJoining(s string, run []piece) bool {
	if len(run) < minPieces {
		return false
	}
	words, coded := 0, 0
	for _, r := range run {
		t := s[r.from:r.to]
		if strings.IndexByte(t, ' ') >= 0 || len(t) > 0 && len(t) < 12 && isLetter(t[0]) {
			words++
		}
		if len(t) >= 4 && codes(t) {
			coded++
		}
	}
	return words*2 >= len(run) || coded*2 >= len(run)
}

// codes reports letters of base64 and its padding alone.
func codes(t string) bool {
	for i := range len(t) {
		if classOf(t[i]) != run && t[i] != '=' {
			return false
		}
	}
	return true
}

// cutInWords reports pieces that were cut at any letter: some begin or end
// with a space, or none has one and all are as long.
func cutInWords(s string, run []piece) bool {
	edges, spaces := 0, 0
	same := true
	for k, r := range run {
		t := s[r.from:r.to]
		if t == "" {
			continue
		}
		if t[0] == ' ' || t[len(t)-1] == ' ' {
			edges++
		}
		spaces += strings.Count(t, " ")
		if k+1 < len(run) && len(t) != run[0].to-run[0].from {
			same = false
		}
	}
	return edges > 0 || spaces == 0 && same
}
