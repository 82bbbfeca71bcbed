package cedar

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
)

// maxNear bounds how many policies an explanation names that almost decided.
const maxNear = 8

const overruled = "it matches, and is overruled"

// Explanation says how a decision came about, for people who may see policies.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Listed reports whether lists show the target to the principal.
	Listed bool `json:"listed"`
	// Principal, Action and Resource are what policies see.
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	// Needs is what would let it pass: scope, step-up or approval; empty where it
	// passes, or nothing would.
	Needs string `json:"needs,omitempty"`
	// Sentence is the decision in words.
	Sentence string `json:"sentence"`
	// Decided are the policies that decided, Near those that would have decided
	// otherwise but for what their Why says.
	Decided []Line `json:"decided,omitempty"`
	Near    []Line `json:"near,omitempty"`
	// Results is what may come back, empty for all of it.
	Results string `json:"results,omitempty"`
	// Also is what else it needs.
	Also []string `json:"also,omitempty"`
}

// Line is one policy and its part in a decision.
type Line struct {
	// Name is the @id, empty where it has none.
	Name   string `json:"name,omitempty"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Effect string `json:"effect"` // permit or forbid
	// Why says what about the request made it match, or kept it from matching.
	Why []string `json:"why,omitempty"`
}

// Explain says how Decide judges a query and what would change it. The decision
// itself is Decide's.
func (d *Decider) Explain(ctx context.Context, q authz.Query) Explanation {
	dec := d.Decide(ctx, q)
	x := Explanation{Allowed: dec.Effect == call.Allow, Listed: d.Lists(ctx, q), Needs: needWord(dec)}
	r, known := d.rules[q.Target.Method]
	if !known || d.index == nil {
		x.Sentence = fmt.Sprintf("No policy can permit %s: the method has no action.", q.Target.Method)
		return x
	}
	c, err := newCaller(q.Principal, d.limits)
	if err != nil || !q.Principal.Valid() {
		x.Sentence = "The caller cannot be expressed in policies, so nothing is permitted."
		return x
	}
	x.Principal, x.Action = shown(c.entity.UID), r.action
	for _, kind := range r.kinds {
		target, err := targetEntity(kind, q.Target)
		if err != nil {
			x.Sentence = "The target cannot be expressed in policies, so nothing is permitted: " + err.Error() + "."
			return x
		}
		x.Resource = strings.TrimPrefix(x.Resource+" or "+shown(target.UID), " or ")
		env, err := d.environment(c, r, target, q)
		if err != nil {
			x.Sentence = fmt.Sprintf("The arguments or claims are outside of what policies look at, so the call is denied: %v.", err)
			return x
		}
		d.explain(&x, c, r.action, target, env)
		if use := useOf(kind); use != "" && use != r.action {
			if can, _ := d.could(c, use, target); !can {
				x.Also = append(x.Also, fmt.Sprintf("%s needs %s as well, which is not permitted either: ask for that", r.action, use))
			}
		}
	}
	for i := range x.Near {
		if w := x.Near[i].Why; len(x.Decided) == 0 && len(w) > 0 && w[0] == overruled {
			w[0] = "it matches, and that is not enough"
		}
	}
	if dec.Needs != nil {
		x.Also = append(x.Also, inWords(dec))
	}
	if dec.Obligations != nil {
		x.Results = dec.Obligations.String()
	}
	x.Sentence = sentence(x, dec)
	return x
}

// environment holds what the policies in whose scope the request falls ask for,
// as judge makes it.
func (d *Decider) environment(c caller, r rule, target types.Entity, q authz.Query) (eval.Env, error) {
	found := d.index.find(c.entity, types.Entity{UID: actionUID(r.action)}, target)
	if c.id.GroupsUnknown {
		found = slices.DeleteFunc(found, func(e *entry) bool { return e.groups })
	}
	principal, err := c.with(found, false)
	if err != nil {
		return eval.Env{}, err
	}
	fields, err := contextOf(found, r, d.limits, q)
	if err != nil {
		return eval.Env{}, err
	}
	return eval.Env{Entities: two{principal, target}, Principal: principal.UID, Action: actionUID(r.action), Resource: target.UID,
		Context: types.NewRecord(fields)}, nil
}

func (d *Decider) explain(x *Explanation, c caller, action string, target types.Entity, env eval.Env) {
	act := types.Entity{UID: actionUID(action)}
	for _, e := range d.index.all {
		if !e.action.matches(act) || !e.resource.matches(target) {
			continue
		}
		l := Line{File: place(e), Line: e.policy.Position().Line, Effect: "permit", Name: string(e.policy.Annotations()["id"])}
		if e.forbids() {
			l.Effect = "forbid"
		}
		in := e.principal.matches(c.entity)
		if c.id.GroupsUnknown && e.groups {
			if e.forbids() && e.couldBe(c.entity.UID.Type, act, target) {
				l.Why = []string{"it asks for groups, and the token does not list them all"}
				x.Decided = append(x.Decided, l)
			} else if !e.forbids() {
				l.Why = []string{"it asks for groups, and the token does not list them all"}
				near(x, l)
			}
			continue
		}
		if !in {
			if !e.forbids() && !x.Allowed {
				l.Why = []string{"the principal would have to be " + e.principal.words()}
				near(x, l)
			}
			continue
		}
		why, matched, failed := conditions(e, env)
		l.Why = why
		switch {
		case failed, matched && (e.forbids() || x.Allowed):
			x.Decided = append(x.Decided, l)
		case matched && !x.Allowed:
			l.Why = append([]string{overruled}, why...)
			near(x, l)
		case !e.forbids() && !x.Allowed:
			near(x, l)
		}
	}
}

func near(x *Explanation, l Line) {
	if len(x.Near) < maxNear {
		x.Near = append(x.Near, l)
	}
}

// place is the file of a policy, without its place in it.
func place(e *entry) string {
	if f := e.policy.Position().Filename; f != "" {
		return f
	}
	name, _, _ := strings.Cut(string(e.name), "#")
	return name
}

// conditions evaluates the conditions of a policy part by part: why holds what
// kept it from matching, or what failed, or, when it matched, what it asked.
func conditions(e *entry, env eval.Env) (why []string, matched, failed bool) {
	var held []string
	for _, c := range e.ast().Conditions {
		if c.Condition == ast.ConditionWhen {
			for _, part := range conjuncts(c.Body) {
				ok, err := truth(part, env)
				switch {
				case err != nil:
					return append(why, fmt.Sprintf("%s cannot be evaluated: %s", source(part), reason(err))), false, true
				case !ok:
					why = append(why, source(part)+" is not so")
				default:
					held = append(held, source(part))
				}
				if !ok {
					break // what follows may rest on it
				}
			}
			if len(why) > 0 {
				return why, false, false
			}
			continue
		}
		ok, err := truth(c.Body, env)
		if err != nil {
			return append(why, fmt.Sprintf("%s cannot be evaluated: %s", source(c.Body), reason(err))), false, true
		}
		if ok {
			return append(why, "unless "+source(c.Body)+", which is so"), false, false
		}
		held = append(held, source(c.Body)+" is not so, which would be the exception")
	}
	return held, true, false
}

// conjuncts takes a && b && c apart.
func conjuncts(n ast.IsNode) []ast.IsNode {
	if and, ok := n.(ast.NodeTypeAnd); ok {
		return append(conjuncts(and.Left), conjuncts(and.Right)...)
	}
	return []ast.IsNode{n}
}

func truth(n ast.IsNode, env eval.Env) (ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			ok, err = false, fmt.Errorf("%v", r)
		}
	}()
	v, err := eval.Eval(n, env)
	if err != nil {
		return false, err
	}
	b, is := v.(types.Boolean)
	if !is {
		return false, fmt.Errorf("it is no Bool but %s", eval.TypeName(v))
	}
	return bool(b), nil
}

// reason is an evaluator's error in one line.
func reason(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// source writes a part of a condition as a policy file would.
func source(n ast.IsNode) string {
	p := ast.Permit().When(ast.NewNode(n))
	text := string(cedar.NewPolicyFromAST((*publicast.Policy)(p)).MarshalCedar())
	_, text, _ = strings.Cut(text, "when {")
	if i := strings.LastIndexByte(text, '}'); i >= 0 {
		text = text[:i]
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// words says what an entity has to be for the scope to match.
func (h head) words() string {
	var parts []string
	if h.of != "" {
		parts = append(parts, "a "+strings.TrimPrefix(string(h.of), "Munjigi::"))
	}
	for _, u := range h.entities {
		verb := "in "
		if h.exact {
			verb = ""
		}
		parts = append(parts, verb+shown(u))
	}
	if len(parts) == 0 {
		return "anybody"
	}
	return strings.Join(parts, " and ")
}

// shown writes an entity for people: its type without our name, and its ID.
func shown(u types.EntityUID) string {
	return strings.TrimPrefix(string(u.Type), "Munjigi::") + " " + strconv.Quote(string(u.ID))
}

func sentence(x Explanation, dec call.Decision) string {
	what := fmt.Sprintf("%s may %%s%s %s", x.Principal, x.Action, x.Resource)
	if x.Allowed {
		return fmt.Sprintf(what, "") + ", because a permit matches and no forbid does."
	}
	if x.Needs != "" {
		return fmt.Sprintf(what, "") + " once more is there: every permit that matches asks for something. The least is below."
	}
	deny := fmt.Sprintf(what, "not ")
	has := func(why call.Reason) bool {
		return slices.ContainsFunc(dec.Findings, func(f call.Finding) bool { return f.Reason == why })
	}
	switch {
	case has(ReasonError):
		return deny + ": a policy that applies cannot be evaluated, and that denies the call, whatever else permits it."
	case has(ReasonForbid):
		return deny + ": a forbid matches, and that holds over every permit."
	case has(ReasonGroups):
		return deny + ": a forbid asks for groups, and the token does not list them all."
	case has(ReasonUnlisted):
		return deny + ": its use is forbidden, so nothing else of it is permitted."
	case len(x.Also) > 0:
		return deny + ": that needs more than is permitted."
	case len(x.Near) > 0:
		return deny + ": no permit matches. The nearest are below."
	}
	return deny + ": no permit names it."
}

// Servers returns the servers that policies name, each with the first place.
func (p *Policies) Servers() map[string]Line {
	out := map[string]Line{}
	if p == nil {
		return out
	}
	note := func(e *entry, u types.EntityUID) {
		if !slices.Contains(resourceTypes(), u.Type) {
			return
		}
		name := serverOf(u)
		if _, seen := out[name]; !seen && name != merged {
			out[name] = Line{File: place(e), Line: e.policy.Position().Line, Name: string(e.policy.Annotations()["id"])}
		}
	}
	for _, e := range p.entries {
		for _, u := range e.resource.entities {
			note(e, u)
		}
		for _, c := range e.ast().Conditions {
			ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
				if v, ok := n.(ast.NodeValue); ok {
					if u, ok := v.Value.(types.EntityUID); ok {
						note(e, u)
					}
				}
				return true
			})
		}
	}
	return out
}
