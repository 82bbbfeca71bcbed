package cedar

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

const corp = "https://idp.example/realms/corp"

// wireMethods reads the method names out of the wire package, so that one
// added there is seen here.
func wireMethods(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "mcp", "mcp.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Method") {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return true
	})
	return out
}

// folder writes policy files that only their owner may change.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func decider(t testing.TB, text string) *Decider {
	t.Helper()
	p, err := Load([]string{folder(t, map[string]string{"p.cedar": text})})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func person(subject string, more ...func(*call.Identity)) call.Principal {
	id := call.Identity{Issuer: corp, Subject: subject, Kind: call.Person}
	for _, f := range more {
		f(&id)
	}
	return call.NewPrincipal(id)
}

func in(groups ...string) func(*call.Identity) {
	return func(id *call.Identity) { id.Groups = groups }
}

func tool(p call.Principal, server, name, args string) authz.Query {
	q := authz.Query{Principal: p, Target: call.Target{Server: server, Method: mcp.MethodToolsCall, Name: name}}
	if args != "" {
		q.Arguments = []byte(args)
	}
	return q
}

func about(p call.Principal, method, server, name string) authz.Query {
	return authz.Query{Principal: p, Target: call.Target{Server: server, Method: method, Name: name}}
}

func allows(t testing.TB, d *Decider, q authz.Query) bool {
	t.Helper()
	dec := d.Decide(t.Context(), q)
	if dec.Detail != "" {
		t.Errorf("the detail would reach the caller: %q", dec.Detail)
	}
	if dec.Stage != call.Authorize || dec.Effect != call.Allow && dec.Effect != call.Deny {
		t.Errorf("%+v", dec)
	}
	if (dec.Effect == call.Allow) != (dec.Reason == call.ReasonOK) || len(dec.Findings) == 0 {
		t.Errorf("%+v", dec)
	}
	return dec.Effect == call.Allow
}

