package cedar

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// maker draws policies and requests from a small world, so that they meet.
type maker struct{ *rand.Rand }

func (m maker) pick(from ...string) string { return from[m.IntN(len(from))] }

func (m maker) uid(t, id string) string { return fmt.Sprintf("Munjigi::%s::%q", t, id) }

func (m maker) principal() string {
	return m.pick(m.uid("User", corp+"|alice"), m.uid("User", corp+"|bob"), m.uid("Workload", corp+"|ci"))
}

func (m maker) parent() string {
	return m.pick(m.uid("Group", corp+"|g"), m.uid("Group", corp+"|h"), m.uid("Role", corp+"|r"), m.uid("Client", corp+"|c"), m.uid("Issuer", corp))
}

func (m maker) target() string {
	return m.pick(m.uid("Tool", "a/x"), m.uid("Tool", "a/y"), m.uid("Tool", "b/x"), m.uid("Prompt", "a/x"),
		m.uid("Resource", "a/file:///x"), m.uid("Task", "a/x"))
}

func (m maker) server() string { return m.pick(m.uid("Server", "a"), m.uid("Server", "b")) }

func (m maker) action() string { return m.uid("Action", m.pick(actions()...)) }

func (m maker) scope() string {
	p := m.pick("principal", "principal", "principal == "+m.principal(), "principal in "+m.parent(), "principal is Munjigi::User",
		"principal is Munjigi::User in "+m.parent(), "principal in "+m.principal())
	a := m.pick("action", "action", "action == "+m.action(), "action in ["+m.action()+", "+m.action()+"]", "action in "+m.action())
	r := m.pick("resource", "resource", "resource == "+m.target(), "resource in "+m.server(), "resource is Munjigi::Tool",
		"resource is Munjigi::Tool in "+m.server(), "resource in "+m.target(), "resource == "+m.server())
	return p + ", " + a + ", " + r
}

func (m maker) text() string {
	return m.pick(`"x"`, `"a"`, `"mfa"`, `"sales"`, `principal.tenant`, `principal.acr`, `resource.name`, `resource.server`, `context.method`,
		`context.arguments.s`, `context.arguments.o.s`, `principal.claims.dept`, `principal.client`)
}

func (m maker) long() string {
	return m.pick("0", "5", "9223372036854775807", "context.arguments.n", "principal.auth_time", "(context.arguments.n + 1)", "context.arguments.list[\"__length\"]")
}

func (m maker) any() string {
	switch m.IntN(6) {
	case 0:
		return m.long()
	case 1:
		return m.truth(0)
	case 2:
		return m.pick("principal", "resource", "action", "context", "context.arguments", "principal.claims", "principal.amr")
	case 3:
		return "{s: " + m.text() + "}"
	case 4:
		return "[" + m.text() + ", " + m.text() + "]"
	}
	return m.text()
}

// truth is mostly a boolean, and sometimes fails to evaluate.
func (m maker) truth(depth int) string {
	if depth > 0 {
		a, b := m.truth(depth-1), m.truth(depth-1)
		switch m.IntN(6) {
		case 0:
			return "(" + a + " && " + b + ")"
		case 1:
			return "(" + a + " || " + b + ")"
		case 2:
			return "!(" + a + ")"
		case 3:
			return "(if " + a + " then " + b + " else " + m.truth(depth-1) + ")"
		case 4:
			return "(" + a + " == " + b + ")"
		}
	}
	switch m.IntN(15) {
	case 0:
		return m.pick("true", "false")
	case 1:
		return "(" + m.any() + m.pick(" == ", " != ") + m.any() + ")"
	case 2:
		return "(" + m.long() + m.pick(" < ", " >= ") + m.long() + ")"
	case 3:
		return "(" + m.text() + ` like "` + m.pick("*", "x*", "*x") + `")`
	case 4:
		return "(context has arguments)"
	case 5:
		return "(context has arguments && context.arguments has " + m.pick("s", "n", "o") + ")"
	case 6:
		return "(principal in " + m.parent() + ")"
	case 7:
		return "(resource in " + m.server() + ")"
	case 8:
		return "principal." + m.pick("groups", "roles", "scopes", "amr") + ".contains(" + m.text() + ")"
	case 9:
		return "[" + m.text() + ", " + m.text() + "].contains(" + m.text() + ")"
	case 10:
		return "(principal.claims has " + m.pick("dept", "acr") + ")"
	case 11:
		return "(context == " + m.pick(`{method: "tools/call", arguments: {}}`, "{}", "context.arguments") + ")"
	case 12:
		return m.any()
	case 13:
		return m.pick(`(context.era == "modern")`, `(context has address && context.address.isInRange(ip("10.0.0.0/8")))`, `(context.auth_age < 9)`,
			`(context.time < datetime("2026-01-01"))`, `(context.method == "tools/call")`)
	}
	return "(resource == " + m.target() + ")"
}

func (m maker) policy(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "@id(\"p%d\") %s(%s)", i, m.pick("permit", "permit", "permit", "forbid"), m.scope())
	for range m.IntN(3) {
		fmt.Fprintf(&b, " %s { %s }", m.pick("when", "when", "unless"), m.truth(m.IntN(3)))
	}
	return b.String() + ";\n"
}

