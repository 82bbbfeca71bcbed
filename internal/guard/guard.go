// Package guard is the contract of one content check and the set of those
// that are on.
//
// Threat: text that steers a model, and data that leaves with it. A guard
// looks at arguments on their way to a server, and at results, definitions
// and stream messages on their way to a client.
//
// The set guarantees that every guard that is on is asked, in one fixed
// order, that an error or a panic of a guard denies, and that a rewrite is
// judged again once. What a guard cannot see it says in its own package.
package guard

import (
	"context"
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/call"
)

// Mode is how a guard is run. The zero mode is Enforce.
type Mode uint8

// Modes of a guard. Off and Monitor are departures from the safe default and
// are shown as such.
const (
	Enforce Mode = iota
	Monitor
	Off
)

// Spec is the plain data of a guard from which config schema, docs, metrics
// and `munjigi guards` are made.
type Spec struct {
	Name     string
	Controls []string // IDs of the control catalogue
	Stops    string   // one sentence
	Cannot   string   // one sentence
	// Arguments, Result, Definition and Stream say which checks it has; Build
	// compares them with Checks.
	Arguments, Result, Definition, Stream bool
}

// Subject is what is looked at.
type Subject struct {
	Principal call.Principal
	Target    call.Target
	// Request says that Raw is a request's params, not an answer's.
	Request bool
	// Definition is what the server declared of the tool that is called, or is
	// the definition under judgement; nil where there is none.
	Definition *Declared
	// Previous is the definition that was approved under this name, where the
	// one under judgement is another; nil where there is none.
	Previous *Declared
	// Approved says that a person approved this very definition: what was found
	// in it was shown to them.
	Approved bool
	// Raw is the JSON under judgement: the params of a request, the answer to a
	// question, the result or error object, one definition, or the params of a
	// stream message.
	Raw []byte
}

// Declared is a definition as its server sent it.
type Declared struct {
	Digest [32]byte
	Raw    []byte
}

// Verdict is what a guard says. The zero verdict denies.
type Verdict struct {
	Effect   call.Effect
	Reason   call.Reason
	Findings []call.Finding
	// Score grows with suspicion, from 0 to 1, also where the effect does not
	// change; it is for tuning and measuring.
	Score float64
	// Say tells the caller how to do better, where that gives nothing away.
	Say string
	// Rewritten replaces Raw when Effect is call.Redact.
	Rewritten []byte
}

// Check judges one subject. An error denies.
type Check func(ctx context.Context, s Subject) (Verdict, error)

// Checks are a guard's abilities, nil where it has none.
type Checks struct{ Arguments, Result, Definition, Stream Check }

// Guard is one check.
type Guard interface {
	Spec() Spec
	Checks() Checks
}

// Set is the guards of a gateway in their order. The zero set is not built
// and denies everything.
type Set struct {
	built  bool
	guards []active
}

type active struct {
	name   string
	mode   Mode
	checks Checks
}

// Build makes a set. Unknown names in modes and a guard whose checks differ
// from its spec are errors.
func Build(all []Guard, modes map[string]Mode) (*Set, error) {
	s := &Set{built: true}
	known := map[string]bool{}
	for _, g := range all {
		sp, ch := g.Spec(), g.Checks()
		if sp.Name == "" || known[sp.Name] {
			return nil, fmt.Errorf("guard %q: every guard has a name of its own", sp.Name)
		}
		known[sp.Name] = true
		if sp.Arguments != (ch.Arguments != nil) || sp.Result != (ch.Result != nil) ||
			sp.Definition != (ch.Definition != nil) || sp.Stream != (ch.Stream != nil) {
			return nil, fmt.Errorf("guard %s: its spec and its checks differ", sp.Name)
		}
		if modes[sp.Name] != Off {
			s.guards = append(s.guards, active{sp.Name, modes[sp.Name], ch})
		}
	}
	for name := range modes {
		if !known[name] {
			return nil, fmt.Errorf("guards.%s: there is no such guard in this version", name)
		}
	}
	return s, nil
}

// Place is where a subject is met.
type Place uint8

// The places, in the order of a call.
const (
	Arguments Place = iota + 1
	Result
	Definition
	Stream
)

func (c Checks) at(p Place) Check {
	switch p {
	case Arguments:
		return c.Arguments
	case Result:
		return c.Result
	case Definition:
		return c.Definition
	case Stream:
		return c.Stream
	}
	return nil
}

// ErrNotBuilt is the answer of a set that Build did not make.
var ErrNotBuilt = errors.New("the guards are not built")

// Inspect asks every guard that looks at this place and returns the strictest
// decision and the bytes to go on with. Arguments that are held have bytes too,
// and Needs names every guard that holds them. A rewrite goes back to all guards
// once; a second rewrite denies. Of a definition every guard says what it found,
// for whoever is to approve it; elsewhere the first that stops it is the last.
func (s *Set) Inspect(ctx context.Context, p Place, st call.Stage, sub Subject) (call.Decision, []byte) {
	if s == nil || !s.built {
		return call.Decision{Effect: call.Deny, Stage: st, Reason: call.ReasonInternal, Detail: ErrNotBuilt.Error()}, nil
	}
	d := call.Decision{Effect: call.Allow, Stage: st, Reason: call.ReasonOK}
	for pass := 0; ; pass++ {
		rewritten := false
		for i := range s.guards {
			g := &s.guards[i]
			check := g.checks.at(p)
			if check == nil {
				continue
			}
			v := g.ask(ctx, check, sub)
			d.Findings = add(d.Findings, v.Findings, pass)
			d.Score = max(d.Score, v.Score)
			if g.mode == Monitor {
				continue
			}
			if v.Effect == call.Redact && v.Rewritten != nil {
				if pass > 0 {
					return call.Decision{Effect: call.Deny, Stage: st, Reason: "second-rewrite", Detail: g.name, Findings: d.Findings, Score: d.Score}, nil
				}
				sub.Raw, rewritten = v.Rewritten, true
			}
			if v.Effect < d.Effect {
				d.Effect, d.Reason, d.Detail, d.Say = v.Effect, v.Reason, g.name, v.Say
			}
			if v.Effect == call.Hold && p == Arguments {
				// A person may let it pass, but not past the others.
				d.Needs = d.Needs.And(g.name + "/" + string(v.Reason))
				continue
			}
			if !v.Effect.Passes() && p != Definition {
				d.Needs = nil
				return d, nil
			}
		}
		if !d.Effect.Passes() && (p != Arguments || d.Effect != call.Hold) {
			return d, nil
		}
		if !rewritten {
			return d, sub.Raw
		}
	}
}

// add appends findings. Of what is judged again after a rewrite only those are
// new that nobody had at the same place.
func add(to, more []call.Finding, pass int) []call.Finding {
	if pass == 0 {
		return append(to, more...)
	}
	had := map[call.Finding]bool{}
	for _, f := range to {
		had[call.Finding{Guard: f.Guard, Reason: f.Reason, Path: f.Path}] = true
	}
	for _, f := range more {
		if !had[call.Finding{Guard: f.Guard, Reason: f.Reason, Path: f.Path}] {
			to = append(to, f)
		}
	}
	return to
}

func (g *active) ask(ctx context.Context, check Check, sub Subject) (v Verdict) {
	defer func() {
		if recover() != nil {
			v = Verdict{Reason: call.ReasonPanic}
		}
	}()
	v, err := check(ctx, sub)
	if err != nil {
		return Verdict{Reason: "guard-failed", Findings: v.Findings}
	}
	return v
}
