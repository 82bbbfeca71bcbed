package schema

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxSteps bounds one check. A step is the application of one subschema to one
// value, or work of about the same cost.
const maxSteps = 300_000

// errBudget says that a check would have taken more steps than it may.
var errBudget = errors.New("too many steps")

// program is a compiled schema with its meter. It checks one value at a time.
type program struct {
	schema *jsonschema.Schema
	left   int
	// standIn may take the place of any longer string, since the schema only
	// asks whether a string is one of some shorter ones; empty where it asks
	// more.
	standIn string
}

// spent is what the meter throws through the validator, which has no other way
// of being stopped; check catches it.
type spent struct{}

// checkRaw reads a value and checks it. The error is errNumber or one of check.
func (p *program) checkRaw(raw []byte) error {
	v, err := valueWith(raw, p.standIn)
	if err != nil {
		return err
	}
	return p.check(v)
}

// check returns nil, errBudget or a *misfitError.
func (p *program) check(v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(spent); !ok {
				panic(r)
			}
			err = errBudget
		}
	}()
	p.left = maxSteps
	err = p.schema.Validate(v)
	var bad *jsonschema.ValidationError
	if errors.As(err, &bad) {
		return &misfitError{bad}
	}
	return err
}

func (p *program) charge(n int) {
	if p.left -= n; p.left < 0 {
		panic(spent{})
	}
}

// node is one subschema of the graph that references make of a schema.
type node struct {
	s *jsonschema.Schema
	// same are the subschemas that judge the same value, inner those that judge
	// its parts. listing are those of same whose properties the value may have;
	// tests are the conditions among them, which name properties and promise
	// none.
	same, inner, listing, tests []*node
	// weight is what applying it costs at once, before its subschemas.
	weight int
	// root: some value is judged by this subschema for its own sake, not only
	// beside another one.
	root  bool
	chain int // longest way through same; 0 while unknown, -1 while on the way
}

// instrument puts the meter and the closing of objects into a compiled schema.
// The validator asks a subschema's format before it looks into it, for every
// type of value: that is the one place through which all work passes.
func instrument(s *jsonschema.Schema, closed bool) (*program, error) {
	g := graph{nodes: map[*jsonschema.Schema]*node{}}
	root := g.add(s)
	root.root = true
	for i := 0; i < len(g.order); i++ { // grows while it is walked
		g.link(g.order[i])
	}
	for _, n := range g.order {
		for _, c := range n.inner {
			c.root = true
		}
	}
	for _, n := range g.order {
		if long, err := n.longest(); err != nil {
			return nil, err
		} else if long > maxChain {
			return nil, unusable("more than %d parts of it judge one and the same value", maxChain)
		}
	}
	var allowed map[*node]map[string]bool
	if closed {
		var err error
		if allowed, err = g.closing(); err != nil {
			return nil, err
		}
	}
	p := &program{schema: s, standIn: g.standIn()}
	for _, n := range g.order {
		p.meter(n, allowed[n])
	}
	return p, nil
}

// standIn returns a string that is longer than all that the schema names, or
// nothing where the schema looks into strings or compares parts of the value
// with one another.
func (g *graph) standIn() string {
	long := 0
	for _, n := range g.order {
		s := n.s
		if s.MinLength != nil || s.MaxLength != nil || s.Pattern != nil || s.Format != nil || s.ContentEncoding != nil || s.ContentMediaType != nil || s.UniqueItems {
			return ""
		}
		if s.Const != nil {
			long = max(long, longest(*s.Const))
		}
		if s.Enum != nil {
			long = max(long, longest(s.Enum.Values))
		}
	}
	return strings.Repeat("x", long+1)
}

// longest is the length of the longest string in a value.
func longest(v any) int {
	n := 0
	switch v := v.(type) {
	case string:
		n = len(v)
	case map[string]any:
		for _, e := range v {
			n = max(n, longest(e))
		}
	case []any:
		for _, e := range v {
			n = max(n, longest(e))
		}
	}
	return n
}

// meter makes a subschema count its steps, and refuse properties that are not
// among allowed, if that is not nil.
func (p *program) meter(n *node, allowed map[string]bool) {
	if n.s.Bool != nil {
		return
	}
	was := n.s.Format
	name := "properties"
	if was != nil {
		name = was.Name
	}
	fixed := 1
	for _, c := range n.same {
		fixed += c.weight
	}
	perPart := 1
	for _, c := range n.inner {
		perPart = max(perPart, c.weight)
	}
	var names []matcher
	for re := range n.s.PatternProperties {
		names = append(names, re.(matcher))
	}
	text, _ := n.s.Pattern.(matcher)
	n.s.Format = &jsonschema.Format{Name: name, Validate: func(v any) error {
		switch v := v.(type) {
		case map[string]any:
			p.charge(fixed + len(v)*(perPart+len(names)))
			for key := range v {
				for _, re := range names {
					p.charge(re.cost(len(key)))
				}
			}
			if allowed != nil {
				if err := undeclared(v, allowed); err != nil {
					return err
				}
			}
		case []any:
			p.charge(fixed + len(v)*perPart)
		case string:
			p.charge(fixed + len(v)/patternUnit)
			if text != nil {
				p.charge(text.cost(len(v)))
			}
			if was != nil && was.Name == "regex" {
				// Parsed and not compiled: see read.
				p.charge(len(v))
				_, err := read(v)
				return err
			}
		default:
			p.charge(fixed)
		}
		if was != nil {
			return was.Validate(v)
		}
		return nil
	}}
}

// matcher is a pattern that knows what it costs.
type matcher interface{ cost(text int) int }

// undeclaredError names the properties that nobody declared.
type undeclaredError struct{ names, known []string }

// Error names them.
func (e *undeclaredError) Error() string { return "undeclared properties" }

