package cedar

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

func signedIn(acr string, ago time.Duration, amr ...string) func(*call.Identity) {
	return func(id *call.Identity) {
		id.ACR, id.AMR, id.AuthTime = acr, amr, time.Now().Add(-ago).Unix()
	}
}

func scopes(list ...string) func(*call.Identity) {
	return func(id *call.Identity) { id.Scopes = list }
}

const callOf = `(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/pay")`

// TestWhatAPermitAsksFor: each need is asked of whoever lacks it and of nobody
// else, and the least of several permits counts.
func TestWhatAPermitAsksFor(t *testing.T) {
	t.Parallel()
	acr := `@step_up_acr("phr mfa") permit` + callOf + ";\n"
	fresh := `@step_up_max_age("5m") permit` + callOf + ";\n"
	amr := `@step_up_amr("hwk pin") @step_up_max_age("1h") permit` + callOf + ";\n"
	wider := `@step_up_scope("bank:pay") permit` + callOf + ";\n"
	boss := `@approval("bosses") permit` + callOf + ";\n"
	both := `@approval("auditors") @step_up_acr("mfa") permit` + callOf + ";\n"
	small := `permit` + callOf + ` when { context.arguments.amount < 10 };` + "\n"
	never := `forbid` + callOf + ` when { context.arguments.amount > 1000 };` + "\n"
	hold := func(names ...string) *call.Requirement {
		return &call.Requirement{Approvers: names, Checks: []string{"policy/approval-needed"}}
	}
	for _, c := range []struct {
		name, policy, arguments string
		who                     []func(*call.Identity)
		effect                  call.Effect
		reason                  call.Reason
		needs                   *call.Requirement
	}{
		{"no strength", acr, `{}`, nil, call.Challenge, call.ReasonStepUp, &call.Requirement{ACR: []string{"phr", "mfa"}}},
		{"another strength", acr, `{}`, []func(*call.Identity){signedIn("pwd", 0)}, call.Challenge, call.ReasonStepUp, &call.Requirement{ACR: []string{"phr", "mfa"}}},
		{"the second strength", acr, `{}`, []func(*call.Identity){signedIn("mfa", 0)}, call.Allow, call.ReasonOK, nil},
		{"two strengths in one", acr, `{}`, []func(*call.Identity){signedIn("phr mfa", 0)}, call.Challenge, call.ReasonStepUp, &call.Requirement{ACR: []string{"phr", "mfa"}}},
		{"no time", fresh, `{}`, nil, call.Challenge, call.ReasonStepUp, &call.Requirement{MaxAge: 5 * time.Minute}},
		{"old", fresh, `{}`, []func(*call.Identity){signedIn("", 6*time.Minute)}, call.Challenge, call.ReasonStepUp, &call.Requirement{MaxAge: 5 * time.Minute}},
		{"new", fresh, `{}`, []func(*call.Identity){signedIn("", 4*time.Minute)}, call.Allow, call.ReasonOK, nil},
		{"of tomorrow", fresh, `{}`, []func(*call.Identity){signedIn("", -24*time.Hour)}, call.Challenge, call.ReasonStepUp, &call.Requirement{MaxAge: 5 * time.Minute}},
		{"one method of two", amr, `{}`, []func(*call.Identity){signedIn("", 0, "hwk")}, call.Challenge, call.ReasonStepUp, &call.Requirement{AMR: []string{"hwk", "pin"}, MaxAge: time.Hour}},
		{"both methods", amr, `{}`, []func(*call.Identity){signedIn("", 0, "pin", "otp", "hwk")}, call.Allow, call.ReasonOK, nil},
		{"no scope", wider, `{}`, []func(*call.Identity){scopes("bank:call")}, call.Challenge, call.ReasonInsufficientScope, &call.Requirement{Scopes: []string{"bank:pay"}}},
		{"the scope", wider, `{}`, []func(*call.Identity){scopes("bank:call", "bank:pay")}, call.Allow, call.ReasonOK, nil},
		{"approval", boss, `{}`, nil, call.Hold, call.ReasonApproval, hold("bosses")},
		{"strength before approval", both, `{}`, nil, call.Challenge, call.ReasonStepUp, &call.Requirement{ACR: []string{"mfa"}}},
		{"then approval", both, `{}`, []func(*call.Identity){signedIn("mfa", 0)}, call.Hold, call.ReasonApproval, hold("auditors")},
		{"either approval", boss + both, `{}`, []func(*call.Identity){signedIn("mfa", 0)}, call.Hold, call.ReasonApproval, hold("auditors", "bosses")},
		{"the nearest of two approvals", both + boss, `{}`, nil, call.Hold, call.ReasonApproval, hold("bosses")},
		{"a scope is less than a strength", acr + wider, `{}`, nil, call.Challenge, call.ReasonInsufficientScope, &call.Requirement{Scopes: []string{"bank:pay"}}},
		{"a strength is less than an approval", boss + fresh, `{}`, nil, call.Challenge, call.ReasonStepUp, &call.Requirement{MaxAge: 5 * time.Minute}},
		{"one permit is met", boss + wider + acr, `{}`, []func(*call.Identity){signedIn("mfa", 0)}, call.Allow, call.ReasonOK, nil},
		{"one permit asks for nothing", boss + small, `{"amount":5}`, nil, call.Allow, call.ReasonOK, nil},
		{"that permit does not match", boss + small, `{"amount":50}`, nil, call.Hold, call.ReasonApproval, hold("bosses")},
		{"a forbid is no matter of approval", boss + never, `{"amount":5000}`, nil, call.Deny, call.ReasonNotPermitted, nil},
		{"a permit that fails denies", boss + small, `{}`, nil, call.Deny, call.ReasonNotPermitted, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := decider(t, c.policy)
			q := tool(person("alice", c.who...), "bank", "pay", c.arguments)
			got := d.Decide(t.Context(), q)
			if got.Effect != c.effect || got.Reason != c.reason || !cmp.Equal(got.Needs, c.needs) {
				t.Errorf("%v %s %+v", got.Effect, got.Reason, got.Needs)
			}
			if !d.Lists(t.Context(), q) {
				t.Error("what can be asked for is not listed")
			}
			if x := d.Explain(t.Context(), q); x.Allowed != (c.effect == call.Allow) || (x.Needs != "") != (c.needs != nil) || c.needs != nil && len(x.Also) == 0 {
				t.Errorf("%+v", x)
			}
		})
	}
}