func why(t testing.TB, d *Decider, q authz.Query) string {
	t.Helper()
	var out []string
	for _, f := range d.Decide(t.Context(), q).Findings {
		if f.Guard != Guard {
			t.Errorf("%+v", f)
		}
		line := string(f.Reason)
		if f.Path != "" {
			line += " " + filepath.Base(f.Path)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestWithoutPoliciesEverythingIsDenied(t *testing.T) {
	t.Parallel()
	empty, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*Policies{"nil": nil, "zero": {}, "empty": empty} {
		d, err := New(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for m := range rules() {
			q := about(person("alice"), m, "files", "x")
			if allows(t, d, q) || d.Lists(t.Context(), q) {
				t.Errorf("%s policies allow %s", name, m)
			}
		}
	}
	var zero Decider
	if q := tool(person("alice"), "files", "read", ""); allows(t, &zero, q) || zero.Lists(t.Context(), q) {
		t.Error("the zero decider allows")
	}
}

const everything = `permit(principal, action, resource);`

func TestWhatCannotBeExpressedIsDenied(t *testing.T) {
	t.Parallel()
	d := decider(t, everything)
	alice := person("alice")
	for name, q := range map[string]authz.Query{
		"nobody":             tool(call.Principal{}, "files", "read", ""),
		"no server":          tool(alice, "", "read", ""),
		"no name":            tool(alice, "files", "", ""),
		"a server's slash":   tool(alice, "files/read", "x", ""),
		"a tool of all":      tool(alice, "*", "read", ""),
		"an upper-case name": tool(alice, "Files", "read", ""),
		"no method":          about(alice, "", "files", "x"),
		"an unknown method":  about(alice, "tools/run", "files", "x"),
		"another case":       about(alice, "Tools/call", "files", "x"),
		"a server's method":  about(alice, mcp.NotifyProgress+"/x", "files", "x"),
	} {
		if allows(t, d, q) {
			t.Errorf("%s is allowed", name)
		}
		if d.Lists(t.Context(), q) {
			t.Errorf("%s is listed", name)
		}
	}
	for m := range rules() {
		if q := about(alice, m, "files", "x"); !allows(t, d, q) || !d.Lists(t.Context(), q) {
			t.Errorf("%s is denied: %s", m, why(t, d, q))
		}
	}
	if !allows(t, d, about(alice, mcp.MethodToolsList, "*", "")) {
		t.Error("the merged path cannot be permitted")
	}
}

func TestAPolicyThatFailsToEvaluateDenies(t *testing.T) {
	t.Parallel()
	const act = `principal, action == Munjigi::Action::"call", resource`
	for name, broken := range map[string]string{
		"a forbid without its argument": `forbid(` + act + `) when { context.arguments.path like "/etc/*" };`,
		"a forbid of another type":      `forbid(` + act + `) when { context.arguments.n > 5 };`,
		"a forbid with an overflow":     `forbid(` + act + `) when { 9223372036854775807 + context.arguments.one > 0 };`,
		"a forbid with a bad address":   `forbid(` + act + `) when { ip(context.arguments.n).isLoopback() };`,
		"a permit that fails":           `permit(` + act + `) when { context.address.isLoopback() };`,
		"a condition that is no truth":  `forbid(` + act + `) when { context.method };`,
		"a claim that is not there":     `forbid(` + act + `) when { principal.claims.department == "x" };`,
	} {
		d := decider(t, everything+"\n@id(\"broken\")\n"+broken)
		q := tool(person("alice"), "files", "read", `{"n":"x","one":1}`)
		if allows(t, d, q) {
			t.Errorf("%s: allowed", name)
		}
		if got := why(t, d, q); !strings.Contains(got, "policy-error p.cedar#broken") {
			t.Errorf("%s: %s", name, got)
		}
		if other := about(person("alice"), mcp.MethodToolsList, "files", ""); !allows(t, d, other) {
			t.Errorf("%s: it denies what its scope does not name", name)
		}
	}
}

func TestFindingsNameThePolicies(t *testing.T) {
	t.Parallel()
	d := decider(t, `
@id("all")
permit(principal, action, resource in Munjigi::Server::"files");
permit(principal == Munjigi::User::"`+corp+`|alice", action, resource);
@id("no-delete")
forbid(principal, action, resource == Munjigi::Tool::"files/delete");`)
	for want, q := range map[string]authz.Query{
		"policy-permit p.cedar#all":                            tool(person("bob"), "files", "read", ""),
		"policy-permit p.cedar#all, policy-permit p.cedar:4:1": tool(person("alice"), "files", "read", ""),
		"policy-forbid p.cedar#no-delete":                      tool(person("alice"), "files", "delete", ""),
		"policy-no-permit":                                     tool(person("bob"), "other", "read", ""),
		"policy-no-action":                                     about(person("bob"), "x/y", "files", ""),
	} {
		if got := why(t, d, q); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNamesBelongToTheirIssuer(t *testing.T) {
	t.Parallel()
	d := decider(t, `permit(principal in Munjigi::Group::"`+corp+`|admins", action, resource);`)
	if !allows(t, d, tool(person("alice", in("admins")), "files", "read", "")) {
		t.Error("the group does not count")
	}
	for name, p := range map[string]call.Principal{
		"another issuer's group": person("alice", in("admins"), func(id *call.Identity) { id.Issuer = "https://other.example" }),
		"a role of that name":    person("alice", func(id *call.Identity) { id.Roles = []string{"admins"} }),
		"a client of that name":  person("alice", func(id *call.Identity) { id.Client = "admins" }),
		"a subject of that name": person("admins"),
		"another case":           person("alice", in("Admins")),
		"a group with a bar":     person("alice", in(corp+"|admins")),
		"an issuer with a bar":   person("x", in("admins"), func(id *call.Identity) { id.Issuer = corp + "|admins" }),
	} {
		if allows(t, d, tool(p, "files", "read", "")) {
			t.Errorf("%s opens it", name)
		}
	}
}

func TestUnknownGroupsProveNothing(t *testing.T) {
	t.Parallel()
	unknown := func(id *call.Identity) { id.GroupsUnknown = true }
	for name, forbid := range map[string]string{
		"in the scope":       `forbid(principal in Munjigi::Group::"` + corp + `|interns", action, resource == Munjigi::Tool::"files/delete");`,
		"in a condition":     `forbid(principal, action, resource == Munjigi::Tool::"files/delete") when { principal in Munjigi::Group::"` + corp + `|interns" };`,
		"in the attributes":  `forbid(principal, action, resource == Munjigi::Tool::"files/delete") when { principal.groups.contains("interns") };`,
		"behind an argument": `forbid(principal, action, resource == Munjigi::Tool::"files/delete") when { context.arguments has x && principal.groups.contains("interns") };`,
	} {
		d := decider(t, everything+forbid)
		if allows(t, d, tool(person("bob", unknown), "files", "delete", "")) || d.Lists(t.Context(), tool(person("bob", unknown), "files", "delete", "")) {
			t.Errorf("%s: whose groups are unknown may delete", name)
		}
		if !allows(t, d, tool(person("bob", unknown), "files", "read", "")) {
			t.Errorf("%s: and may not read", name)
		}
		if !allows(t, d, tool(person("bob"), "files", "delete", "")) {
			t.Errorf("%s: nor may who is in no group", name)
		}
	}
	d := decider(t, `permit(principal, action, resource) unless { principal.groups.contains("interns") };`)
	if allows(t, d, tool(person("bob", unknown), "files", "read", "")) {
		t.Error("unless reads unknown groups as none")
	}
}

func TestArgumentsOutsideTheBoundsAreDenied(t *testing.T) {
	t.Parallel()
	d := decider(t, everything+`
forbid(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/pay")
when { context.arguments has amount && context.arguments.amount == 100 };`)
	pay := func(args string) authz.Query { return tool(person("alice"), "bank", "pay", args) }
	for args, want := range map[string]bool{
		"":                                 true,
		`{"amount":99}`:                    true,
		`{"amount":100}`:                   false,
		`{"amount":1e2}`:                   false,
		`{"amount":100.0}`:                 false,
		`{"amount":100.00000000000000001}`: false,
		`{"amount":1,"amount":100}`:        false,
		`{"amount":1` + strings.Repeat("0", 400) + `}`: false,
		`[100]`: false,
		`100`:   false,
		`{"amo`: false,
		`{"deep":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: false,
	} {
		if allows(t, d, pay(args)) != want {
			t.Errorf("%.40s: %v", args, why(t, d, pay(args)))
		}
	}
	if !d.Lists(t.Context(), pay("")) {
		t.Error("a tool that some arguments may use is not listed")
	}
	if _, err := New(nil, Options{Limits: strictjson.Limits{Members: -1}}); err == nil {
		t.Error("limits that refuse every call are taken")
	}
}

func TestListsDoNotLookAtSigningIn(t *testing.T) {
	t.Parallel()
	d := decider(t, everything+`
forbid(principal, action, resource == Munjigi::Tool::"bank/pay") unless { principal.acr == "mfa" };
forbid(principal, action, resource == Munjigi::Tool::"bank/move") unless { principal.amr.contains("hwk") };
forbid(principal, action, resource == Munjigi::Tool::"bank/close") unless { principal.auth_time > 1000 };
forbid(principal, action, resource == Munjigi::Tool::"bank/open") when { principal.claims has acr };`)
	p := person("alice", func(id *call.Identity) { id.Claims = []byte(`{"acr":"pwd","sub":"alice"}`) })
	for _, name := range []string{"pay", "move", "close"} {
		if allows(t, d, tool(p, "bank", name, "")) {
			t.Errorf("%s needs no step-up", name)
		}
		if !d.Lists(t.Context(), tool(p, "bank", name, "")) {
			t.Errorf("%s is not listed before step-up", name)
		}
	}
	if !allows(t, d, tool(p, "bank", "open", "")) {
		t.Error("the claims offer a second way to acr")
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	d := decider(t, `permit(principal, action, resource) when { principal.claims has dept && principal.claims.dept == "sales" };`)
	claims := func(raw string) call.Principal {
		return person("alice", func(id *call.Identity) { id.Claims = []byte(raw) })
	}
	for raw, want := range map[string]bool{
		`{"dept":"sales"}`: true, `{"dept":"Sales"}`: false, `{"dept":["sales"]}`: false, `{}`: false, ``: false,
		`[]`: false, `{"dept":"x","dept":"sales"}`: false, `{"dept":"sales","n":1e999}`: false, `{`: false,
	} {
		q := tool(claims(raw), "files", "read", "")
		if allows(t, d, q) != want || d.Lists(t.Context(), q) != want {
			t.Errorf("%s: %s", raw, why(t, d, q))
		}
	}
}

func TestWhatIsNotListedIsNotReachedOtherwise(t *testing.T) {
	t.Parallel()
	d := decider(t, everything+`
forbid(principal, action == Munjigi::Action::"get", resource == Munjigi::Prompt::"files/secret");
forbid(principal, action == Munjigi::Action::"read", resource == Munjigi::Resource::"files/file:///secret");
forbid(principal, action, resource == Munjigi::Prompt::"files/quiet");`)
	alice := person("alice")
	for _, q := range []authz.Query{
		about(alice, mcp.MethodComplete, "files", "secret"),
		about(alice, mcp.MethodComplete, "files", "quiet"),
		about(alice, mcp.MethodComplete, "files", "file:///secret"),
		about(alice, mcp.MethodResourcesSubscribe, "files", "file:///secret"),
	} {
		if allows(t, d, q) || d.Lists(t.Context(), q) {
			t.Errorf("%s %s: %s", q.Target.Method, q.Target.Name, why(t, d, q))
		}
	}
	if !allows(t, d, about(alice, mcp.MethodComplete, "files", "open")) {
		t.Error("nothing can be completed")
	}
	only := decider(t, `permit(principal, action == Munjigi::Action::"complete", resource);`)
	if allows(t, only, about(alice, mcp.MethodComplete, "files", "open")) {
		t.Error("completion tells of what may not be used")
	}
}

func TestTemplatesAreListedByWhatTheyCouldBecome(t *testing.T) {
	t.Parallel()
	d := decider(t, `
permit(principal, action == Munjigi::Action::"read", resource == Munjigi::Resource::"one/file:///a");
permit(principal, action == Munjigi::Action::"read", resource) when { resource.server == "two" && resource.name like "file:///pub/*" };
permit(principal, action == Munjigi::Action::"read", resource in Munjigi::Server::"three");
forbid(principal, action == Munjigi::Action::"read", resource == Munjigi::Resource::"three/file:///no");
permit(principal, action, resource in Munjigi::Server::"four");
forbid(principal, action == Munjigi::Action::"read", resource in Munjigi::Server::"four");
permit(principal, action == Munjigi::Action::"call", resource in Munjigi::Server::"five");`)
	for server, want := range map[string]bool{"one": true, "two": true, "three": true, "four": false} {
		if q := about(person("alice"), mcp.MethodResourcesRead, server, "file:///{+path}"); d.Lists(t.Context(), q) != want {
			t.Errorf("%s: listed is not %v", server, want)
		}
	}
}
