package bridge

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const callEcho = `{"name":"echo","arguments":{"a":1.0,"b":"ü"},"_meta":{"x/y":1,"progressToken":"evil","tracestate":"t","baggage":"b"},"unknown":[1]}`

func TestModernToModern(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true, handle: func(x *exchange) (string, *mcp.Error) {
		x.notify(mcp.NotifyProgress, `{"progressToken":`+x.token()+`,"progress":1.50}`)
		x.notify(mcp.NotifyMessage, `{"level":"debug","data":1}`)
		x.notify(mcp.NotifyMessage, `{"level":"error","data":1}`)
		return `{"resultType":"complete","content":[],"z":1e400,"_meta":{"k":1}}`, nil
	}}
	r := newRig(t, p, nil)
	from := modernCaller("a", everything)
	from.ProgressToken, from.LogLevel, from.TraceParent = []byte(`7`), "warning", "00-x"
	from.Headers = []upstream.Header{{Name: "Mcp-Param-A", Value: "1"}}
	c := &client{}
	a := r.must(from, c, mcp.MethodToolsCall, callEcho)
	if diff := cmp.Diff(`{"resultType":"complete","content":[],"z":1e400,"_meta":{"k":1}}`, string(a.Result)); diff != "" {
		t.Error(diff)
	}
	if a.Kind != mcp.ResultComplete || a.Era != mcp.Modern {
		t.Errorf("kind %q era %v", a.Kind, a.Era)
	}
	want := []string{`notifications/progress {"progressToken":7,"progress":1.50}`, `notifications/message {"level":"error","data":1}`}
	if diff := cmp.Diff(want, c.seen()); diff != "" {
		t.Error(diff)
	}
	sent := p.seen("0> tools/call")
	if len(sent) != 1 {
		t.Fatalf("sent %q", sent)
	}
	token := p.pipe(0)
	_ = token
	got := strings.TrimPrefix(sent[0], "0> tools/call ")
	o, _ := mcp.ObjectOf([]byte(got))
	meta, _ := o.Get("_meta")
	mo, _ := mcp.ObjectOf(meta)
	tok, _ := mo.Get("progressToken")
	if string(tok) == `"evil"` || string(tok) == "7" {
		t.Errorf("the client's token %s went upstream", tok)
	}
	want2 := `{"name":"echo","arguments":{"a":1.0,"b":"ü"},"_meta":{"x/y":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"2"},"io.modelcontextprotocol/clientCapabilities":` + everything + `,"io.modelcontextprotocol/logLevel":"warning","progressToken":` + string(tok) + `,"traceparent":"00-x"},"unknown":[1]}`
	if diff := cmp.Diff(want2, got); diff != "" {
		t.Error(diff)
	}
}

func TestModernToModernRounds(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true, handle: func(x *exchange) (string, *mcp.Error) {
		if x.params["requestState"] == nil {
			return `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"?"}}},"requestState":"s\u0041\n","extra":1}`, nil
		}
		return `{"resultType":"complete","content":[]}`, nil
	}}
	r := newRig(t, p, nil)
	from := modernCaller("a", everything)
	a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x","requestState":"forged","inputResponses":{"q":1}}`)
	want := upstream.Answer{Kind: mcp.ResultInputRequired, State: "sA\n", Era: mcp.Modern, Result: []byte(`{"extra":1}`),
		Requests: []byte(`{"k":{"method":"elicitation/create","params":{"message":"?"}}}`)}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Fatal(diff)
	}
	b := r.must(resumed(from, a, `{"k":{"action":"accept"}}`), &client{}, mcp.MethodToolsCall, `{"name":"x"}`)
	if b.Kind != mcp.ResultComplete {
		t.Fatalf("kind %q", b.Kind)
	}
	sent := p.seen("0> tools/call")
	if strings.Contains(sent[0], "forged") || strings.Contains(sent[0], "inputResponses") {
		t.Errorf("what no round gave went upstream: %s", sent[0])
	}
	if !strings.Contains(sent[1], `"inputResponses":{"k":{"action":"accept"}},"requestState":"sA\n"`) {
		t.Errorf("the retry lacks state or responses: %s", sent[1])
	}
}

