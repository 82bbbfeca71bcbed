package pins

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/munjigi/munjigi/internal/base/normalize"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/mcp"
)

// collisions finds what a definition has to do with those of other servers: a
// name that one of them has, a name that looks like one, or text that speaks of
// one by name.
func (w *Watch) collisions(rule Rule, s catalog.Sighting) []call.Finding {
	if s.Kind != mcp.MethodToolsList && s.Kind != mcp.MethodPromptsList && s.Kind != catalog.KindServer {
		return nil
	}
	own := w.names(s.Server, true)
	others := w.names(s.Server, false)
	var found []call.Finding
	add := func(reason call.Reason, path, whose string) {
		found = append(found, call.Finding{Guard: "definitions", Reason: reason, Path: path + " (" + whose + ")"})
	}
	if s.Kind == mcp.MethodToolsList && !rule.SameNames {
		shape := skeleton(s.Name)
		for name, server := range others {
			switch {
			case name == s.Name:
				add(call.ReasonSameName, "/name", server+"/"+name)
			case skeleton(name) == shape, oneSlip(s.Name, name):
				if own[name] == "" {
					add(call.ReasonLookAlikeName, "/name", server+"/"+name)
				}
			}
		}
	}
	for word := range mentions(s.Raw) {
		if server, theirs := others[word]; theirs && own[word] == "" && word != s.Name && telling(word) {
			add(call.ReasonNamesOthers, "", server+"/"+word)
		}
	}
	return found
}

// names returns the tools and prompts of one server, or of all others that this
// gateway has, by name: pinned ones, and held ones that are their own.
func (w *Watch) names(server string, own bool) map[string]string {
	byIdentity := map[string]string{}
	for name, r := range w.rules {
		if (name == server) == own {
			byIdentity[r.Identity] = name
		}
	}
	out := map[string]string{}
	w.p.mu.RLock()
	defer w.p.mu.RUnlock()
	for at := range w.p.pins {
		if s, ok := byIdentity[at.identity]; ok && at.kind == kindTools {
			out[at.name] = s
		}
	}
	if own {
		for at := range w.p.held {
			if s, ok := byIdentity[at.identity]; ok && at.kind == kindTools {
				out[at.name] = s
			}
		}
	}
	return out
}

// reverse holds what was pinned at first sight and speaks of a tool of another
// server that is only seen now. What a person approved stays.
func (w *Watch) reverse(ctx context.Context, s catalog.Sighting) {
	if s.Kind != mcp.MethodToolsList || !telling(s.Name) {
		return
	}
	own := w.rules[s.Server].Identity
	byIdentity := map[string]string{}
	for name, r := range w.rules {
		if r.Identity != own && !r.Unpinned {
			byIdentity[r.Identity] = name
		}
	}
	type hit struct {
		at  place
		pin pinned
	}
	var hits []hit
	has := map[string]bool{}
	w.p.mu.RLock()
	for at, pin := range w.p.pins {
		if _, ok := byIdentity[at.identity]; !ok {
			continue
		}
		if at.kind == kindTools && at.name == s.Name {
			has[at.identity] = true
		}
		if pin.pin.How == ByFirstSight && pin.words[s.Name] && at.name != s.Name {
			hits = append(hits, hit{at, pin})
		}
	}
	w.p.mu.RUnlock()
	for _, x := range hits {
		if has[x.at.identity] {
			continue // its own tool of that name
		}
		if err := w.p.drop(ctx, whatPin, x.at); err != nil {
			w.p.o.Log.Error("a pin cannot be taken back", "server", byIdentity[x.at.identity], "name", x.at.name, "err", err)
		}
		w.p.mu.Lock()
		delete(w.p.pins, x.at)
		w.p.mu.Unlock()
		w.p.hold(ctx, x.at, Hold{Server: byIdentity[x.at.identity], Kind: x.at.kind, Name: x.at.name, Digest: x.pin.pin.Digest, Raw: x.pin.pin.Raw,
			Reason: call.ReasonNamesOthers, First: time.Now().UTC(),
			Findings: []Finding{{By: "definitions", Reason: string(call.ReasonNamesOthers), Text: s.Server + "/" + s.Name}}})
	}
}

// skeleton is a name as the eye takes it: lookalike letters, case and joints
// do not count.
func skeleton(name string) string {
	v := normalize.Text(name)
	var b strings.Builder
	for _, r := range strings.ToLower(v.Text) {
		switch r {
		case '_', '-', '.', ' ', '/':
			continue
		case '0':
			r = 'o'
		case '1', 'l', '|':
			r = 'i'
		case '5':
			r = 's'
		}
		b.WriteRune(r)
	}
	return strings.NewReplacer("rn", "m", "vv", "w").Replace(b.String())
}

