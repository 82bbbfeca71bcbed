// Package cedar decides by Cedar policies who may do what, and what a list
// shows of it.
//
// Threat: a rule that is not applied. A policy engine that skips a rule which
// fails to evaluate skips forbids too; two targets that share an ID share
// their rights; a group of one issuer is taken for that of another; an
// argument is written so that the rule reads another value than the server; a
// list shows what a call refuses, or a call does what no list shows.
//
// It guarantees:
//   - Nothing is allowed without a permit that matched. Any policy that fails
//     to evaluate, any method without a row in the table, any caller, target
//     or argument that cannot be expressed is a deny.
//   - IDs of principals and targets are injective, and names that an issuer
//     gave (subjects, groups, roles, clients) belong to that issuer.
//   - JSON becomes Cedar values injectively, numbers by their value.
//   - Whatever Decide allows for some arguments, Lists shows. Lists does not
//     depend on arguments, on time, or on how the caller signed in.
//   - A policy that names a type, an action or an ID of a form that no request
//     has is refused when it is loaded.
//
// It does not know which servers and tools exist: Policies.Check finds a rule
// with a misspelt tool or argument where it is told what servers have. It does
// not interpret arguments: a path, a URL or a command is text to it.
package cedar

import (
	"context"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/minimize"
)

// Guard is the name under which policy's findings stand on the record.
const Guard = "policy"

// Reasons of findings. The caller learns none of them.
const (
	ReasonPermit    call.Reason = "policy-permit"         // Path names the policy
	ReasonForbid    call.Reason = "policy-forbid"         // Path names the policy
	ReasonError     call.Reason = "policy-error"          // Path names the policy, which failed to evaluate
	ReasonNoPermit  call.Reason = "policy-no-permit"      // nothing permits it
	ReasonUnlisted  call.Reason = "policy-unlisted"       // its use is not permitted, so nothing else is
	ReasonGroups    call.Reason = "policy-groups-unknown" // Path names a forbid that asks for groups that the proof left out
	ReasonMethod    call.Reason = "policy-no-action"      // the method has no action
	ReasonCaller    call.Reason = "policy-caller"         // the caller cannot be expressed
	ReasonTarget    call.Reason = "policy-target"         // the target cannot be expressed
	ReasonArguments call.Reason = "policy-arguments"      // the arguments cannot be expressed or are outside the bounds
	ReasonClaims    call.Reason = "policy-claims"         // the claims cannot be expressed or are outside the bounds
	ReasonFailed    call.Reason = "policy-failed"         // the evaluator failed
)

// maxFindings bounds the findings of one decision.
const maxFindings = 16

// Options tune a Decider.
type Options struct {
	// Limits bound the arguments and claims that policies look at; what is
	// outside is denied as soon as a policy that could match looks at it. A
	// zero field means that of DefaultLimits.
	Limits strictjson.Limits
}

// Decider decides by one snapshot of policies, which never changes, and is safe
// for concurrent use. The zero Decider denies everything.
//
// It remembers which policies concern a caller and a target, and what they say
// of it where they look at nothing that changes from call to call.
type Decider struct {
	index  *index
	groups []*entry // forbids that depend on groups
	// results are the permits that hold something of results back.
	results []*entry
	rules   map[string]rule
	limits  strictjson.Limits
	// claims and authTime say that some policy looks at them.
	claims, authTime bool
	plans            memo[*plan]
	lists            memo[bool]
}

var _ authz.Decider = (*Decider)(nil)

// New makes a Decider; under nil or empty policies it denies everything.
func New(p *Policies, o Options) (*Decider, error) {
	d := &Decider{rules: rules(), limits: DefaultLimits()}
	for field, given := range map[*int]int{&d.limits.Bytes: o.Limits.Bytes, &d.limits.Depth: o.Limits.Depth, &d.limits.Members: o.Limits.Members} {
		if given != 0 {
			*field = given
		}
	}
	// The limits are tried, so that none refuses every call.
	if err := strictjson.Validate([]byte(`{"a":1}`), d.limits); err != nil {
		return nil, err
	}
	var all []*entry
	if p != nil {
		all = p.entries
	}
	d.index = newIndex(all)
	for _, e := range all {
		if e.groups && e.forbids() {
			d.groups = append(d.groups, e)
		}
		if e.results != nil {
			d.results = append(d.results, e)
		}
		d.claims = d.claims || e.attributes[attrClaims]
		d.authTime = d.authTime || e.attributes[attrAuthTime] || e.reads(contextAuthAge)
	}
	return d, nil
}

// outcome is what policies say of one request.
type outcome struct {
	allowed, barred bool // barred: a forbid or a failure; it holds over any permit
	findings        []call.Finding
	results         *minimize.Rules // what may come back
	// free: a permit matched that asks for nothing more; wants are those that do.
	free  bool
	wants []*needs
}

func (o *outcome) note(why call.Reason, path string) {
	if len(o.findings) < maxFindings {
		o.findings = append(o.findings, call.Finding{Guard: Guard, Reason: why, Path: path})
	}
}

func (o *outcome) bar(why call.Reason, path string) {
	o.barred = true
	o.note(why, path)
}

// Decide implements authz.Decider. The decision's detail is empty; its
// findings name the policies that decided, for the record. They are shared:
// read them.
func (d *Decider) Decide(_ context.Context, q authz.Query) (dec call.Decision) {
	dec = call.Decision{Effect: call.Deny, Stage: call.Authorize, Reason: call.ReasonNotPermitted}
	defer func() {
		if r := recover(); r != nil {
			dec = call.Decision{Effect: call.Deny, Stage: call.Authorize, Reason: call.ReasonNotPermitted,
				Findings: []call.Finding{{Guard: Guard, Reason: ReasonFailed}}}
		}
	}()
	p := d.planOf(q)
	if p.decided {
		return p.decision
	}
	return p.decide(d.limits, q)
}
