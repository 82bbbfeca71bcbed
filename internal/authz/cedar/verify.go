package cedar

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/munjigi/munjigi/internal/config"
)

// World is what Check holds policies against.
type World struct {
	// Catalogue is what the servers say they have; nil when nobody asked.
	Catalogue *Catalogue
	// Open reports a tool that accepts properties which its schema does not
	// list; nil when none does.
	Open func(server, tool string) bool
}

// Report is what Check found.
type Report struct {
	// Problems are mistakes, in the order of files and places.
	Problems []config.Problem
	// Unchecked says what could not be checked, and why.
	Unchecked []string
}

// Check finds policies that can never match, that would fail to evaluate, that
// name what no server has, or that take an argument for what it is not. What it
// cannot know is not found: claims, and arguments and names where the catalogue
// does not have them.
func (p *Policies) Check(w World) Report {
	c := &checker{world: w, validators: map[string]*validate.Validator{}, unchecked: map[string]bool{}}
	if p == nil {
		return Report{}
	}
	for _, e := range p.entries {
		for name := range e.attributes {
			if isIndex(name) && !slices.Contains(c.indices, name) {
				c.indices = append(c.indices, name)
			}
		}
	}
	slices.Sort(c.indices)
	for _, e := range p.entries {
		c.entry(e)
	}
	r := Report{Problems: c.problems}
	sort.SliceStable(r.Problems, func(i, j int) bool {
		a, b := r.Problems[i], r.Problems[j]
		return a.File < b.File || a.File == b.File && (a.Line < b.Line || a.Line == b.Line && a.Message < b.Message)
	})
	for text := range c.unchecked {
		r.Unchecked = append(r.Unchecked, text)
	}
	sort.Strings(r.Unchecked)
	return r
}

type checker struct {
	world      World
	indices    []types.String
	validators map[string]*validate.Validator
	problems   []config.Problem
	unchecked  map[string]bool
}

func (c *checker) bad(e *entry, message, next string) {
	at := e.policy.Position()
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, config.Problem{File: place(e), Line: at.Line, Column: at.Column, Message: config.Visible(message), Next: next})
	}
}

// target is what a policy may be asked about. Without an entity it is any of
// its type.
type target struct {
	one
	entity *types.Entity
}

func (t target) words() string {
	if t.entity == nil {
		return "a " + strings.TrimPrefix(string(t.kind), "Munjigi::")
	}
	return shown(t.entity.UID)
}

func (c *checker) entry(e *entry) {
	before := len(c.problems)
	c.names(e)
	var reached, seen bool
	faults := map[string][]string{}
	for _, o := range e.about() {
		for _, t := range c.targets(e, o) {
			seen = true
			can, wrong := c.judge(e, t)
			reached = reached || can
			for _, m := range wrong {
				if list := faults[m]; len(list) == 0 || list[len(list)-1] != t.words() {
					faults[m] = append(list, t.words())
				}
			}
		}
	}
	messages := make([]string, 0, len(faults))
	for m := range faults {
		messages = append(messages, m)
	}
	sort.Strings(messages)
	for _, m := range messages {
		where := faults[m][0]
		if n := len(faults[m]) - 1; n > 0 {
			where = fmt.Sprintf("%s and %d more", where, n)
		}
		c.bad(e, fmt.Sprintf("does not fit %s: %s", where, m), "mend it: a policy that fails to evaluate denies the request")
	}
	switch {
	case len(c.problems) > before:
	case !seen:
		c.bad(e, "no request has this action and this resource: it can never match", "mend its scope: docs/policy.md says which action is asked for what")
	case !reached:
		c.bad(e, "its conditions can never be so: it can never match", "mend or remove it: a policy that never matches protects nothing")
	}
}

