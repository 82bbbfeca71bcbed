package bridge

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Whatever valid object a peer sends, each translation gives a valid object
// again, and a member that nobody knows keeps every byte.
func FuzzTranslations(f *testing.F) {
	for _, s := range []string{`{}`, `{"resultType":"task","ttlMs":1,"_meta":{"io.modelcontextprotocol/serverInfo":1}}`, `{"_meta":1}`,
		`{"tools":[{"outputSchema":{"type":"array"}},1,{"outputSchema":1}],"structuredContent":[1]}`, `{"\u0061":1e400,"b":"\ud83d\ude00"}`,
		`{"mode":"url","elicitationId":"x","task":{},"taskId":"t","ttl":1,"pollInterval":2,"status":"completed","result":{"isError":true}}`,
		`{"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{}},"tasks":{"requests":{"tools":{"call":{}}}}}`} {
		f.Add([]byte(s), []byte(`{"x": [1.0]}`))
	}
	f.Fuzz(func(t *testing.T, raw, extra []byte) {
		l := strictjson.Default()
		if strictjson.Validate(raw, l) != nil || strictjson.TypeOf(raw) != strictjson.TypeObject || strictjson.Validate(extra, l) != nil {
			return
		}
		extra = bytes.TrimSpace(extra)
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			t.Fatal(err)
		}
		const odd = "x-nobody-knows-this"
		raw = o.With(odd, extra).Append(nil)
		o = o.With(odd, extra)
		from := legacyCaller("a", "s", `{}`)
		for name, out := range map[string][]byte{
			"ResultForModern":    ResultForModern(raw),
			"ResultForLegacy":    ResultForLegacy(mcp.MethodToolsList, raw),
			"ResultForLegacyC":   ResultForLegacy(mcp.MethodToolsCall, raw),
			"ResponseForLegacy":  ResponseForLegacy(raw),
			"AskForLegacy":       AskForLegacy(mcp.MethodElicit, raw, mcp.V20250618),
			"TaskForModern":      TaskForModern(o, "id").Append(nil),
			"TaskForLegacy":      TaskForLegacy(o).Append(nil),
			"ServerCapabilities": ServerCapabilities(mcp.Modern, mcp.Legacy, raw),
			"ServerCapabilitieL": ServerCapabilities(mcp.Legacy, mcp.Modern, raw),
			"modernParams":       modernParams(o, from, mcp.V20260728, modernMeta{caps: []byte(`{}`), level: "info", token: "1"}),
			"legacyParams":       legacyParams(raw, from, `"t"`),
			"offerTasks":         offerTasks(raw),
			"relateResult":       relateResult(raw, "id"),
		} {
			if err := strictjson.Validate(out, l); err != nil && len(out) < l.Bytes {
				if e, ok := err.(*strictjson.Error); !ok || e.Kind != strictjson.KindDepth && e.Kind != strictjson.KindMembers && e.Kind != strictjson.KindSize {
					t.Fatalf("%s: %v: %s", name, err, out)
				}
				continue
			}
			oo, err := strictjson.SplitObject(out)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, _ := oo.Get(odd); !bytes.Equal(got, extra) {
				t.Errorf("%s: %s became %s", name, extra, got)
			}
		}
		in := InputRequest(mcp.MethodElicit, raw)
		if err := strictjson.Validate(in, strictjson.Limits{Bytes: 1 << 26, Depth: 1000, Members: 1 << 20}); err != nil {
			t.Fatalf("InputRequest: %v: %s", err, in)
		}
	})
}

func TestInputRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ method, params, want string }{
		{mcp.MethodRootsList, ``, `{"method":"roots/list"}`},
		{mcp.MethodRootsList, `{"_meta":{"progressToken":1}}`, `{"method":"roots/list"}`},
		{mcp.MethodSampling, `{}`, `{"method":"sampling/createMessage","params":{}}`},
		{mcp.MethodSampling, `{"messages":[],"task":{"ttl":1},"_meta":{"k":1,"io.modelcontextprotocol/related-task":{}}}`, `{"method":"sampling/createMessage","params":{"messages":[],"_meta":{"k":1}}}`},
		{mcp.MethodElicit, `{"mode":"url","elicitationId":"e","url":"u"}`, `{"method":"elicitation/create","params":{"mode":"url","url":"u"}}`},
		{mcp.MethodElicit, `{"mode":"form","elicitationId":"mine"}`, `{"method":"elicitation/create","params":{"mode":"form","elicitationId":"mine"}}`},
	} {
		var params []byte
		if tc.params != "" {
			params = []byte(tc.params)
		}
		if diff := cmp.Diff(tc.want, string(InputRequest(tc.method, params))); diff != "" {
			t.Error(diff)
		}
	}
	if got := string(AskForLegacy(mcp.MethodElicit, []byte(`{"mode":"form","message":"m"}`), mcp.V20250618)); got != `{"message":"m"}` {
		t.Error(got)
	}
	if got := string(AskForLegacy(mcp.MethodElicit, []byte(`{"mode":"form","message":"m"}`), mcp.V20251125)); got != `{"mode":"form","message":"m"}` {
		t.Error(got)
	}
}

func TestMissingResource(t *testing.T) {
	t.Parallel()
	const asked = `{"uri":"file:///none"}`
	for _, tt := range []struct {
		method, data string
		code, want   int
	}{
		{mcp.MethodResourcesRead, `{"uri":"file:///none"}`, mcp.CodeInvalidParams, mcp.CodeResourceNotFound},
		{mcp.MethodResourcesRead, `{"uri":"file:\/\/\/none","x":1}`, mcp.CodeInvalidParams, mcp.CodeResourceNotFound},
		{mcp.MethodResourcesRead, `{"uri":"file:///other"}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{mcp.MethodResourcesRead, `{"uri":7}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{mcp.MethodResourcesRead, `"file:///none"`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{mcp.MethodResourcesRead, ``, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
		{mcp.MethodResourcesRead, `{"uri":"file:///none"}`, mcp.CodeInternal, mcp.CodeInternal},
		{mcp.MethodComplete, `{"uri":"file:///none"}`, mcp.CodeInvalidParams, mcp.CodeInvalidParams},
	} {
		e := &mcp.Error{Code: tt.code, Message: "m"}
		if tt.data != "" {
			e.Data = []byte(tt.data)
		}
		got := missingResource(tt.method, []byte(asked), e)
		if got.Code != tt.want || got.Message != "m" || string(got.Data) != tt.data {
			t.Errorf("%s %s: %+v", tt.method, tt.data, got)
		}
	}
}
