package cedar

import (
	"iter"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// index finds the policies whose scope could match a request. Each policy
// stands in one bucket: that of the entity in its resource scope, else of the
// one in its principal scope, else among the rest. It leaves out only what
// the scope rules out, so that a decision on what it finds equals one on all.
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
	named := headOf(e.ast().Action).entities
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

func (b *bucket) find(action types.EntityUID, out []*entry) []*entry {
	if b == nil {
		return out
	}
	return append(append(out, b.any...), b.byAction[action]...)
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
		if r := headOf(e.ast().Resource).entities; len(r) == 1 {
			at(x.byResource, r[0]).add(e)
		} else if p := headOf(e.ast().Principal).entities; len(p) == 1 {
			at(x.byPrincipal, p[0]).add(e)
		} else {
			x.rest.add(e)
		}
	}
	return x
}

// find returns the policies that could match. An entity matches by itself or
// by its parents, and no parent here has parents of its own.
func (x *index) find(principal types.Entity, action types.EntityUID, resource types.Entity) []*entry {
	out := x.rest.find(action, nil)
	out = x.byResource[resource.UID].find(action, out)
	for p := range resource.Parents.All() {
		out = x.byResource[p].find(action, out)
	}
	out = x.byPrincipal[principal.UID].find(action, out)
	for p := range principal.Parents.All() {
		out = x.byPrincipal[p].find(action, out)
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
