package guard_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
)

// g is a guard whose result check is a function.
type g struct {
	name  string
	check guard.Check
	spec  guard.Spec
}

func (x g) Spec() guard.Spec {
	s := x.spec
	s.Name, s.Result = x.name, x.check != nil
	return s
}
func (x g) Checks() guard.Checks { return guard.Checks{Result: x.check} }

func says(v guard.Verdict, err error) guard.Check {
	return func(context.Context, guard.Subject) (guard.Verdict, error) { return v, err }
}

func inspect(t *testing.T, modes map[string]guard.Mode, gs ...guard.Guard) (call.Decision, []byte) {
	t.Helper()
	s, err := guard.Build(gs, modes)
	if err != nil {
		t.Fatal(err)
	}
	return s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: []byte("{}")})
}

func TestFailsClosed(t *testing.T) {
	t.Parallel()
	allow := g{name: "allow", check: says(guard.Verdict{Effect: call.Allow}, nil)}
	for name, bad := range map[string]g{
		"zero verdict": {name: "x", check: says(guard.Verdict{}, nil)},
		"error":        {name: "x", check: says(guard.Verdict{Effect: call.Allow}, errors.New("down"))},
		"panic":        {name: "x", check: func(context.Context, guard.Subject) (guard.Verdict, error) { panic("x") }},
		"hold":         {name: "x", check: says(guard.Verdict{Effect: call.Hold}, nil)},
	} {
		if d, b := inspect(t, nil, allow, bad); d.Effect.Passes() || b != nil {
			t.Errorf("%s: %v %s", name, d, b)
		}
		if d, _ := inspect(t, map[string]guard.Mode{"x": guard.Off}, allow, bad); !d.Effect.Passes() {
			t.Errorf("%s, off: %v", name, d)
		}
		if d, _ := inspect(t, map[string]guard.Mode{"x": guard.Monitor}, allow, bad); !d.Effect.Passes() {
			t.Errorf("%s, monitor: %v", name, d)
		}
	}
	var zero guard.Set
	if d, b := zero.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: []byte("{}")}); d.Effect.Passes() || b != nil {
		t.Errorf("a set that was not built: %v", d)
	}
}

