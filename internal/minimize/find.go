package minimize

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// finder finds any of many texts in one pass (Aho and Corasick, 1975).
type finder struct {
	nodes []node
	root  [256]int32 // the children of the first node
	texts []removal
	// distinct are those of the texts that hardly stand anywhere by chance.
	distinct []bool
}

type node struct {
	first, next int32 // child, and sibling; 0 for none
	fail        int32
	ends        int32 // the text that ends here; -1 for none
	more        int32 // the node of the next shorter one; 0 for none
	far         int32 // the longest of the distinct ones that end here; -1 for none
	c           byte
}

// longEnough is how many letters, in bytes, hardly stand anywhere by chance.
const longEnough = 10

type hit struct {
	from, to, which int
	distinct        bool
}

func newFinder(texts []removal) *finder {
	f := &finder{nodes: []node{{ends: -1, far: -1}}, texts: texts, distinct: make([]bool, len(texts))}
	for i, t := range texts {
		f.distinct[i] = len(t.folded) >= longEnough || len(t.folded) >= 5 && strings.ContainsAny(t.folded, "0123456789")
		at := int32(0)
		for _, c := range []byte(t.folded) {
			next := f.child(at, c)
			if next == 0 {
				next = int32(len(f.nodes)) //nolint:gosec // as many as maxFolded bytes
				f.nodes = append(f.nodes, node{ends: -1, far: -1, c: c, next: f.nodes[at].first})
				f.nodes[at].first = next
			}
			at = next
		}
		f.nodes[at].ends = int32(i) //nolint:gosec // the same
	}
	for n := f.nodes[0].first; n != 0; n = f.nodes[n].next {
		f.root[f.nodes[n].c] = n
	}
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for next := f.nodes[at].first; next != 0; next = f.nodes[next].next {
			queue = append(queue, next)
			n := &f.nodes[next]
			if n.ends >= 0 && f.distinct[n.ends] {
				n.far = n.ends
			}
			if at == 0 {
				continue
			}
			back := f.step(f.nodes[at].fail, n.c)
			n.fail, n.more = back, back
			if f.nodes[back].ends < 0 {
				n.more = f.nodes[back].more
			}
			if n.far < 0 {
				n.far = f.nodes[back].far
			}
		}
	}
	return f
}

func (f *finder) child(at int32, c byte) int32 {
	n := f.nodes[at].first
	for n != 0 && f.nodes[n].c != c {
		n = f.nodes[n].next
	}
	return n
}

func (f *finder) step(at int32, c byte) int32 {
	for at != 0 {
		if next := f.child(at, c); next != 0 {
			return next
		}
		at = f.nodes[at].fail
	}
	return f.root[c]
}

// find returns the texts that stand in b, in the order of their beginnings, the
// longest first: of the distinct ones the longest that ends at each place, of the
// others, which have few letters, all.
func (f *finder) find(b []byte) []hit {
	var hits []hit
	at := int32(0)
	for i, c := range b {
		at = f.step(at, c)
		if t := f.nodes[at].far; t >= 0 {
			hits = append(hits, hit{i + 1 - len(f.texts[t].folded), i + 1, int(t), true})
		}
		for n := at; n != 0; n = f.nodes[n].more {
			t := f.nodes[n].ends
			if t < 0 || len(f.texts[t].folded) >= longEnough {
				continue
			}
			hits = append(hits, hit{i + 1 - len(f.texts[t].folded), i + 1, int(t), false})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	return hits
}

// has reports that a text has one of the distinct values in it.
func (f *finder) has(s string) bool {
	at := int32(0)
	var buf []byte
	for _, r := range s {
		buf = appendFolded(buf[:0], r)
		for _, c := range buf {
			if at = f.step(at, c); f.nodes[at].far >= 0 {
				return true
			}
		}
	}
	return false
}

// maxDisguise bounds encodings of encodings.
const maxDisguise = 3

// disguised reports that a text says a value in another writing.
func (f *finder) disguised(s string, depth int) bool {
	if depth > 0 && f.has(s) {
		return true
	}
	if depth == maxDisguise {
		return false
	}
	if depth == 0 && f.has(reversed(s)) {
		return true
	}
	if strings.IndexByte(s, '%') >= 0 {
		if t := percentDecoded(s); t != s && f.disguised(t, depth+1) {
			return true
		}
	}
	if strings.IndexByte(s, '&') >= 0 {
		if t := html.UnescapeString(s); t != s && f.disguised(t, depth+1) {
			return true
		}
	}
	if strings.IndexByte(s, '\\') >= 0 {
		if t := unescaped(s); t != s && f.disguised(t, depth+1) {
			return true
		}
	}
	for _, run := range runs(s) {
		if hexadecimal(run) {
			for off := range min(2, len(run)) {
				even := run[off:]
				even = even[:len(even)&^1]
				if b, err := hex.DecodeString(even); err == nil && f.disguised(string(b), depth+1) {
					return true
				}
			}
		}
		std := strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for off := range min(4, len(std)) {
			part := std[off:]
			if len(part)%4 == 1 {
				part = part[:len(part)-1]
			}
			if b, err := base64.RawStdEncoding.DecodeString(part); err == nil && f.disguised(string(b), depth+1) {
				return true
			}
		}
	}
	return false
}

// runs are the stretches of a text that could be base64 or hexadecimal.
func runs(s string) []string {
	var out []string
	from := -1
	for i := range len(s) + 1 {
		coded := false
		if i < len(s) {
			c := s[i]
			coded = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
		}
		switch {
		case coded && from < 0:
			from = i
		case !coded && from >= 0:
			if i-from >= 6 {
				out = append(out, s[from:i])
			}
			from = -1
		}
	}
	return out
}

func hexadecimal(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

func reversed(s string) string {
	b := make([]byte, 0, len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeLastRuneInString(s)
		b = utf8.AppendRune(b, r)
		s = s[:len(s)-n]
	}
	return string(b)
}

// percentDecoded decodes what is well formed and leaves the rest.
func percentDecoded(s string) string {
	if t, err := url.PathUnescape(s); err == nil {
		return t
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unescaped decodes what stands behind \x and \u and leaves the rest.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			digits := map[byte]int{'x': 2, 'u': 4}[s[i+1]]
			if digits > 0 && i+2+digits <= len(s) {
				if n, err := strconv.ParseUint(s[i+2:i+2+digits], 16, 32); err == nil {
					b.WriteRune(rune(n)) //nolint:gosec // at most 16 bits
					i += 1 + digits
					continue
				}
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