func (m maker) policies() string {
	var b strings.Builder
	for i := range 1 + m.IntN(6) {
		b.WriteString(m.policy(i))
	}
	return b.String()
}

func (m maker) caller() call.Principal {
	some := func(from ...string) []string {
		return slices.DeleteFunc(from, func(string) bool { return m.IntN(2) == 0 })
	}
	id := call.Identity{Issuer: corp, Subject: m.pick("alice", "bob"), Kind: call.Person, Client: m.pick("", "c", "x"),
		Groups: some("g", "h", "x"), Roles: some("r"), Scopes: some("x", "a"), AMR: some("mfa"), ACR: m.pick("", "mfa", "x"),
		Tenant: m.pick("", "x"), AuthTime: int64(m.IntN(10)), GroupsUnknown: m.IntN(8) == 0,
		Claims: []byte(m.pick(`{}`, `{"dept":"sales"}`, `{"dept":["x"],"acr":"mfa"}`, `{"n":1e-999}`))}
	if m.IntN(4) == 0 {
		id.Kind, id.Subject = call.Workload, "ci"
	}
	return call.NewPrincipal(id)
}

func (m maker) query() authz.Query {
	methods := make([]string, 0, len(rules()))
	for method := range rules() {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	q := authz.Query{Principal: m.caller(), Target: call.Target{Server: m.pick("a", "b"), Method: m.pick(methods...), Name: m.pick("x", "y", "file:///x", "file:///{p}")}}
	if m.IntN(2) == 0 {
		q.Target.Method = m.pick(mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead)
	}
	if m.IntN(4) > 0 {
		q.Asked = call.Asked{Era: m.pick("modern", "legacy"), Address: netip.MustParseAddr(m.pick("10.1.1.1", "192.0.2.1", "2001:db8::1"))}
	}
	q.Time = time.Unix(int64(5+m.IntN(20)), 0)
	if m.IntN(2) == 0 {
		q.Time = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	}
	if m.IntN(4) > 0 {
		q.Arguments = []byte(m.pick(`{}`, `{"s":"x"}`, `{"n":5}`, `{"n":9223372036854775807,"s":"sales"}`, `{"o":{"s":"a"},"list":[1,2]}`,
			`{"s":"x","n":1.5,"o":null}`, `{"n":"5","o":"x"}`, `{"n":1e999}`, `nonsense`))
	}
	return q
}

// agree holds the two properties for one world.
func agree(t *testing.T, seed1, seed2 uint64) (allowed, listed int) {
	m := maker{rand.New(rand.NewPCG(seed1, seed2))}
	text := m.policies()
	l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
	l.parse(file{path: "p.cedar", text: []byte(text)})
	if len(l.problems) > 0 {
		for _, p := range l.problems {
			if !strings.Contains(p.Message, "no principal is") && !strings.Contains(p.Message, "no resource is") {
				t.Fatalf("the maker wrote what does not load: %s\n%s", p, text)
			}
		}
		return 0, 0
	}
	d, err := New(&Policies{entries: l.entries}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	flat := &Decider{index: &index{all: d.index.all, rest: bucket{any: d.index.all}}, groups: d.groups, rules: d.rules, limits: d.limits, claims: d.claims, authTime: d.authTime}
	for range 20 {
		q := m.query()
		dec, full := d.Decide(t.Context(), q), flat.Decide(t.Context(), q)
		id := q.Principal.Identity()
		if dec.Effect != full.Effect {
			t.Errorf("seed %d %d: the index decides %v, all policies %v\n%+v\n%+v %s\n%s", seed1, seed2, dec, full, id, q.Target, q.Arguments, text)
		}
		shown, shownFlat := d.Lists(t.Context(), q), flat.Lists(t.Context(), q)
		if shown != shownFlat {
			t.Errorf("seed %d %d: the index lists %v, all policies %v\n%+v\n%+v\n%s", seed1, seed2, shown, shownFlat, id, q.Target, text)
		}
		other := q
		other.Arguments = m.query().Arguments
		if d.Lists(t.Context(), other) != shown {
			t.Errorf("seed %d %d: the list depends on arguments", seed1, seed2)
		}
		explains(t, d, q, dec, text)
		remembers(t, d, flat, q, m, text)
		if dec.Effect == call.Allow {
			allowed++
			if !shown {
				t.Errorf("seed %d %d: callable and not listed\n%+v\n%+v %s\n%s", seed1, seed2, id, q.Target, q.Arguments, text)
			}
			id.ACR, id.AMR, id.AuthTime = "", nil, 0
			before := q
			before.Principal = call.NewPrincipal(id)
			if !d.Lists(t.Context(), before) {
				t.Errorf("seed %d %d: listed only after signing in again\n%+v\n%+v %s\n%s", seed1, seed2, id, q.Target, q.Arguments, text)
			}
			failsNowhere(t, d, q)
		}
		if shown {
			listed++
		}
	}
	return allowed, listed
}

// remembers holds that what was asked before changes no answer: for the same
// question, for one that differs only in what a memo does not have in its key,
// and for the same caller with other rights.
func remembers(t *testing.T, d, flat *Decider, q authz.Query, m maker, text string) {
	t.Helper()
	id := q.Principal.Identity()
	id.Claims = []byte(m.pick(`{}`, `{"dept":"sales"}`, `{"dept":"x"}`))
	id.AuthTime = int64(m.IntN(20))
	if m.IntN(3) == 0 {
		id.Groups, id.GroupsUnknown = nil, m.IntN(2) == 0
	}
	now := m.query()
	now.Principal, now.Target = call.NewPrincipal(id), q.Target
	fresh := func() *Decider {
		return &Decider{index: flat.index, groups: flat.groups, rules: flat.rules, limits: flat.limits, claims: flat.claims, authTime: flat.authTime}
	}
	for _, again := range []authz.Query{q, now, q} {
		want, wantListed := fresh().Decide(t.Context(), again), fresh().Lists(t.Context(), again)
		if got := d.Decide(t.Context(), again); got.Effect != want.Effect {
			t.Errorf("remembered %v, anew %v\n%+v\n%+v %s\n%s", got, want, again.Principal.Identity(), again.Target, again.Arguments, text)
		}
		if d.Lists(t.Context(), again) != wantListed {
			t.Errorf("remembered another list than %v\n%+v\n%+v\n%s", wantListed, again.Principal.Identity(), again.Target, text)
		}
	}
}

// explains holds an explanation to the decision that it explains.
func explains(t *testing.T, d *Decider, q authz.Query, dec call.Decision, text string) {
	t.Helper()
	x := d.Explain(t.Context(), q)
	count := map[string]int{}
	for _, l := range x.Decided {
		count[l.Effect]++
	}
	found := func(why call.Reason) bool {
		return slices.ContainsFunc(dec.Findings, func(f call.Finding) bool { return f.Reason == why })
	}
	allowed := dec.Effect == call.Allow
	whole := !found(ReasonArguments) && !found(ReasonClaims) && !found(ReasonTarget) && !found(ReasonCaller)
	switch {
	case x.Allowed != allowed, x.Sentence == "":
		t.Errorf("explained as allowed %v, decided %v: %s", x.Allowed, dec.Effect, x.Sentence)
	case allowed && (count["permit"] == 0 || count["forbid"] > 0):
		t.Errorf("allowed, and explained by %+v\n%+v %s\n%s", x.Decided, q.Target, q.Arguments, text)
	case whole && (found(ReasonForbid) || found(ReasonGroups)) && count["forbid"] == 0:
		t.Errorf("forbidden, and explained by %+v\n%+v %s\n%s", x.Decided, q.Target, q.Arguments, text)
	case whole && found(ReasonError) && len(x.Decided) == 0:
		t.Errorf("a policy failed, and no explanation names it\n%+v %s\n%s", q.Target, q.Arguments, text)
	}
}

// failsNowhere evaluates every policy by the engine itself: what was allowed
// has a permit, no forbid and no failure among all policies.
func failsNowhere(t *testing.T, d *Decider, q authz.Query) {
	t.Helper()
	c, err := newCaller(q.Principal, d.limits)
	if err != nil {
		t.Fatal(err)
	}
	if c.id.GroupsUnknown {
		return
	}
	r := d.rules[q.Target.Method]
	principal, err := c.with(d.index.all, false)
	if err != nil {
		c.id.Claims = nil // what no policy in scope reads may be broken
		principal, err = c.with(d.index.all, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	fields, err := contextOf(d.index.all, r, d.limits, q)
	if err != nil {
		q.Arguments = nil // what no policy in scope reads may be broken
		if fields, err = contextOf(d.index.all, r, d.limits, q); err != nil {
			t.Fatal(err)
		}
	}
	permitted := false
	for _, kind := range r.kinds {
		target, err := targetEntity(kind, q.Target)
		if err != nil {
			t.Fatal(err)
		}
		verdict, why := cedar.Authorize(policies(d.index.all), two{principal, target}, cedar.Request{
			Principal: principal.UID, Action: actionUID(r.action), Resource: target.UID, Context: cedar.NewRecord(fields)})
		if verdict == cedar.Deny && len(why.Reasons) > 0 || len(why.Errors) > 0 {
			t.Errorf("allowed against %+v", why)
		}
		permitted = permitted || verdict == cedar.Allow
	}
	if !permitted {
		t.Errorf("allowed without a permit: %+v", q.Target)
	}
}

func TestCallableImpliesListedAndTheIndexAgrees(t *testing.T) {
	t.Parallel()
	allowed, listed := 0, 0
	for seed := range uint64(500) {
		a, l := agree(t, seed, 1)
		allowed, listed = allowed+a, listed+l
	}
	t.Logf("%d allowed, %d listed", allowed, listed)
	if allowed < 300 || listed <= allowed {
		t.Errorf("the worlds are too empty to show anything: %d allowed, %d listed", allowed, listed)
	}
}

func FuzzCallableImpliesListed(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { agree(t, a, b) })
}