func TestARewriteIsJudgedAgainOnce(t *testing.T) {
	t.Parallel()
	seen := []string{}
	watch := g{name: "watch", check: func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
		seen = append(seen, string(s.Raw))
		return guard.Verdict{Effect: call.Allow}, nil
	}}
	once := g{name: "once", check: func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
		if string(s.Raw) == "{}" {
			return guard.Verdict{Effect: call.Redact, Rewritten: []byte(`{"a":1}`)}, nil
		}
		return guard.Verdict{Effect: call.Allow}, nil
	}}
	d, b := inspect(t, nil, watch, once)
	if d.Effect != call.Redact || string(b) != `{"a":1}` || len(seen) != 2 || seen[1] != `{"a":1}` {
		t.Errorf("%v %s %q", d, b, seen)
	}
	ever := g{name: "ever", check: func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
		return guard.Verdict{Effect: call.Redact, Rewritten: append([]byte(" "), s.Raw...)}, nil
	}}
	if d, b := inspect(t, nil, ever); d.Effect.Passes() || d.Reason != "second-rewrite" || b != nil {
		t.Errorf("%v %s", d, b)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	ok := g{name: "a", check: says(guard.Verdict{}, nil)}
	for name, tt := range map[string]struct {
		gs    []guard.Guard
		modes map[string]guard.Mode
	}{
		"no name":      {gs: []guard.Guard{g{}}},
		"twice":        {gs: []guard.Guard{ok, ok}},
		"spec differs": {gs: []guard.Guard{g{name: "b", spec: guard.Spec{Arguments: true}}}},
		"unknown mode": {gs: []guard.Guard{ok}, modes: map[string]guard.Mode{"nope": guard.Off}},
	} {
		if _, err := guard.Build(tt.gs, tt.modes); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// d is a guard of definitions.
type d struct {
	name    string
	verdict guard.Verdict
}

func (x d) Spec() guard.Spec { return guard.Spec{Name: x.name, Definition: true} }
func (x d) Checks() guard.Checks {
	return guard.Checks{Definition: says(x.verdict, nil)}
}

// TestEveryGuardSpeaksOfADefinition: who approves it sees all that was found.
func TestEveryGuardSpeaksOfADefinition(t *testing.T) {
	t.Parallel()
	held := guard.Verdict{Effect: call.Hold, Reason: "first", Score: 0.2, Findings: []call.Finding{{Guard: "a", Reason: "first"}}}
	worse := guard.Verdict{Effect: call.Hold, Reason: "second", Score: 0.9, Findings: []call.Finding{{Guard: "b", Reason: "second"}}}
	fine := guard.Verdict{Effect: call.Allow, Score: 0.1}
	s, err := guard.Build([]guard.Guard{d{"a", held}, d{"b", worse}, d{"c", fine}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, b := s.Inspect(t.Context(), guard.Definition, call.InspectResult, guard.Subject{Raw: []byte("{}")})
	if b != nil || got.Effect != call.Hold || got.Reason != "first" || len(got.Findings) != 2 || got.Score != 0.9 {
		t.Errorf("%+v %s", got, b)
	}
}

// Several guards may each take something out in one pass, whatever their
// order, and what one of them says of the rest is told once.
func TestSeveralRewritesInOnePass(t *testing.T) {
	t.Parallel()
	out := func(name, what string) g {
		return g{name: name, check: func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
			if raw := strings.ReplaceAll(string(s.Raw), what, "-"); raw != string(s.Raw) {
				return guard.Verdict{Effect: call.Redact, Rewritten: []byte(raw), Findings: []call.Finding{{Guard: name}}}, nil
			}
			return guard.Verdict{Effect: call.Allow}, nil
		}}
	}
	notes := g{name: "notes", check: says(guard.Verdict{Effect: call.Annotate, Findings: []call.Finding{{Guard: "notes"}}}, nil)}
	for _, order := range [][]guard.Guard{{out("a", "A"), notes, out("b", "B")}, {out("b", "B"), out("a", "A"), notes}} {
		s, err := guard.Build(order, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, b := s.Inspect(t.Context(), guard.Result, call.InspectResult, guard.Subject{Raw: []byte(`"A B"`)})
		if d.Effect != call.Redact || string(b) != `"- -"` || len(d.Findings) != 3 {
			t.Errorf("%v %s", d, b)
		}
	}
}

// a is a guard that looks at arguments.
type a struct {
	name  string
	check guard.Check
}

func (x a) Spec() guard.Spec     { return guard.Spec{Name: x.name, Arguments: true} }
func (x a) Checks() guard.Checks { return guard.Checks{Arguments: x.check} }

// TestHeldArgumentsAreSeenByAll: a person lets a call past the guards that hold
// it and past no other, and learns of each.
func TestHeldArgumentsAreSeenByAll(t *testing.T) {
	t.Parallel()
	hold := func(name string) guard.Guard {
		return a{name, says(guard.Verdict{Effect: call.Hold, Reason: "private"}, nil)}
	}
	allow := a{"allow", says(guard.Verdict{Effect: call.Allow}, nil)}
	deny := a{"deny", says(guard.Verdict{Effect: call.Deny, Reason: "bad"}, nil)}
	redact := a{"redact", func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
		if string(s.Raw) == "{}" {
			return guard.Verdict{Effect: call.Redact, Rewritten: []byte(`{"x":1}`)}, nil
		}
		return guard.Verdict{Effect: call.Allow}, nil
	}}
	for _, c := range []struct {
		name   string
		guards []guard.Guard
		effect call.Effect
		checks []string
		raw    string
	}{
		{"one", []guard.Guard{hold("x"), allow}, call.Hold, []string{"x/private"}, "{}"},
		{"two", []guard.Guard{hold("x"), allow, hold("y")}, call.Hold, []string{"x/private", "y/private"}, "{}"},
		{"a no behind it", []guard.Guard{hold("x"), deny}, call.Deny, nil, ""},
		{"a no before it", []guard.Guard{deny, hold("x")}, call.Deny, nil, ""},
		{"a rewrite beside it", []guard.Guard{hold("x"), redact}, call.Hold, []string{"x/private"}, `{"x":1}`},
		{"none", []guard.Guard{allow}, call.Allow, nil, "{}"},
	} {
		s, err := guard.Build(c.guards, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, raw := s.Inspect(t.Context(), guard.Arguments, call.InspectRequest, guard.Subject{Raw: []byte("{}")})
		var checks []string
		if d.Needs != nil {
			checks = d.Needs.Checks
		}
		if d.Effect != c.effect || !slices.Equal(checks, c.checks) || string(raw) != c.raw {
			t.Errorf("%s: %v %v %s", c.name, d.Effect, checks, raw)
		}
		if off, _ := s.Inspect(t.Context(), guard.Arguments, call.InspectRequest, guard.Subject{Raw: []byte("{}")}); off.Effect != c.effect {
			t.Errorf("%s: another time %v", c.name, off.Effect)
		}
	}
}
