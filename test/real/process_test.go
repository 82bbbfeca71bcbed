//go:build real

package real

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// answersTools reports whether a peer gets a list that has a tool.
func answersTools(ctx context.Context, url, want string) bool {
	p := kit.DialHTTP(url, &kit.Peer{Modern: true}, nil)
	r, err := p.Do(ctx, "tools/list", nil)
	return err == nil && r.Error == nil && strings.Contains(string(r.Result), `"name":"`+want+`"`)
}

// TestStart has munjigi answer within a second of its start. The machine may
// be busy, so the best of three counts.
func TestStart(t *testing.T) {
	const within, tries = time.Second, 3
	best := time.Hour
	for range tries {
		began := time.Now()
		g := gateway(t, map[string]kit.Server{"x": {Command: []string{parts(t).Fixture}}})
		if !answersTools(hurry(t), g.URL("x"), "greet") {
			t.Fatal("no tools")
		}
		best = min(best, time.Since(began))
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if best > within {
		t.Errorf("the first list came after %s at best, want %s", best, within)
	}
	t.Logf("first list after %s", best)
}

// defaultListen is where munjigi listens without a config.
const defaultListen = "127.0.0.1:8931"

// TestStartWithoutConfig runs the one command of the README on a home that has
// nothing.
func TestStartWithoutConfig(t *testing.T) {
	ln, err := net.Listen("tcp", defaultListen)
	if err != nil {
		t.Fatalf("something else uses %s: %v", defaultListen, err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	p, err := kit.Start(t.Context(), kit.Command{
		Name: "munjigi",
		Path: parts(t).Munjigi,
		Args: []string{"serve"},
		Dir:  home,
		Env:  []string{"HOME=" + home, "XDG_STATE_HOME=" + filepath.Join(home, "state"), "PATH=" + os.Getenv("PATH")},
		Addr: defaultListen,
	})
	ending(t, p, err)
	eventually(t, "lines to paste", func(context.Context) bool {
		out := strings.ToLower(p.Output())
		return !slices.ContainsFunc([]string{"claude", "cursor", "code", "inspector"}, func(s string) bool { return !strings.Contains(out, s) })
	})
	data := filepath.Join(home, "state", "munjigi")
	info, err := os.Stat(data)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder: %v, %v", info, err)
	}
	token, err := os.ReadFile(filepath.Join(data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + defaultListen + "/mcp"
	auth := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(token))}}
	r := do(t, kit.DialHTTP(url, &kit.Peer{Modern: true}, auth), "tools/list", nil)
	var list struct {
		Tools []struct{ Name string } `json:"tools"`
	}
	if err := json.Unmarshal(r.Result, &list); err != nil || len(list.Tools) == 0 {
		t.Errorf("the demo has no tools: %s", r.Body)
	}
	none, err := kit.DialHTTP(url, &kit.Peer{Modern: true}, nil).Do(hurry(t), "tools/list", nil)
	if none == nil || none.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %+v, %v", none, err)
	}
}

