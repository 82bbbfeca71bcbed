// Package poisoning looks for orders to a model in the definitions that servers
// give of their tools, prompts and resources.
//
// Threat: a description is text that a model obeys and that a person seldom
// reads. A poisoned one tells the model to read a key file and pass it on, to
// keep that from the person, to send mail elsewhere, to use no other tool, or
// hides such words where nobody sees them. What a definition says counts from
// the moment it is listed; the tool need never be called.
//
// It judges every text of a definition, names and values of schemas included, by
// rules about meanings: each known word or phrase of eleven languages
// stands for a few classes, and a rule weighs which classes come together in one
// sentence. Invisible characters, tags, lookalike letters and common encodings
// are read as a model reads them, and are findings themselves where honest
// writing does not need them. Of a changed definition only what was added is
// weighed. The score grows with each piece of evidence and never falls by adding
// text.
//
// It does not find an order in plain words that an honest author might write
// ("the user wants the report also sent to the archive"), nor what no person
// could tell from a true description. Pins and policy stand for those.
package poisoning

import (
	"context"
	"sort"
	"strings"

	"github.com/munjigi/munjigi/internal/base/normalize"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Name of the guard.
const Name = "poisoning"

// Threshold is the score from which a definition is held.
const Threshold = 0.5

// mostFindings bounds what is told of one definition.
const mostFindings = 16

// Guard implements guard.Guard. Use New.
type Guard struct {
	read  *reader
	rules []rule
	known *known
}

var _ guard.Guard = (*Guard)(nil)

// New returns the guard.
func New() *Guard { return &Guard{read: newReader(), rules: rulesOf(), known: newKnown()} }

// Spec implements guard.Guard.
func (g *Guard) Spec() guard.Spec {
	return guard.Spec{
		Name: Name, Controls: []string{"9-2"}, Definition: true,
		Stops:  "Definitions that give orders to the model, or hide text from people.",
		Cannot: "It cannot tell an order in plain words from what an honest author might write; changes are held by their pins.",
	}
}

// Checks implements guard.Guard.
func (g *Guard) Checks() guard.Checks { return guard.Checks{Definition: g.check} }

// found is one piece of evidence.
type found struct {
	reason string
	weight float64
	path   string
	span   [2]int
	whole  bool // it counts wherever it stands
}

func (g *Guard) check(_ context.Context, s guard.Subject) (guard.Verdict, error) {
	v := g.known.get(s, g.judge)
	if s.Approved && v.Reason != call.ReasonDefinitionLarge {
		v.Effect, v.Reason = call.Allow, call.ReasonOK
	}
	return v, nil
}

// judge weighs a definition. Whether it was approved is left to check.
func (g *Guard) judge(s guard.Subject) guard.Verdict {
	t := texts{}
	t.walk(s.Raw, "", 0)
	if t.full {
		return guard.Verdict{Effect: call.Hold, Reason: call.ReasonDefinitionLarge, Score: Threshold, Findings: []call.Finding{{Guard: Name, Reason: call.ReasonDefinitionLarge}}}
	}
	if s.Previous != nil {
		t.all = added(t.all, s.Previous.Raw)
	}
	best, all := g.weigh(t.all, ownName(s.Raw))
	v := guard.Verdict{Effect: call.Allow, Reason: call.ReasonOK, Score: best}
	if best < Threshold {
		return v
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].weight > all[j].weight })
	for _, f := range all[:min(len(all), mostFindings)] {
		v.Findings = append(v.Findings, call.Finding{Guard: Name, Reason: call.Reason(f.reason), Path: f.path, Span: f.span})
	}
	v.Effect, v.Reason = call.Hold, call.Reason(all[0].reason)
	return v
}

func ownName(raw []byte) string {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return ""
	}
	name, _ := mcp.Text(o, "name", 256)
	return strings.ToLower(name)
}

