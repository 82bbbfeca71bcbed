package normalize

import "strings"

// What makes strings of JSON look like pieces of one text.
const (
	minPieces = 3
	maxPiece  = 48
)

// join puts runs of short strings of a JSON text together: what was cut into
// fields reads as one. Names of members are left out.
func join(s string) (string, level, bool) {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	if i == len(s) || s[i] != '{' && s[i] != '[' {
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
		if s[i] != '"' {
			i++
			continue
		}
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
		i = to + 1
		k := i
		for k < len(s) && (s[k] == ' ' || s[k] == '\n') {
			k++
		}
		if k < len(s) && s[k] == ':' {
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
		if len(t) >= 4 && strings.Trim(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-") == "" {
			coded++
		}
	}
	return words*2 >= len(run) || coded*2 >= len(run)
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
