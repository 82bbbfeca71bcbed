package demo_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func principal(subject string) call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "munjigi:local", Subject: subject, Kind: call.Operator})
}

// cleared judges a call as a gateway that permits everything would.
func cleared(t testing.TB, method, params string) *call.Clearance {
	t.Helper()
	return clearedFor(t, demo.Name, method, params)
}

func clearedFor(t testing.TB, server, method, params string) *call.Clearance {
	t.Helper()
	c := call.New(time.Now())
	c.Principal = principal("operator")
	c.Target = call.Target{Server: server, Method: method}
	for _, s := range []call.Stage{call.Accept, call.Authenticate, call.Admit, call.Decode, call.Resolve, call.Validate, call.Authorize, call.InspectRequest} {
		c.Pass(s)
	}
	cl, err := c.Clear([]byte(params), func() call.Generations { return call.Generations{} })
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// person is a legacy client that answers one way and keeps what it is told.
type person struct {
	reply   string
	refuses *mcp.Error
	lost    error
	asked   []string
	told    []string
}

func (p *person) Notify(method string, params []byte) error {
	p.told = append(p.told, method+" "+string(params))
	return p.lost
}

func (p *person) Ask(_ context.Context, method string, params []byte) ([]byte, *mcp.Error, error) {
	p.asked = append(p.asked, method+" "+string(params))
	return []byte(p.reply), p.refuses, p.lost
}

func callerOf(e mcp.Era) upstream.Caller {
	return upstream.Caller{Principal: principal("operator"), Era: e, Capabilities: mcp.Capabilities{Form: true}}
}

func ask(t testing.TB, from upstream.Caller, c upstream.Client, method, params string) upstream.Answer {
	t.Helper()
	a, err := demo.New(demo.Options{Version: "1.2.3"}).Call(t.Context(), cleared(t, method, params), from, c)
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	return a
}

func tool(t testing.TB, from upstream.Caller, c upstream.Client, name, arguments string) upstream.Answer {
	t.Helper()
	return ask(t, from, c, mcp.MethodToolsCall, `{"name":"`+name+`","arguments":`+arguments+`}`)
}

func TestToolResults(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", demo.MaxText)
	tests := []struct {
		name, tool, arguments, want string
	}{
		{"words", "count_words", `{"text":"one two\nthree"}`,
			`{"content":[{"type":"text","text":"3 words, 13 characters, 2 lines."}],"structuredContent":{"words":3,"characters":13,"lines":2}}`},
		{"nothing", "count_words", `{"text":""}`,
			`{"content":[{"type":"text","text":"0 words, 0 characters, 0 lines."}],"structuredContent":{"words":0,"characters":0,"lines":0}}`},
		{"last line", "count_words", `{"text":"문지기\n"}`,
			`{"content":[{"type":"text","text":"1 word, 4 characters, 1 line."}],"structuredContent":{"words":1,"characters":4,"lines":1}}`},
		{"the longest", "count_words", `{"text":"` + long + `"}`,
			`{"content":[{"type":"text","text":"1 word, 65536 characters, 1 line."}],"structuredContent":{"words":1,"characters":65536,"lines":1}}`},
		{"the longest in Korean", "count_words", `{"text":"` + strings.Repeat("문", demo.MaxText) + `"}`,
			`{"content":[{"type":"text","text":"1 word, 65536 characters, 1 line."}],"structuredContent":{"words":1,"characters":65536,"lines":1}}`},
		{"too long", "count_words", `{"text":"` + long + `a"}`,
			`{"content":[{"type":"text","text":"text is longer than 65536 characters"}],"isError":true}`},
		{"too long in escapes", "count_words", `{"text":"` + strings.Repeat(`\u0061`, demo.MaxText+1) + `"}`,
			`{"content":[{"type":"text","text":"text is longer than 65536 characters"}],"isError":true}`},
		{"no text", "count_words", `{}`, `{"content":[{"type":"text","text":"text is missing"}],"isError":true}`},
		{"text of another type", "count_words", `{"text":7}`, `{"content":[{"type":"text","text":"text must be a string"}],"isError":true}`},
		{"an argument too many", "count_words", `{"text":"a","Text":"b"}`,
			`{"content":[{"type":"text","text":"there is no argument of the name \"Text\""}],"isError":true}`},
		{"a name that hides", "explain_gateway", `{"\u202e\u0007` + strings.Repeat("x", 99) + `":1}`,
			`{"content":[{"type":"text","text":"there is no argument of the name \"??` + strings.Repeat("x", 36) + `…\""}],"isError":true}`},

		{"miles", "convert_units", `{"value":26.2,"from":"mi","to":"km"}`,
			`{"content":[{"type":"text","text":"26.2 mi = 42.1648128 km"}],"structuredContent":{"value":42.1648128,"unit":"km"}}`},
		{"freezing", "convert_units", `{"value":32,"from":"F","to":"C"}`,
			`{"content":[{"type":"text","text":"32 F = 0 C"}],"structuredContent":{"value":0,"unit":"C"}}`},
		{"the same", "convert_units", `{"value":1e308,"from":"km","to":"km"}`,
			`{"content":[{"type":"text","text":"1e+308 km = 1e+308 km"}],"structuredContent":{"value":1e+308,"unit":"km"}}`},
		{"too much", "convert_units", `{"value":1e308,"from":"km","to":"mm"}`,
			`{"content":[{"type":"text","text":"the result is too large to write down"}],"isError":true}`},
		{"beyond numbers", "convert_units", `{"value":1e999,"from":"km","to":"m"}`,
			`{"content":[{"type":"text","text":"value is too large"}],"isError":true}`},
		{"a number as text", "convert_units", `{"value":"1","from":"km","to":"m"}`,
			`{"content":[{"type":"text","text":"value must be a number of at most 64 digits"}],"isError":true}`},
		{"apples", "convert_units", `{"value":1,"from":"kg","to":"m"}`,
			`{"content":[{"type":"text","text":"kg is a unit of mass, m one of length"}],"isError":true}`},
		{"case counts", "convert_units", `{"value":1,"from":"KB","to":"B"}`,
			`{"content":[{"type":"text","text":"from: there is no unit \"KB\"; known are m km cm mm mi yd ft in g kg lb oz s min h d K C F B kB MB KiB MiB"}],"isError":true}`},

		{"without a pause", "slow_count", `{"to":2.0,"pause_ms":0}`, `{"content":[{"type":"text","text":"Counted to 2."}]}`},
		{"too far", "slow_count", `{"to":21}`, `{"content":[{"type":"text","text":"to must be a whole number from 1 to 20"}],"isError":true}`},
		{"backwards", "slow_count", `{"to":-1}`, `{"content":[{"type":"text","text":"to must be a whole number from 1 to 20"}],"isError":true}`},
		{"half a step", "slow_count", `{"to":1.5}`, `{"content":[{"type":"text","text":"to must be a whole number from 1 to 20"}],"isError":true}`},
		{"a long pause", "slow_count", `{"pause_ms":1e9}`, `{"content":[{"type":"text","text":"pause_ms must be a whole number from 0 to 1000"}],"isError":true}`},

		{"approved all the same", demo.PoisonedTool, `{"text":"a","language":"ko"}`,
			`{"content":[{"type":"text","text":"Nothing was translated, and nothing that came with this call was read or kept. That it arrived means that somebody approved a poisoned definition: munjigi tools withdraw demo translate_text takes that back."}],"isError":true}`},
		{"reached", demo.RefusedTool, `{}`,
			`{"content":[{"type":"text","text":"Nothing was deleted. That this call arrived means that the gateway permitted it: look at its policy."}],"isError":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, e := range []mcp.Era{mcp.Legacy, mcp.Modern} {
				a := tool(t, callerOf(e), &person{}, tt.tool, tt.arguments)
				if diff := cmp.Diff(tt.want, string(a.Result)); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", e, diff)
				}
				if a.Era != e || a.Kind != mcp.ResultComplete || a.Error != nil {
					t.Errorf("%s: era %s, kind %q, error %v", e, a.Era, a.Kind, a.Error)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, params string
		modern, legacy       int
	}{
		{"unknown tool", mcp.MethodToolsCall, `{"name":"nothing"}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"no tool", mcp.MethodToolsCall, `{}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"arguments in a list", mcp.MethodToolsCall, `{"name":"count_words","arguments":[]}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"arguments null", mcp.MethodToolsCall, `{"name":"count_words","arguments":null}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"somebody's cursor", mcp.MethodToolsList, `{"cursor":"abc"}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"unknown resource", mcp.MethodResourcesRead, `{"uri":"munjigi://demo/unit/parsec"}`, mcp.CodeInvalidParams, mcp.CodeResourceNotFound},
		{"a file", mcp.MethodResourcesRead, `{"uri":"file:///etc/passwd"}`, mcp.CodeInvalidParams, mcp.CodeResourceNotFound},
		{"up and out", mcp.MethodResourcesRead, `{"uri":"munjigi://demo/unit/../welcome"}`, mcp.CodeInvalidParams, mcp.CodeResourceNotFound},
		{"unknown prompt", mcp.MethodPromptsGet, `{"name":"x"}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"another reader", mcp.MethodPromptsGet, `{"name":"introduce_munjigi","arguments":{"reader":"thief"}}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"unknown reference", mcp.MethodComplete, `{"ref":{"type":"ref/tool","name":"x"},"argument":{"name":"a","value":""}}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{"unknown method", "tools/run", `{}`, mcp.CodeMethodNotFound, mcp.CodeMethodNotFound},
		{"tasks", mcp.MethodTasksGet, `{"taskId":"1"}`, mcp.CodeMethodNotFound, mcp.CodeMethodNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for e, want := range map[mcp.Era]int{mcp.Modern: tt.modern, mcp.Legacy: tt.legacy} {
				a := ask(t, callerOf(e), &person{}, tt.method, tt.params)
				if a.Error == nil || a.Result != nil || a.Error.Code != want {
					t.Errorf("%s: %s, error %v, want code %d", e, a.Result, a.Error, want)
				}
			}
		})
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, params, want string }{
		{mcp.MethodResourcesRead, `{"uri":"munjigi://demo/welcome"}`, "munjigi why ID"},
		{mcp.MethodResourcesRead, `{"uri":"munjigi://demo/unit/KiB"}`, "kibibyte"},
		{mcp.MethodPromptsGet, `{"name":"introduce_munjigi"}`, "a developer"},
		{mcp.MethodPromptsGet, `{"name":"introduce_munjigi","arguments":{"reader":"auditor"}}`, "an auditor"},
		{mcp.MethodComplete, `{"ref":{"type":"ref/prompt","name":"introduce_munjigi"},"argument":{"name":"reader","value":"o"}}`, `{"completion":{"values":["operator"],"total":1,"hasMore":false}}`},
		{mcp.MethodComplete, `{"ref":{"type":"ref/resource","uri":"munjigi://demo/unit/{unit}"},"argument":{"name":"unit","value":"k"}}`, `["km","kg","kB"]`},
		{mcp.MethodComplete, `{"ref":{"type":"ref/prompt","name":"introduce_munjigi"},"argument":{"name":"other","value":""}}`, `"values":[]`},
		{mcp.MethodSetLevel, `{"level":"info"}`, `{}`},
		{mcp.MethodPing, ``, `{}`},
	} {
		t.Run(tt.method+tt.params, func(t *testing.T) {
			t.Parallel()
			if a := ask(t, callerOf(mcp.Modern), nil, tt.method, tt.params); !strings.Contains(string(a.Result), tt.want) {
				t.Errorf("%s lacks %q", a.Result, tt.want)
			}
		})
	}
}

func TestExplainSaysWhatItWasTold(t *testing.T) {
	t.Parallel()
	lines := []string{"callers need a token"}
	s := demo.New(demo.Options{Protected: lines, Open: []string{"servers are not sandboxed"}})
	lines[0] = "changed afterwards"
	a, err := s.Call(t.Context(), cleared(t, mcp.MethodToolsCall, `{"name":"explain_gateway"}`), callerOf(mcp.Modern), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"callers need a token", "Not protected here:", "servers are not sandboxed"} {
		if !strings.Contains(string(a.Result), want) {
			t.Errorf("%s lacks %q", a.Result, want)
		}
	}
}

// TestLists holds that what is listed can be used: each tool, resource and
// prompt by its listed name, and each input schema refuses what it does not
// name.
func TestLists(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]struct {
		member, name string
		names        []string
	}{
		mcp.MethodToolsList:              {"tools", "name", []string{"explain_gateway", "count_words", "convert_units", "ask_name", "slow_count", demo.RefusedTool, demo.PoisonedTool}},
		mcp.MethodResourcesList:          {"resources", "uri", []string{"munjigi://demo/welcome"}},
		mcp.MethodResourcesTemplatesList: {"resourceTemplates", "uriTemplate", []string{"munjigi://demo/unit/{unit}"}},
		mcp.MethodPromptsList:            {"prompts", "name", []string{"introduce_munjigi"}},
	} {
		a := ask(t, callerOf(mcp.Modern), nil, method, `{"_meta":{},"cursor":null}`)
		if err := strictjson.Validate(a.Result, strictjson.Default()); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		o, err := strictjson.SplitObject(a.Result)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := o.Get(want.member)
		items, err := strictjson.SplitArray(raw)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, item := range items {
			io, err := strictjson.SplitObject(item)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := mcp.Text(io, want.name, 256)
			names = append(names, name)
			if schema, ok := io.Get("inputSchema"); ok && !strings.HasSuffix(string(schema), `"additionalProperties":false}`) {
				t.Errorf("%s takes anything: %s", name, schema)
			}
			if method == mcp.MethodToolsList {
				if a := tool(t, callerOf(mcp.Modern), nil, name, `{"nobody asked":1}`); a.Error != nil {
					t.Errorf("%s is listed and unknown: %v", name, a.Error)
				} else if !strings.Contains(string(a.Result), `"isError":true`) {
					t.Errorf("%s takes what its schema does not name: %s", name, a.Result)
				}
			}
		}
		if diff := cmp.Diff(want.names, names); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", method, diff)
		}
	}
}

func TestAskNameLegacy(t *testing.T) {
	t.Parallel()
	lost := errors.New("the client is gone")
	for _, tt := range []struct {
		name string
		who  person
		want string
		err  error
	}{
		{"answers", person{reply: `{"action":"accept","content":{"name":" Ada "}}`}, `"Hello, Ada.`, nil},
		{"declines", person{reply: `{"action":"decline"}`}, `rather not say`, nil},
		{"cancels", person{reply: `{"action":"cancel"}`}, `closed the question`, nil},
		{"nonsense", person{reply: `{"action":"maybe"}`}, `"isError":true`, nil},
		{"no content", person{reply: `{"action":"accept"}`}, `"isError":true`, nil},
		{"empty", person{reply: `{"action":"accept","content":{"name":"  "}}`}, `"isError":true`, nil},
		{"too long", person{reply: `{"action":"accept","content":{"name":"` + strings.Repeat("x", demo.MaxName+1) + `"}}`}, `"isError":true`, nil},
		{"hides", person{reply: `{"action":"accept","content":{"name":"a\u202eb"}}`}, `"isError":true`, nil},
		{"a number", person{reply: `{"action":"accept","content":{"name":7}}`}, `"isError":true`, nil},
		{"client error", person{refuses: &mcp.Error{Code: -1}}, `nobody was asked`, nil},
		{"lost", person{lost: lost}, ``, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := demo.New(demo.Options{}).Call(t.Context(), cleared(t, mcp.MethodToolsCall, `{"name":"ask_name"}`), callerOf(mcp.Legacy), &tt.who)
			if !errors.Is(err, tt.err) || !strings.Contains(string(a.Result), tt.want) {
				t.Errorf("%s, %v; want %q, %v", a.Result, err, tt.want, tt.err)
			}
			if len(tt.who.asked) != 1 || !strings.HasPrefix(tt.who.asked[0], mcp.MethodElicit+" {") {
				t.Errorf("asked %q", tt.who.asked)
			}
		})
	}
}

