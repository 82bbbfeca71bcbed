package mcp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	good := []struct {
		in   string
		kind mcp.Kind
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, mcp.Request},
		{` {"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"}} `, mcp.Request},
		{`{"jsonrpc":"2.0","method":"notifications/cancelled"}`, mcp.Notification},
		{`{"jsonrpc":"2.0","id":-7,"result":{}}`, mcp.Result},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`, mcp.ErrorReply},
		{`{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}`, mcp.ErrorReply},
	}
	for _, tt := range good {
		m, err := mcp.Decode([]byte(tt.in), strictjson.Default())
		if err != nil || m.Kind != tt.kind {
			t.Errorf("%s: %v %v", tt.in, m.Kind, err)
		}
	}
	bad := map[string]int{
		``:     mcp.CodeParse,
		`null`: mcp.CodeInvalidRequest,
		`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`:                           mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping"}{}`:                           mcp.CodeParse,
		`{"jsonrpc":"1.0","id":1,"method":"ping"}`:                             mcp.CodeInvalidRequest,
		`{"id":1,"method":"ping"}`:                                             mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`:                          mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1.0,"method":"ping"}`:                           mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1e3,"method":"ping"}`:                           mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`:                            mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","method":"ping"}`:                                    mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`:        mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`:                 mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`:               mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`:                 mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`:                      mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"result":1}`:                                  mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","result":{}}`:                                        mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1}`:                                             mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`:       mcp.CodeInvalidRequest,
		`{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"x"}`:           mcp.CodeParse,
		`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 200) + `"}`: mcp.CodeInvalidRequest,
	}
	for in, code := range bad {
		_, err := mcp.Decode([]byte(in), strictjson.Default())
		var de *mcp.DecodeError
		if !errors.As(err, &de) || de.Code != code {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzDecode: what is accepted reads the same for a lenient parser, and
// writing it again gives a message that reads the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":1.50}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"\u0061","result":{"x":[1,2]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mcp.Decode(b, strictjson.Default())
		if err != nil {
			return
		}
		var lenient struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
			Result json.RawMessage
		}
		if err := json.Unmarshal(b, &lenient); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if lenient.Method != m.Method || !bytes.Equal(lenient.Params, m.Params) || !bytes.Equal(lenient.Result, m.Result) || !m.ID.IsZero() && string(lenient.ID) != m.ID.Raw() {
			t.Fatalf("two readers differ: %+v %+v", lenient, m)
		}
		var again []byte
		switch m.Kind {
		case mcp.Request:
			again = mcp.AppendRequest(nil, m.ID, m.Method, m.Params)
		case mcp.Notification:
			again = mcp.AppendNotification(nil, m.Method, m.Params)
		case mcp.Result:
			again = mcp.AppendResult(nil, m.ID, m.Result)
		default:
			return
		}
		n, err := mcp.Decode(again, strictjson.Default())
		if err != nil || n.Kind != m.Kind || n.ID != m.ID || n.Method != m.Method || !bytes.Equal(n.Params, m.Params) || !bytes.Equal(n.Result, m.Result) {
			t.Fatalf("%s\n%s: %v", b, again, err)
		}
	})
}

// The examples are the specification's ("Encoding examples").
func TestHeaderValues(t *testing.T) {
	t.Parallel()
	for plain, encoded := range map[string]string{
		"us-west1":           "us-west1",
		"Hello, 世界":          "=?base64?SGVsbG8sIOS4lueVjA==?=",
		" padded ":           "=?base64?IHBhZGRlZCA=?=",
		"line1\nline2":       "=?base64?bGluZTEKbGluZTI=?=",
		"=?base64?literal?=": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"=?base64?no suffix": "=?base64?no suffix",
		"no prefix?=":        "no prefix?=",
		"tab\tinside":        "tab\tinside",
		"":                   "",
	} {
		if got := mcp.EncodeHeaderValue(plain); got != encoded {
			t.Errorf("%q: %q", plain, got)
		}
		if got, err := mcp.DecodeHeaderValue(encoded); err != nil || got != plain {
			t.Errorf("%q: %q %v", encoded, got, err)
		}
	}
	for _, bad := range []string{"=?base64?SGVsbG8?=", "=?base64?SGVs!!!?=", "a\rb", "a\x00b", "é", "=?base64?//79?=", "=?base64?SGVsbG8=\n?="} {
		if got, err := mcp.DecodeHeaderValue(bad); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func FuzzHeaderValue(f *testing.F) {
	f.Add("a")
	f.Add("=?base64??=")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		enc := mcp.EncodeHeaderValue(s)
		for i := range len(enc) {
			if c := enc[i]; c != '\t' && (c < 0x20 || c > 0x7e) {
				t.Fatalf("%q is not a header value", enc)
			}
		}
		if got, err := mcp.DecodeHeaderValue(enc); err != nil || got != s {
			t.Fatalf("%q: %q %v", s, got, err)
		}
	})
}

