package kit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/test/fixture/server"
)

func fixtureURL(t *testing.T, era server.Era) string {
	t.Helper()
	s, err := server.New(server.Options{Era: era, Odd: true})
	if err != nil {
		t.Fatal(err)
	}
	url, stop, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return url
}

func dialed(t *testing.T, url string, p *Peer) *Peer {
	t.Helper()
	p = DialHTTP(url, p, nil)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeerKeepsBytes(t *testing.T) {
	t.Parallel()
	const odd = `{"n":1.0,"e":1E+2,"big":12345678901234567890,"u":"\u00e9 <&>"}`
	for _, era := range []server.Era{server.Modern, server.Legacy} {
		t.Run(string(era), func(t *testing.T) {
			t.Parallel()
			p := dialed(t, fixtureURL(t, era), &Peer{Modern: era == server.Modern})
			r, err := p.Call(t.Context(), "odd_echo", odd, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(r.Members()["structuredContent"]); got != odd {
				t.Errorf("got %s, want %s", got, odd)
			}
			r, err = p.Call(t.Context(), "odd_bytes", `{}`, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(r.Members()["x-unknown"]), `{ "spaced" : [ 1 , 2 ] }`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if r, err = p.Do(t.Context(), "no/such", nil); err != nil || r.Code() != -32601 {
				t.Errorf("an unknown method: %+v, %v", r, err)
			}
		})
	}
}

func TestPeerAnswersAndHears(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, what)
	}
	p := dialed(t, fixtureURL(t, server.Legacy), &Peer{
		Capabilities: Everything,
		OnNote:       func(method string, _ json.RawMessage) { note(method) },
		Answer: func(method string, _ json.RawMessage) string {
			note(method)
			return `{"action":"accept","content":{"username":"ada"}}`
		},
	})
	r, err := p.Call(t.Context(), "test_elicitation", `{"message":"who?"}`, nil)
	if err != nil || !strings.Contains(r.Text(), "ada") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := p.Call(t.Context(), "test_tool_with_progress", `{}`, Params{"_meta": map[string]any{"progressToken": 1}}); err != nil {
		t.Error(err)
	}
	want := []string{"elicitation/create", "notifications/progress", "notifications/progress", "notifications/progress"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	const stream = ": comment\n\nid: 1\ndata: \n\n" +
		"data: {\"method\":\"n\"}\n\n" +
		"data: {\"id\":7,\"method\":\"ask\"}\n\n" +
		"event: message\ndata:{\"id\":7,\ndata: \"result\":{}}\n\n"
	var others []string
	got, err := readEvents(strings.NewReader(stream), "7", func(b []byte) { others = append(others, string(b)) })
	if err != nil || string(got) != "{\"id\":7,\n\"result\":{}}" {
		t.Errorf("%q, %v", got, err)
	}
	if diff := cmp.Diff([]string{`{"method":"n"}`, `{"id":7,"method":"ask"}`}, others); diff != "" {
		t.Error(diff)
	}
	if _, err := readEvents(strings.NewReader("data: {\"id\":8}\n\n"), "7", nil); err == nil {
		t.Error("a stream that was cut off")
	}
}

func TestHeaderValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"us-west1":           "us-west1",
		" padded ":           "=?base64?IHBhZGRlZCA=?=",
		"é":                  "=?base64?w6k=?=",
		"=?base64?literal?=": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
	} {
		if got := headerValue(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := NewConfig(dir, map[string]Server{"x": {Command: []string{"a", "-b c"}}, "y": {URL: "http://127.0.0.1:1/mcp", Era: "legacy"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "c.yaml")
	if err := c.Write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := yaml.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	asks := []any{"sampling", "elicitation", "roots"}
	want := map[string]any{
		"listen":   c.Listen,
		"data":     filepath.Join(dir, "data"),
		"identity": map[string]any{"insecure_anonymous": true},
		"servers": map[string]any{
			"x": map[string]any{"command": []any{"a", "-b c"}, "insecure_unsandboxed": true, "may_ask": asks},
			"y": map[string]any{"url": "http://127.0.0.1:1/mcp", "era": "legacy", "may_ask": asks},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
