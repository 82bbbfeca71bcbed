package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/pins"
)

// reply is standard input that answers with the code that the gateway's
// terminal shows.
type reply struct {
	screen *bytes.Buffer
	asked  bool
}

func (r *reply) Read(p []byte) (int, error) {
	if r.asked {
		return 0, os.ErrClosed
	}
	r.asked = true
	return copy(p, regexp.MustCompile(`[A-Z0-9]{4}-[A-Z0-9]{4}`).FindString(r.screen.String())+"\n"), nil
}

// TestToolsOnTheDemo walks the commands over a gateway that runs: what is held
// is shown, approved by the code, exported, taken back and imported.
func TestToolsOnTheDemo(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "munjigi") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := newWorld(t, "", false)
	cfg, err := config.Default(func(string) string { return dir })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data = filepath.Join(dir, "d")
	var screen bytes.Buffer
	a, err := app.Open(t.Context(), cfg, app.Options{Version: "test", Getenv: w.getenv, Terminal: &screen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(t.Context()) })
	listed := func() string {
		var out bytes.Buffer
		const ask = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
		if err := a.ServeStdio(t.Context(), demo.Name, strings.NewReader(ask+"\n"), &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if strings.Contains(listed(), demo.PoisonedTool) {
		t.Fatal("the poisoned tool is listed")
	}
	go func() { _ = a.ServeControl(t.Context()) }()
	command := func(want int, args ...string) string {
		t.Helper()
		for {
			w.out.Reset()
			w.err.Reset()
			w.stdin = &reply{screen: &screen}
			code := w.run(t, append([]string{"tools", "-data", cfg.Data}, args...)...)
			if code == exitFailed && strings.Contains(w.err.String(), "no gateway runs") {
				continue // it is not there yet
			}
			if code != want {
				t.Fatalf("%v: %d, want %d\n%s%s", args, code, want, w.out.String(), w.err.String())
			}
			return w.out.String()
		}
	}
	if got := command(exitDone, "list", "-only", "held"); !strings.Contains(got, demo.PoisonedTool) || strings.Contains(got, "count_words") {
		t.Error(got)
	}
	if got := command(exitRefused, "diff", "demo"); !strings.Contains(got, "reads-secrets") || !strings.Contains(got, "~/.ssh/id_rsa") {
		t.Error(got)
	}
	command(exitRefused, "approve", "demo", "no_such_tool")
	if got := command(exitDone, "approve", "demo", demo.PoisonedTool); !strings.Contains(got, "done for 1") {
		t.Error(got)
	}
	if !strings.Contains(listed(), demo.PoisonedTool) {
		t.Error("what was approved is not listed")
	}
	file := filepath.Join(dir, "approvals.json")
	exported := command(exitDone, "export")
	if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	var f pins.File
	if err := json.Unmarshal([]byte(exported), &f); err != nil || len(f.Pins) < 7 {
		t.Fatalf("%d pins, %v", len(f.Pins), err)
	}
	screen.Reset()
	command(exitDone, "withdraw", "demo", demo.PoisonedTool)
	if strings.Contains(listed(), demo.PoisonedTool) {
		t.Error("what was withdrawn is listed")
	}
	screen.Reset()
	command(exitDone, "import", file)
	if !strings.Contains(listed(), demo.PoisonedTool) {
		t.Error("what was imported is not listed")
	}
	command(exitWrongUse, "approve")
}

// TestADifferenceIsShownWhole: text of a server cannot hide in what a person
// decides by.
func TestADifferenceIsShownWhole(t *testing.T) {
	t.Parallel()
	before, after := `{"description":"Adds two numbers.","name":"t"}`, `{"description":"Adds three\u202e numbers.","name":"t"}`
	var b bytes.Buffer
	showDifference(&b, pins.Difference{Hold: pins.Hold{Server: "s", Kind: "tool", Name: "t\x1b[2J", Raw: json.RawMessage(after), Reason: "definition-changed",
		Findings: []pins.Finding{{By: "x", Reason: "hidden-characters", Path: "/description", Text: "three\u202e"}}}, Approved: json.RawMessage(before), Changes: pins.Diff([]byte(before), []byte(after))})
	want := "s tool t\\u{1b}[2J, held: definition-changed\n  ! hidden-characters at /description: three\\u{202e}\n  ~ /description\n      Adds [-two -]{+three\\u{202e} +}numbers.\n\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
