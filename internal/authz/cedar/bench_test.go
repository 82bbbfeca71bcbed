package cedar

import (
	"fmt"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/call"
)

// crowd writes n policies about other tools, groups and people than the one
// that is asked for, and two about that one.
func crowd(n int) string {
	var b strings.Builder
	b.WriteString(`permit(principal in Munjigi::Group::"` + corp + `|staff", action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/read");
forbid(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"files/read")
when { context.arguments has path && context.arguments.path like "/etc/*" };
`)
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "permit(principal in Munjigi::Group::%q, action == Munjigi::Action::\"call\", resource == Munjigi::Tool::\"s%d/t%d\");\n", corp+"|g", i%40, i)
		case 1:
			fmt.Fprintf(&b, "permit(principal in Munjigi::Group::\"%s|g%d\", action, resource);\n", corp, i)
		case 2:
			fmt.Fprintf(&b, "forbid(principal == Munjigi::User::\"%s|u%d\", action, resource) when { context has arguments };\n", corp, i)
		case 3:
			fmt.Fprintf(&b, "permit(principal, action, resource in Munjigi::Server::\"s%d\") when { principal.claims has d%d };\n", i, i)
		}
	}
	return b.String()
}

func manyPolicies(b *testing.B, n int) *Decider {
	b.Helper()
	l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
	l.parse(file{path: "p.cedar", text: []byte(crowd(n))})
	if len(l.problems) > 0 {
		b.Fatal(l.problems[0])
	}
	d, err := New(&Policies{entries: l.entries}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func BenchmarkDecide(b *testing.B) {
	args := `{"path":"/srv/docs/a","text":"` + strings.Repeat("x", 900) + `","lines":[1,2,3]}`
	q := tool(person("alice", in("staff", "a", "b", "c")), "files", "read", args)
	for _, n := range []int{10, 100, 1000, 10_000} {
		d := manyPolicies(b, n)
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d.Decide(b.Context(), q).Effect != call.Allow {
					b.Fatal("denied")
				}
			}
		})
	}
}

func BenchmarkLists(b *testing.B) {
	q := tool(person("alice", in("staff", "a", "b", "c")), "files", "read", "")
	for _, n := range []int{10, 1000} {
		d := manyPolicies(b, n)
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !d.Lists(b.Context(), q) {
					b.Fatal("not listed")
				}
			}
		})
	}
}

// TestUnrelatedPoliciesAreNotEvaluated counts instead of timing: a thousand
// policies about others leave two to look at.
func TestUnrelatedPoliciesAreNotEvaluated(t *testing.T) {
	t.Parallel()
	d := decider(t, crowd(1000))
	c, err := newCaller(person("alice", in("staff")), d.limits)
	if err != nil {
		t.Fatal(err)
	}
	seen := len(d.index.rest.any) + len(d.index.rest.byAction)
	if seen != 0 {
		t.Errorf("%d policies are looked at for every request", seen)
	}
	target, err := targetEntity(typeTool, call.Target{Server: "files", Name: "read"})
	if err != nil {
		t.Fatal(err)
	}
	action := target
	action.UID = actionUID(actionCall)
	if got := d.index.find(c.entity, action, target); len(got) != 2 {
		t.Errorf("%d policies are evaluated", len(got))
	}
}
