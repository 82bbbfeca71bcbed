package secrets

import (
	"regexp/syntax"
	"strings"
)

// set is a set of bytes.
type set [4]uint64

func (s *set) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *set) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

// The parts of the rule set's expressions for a name, an operator and a secret.
const (
	beforeName = `[\w.-]{0,50}?`
	afterName  = `[ \t\w.-]{0,20}`
)

// Bounds of where an expression is run.
const (
	mostAhead = 16 << 10 // bytes after a keyword, for what has no bound of its own
	headBytes = 48       // bytes of a match that are looked at before the expression is run
)

// place finds out where a match stands from the place of its keyword.
func place(id, source string, keywords []string) where {
	r := where{back: 512, ahead: mostAhead, weight: 32}
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return r
	}
	_, longest := length(re)
	if prog, err := syntax.Compile(re.Simplify()); err == nil {
		r.weight = 1 + len(prog.Inst)/64
	}
	r.spaced = strings.Contains(source, `[\s`)
	r.back, r.ahead = min(longest, 512)+4, min(longest, mostAhead)+4
	switch id {
	case "facebook-access-token", "cloudflare-origin-ca-key", "airtable-personnal-access-token", "sourcegraph-access-token",
		"intra42-client-secret", "kubernetes-secret-yaml":
		r.shape, r.back, r.ahead = far, 4096, 4096
		return r
	case "curl-auth-header", "curl-auth-user":
		r.back, r.ahead = 1, 2048
		return r
	}
	if strings.Contains(source, beforeName) && strings.Contains(source, afterName) {
		name, _, _ := strings.Cut(source, afterName)
		name = strings.NewReplacer("[_-]?", "_", "[_.-]?", "_", "passw(?:or)?d", "passwd|password").Replace(strings.ToLower(name))
		r.shape = assigned
		for _, k := range keywords {
			if !strings.Contains(name, strings.ReplaceAll(k, "-", "_")) && !strings.Contains(name, k) &&
				!strings.Contains(name, fold(k)) && !strings.Contains(strings.ReplaceAll(name, "_", ""), k) {
				r.shape = near
				r.back, r.ahead = 160, 256
			}
		}
		return r
	}
	heads := heads(re)
	for _, h := range heads {
		if !startsWith(h, keywords) {
			return r
		}
	}
	if len(heads) > 0 {
		r.shape, r.heads, r.back = headed, heads, 4
	}
	return r
}

// fold writes a word as the rule set does where it keeps the letter case: its
// first letter either way, or all of it large.
func fold(k string) string { return "[" + k[:1] + k[:1] + "]" + k[1:] }

// startsWith reports that a head begins with one of the words.
func startsWith(head []set, words []string) bool {
	for _, w := range words {
		if len(w) > len(head) {
			continue
		}
		fits := true
		for i := range len(w) {
			c := w[i]
			up := c
			if c >= 'a' && c <= 'z' {
				up = c - 'a' + 'A'
			}
			fits = fits && (head[i].has(c) || head[i].has(up))
		}
		if fits {
			return true
		}
	}
	return false
}

// length bounds the bytes of a match: at most 1<<20, which stands for no bound.
func length(re *syntax.Regexp) (shortest, longest int) {
	const unbounded = 1 << 20
	clip := func(n int) int { return min(n, unbounded) }
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune), 4 * len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		if re.Op == syntax.OpCharClass && len(re.Rune) > 0 && re.Rune[len(re.Rune)-1] < 0x80 {
			return 1, 1
		}
		return 1, 4
	case syntax.OpCapture:
		return length(re.Sub[0])
	case syntax.OpConcat:
		for _, s := range re.Sub {
			a, b := length(s)
			shortest, longest = clip(shortest+a), clip(longest+b)
		}
		return shortest, longest
	case syntax.OpAlternate:
		shortest = unbounded
		for _, s := range re.Sub {
			a, b := length(s)
			shortest, longest = min(shortest, a), max(longest, b)
		}
		return shortest, longest
	case syntax.OpRepeat:
		a, b := length(re.Sub[0])
		if re.Max < 0 {
			return clip(a * re.Min), unbounded
		}
		return clip(a * re.Min), clip(b * re.Max)
	case syntax.OpStar:
		return 0, unbounded
	case syntax.OpPlus:
		a, _ := length(re.Sub[0])
		return a, unbounded
	case syntax.OpQuest:
		_, b := length(re.Sub[0])
		return 0, b
	}
	return 0, 0
}

// heads returns the sets of bytes that a match begins with, one list for each
// way to begin; nil where that is not a matter of ASCII alone.
func heads(re *syntax.Regexp) [][]set {
	out, _ := extend([][]set{nil}, re)
	for _, h := range out {
		if len(h) < 2 {
			return nil
		}
	}
	return out
}

// extend appends what re begins with to each head, and reports whether all of
// re was appended, so that what follows it may be too.
func extend(to [][]set, re *syntax.Regexp) (out [][]set, whole bool) {
	if len(to) > 8 {
		return to, false
	}
	one := func(s set) [][]set {
		out := make([][]set, len(to))
		for i, h := range to {
			out[i] = append(append([]set(nil), h...), s)
		}
		return out
	}
	if len(to) > 0 && len(to[0]) >= headBytes {
		return to, false
	}
	switch re.Op {
	case syntax.OpWordBoundary, syntax.OpEmptyMatch:
		return to, true
	case syntax.OpCapture:
		return extend(to, re.Sub[0])
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			var s set
			if r >= 0x80 {
				return to, false
			}
			s.add(byte(r))
			if re.Flags&syntax.FoldCase != 0 && (r|0x20) >= 'a' && (r|0x20) <= 'z' {
				s.add(byte(r) ^ 0x20)
			}
			to = one(s)
		}
		return to, true
	case syntax.OpCharClass:
		var s set
		whole = true
		for i := 0; i+1 < len(re.Rune); i += 2 {
			from, to := re.Rune[i], re.Rune[i+1]
			for r := from; r <= min(to, 0x7f); r++ {
				s.add(byte(r))
			}
			// Kelvin's sign and the long s are letters to an expression that does
			// not tell capitals, and stand in no token.
			if to >= 0x80 && (from != to || to != 0x17f && to != 0x212a) {
				whole = false
				for c := 0x80; c < 0x100; c++ {
					s.add(byte(c))
				}
			}
		}
		return one(s), whole
	case syntax.OpRepeat:
		for range re.Min {
			var all bool
			if to, all = extend(to, re.Sub[0]); !all {
				return to, false
			}
		}
		return to, re.Max == re.Min
	case syntax.OpPlus:
		to, _ = extend(to, re.Sub[0])
		return to, false
	case syntax.OpConcat:
		for _, s := range re.Sub {
			if to, whole = extend(to, s); !whole {
				return to, false
			}
		}
		return to, true
	case syntax.OpAlternate:
		whole = true
		for _, s := range re.Sub {
			more, all := extend(to, s)
			out, whole = append(out, more...), whole && all
		}
		return out, whole
	}
	return to, false
}