// about is the requests that fall in the scope, as far as actions and types
// tell.
func (e *entry) about() []one {
	var out []one
	for _, kind := range resourceTypes() {
		fits := e.resource.of == "" || e.resource.of == kind
		if list := e.resource.entities; fits && len(list) > 0 {
			fits = slices.ContainsFunc(list, func(u types.EntityUID) bool { return u.Type == kind || !e.resource.exact && u.Type == typeServer })
		}
		if !fits {
			continue
		}
		for _, r := range rules() {
			o := one{action: r.action, kind: kind, takes: r.arguments}
			if slices.Contains(r.kinds, kind) && e.action.matches(types.Entity{UID: actionUID(r.action)}) &&
				!slices.ContainsFunc(out, func(x one) bool { return x.action == o.action && x.kind == o.kind }) {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(a, b one) int { return strings.Compare(string(a.kind)+a.action, string(b.kind)+b.action) })
	return out
}

// targets are what a policy is judged for: each tool or prompt that its scope
// matches where it looks at arguments, or its resource is known, else the type.
func (c *checker) targets(e *entry, o one) []target {
	whole, kind := []target{{one: o}}, o.kind
	if !o.takes || !e.reads(contextArguments) {
		return whole
	}
	if c.world.Catalogue == nil {
		c.unchecked["arguments are not checked: no server was asked what it has"] = true
		return whole
	}
	var out []target
	for _, server := range c.servers(e) {
		list, known := c.list(server, kind)
		if !known {
			c.unchecked[fmt.Sprintf("arguments of %s are not checked: %s", server, c.why(server, kind))] = true
			out = append(out, target{one: o})
			continue
		}
		for _, t := range list {
			entity := types.Entity{UID: types.NewEntityUID(kind, types.String(server+"/"+t.Name)), Parents: types.NewEntityUIDSet(serverUID(server)),
				Attributes: types.NewRecord(types.RecordMap{"server": types.String(server), "name": types.String(t.Name)})}
			if !e.resource.matches(entity) {
				continue
			}
			open := c.world.Open != nil && c.world.Open(server, t.Name)
			o.arguments = shape{kind: aRecord, open: true}
			if kind == typeTool {
				o.arguments = argumentShape(t.InputSchema, !open, c.indices)
			}
			out = append(out, target{one: o, entity: &entity})
		}
	}
	return out
}

// servers are those whose targets the scope may match.
func (c *checker) servers(e *entry) []string {
	var out []string
	for name := range c.world.Catalogue.Servers {
		out = append(out, name)
	}
	for _, u := range e.resource.entities {
		if s := serverOf(u); s != merged && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	if list := e.resource.entities; len(list) > 0 {
		out = slices.DeleteFunc(out, func(s string) bool {
			return !slices.ContainsFunc(list, func(u types.EntityUID) bool { return serverOf(u) == s })
		})
	}
	return out
}

func listName(kind types.EntityType) string {
	if kind == typePrompt {
		return "prompts"
	}
	return "tools"
}

// list is what a server says it has of a type; known is false where it did not
// say.
func (c *checker) list(server string, kind types.EntityType) (list []Tool, known bool) {
	s := c.world.Catalogue.Servers[server]
	if s == nil {
		return nil, false
	}
	if _, missing := s.Missing[listName(kind)]; missing {
		return nil, false
	}
	if kind == typePrompt {
		return tools(s.Prompts), true
	}
	return tools(s.Tools), true
}

func (c *checker) why(server string, kind types.EntityType) string {
	if s := c.world.Catalogue.Servers[server]; s != nil {
		return config.Visible(s.Missing[listName(kind)])
	}
	return "the catalogue does not have the server"
}

// names finds tools and prompts that their server does not have.
func (c *checker) names(e *entry) {
	said := map[types.EntityUID]bool{}
	look := func(u types.EntityUID) {
		if u.Type != typeTool && u.Type != typePrompt || said[u] {
			return
		}
		said[u] = true
		server, name, _ := strings.Cut(string(u.ID), "/")
		what := strings.ToLower(strings.TrimPrefix(string(u.Type), "Munjigi::"))
		if c.world.Catalogue == nil {
			c.unchecked["names of tools and prompts are not checked: no server was asked what it has"] = true
			return
		}
		list, known := c.list(server, u.Type)
		if !known {
			c.unchecked[fmt.Sprintf("names of %ss of %s are not checked: %s", what, server, c.why(server, u.Type))] = true
			return
		}
		names := make([]string, len(list))
		for i, t := range list {
			names[i] = t.Name
		}
		if slices.Contains(names, name) {
			return
		}
		next := fmt.Sprintf("mend the name: what is not there never matches. `munjigi policy catalogue` shows what %s has", server)
		if n := nearest(name, names); n != "" {
			next = fmt.Sprintf("did you mean %q?", n)
		}
		c.bad(e, fmt.Sprintf("names the %s %q, which %s does not have", what, name, server), next)
	}
	for _, u := range e.resource.entities {
		look(u)
	}
	for _, cond := range e.ast().Conditions {
		ast.Inspect(ast.NewNode(cond.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				if u, ok := v.Value.(types.EntityUID); ok {
					look(u)
				}
			}
			return true
		})
	}
}

// judge says whether a policy could match for a target, and what would fail.
func (c *checker) judge(e *entry, t target) (reached bool, wrong []string) {
	v, err := c.validator(t)
	if err != nil {
		return true, []string{"it cannot be checked: " + err.Error()}
	}
	p := *e.ast()
	var body ast.IsNode = ast.NodeValue{Value: types.True}
	for _, cond := range p.Conditions {
		cond.Body = t.soften(cond.Body)
		next := cond.Body
		if not, is := next.(ast.NodeTypeNot); is && cond.Condition == ast.ConditionUnless {
			next = not.Arg
		} else if cond.Condition == ast.ConditionUnless {
			next = ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: next}}
		}
		body = ast.NodeTypeAnd{BinaryNode: ast.BinaryNode{Left: body, Right: next}}
	}
	// What a later condition rests on an earlier one may have asked for.
	p.Conditions = []ast.ConditionType{{Condition: ast.ConditionWhen, Body: body}}
	err = validated(v, &p)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimSpace(line); strings.Contains(line, "unable to find an applicable action") {
				return false, nil
			} else if entitiesApart(line) {
				continue // it is false, and that is what was meant: a set of tools has no server in it
			} else if line = friendly(line); !slices.Contains(wrong, line) {
				wrong = append(wrong, line)
			}
		}
		return true, wrong
	}
	// A comparison that is wrong in itself is found only where what stands
	// before it can be true.
	marker := ast.NodeTypeLessThan{BinaryNode: ast.BinaryNode{Left: ast.NodeValue{Value: types.True}, Right: ast.NodeValue{Value: types.True}}}
	p.Conditions = []ast.ConditionType{{Condition: ast.ConditionWhen, Body: ast.NodeTypeAnd{BinaryNode: ast.BinaryNode{Left: body, Right: marker}}}}
	return validated(v, &p) != nil, nil
}