// weigh returns the score of texts and what it is made of: the strongest
// sentence with its neighbour, joined with what counts wherever it stands.
func (g *Guard) weigh(all []place, self string) (float64, []found) {
	var top, rest []found
	best, names := 0.0, 0
	for _, p := range all {
		if p.key {
			if w := g.nameWeight(p.text); w > 0 {
				names++
				rest = append(rest, found{"takes-conversation", w, p.path, [2]int{0, len([]rune(p.text))}, true})
			}
		}
		score, fs := g.text(p, self)
		for _, f := range fs {
			if f.whole {
				rest = append(rest, f)
			}
		}
		if score > best {
			best, top = score, fs
		}
	}
	out := top
	miss := 1 - best
	for _, f := range rest {
		counted := false
		for _, x := range top {
			counted = counted || x == f
		}
		if !counted {
			out = append(out, f)
			miss *= 1 - f.weight
		}
	}
	return 1 - miss, out
}

// nameWeight weighs names of parameters that exist to carry the conversation.
func (g *Guard) nameWeight(name string) float64 {
	n := strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(name))
	switch {
	case strings.Contains(n, "chain_of_thought"), strings.Contains(n, "previous_tool_call"), strings.Contains(n, "tool_call_history"), strings.Contains(n, "all_previous"), strings.Contains(n, "prior_tool"):
		return 0.35
	case strings.Contains(n, "conversation_history"), strings.Contains(n, "chat_history"), strings.Contains(n, "tools_list"), strings.Contains(n, "system_prompt"), n == "sidenote":
		return 0.15
	}
	return 0
}

// together is what evidence is worth that neighbouring sentences give only when
// they are read as one.
const together = 0.8

// evidence is what each rule gives each sentence by itself.
func (g *Guard) evidence(segs []segment) [][]float64 {
	all := make([][]float64, len(segs))
	for i := range segs {
		all[i] = make([]float64, len(g.rules))
		for r, rule := range g.rules {
			all[i][r] = rule.weigh(&segs[i])
		}
	}
	return all
}

// text weighs one text.
func (g *Guard) text(p place, self string) (float64, []found) {
	runes := []rune(p.text)
	var all []found
	for _, h := range hidden(runes) {
		all = append(all, found{h.reason, h.weight, p.path, [2]int{h.from, h.to}, true})
	}
	views := []normalize.View{normalize.Text(p.text)}
	if j := views[0].Joined; j != nil {
		views = append(views, *j)
	}
	best := 0.0
	var top []found
	for i := range views {
		if w, fs := g.view(&views[i], p.path, self); w > best {
			best, top = w, fs
		}
	}
	all = append(all, top...)
	miss := 1 - best
	for _, f := range all {
		if f.whole {
			miss *= 1 - f.weight
		}
	}
	return 1 - miss, all
}

// view weighs one view of a text.
func (g *Guard) view(v *normalize.View, path, self string) (float64, []found) {
	runes := []rune(v.Text)
	segs := g.read.read(runes, self)
	// Bytes of the view before each of its runes, and its end.
	before := make([]int, 0, len(runes)+1)
	for i := range v.Text {
		before = append(before, i)
	}
	before = append(before, len(v.Text))
	span := func(s *segment) [2]int { return [2]int{before[s.from], before[s.to]} }
	best := 0.0
	var top []found
	alone := g.evidence(segs)
	for i := range segs {
		miss := 1.0
		var here []found
		add := func(rule int, w float64, s *segment) {
			if w > 0 {
				miss *= 1 - w
				here = append(here, found{g.rules[rule].reason, w, path, span(s), false})
			}
		}
		both := segs[i]
		for n := i + 1; n < len(segs) && n <= i+2; n++ {
			both = both.with(&segs[n])
		}
		for r, rule := range g.rules {
			w, at := alone[i][r], &segs[i]
			for n := i + 1; n < len(segs) && n <= i+1; n++ {
				if alone[n][r] > w {
					w, at = alone[n][r], &segs[n]
				}
			}
			if i+1 < len(segs) {
				if joint := together * rule.weigh(&both); joint > w {
					w, at = joint, &both
				}
			}
			add(r, w, at)
		}
		if len(here) > 0 {
			if at := span(&segs[i]); v.Covered(at[0], at[1]) {
				miss *= 1 - 0.3
				here = append(here, found{"encoded", 0.3, path, at, false})
			}
		}
		if 1-miss > best {
			best, top = 1-miss, here
		}
	}
	for i := range top {
		top[i].span = v.Span(top[i].span[0], top[i].span[1])
	}
	return best, top
}