func TestParamHeaders(t *testing.T) {
	t.Parallel()
	schema := `{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},
		"o":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"Count"}}},
		"b":{"type":"boolean","x-mcp-header":"Flag"}}}`
	hs, err := mcp.ParamHeaders([]byte(schema))
	if err != nil || len(hs) != 3 {
		t.Fatalf("%v %v", hs, err)
	}
	tests := []struct {
		args string
		want []string // name=value, in order
		bad  bool
	}{
		{`{"region":"eu","o":{"n":42.0},"b":true}`, []string{"Mcp-Param-Region=eu", "Mcp-Param-Count=42", "Mcp-Param-Flag=true"}, false},
		{`{"region":null,"o":{}}`, nil, false},
		{`{"o":5}`, nil, false},
		{`{}`, nil, false},
		{`{"region":5}`, nil, true},
		{`{"o":{"n":1.5}}`, nil, true},
		{`{"o":{"n":9007199254740992}}`, nil, true},
		{`{"o":{"n":1e999999999}}`, nil, true},
	}
	for _, tt := range tests {
		var got []string
		var failed bool
		for _, h := range hs {
			v, ok, err := h.Value([]byte(tt.args))
			failed = failed || err != nil
			if ok && err == nil {
				got = append(got, h.Name+"="+v)
			}
		}
		if failed != tt.bad || !tt.bad && !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v %v", tt.args, got, failed)
		}
	}
	for name, s := range map[string]string{
		"number":       `{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`,
		"object":       `{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}`,
		"no type":      `{"properties":{"a":{"x-mcp-header":"A"}}}`,
		"empty":        `{"properties":{"a":{"type":"string","x-mcp-header":""}}}`,
		"not a token":  `{"properties":{"a":{"type":"string","x-mcp-header":"A B"}}}`,
		"line break":   `{"properties":{"a":{"type":"string","x-mcp-header":"A\r\nX: y"}}}`,
		"twice":        `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`,
		"in items":     `{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}`,
		"in oneOf":     `{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}`,
		"in $defs":     `{"$defs":{"d":{"type":"string","x-mcp-header":"A"}}}`,
		"at the root":  `{"type":"string","x-mcp-header":"A"}`,
		"not a string": `{"properties":{"a":{"type":"string","x-mcp-header":5}}}`,
	} {
		if hs, err := mcp.ParamHeaders([]byte(s)); err == nil {
			t.Errorf("%s: %v", name, hs)
		}
	}
	// A property may be called x-mcp-header; a default may hold anything.
	for _, s := range []string{`{"properties":{"a":{"type":"object","default":{"x-mcp-header":"A"}}}}`} {
		if _, err := mcp.ParamHeaders([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestRoutesRefuseWhatTheEraDoesNotHave(t *testing.T) {
	t.Parallel()
	for method, eras := range map[string][]mcp.Era{
		"initialize": {mcp.Legacy}, "ping": {mcp.Legacy}, "logging/setLevel": {mcp.Legacy},
		"resources/subscribe": {mcp.Legacy}, "tasks/result": {mcp.Legacy}, "tasks/list": {mcp.Legacy},
		"server/discover": {mcp.Modern}, "subscriptions/listen": {mcp.Modern}, "tasks/update": {mcp.Modern},
		"tools/call": {mcp.Legacy, mcp.Modern}, "tasks/get": {mcp.Legacy, mcp.Modern},
		"tools/eat": nil, "": nil, "TOOLS/LIST": nil, "sampling/createMessage": nil,
	} {
		for _, e := range []mcp.Era{mcp.Legacy, mcp.Modern, 0} {
			if _, ok := mcp.RouteOf(e, method); ok != slices.Contains(eras, e) {
				t.Errorf("%s in %v: %v", method, e, ok)
			}
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	if got := mcp.Supported(mcp.V20251125); !slices.Equal(got, []mcp.Version{mcp.V20260728, mcp.V20251125}) {
		t.Errorf("%v", got)
	}
	if mcp.Known("2024-11-05", mcp.V20250326) || mcp.Known("2025-03-26", mcp.DefaultFloor) || mcp.Known("", "") {
		t.Error("an unknown version is known")
	}
}

func TestReadMeta(t *testing.T) {
	t.Parallel()
	read := func(meta string) (mcp.Meta, error) {
		o, err := strictjson.SplitObject([]byte(`{"_meta":` + meta + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return mcp.ReadMeta(o)
	}
	m, err := read(`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"progressToken":"p","io.modelcontextprotocol/logLevel":"info"}`)
	if err != nil || m.Version != mcp.V20260728 || !m.Capabilities.Form || m.Capabilities.URL || !m.Capabilities.Sampling || !m.Capabilities.Tasks || m.LogLevel != "info" || string(m.ProgressToken) != `"p"` {
		t.Errorf("%+v %v", m, err)
	}
	for _, bad := range []string{
		`{}`, `5`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`,
		`{"io.modelcontextprotocol/clientCapabilities":{}}`,
		`{"io.modelcontextprotocol/protocolVersion":5,"io.modelcontextprotocol/clientCapabilities":{}}`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":true}}`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"loud"}`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1.5}`,
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/ProtocolVersion":"2025-11-25"}`,
	} {
		if _, err := read(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
