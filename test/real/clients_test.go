//go:build real

package real

//lint:file-ignore SA1019 deprecated parts of the protocol are tested as long as clients have them

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/munjigi/munjigi/test/real/kit"
)

// place is where a client finds a server: at a URL, or as a command.
type place struct {
	url     string
	command kit.Command
}

func at(url string) place { return place{url: url} }

func as(command ...string) place {
	return place{command: kit.Command{Name: command[0], Path: command[0], Args: command[1:], Env: os.Environ()}}
}

// answer is what a client brought back.
type answer struct {
	tools []string
	text  string   // of the tool's result
	asked []string // what the server asked meanwhile, as far as the client tells
}

// client is a real client: it lists the tools at a place and calls one.
type client struct {
	name string
	// era is which kind of client it is.
	era string
	run func(t *testing.T, p place, tool, arguments string) answer
	// only, when not empty, is "http" or "stdio".
	only string
}

func clients() []client {
	return []client{
		{name: "Go SDK, modern", era: "modern", run: goSDK(kit.ModernVersion)},
		{name: "Go SDK, legacy", era: "legacy", run: goSDK(kit.LegacyVersion)},
		{name: "TypeScript SDK, modern", era: "modern", run: script("modern.mjs")},
		{name: "TypeScript SDK, legacy", era: "legacy", run: script("legacy.mjs")},
		{name: "inspector", era: "legacy", run: inspector},
		{name: "mcp-remote", era: "legacy", run: remote, only: "http"},
	}
}

// goSDK is the official Go SDK's client, which answers what a server asks.
func goSDK(version string) func(t *testing.T, p place, tool, arguments string) answer {
	return func(t *testing.T, p place, tool, arguments string) answer {
		t.Helper()
		ctx := hurry(t)
		var got answer
		var mu sync.Mutex
		asked := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			got.asked = append(got.asked, what)
		}
		c := mcp.NewClient(&mcp.Implementation{Name: "go-sdk", Version: "1.0.0"}, &mcp.ClientOptions{
			CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
				asked("sampling")
				return &mcp.CreateMessageResult{Role: "assistant", Model: "test", Content: &mcp.TextContent{Text: "sampled words"}}, nil
			},
			ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				asked("elicitation")
				return &mcp.ElicitResult{Action: "accept", Content: filled(r.Params.RequestedSchema)}, nil
			},
		})
		c.AddRoots(&mcp.Root{URI: "file:///rooted", Name: "rooted"})
		var transport mcp.Transport
		if p.url != "" {
			transport = &mcp.StreamableClientTransport{Endpoint: p.url}
		} else {
			cmd := exec.Command(p.command.Path, p.command.Args...) // the transport ends it
			cmd.Env = p.command.Env
			cmd.Stderr = onFailure(t)
			transport = &mcp.CommandTransport{Command: cmd}
		}
		s, err := c.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}()
		if v := s.InitializeResult().ProtocolVersion; v != version {
			t.Errorf("negotiated %s, want %s", v, version)
		}
		for tool, err := range s.Tools(ctx, nil) {
			if err != nil {
				t.Fatal(err)
			}
			got.tools = append(got.tools, tool.Name)
		}
		r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: raw(arguments)})
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range r.Content {
			if text, ok := block.(*mcp.TextContent); ok {
				got.text += text.Text
			}
		}
		return got
	}
}

// onFailure keeps what a program writes, and shows it when the test fails.
func onFailure(t *testing.T) io.Writer {
	t.Helper()
	k := &keeper{}
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if t.Failed() {
			t.Logf("the command wrote:\n%s", k.b.Bytes())
		}
	})
	return k
}

type keeper struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (k *keeper) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(p)
}

// filled answers a form: true for a boolean, words for the rest.
func filled(schema any) map[string]any {
	var form struct {
		Properties map[string]struct {
			Type string `json:"type"`
		} `json:"properties"`
	}
	b, err := json.Marshal(schema)
	if err != nil || json.Unmarshal(b, &form) != nil {
		return nil
	}
	out := map[string]any{}
	for name, p := range form.Properties {
		out[name] = any("elicited " + name)
		if p.Type == "boolean" {
			out[name] = true
		}
	}
	return out
}

// nodeCommand runs a script of Node.js and returns its standard output.
func nodeCommand(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	tools := parts(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Node, args...)
	cmd.Env = append(append(os.Environ(), "PATH="+filepath.Dir(tools.Node)+string(os.PathListSeparator)+os.Getenv("PATH")), env...)
	cmd.WaitDelay = 5 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, errs.Bytes())
	}
	return out
}

