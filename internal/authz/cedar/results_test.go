package cedar

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/minimize"
)

// left is what a decision lets come back of an answer.
func left(t *testing.T, d call.Decision, answer string) string {
	t.Helper()
	if d.Obligations == nil {
		return answer
	}
	w := d.Obligations.Begin(minimize.Options{Hash: func([]byte) string { return "hash" }, Limits: strictjson.Default()})
	out, err := w.Fields([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const crm = `
@result_drop("ssn")
permit (principal in Munjigi::Group::"` + corp + `|staff", action == Munjigi::Action::"call", resource in Munjigi::Server::"crm");
@result_drop("salary")
@result_mask("mail")
permit (principal in Munjigi::Group::"` + corp + `|interns", action in [Munjigi::Action::"call", Munjigi::Action::"read"], resource in Munjigi::Server::"crm");
permit (principal, action in [Munjigi::Action::"list", Munjigi::Action::"connect"], resource);
permit (principal, action, resource is Munjigi::Task in Munjigi::Server::"crm");
@result_only("id")
permit (principal, action, resource == Munjigi::Tool::"crm/open")
when { context has arguments && context.arguments has brief };
`

// TestWhatAPermitHoldsBack joins what the permits that decided say, whether the
// decision is made or remembered.
func TestWhatAPermitHoldsBack(t *testing.T) {
	t.Parallel()
	d := decider(t, crm)
	const answer = `{"id":1,"ssn":"2","salary":3,"mail":"m"}`
	staff, both, interns := person("a", in("staff")), person("b", in("staff", "interns")), person("c", in("interns"))
	target := func(method, server, name string) call.Target {
		return call.Target{Server: server, Method: method, Name: name}
	}
	for name, tt := range map[string]struct {
		q    authz.Query
		want string
	}{
		"one permit":                    {tool(staff, "crm", "find", `{}`), `{"id":1,"salary":3,"mail":"m"}`},
		"two permits":                   {tool(both, "crm", "find", `{}`), `{"id":1,"mail":"[masked]"}`},
		"by arguments":                  {tool(staff, "crm", "open", `{"brief":true}`), `{"id":1}`},
		"by other arguments":            {tool(staff, "crm", "open", `{}`), `{"id":1,"salary":3,"mail":"m"}`},
		"a resource":                    {authz.Query{Principal: interns, Target: target(mcp.MethodResourcesRead, "crm", "crm://1")}, `{"id":1,"ssn":"2","mail":"[masked]"}`},
		"a list":                        {authz.Query{Principal: both, Target: target(mcp.MethodToolsList, "crm", "")}, answer},
		"a task of whatever tool":       {authz.Query{Principal: staff, Target: target(mcp.MethodTasksGet, "crm", "t")}, `{"id":1}`},
		"the result of a task":          {authz.Query{Principal: interns, Target: target(mcp.MethodTasksResult, "crm", "t")}, `{"id":1}`},
		"the list of tasks":             {authz.Query{Principal: interns, Target: target(mcp.MethodTasksList, "crm", "")}, `{"id":1}`},
		"the list of another's":         {authz.Query{Principal: interns, Target: target(mcp.MethodTasksList, "docs", "")}, answer},
		"a task that nobody may ask of": {authz.Query{Principal: interns, Target: target(mcp.MethodTasksGet, "docs", "t")}, answer},
	} {
		for range 2 {
			if got := left(t, d.Decide(t.Context(), tt.q), answer); got != tt.want {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	if x := d.Explain(t.Context(), tool(staff, "crm", "find", `{}`)); !strings.Contains(x.Results, "ssn (without)") {
		t.Errorf("the explanation says %q", x.Results)
	}
}

// TestResultAnnotationsThatSayNothing: what is misspelt or ill-formed is found
// before it protects nothing.
func TestResultAnnotationsThatSayNothing(t *testing.T) {
	t.Parallel()
	for annotation, want := range map[string]string{
		`@result_dorp("a")`:                       "@result_dorp is not an annotation",
		`@result("a")`:                            "@result is not an annotation",
		`@result_drop("")`:                        "empty step",
		`@result_drop`:                            "empty step",
		`@result_drop("a,")`:                      "empty step",
		`@result_drop("a..b")`:                    "empty step",
		`@result_drop("a*")`:                      "a star stands for a whole name",
		`@result_mask("**")`:                      "ends in **",
		`@result_truncate("a")`:                   "how many characters",
		`@result_truncate("a:0")`:                 "how many characters",
		`@result_truncate("a:-1")`:                "how many characters",
		`@result_freeform("yes")`:                 "says nothing",
		`@result_freeform("pass")`:                "stands alone",
		`@result_drop("a") @result_drop("b")`:     "",
		`@result_only("` + manyPaths(201) + `")`:  "more than 200",
		`@result_drop("` + manyPaths(201) + `")`:  "more than 200",
		`@result_last4("/a~5")`:                   "~ in a path",
		`@result_hash("a") @result_freeform("x")`: "says nothing",
	} {
		got := problemsOf(annotation + ` permit (principal, action == Munjigi::Action::"call", resource);`)
		if got == "" || !strings.Contains(got, want) {
			t.Errorf("%.60s: %q", annotation, got)
		}
	}
	for policy, want := range map[string]string{
		`@result_drop("a") forbid (principal, action, resource);`:                                                                           "stands on a forbid",
		`@result_drop("a") permit (principal, action == Munjigi::Action::"list", resource);`:                                                "no result to take from",
		`@result_drop("a") permit (principal, action in [Munjigi::Action::"connect", Munjigi::Action::"complete"], resource);`:              "no result to take from",
		`@result_drop("a, b.c") @result_truncate("d:3") @note("x") permit (principal, action, resource);`:                                   "",
		`@result_only("/a~1b, *.c") @result_freeform("pass") permit (principal, action == Munjigi::Action::"read", resource);`:              "",
		`@result_last4("card") @result_hash("id") @result_mask("**.ssn") permit (principal, action in [Munjigi::Action::"get"], resource);`: "",
	} {
		if got := problemsOf(policy); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", policy, got)
		}
	}
}

func manyPaths(n int) string { return strings.TrimSuffix(strings.Repeat("a,", n), ",") }

func problemsOf(policy string) string {
	l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
	l.parse(file{path: "p.cedar", text: []byte(policy)})
	var all []string
	for _, p := range l.problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// TestMinimizationPage plays the examples of docs/minimization.md as it shows
// them.
func TestMinimizationPage(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/results/*.txtar")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "minimization.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "```cedar\n"); n != len(files) {
		t.Errorf("the page has %d policies, and %d are tested", n, len(files))
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil || len(a.Files) != 3 {
			t.Fatal(file, err)
		}
		parts := map[string]string{}
		for _, f := range a.Files {
			parts[f.Name] = string(f.Data)
			kind := map[string]string{"policy.cedar": "cedar", "answer.json": "json", "left.json": "json"}[f.Name]
			if !strings.Contains(string(page), "```"+kind+"\n"+string(f.Data)+"```") {
				t.Errorf("%s: docs/minimization.md does not show %s as it is tested", file, f.Name)
			}
		}
		d := decider(t, parts["policy.cedar"])
		id := call.Identity{Issuer: "https://idp.example/realms/corp", Subject: "ann", Kind: call.Person, Groups: []string{"support"}}
		dec := d.Decide(t.Context(), tool(call.NewPrincipal(id), "crm", "customer", `{}`))
		if dec.Obligations == nil {
			t.Fatalf("%s: nothing is held back", file)
		}
		w := dec.Obligations.Begin(minimize.Options{Hash: func([]byte) string { return "hash:2b1d…" }, Limits: strictjson.Default()})
		out, err := w.Fields([]byte(strings.TrimSpace(parts["answer.json"])))
		if err == nil {
			out, err = w.Sweep(out)
		}
		if got := string(out) + "\n"; err != nil || got != parts["left.json"] {
			t.Errorf("%s: %s %v", file, got, err)
		}
	}
}
