package cedar

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

// TestDraftBelievesNoClaimOfHarmlessness: what a server says of its tools can
// only take them away from those who read.
func TestDraftBelievesNoClaimOfHarmlessness(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tool  Tool
		reads bool
	}{
		{Tool{Name: "get_balance"}, true},
		{Tool{Name: "getBalance"}, true},
		{Tool{Name: "list-files"}, true},
		{Tool{Name: "search"}, true},
		{Tool{Name: "read_file", Annotations: Claims{ReadOnly: yes(), Destructive: no()}}, true},
		{Tool{Name: "read_file", Annotations: Claims{ReadOnly: no()}}, false},
		{Tool{Name: "read_file", Annotations: Claims{Destructive: yes()}}, false},
		{Tool{Name: "search", Annotations: Claims{OpenWorld: yes()}}, false},
		{Tool{Name: "pay", Annotations: Claims{ReadOnly: yes(), Destructive: no(), OpenWorld: no()}}, false},
		{Tool{Name: "delete_file", Annotations: Claims{ReadOnly: yes()}}, false},
		{Tool{Name: "get_and_delete"}, false},
		{Tool{Name: "getAndRun"}, false},
		{Tool{Name: "read_url"}, false},
		{Tool{Name: "get_secret"}, false},
		{Tool{Name: "getter"}, false},
		{Tool{Name: "call_tool"}, false},
		{Tool{Name: "_"}, false},
		{Tool{Name: ""}, false},
	} {
		if got := reads(c.tool); got != c.reads {
			t.Errorf("%+v: reads %v", c.tool, got)
		}
	}
}

