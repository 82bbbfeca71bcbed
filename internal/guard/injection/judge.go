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
func promptLimits() limits   { return limits{tell: 1, hold: 3} }

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

// view scores one view: the best window, and what stands around it.
func (g *Guard) view(v *normalize.View, m *ngram.Model) outcome {
	w := m.Best(g.reader, v.Text)
	o := outcome{z: w.Score, view: v, window: w}
	if o.z < suspect {
		return o
	}
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