// script is one of testdata's clients. It is put beside node_modules, where
// Node.js looks for what it imports.
func script(name string) func(t *testing.T, p place, tool, arguments string) answer {
	return func(t *testing.T, p place, tool, arguments string) answer {
		t.Helper()
		tools := parts(t)
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(filepath.Dir(tools.Modules), name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{file, "http", p.url}
		env := []string{"TOOL=" + tool, "ARGUMENTS=" + arguments}
		if p.url == "" {
			args = append([]string{file, "stdio", p.command.Path}, p.command.Args...)
			env = append(env, p.command.Env...)
		}
		out := nodeCommand(t, env, args...)
		var v struct {
			Tools  []string `json:"tools"`
			Asked  []string `json:"asked"`
			Result struct {
				Content []struct{ Text string } `json:"content"`
			} `json:"result"`
		}
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := answer{tools: v.Tools, asked: v.Asked}
		for _, c := range v.Result.Content {
			got.text += c.Text
		}
		return got
	}
}

// inspector is the MCP Inspector in its CLI mode. It takes only URLs that end
// in /mcp, and gives the word after the second -- to the server's command.
func inspector(t *testing.T, p place, tool, arguments string) answer {
	t.Helper()
	run := func(method ...string) []byte {
		args := []string{parts(t).Package("@modelcontextprotocol/inspector", "cli", "build", "cli.js"), "--cli"}
		if p.url != "" {
			return nodeCommand(t, nil, append(append(args, p.url, "--transport", "http"), method...)...)
		}
		args = append(append(args, p.command.Path), method...)
		args = append(args, "--")
		for _, word := range p.command.Args {
			if word == "--" {
				args = append(args, "--")
			}
			args = append(args, word)
		}
		return nodeCommand(t, p.command.Env, args...)
	}
	var list struct {
		Tools []struct{ Name string } `json:"tools"`
	}
	if out := run("--method", "tools/list"); json.Unmarshal(out, &list) != nil {
		t.Fatalf("not a list: %s", out)
	}
	var got answer
	for _, tool := range list.Tools {
		got.tools = append(got.tools, tool.Name)
	}
	call := []string{}
	var values map[string]any
	if err := json.Unmarshal(raw(arguments), &values); err != nil {
		t.Fatal(err)
	}
	for k, v := range values {
		call = append(call, "--tool-arg", fmt.Sprintf("%s=%v", k, v))
	}
	var result struct {
		Content []struct{ Text string } `json:"content"`
	}
	if out := run(append(call, "--tool-name", tool, "--method", "tools/call")...); json.Unmarshal(out, &result) != nil {
		t.Fatalf("not a result: %s", out)
	}
	for _, c := range result.Content {
		got.text += c.Text
	}
	return got
}

// remote is mcp-remote, which makes a remote server look like one over stdio.
func remote(t *testing.T, p place, tool, arguments string) answer {
	t.Helper()
	tools := parts(t)
	peer := overStdio(t, kit.Command{
		Name: "mcp-remote",
		Path: tools.Node,
		Args: []string{tools.Package("mcp-remote", "dist", "proxy.js"), p.url, "--transport", "http-only", "--allow-http"},
		Env:  append(os.Environ(), "MCP_REMOTE_CONFIG_DIR="+t.TempDir()),
	}, &kit.Peer{})
	return peerAnswer(t, peer, tool, arguments)
}

func peerAnswer(t *testing.T, p *kit.Peer, name, arguments string) answer {
	t.Helper()
	var list struct {
		Tools []struct{ Name string } `json:"tools"`
	}
	if err := json.Unmarshal(do(t, p, "tools/list", nil).Result, &list); err != nil {
		t.Fatal(err)
	}
	got := answer{text: tool(t, p, name, arguments, nil).Text()}
	for _, tool := range list.Tools {
		got.tools = append(got.tools, tool.Name)
	}
	return got
}

// TestClients has each real client list tools and call one: directly, to know
// that the client itself works, then through the gateway over HTTP to servers
// of both kinds, then over stdio through wrap.
func TestClients(t *testing.T) {
	tools := parts(t)
	check := func(t *testing.T, c client, p place) {
		t.Helper()
		got := c.run(t, p, "test_simple_text", `{}`)
		if !slices.Contains(got.tools, "test_simple_text") || !slices.Contains(got.tools, "test_image_content") {
			t.Errorf("tools: %v", got.tools)
		}
		if want := "This is a simple text response for testing."; got.text != want {
			t.Errorf("text %q, want %q", got.text, want)
		}
	}
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			t.Run("directly", func(t *testing.T) {
				check(t, c, at(everything(t, c.era == "modern")))
			})
			t.Run("to HTTP", func(t *testing.T) {
				g := gateway(t, map[string]kit.Server{"mcp": {URL: everything(t, c.era == "modern")}})
				check(t, c, at(g.URL("mcp")))
			})
			t.Run("to stdio", func(t *testing.T) {
				g := gateway(t, map[string]kit.Server{"mcp": {Command: []string{tools.Everything}}})
				check(t, c, at(g.URL("mcp")))
			})
			if c.only == "http" {
				return
			}
			t.Run("directly over stdio", func(t *testing.T) {
				check(t, c, as(tools.Fixture, "-era", c.era))
			})
			t.Run("wrap", func(t *testing.T) {
				check(t, c, place{command: wrap(t, tools.Fixture, "-era", "both")})
			})
		})
	}
	t.Run("wrap around mcp-remote", func(t *testing.T) {
		p := overStdio(t, wrap(t, "/usr/bin/env", "MCP_REMOTE_CONFIG_DIR="+t.TempDir(),
			tools.Node, tools.Package("mcp-remote", "dist", "proxy.js"), everything(t, false), "--transport", "http-only", "--allow-http"), &kit.Peer{})
		if got := peerAnswer(t, p, "test_simple_text", `{}`); !strings.HasPrefix(got.text, "This is a simple text") {
			t.Errorf("got %+v", got)
		}
	})
}

// TestMerged has the inspector use the endpoint of all servers.
func TestMerged(t *testing.T) {
	tools := parts(t)
	g := gateway(t, map[string]kit.Server{
		"one": {URL: everything(t, false), SameNames: true},
		"two": {Command: []string{tools.Fixture}, SameNames: true},
	})
	got := inspector(t, at("http://"+g.Addr+"/mcp"), "two__greet", `{"name":"merged"}`)
	if !slices.Contains(got.tools, "one__test_simple_text") || !slices.Contains(got.tools, "two__test_simple_text") {
		t.Errorf("tools: %v", got.tools)
	}
	if got.text != "Hello, merged!" {
		t.Errorf("text %q", got.text)
	}
}
