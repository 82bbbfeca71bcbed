package cedar

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/mcp"
)

func catalogue(t testing.TB, text string) *Catalogue {
	t.Helper()
	c, err := ReadCatalogue([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loaded(t testing.TB, text string) *Policies {
	t.Helper()
	p, err := Load([]string{folder(t, map[string]string{"p.cedar": text})})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const bankCatalogue = `{"servers": {
  "bank": {
    "tools": [
      {"name": "pay", "inputSchema": {"type": "object", "required": ["to"], "properties": {
        "amount": {"type": "integer"}, "to": {"type": "string"}, "urgent": {"type": "boolean"}, "rate": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}}, "where": {"$ref": "#/$defs/place"}, "any": {}, "maybe": {"type": ["string", "null"]},
        "__odd": {"type": "string"}, "currency": {"enum": ["EUR", "KRW"]}},
        "$defs": {"place": {"type": "object", "required": ["country"], "properties": {"country": {"type": "string"}}}}}},
      {"name": "balance", "inputSchema": {"type": "object", "properties": {}}},
      {"name": "note", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": {"type": "string"}}}
    ],
    "prompts": [{"name": "letter"}]
  },
  "slow": {"missing": {"tools": "the server did not answer", "prompts": "the server did not answer"}}
}}`

const callTool = `principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/pay"`

func TestCheckFindsWhatCanNeverBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy string
		want   string // in the one problem; empty for none
	}{
		"a tool that is there":              {`permit(` + callTool + `);`, ``},
		"a misspelt tool":                   {`permit(principal, action, resource == Munjigi::Tool::"bank/pya");`, `names the tool "pya", which bank does not have; did you mean "pay"?`},
		"another case":                      {`permit(principal, action, resource == Munjigi::Tool::"bank/Pay");`, `did you mean "pay"?`},
		"a misspelt tool in a condition":    {`permit(principal, action, resource in Munjigi::Server::"bank") when { resource == Munjigi::Tool::"bank/balanc" };`, `names the tool "balanc"`},
		"a misspelt tool in a set":          {`forbid(principal, action, resource) when { [Munjigi::Tool::"bank/pay", Munjigi::Tool::"bank/pau"].contains(resource) };`, `names the tool "pau"`},
		"a misspelt prompt":                 {`permit(principal, action == Munjigi::Action::"get", resource == Munjigi::Prompt::"bank/leter");`, `names the prompt "leter"`},
		"a server that did not say":         {`permit(principal, action, resource == Munjigi::Tool::"slow/x");`, ``},
		"an argument that may be missing":   {`permit(` + callTool + `) when { context.arguments.amount < 5 };`, `"bank/pay"`},
		"asked for first":                   {`permit(` + callTool + `) when { context.arguments has amount && context.arguments.amount < 5 };`, ``},
		"asked for in an earlier condition": {`permit(` + callTool + `) when { context.arguments has amount } when { context.arguments.amount < 5 };`, ``},
		"asked for in an earlier unless":    {`permit(` + callTool + `) unless { !(context.arguments has amount) } when { context.arguments.amount < 5 };`, ``},
		"required":                          {`permit(` + callTool + `) when { context.arguments.to like "DE*" };`, ``},
		"another type":                      {`permit(` + callTool + `) when { context.arguments.to > 5 };`, `does not fit Tool "bank/pay"`},
		"equal to another type":             {`permit(` + callTool + `) when { context.arguments.to == 5 };`, `does not fit Tool "bank/pay"`},
		"a misspelt argument":               {`permit(` + callTool + `) when { context.arguments.tu == "DE" };`, `tu`},
		"a misspelt argument asked for":     {`forbid(` + callTool + `) when { context.arguments has amuont && context.arguments.amuont > 5 };`, `its conditions can never be so`},
		"a number":                          {`permit(` + callTool + `) when { context.arguments has rate && context.arguments.rate < 5 };`, ``},
		"in an object":                      {`permit(` + callTool + `) when { context.arguments has where && context.arguments.where.country == "KR" };`, ``},
		"not in an object":                  {`permit(` + callTool + `) when { context.arguments has where && context.arguments.where.city == "Seoul" };`, `city`},
		"an array's place":                  {`permit(` + callTool + `) when { context.arguments has tags && context.arguments.tags has "0" && context.arguments.tags["0"] == "a" };`, ``},
		"an array's place that may not be":  {`permit(` + callTool + `) when { context.arguments has tags && context.arguments.tags["0"] == "a" };`, `does not fit`},
		"an array as a set":                 {`permit(` + callTool + `) when { context.arguments has tags && context.arguments.tags.contains("a") };`, `does not fit`},
		"an array's length":                 {`permit(` + callTool + `) when { context.arguments has tags && context.arguments.tags.__length < 3 };`, ``},
		"what may be anything":              {`permit(` + callTool + `) when { context.arguments has any && context.arguments.any.x.y < 5 };`, ``},
		"what may be two things":            {`permit(` + callTool + `) when { context.arguments has maybe && context.arguments.maybe == "x" };`, ``},
		"a name with underscores":           {`permit(` + callTool + `) when { context.arguments has __odd && context.arguments.__odd == "x" };`, `its conditions can never be so`},
		"a name with underscores, escaped":  {`permit(` + callTool + `) when { context.arguments has ____odd && context.arguments.____odd == "x" };`, ``},
		"one of a list":                     {`permit(` + callTool + `) when { context.arguments has currency && context.arguments.currency == "EUR" };`, ``},
		"the whole of it":                   {`forbid(` + callTool + `) when { context.arguments == {to: "x"} };`, ``},
		"a tool without arguments":          {`permit(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/balance") when { context.arguments has x };`, `its conditions can never be so`},
		"a tool that takes more":            {`permit(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/note") when { context.arguments has x && context.arguments.x == "y" };`, ``},
		"an opened tool":                    {`permit(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"bank/open") when { context.arguments has x };`, `names the tool "open"`},
		"all tools, one by one":             {`permit(principal, action == Munjigi::Action::"call", resource is Munjigi::Tool in Munjigi::Server::"bank") when { resource.name == "pay" && context.arguments.to == "x" };`, ``},
		"all tools, and some have it not":   {`permit(principal, action == Munjigi::Action::"call", resource is Munjigi::Tool in Munjigi::Server::"bank") when { context.arguments.to == "x" };`, `Tool "bank/balance"`},
		"a name no tool has":                {`permit(principal, action == Munjigi::Action::"call", resource is Munjigi::Tool in Munjigi::Server::"bank") when { resource.name == "pyy" && context.arguments has to };`, `its conditions can never be so`},
		"tasks have no arguments":           {`permit(principal, action == Munjigi::Action::"call", resource in Munjigi::Server::"bank") when { context.arguments has x };`, `a Task`},
		"tasks, asked for":                  {`permit(principal, action == Munjigi::Action::"call", resource in Munjigi::Server::"bank") when { context has arguments && context.arguments has to };`, ``},
		"an action that has no tool":        {`permit(principal, action == Munjigi::Action::"read", resource == Munjigi::Tool::"bank/pay");`, `no request has this action and this resource`},
		"list is asked of the server":       {`permit(principal, action == Munjigi::Action::"list", resource == Munjigi::Tool::"bank/pay");`, `no request has this action and this resource`},
		"arguments of a list":               {`permit(principal, action == Munjigi::Action::"list", resource) when { context.arguments has x };`, `does not fit a Server`},
		"no attribute of a principal":       {`permit(principal, action, resource) when { principal.group == "x" };`, `group`},
		"a set taken for a text":            {`permit(principal, action, resource) when { principal.groups == "x" };`, `does not fit`},
		"a text taken for a set":            {`permit(principal, action, resource) when { principal.acr.contains("mfa") };`, `does not fit`},
		"claims are not known":              {`permit(principal, action, resource) when { principal.claims has a && principal.claims.a.b < 5 };`, ``},
		"beside claims":                     {`permit(principal, action, resource) when { principal.claims has a && principal.acr < 5 };`, `does not fit`},
		"never":                             {`permit(principal, action, resource) when { false };`, `its conditions can never be so`},
		"never, by contradiction":           {`permit(principal is Munjigi::User, action, resource) when { principal is Munjigi::Workload };`, `its conditions can never be so`},
		"unless always":                     {`forbid(principal, action, resource) unless { true };`, `its conditions can never be so`},
		"an address that may be missing":    {`forbid(principal, action, resource) when { context.address.isLoopback() };`, `address`},
		"an address asked for":              {`forbid(principal, action, resource) when { context has address && context.address.isLoopback() };`, ``},
		"some tools":                        {`forbid(principal, action, resource) when { [Munjigi::Tool::"bank/pay", Munjigi::Tool::"bank/note"].contains(resource) };`, ``},
		"hours":                             {`permit(principal, action, resource) when { context.time.toTime() < duration("9h") };`, ``},
		"an old sign-in":                    {`forbid(principal, action, resource) unless { context.auth_age < 300 };`, ``},
		"everything":                        {everything, ``},
	} {
		r := loaded(t, c.policy).Check(World{Catalogue: catalogue(t, bankCatalogue)})
		var got []string
		for _, p := range r.Problems {
			got = append(got, p.Message+"; "+p.Next)
			if p.File == "" || p.Line == 0 {
				t.Errorf("%s: %+v has no place", name, p)
			}
		}
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s:\nwant %q\ngot  %q", name, c.want, got)
		}
	}
}

// TestCheckSaysWhatItDidNotCheck holds that nothing is passed over in silence.
func TestCheckSaysWhatItDidNotCheck(t *testing.T) {
	t.Parallel()
	const text = `permit(` + callTool + `) when { context.arguments has whatever };
permit(principal, action, resource == Munjigi::Tool::"slow/x");
permit(principal, action == Munjigi::Action::"call", resource is Munjigi::Tool in Munjigi::Server::"slow") when { context.arguments has x };
permit(principal, action, resource == Munjigi::Tool::"other/x");`
	without := loaded(t, text).Check(World{})
	if len(without.Problems) != 0 || len(without.Unchecked) != 2 {
		t.Errorf("without a catalogue: %+v", without)
	}
	with := loaded(t, text).Check(World{Catalogue: catalogue(t, bankCatalogue), Open: func(server, tool string) bool { return server+"/"+tool == "bank/pay" }})
	want := []string{"arguments of slow are not checked: the server did not answer", "names of tools of other are not checked: the catalogue does not have the server",
		"names of tools of slow are not checked: the server did not answer"}
	if len(with.Problems) != 0 || !slices.Equal(with.Unchecked, want) {
		t.Errorf("%+v", with)
	}
	var none *Policies
	if r := none.Check(World{}); len(r.Problems) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestExamplesHaveNoMistakes holds the examples to the check, so that what the
// documentation shows can be checked in.
func TestExamplesHaveNoMistakes(t *testing.T) {
	t.Parallel()
	for i, text := range examplePolicies(t) {
		if r := loaded(t, text).Check(World{}); len(r.Problems) > 0 {
			t.Errorf("example %d: %v\n%s", i, r.Problems, text)
		}
	}
}

const smallCatalogue = `{"servers": {
  "a": {"tools": [
    {"name": "x", "inputSchema": {"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "integer"}, "o": {"type": "object", "properties": {"s": {"type": "string"}}}, "list": {"type": "array", "items": {"type": "integer"}}}}},
    {"name": "y", "inputSchema": {"type": "object", "required": ["s", "n"], "properties": {"s": {"type": "string"}, "n": {"type": "integer"}}}}],
    "prompts": [{"name": "x"}, {"name": "y"}]},
  "b": {"tools": [{"name": "x", "inputSchema": {"type": "object", "additionalProperties": false}}, {"name": "y", "inputSchema": {"type": "object"}}], "prompts": [{"name": "x"}, {"name": "y"}]}}}`

// fitting draws arguments that the small catalogue admits.
func (m maker) fitting(server, name string) string {
	o := map[string]any{}
	maybe := func(n string, v any) {
		if m.IntN(2) == 0 {
			o[n] = v
		}
	}
	s, n := m.pick("x", "a", "sales", ""), m.IntN(9)
	switch server + "/" + name {
	case "a/x":
		maybe("s", s)
		maybe("n", n)
		maybe("o", map[string]any{"s": s})
		maybe("list", []int{1, 2}[:m.IntN(3)])
	case "a/y":
		o["s"], o["n"] = s, n
	}
	b, _ := json.Marshal(o)
	return string(b)
}

// TestCheckedPoliciesNeitherFailNorHide draws policies and asks them with
// arguments that fit: what the check passes fails to evaluate only by an
// overflow, a claim or what the schema leaves open; what it says can never
// match never matches.
func TestCheckedPoliciesNeitherFailNorHide(t *testing.T) {
	t.Parallel()
	cat := catalogue(t, smallCatalogue)
	passed, never, matched := 0, 0, 0
	for seed := range uint64(6000) {
		m := maker{rand.New(rand.NewPCG(seed, 7))}
		text := m.policy(0)
		if strings.Contains(text, "claims") || strings.Contains(text, "+ 1") {
			continue
		}
		l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
		l.parse(file{path: "p.cedar", text: []byte(text)})
		if len(l.problems) > 0 {
			continue
		}
		p := &Policies{entries: l.entries}
		r := p.Check(World{Catalogue: cat})
		impossible := len(r.Problems) == 1 && strings.Contains(r.Problems[0].Message, "can never match")
		if len(r.Problems) > 0 && !impossible {
			continue
		}
		d, err := New(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if impossible {
			never++
		} else {
			passed++
		}
		for range 30 {
			q := m.query()
			q.Arguments = nil
			switch q.Target.Method {
			case mcp.MethodToolsCall:
				q.Target.Name = m.pick("x", "y")
				if q.Target.Server+q.Target.Name == "by" {
					q.Target.Server = "a" // that one admits anything
				}
				q.Arguments = []byte(m.fitting(q.Target.Server, q.Target.Name))
			case mcp.MethodPromptsGet:
				continue // they admit anything
			}
			dec := d.Decide(t.Context(), q)
			for _, f := range dec.Findings {
				if f.Reason == ReasonError {
					t.Errorf("seed %d: passed, and failed for %+v %s\n%s", seed, q.Target, q.Arguments, text)
				}
				if f.Reason == ReasonPermit || f.Reason == ReasonForbid {
					matched++
					if impossible {
						t.Errorf("seed %d: it can never match, and did for %+v %s\n%s", seed, q.Target, q.Arguments, text)
					}
				}
			}
		}
	}
	t.Logf("%d passed, %d can never match, %d matches", passed, never, matched)
	if passed < 300 || never < 100 || matched < 300 {
		t.Error("the worlds are too empty to show anything")
	}
}

func TestCatalogueFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `[]`, `{}`, `{"servers":{}}`, `{"servers":{"a":null}}`, `{"servers":{"a":{"tools":{}}}}`, `{"servers":{"a":{}},"servers":{"b":{}}}`} {
		if c, err := ReadCatalogue([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", text, c)
		}
	}
	strange := catalogue(t, `{"servers":{"a":{"tools":[1,null,{"name":""},{"name":"ok","inputSchema":[]},{"name":"loop","inputSchema":{"$ref":"#"}}]}}}`)
	r := loaded(t, `permit(principal, action == Munjigi::Action::"call", resource is Munjigi::Tool in Munjigi::Server::"a") when { context.arguments has x };`).Check(World{Catalogue: strange})
	if len(r.Problems) > 0 {
		t.Errorf("%v", r.Problems)
	}
}

// FuzzArgumentShape holds that a schema, whatever it is, gives a shape that the
// check can use.
func FuzzArgumentShape(f *testing.F) {
	f.Add(`{"properties":{"a":{"$ref":"#/properties/a"},"b":{"items":{"type":"string"}}}}`, "a")
	f.Add(`{"type":"object","properties":{"__length":{"enum":[1,"x"]}},"$defs":{"":1}}`, "__length")
	f.Fuzz(func(t *testing.T, declared, name string) {
		raw, err := json.Marshal(map[string]any{"servers": map[string]any{"a": map[string]any{"tools": []any{map[string]any{"name": "x", "inputSchema": json.RawMessage(declared)}}}}})
		if err != nil {
			return
		}
		c, err := ReadCatalogue(raw)
		if err != nil {
			return
		}
		l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
		l.parse(file{path: "p.cedar", text: fmt.Appendf(nil, `permit(principal, action == Munjigi::Action::"call", resource == Munjigi::Tool::"a/x") when { context.arguments has %q && context.arguments[%q] == "x" };`, name, name)})
		if len(l.problems) > 0 {
			return
		}
		for _, p := range (&Policies{entries: l.entries}).Check(World{Catalogue: c}).Problems {
			if strings.Contains(p.Message, "cannot be checked") || strings.Contains(p.Message, "validator failed") {
				t.Errorf("%s: %s", declared, p.Message)
			}
		}
	})
}