func TestModernRefusedKinds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ method, caps, result string }{
		"unknown kind":         {mcp.MethodToolsCall, everything, `{"resultType":"later"}`},
		"kind is no text":      {mcp.MethodToolsCall, everything, `{"resultType":1}`},
		"input for a list":     {mcp.MethodToolsList, everything, `{"resultType":"input_required","requestState":"s"}`},
		"task not declared":    {mcp.MethodToolsCall, everything, `{"resultType":"task","taskId":"t"}`},
		"task for a prompt":    {mcp.MethodPromptsGet, `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`, `{"resultType":"task","taskId":"t"}`},
		"undeclared request":   {mcp.MethodToolsCall, `{}`, `{"resultType":"input_required","inputRequests":{"k":{"method":"sampling/createMessage","params":{}}}}`},
		"undeclared url":       {mcp.MethodToolsCall, `{"elicitation":{}}`, `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"url"}}}}`},
		"foreign request":      {mcp.MethodToolsCall, everything, `{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call"}}}`},
		"request is no object": {mcp.MethodToolsCall, everything, `{"resultType":"input_required","inputRequests":{"k":1}}`},
		"requests no object":   {mcp.MethodToolsCall, everything, `{"resultType":"input_required","inputRequests":[]}`},
		"neither":              {mcp.MethodToolsCall, everything, `{"resultType":"input_required"}`},
		"state no text":        {mcp.MethodToolsCall, everything, `{"resultType":"input_required","requestState":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, &peer{modern: true, handle: func(*exchange) (string, *mcp.Error) { return tc.result, nil }}, nil)
			_, err := r.do(t.Context(), modernCaller("a", tc.caps), &client{}, tc.method, `{"name":"x"}`)
			if !errors.Is(err, upstream.ErrViolation) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLegacyToLegacy(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.m.Method != mcp.MethodToolsCall {
				return "", nil
			}
			x.notify(mcp.NotifyProgress, `{"progressToken":`+x.token()+`,"progress":1}`)
			x.notify(mcp.NotifyMessage, `{"level":"debug","data":1}`)
			a := x.ask(mcp.MethodElicit, `{"message":"?","requestedSchema":{}}`)
			b := x.ask(mcp.MethodSampling, `{"messages":[]}`)
			x.ask(mcp.MethodPing, `{}`)
			return `{"content":[],"a":` + string(a.Result) + `,"b":` + string(b.Error.Append(nil)) + `}`, nil
		}}
		r := newRig(t, p, nil)
		from := legacyCaller("a", "s1", everything)
		from.ProgressToken = []byte(`"mine"`)
		c := &client{answer: func(_ context.Context, m string, _ []byte) (string, *mcp.Error, error) {
			if m == mcp.MethodSampling {
				return "", &mcp.Error{Code: -1, Message: "User rejected sampling request"}, nil
			}
			return `{"action":"accept","content":{}}`, nil, nil
		}}
		a := r.must(from, c, mcp.MethodToolsCall, `{"name":"x","task":{"ttl":1}}`)
		if diff := cmp.Diff(`{"content":[],"a":{"action":"accept","content":{}},"b":{"code":-1,"message":"User rejected sampling request"}}`, string(a.Result)); diff != "" {
			t.Error(diff)
		}
		want := []string{`notifications/progress {"progressToken":"mine","progress":1}`, `notifications/message {"level":"debug","data":1}`,
			`ask elicitation/create {"message":"?","requestedSchema":{}}`, `ask sampling/createMessage {"messages":[]}`}
		if diff := cmp.Diff(want, c.seen()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{`0> initialize {"protocolVersion":"2025-11-25","capabilities":` + everything + `,"clientInfo":{"name":"c","version":"2"}}`}, p.seen("0> initialize")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"0! notifications/initialized "}, p.seen("0! ")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUndeclaredIsNotAsked(t *testing.T) {
	t.Parallel()
	p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
		codes := ""
		for _, m := range []string{mcp.MethodSampling, mcp.MethodElicit, mcp.MethodRootsList, mcp.MethodTasksGet, "evil/method"} {
			a := x.ask(m, `{"mode":"url"}`)
			codes += " " + string(a.Error.Append(nil)[8:14])
		}
		return `{"codes":"` + codes + `"}`, nil
	}}
	for _, from := range []upstream.Caller{legacyCaller("a", "s", `{"elicitation":{}}`), modernCaller("a", `{"elicitation":{}}`)} {
		r := newRig(t, p, nil)
		c := &client{}
		a := r.must(from, c, mcp.MethodToolsCall, `{"name":"x"}`)
		if !strings.Contains(string(a.Result), `"codes":" -32601 -32601 -32601 -32601 -32601"`) {
			t.Errorf("%s", a.Result)
		}
		if len(c.seen()) != 0 {
			t.Errorf("the client was asked: %q", c.seen())
		}
		if got := r.violations(); len(got) != 5 {
			t.Errorf("violations %q", got)
		}
	}
}

func TestLegacyToModern(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testLegacyToModern)
}

func testLegacyToModern(t *testing.T) {
	p := &peer{modern: true, handle: func(x *exchange) (string, *mcp.Error) {
		switch {
		case x.m.Method == mcp.MethodToolsList:
			return `{"resultType":"complete","tools":[{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}}],"ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{},"k":1}}`, nil
		case x.params["requestState"] == nil:
			x.notify(mcp.NotifyMessage, `{"level":"info","data":1}`)
			return `{"resultType":"input_required","inputRequests":{"e":{"method":"elicitation/create","params":{"mode":"form","message":"?"}},"u":{"method":"elicitation/create","params":{"mode":"url","url":"https://x"}},"r":{"method":"roots/list"}},"requestState":"s1"}`, nil
		case x.params["requestState"] == "s1":
			return `{"resultType":"input_required","requestState":"s2"}`, nil
		}
		return `{"resultType":"complete","content":[],"structuredContent":[1],"ttlMs":"mine"}`, nil
	}}
	r := newRig(t, p, nil)
	from := legacyCaller("a", "s", `{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"tasks":{}}`)
	c := &client{answer: func(_ context.Context, m string, params []byte) (string, *mcp.Error, error) {
		if m == mcp.MethodRootsList {
			return `{"roots":[]}`, nil, nil
		}
		if mcp.ElicitMode(params) == "url" && !strings.Contains(string(params), `"elicitationId":"`) {
			t.Errorf("a URL elicitation lacks its ID: %s", params)
		}
		return `{"action":"accept"}`, nil, nil
	}}
	a := r.must(from, c, mcp.MethodToolsCall, `{"name":"x","task":{}}`)
	if diff := cmp.Diff(`{"content":[],"ttlMs":"mine"}`, string(a.Result)); diff != "" {
		t.Error(diff)
	}
	sent := p.seen("1> tools/call")
	if len(sent) != 3 {
		t.Fatalf("sent %q", p.seen(""))
	}
	if diff := cmp.Diff(`1> tools/call {"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"2"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}},"io.modelcontextprotocol/logLevel":"info"}}`, sent[0]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(sent[1], `"inputResponses":{"e":{"action":"accept"},"u":{"action":"accept"},"r":{"roots":[]}},"requestState":"s1"`) {
		t.Error(sent[1])
	}
	if !strings.Contains(sent[2], `"requestState":"s2"`) || strings.Contains(sent[2], "inputResponses") {
		t.Error(sent[2])
	}
	l := r.must(from, c, mcp.MethodToolsList, `{}`)
	if diff := cmp.Diff(`{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"name":"b","outputSchema":{"type":"object"}}],"_meta":{"k":1}}`, string(l.Result)); diff != "" {
		t.Error(diff)
	}
	for _, m := range []string{mcp.MethodPing, mcp.MethodSetLevel} {
		if a := r.must(from, c, m, `{"level":"debug"}`); string(a.Result) != "{}" {
			t.Errorf("%s: %s", m, a.Result)
		}
	}
}

