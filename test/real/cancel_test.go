//go:build real

package real

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/munjigi/munjigi/test/real/kit"
)

// TestCancelledCalls: a legacy client that cancels a call gets no answer to it,
// whether its stream had begun or not, and its session goes on.
func TestCancelledCalls(t *testing.T) {
	tools := parts(t)
	g := gateway(t, map[string]kit.Server{"mcp": {Command: []string{tools.Fixture, "-era", "legacy", "-odd"}}})
	const plain = "This is a simple text response for testing."
	t.Run("Go SDK", func(t *testing.T) {
		ctx := hurry(t)
		began := make(chan struct{}, 16)
		c := mcp.NewClient(&mcp.Implementation{Name: "cancel", Version: "1.0.0"}, &mcp.ClientOptions{
			ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { began <- struct{}{} },
		})
		s, err := c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: g.URL("mcp")}, &mcp.ClientSessionOptions{ProtocolVersion: kit.LegacyVersion})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for _, name := range []string{"odd_silent", "odd_slow"} {
			cctx, cancel := context.WithCancel(ctx)
			p := &mcp.CallToolParams{Name: name, Arguments: map[string]any{}}
			if name == "odd_slow" {
				p.Arguments = map[string]any{"ms": 600_000}
				p.SetProgressToken("p")
				go func() { <-began; cancel() }()
			} else {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			if r, err := s.CallTool(cctx, p); err == nil {
				t.Errorf("%s was answered: %+v", name, r)
			}
			cancel()
			r, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "test_simple_text", Arguments: map[string]any{}})
			if err != nil {
				t.Fatalf("after %s was cancelled: %v", name, err)
			}
			if text, ok := r.Content[0].(*mcp.TextContent); !ok || text.Text != plain {
				t.Errorf("after %s was cancelled: %+v", name, r)
			}
		}
	})
	t.Run("TypeScript SDK", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join("testdata", "cancel.mjs"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(filepath.Dir(tools.Modules), "cancel.mjs")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out := string(nodeCommand(t, nil, file, g.URL("mcp")))
		if want := "odd_silent cancelled " + plain + "\nodd_slow cancelled " + plain; strings.TrimSpace(out) != want {
			t.Errorf("got\n%s\nwant\n%s", out, want)
		}
	})
}