func entitiesApart(text string) bool {
	return regexp.MustCompile("^the types Munjigi::[A-Za-z]+ and Munjigi::[A-Za-z]+ are not compatible").MatchString(text)
}

// friendly says what the validator says in the words of policies.
func friendly(text string) string {
	for _, r := range [...][2]string{
		{"unable to guarantee safety of access to optional attribute `([^`]*)` in context for .*", "`context.$1` may be missing: ask for it with `has` first"},
		{"attribute `([^`]*)` in context for .* not found(.*)", "there is no `context.$1`$2"},
		{"attribute `([^`]*)` on entity type `Munjigi::(?:User|Workload|Operator|Anonymous)` not found(.*)", "there is no `principal.$1`$2"},
		{"attribute `([^`]*)` on entity type `Munjigi::(?:Server|Tool|Prompt|Resource|Task)` not found(.*)", "there is no `resource.$1`$2"},
		{"^unexpected type: expected (.*) but saw (.*)$", "a $1 is needed there, and it is a $2"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

// validated turns a panic of the validator into an error.
func validated(v *validate.Validator, p *ast.Policy) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the validator failed: %v", r)
		}
	}()
	return v.Policy("", p)
}

func (c *checker) validator(t target) (*validate.Validator, error) {
	key := t.action + " " + string(t.kind)
	if t.entity != nil {
		key += " " + string(t.entity.UID.ID)
	}
	v, ok := c.validators[key]
	if ok {
		return v, nil
	}
	v, err := validatorOf(t.one)
	if err == nil {
		c.validators[key] = v
	}
	return v, err
}