// TestReload changes the config under a running gateway.
func TestReload(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGHUP")
	}
	tools := parts(t)
	dir := t.TempDir()
	one := kit.Server{Command: []string{tools.Fixture}, Unsandboxed: true, SameNames: true}
	conf, err := kit.NewConfig(dir, map[string]kit.Server{"one": one})
	if err != nil {
		t.Fatal(err)
	}
	g := serve(t, dir, conf)
	if !answersTools(hurry(t), g.URL("one"), "greet") {
		t.Fatal("the first config does not work")
	}
	change := func(t *testing.T, names ...string) {
		t.Helper()
		conf.Servers = map[string]kit.Server{}
		for _, n := range names {
			conf.Servers[n] = one
		}
		if err := conf.Write(g.Config); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("a changed file", func(t *testing.T) {
		change(t, "one", "two")
		eventually(t, "the new server answers", func(ctx context.Context) bool { return answersTools(ctx, g.URL("two"), "greet") })
		if !answersTools(hurry(t), g.URL("one"), "greet") {
			t.Error("the old server has gone")
		}
	})
	t.Run("SIGHUP", func(t *testing.T) {
		change(t, "one", "two", "three")
		if err := g.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new server answers", func(ctx context.Context) bool { return answersTools(ctx, g.URL("three"), "greet") })
	})
	t.Run("a bad config leaves the old one", func(t *testing.T) {
		before := len(g.Output())
		if err := os.WriteFile(g.Config, []byte("listen: 127.0.0.1:1\nno_such_key: true\nservers: ["), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the bad config is spoken of", func(context.Context) bool { return len(g.Output()) > before })
		for _, name := range []string{"one", "two", "three"} {
			if !answersTools(hurry(t), g.URL(name), "greet") {
				t.Errorf("%s has gone", name)
			}
		}
	})
	t.Run("a server that is taken out", func(t *testing.T) {
		change(t, "one")
		if err := g.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old server is refused", func(ctx context.Context) bool { return !answersTools(ctx, g.URL("three"), "greet") })
		if !answersTools(hurry(t), g.URL("one"), "greet") {
			t.Error("the server that stayed has gone")
		}
	})
}

// TestCrash has a server over stdio end under its caller, again and again.
func TestCrash(t *testing.T) {
	tools := parts(t)
	for _, era := range []string{"modern", "legacy"} {
		t.Run(era, func(t *testing.T) {
			g := gateway(t, map[string]kit.Server{
				"x": {Command: []string{tools.Fixture, "-odd", "-era", era}, SameNames: true},
				"y": {Command: []string{tools.Fixture}, SameNames: true},
			})
			p := overHTTP(t, g.URL("x"), &kit.Peer{Modern: era == "modern", Capabilities: kit.Everything}, nil)
			if r := tool(t, p, "greet", `{"name":"a"}`, nil); r.Text() != "Hello, a!" {
				t.Fatalf("before: %s", r.Body)
			}
			for i := range 3 {
				r := tool(t, p, "odd_crash", `{}`, nil)
				var res struct {
					IsError bool `json:"isError"`
				}
				if r.Error == nil && (json.Unmarshal(r.Result, &res) != nil || !res.IsError) {
					t.Fatalf("crash %d: %s", i, r.Body)
				}
				if strings.Contains(string(r.Body), tools.Fixture) {
					t.Errorf("the error tells the command: %s", r.Body)
				}
				eventually(t, "the server works again", func(ctx context.Context) bool {
					p := kit.DialHTTP(g.URL("x"), &kit.Peer{Modern: era == "modern", Capabilities: kit.Everything}, nil)
					if p.Begin(ctx) != nil {
						return false
					}
					r, err := p.Call(ctx, "greet", `{"name":"b"}`, nil)
					return err == nil && r.Text() == "Hello, b!"
				})
				p = overHTTP(t, g.URL("x"), &kit.Peer{Modern: era == "modern", Capabilities: kit.Everything}, nil)
			}
			if !answersTools(hurry(t), g.URL("y"), "greet") {
				t.Error("another server went with it")
			}
		})
	}
}

// TestOdd has a server break rules, and wants its caller to get one answer and
// the next call to work.
func TestOdd(t *testing.T) {
	tools := parts(t)
	for _, era := range []string{"modern", "legacy"} {
		g := gateway(t, map[string]kit.Server{
			"stdio": {Command: []string{tools.Fixture, "-odd", "-era", era}, SameNames: true},
			"http":  {URL: fixture(t, "-odd", "-era", era), SameNames: true},
		})
		for _, name := range []string{"stdio", "http"} {
			for _, c := range []struct{ tool, arguments string }{
				{"odd_twice", `{}`},
				{"odd_unasked", `{}`},
				{"odd_flood", `{"n":20000,"size":200}`},
			} {
				t.Run(era+" "+name+" "+c.tool, func(t *testing.T) {
					var asked []string
					p := overHTTP(t, g.URL(name), &kit.Peer{
						Modern: era == "modern", Capabilities: kit.Everything,
						Answer: func(method string, _ json.RawMessage) string {
							asked = append(asked, method)
							return `{"role":"assistant","content":{"type":"text","text":"x"},"model":"m"}`
						},
					}, nil)
					r := tool(t, p, c.tool, c.arguments, nil)
					if strings.Contains(string(r.Body), "unasked") && c.tool == "odd_unasked" {
						t.Errorf("what nobody asked for came through: %s", r.Body)
					}
					if strings.Contains(string(r.Body), "second") {
						t.Errorf("the second answer came through: %s", r.Body)
					}
					if era == "modern" && len(asked) > 0 {
						t.Errorf("a modern server asked out of turn: %v", asked)
					}
					eventually(t, "the next call works", func(ctx context.Context) bool {
						r, err := p.Call(ctx, "greet", `{"name":"next"}`, nil)
						return err == nil && r.Text() == "Hello, next!"
					})
				})
			}
		}
	}
}

// TestDrain stops a gateway in the middle of a call: the call ends well, new
// ones are refused, and the process ends with status 0.
func TestDrain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	tools := parts(t)
	for name, s := range map[string]func(t *testing.T) kit.Server{
		"stdio": func(*testing.T) kit.Server { return kit.Server{Command: []string{tools.Fixture, "-odd"}} },
		"HTTP":  func(t *testing.T) kit.Server { return kit.Server{URL: fixture(t, "-odd")} },
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway(t, map[string]kit.Server{"x": s(t)})
			began := make(chan struct{}, 1)
			p := overHTTP(t, g.URL("x"), &kit.Peer{Modern: true, OnNote: func(method string, _ json.RawMessage) {
				if method == "notifications/progress" {
					began <- struct{}{}
				}
			}}, nil)
			type end struct {
				r   *kit.Reply
				err error
			}
			ended := make(chan end, 1)
			ctx := hurry(t)
			go func() {
				r, err := p.Call(ctx, "odd_slow", `{"ms":1500}`, kit.Params{"_meta": map[string]any{"progressToken": "slow"}})
				ended <- end{r, err}
			}()
			select {
			case <-began:
			case e := <-ended:
				t.Fatalf("ended before it said that it began: %+v", e)
			}
			if err := g.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, "new connections are refused", func(ctx context.Context) bool {
				return !answersTools(ctx, g.URL("x"), "greet")
			})
			if e := <-ended; e.err != nil || e.r.Text() != "slow" {
				t.Errorf("the call in flight: %+v, %v", e.r, e.err)
			}
			select {
			case <-g.Done():
				if g.ExitCode() != 0 {
					t.Errorf("status %d:\n%s", g.ExitCode(), g.Output())
				}
			case <-ctx.Done():
				t.Error("it did not end")
			}
		})
	}
}

// TestNothingIsLeft looks for servers that outlive their gateway.
func TestNothingIsLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	mark := "-page=31337" // a flag value that only this test's servers carry
	g := gateway(t, map[string]kit.Server{"x": {Command: []string{parts(t).Fixture, mark}}})
	if !answersTools(hurry(t), g.URL("x"), "greet") {
		t.Fatal("no tools")
	}
	if n := running(t, mark); n != 1 {
		t.Fatalf("%d servers run, want 1", n)
	}
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has gone", func(context.Context) bool { return running(t, mark) == 0 })
}

// running counts the processes that carry a word in their command line.
func running(t *testing.T, word string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && slices.Contains(strings.Split(string(b), "\x00"), word) {
			n++
		}
	}
	return n
}