func TestLegacyToModernRefusal(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true, handle: func(x *exchange) (string, *mcp.Error) {
		return `{"resultType":"input_required","inputRequests":{"s":{"method":"sampling/createMessage","params":{}}},"requestState":"again"}`, nil
	}}
	r := newRig(t, p, nil)
	no := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
		return "", &mcp.Error{Code: -1, Message: "no"}, nil
	}}
	a := r.must(legacyCaller("a", "s", everything), no, mcp.MethodToolsCall, `{"name":"x"}`)
	if a.Error == nil || a.Error.Code != -1 {
		t.Fatalf("%+v", a)
	}
	yes := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) { return `{}`, nil, nil }}
	if _, err := r.do(t.Context(), legacyCaller("a", "s", everything), yes, mcp.MethodToolsCall, `{"name":"x"}`); !errors.Is(err, upstream.ErrViolation) {
		t.Errorf("endless rounds: %v", err)
	}
	if n := len(yes.seen()); n != maxRounds+1 {
		t.Errorf("asked %d times", n)
	}
}

func TestModernToLegacy(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
				if x.m.Method != mcp.MethodToolsCall {
					return "", nil
				}
				x.notify(mcp.NotifyProgress, `{"progressToken":`+x.token()+`,"progress":1}`)
				x.notify(mcp.NotifyMessage, `{"level":"info","data":"low"}`)
				x.notify(mcp.NotifyMessage, `{"level":"error","data":"high"}`)
				got := make(chan upstream.Outgoing, 3)
				go func() {
					got <- x.ask(mcp.MethodElicit, `{"mode":"url","url":"https://x","elicitationId":"e","message":"m"}`)
				}()
				go func() { got <- x.ask(mcp.MethodRootsList, `{"_meta":{"progressToken":1}}`) }()
				a, b := <-got, <-got
				x.notify(mcp.NotifyProgress, `{"progressToken":`+x.token()+`,"progress":2}`)
				s := x.ask(mcp.MethodSampling, `{"messages":[]}`)
				return `{"resultType":"input_required","n":` + string(a.Result) + `,"m":` + string(b.Result) + `,"s":` + string(s.Result) + `}`, nil
			}}
			r := newRig(t, p, nil)
			from := modernCaller("a", everything)
			from.ProgressToken, from.LogLevel = []byte(`7`), "warning"
			c := &client{}
			params := `{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","k":1},"inputResponses":{},"requestState":"q"}`
			a := r.must(from, c, mcp.MethodToolsCall, params)
			if a.Kind != mcp.ResultInputRequired || !a.Suspended || len(a.State) != 22 {
				t.Fatalf("%+v", a)
			}
			reqs, err := mcp.ObjectOf(a.Requests)
			if err != nil || len(reqs) != 2 {
				t.Fatalf("%s", a.Requests)
			}
			answers := map[string]string{}
			for _, m := range reqs {
				switch string(m.Raw) {
				case `{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"m"}}`:
					answers[m.Name] = `{"resultType":"complete","action":"accept"}`
				case `{"method":"roots/list"}`:
					answers[m.Name] = `{"roots":[]}`
				default:
					t.Errorf("request %s", m.Raw)
				}
			}
			next := from
			next.ProgressToken = []byte(`8`)
			b := r.must(resumed(next, a, `{"r1":`+answers["r1"]+`,"r2":`+answers["r2"]+`}`), c, mcp.MethodToolsCall, `{"name":"x"}`)
			if b.Kind != mcp.ResultInputRequired || string(b.Requests) != `{"r3":{"method":"sampling/createMessage","params":{"messages":[]}}}` || b.State == a.State {
				t.Fatalf("%+v %s", b, b.Requests)
			}
			d := r.must(resumed(from, b, `{"r3":{"role":"assistant"}}`), c, mcp.MethodToolsCall, `{"name":"x"}`)
			if d.Kind != mcp.ResultComplete || d.Era != mcp.Legacy || !strings.HasPrefix(string(d.Result), `{"resultType":"complete","n":{`) || !strings.Contains(string(d.Result), `"s":{"role":"assistant"}`) {
				t.Fatalf("%+v %s", d, d.Result)
			}
			want := []string{`notifications/progress {"progressToken":7,"progress":1}`, `notifications/message {"level":"error","data":"high"}`,
				`notifications/progress {"progressToken":8,"progress":2}`}
			if diff := cmp.Diff(want, c.seen()); diff != "" {
				t.Error(diff)
			}
			if sent := p.seen(""); len(p.seen("0> logging/setLevel {\"level\":\"warning\"}"))+len(p.seen("1> logging/setLevel {\"level\":\"warning\"}")) != 1 {
				t.Errorf("level: %q", sent)
			}
		})
	}
}

