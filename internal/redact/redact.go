// Package redact is what every guard does that finds something within texts: it
// walks a message, says what is to be done with what was found and where, and
// takes it out so that the message stays what it was but for that.
//
// Threat: a secret or a person's data that passes because it stood in the name
// of a member, in a number, or in another writing; a rewrite that breaks the
// JSON, or the shape that a schema demands, so that people turn the check off;
// and a record that repeats what was to be kept out of it.
//
// It guarantees that a rewritten document is valid and unambiguous JSON, that
// structured data keeps its types and shape, that rewriting what it wrote
// changes nothing more, and that no finding holds what was found. It does not
// detect anything itself.
package redact

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Hit is one thing found in a text. It does not hold it.
type Hit struct {
	// Type is kebab-case, such as email or github-pat.
	Type string
	// From and To bound it, in bytes of the text.
	From, To int
	// Score says how sure this is, from 0 to 1.
	Score float64
}

// Find looks at one text. all is false where it could not look at all of it.
// Hits are in order and do not overlap.
type Find func(t Text) (hits []Hit, all bool)

// Action is what is done with a hit. The zero Action is Block.
type Action uint8

// The actions, the strictest first.
const (
	Block    Action = iota // the message goes no further
	Mask                   // a word stands in its place
	Hash                   // a keyed digest stands in its place: equal ones can be told
	Token                  // a token stands in its place that can be exchanged back
	Annotate               // it stays and is on the record
)

// String returns the action's name in the config.
func (a Action) String() string {
	return [...]string{"block", "mask", "hash", "tokens", "annotate"}[min(a, Annotate)]
}

// Direction says where a message goes.
type Direction uint8

// Directions. The zero Direction fits both.
const (
	ToServer Direction = iota + 1 // arguments and answers of a client
	ToClient                      // whatever a server says
)

// Rule gives an action to some hits. Empty lists fit all.
type Rule struct {
	Types     []string
	Direction Direction
	Servers   []string
	Tools     []string // or prompts, or URIs
	Action    Action
}

// Fits reports that the rule is for this type and target.
func (r Rule) Fits(typ string, d Direction, t call.Target) bool {
	in := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	return (r.Direction == 0 || r.Direction == d) && in(r.Types, typ) && in(r.Servers, t.Server) && in(r.Tools, t.Name)
}

// Job is one message to be judged.
type Job struct {
	Guard     string
	Target    call.Target
	Direction Direction
	Doc       []byte
	Find      Find
	// Act says what is done with a hit at the pointer given; the pointer is
	// empty unless Places is set.
	Act func(h Hit, place string) Action
	// Places asks for the place of each hit before it is acted upon.
	Places bool
	// Put returns what stands in the place of a hit that is hashed or made a
	// token. An error denies.
	Put func(a Action, typ string, value []byte) (string, error)
	// Reason makes the reason of a type's finding.
	Reason func(typ string) call.Reason
}

// Outcome is what came of a job.
type Outcome struct {
	Effect   call.Effect
	Reason   call.Reason
	Findings []call.Finding
	// Rewritten is the document where Effect is call.Redact.
	Rewritten []byte
	// Place is the pointer of what decided.
	Place string
	// Type is what decided.
	Type string
	// Score is the highest of the hits.
	Score float64
	// Partly says that a text was made so that it could not be looked at within
	// bounds; Effect denies then.
	Partly bool
}

// mostFindings bounds the findings of one message. What is beyond them is
// rewritten all the same.
const mostFindings = 100

// place is a text with hits.
type place struct {
	text    Text
	hits    []Hit
	pointer string
}

// mostRounds bounds how often a message is looked at again after something was
// taken out of it.
const mostRounds = 4

// Run judges one message. What is taken out can bring a word and a value nearer
// to each other, so what is left is looked at again until it stays.
func (j Job) Run() (Outcome, error) {
	all, err := j.round()
	for n := 1; err == nil && all.Effect == call.Redact && n < mostRounds; n++ {
		j.Doc = all.Rewritten
		var more Outcome
		if more, err = j.round(); err != nil || more.Effect != call.Redact && more.Effect != call.Deny {
			return all, err
		}
		more.Findings = append(all.Findings, more.Findings...)
		all = more
	}
	return all, err
}

// round looks at a message once.
func (j Job) round() (Outcome, error) {
	var found []place
	partly := false
	Each(j.Doc, func(t Text) bool {
		hits, all := j.Find(t)
		partly = partly || !all
		if len(hits) > 0 {
			found = append(found, place{text: t, hits: hits})
		}
		return !partly
	})
	if partly {
		return Outcome{Effect: call.Deny, Partly: true, Score: 1}, nil
	}
	if len(found) == 0 {
		return Outcome{Effect: call.Allow}, nil
	}
	j.point(found)
	out := Outcome{Effect: call.Annotate}
	var edits []Edit
	names := 0
	for _, p := range found {
		if p.text.Kind == Name {
			names++
		}
		edit, err := j.edit(p, names, &out)
		if err != nil {
			return Outcome{}, err
		}
		if edit.With != nil {
			edits = append(edits, edit)
		}
		if out.Effect == call.Deny {
			return out, nil
		}
	}
	if len(edits) == 0 {
		return out, nil
	}
	out.Effect = call.Redact
	out.Rewritten = Apply(j.Doc, edits)
	if names > 0 {
		// Two names may have become one.
		if err := strictjson.Validate(out.Rewritten, strictjson.Default()); err != nil {
			return Outcome{}, fmt.Errorf("what is left after names were taken out is no longer one object: %w", err)
		}
	}
	return out, nil
}

