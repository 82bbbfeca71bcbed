package cedar

import (
	"slices"
	"strings"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/minimize"
)

// plan is what is known of a question before what changes from call to call.
// It is not changed once it is made.
type plan struct {
	rule   rule
	before outcome // what is so whatever is asked
	parts  []part
	// decided says that nothing that changes matters; decision is it then.
	decided  bool
	decision call.Decision
}

// part is the question for one kind of target.
type part struct {
	action              types.EntityUID
	principal, resource types.Entity
	found               []*entry
	// refused: the use of the target is not permitted, or what the question
	// needs cannot be had.
	refused bool
}

// planOf remembers the plan of a question.
func (d *Decider) planOf(q authz.Query) *plan {
	if !q.Principal.Valid() {
		return d.plan(q)
	}
	claims, authTime := d.restsOn(q.Principal)
	k, keep := questionOf(q)
	if keep {
		if p, ok := d.plans.get(k, claims, authTime); ok {
			return p
		}
	}
	p := d.plan(q)
	if keep {
		d.plans.put(k, remembered[*plan]{claims, authTime, p})
	}
	return p
}

// restsOn is what of a principal policies look at that its CacheKey does not
// have.
func (d *Decider) restsOn(p call.Principal) (claims []byte, authTime int64) {
	if d.claims || d.authTime {
		id := p.Identity()
		if d.claims {
			claims = id.Claims
		}
		if d.authTime {
			authTime = id.AuthTime
		}
	}
	return claims, authTime
}

func (d *Decider) plan(q authz.Query) *plan {
	p := &plan{}
	d.prepare(p, q)
	p.decided = !slices.ContainsFunc(p.parts, func(s part) bool {
		return slices.ContainsFunc(s.found, (*entry).varies)
	})
	if p.decided {
		p.decision = p.decide(d.limits, q)
		p.decision.Findings = slices.Clip(p.decision.Findings)
		p.parts, p.before = nil, outcome{}
	}
	return p
}

func (d *Decider) prepare(p *plan, q authz.Query) {
	r, known := d.rules[q.Target.Method]
	if !known || d.index == nil {
		p.before.bar(ReasonMethod, "")
		return
	}
	p.rule = r
	c, err := newCaller(q.Principal, d.limits)
	if err != nil || !q.Principal.Valid() {
		p.before.bar(ReasonCaller, "")
		return
	}
	if r.tasks && q.Target.Server != "" {
		p.before.results = d.resultsOfTasks(c, q.Target.Server)
	}
	for _, kind := range r.kinds {
		target, err := targetEntity(kind, q.Target)
		if err != nil {
			p.before.bar(ReasonTarget, "")
			return
		}
		s := d.part(&p.before, c, r.action, target)
		if use := useOf(kind); use != "" && use != r.action {
			can, barred := d.could(c, use, target)
			if barred {
				p.before.bar(ReasonUnlisted, "")
			}
			s.refused = s.refused || !can
		}
		p.parts = append(p.parts, s)
	}
}

// part finds the policies whose scope a question falls in, and what they look
// at of the caller.
func (d *Decider) part(o *outcome, c caller, action string, target types.Entity) part {
	act := types.Entity{UID: actionUID(action)}
	s := part{action: act.UID, resource: target, found: d.index.find(c.entity, act, target)}
	if c.id.GroupsUnknown {
		for _, e := range d.groups {
			if e.couldBe(c.entity.UID.Type, act, target) {
				o.bar(ReasonGroups, string(e.name))
			}
		}
		s.found = slices.DeleteFunc(s.found, func(e *entry) bool { return e.groups })
	}
	var err error
	if s.principal, err = c.with(s.found, false); err != nil {
		o.bar(ReasonClaims, "")
		s.refused, s.found = true, nil
	}
	return s
}

// decide evaluates what is left to evaluate.
func (p *plan) decide(l strictjson.Limits, q authz.Query) call.Decision {
	dec := call.Decision{Effect: call.Deny, Stage: call.Authorize, Reason: call.ReasonNotPermitted}
	o := outcome{barred: p.before.barred, findings: slices.Clone(p.before.findings), results: p.before.results}
	for _, s := range p.parts {
		allowed := p.judge(s, l, q, &o)
		o.allowed = o.allowed || allowed && !s.refused
	}
	if !o.allowed && !o.barred {
		o.findings = nil
		o.note(ReasonNoPermit, "")
	}
	slices.SortStableFunc(o.findings, func(a, b call.Finding) int { return strings.Compare(a.Path, b.Path) })
	dec.Findings = o.findings
	if o.allowed && !o.barred {
		dec.Effect, dec.Reason, dec.Obligations = call.Allow, call.ReasonOK, o.results
		if !o.free {
			now := q.Time
			if now.IsZero() {
				now = time.Now()
			}
			dec.Effect, dec.Reason, dec.Needs = least(o.wants, q.Principal.Identity(), now)
		}
	}
	return dec
}

// judge evaluates every policy that could match one question.
func (p *plan) judge(s part, l strictjson.Limits, q authz.Query, o *outcome) (allowed bool) {
	fields, err := contextOf(s.found, p.rule, l, q)
	if err != nil {
		o.bar(ReasonArguments, "")
		return false
	}
	verdict, why := cedar.Authorize(policies(s.found), two{s.principal, s.resource}, cedar.Request{
		Principal: s.principal.UID, Action: s.action, Resource: s.resource.UID, Context: types.NewRecord(fields)})
	for _, e := range why.Errors {
		o.bar(ReasonError, string(e.PolicyID))
	}
	for _, reason := range why.Reasons {
		if verdict == cedar.Allow {
			if p.rule.hasResults() {
				o.results = minimize.Join(o.results, resultsOf(s.found, reason.PolicyID))
			}
			o.note(ReasonPermit, string(reason.PolicyID))
			if !s.refused {
				o.wanted(s.found, reason.PolicyID, s.resource.UID.Type)
			}
		} else {
			o.bar(ReasonForbid, string(reason.PolicyID))
		}
	}
	return verdict == cedar.Allow
}
