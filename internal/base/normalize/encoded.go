package normalize

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// minRun is how long a run of any letters must be to be tried. Shorter ones
// are, from eight on, if no word looks like them.
const minRun = 16

// mixed reports a run that is no word in any case: letters change from small
// to capital or to digits, as in base64.
func mixed(s string) bool {
	changes := 0
	for i := 1; i < len(s) && changes < 3; i++ {
		if small(s[i-1]) != small(s[i]) {
			changes++
		}
	}
	return changes >= 3 || changes >= 1 && len(s)%4 == 0 && s[0] >= 'A' && s[0] <= 'Z' && !small(s[len(s)-1]) ||
		len(s)%2 == 0 && digit(s[0]) >= 0 && digit(s[1]) >= 0 && digit(s[2]) >= 0 && digit(s[len(s)-1]) >= 0
}

func small(c byte) bool { return c >= 'a' && c <= 'z' }

// encoded tries src[i:j] as hex, base32 and base64, each forwards and
// backwards, and its parts between slashes. It returns where to go on, 0 if
// nothing was decoded.
func (p *pass) encoded(i, j int) int {
	run, end := p.extend(i, j)
	if text := decode(run); text != nil {
		p.take(i, end, text)
		return end
	}
	if end > j {
		if text := decode(p.src[i:j]); text != nil {
			p.take(i, j, text)
			return j
		}
	}
	for k := i; k < j; k++ {
		if c := p.src[k]; c == '/' || c == '_' || c == '-' {
			return p.parts(i, j)
		}
	}
	return 0
}

// parts tries what stands between the signs that are also used in paths.
func (p *pass) parts(i, j int) int {
	found := 0
	for at := i; at < j; {
		k := at
		for k < j && strings.IndexByte("/_-", p.src[k]) < 0 {
			k++
		}
		if k-at >= minRun {
			if text := decode(p.src[at:k]); text != nil {
				p.take(at, k, text)
				found = j
			}
		}
		at = k + 1
	}
	return found
}

func (p *pass) take(i, j int, text []byte) {
	p.sig.Encoded++
	p.again = true
	p.replace(i, j, text, decoded)
}

// extend follows a run over the line ends of MIME and PEM, and takes its
// padding.
func (p *pass) extend(i, j int) (string, int) {
	s := p.src
	text, end := s[i:j], j
	if j-i >= 40 && i >= p.extended {
		var b []byte
		for end < len(s) && len(b) < 1<<20 {
			k := end
			for k < len(s) && (s[k] == '\r' || s[k] == '\n' || s[k] == ' ' || s[k] == '\t') {
				k++
			}
			m := k
			for m < len(s) && classOf(s[m]) == run {
				m++
			}
			if k == end || k-end > 12 || m-k < 2 || !strings.Contains(s[end:k], "\n") || m < len(s) && s[m] != '\n' && s[m] != '\r' && s[m] != '=' && s[m] != '"' && s[m] != '<' && s[m] != '`' {
				break
			}
			if b == nil {
				b = append(b, text...)
			}
			b = append(b, s[k:m]...)
			end = m
			if m < len(s) && s[m] == '=' {
				break
			}
		}
		if b != nil {
			text = string(b)
		}
		p.extended = end
	}
	for k := 0; k < 6 && end < len(s) && s[end] == '='; k++ {
		end++
	}
	return text, end
}

// decode returns the text that a run stands for, nil if it is none.
func decode(run string) []byte {
	if text := forwards(run); text != nil {
		return text
	}
	if !backwardsToo(run) {
		return nil
	}
	b := []byte(run)
	slices.Reverse(b)
	return forwards(string(b))
}

// backwardsToo is a quick look at the last letters of a run, read backwards.
func backwardsToo(run string) bool {
	n := len(run)
	if n < 8 {
		return false
	}
	few := [8]byte{run[n-1], run[n-2], run[n-3], run[n-4], run[n-5], run[n-6], run[n-7], run[n-8]}
	return quads(string(few[:])) || hexes(string(few[:])) || bases(run)
}