// point finds where in the document each text stands.
func (j Job) point(found []place) {
	n := len(found)
	if !j.Places {
		n = min(n, mostFindings)
	}
	froms := make([]int, n)
	for i := range froms {
		froms[i] = found[i].text.From
	}
	for i, p := range Pointers(j.Doc, froms, j.sayable) {
		found[i].pointer = p
	}
}

// sayable reports that the name of a member may stand on the record.
func (j Job) sayable(name []byte) bool {
	if len(name) > 64 || !utf8.Valid(name) {
		return false
	}
	hits, all := j.Find(Text{Kind: Name, Text: name})
	return all && len(hits) == 0
}

// edit acts on the hits of one text.
func (j Job) edit(p place, name int, out *Outcome) (Edit, error) {
	var b []byte
	at, n := 0, 0
	runes := counter{text: p.text.Text}
	for _, h := range p.hits {
		a := j.Act(h, p.pointer)
		out.Score = max(out.Score, h.Score)
		if len(out.Findings) < mostFindings {
			out.Findings = append(out.Findings, call.Finding{Guard: j.Guard, Reason: j.Reason(h.Type), Path: p.pointer,
				Span: [2]int{runes.at(h.From), runes.at(h.To)}})
		}
		switch a {
		case Annotate:
			if out.Effect == call.Annotate && out.Reason == "" {
				out.Reason, out.Place, out.Type = j.Reason(h.Type), p.pointer, h.Type
			}
			continue
		case Block:
			out.Effect, out.Reason, out.Place, out.Type = call.Deny, j.Reason(h.Type), p.pointer, h.Type
			return Edit{}, nil
		case Mask, Hash, Token:
		}
		if out.Effect == call.Annotate {
			out.Effect, out.Reason, out.Place, out.Type = call.Redact, j.Reason(h.Type), p.pointer, h.Type
		}
		value := p.text.Text[h.From:h.To]
		b = append(b, p.text.Text[at:h.From]...)
		with, err := j.replacement(a, h.Type, value, p, name)
		if err != nil {
			return Edit{}, err
		}
		b, at, n = append(b, with...), h.To, n+1
	}
	if n == 0 {
		return Edit{}, nil
	}
	e := Edit{From: p.text.From, To: p.text.To, With: []byte("0")}
	if p.text.Kind != Number {
		e.With = strictjson.AppendString(nil, string(append(b, p.text.Text[at:]...)))
	}
	return e, nil
}

// replacement returns what stands in the place of a value.
func (j Job) replacement(a Action, typ string, value []byte, p place, name int) (string, error) {
	if a == Mask {
		if p.text.Kind == Name {
			// Two members must not become one.
			return "[redacted:" + typ + ":" + strconv.Itoa(name) + "]", nil
		}
		if j.structured(p.pointer) {
			return Shape(string(value)), nil
		}
		return "[redacted:" + typ + "]", nil
	}
	if j.Put == nil {
		return "", errors.New("nothing makes hashes or tokens here")
	}
	return j.Put(a, typ, value)
}

// structured reports that a schema may speak about the place.
func (j Job) structured(pointer string) bool {
	return strings.HasPrefix(pointer, "/structuredContent") || strings.HasPrefix(pointer, "/arguments") ||
		j.Direction == ToServer && strings.Contains(pointer, "/content/") && !strings.HasSuffix(pointer, "/text")
}

// Shape returns a text of the same shape that says nothing: each letter an x,
// each digit a 0, all else as it was. An address or a number keeps its form.
func Shape(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= 0x80:
			return 'x'
		case r >= 'A' && r <= 'Z':
			return 'X'
		case r >= '0' && r <= '9':
			return '0'
		}
		return r
	}, s)
}

// Shaped reports a text that Shape or a mask may have written.
func Shaped(b []byte) bool {
	for _, c := range b {
		if c|0x20 >= 'a' && c|0x20 <= 'z' && c|0x20 != 'x' || c >= '1' && c <= '9' || c >= 0x80 {
			return false
		}
	}
	return true
}

// counter turns places in bytes into places in code points, in order.
type counter struct {
	text  []byte
	bytes int
	runes int
}

func (c *counter) at(i int) int {
	if i < c.bytes {
		c.bytes, c.runes = 0, 0
	}
	c.runes += utf8.RuneCount(c.text[c.bytes:i])
	c.bytes = i
	return c.runes
}

// Settle orders hits and keeps the surer of two that overlap, over all that
// both covered.
func Settle(hits []Hit) []Hit {
	if len(hits) < 2 {
		return hits
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To), cmp.Compare(b.Score, a.Score), cmp.Compare(a.Type, b.Type))
	})
	out := hits[:1]
	for _, h := range hits[1:] {
		last := &out[len(out)-1]
		if h.From >= last.To {
			out = append(out, h)
			continue
		}
		from, to := last.From, max(last.To, h.To)
		if h.Score > last.Score {
			*last = h
		}
		last.From, last.To = from, to
	}
	return out
}
