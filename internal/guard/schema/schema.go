// Package schema is the guard that holds arguments and structured results to
// the JSON Schemas that a tool declared for them.
//
// Threat: a model that is talked into arguments which the tool's author never
// meant to accept, a property that nobody declared and a server reads all the
// same, a server that answers in another shape than it promised; and a schema
// or an instance made to burn the gateway's CPU while it is checked.
//
// It stops arguments that do not fit the tool's inputSchema, structured content
// that does not fit its outputSchema, undeclared properties of objects whose
// schema lists properties and says nothing else about additional ones, and
// tools whose schema cannot be checked within bounds. It fetches nothing, adds
// no defaults and changes no byte. Regular expressions run in linear time, and
// the steps of one check are counted and bounded.
//
// It cannot tell whether a value that fits is a wise one, and it knows only what
// the server itself declared: a server that declares nothing accepts anything.
//
// The dialects are 2020-12, and those before it where $schema names one. The
// validator is santhosh-tekuri/jsonschema; what bounds it is here.
package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Name is the guard's name in the config.
const Name = "schema"

// Reasons of this guard.
const (
	// ReasonArguments: the arguments do not fit the tool's inputSchema.
	ReasonArguments call.Reason = "schema-arguments"
	// ReasonResult: the structured content does not fit the tool's outputSchema.
	ReasonResult call.Reason = "schema-result"
	// ReasonUnusable: the tool's schema cannot be checked.
	ReasonUnusable call.Reason = "schema-unusable"
	// ReasonBudget: the check would take more steps than one check may.
	ReasonBudget call.Reason = "schema-too-costly"
)

// The members of a definition that are schemas.
const (
	inputSchema  = "inputSchema"
	outputSchema = "outputSchema"
)

// Guard checks by schema. Make it with New; the zero value denies.
type Guard struct {
	open  map[string]bool
	cache *cache
}

// New returns the guard. The tools in open, written server/tool, accept
// properties that their schema does not declare.
func New(open []string) *Guard {
	g := &Guard{open: map[string]bool{}, cache: newCache()}
	for _, t := range open {
		g.open[t] = true
	}
	return g
}

// Spec returns the guard's plain data.
func (g *Guard) Spec() guard.Spec {
	return guard.Spec{
		Name:      Name,
		Controls:  []string{"1-2"},
		Stops:     "Arguments and structured results that do not fit the schemas the tool declared, and properties nobody declared.",
		Cannot:    "Judge a value that fits; a tool that declares nothing accepts anything.",
		Arguments: true, Result: true, Definition: true,
	}
}

// Checks returns the guard's abilities.
func (g *Guard) Checks() guard.Checks {
	return guard.Checks{Arguments: g.arguments, Result: g.result, Definition: g.definition}
}

var errNotMade = errors.New("the schema guard was not made by New")

func pass() guard.Verdict { return guard.Verdict{Effect: call.Allow} }

func refuse(why call.Reason, say string) guard.Verdict {
	return guard.Verdict{Effect: call.Deny, Reason: why, Say: say, Findings: []call.Finding{{Guard: Name, Reason: why}}}
}

// arguments checks the arguments of a tools/call.
func (g *Guard) arguments(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	if g.cache == nil {
		return guard.Verdict{}, errNotMade
	}
	if s.Target.Method != mcp.MethodToolsCall || s.Definition == nil || !s.Request {
		return pass(), nil
	}
	o, err := strictjson.SplitObject(s.Raw)
	if err != nil {
		return guard.Verdict{}, err
	}
	args, ok := o.Get("arguments")
	if !ok {
		args = []byte("{}")
	}
	return g.check(ctx, s, inputSchema, "arguments", args, ReasonArguments)
}

// result checks the structured content of a tool's result.
func (g *Guard) result(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	if g.cache == nil {
		return guard.Verdict{}, errNotMade
	}
	if s.Target.Method != mcp.MethodToolsCall || s.Definition == nil {
		return pass(), nil
	}
	declared, err := g.cache.judge(key{s.Definition.Digest, outputSchema, g.closes(s.Target)}, member(s.Definition.Raw, outputSchema))
	if err != nil || declared.absent {
		return pass(), err
	}
	o, err := strictjson.SplitObject(s.Raw)
	if err != nil {
		return guard.Verdict{}, err
	}
	got, ok := o.Get("structuredContent")
	if !ok && !final(o) {
		return pass(), nil
	}
	if !ok {
		return refuse(ReasonResult, "the tool declares an outputSchema and answered without structuredContent: its server has to mend that"), nil
	}
	return g.check(ctx, s, outputSchema, "structuredContent", got, ReasonResult)
}

// final reports that a result is the tool's own answer: neither an error, nor a
// task, nor a question.
func final(o strictjson.Object) bool {
	if raw, ok := o.Get("isError"); ok && string(raw) == "true" {
		return false
	}
	if kind, ok := o.Get("resultType"); ok && string(kind) != `"`+mcp.ResultComplete+`"` {
		return false
	}
	_, result := o.Get("content")
	return result
}

// definition refuses a tool whose schemas cannot be checked, so that it is not
// listed either.
func (g *Guard) definition(_ context.Context, s guard.Subject) (guard.Verdict, error) {
	if g.cache == nil {
		return guard.Verdict{}, errNotMade
	}
	if s.Target.Method != mcp.MethodToolsList {
		return pass(), nil
	}
	if s.Definition == nil {
		return guard.Verdict{}, errors.New("a definition without its digest")
	}
	for _, name := range []string{inputSchema, outputSchema} {
		v, err := g.cache.judge(key{s.Definition.Digest, name, g.closes(s.Target)}, member(s.Definition.Raw, name))
		if err != nil {
			return guard.Verdict{}, err
		}
		if v.err != nil {
			return refuse(ReasonUnusable, fmt.Sprintf("the tool's %s cannot be checked: %v", name, v.err)), nil
		}
	}
	return pass(), nil
}

func (g *Guard) closes(t call.Target) bool { return !g.open[t.Server+"/"+t.Name] }

// check holds one value to one schema of the called tool.
func (g *Guard) check(ctx context.Context, s guard.Subject, which, what string, raw []byte, why call.Reason) (guard.Verdict, error) {
	err := g.cache.check(ctx, key{s.Definition.Digest, which, g.closes(s.Target)}, member(s.Definition.Raw, which), raw)
	var unusable *unusableError
	var misfit *misfitError
	switch {
	case err == nil:
		return pass(), nil
	case errors.Is(err, errNumber):
		return refuse(why, what+": "+err.Error()), nil
	case errors.Is(err, errBudget):
		return refuse(ReasonBudget, what+": checking them against the tool's schema takes too many steps; send less, or flatter, data"), nil
	case errors.As(err, &unusable):
		return refuse(ReasonUnusable, fmt.Sprintf("the tool's %s cannot be checked: %v", which, unusable)), nil
	case errors.As(err, &misfit):
		verdict := refuse(why, misfit.words(what))
		verdict.Findings = misfit.findings(why, what)
		return verdict, nil
	}
	return guard.Verdict{}, err
}

// member returns what gives a member of a definition, nil where there is none.
func member(definition []byte, name string) func() ([]byte, error) {
	return func() ([]byte, error) {
		o, err := strictjson.SplitObject(definition)
		if err != nil {
			return nil, err
		}
		raw, _ := o.Get(name)
		return raw, nil
	}
}