// quads reports eight letters of base64 that may stand for text.
func quads(s string) bool {
	for i := 0; i+4 <= 8 && i+4 <= len(s); i += 4 {
		a, b, c, d := sixBits[s[i]], sixBits[s[i+1]], sixBits[s[i+2]], sixBits[s[i+3]]
		if a|b|c|d >= 0x80 || !seen(a<<2|b>>4) || !seen(b<<4|c>>2) || !seen(c<<6|d) {
			return false
		}
	}
	return true
}

// seen reports a byte that may be part of text.
func seen(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\n' || c == '\t' || c == '\r' }

func hexes(s string) bool {
	for i := range len(s) {
		if digit(s[i]) < 0 {
			return false
		}
	}
	return true
}

// bases reports a run of base32's alphabet alone.
func bases(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= '2' && c <= '7') {
			return false
		}
	}
	return true
}

func forwards(run string) []byte {
	if len(run)%2 == 0 && hexes(run) && len(run) >= 4 && seen(byte(digit(run[0])<<4|digit(run[1]))) && seen(byte(digit(run[2])<<4|digit(run[3]))) { //nolint:gosec // digits are below 16
		if b, err := hex.DecodeString(run); err == nil && textual(b) {
			return b
		}
	}
	if bases(run) {
		n := len(run)
		if r := n % 8; r == 1 || r == 3 || r == 6 {
			n--
		}
		if b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(run[:n]); err == nil && textual(b) {
			return b
		}
	}
	return base64Text(run)
}

func base64Text(run string) []byte {
	if !quads(run) {
		return nil
	}
	enc := base64.RawStdEncoding
	if strings.IndexByte(run, '-') >= 0 || strings.IndexByte(run, '_') >= 0 {
		enc = base64.RawURLEncoding
	}
	var head [12]byte
	n, err := enc.Decode(head[:], []byte(run[:min(len(run), 16)/4*4]))
	if err != nil || n < 6 || !textual(head[:n]) {
		return nil
	}
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	b, err := enc.DecodeString(run)
	if err != nil || !textual(b) {
		return nil
	}
	return b
}

// textual reports bytes that are text: UTF-8, nothing unseen, mostly letters.
// The last character may be cut.
func textual(b []byte) bool {
	letters, total := 0, 0
	for i := 0; i < len(b); {
		r, w := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && w == 1 {
			if i > 0 && i > len(b)-utf8.UTFMax && !utf8.FullRune(b[i:]) {
				break
			}
			return false
		}
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0x7f || r > 0x7f && !unicode.IsPrint(r) && !invisible(r) && r != 0xa0 {
			return false
		}
		if unicode.IsLetter(r) || r == ' ' || r == '\n' || invisible(r) || r >= '0' && r <= '9' || strings.ContainsRune("+/=%&\\;#", r) {
			letters++
		}
		total++
		i += w
	}
	return total >= 3 && letters*10 >= total*7
}

// pairs are groups of two hex digits, one after the other, between the same
// few separators.
type pairs struct {
	from, end int
	text      []byte
}

// pair takes a group, or 0x and a group, into the run that is being followed.
// It never ends the walk over a word: the run is replaced when it is over.
func (p *pass) pair(i, j int) bool {
	g := p.src[i:j]
	if len(g) == 4 {
		if g[0] != '0' || g[1] != 'x' {
			return false
		}
		g = g[2:]
	}
	hi, lo := digit(g[0]), digit(g[1])
	if hi < 0 || lo < 0 {
		return false
	}
	q := &p.pairs
	if len(q.text) > 0 && (i-q.end > 2 || q.from < p.kept) {
		p.pairsEnd()
	}
	if len(q.text) == 0 {
		q.from = i
	}
	q.text, q.end = append(q.text, byte(hi<<4|lo)), j //nolint:gosec // both are below 16
	if j+2 < len(p.src) {
		// Ends here unless another group follows within two signs.
		for k := j; k <= j+2 && k+1 < len(p.src); k++ {
			if digit(p.src[k]) >= 0 {
				return true
			}
		}
	}
	p.pairsEnd()
	return true
}

func (p *pass) pairsEnd() {
	q := &p.pairs
	if q.text == nil {
		return
	}
	if len(q.text) >= 8 && q.from >= p.kept && textual(q.text) {
		p.take(q.from, q.end, q.text)
	}
	q.text = nil
}
