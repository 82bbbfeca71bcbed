package cedar

import (
	"context"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/munjigi/munjigi/internal/authz"
)

// Lists implements authz.Decider: false only if Decide denies the target
// whatever the arguments, and however the caller signs in. The name of a
// resource that holds a brace is taken for a template, which is shown if some
// resource of its server might be permitted.
func (d *Decider) Lists(_ context.Context, q authz.Query) (shown bool) {
	defer func() {
		if recover() != nil {
			shown = false
		}
	}()
	if !q.Principal.Valid() {
		return false
	}
	claims, _ := d.restsOn(q.Principal) // a list knows nothing of when somebody signed in
	k, keep := questionOf(q)
	if keep {
		if shown, ok := d.lists.get(k, claims, 0); ok {
			return shown
		}
	}
	shown = d.shows(q)
	if keep {
		d.lists.put(k, remembered[bool]{claims: claims, answer: shown})
	}
	return shown
}

// shows is Lists without what is remembered.
func (d *Decider) shows(q authz.Query) (shown bool) {
	r, known := d.rules[q.Target.Method]
	if !known || d.index == nil {
		return false
	}
	c, err := newCaller(q.Principal, d.limits)
	if err != nil {
		return false
	}
	for _, kind := range r.kinds {
		target, err := targetEntity(kind, q.Target)
		if err != nil {
			return false
		}
		can, barred := d.could(c, r.action, target)
		if use := useOf(kind); use != "" && use != r.action {
			canUse, barredUse := d.could(c, use, target)
			can, barred = can && canUse, barred || barredUse
		}
		if barred {
			return false
		}
		shown = shown || can
	}
	return shown
}

// certainty of a match before the arguments are known.
type certainty uint8

const (
	never certainty = iota
	perhaps
	surely
)

// could asks by partial evaluation what policies may say once everything is
// known: can when a permit might match, barred when a forbid surely matches or
// a policy surely fails. Whoever is barred cannot.
func (d *Decider) could(c caller, action string, target types.Entity) (can, barred bool) {
	act := types.Entity{UID: actionUID(action)}
	family := target.UID.Type == typeResource && strings.Contains(string(target.UID.ID), "{")
	var found []*entry
	if family {
		found = d.index.ofServer(c.entity, act, serverOf(target.UID))
	} else {
		found = d.index.find(c.entity, act, target)
	}
	if c.id.GroupsUnknown {
		for _, e := range d.groups {
			if !family && e.couldBe(c.entity.UID.Type, act, target) {
				return false, true
			}
		}
		found = slices.DeleteFunc(found, func(e *entry) bool { return e.groups })
	}
	principal, err := c.with(found, true)
	if err != nil {
		return false, true
	}
	env := eval.Env{Entities: two{principal, target}, Principal: principal.UID, Action: act.UID, Resource: target.UID, Context: eval.Variable("context")}
	if family {
		env.Entities, env.Resource = two{principal: principal}, eval.Variable("resource")
	}
	for _, e := range found {
		policy, most := e.ast(), surely
		if family {
			whole := *policy
			whole.Resource = ast.ScopeTypeAll{}
			most = e.resource.ofServer(serverOf(target.UID))
			policy = &whole
		}
		match, fails := partly(env, policy)
		match = min(match, most)
		switch {
		case match == surely && (fails || e.forbids()):
			return false, true
		case match != never && !e.forbids():
			can = true
		}
	}
	return can, false
}

// partly evaluates a policy as far as it goes. The conditions that remain
// depend on what is unknown; a failure that comes first happens for sure.
func partly(env eval.Env, p *ast.Policy) (match certainty, fails bool) {
	defer func() {
		if recover() != nil {
			match, fails = perhaps, false
		}
	}()
	rest, keep := eval.PartialPolicy(env, p)
	switch {
	case !keep:
		return never, false
	case len(rest.Conditions) == 0:
		return surely, false
	}
	if _, failed := eval.ToPartialError(rest.Conditions[0].Body); failed {
		return surely, true
	}
	return perhaps, false
}
