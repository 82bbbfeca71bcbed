package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
)

// screen is the gateway's own terminal.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *screen) code() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(s.b.String(), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// late gives a code to whoever reads it, once it is on the screen.
type late struct {
	s    *screen
	rest *strings.Reader
}

func (l *late) Read(b []byte) (int, error) {
	if l.rest == nil {
		l.rest = strings.NewReader(l.s.code() + "\n")
	}
	return l.rest.Read(b)
}

// TestApprove lets a held call pass by the commands, and refuses another.
func TestApprove(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		result := `{"resultType":"complete","content":[{"type":"text","text":"paid"}]}`
		switch m.Method {
		case "server/discover":
			result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}`
		case "tools/list":
			result = `{"resultType":"complete","tools":[{"name":"pay","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	}))
	t.Cleanup(up.Close)
	term := &screen{}
	w := newWorld(t, "", false)
	dir, err := os.MkdirTemp("", "mj") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	save(t, dir, "p.cedar", `permit (principal, action in [Munjigi::Action::"connect", Munjigi::Action::"list"], resource);
@approval("operator") permit (principal, action == Munjigi::Action::"call", resource);`)
	cfg, err := app.Build(w.getenv).Load(save(t, dir, "m.yaml", "data: "+data+"\npolicy: [p.cedar]\nservers: { s: { url: \""+up.URL+"/mcp\", era: modern } }\n"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg, app.Options{Getenv: w.getenv, LookupEnv: w.lookupEnv, Terminal: term})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 2)
	go func() { served <- a.ServeControl(ctx) }()
	in, client := io.Pipe()
	answers, out := io.Pipe()
	go func() { served <- a.ServeStdio(ctx, "s", in, out) }()
	t.Cleanup(func() {
		_ = client.Close()
		stop()
		<-served
		<-served
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := os.Stat(app.ControlPath(data)); err == nil {
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	lines := bufio.NewReader(answers)
	ask := func(arguments string) string {
		t.Helper()
		if _, err := io.WriteString(client, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":`+arguments+
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`+"\n"); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	run := func(want int, args ...string) string {
		t.Helper()
		w.out.Reset()
		w.err.Reset()
		if code := w.run(t, append(args, "-data", data)...); code != want {
			t.Errorf("%v: %d\n%s%s", args, code, w.out.String(), w.err.String())
		}
		return w.out.String() + w.err.String()
	}
	id := regexp.MustCompile(`munjigi approve ([0-9a-f]{32})`)
	held := func(arguments string) string {
		t.Helper()
		m := id.FindStringSubmatch(ask(arguments))
		if m == nil {
			t.Fatalf("%s is not held", arguments)
		}
		return m[1]
	}
	first := held(`{"to":"DE\u202e-1"}`)
	if got := run(exitDone, "approvals", "list"); !strings.Contains(got, first) || !strings.Contains(got, "s/pay") {
		t.Error(got)
	}
	var rows []app.ApprovalInfo
	if err := json.Unmarshal([]byte(run(exitDone, "approvals", "list", "-json")), &rows); err != nil || len(rows) != 1 || rows[0].ID != first {
		t.Errorf("%+v %v", rows, err)
	}
	run(exitRefused, "approve", first) // nothing is typed
	w.stdin = strings.NewReader("AAAA-AAAA\n")
	run(exitFailed, "approve", first)
	w.stdin = &late{s: term}
	if got := run(exitDone, "approve", first); !strings.Contains(got, `"to": "DE\u{202e}-1"`) || !strings.Contains(got, "passes once") || strings.Contains(got, term.code()) {
		t.Error(got)
	}
	if got := ask(`{"to":"DE\u202e-1"}`); !strings.Contains(got, "paid") {
		t.Error(got)
	}
	second := held(`{}`)
	run(exitDone, "deny", second)
	if got := ask(`{}`); !strings.Contains(got, "refused it") {
		t.Error(got)
	}
	run(exitFailed, "deny", second)
	run(exitFailed, "approve", strings.Repeat("0", 32))
	run(exitWrongUse, "approve")
	run(exitWrongUse, "deny")
	run(exitWrongUse, "approvals")
}
