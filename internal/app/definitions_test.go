package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/pins"
)

// unheld lets a config of a test serve definitions that nobody approved, also
// where its servers have tools of the same names: what is held has tests of its
// own.
func unheld(cfg *config.Config) {
	if cfg.Definitions.FirstSight == "" {
		cfg.Definitions.FirstSight = config.FirstSightClean
	}
	for i := range cfg.Servers {
		cfg.Servers[i].InsecureSameNames = true
	}
}

// screen is the gateway's terminal.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestDefinitionsAreApprovedByCode walks what a newcomer sees: the demo's
// poisoned tool is held, and only the code of the gateway's terminal serves it.
func TestDefinitionsAreApprovedByCode(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "munjigi") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg, err := config.Default(func(string) string { return dir })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data = filepath.Join(dir, "d")
	term := &screen{}
	none := func(string) string { return "" }
	a, err := app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: none, Terminal: term})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- a.ServeControl(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := a.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	ask := func(op string, args, out any) error {
		for {
			err := control.Call(ctx, app.ControlPath(cfg.Data), op, args, out)
			if err == nil || !strings.Contains(err.Error(), "no gateway runs") || ctx.Err() != nil {
				return err
			}
			<-time.After(time.Millisecond)
		}
	}
	list := func() string {
		var in strings.Builder
		in.WriteString(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}` + "\n")
		var out bytes.Buffer
		if err := a.ServeStdio(ctx, demo.Name, strings.NewReader(in.String()), &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := list(); !strings.Contains(got, `"count_words"`) || strings.Contains(got, demo.PoisonedTool) {
		t.Fatalf("the demo's list: %s", got)
	}
	var held []pins.Difference
	if err := ask(app.OpToolsDiff, app.ToolsArg{Server: demo.Name}, &held); err != nil {
		t.Fatal(err)
	}
	if len(held) != 1 || held[0].Hold.Name != demo.PoisonedTool || len(held[0].Hold.Findings) == 0 {
		t.Fatalf("%+v", held)
	}
	h := held[0].Hold
	want := app.ToolsAsk{Do: app.DoApprove, Choices: []pins.Choice{{Server: h.Server, Kind: h.Kind, Name: h.Name, Digest: h.Digest}}}
	var asked app.ToolsAsked
	if err := ask(app.OpToolsAsk, want, &asked); err != nil {
		t.Fatal(err)
	}
	if err := ask(app.OpToolsDecide, app.ToolsCode{ID: asked.ID, Code: "AAAA-AAAA"}, nil); err == nil {
		t.Error("a guessed code approves")
	}
	if strings.Contains(list(), demo.PoisonedTool) {
		t.Fatal("it is served without the code")
	}
	code := regexp.MustCompile(`[A-Z0-9]{4}-[A-Z0-9]{4}`).FindString(term.text())
	if code == "" || !strings.Contains(term.text(), "demo/"+demo.PoisonedTool) {
		t.Fatalf("the terminal shows %q", term.text())
	}
	raw, _ := json.Marshal(asked)
	if strings.Contains(string(raw), code) {
		t.Error("whoever asks is told the code")
	}
	if err := ask(app.OpToolsDecide, app.ToolsCode{ID: asked.ID, Code: code}, nil); err != nil {
		t.Fatal(err)
	}
	if got := list(); !strings.Contains(got, demo.PoisonedTool) {
		t.Errorf("what was approved is not served: %s", got)
	}
	if err := ask(app.OpToolsDecide, app.ToolsCode{ID: asked.ID, Code: code}, nil); err == nil {
		t.Error("a code serves twice")
	}
}