// oneSlip reports names of eight letters and more that one slip of the hand
// makes of each other: a letter more, less, changed, or two that changed
// places. A plural, a number and another short word are no slips.
func oneSlip(a, b string) bool {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if len(x) > len(y) {
		x, y = y, x
	}
	if len(x) < 8 || len(y)-len(x) > 1 {
		return false
	}
	i := 0
	for i < len(x) && x[i] == y[i] {
		i++
	}
	j := 0
	for j < len(x)-i && x[len(x)-1-j] == y[len(y)-1-j] {
		j++
	}
	rx, ry := x[i:len(x)-j], y[i:len(y)-j]
	least := 6
	if len(rx) == 2 && len(ry) == 2 {
		least = 4
	}
	if wordAt(y, i) < least {
		return false
	}
	digit := func(rs []rune) bool { return len(rs) > 0 && unicode.IsDigit(rs[0]) }
	switch {
	case digit(rx) || digit(ry):
		return false
	case len(rx) == 0 && len(ry) == 1:
		plural := ry[0] == 's' && (i+1 >= len(y) || !unicode.IsLetter(y[i+1]))
		return !plural && unicode.IsLetter(ry[0])
	case len(rx) == 1 && len(ry) == 1:
		return unicode.IsLetter(rx[0]) && unicode.IsLetter(ry[0])
	case len(rx) == 2 && len(ry) == 2:
		return rx[0] == ry[1] && rx[1] == ry[0]
	}
	return false
}

// wordAt returns the length of the word that a place lies in.
func wordAt(s []rune, i int) int {
	i = min(i, len(s)-1)
	from, to := i, i
	for from > 0 && unicode.IsLetter(s[from-1]) {
		from--
	}
	for to < len(s) && unicode.IsLetter(s[to]) {
		to++
	}
	return to - from
}

// telling reports a name that no ordinary sentence has: words that are joined.
func telling(name string) bool {
	if len(name) < 5 {
		return false
	}
	for i, r := range name {
		if i > 0 && (r == '_' || r >= 'A' && r <= 'Z' && name[i-1] >= 'a' && name[i-1] <= 'z') {
			return true
		}
	}
	return strings.Count(name, "-") > 1
}

// mostMentions bounds the names that are remembered of one definition.
const mostMentions = 2000

// mentions returns the words of all texts of a definition that could be names
// of tools, without the server before them.
func mentions(raw []byte) map[string]bool {
	out := map[string]bool{}
	var walk func(raw []byte, depth int)
	take := func(text string) {
		v := normalize.Text(text)
		for _, word := range strings.FieldsFunc(v.Text, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' && r != '.'
		}) {
			word = strings.Trim(word, ".-")
			if _, tool, merged := strings.Cut(word, "__"); merged && tool != "" {
				word = tool
			}
			if telling(word) && len(word) <= 128 && len(out) < mostMentions {
				out[word] = true
			}
		}
	}
	walk = func(raw []byte, depth int) {
		if depth > 64 {
			return
		}
		switch strictjson.TypeOf(raw) {
		case strictjson.TypeString:
			if s, err := strictjson.String(raw); err == nil {
				take(s)
			}
		case strictjson.TypeArray:
			elems, err := strictjson.SplitArray(raw)
			if err != nil {
				return
			}
			for _, e := range elems {
				walk(e, depth+1)
			}
		case strictjson.TypeObject:
			o, err := strictjson.SplitObject(raw)
			if err != nil {
				return
			}
			for _, m := range o {
				walk(m.Raw, depth+1)
			}
		}
	}
	walk(raw, 0)
	return out
}

// excerpt is the text that a finding is about, as far as it fits on a line.
func excerpt(raw []byte, f call.Finding) string {
	if f.Span[1] <= f.Span[0] || f.Path == "" {
		return ""
	}
	text, ok := at(raw, f.Path)
	if !ok {
		return ""
	}
	r := []rune(text)
	if f.Span[1] > len(r) {
		return ""
	}
	r = r[f.Span[0]:f.Span[1]]
	const most = 240
	if len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(r)
}

// at returns the string that a JSON pointer names: a value, or the last name
// itself where the value is none.
func at(raw []byte, path string) (string, bool) {
	last := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		last = part
		switch strictjson.TypeOf(raw) {
		case strictjson.TypeObject:
			o, err := strictjson.SplitObject(raw)
			if err != nil {
				return "", false
			}
			v, ok := o.Get(part)
			if !ok {
				return "", false
			}
			raw = v
		case strictjson.TypeArray:
			elems, err := strictjson.SplitArray(raw)
			n := 0
			for _, c := range part {
				if c < '0' || c > '9' || n > 1<<20 {
					return "", false
				}
				n = n*10 + int(c-'0')
			}
			if err != nil || n >= len(elems) {
				return "", false
			}
			raw = elems[n]
		default:
			return "", false
		}
	}
	if strictjson.TypeOf(raw) == strictjson.TypeString {
		s, err := strictjson.String(raw)
		return s, err == nil
	}
	return last, true
}
