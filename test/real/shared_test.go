//go:build real

package real

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// follower is one subscriptions/listen of a client.
type follower struct {
	notes chan string
	stop  context.CancelFunc
	ended chan error
}

func follow(t *testing.T, url, filter string) *follower {
	t.Helper()
	f := &follower{notes: make(chan string, 64), ended: make(chan error, 1)}
	p := overHTTP(t, url, &kit.Peer{Modern: true, OnNote: func(method string, _ json.RawMessage) { f.notes <- method }}, nil)
	ctx, stop := context.WithCancel(hurry(t))
	f.stop = stop
	t.Cleanup(stop)
	go func() {
		_, err := p.Do(ctx, "subscriptions/listen", kit.Params{"notifications": raw(filter)})
		f.ended <- err
	}()
	f.wait(t, "notifications/subscriptions/acknowledged")
	return f
}

func (f *follower) wait(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.notes:
		if got != want {
			t.Fatalf("heard %s, want %s", got, want)
		}
	case err := <-f.ended:
		t.Fatalf("the stream ended: %v", err)
	case <-hurry(t).Done():
		t.Fatalf("%s never came", want)
	}
}

// TestSubscriptionsAtOneProcess listens several times at one process of the Go
// SDK's server, which keeps one subscription of each kind: directly, the second
// takes the place of the first, and the end of the first ends both.
func TestSubscriptionsAtOneProcess(t *testing.T) {
	tools := parts(t)
	url := gateway(t, map[string]kit.Server{"x": {Command: []string{tools.Everything}, Era: "modern"}}).URL("x")
	caller := overHTTP(t, url, &kit.Peer{Modern: true}, nil)
	change := func() { tool(t, caller, "test_trigger_prompt_change", `{}`, nil) }
	const filter, changed = `{"promptsListChanged":true}`, "notifications/prompts/list_changed"

	first, second := follow(t, url, filter), follow(t, url, filter)
	change()
	first.wait(t, changed)
	second.wait(t, changed)
	first.stop()
	<-first.ended
	change()
	second.wait(t, changed)
	second.stop()
	<-second.ended
	for range 20 { // one after the other, as fast as they come
		f := follow(t, url, filter)
		change()
		f.wait(t, changed)
		f.stop()
		<-f.ended
	}
}

// TestServerAsksOutsideOfACall: server-filesystem asks for the client's roots as
// soon as the session is open. That belongs to no call and is refused, unless
// the first call has come by then; the server works on with the folders of its
// command line, and the record says it.
func TestServerAsksOutsideOfACall(t *testing.T) {
	tools := parts(t)
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "a.txt"), []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf, err := kit.NewConfig(dir, map[string]kit.Server{"files": {Command: []string{
		tools.Node, tools.Package("@modelcontextprotocol/server-filesystem", "dist", "index.js"), files,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	g := serve(t, dir, conf)
	asked := make(chan string, 8)
	p := overHTTP(t, g.URL("files"), &kit.Peer{Capabilities: `{"roots":{"listChanged":true}}`, Answer: func(method string, _ json.RawMessage) string {
		asked <- method
		return `{"roots":[{"uri":"file://` + files + `"}]}`
	}}, nil)
	for _, want := range []string{"one", "one"} {
		if got := tool(t, p, "read_text_file", `{"path":"`+filepath.Join(files, "a.txt")+`"}`, nil).Text(); got != want {
			t.Errorf("read %q", got)
		}
	}
	if got := tool(t, p, "read_text_file", `{"path":"/etc/hostname"}`, nil).Text(); !strings.Contains(got, "denied") {
		t.Errorf("read %q", got)
	}
	// The record is written a moment later.
	for ctx, tick := hurry(t), time.NewTicker(20*time.Millisecond); ; {
		record, err := os.ReadFile(filepath.Join(conf.Data, "audit", "audit.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(record), `"kind":"unbound-request"`) || len(asked) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the request is neither on the record nor was it put to the client:\n%s\n%s", record, g.Output())
		}
	}
}
