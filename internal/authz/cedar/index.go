package cedar

import (
	"iter"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// index finds the policies whose scope matches a request. Each policy stands
// in one bucket: that of the entity in its resource scope, else of the one in
// its principal scope, else among the rest. It leaves out only what the scope
// rules out, so that a decision on what it finds equals one on all.
type index struct {
	all         []*entry
	byResource  map[types.EntityUID]*bucket
	byPrincipal map[types.EntityUID]*bucket
	rest        bucket
}

// bucket holds policies by the actions in their scope.
type bucket struct {
	any      []*entry
	byAction map[types.EntityUID][]*entry
}

func (b *bucket) add(e *entry) {
	named := e.action.entities
	if len(named) == 0 {
		b.any = append(b.any, e)
		return
	}
	if b.byAction == nil {
		b.byAction = map[types.EntityUID][]*entry{}
	}
	seen := map[types.EntityUID]bool{}
	for _, a := range named {
		if !seen[a] {
			b.byAction[a] = append(b.byAction[a], e)
		}
		seen[a] = true
	}
}

func newIndex(all []*entry) *index {
	x := &index{all: all, byResource: map[types.EntityUID]*bucket{}, byPrincipal: map[types.EntityUID]*bucket{}}
	at := func(m map[types.EntityUID]*bucket, u types.EntityUID) *bucket {
		if m[u] == nil {
			m[u] = &bucket{}
		}
		return m[u]
	}
	for _, e := range all {
		if r := e.resource.entities; len(r) == 1 {
			at(x.byResource, r[0]).add(e)
		} else if p := e.principal.entities; len(p) == 1 {
			at(x.byPrincipal, p[0]).add(e)
		} else {
			x.rest.add(e)
		}
	}
	return x
}

// find returns the policies whose scope matches. An entity matches by itself
// or by its parents, and no parent here has parents of its own.
func (x *index) find(principal, action, resource types.Entity) []*entry {
	var out []*entry
	take := func(b *bucket) {
		if b == nil {
			return
		}
		for _, list := range [...][]*entry{b.any, b.byAction[action.UID]} {
			for _, e := range list {
				if e.principal.matches(principal) && e.action.matches(action) && e.resource.matches(resource) {
					out = append(out, e)
				}
			}
		}
	}
	take(&x.rest)
	take(x.byResource[resource.UID])
	for p := range resource.Parents.All() {
		take(x.byResource[p])
	}
	take(x.byPrincipal[principal.UID])
	for p := range principal.Parents.All() {
		take(x.byPrincipal[p])
	}
	return out
}

// ofServer returns the policies whose scope matches some resource of a server.
func (x *index) ofServer(principal, action types.Entity, server string) []*entry {
	var out []*entry
	for _, e := range x.all {
		if e.principal.matches(principal) && e.action.matches(action) && e.resource.ofServer(server) != never {
			out = append(out, e)
		}
	}
	return out
}

// policies is a list of policies as the evaluator takes it.
type policies []*entry

// All implements cedar.PolicyIterator.
func (ps policies) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, e := range ps {
			if !yield(e.name, e.policy) {
				return
			}
		}
	}
}
