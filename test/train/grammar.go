package main

import (
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sort"
	"strings"
)

//go:embed grammar/*.txt
var grammarFiles embed.FS

// grammar is rules by name; each has alternatives.
type grammar map[string][]string

// readGrammar reads the embedded rules. A rule that names one that is not there
// is an error.
func readGrammar() (grammar, error) {
	g := grammar{}
	files, err := fs.Glob(grammarFiles, "grammar/*.txt")
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	for _, f := range files {
		b, err := grammarFiles.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for n, line := range strings.Split(string(b), "\n") {
			if line == "" || line[0] == '#' {
				continue
			}
			name, text, ok := strings.Cut(line, ": ")
			if !ok || strings.ContainsAny(name, " {}") {
				return nil, fmt.Errorf("%s:%d: write NAME: ALTERNATIVE", f, n+1)
			}
			g[name] = append(g[name], text)
		}
	}
	r := rand.New(rand.NewPCG(1, 1)) // #nosec G404 -- the same each time
	for name := range g {
		for range 40 {
			if t := g.say(r, name); strings.Contains(t, "\x00") {
				return nil, fmt.Errorf("rule %s: %q", name, t)
			}
		}
	}
	return g, nil
}

// say is one text of a rule.
func (g grammar) say(r *rand.Rand, name string) string {
	t := g.expand(r, "{"+name+"}", 0)
	t = strings.NewReplacer("s? ", pick(r, "s ", " "), "  ", " ", " .", ".", " ,", ",", "..", ".", "?.", "?", "!.", "!").Replace(t)
	for _, an := range []string{"an? ", "An? "} {
		for {
			i := strings.Index(t, an)
			if i < 0 {
				break
			}
			article := an[:1] + " "
			if i+len(an) < len(t) && strings.IndexByte("aeiouAEIOUL", t[i+len(an)]) >= 0 {
				article = an[:2] + " "
			}
			t = t[:i] + article + t[i+len(an):]
		}
	}
	return strings.TrimSpace(t)
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// expand replaces what stands in braces. An unknown name becomes a NUL.
func (g grammar) expand(r *rand.Rand, t string, depth int) string {
	if depth > 24 {
		return "\x00too deep"
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '\\':
			i++
			if i < len(t) {
				if t[i] == 'n' {
					b.WriteByte('\n')
				} else {
					b.WriteByte(t[i])
				}
			}
		case '{':
			end := closing(t, i)
			if end < 0 {
				return "\x00unclosed: " + t
			}
			inner := t[i+1 : end]
			alts := alternatives(inner)
			switch {
			case len(alts) > 1:
				b.WriteString(g.expand(r, alts[r.IntN(len(alts))], depth+1))
			case len(g[inner]) > 0:
				b.WriteString(g.expand(r, g[inner][r.IntN(len(g[inner]))], depth+1))
			case strings.ContainsAny(inner, "{ "):
				b.WriteString(g.expand(r, inner, depth+1))
			default:
				return "\x00no rule " + inner
			}
			i = end
		default:
			b.WriteByte(t[i])
		}
	}
	return b.String()
}

func closing(t string, i int) int {
	depth := 0
	for ; i < len(t); i++ {
		switch t[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// alternatives splits at the bars of the outermost level.
func alternatives(t string) []string {
	var out []string
	depth, from := 0, 0
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			depth--
		case '|':
			if depth == 0 {
				out = append(out, t[from:i])
				from = i + 1
			}
		}
	}
	return append(out, t[from:])
}