func TestAskNameModern(t *testing.T) {
	t.Parallel()
	from := callerOf(mcp.Modern)
	first := tool(t, from, nil, "ask_name", `{}`)
	want := `{"name":{"method":"elicitation/create","params":{"message":"What name shall the demo greet you by?",` +
		`"requestedSchema":{"type":"object","properties":{"name":{"type":"string","title":"Name","description":"Any name will do","minLength":1,"maxLength":80}},"required":["name"]}}}}`
	if first.Kind != mcp.ResultInputRequired || string(first.Requests) != want || first.Error != nil {
		t.Fatalf("first round: %q %s %v", first.Kind, first.Requests, first.Error)
	}
	for responses, want := range map[string]string{
		`{"name":{"action":"accept","content":{"name":"Ada"}}}`: "Hello, Ada.",
		`{"name":{"action":"decline"}}`:                         "rather not say",
	} {
		from.Resume = &upstream.Resume{Responses: []byte(responses)}
		if a := tool(t, from, nil, "ask_name", `{}`); a.Kind != mcp.ResultComplete || !strings.Contains(string(a.Result), want) {
			t.Errorf("%s: %q %s", responses, a.Kind, a.Result)
		}
	}
	for _, responses := range []string{`{}`, `[]`, `7`, `{"other":{"action":"accept"}}`, `{"name":{"action":"accept","content":{}}}`, `{"name":"Ada"}`} {
		from.Resume = &upstream.Resume{Responses: []byte(responses)}
		if a := tool(t, from, nil, "ask_name", `{}`); a.Kind != mcp.ResultInputRequired || string(a.Requests) != want {
			t.Errorf("%s: not asked again: %q %s", responses, a.Kind, a.Result)
		}
	}
}

