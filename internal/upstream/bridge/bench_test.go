package bridge

import (
	"context"
	"testing"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// echo answers every request at once and costs nothing.
type echo struct{}

func (echo) Dial(context.Context, upstream.DialOptions) (upstream.Transport, error) {
	return echo{}, nil
}

func (echo) Exchange(_ context.Context, m upstream.Outgoing, _ upstream.Handler) (mcp.Message, error) {
	switch m.Method {
	case mcp.MethodInitialize:
		return mcp.Message{Kind: mcp.Result, Result: []byte(`{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}`)}, nil
	case mcp.MethodDiscover:
		return mcp.Message{Kind: mcp.Result, Result: []byte(`{"supportedVersions":["2026-07-28"],"capabilities":{}}`)}, nil
	}
	return mcp.Message{Kind: mcp.Result, Result: []byte(`{"resultType":"complete","content":[{"type":"text","text":"ok"}]}`)}, nil
}

func (echo) Send(context.Context, upstream.Outgoing) error { return nil }

func (echo) Listen(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (echo) Close() error { return nil }

// BenchmarkCall measures what one call costs in each pair, clearance included.
func BenchmarkCall(b *testing.B) {
	for _, server := range []EraSetting{EraModern, EraLegacy} {
		for _, from := range []upstream.Caller{modernCaller("a", `{}`), legacyCaller("a", "s", `{}`)} {
			name := from.Era.String() + " to " + map[EraSetting]string{EraModern: "modern", EraLegacy: "legacy"}[server]
			b.Run(name, func(b *testing.B) {
				s, err := New(Config{Name: "srv", Era: server, Kind: HTTP}, echo{})
				if err != nil {
					b.Fatal(err)
				}
				r := &rig{Server: s}
				c := &client{}
				b.ReportAllocs()
				for b.Loop() {
					cl := r.clear(from, mcp.MethodToolsCall, "echo", `{"name":"echo","arguments":{"a":1},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{}}}`)
					if _, err := r.Call(b.Context(), cl, from, c); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if err := s.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
