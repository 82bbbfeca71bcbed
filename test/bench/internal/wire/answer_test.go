package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func endpoint(modern bool) Endpoint {
	return Endpoint{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/mcp"}, Modern: modern, Session: "s-1", Headers: []string{`X: "id":1`}}
}

// TestCallOnTheWire reads the built bytes with net/http and encoding/json.
func TestCallOnTheWire(t *testing.T) {
	t.Parallel()
	for _, modern := range []bool{true, false} {
		for _, size := range []int{MinSize, 1024, 65536} {
			t.Run(fmt.Sprintf("modern=%v/%d", modern, size), func(t *testing.T) {
				t.Parallel()
				c, err := endpoint(modern).Call("echo", size)
				if err != nil {
					t.Fatal(err)
				}
				c.SetNumber(7_000_000_123)
				req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.Bytes())))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(req.Body)
				if err != nil || int64(len(body)) != req.ContentLength {
					t.Fatalf("%d bytes, %v; want %d", len(body), err, req.ContentLength)
				}
				var msg struct {
					ID     json.Number
					Method string
					Params struct {
						Name      string
						Arguments json.RawMessage
						Meta      map[string]any `json:"_meta"`
					}
				}
				if err := json.Unmarshal(body, &msg); err != nil {
					t.Fatal(err)
				}
				if msg.ID != "7000000123" || string(c.ID()) != "7000000123" || msg.Method != "tools/call" || msg.Params.Name != "echo" {
					t.Errorf("message is %+v", msg)
				}
				if len(msg.Params.Arguments) != size || !bytes.Equal(msg.Params.Arguments, c.Arguments()) {
					t.Errorf("arguments are %d bytes and Arguments() %d, want %d", len(msg.Params.Arguments), len(c.Arguments()), size)
				}
				if !bytes.HasPrefix(c.Arguments(), []byte(`{"nonce":"7000000123"`)) {
					t.Errorf("arguments begin %q", clip(c.Arguments()))
				}
				header := func(name, want string) {
					if got := req.Header.Get(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				if modern {
					header("Mcp-Protocol-Version", Modern)
					header("Mcp-Method", "tools/call")
					header("Mcp-Name", "echo")
					header("Mcp-Session-Id", "")
					if len(msg.Params.Meta) != 3 {
						t.Errorf("_meta is %v", msg.Params.Meta)
					}
				} else {
					header("Mcp-Protocol-Version", Legacy)
					header("Mcp-Session-Id", "s-1")
					header("Mcp-Method", "")
				}
			})
		}
	}
	if _, err := endpoint(true).Call("echo", MinSize-1); err == nil {
		t.Error("a call too small to be told from others was built")
	}
	line, err := LineCall(true, "echo", 1024)
	if err != nil || bytes.Count(line.Bytes(), []byte("\n")) != 1 || !json.Valid(line.Bytes()) {
		t.Errorf("a stdio call is one line of JSON, got %q, %v", line.Bytes(), err)
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://127.0.0.1:8080/mcp": "127.0.0.1:8080",
		"http://localhost/mcp?x=1":  "localhost:80",
		"https://127.0.0.1/mcp":     "",
		"127.0.0.1:80":              "",
		"http://":                   "",
	} {
		u, err := ParseEndpoint(in)
		if (err == nil) != (want != "") {
			t.Errorf("ParseEndpoint(%q): %v, want host %q", in, err, want)
		} else if err == nil && u.Host != want {
			t.Errorf("ParseEndpoint(%q) goes to %q, want %q", in, u.Host, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	c, err := endpoint(true).Call("echo", 1024)
	if err != nil {
		t.Fatal(err)
	}
	c.SetNumber(2_000_000_001)
	text := func(s string) string { return string(AppendQuoted(nil, []byte(s))) }
	right := text(string(c.Arguments()))
	answer := func(id, rest string) string { return `{"jsonrpc":"2.0","id":` + id + `,` + rest + `}` }
	result := func(text, more string) string {
		return `"result":{"resultType":"complete","content":[{"type":"text","text":` + text + `}]` + more + `}`
	}
	const id = "2000000001"
	other := strings.Replace(string(c.Arguments()), id, "2000000002", 1)
	tests := map[string]struct {
		message string
		ok      bool
	}{
		"right":                  {answer(id, result(right, "")), true},
		"other order":            {`{"result":{"_meta":{"content":1},"content":[{"text":` + right + `,"type":"text"}]},"id":` + id + `,"jsonrpc":"2.0"}`, true},
		"not an error":           {answer(id, result(right, `,"isError":false`)), true},
		"escaped otherwise":      {answer(id, result(strings.ReplaceAll(right, "t", `\u0074`), "")), true},
		"arguments spaced":       {answer(id, result(text(strings.ReplaceAll(string(c.Arguments()), `":"`, `": "`)), "")), true},
		"other id":               {answer("2000000002", result(right, "")), false},
		"id as a string":         {answer(`"`+id+`"`, result(right, "")), false},
		"no id":                  {`{"jsonrpc":"2.0",` + result(right, "") + `}`, false},
		"another call's payload": {answer(id, result(text(other), "")), false},
		"one letter changed":     {answer(id, result(strings.Replace(right, "team", "teem", 1), "")), false},
		"payload cut off":        {answer(id, result(text(string(c.Arguments()[:500])), "")), false},
		"more arguments":         {answer(id, result(text(`{"x":"y",`+string(c.Arguments()[1:])), "")), false},
		"null member for text":   {answer(id, result(text(`{"nonce":"`+id+`","other":""}`), "")), false},
		"empty text":             {answer(id, result(`""`, "")), false},
		"no text":                {answer(id, result(`null`, "")), false},
		"no content":             {answer(id, `"result":{"content":[]}`), false},
		"tool error":             {answer(id, result(right, `,"isError":true`)), false},
		"protocol error":         {answer(id, `"error":{"code":-32602,"message":"no"}`), false},
		"result and error":       {answer(id, result(right, "")+`,"error":{"code":1}`), false},
		"input required":         {answer(id, `"result":{"resultType":"input_required","inputRequests":{}}`), false},
		"nothing":                {``, false},
		"not JSON":               {`<html>`, false},
		"cut off":                {answer(id, result(right, ""))[:600], false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var k Checker
			for _, resp := range map[string]Response{
				"json":   {Body: []byte(tc.message)},
				"stream": {Stream: true, Body: []byte("event: message\ndata: " + tc.message + "\n\n")},
			} {
				message, err := resp.Message()
				if err == nil {
					err = k.Check(message, c)
				}
				if (err == nil) != tc.ok {
					t.Errorf("stream %v: %v, want right: %v", resp.Stream, err, tc.ok)
				}
			}
		})
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	const one = `{"id":1,"result":{}}`
	tests := map[string]struct{ in, want string }{
		"one event":              {"data: " + one + "\n\n", one},
		"no space":               {"data:" + one + "\n\n", one},
		"CR LF":                  {"id: 7\r\ndata: " + one + "\r\n\r\n", one},
		"no empty line":          {"data: " + one, one},
		"two lines":              {"data: {\"id\":1,\ndata: \"result\":{}}\n\n", "{\"id\":1,\n\"result\":{}}"},
		"comment and priming":    {": hi\n\nid: 1\nretry: 5\ndata:\n\ndata: " + one + "\n\n", one},
		"notification before":    {"data: {\"method\":\"x\",\"params\":{\"result\":1}}\n\ndata: " + one + "\n\n", one},
		"error is a response":    {"data: {\"id\":1,\"error\":{}}\n\n", `{"id":1,"error":{}}`},
		"two responses":          {"data: " + one + "\n\ndata: " + one + "\n\n", ""},
		"none":                   {": bye\n\n", ""},
		"empty":                  {"", ""},
		"event that is not JSON": {"data: x\n\n", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Response{Stream: true, Body: []byte(tc.in)}.Message()
			if (err != nil) != (tc.want == "") || string(got) != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// FuzzCheck holds that no bytes are taken for the answer unless encoding/json
// finds the call's ID and arguments in them too.
func FuzzCheck(f *testing.F) {
	c, err := LineCall(false, "echo", MinSize+3)
	if err != nil {
		f.Fatal(err)
	}
	quoted := string(AppendQuoted(nil, c.Arguments()))
	good := `{"jsonrpc":"2.0","id":1000000000,"result":{"content":[{"type":"text","text":` + quoted + `}]}}`
	f.Add([]byte(good), false)
	f.Add([]byte("data: "+good+"\n\n"), true)
	f.Add([]byte(strings.Replace(good, "The", "Thf", 1)), false)
	f.Fuzz(func(t *testing.T, in []byte, stream bool) {
		message, err := Response{Stream: stream, Body: in}.Message()
		if err != nil {
			return
		}
		var k Checker
		if k.Check(message, c) != nil || !json.Valid(message) || bytes.Contains(message, []byte(`\u`)) {
			return // names that are escaped hide from the checker, not from encoding/json
		}
		var msg, result, block map[string]json.RawMessage
		var content []json.RawMessage
		var text string
		read := func(raw []byte, into any) {
			if err := json.Unmarshal(raw, into); err != nil {
				t.Fatalf("taken for the answer: %q: %v", message, err)
			}
		}
		read(message, &msg)
		read(msg["result"], &result)
		read(result["content"], &content)
		read(content[0], &block)
		read(block["text"], &text)
		if string(msg["id"]) != "1000000000" || !sameArguments([]byte(text), c.Arguments()) {
			t.Fatalf("taken for the answer: %q", message)
		}
	})
}