// holdsDraft loads a draft as an operator would and holds it to what it says.
func holdsDraft(t *testing.T, c *Catalogue, text string) *Decider {
	t.Helper()
	p := loaded(t, text)
	if r := p.Check(World{Catalogue: c}); len(r.Problems) > 0 {
		t.Fatalf("%v\n%s", r.Problems, text)
	}
	d, err := New(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDraft(t *testing.T) {
	t.Parallel()
	c := catalogue(t, `{"servers":{
		"bank":{"tools":[{"name":"get_balance","annotations":{"readOnlyHint":true}},{"name":"pay","annotations":{"readOnlyHint":true,"destructiveHint":false}},{"name":"pay"}],
			"prompts":[{"name":"letter"}],"resources":[{"uri":"file:///a","name":"a"}]},
		"slow":{"missing":{"tools":"the server did not\nanswer */ permit(principal,action,resource);"}}}}`)
	text, err := Draft(c, Start{Issuer: corp, Group: "staff", Approvers: "bosses", Merged: true})
	if err != nil {
		t.Fatal(err)
	}
	d := holdsDraft(t, c, text)
	staff, other := person("alice", in("staff")), person("bob", in("guests"))
	for _, w := range []struct {
		q      authz.Query
		effect call.Effect
	}{
		{tool(staff, "bank", "get_balance", "{}"), call.Allow},
		{tool(staff, "bank", "pay", "{}"), call.Hold},
		{tool(staff, "bank", "new_tool", "{}"), call.Deny},
		{tool(staff, "slow", "get_balance", "{}"), call.Deny},
		{tool(other, "bank", "get_balance", "{}"), call.Deny},
		{about(staff, mcp.MethodToolsList, "bank", ""), call.Allow},
		{about(staff, mcp.MethodToolsList, "*", ""), call.Allow},
		{about(staff, mcp.MethodToolsList, "slow", ""), call.Allow},
		{about(other, mcp.MethodToolsList, "bank", ""), call.Deny},
		{about(staff, mcp.MethodPromptsGet, "bank", "letter"), call.Allow},
		{about(staff, mcp.MethodResourcesRead, "bank", "file:///a"), call.Allow},
		{about(staff, mcp.MethodResourcesRead, "slow", "file:///a"), call.Deny},
		{about(staff, mcp.MethodTasksGet, "bank", "t"), call.Allow},
	} {
		if got := d.Decide(t.Context(), w.q); got.Effect != w.effect {
			t.Errorf("%s %s/%s: %v, want %v", w.q.Target.Method, w.q.Target.Server, w.q.Target.Name, got.Effect, w.effect)
		}
	}
	for _, want := range []string{
		`Munjigi::Tool::"bank/get_balance", // its server claims: read-only`,
		`Munjigi::Tool::"bank/pay", // its server claims: read-only, not destructive`,
		"// Its tools could not be had: the server did not answer",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
	alone, err := Draft(c, Start{Approvers: "me"})
	if err != nil {
		t.Fatal(err)
	}
	operator := call.NewPrincipal(call.Identity{Issuer: "munjigi:local", Subject: "operator", Kind: call.Operator})
	d = holdsDraft(t, c, alone)
	if d.Decide(t.Context(), tool(operator, "bank", "get_balance", "")).Effect != call.Allow || d.Decide(t.Context(), tool(staff, "bank", "get_balance", "")).Effect != call.Deny {
		t.Errorf("not for the operator alone:\n%s", alone)
	}
	for name, s := range map[string]Start{"no list": {}, "two words": {Approvers: "a b"}, "a quote": {Approvers: `a"`}} {
		if _, err := Draft(c, s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Draft(&Catalogue{}, Start{Approvers: "a"}); err == nil {
		t.Error("nothing, and no error")
	}
}

// FuzzDraft holds that no name and no text of a server's writes a policy: the
// draft loads, permits each listed tool by name or by approval, and nothing else.
func FuzzDraft(f *testing.F) {
	f.Add("read_x", "say \"); permit(principal, action, resource); //", "b\nc")
	f.Add("get_\u202e", "\\", "*/")
	f.Add("list_*", "a/b", "\r\n@id(\"x\")")
	f.Fuzz(func(t *testing.T, a, b, why string) {
		raw, err := json.Marshal(map[string]any{"servers": map[string]any{"s": map[string]any{
			"tools": []any{map[string]any{"name": a}, map[string]any{"name": b}}, "prompts": []any{map[string]any{"name": b}}, "missing": map[string]string{why: why}}}})
		if err != nil {
			return
		}
		c, err := ReadCatalogue(raw)
		if err != nil {
			return
		}
		text, err := Draft(c, Start{Issuer: corp, Group: "staff\n\"", Approvers: "bosses"})
		if err != nil {
			t.Fatal(err)
		}
		l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
		l.parse(file{path: "p.cedar", text: []byte(text)})
		if len(l.problems) > 0 {
			t.Fatalf("%v\n%s", l.problems, text)
		}
		if n := len(l.entries); n > 5 {
			t.Fatalf("%d policies\n%s", n, text)
		}
		d, err := New(&Policies{entries: l.entries}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tool := range tools(c.Servers["s"].Tools) {
			names = append(names, tool.Name)
			want := call.Hold
			if reads(tool) {
				want = call.Allow
			}
			if got := d.Decide(t.Context(), authz.Query{Principal: person("x", in("staff\n\"")), Target: call.Target{Server: "s", Method: mcp.MethodToolsCall, Name: tool.Name}}); got.Effect != want {
				t.Errorf("%q: %v, want %v\n%s", tool.Name, got.Effect, want, text)
			}
		}
		for i, stranger := range []string{"stranger", "s/" + a, a + " ", strings.ToUpper(b)} {
			if !slices.Contains(names, stranger) && stranger != "" && d.Decide(t.Context(), authz.Query{Principal: person("x", in("staff\n\"")), Target: call.Target{Server: "s", Method: mcp.MethodToolsCall, Name: stranger}}).Effect != call.Deny {
				t.Errorf("%d: %q is permitted\n%s", i, stranger, text)
			}
		}
		if got := d.Decide(t.Context(), authz.Query{Principal: person("y"), Target: call.Target{Server: "s", Method: mcp.MethodToolsCall, Name: a}}); got.Effect != call.Deny {
			t.Errorf("somebody else: %v\n%s", got, text)
		}
	})
}
