package cedar

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// plain draws policies of which it can be tried out whether any arguments are allowed: permits ask one text of the
// arguments, forbids one number, each from a few values, so that no permit is eaten up by forbids.
func (m maker) plain() string {
	var b strings.Builder
	for i := range 1 + m.IntN(5) {
		effect, when := "permit", m.pick("", `when { context.arguments has s && context.arguments.s == "`+m.pick("a", "b", "c")+`" }`,
			`when { context.arguments has s && context.arguments.s like "`+m.pick("a*", "*b", "c")+`" }`, `unless { context.arguments has s }`,
			`when { principal.acr == "mfa" }`)
		if m.IntN(3) == 0 {
			effect, when = "forbid", m.pick("", `when { context.arguments has n && context.arguments.n > `+m.pick("0", "5")+` }`,
				`when { context.arguments has n && context.arguments.n == `+m.pick("1", "9")+` }`, `unless { context.arguments has n }`)
		}
		fmt.Fprintf(&b, "@id(\"p%d\") %s(%s) %s;\n", i, effect, m.scope(), when)
	}
	return b.String()
}

// TestListedImpliesCallable tries all arguments that the policies tell apart for each tool that is listed.
func TestListedImpliesCallable(t *testing.T) {
	t.Parallel()
	var tries []string
	for _, s := range []string{"", `"s":"a"`, `"s":"b"`, `"s":"c"`, `"s":"d"`} {
		for _, n := range []string{"", `"n":0`, `"n":1`, `"n":3`, `"n":7`, `"n":9`} {
			tries = append(tries, "{"+strings.Trim(s+","+n, ",")+"}")
		}
	}
	listed, unlisted := 0, 0
	for seed := range uint64(2000) {
		m := maker{rand.New(rand.NewPCG(seed, 77))}
		text := m.plain()
		l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
		l.parse(file{path: "p.cedar", text: []byte(text)})
		if len(l.problems) > 0 {
			continue // a scope that nothing can meet: such policies do not load
		}
		d, err := New(&Policies{entries: l.entries}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			q := authz.Query{Principal: m.caller(), Target: call.Target{Server: m.pick("a", "b"), Method: mcp.MethodToolsCall, Name: m.pick("x", "y")}}
			if !d.Lists(t.Context(), q) {
				unlisted++
				continue
			}
			listed++
			// A stronger sign-in is the caller's to have: tools that want one are listed.
			id := q.Principal.Identity()
			id.ACR = "mfa"
			strong := call.NewPrincipal(id)
			some := false
			for _, args := range tries {
				for _, p := range []call.Principal{q.Principal, strong} {
					q := q
					q.Principal, q.Arguments = p, []byte(args)
					some = some || d.Decide(t.Context(), q).Effect == call.Allow
				}
			}
			if !some {
				t.Errorf("seed %d: listed, and no arguments are allowed\n%+v\n%+v\n%s", seed, id, q.Target, text)
			}
		}
	}
	if listed < 300 || unlisted < 300 {
		t.Errorf("the worlds show nothing: %d listed, %d not", listed, unlisted)
	}
}
