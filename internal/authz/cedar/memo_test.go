package cedar

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
)

// TestRightsThatChangeAreNotRemembered asks for each right as it is, then as it
// was, of one decider.
func TestRightsThatChangeAreNotRemembered(t *testing.T) {
	t.Parallel()
	const act = `principal, action == Munjigi::Action::"call", resource`
	with := func(f func(*call.Identity)) call.Principal { return person("alice", f) }
	for name, c := range map[string]struct {
		policy string
		may    func(*call.Identity)
	}{
		"groups":    {`permit(principal in Munjigi::Group::"` + corp + `|staff", action, resource);`, in("staff")},
		"roles":     {`permit(principal in Munjigi::Role::"` + corp + `|r", action, resource);`, func(id *call.Identity) { id.Roles = []string{"r"} }},
		"client":    {`permit(principal in Munjigi::Client::"` + corp + `|c", action, resource);`, func(id *call.Identity) { id.Client = "c" }},
		"tenant":    {`permit(` + act + `) when { principal.tenant == "t" };`, func(id *call.Identity) { id.Tenant = "t" }},
		"scopes":    {`permit(` + act + `) when { principal.scopes.contains("s") };`, func(id *call.Identity) { id.Scopes = []string{"s"} }},
		"acr":       {`permit(` + act + `) when { principal.acr == "mfa" };`, func(id *call.Identity) { id.ACR = "mfa" }},
		"amr":       {`permit(` + act + `) when { principal.amr.contains("otp") };`, func(id *call.Identity) { id.AMR = []string{"otp"} }},
		"actor":     {`permit(` + act + `) when { principal.actor != "" };`, func(id *call.Identity) { id.Actors = []string{"3:abc|agent"} }},
		"claims":    {`permit(` + act + `) when { principal.claims has d && principal.claims.d == 1 };`, func(id *call.Identity) { id.Claims = []byte(`{"d":1}`) }},
		"auth_time": {`permit(` + act + `) when { principal.auth_time > 5 };`, func(id *call.Identity) { id.AuthTime = 9 }},
		"auth_age":  {`permit(` + act + `) when { context.auth_age < 60 };`, func(id *call.Identity) { id.AuthTime = 950 }},
		"kind":      {`permit(principal is Munjigi::Workload, action, resource);`, func(id *call.Identity) { id.Kind = call.Workload }},
	} {
		d := decider(t, c.policy)
		for range 2 {
			for _, may := range []bool{true, false} {
				p := person("alice")
				if may {
					p = with(c.may)
				}
				q := tool(p, "files", "read", "")
				q.Time = time.Unix(1000, 0)
				if got := allows(t, d, q); got != may {
					t.Errorf("%s: allowed %v, want %v", name, got, may)
				}
			}
		}
	}
}

// TestWhatChangesFromCallToCallIsNotRemembered asks the same of one target by
// different arguments, methods, eras, addresses and times.
func TestWhatChangesFromCallToCallIsNotRemembered(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		when     string
		yes, not func(*authz.Query)
	}{
		"arguments": {`context.arguments has n && context.arguments.n == 1`,
			func(q *authz.Query) { q.Arguments = []byte(`{"n":1}`) }, func(q *authz.Query) { q.Arguments = []byte(`{"n":2}`) }},
		"method": {`context.method == "tools/call"`, func(*authz.Query) {}, func(q *authz.Query) { q.Target.Method = "tools/list" }},
		"era":    {`context.era == "modern"`, func(q *authz.Query) { q.Asked.Era = "modern" }, func(q *authz.Query) { q.Asked.Era = "legacy" }},
		"address": {`context has address && context.address.isInRange(ip("10.0.0.0/8"))`,
			func(q *authz.Query) { q.Asked.Address = netip.MustParseAddr("10.1.2.3") }, func(q *authz.Query) { q.Asked.Address = netip.MustParseAddr("192.0.2.1") }},
		"no address": {`context has address && context.address.isInRange(ip("10.0.0.0/8"))`,
			func(q *authz.Query) { q.Asked.Address = netip.MustParseAddr("10.1.2.3") }, func(*authz.Query) {}},
		"time": {`context.time.toTime() >= duration("9h") && context.time.toTime() < duration("18h")`,
			func(q *authz.Query) { q.Time = noon }, func(q *authz.Query) { q.Time = noon.Add(8 * time.Hour) }},
	} {
		d := decider(t, `permit(principal, action, resource) when { `+c.when+` };`)
		for range 2 {
			for want, change := range map[bool]func(*authz.Query){true: c.yes, false: c.not} {
				q := tool(person("alice"), "files", "read", "")
				q.Time = noon
				change(&q)
				if got := allows(t, d, q); got != want {
					t.Errorf("%s: allowed %v, want %v", name, got, want)
				}
				if !d.Lists(t.Context(), q) {
					t.Errorf("%s: the list depends on it", name)
				}
			}
		}
	}
}

// TestArgumentsThatNobodyLooksAtAreNotRead holds that a policy about something
// else of the context does not have the arguments judged.
func TestArgumentsThatNobodyLooksAtAreNotRead(t *testing.T) {
	t.Parallel()
	q := tool(person("alice"), "files", "read", `{"n":1e999}`)
	if d := decider(t, `permit(principal, action, resource) when { context.era == "" };`); !allows(t, d, q) {
		t.Errorf("denied by what nobody looks at: %s", why(t, d, q))
	}
	for _, looks := range []string{`context.arguments has x`, `context == context`, `!(context has arguments)`} {
		if d := decider(t, everything+`forbid(principal, action, resource) when { !(`+looks+`) };`); allows(t, d, q) {
			t.Errorf("%s: allowed with what cannot be expressed", looks)
		}
	}
}

// TestMemoIsBounded asks for more than is remembered; what is asked again and
// again stays.
func TestMemoIsBounded(t *testing.T) {
	t.Parallel()
	d := decider(t, everything)
	often := tool(person("alice"), "files", "often", "")
	k, _ := questionOf(often)
	for i := range 5 * maxRemembered {
		allows(t, d, tool(person("alice"), "files", fmt.Sprint(i), ""))
		if i%1000 == 0 {
			allows(t, d, often)
		}
	}
	if n := len(d.plans.young) + len(d.plans.old); n > 2*maxRemembered {
		t.Errorf("%d questions are remembered", n)
	}
	if _, ok := d.plans.get(k, nil, 0); !ok {
		t.Error("what is asked often is forgotten")
	}
	if _, keep := questionOf(tool(person("alice"), "files", strings.Repeat("x", maxRememberKB<<10), "")); keep {
		t.Error("a name of any length is remembered")
	}
}

// TestNobodyIsNotRemembered asks for the zero principal after somebody.
func TestNobodyIsNotRemembered(t *testing.T) {
	t.Parallel()
	d := decider(t, everything)
	q := tool(person("alice"), "files", "read", "")
	if !allows(t, d, q) || !d.Lists(t.Context(), q) {
		t.Fatal("denied")
	}
	q.Principal = call.Principal{}
	if allows(t, d, q) || d.Lists(t.Context(), q) || len(d.plans.young) != 1 || len(d.lists.young) != 1 {
		t.Error("nobody was taken for somebody")
	}
}