// soften makes a condition one that the validator can judge: what is about the
// resource alone is decided where the resource is known, and what is about
// things whose types nobody knows is some Bool.
func (t target) soften(n ast.IsNode) ast.IsNode {
	both := func(b ast.BinaryNode) ast.BinaryNode {
		return ast.BinaryNode{Left: t.soften(b.Left), Right: t.soften(b.Right)}
	}
	switch v := n.(type) {
	case ast.NodeTypeAnd:
		return ast.NodeTypeAnd{BinaryNode: both(v.BinaryNode)}
	case ast.NodeTypeOr:
		return ast.NodeTypeOr{BinaryNode: both(v.BinaryNode)}
	case ast.NodeTypeNot:
		return ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: t.soften(v.Arg)}}
	case ast.NodeTypeIfThenElse:
		return ast.NodeTypeIfThenElse{If: t.soften(v.If), Then: t.soften(v.Then), Else: t.soften(v.Else)}
	}
	if t.loose(n) {
		return ast.NodeTypeAccess{StrOpNode: ast.StrOpNode{Arg: ast.NodeTypeVariable{Name: "principal"}, Value: "groups_unknown"}}
	}
	if t.entity != nil && onlyAbout(n, "resource") {
		env := eval.Env{Entities: two{resource: *t.entity}, Resource: t.entity.UID}
		if v, err := eval.Eval(n, env); err == nil {
			if b, is := v.(types.Boolean); is {
				return ast.NodeValue{Value: b}
			}
		}
	}
	return n
}

// onlyAbout reports an expression whose one variable is name.
func onlyAbout(n ast.IsNode, name types.String) bool {
	only, asks := true, false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		if v, ok := n.(ast.NodeTypeVariable); ok {
			only, asks = only && v.Name == name, true
		}
		return true
	})
	return only && asks
}

// loose reports an expression that looks at something whose type nobody knows.
func (t target) loose(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		root, path, has, is := chain(n)
		if !is {
			return !found
		}
		switch {
		case root == "principal":
			found = found || len(path) > 0 && path[0] == attrClaims
		case root == "context" && len(path) == 0:
			found = found || t.takes && !t.arguments.certain()
		case root == "context" && path[0] == contextArguments && t.takes:
			found = found || t.looseAt(path[1:], has)
		}
		return false
	})
	return found
}

// looseAt is loose for a path into the arguments; has says that the last name
// is only asked for.
func (t target) looseAt(path []types.String, has bool) bool {
	if has && len(path) > 0 {
		of, known := t.arguments.follow(path[:len(path)-1])
		m, declared := of.members[path[len(path)-1]]
		return !known || of.kind == aRecord && (of.open && !declared || declared && m.kind == anything)
	}
	end, known := t.arguments.follow(path)
	return !known || !has && end.kind == aRecord && !end.certain()
}

// chain reads variable.a.b.c, and whether the last name is only asked for.
func chain(n ast.IsNode) (root types.String, path []types.String, has, ok bool) {
	for first := true; ; first = false {
		switch v := n.(type) {
		case ast.NodeTypeVariable:
			slices.Reverse(path)
			return v.Name, path, has, true
		case ast.NodeTypeAccess:
			path, n = append(path, v.Value), v.Arg
		case ast.NodeTypeHas:
			if !first {
				return "", nil, false, false
			}
			has = true
			path, n = append(path, v.Value), v.Arg
		default:
			return "", nil, false, false
		}
	}
}

// nearest is the name that somebody who wrote another one most likely meant.
func nearest(name string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to change, add or leave out, up to 64 letters.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
