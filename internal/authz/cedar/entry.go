package cedar

import (
	"fmt"
	"slices"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/munjigi/munjigi/internal/minimize"
)

// entry is one policy with what is known of it before any request.
type entry struct {
	name   cedar.PolicyID // file#id, or file:line:column
	policy *cedar.Policy
	// principal, action and resource are its scope.
	principal, action, resource head
	// attributes are the names that its conditions ask any entity or record
	// for; groups says that one of them, or its scope, is about groups.
	attributes map[types.String]bool
	groups     bool
	// results is what may come back of a call that the permit allows; nil for all.
	results *minimize.Rules
	// context are the names that it asks the context for; contextUses counts
	// the places, and those where it asks for a name.
	context                  map[types.String]bool
	contextUses, contextAsks int
	// needs is what the permit asks for beyond matching; nil for nothing.
	needs *needs
}

// reads reports whether a condition looks at a member of the context.
func (e *entry) reads(name types.String) bool {
	return e.contextUses > e.contextAsks || e.context[name]
}

// varies reports whether a condition looks at what is another from one call of
// a target to the next, or the policy asks for what a caller gets and loses.
func (e *entry) varies() bool {
	if e.needs != nil {
		return true
	}
	for name := range e.context {
		if name != contextMethod {
			return true
		}
	}
	return e.contextUses > e.contextAsks
}

func (e *entry) forbids() bool { return e.policy.Effect() == cedar.Forbid }

func (e *entry) ast() *ast.Policy { return (*ast.Policy)(e.policy.AST()) }

// head is one part of a policy's scope.
type head struct {
	entities []types.EntityUID // == or in one of these
	exact    bool              // ==
	of       types.EntityType  // is; empty for any
}

func headOf(s ast.IsScopeNode) head {
	switch t := s.(type) {
	case ast.ScopeTypeEq:
		return head{entities: []types.EntityUID{t.Entity}, exact: true}
	case ast.ScopeTypeIn:
		return head{entities: []types.EntityUID{t.Entity}}
	case ast.ScopeTypeInSet:
		return head{entities: t.Entities}
	case ast.ScopeTypeIs:
		return head{of: t.Type}
	case ast.ScopeTypeIsIn:
		return head{entities: []types.EntityUID{t.Entity}, of: t.Type}
	}
	return head{}
}

// matches reports whether an entity, with all its parents, is in the scope.
func (h head) matches(e types.Entity) bool {
	if h.of != "" && h.of != e.UID.Type {
		return false
	}
	return len(h.entities) == 0 || slices.ContainsFunc(h.entities, func(u types.EntityUID) bool {
		return u == e.UID || !h.exact && e.Parents.Contains(u)
	})
}

// ofServer says whether the scope matches the resources of a server: all of
// them, some, or none.
func (h head) ofServer(server string) certainty {
	if h.of != "" && h.of != typeResource {
		return never
	}
	if len(h.entities) == 0 {
		return surely
	}
	for _, u := range h.entities {
		switch {
		case u == serverUID(server) && !h.exact:
			return surely
		case u.Type == typeResource && serverOf(u) == server:
			return perhaps
		}
	}
	return never
}

// couldBe reports whether the scope matches when the caller's parents are not
// known.
func (e *entry) couldBe(principal types.EntityType, action, target types.Entity) bool {
	return (e.principal.of == "" || e.principal.of == principal) && e.action.matches(action) && e.resource.matches(target)
}

// inspect notes what the policy reads, and returns why it can never match, or
// names what cannot be.
func (e *entry) inspect() []string {
	p := e.ast()
	problems := map[string]bool{}
	say := func(m string) {
		if m != "" {
			problems[m] = true
		}
	}
	e.principal, e.action, e.resource = headOf(p.Principal), headOf(p.Action), headOf(p.Resource)
	e.head("principal", e.principal, principalTypes(), principalParents(), say)
	e.head("resource", e.resource, resourceTypes(), []types.EntityType{typeServer}, say)
	e.head("action", e.action, []types.EntityType{typeAction}, nil, say)
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			e.read(n, say)
			return true
		})
	}
	for _, u := range e.principal.entities {
		e.groups = e.groups || u.Type == typeGroup
	}
	out := make([]string, 0, len(problems))
	for m := range problems {
		out = append(out, m)
	}
	return out
}

// head checks that a scope can match an entity of one of the types, in one of
// the parents.
func (e *entry) head(part string, h head, of, parents []types.EntityType, say func(string)) {
	if h.of != "" && !slices.Contains(of, h.of) {
		if m := typeProblem(h.of); m != "" {
			say(m)
		} else {
			say(fmt.Sprintf("no %s is %s", part, h.of))
		}
	}
	for _, u := range h.entities {
		if m := nameProblem(u); m != "" {
			say(m)
			continue
		}
		switch fits := slices.Contains(of, u.Type); {
		case fits && h.of != "" && h.of != u.Type && !slices.Contains(parents, u.Type):
			say(fmt.Sprintf("no %s is %s and in %s", part, h.of, u))
		case !fits && (h.exact || !slices.Contains(parents, u.Type)):
			say(fmt.Sprintf("no %s is %s", part, u))
		}
	}
	if len(h.entities) == 0 && h.of == "" && part == "action" {
		if _, none := e.ast().Action.(ast.ScopeTypeInSet); none {
			say("no action is in an empty set")
		}
	}
}

// read notes what one node of a condition reads and names.
func (e *entry) read(n ast.IsNode, say func(string)) {
	attribute := func(name types.String) {
		if e.attributes == nil {
			e.attributes = map[types.String]bool{}
		}
		e.attributes[name] = true
		e.groups = e.groups || name == attrGroups
	}
	asked := func(of ast.IsNode, name types.String) {
		attribute(name)
		if v, ok := of.(ast.NodeTypeVariable); ok && v.Name == "context" {
			if e.context == nil {
				e.context = map[types.String]bool{}
			}
			e.context[name] = true
			e.contextAsks++
			if !slices.Contains(contextNames(), name) {
				say(fmt.Sprintf("there is no context.%s; the context has %s", name, contextWords()))
			}
		}
	}
	switch v := n.(type) {
	case ast.NodeTypeVariable:
		if v.Name == "context" {
			e.contextUses++
		}
	case ast.NodeTypeAccess:
		asked(v.Arg, v.Value)
	case ast.NodeTypeHas:
		asked(v.Arg, v.Value)
	case ast.NodeTypeIs:
		say(typeProblem(v.EntityType))
	case ast.NodeTypeIsIn:
		say(typeProblem(v.EntityType))
	case ast.NodeValue:
		if u, ok := v.Value.(types.EntityUID); ok {
			say(nameProblem(u))
			e.groups = e.groups || u.Type == typeGroup
		}
	}
}
