// Package personal is the guard that finds structured personal data in what
// servers say and in what is sent to them.
//
// Threat: a person's address, account or number comes into a model's context
// with the rest of a file, stays in transcripts and logs that nobody meant it
// for, and goes on to another server with the next call.
//
// It finds mail addresses, telephone numbers, payment cards, account numbers,
// addresses of networks, and the numbers that states give to people, by their
// form and their check digits; where a form is shared with other numbers, a word
// beside it has to say what it is. By default what is found is put on the
// record, without its value, and nothing is changed: a tool that looks up an
// address is there to give it. Rules in the config block, mask or hash by type,
// direction, server and tool. Encoded data is found by its view
// (base/normalize). One pass over the text finds candidates, and each is judged
// in a bounded number of steps.
//
// It cannot know names, places, titles and dates, or a number whose form says
// nothing and beside which no word stands.
package personal

import (
	"context"
	"errors"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/redact"
)

// Name is the guard's name in the config.
const Name = "personal"

// Reasons of this guard. A finding has personal- and its type.
const (
	// ReasonFound: personal data was found and stays.
	ReasonFound call.Reason = "personal-found"
	// ReasonBlocked: a rule stops what was found.
	ReasonBlocked call.Reason = "personal-blocked"
	// ReasonMasked: what was found was taken out.
	ReasonMasked call.Reason = "personal-masked"
)

// Settings tune the guard. The zero Settings are the defaults.
type Settings struct {
	// Rules give actions; the first that fits decides. Without one what is found
	// stays and is on the record.
	Rules []redact.Rule
	// Put makes hashes; nil where no rule asks for any.
	Put func(ctx context.Context, s guard.Subject, a redact.Action, typ string, value []byte) (string, error)
}

// Guard is the check. Make it with New; the zero value denies.
type Guard struct {
	detector *Detector
	set      Settings
}

// New returns the guard.
func New(set Settings) *Guard { return &Guard{NewDetector(), set} }

// Spec returns the guard's plain data.
func (g *Guard) Spec() guard.Spec {
	return guard.Spec{
		Name:      Name,
		Controls:  []string{"5-3", "9-3", "P-1"},
		Stops:     "Mail addresses, telephone, card, account and national numbers and network addresses, where a rule says so; else they are noted.",
		Cannot:    "Know names, places and dates, or a number whose form says nothing and beside which no word stands.",
		Arguments: true, Result: true, Stream: true,
	}
}

// Checks returns the guard's abilities.
func (g *Guard) Checks() guard.Checks {
	return guard.Checks{Arguments: g.toServer, Result: g.toClient, Stream: g.toClient}
}

var errNotMade = errors.New("the personal guard was not made by New")

func (g *Guard) toServer(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	return g.judge(ctx, s, redact.ToServer)
}

func (g *Guard) toClient(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	return g.judge(ctx, s, redact.ToClient)
}

func (g *Guard) judge(ctx context.Context, s guard.Subject, d redact.Direction) (guard.Verdict, error) {
	if g.detector == nil {
		return guard.Verdict{}, errNotMade
	}
	job := redact.Job{
		Guard: Name, Target: s.Target, Direction: d, Doc: s.Raw,
		Find: func(t redact.Text) ([]redact.Hit, bool) { return g.detector.find(t), true },
		Act:  func(h redact.Hit, _ string) redact.Action { return g.action(h, d, s.Target) },
		Put: func(a redact.Action, typ string, value []byte) (string, error) {
			if g.set.Put == nil {
				return "", errors.New("nothing makes hashes here")
			}
			return g.set.Put(ctx, s, a, typ, value)
		},
		Reason: func(typ string) call.Reason { return call.Reason("personal-" + typ) },
	}
	o, err := job.Run()
	if err != nil {
		return guard.Verdict{}, err
	}
	v := guard.Verdict{Effect: o.Effect, Findings: o.Findings, Rewritten: o.Rewritten, Score: o.Score}
	switch o.Effect {
	case call.Deny:
		v.Reason, v.Say = ReasonBlocked, "what the server said holds personal data ("+o.Type+"), which a rule of the operator's stops"
		if d == redact.ToServer {
			v.Say = "what was sent holds personal data (" + o.Type + " at " + o.Place + "), which a rule of the operator's stops: leave it out"
		}
	case call.Redact:
		v.Reason = ReasonMasked
	case call.Annotate:
		v.Reason = ReasonFound
	}
	return v, nil
}

// find looks at one text and its view. Of numbers only those of cards are
// looked for: others without a form are any number.
func (d *Detector) find(t redact.Text) []redact.Hit {
	if t.Kind == redact.Number {
		return d.numbers(t)
	}
	return d.Hits(t.Text)
}

func (d *Detector) numbers(t redact.Text) []redact.Hit {
	if len(t.Text) < 14 || len(t.Text) > 19 || !digits(t.Text) {
		return nil
	}
	if issued(t.Text) != 2 || !luhn(t.Text) {
		return nil
	}
	return []redact.Hit{{Type: Card, From: 0, To: len(t.Text), Score: 0.8}}
}

// Hits returns what was found in a text and in its view.
func (d *Detector) Hits(text []byte) []redact.Hit {
	hits := append(d.Detect(text), redact.Views(text, d.Detect)...)
	kept := hits[:0]
	for _, h := range hits {
		if !redact.Shaped(text[h.From:h.To]) {
			kept = append(kept, h)
		}
	}
	return redact.Settle(kept)
}

func (g *Guard) action(h redact.Hit, d redact.Direction, t call.Target) redact.Action {
	for _, r := range g.set.Rules {
		if r.Fits(h.Type, d, t) {
			return r.Action
		}
	}
	return redact.Annotate
}