func undeclared(v map[string]any, allowed map[string]bool) error {
	var names []string
	for name := range v {
		if !allowed[name] {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil
	}
	slices.Sort(names)
	return &undeclaredError{names, slices.Sorted(maps.Keys(allowed))}
}

// graph is a schema as its references make it.
type graph struct {
	nodes map[*jsonschema.Schema]*node
	order []*node
	work  int // of closing
}

// maxWork bounds the looks that closing takes: every part can refer to every
// other one, and each value that a part judges for itself is closed by itself.
const maxWork = 250_000

func (g *graph) add(s *jsonschema.Schema) *node {
	n, ok := g.nodes[s]
	if !ok {
		n = &node{s: s, weight: 1}
		if s.Enum != nil {
			n.weight += size(s.Enum.Values) / 4
		}
		if s.Const != nil {
			n.weight += size(*s.Const) / 4
		}
		g.nodes[s] = n
		g.order = append(g.order, n)
	}
	return n
}

// size counts the values in a value.
func size(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n += size(e)
		}
	case []any:
		for _, e := range v {
			n += size(e)
		}
	}
	return n
}

// link finds the subschemas of a node.
func (g *graph) link(n *node) {
	s := n.s
	same := func(list ...*jsonschema.Schema) {
		for _, c := range list {
			if c != nil {
				n.same = append(n.same, g.add(c))
				n.listing = append(n.listing, g.add(c))
			}
		}
	}
	inner := func(list ...*jsonschema.Schema) {
		for _, c := range list {
			if c != nil {
				n.inner = append(n.inner, g.add(c))
			}
		}
	}
	if s.Not != nil {
		n.same = append(n.same, g.add(s.Not))
	}
	if s.If != nil {
		n.same = append(n.same, g.add(s.If))
		n.tests = append(n.tests, g.add(s.If))
	}
	same(s.Ref, s.RecursiveRef, s.Then, s.Else)
	same(s.AllOf...)
	same(s.AnyOf...)
	same(s.OneOf...)
	if s.DynamicRef != nil {
		same(s.DynamicRef.Ref)
	}
	for _, name := range slices.Sorted(maps.Keys(s.DependentSchemas)) {
		same(s.DependentSchemas[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		if c, ok := s.Dependencies[name].(*jsonschema.Schema); ok {
			same(c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		inner(s.Properties[name])
	}
	for _, c := range s.PatternProperties {
		inner(c)
	}
	for _, v := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		switch v := v.(type) {
		case *jsonschema.Schema:
			inner(v)
		case []*jsonschema.Schema:
			inner(v...)
		}
	}
	inner(s.PropertyNames, s.Contains, s.Items2020, s.UnevaluatedItems, s.UnevaluatedProperties, s.ContentSchema)
	inner(s.PrefixItems...)
}

// longest returns how many subschemas follow one another on one value.
func (n *node) longest() (int, error) {
	switch {
	case n.chain > 0:
		return n.chain, nil
	case n.chain < 0:
		return 0, unusable("a part of it refers to itself without going deeper into the value")
	}
	n.chain = -1
	long := 0
	for _, c := range n.same {
		l, err := c.longest()
		if err != nil {
			return 0, err
		}
		long = max(long, l)
	}
	n.chain = long + 1
	return n.chain, nil
}

// closing finds for every subschema the properties that its object may have,
// where something in reach lists properties and nothing says more. What judges
// a value beside others allows what any of them lists: combinations made with
// allOf or $ref stay usable, and the price is that a property listed in one
// alternative passes in another.
func (g *graph) closing() (map[*node]map[string]bool, error) {
	open := map[*node]bool{}
	allowed := map[*node]map[string]bool{}
	for _, n := range g.order {
		if !n.root {
			continue
		}
		if g.work > maxWork {
			return nil, errTangled()
		}
		all := g.beside(n)
		lists := slices.ContainsFunc(all, func(m *node) bool { return len(m.s.Properties) > 0 })
		if !lists || slices.ContainsFunc(all, says) {
			for _, m := range all {
				open[m] = true
			}
			continue
		}
		names := map[string]bool{}
		for _, m := range all {
			if g.work += len(m.s.Properties); g.work > maxWork {
				return nil, errTangled()
			}
			maps.Copy(names, keys(m.s.Properties))
			for _, t := range m.tests {
				for _, o := range g.beside(t) {
					maps.Copy(names, keys(o.s.Properties))
					g.work += len(o.s.Properties)
				}
			}
		}
		for _, m := range all {
			if !m.root {
				continue
			}
			if allowed[m] == nil {
				allowed[m] = map[string]bool{}
			}
			maps.Copy(allowed[m], names)
			g.work += len(names)
		}
	}
	for n := range open {
		delete(allowed, n)
	}
	return allowed, nil
}

func errTangled() error { return unusable("its parts refer to one another too often") }

func keys(m map[string]*jsonschema.Schema) map[string]bool {
	out := make(map[string]bool, len(m))
	for name := range m {
		out[name] = true
	}
	return out
}

// beside collects what lists properties of the same value as n.
func (g *graph) beside(n *node) []*node {
	seen := map[*node]bool{n: true}
	all := []*node{n}
	for i := 0; i < len(all) && g.work <= maxWork; i++ { // grows while it is walked
		for _, c := range all[i].listing {
			if !seen[c] {
				seen[c] = true
				all = append(all, c)
			}
			g.work++
		}
	}
	return all
}

// says reports that a subschema says something about properties that it does
// not list.
func says(n *node) bool {
	s := n.s
	return s.AdditionalProperties != nil || s.UnevaluatedProperties != nil || len(s.PatternProperties) > 0 ||
		s.PropertyNames != nil || s.DynamicRef != nil || s.RecursiveRef != nil
}