// TestATaskIsNotAskedTwice: what made a task was asked, and its polling is not.
func TestATaskIsNotAskedTwice(t *testing.T) {
	t.Parallel()
	d := decider(t, `@approval("bosses") permit (principal, action in [Munjigi::Action::"call", Munjigi::Action::"get"], resource in Munjigi::Server::"bank");`)
	for method, want := range map[string]call.Effect{mcp.MethodTasksGet: call.Allow, mcp.MethodTasksUpdate: call.Allow, mcp.MethodTasksCancel: call.Allow,
		mcp.MethodToolsCall: call.Hold, mcp.MethodPromptsGet: call.Hold, mcp.MethodResourcesRead: call.Deny} {
		q := tool(person("alice"), "bank", "x", "")
		q.Target.Method = method
		if got := d.Decide(t.Context(), q); got.Effect != want {
			t.Errorf("%s: %v", method, got.Effect)
		}
	}
}

// TestAMisspeltAnnotationIsAnError: what asks for nothing, or of nobody, does
// not load.
func TestAMisspeltAnnotationIsAnError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, says string }{
		{`@stepup_acr("mfa") permit` + callOf, "means anything"},
		{`@Approval("bosses") permit` + callOf, "means anything"},
		{`@approvals("bosses") permit` + callOf, "means anything"},
		{`@max_age("5m") permit` + callOf, "means anything"},
		{`@approval permit` + callOf, "names nothing"},
		{`@approval(" ") permit` + callOf, "names nothing"},
		{`@step_up_acr("") permit` + callOf, "names nothing"},
		{`@step_up_acr("a\"b") permit` + callOf, "not a list"},
		{`@step_up_scope("bänk") permit` + callOf, "not a list"},
		{`@step_up_max_age("5") permit` + callOf, "not an age"},
		{`@step_up_max_age("0s") permit` + callOf, "not an age"},
		{`@step_up_max_age("-5m") permit` + callOf, "not an age"},
		{`@step_up_max_age("48h") permit` + callOf, "not an age"},
		{`@step_up_max_age("10500ms") permit` + callOf, "not an age"},
		{`@step_up_amr("hwk") permit` + callOf, "stands alone"},
		{`@approval("bosses") forbid` + callOf, "on a forbid"},
		{`@approval("bosses") permit (principal, action, resource)`, "cannot wait"},
		{`@approval("bosses") permit (principal, action in [Munjigi::Action::"call", Munjigi::Action::"list"], resource)`, "cannot wait"},
		{`@approval("bosses") permit (principal, action == Munjigi::Action::"complete", resource)`, "cannot wait"},
		{`@step_up_acr("mfa") permit (principal, action == Munjigi::Action::"connect", resource)`, "cannot wait"},
	} {
		_, err := Load([]string{folder(t, map[string]string{"p.cedar": c.text + ";\n"})})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	text := `@id("a") @note("why: a person looks") @advice("x") @step_up_acr("urn:x:mfa") @step_up_max_age("90s") @approval("bosses auditors") permit` + callOf + ";\n"
	p, err := Load([]string{folder(t, map[string]string{"p.cedar": text})})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Approvers(); len(got) != 2 || got["bosses"].Name != "a" {
		t.Errorf("%v", got)
	}
}

// TestAMemoryForgetsNoNeed: what was decided for one sign-in is asked anew for
// the same person, client and rights once time has passed or the sign-in is
// another.
func TestAMemoryForgetsNoNeed(t *testing.T) {
	t.Parallel()
	d := decider(t, `@step_up_max_age("5m") permit`+callOf+";")
	now := time.Now()
	at := func(signedIn, asked time.Time) call.Effect {
		q := tool(person("alice", func(id *call.Identity) { id.AuthTime = signedIn.Unix() }), "bank", "pay", "{}")
		q.Time = asked
		return d.Decide(t.Context(), q).Effect
	}
	for range 3 {
		if at(now, now) != call.Allow || at(now, now.Add(6*time.Minute)) != call.Challenge || at(now.Add(-time.Hour), now) != call.Challenge ||
			at(now, now.Add(4*time.Minute)) != call.Allow {
			t.Fatal("an answer was remembered that had changed")
		}
	}
}