func TestAskNameNeedsTheCapability(t *testing.T) {
	t.Parallel()
	who := &person{reply: `{"action":"accept","content":{"name":"Ada"}}`}
	a := tool(t, upstream.Caller{Principal: principal("operator"), Era: mcp.Modern, Capabilities: mcp.Capabilities{URL: true}}, who, "ask_name", `{}`)
	if a.Error == nil || a.Error.Code != mcp.CodeMissingCapability || string(a.Error.Data) != `{"requiredCapabilities":{"elicitation":{"form":{}}}}` {
		t.Errorf("modern: %v %s", a.Error, a.Result)
	}
	a = tool(t, upstream.Caller{Principal: principal("operator"), Era: mcp.Legacy}, who, "ask_name", `{}`)
	if !strings.Contains(string(a.Result), `"isError":true`) || len(who.asked) != 0 {
		t.Errorf("legacy: %s, asked %q", a.Result, who.asked)
	}
}

func TestSlowCountTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		who, from, start := &person{}, callerOf(mcp.Modern), time.Now()
		from.ProgressToken, from.LogLevel = []byte(`"tok"`), "debug"
		tool(t, from, who, "slow_count", `{"to":2,"pause_ms":500}`)
		want := []string{
			`notifications/progress {"progressToken":"tok","progress":1,"total":2,"message":"step 1 of 2"}`,
			`notifications/progress {"progressToken":"tok","progress":2,"total":2,"message":"step 2 of 2"}`,
			`notifications/message {"level":"info","logger":"munjigi-demo","data":"counted to 2"}`,
		}
		if diff := cmp.Diff(want, who.told); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestSlowCountIsQuietUnlessAsked(t *testing.T) {
	t.Parallel()
	who, from := &person{}, callerOf(mcp.Modern)
	from.LogLevel = "error"
	tool(t, from, who, "slow_count", `{"pause_ms":0}`)
	if len(who.told) != 0 {
		t.Errorf("told %q", who.told)
	}
}

func TestSlowCountEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := demo.New(demo.Options{}).Call(ctx, cleared(t, mcp.MethodToolsCall, `{"name":"slow_count","arguments":{"to":20,"pause_ms":1000}}`), callerOf(mcp.Legacy), &person{})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 1200*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
	gone := errors.New("the client is gone")
	from := callerOf(mcp.Legacy)
	from.ProgressToken = []byte("1")
	_, err := demo.New(demo.Options{}).Call(t.Context(), cleared(t, mcp.MethodToolsCall, `{"name":"slow_count","arguments":{"pause_ms":0}}`), from, &person{lost: gone})
	if !errors.Is(err, gone) {
		t.Errorf("it counts on for nobody: %v", err)
	}
}

// TestNothingWithoutClearance: no clearance, a spent one, one of another server
// or caller, no era.
func TestNothingWithoutClearance(t *testing.T) {
	t.Parallel()
	s := demo.New(demo.Options{})
	if _, err := s.Call(t.Context(), nil, callerOf(mcp.Modern), nil); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("no clearance: %v", err)
	}
	if _, err := s.Call(t.Context(), &call.Clearance{}, callerOf(mcp.Modern), nil); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("the zero clearance: %v", err)
	}
	if _, err := s.Call(t.Context(), clearedFor(t, "files", mcp.MethodToolsList, `{}`), callerOf(mcp.Modern), nil); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("a clearance of another server: %v", err)
	}
	stranger := callerOf(mcp.Modern)
	stranger.Principal = principal("stranger")
	if _, err := s.Call(t.Context(), cleared(t, mcp.MethodToolsList, `{}`), stranger, nil); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("a clearance of another caller: %v", err)
	}
	cl := cleared(t, mcp.MethodToolsList, `{}`)
	if _, err := s.Call(t.Context(), cl, callerOf(mcp.Modern), nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Call(t.Context(), cl, callerOf(mcp.Modern), nil); !errors.Is(err, call.ErrSpent) {
		t.Errorf("a spent clearance: %v", err)
	}
	if err := s.Notify(t.Context(), cl, callerOf(mcp.Legacy)); !errors.Is(err, call.ErrSpent) {
		t.Errorf("a notification with a spent clearance: %v", err)
	}
	if err := s.Listen(t.Context(), cl, callerOf(mcp.Modern), nil); !errors.Is(err, call.ErrSpent) {
		t.Errorf("a stream with a spent clearance: %v", err)
	}
	if _, err := s.Call(t.Context(), cleared(t, mcp.MethodToolsList, `{}`), upstream.Caller{Principal: principal("operator")}, nil); err == nil {
		t.Error("a caller of no era was answered")
	}
	if _, err := s.Describe(t.Context(), upstream.Caller{}); err == nil {
		t.Error("a caller of no era was told what there is")
	}
}

func TestListenEndsWithTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		who := &person{}
		err := demo.New(demo.Options{}).Listen(ctx, cleared(t, mcp.MethodListen, `{"notifications":{"toolsListChanged":true}}`), callerOf(mcp.Modern), who)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{`notifications/subscriptions/acknowledged {"notifications":{}}`}, who.told); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	s := demo.New(demo.Options{Version: "1.2.3"})
	for _, tt := range []struct {
		era           mcp.Era
		asked, answer mcp.Version
		want          string
	}{
		{mcp.Legacy, mcp.V20250618, mcp.V20250618, `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}`},
		{mcp.Legacy, "2099-01-01", mcp.LatestLegacy, `{"protocolVersion":"2025-11-25",`},
		{mcp.Modern, mcp.V20260728, mcp.V20260728, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}`},
		{mcp.Modern, mcp.V20251125, mcp.V20260728, `{"resultType":"complete","supportedVersions":["2026-07-28"],`},
	} {
		d, err := s.Describe(t.Context(), upstream.Caller{Era: tt.era, Version: tt.asked})
		if err != nil || d.Era != tt.era || d.Version != tt.answer || !strings.HasPrefix(string(d.Raw), tt.want) {
			t.Errorf("%s %s: %s %s %s, %v", tt.era, tt.asked, d.Era, d.Version, d.Raw, err)
		}
		if err := strictjson.Validate(d.Raw, strictjson.Default()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(d.Raw), `"version":"1.2.3"`) {
			t.Errorf("%s does not say its version", d.Raw)
		}
	}
}

// FuzzCall: whatever the params are, there is exactly one answer, it is
// strict JSON of a bounded size, it is the same for the same call, and it
// never asks without a question.
func FuzzCall(f *testing.F) {
	for _, s := range []string{
		`{"name":"count_words","arguments":{"text":"a b"}}`,
		`{"name":"convert_units","arguments":{"value":1e-7,"from":"mi","to":"km"}}`,
		`{"name":"ask_name"}`, `{"name":"slow_count","arguments":{"to":3}}`,
		`{"uri":"munjigi://demo/unit/km"}`, `{"name":"introduce_munjigi","arguments":{"reader":"auditor"}}`,
		`{"ref":{"type":"ref/prompt","name":"introduce_munjigi"},"argument":{"name":"reader","value":""}}`,
		`{"cursor":"x"}`, `{"name":"\ud83d\ude00","arguments":{"\u0000":[]}}`,
	} {
		f.Add(s, `{"name":{"action":"accept","content":{"name":"x"}}}`, uint8(0))
		f.Add(s, `{"name":[]}`, uint8(5))
	}
	methods := []string{mcp.MethodToolsCall, mcp.MethodToolsList, mcp.MethodResourcesRead, mcp.MethodPromptsGet, mcp.MethodComplete}
	f.Fuzz(func(t *testing.T, params, reply string, pick uint8) {
		limits := strictjson.Default()
		if strictjson.Validate([]byte(params), limits) != nil || strictjson.Validate([]byte(reply), limits) != nil {
			return
		}
		method := methods[int(pick)%len(methods)]
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // slow_count must not slow this down
		for _, e := range []mcp.Era{mcp.Legacy, mcp.Modern} {
			from := callerOf(e)
			from.Resume = &upstream.Resume{Responses: []byte(reply)}
			var before upstream.Answer
			for round := range 2 {
				a, err := demo.New(demo.Options{Version: "1"}).Call(ctx, cleared(t, method, params), from, &person{reply: reply})
				if errors.Is(err, context.Canceled) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if round == 1 {
					if diff := cmp.Diff(before, a); diff != "" {
						t.Fatalf("the same call had two answers\n%s", diff)
					}
				}
				before = a
				if (a.Error == nil) == (a.Result == nil) || a.Era != e {
					t.Fatalf("%+v", a)
				}
				out := a.Result
				if a.Error != nil {
					out = a.Error.Append(nil)
				}
				if err := strictjson.Validate(out, limits); err != nil || len(out) > 64<<10 {
					t.Fatalf("%d bytes, %v: %.200s", len(out), err, out)
				}
				if (a.Kind == mcp.ResultInputRequired) != (a.Requests != nil) || a.Kind == mcp.ResultInputRequired && e != mcp.Modern {
					t.Fatalf("%s: kind %q, requests %s", e, a.Kind, a.Requests)
				}
			}
		}
	})
}