func TestLegacyErrorsForModern(t *testing.T) {
	t.Parallel()
	var e *mcp.Error
	p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) { return "", e }}
	r := newRig(t, p, nil)
	from := modernCaller("a", everything)
	e = &mcp.Error{Code: mcp.CodeResourceNotFound, Message: "no", Data: []byte(`{"uri":"u"}`)}
	a := r.must(from, &client{}, mcp.MethodResourcesRead, `{"uri":"u"}`)
	if diff := cmp.Diff(&mcp.Error{Code: mcp.CodeInvalidParams, Message: "no", Data: []byte(`{"uri":"u"}`)}, a.Error); diff != "" {
		t.Error(diff)
	}
	e = &mcp.Error{Code: mcp.CodeURLElicitation, Message: "go", Data: []byte(`{"elicitations":[{"mode":"url","elicitationId":"i","url":"https://x","message":"m"}]}`)}
	a = r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`)
	if a.Kind != mcp.ResultInputRequired || a.State != "" || string(a.Requests) != `{"u1":{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"m"}}}` {
		t.Errorf("%+v %s", a, a.Requests)
	}
	no := r.must(resumed(from, a, `{"u1":{"action":"decline"}}`), &client{}, mcp.MethodToolsCall, `{"name":"x"}`)
	if no.Error == nil || len(p.seen("1> tools/call")) != 1 {
		t.Errorf("a declined step was tried again: %+v %q", no, p.seen(""))
	}
	e = nil
	if ok := r.must(resumed(from, a, `{"u1":{"action":"accept"}}`), &client{}, mcp.MethodToolsCall, `{"name":"x"}`); ok.Error != nil {
		t.Errorf("%+v", ok)
	}
	e = &mcp.Error{Code: mcp.CodeURLElicitation, Message: "go", Data: []byte(`{"elicitations":[{"mode":"url","url":"https://x"}]}`)}
	if a = r.must(modernCaller("b", `{}`), &client{}, mcp.MethodToolsCall, `{"name":"x"}`); a.Error == nil || a.Error.Code != mcp.CodeMissingCapability {
		t.Errorf("%+v", a)
	}
	e = &mcp.Error{Code: mcp.CodeMissingCapability, Message: "forged"}
	if a = r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`); a.Error.Code != mcp.CodeInternal {
		t.Errorf("%+v", a)
	}
}
