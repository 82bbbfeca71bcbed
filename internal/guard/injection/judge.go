package injection

import (
	"strings"

	"github.com/munjigi/munjigi/internal/base/ngram"
	"github.com/munjigi/munjigi/internal/base/normalize"
)

// The log odds that tell and hold, found on sources that were left out of
// training (docs/injection.md).
func resultLimits() limits   { return limits{tell: 0.5, hold: 2} }
func argumentLimits() limits { return limits{tell: 2, hold: 6} }
func promptLimits() limits   { return limits{tell: 1, hold: 2.5} }

// outcome is what was found in one text.
type outcome struct {
	z      float64
	hidden bool // encoded, or out of people's sight
	view   *normalize.View
	window ngram.Window
}

// span is the window in code points of the text.
func (o outcome) span() [2]int { return o.view.Span(o.window.From, o.window.To) }

// judge scores one text.
func (g *Guard) judge(text string, m *ngram.Model) outcome {
	v := normalize.Text(text)
	best := g.view(&v, m)
	if v.Joined != nil {
		if o := g.view(v.Joined, m); o.z > best.z {
			best = o
		}
	}
	return best
}

// suspect is the log odds from which signs of structure are looked for.
const suspect = -2.5

// mostWindows bounds the windows that are looked at twice.
const mostWindows = 64

// view scores one view: the best window, and what stands around it.
func (g *Guard) view(v *normalize.View, m *ngram.Model) outcome {
	o := outcome{window: m.Best(g.reader, v.Text), view: v}
	o.z = o.window.Score
	if o.z < suspect {
		return o
	}
	if !repeats(v.Text[o.window.From:o.window.To]) {
		return dressed(o)
	}
	// A few words over and over add up to more than they say.
	all := m.Each(g.reader, v.Text, suspect, mostWindows)
	if len(all) == mostWindows {
		return dressed(o)
	}
	o.z = suspect
	for _, w := range all {
		z := w.Score
		if t := v.Text[w.From:w.To]; repeats(t) {
			z = min(z, m.Best(g.reader, once(t)).Score)
		}
		if z > o.z {
			o.z, o.window = z, w
		}
	}
	return dressed(o)
}

// repeats reports that most words of a text were there before.
func repeats(t string) bool {
	words := strings.Fields(t)
	if len(words) < 8 {
		return false
	}
	seen := map[string]bool{}
	for _, w := range words {
		seen[w] = true
	}
	return len(seen)*2 < len(words)
}

// once is each word of a text where it stands first.
func once(t string) string {
	var out []string
	seen := map[string]bool{}
	for _, w := range strings.Fields(t) {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// dressed adds what stands around a window, and how it was hidden.
func dressed(o outcome) outcome {
	v, w := o.view, o.window
	s := v.Signals
	if v.Covered(w.From, w.To) {
		o.z, o.hidden = o.z+2, true
	}
	if s.Tags > 4 || s.Bidi > 0 || s.Invisible > 3 {
		o.z, o.hidden = o.z+1.5, true
	}
	if s.LookAlikes > 1 || s.Folded > 8 {
		o.z, o.hidden = o.z+1.5, true
	}
	if s.Escaped > 12 && s.Escaped > len(v.Text)/4 {
		o.z, o.hidden = o.z+1, true
	}
	if unseen(v.Text, w) {
		o.z, o.hidden = o.z+1, true
	}
	if template(v.Text, w) {
		o.z++
	}
	return o
}

// around is the text of a window and what stands close before it.
func around(text string, w ngram.Window) string {
	return text[max(0, w.From-160):w.To]
}

// unseen reports a window inside a comment, or in an element or a place that
// people do not see.
func unseen(text string, w ngram.Window) bool {
	t := around(text, w)
	if i := strings.LastIndex(t, "<!--"); i >= 0 && !strings.Contains(t[i:], "-->") || i >= 0 && i+160 >= len(t)-(w.To-w.From) {
		return true
	}
	for _, s := range []string{"display:none", "display: none", "visibility:hidden", "visibility: hidden", "font-size:0", "font-size: 0", "opacity:0", "opacity: 0", "[//]: #", "aria-hidden"} {
		if strings.Contains(t, s) {
			return true
		}
	}
	return strings.Contains(t, "\n\n\n\n\n\n\n\n") || strings.Contains(t, strings.Repeat(" ", 80))
}

// template reports marks of chat templates in a window.
func template(text string, w ngram.Window) bool {
	t := around(text, w)
	for _, s := range []string{"<|im_start|>", "<|system|>", "<<SYS>>", "[INST]", "<|start_header_id|>", "<|endoftext|>", "<start_of_turn>", "</tool_result>", "<system>", "</system>"} {
		if strings.Contains(t, s) {
			return true
		}
	}
	return false
}
