package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// server is a process under test and what it said outside of exchanges.
type server struct {
	upstream.Transport
	t       *testing.T
	dialer  *Dialer
	mu      sync.Mutex
	unbound []string
	downs   []error
	down    chan struct{}
}

func config(role string) Config {
	return Config{Command: []string{os.Args[0]}, Env: []string{serverEnv + "=" + role, quickExit}, JSON: strictjson.Default(),
		Stderr: func([]byte) {}}
}

func start(t *testing.T, c Config, handle upstream.Handler) *server {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, d, handle)
}

func dial(t *testing.T, d *Dialer, handle upstream.Handler) *server {
	t.Helper()
	s := &server{t: t, dialer: d, down: make(chan struct{})}
	tr, err := d.Dial(t.Context(), upstream.DialOptions{
		Era: mcp.Legacy,
		Unbound: func(m mcp.Message) {
			if handle != nil {
				handle(m)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.unbound = append(s.unbound, m.Method+string(m.Params))
		},
		Down: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.downs = append(s.downs, err); len(s.downs) == 1 {
				close(s.down)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Transport = tr
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) call(ctx context.Context, do string, members string) (string, error) {
	m, err := s.Exchange(ctx, upstream.Outgoing{Method: "tools/call", Params: []byte(`{"do":"` + do + `"` + members + `}`)}, nil)
	if err != nil {
		return "", err
	}
	return string(m.Result) + string(m.Error), nil
}

func (s *server) must(do, members string) string {
	s.t.Helper()
	got, err := s.call(s.t.Context(), do, members)
	if err != nil {
		s.t.Fatalf("%s: %v", do, err)
	}
	return got
}

// wantDown waits until the connection is lost and checks that its owner was
// told once.
func (s *server) wantDown(kinds ...error) {
	s.t.Helper()
	<-s.down
	if _, err := s.call(s.t.Context(), "", ""); !errors.Is(err, upstream.ErrDown) {
		s.t.Errorf("a call after the end: %v, want ErrDown", err)
	}
	if err := s.Send(s.t.Context(), upstream.Outgoing{Method: "notifications/x"}); !errors.Is(err, upstream.ErrDown) {
		s.t.Errorf("a notification after the end: %v, want ErrDown", err)
	}
	if err := s.Listen(s.t.Context()); !errors.Is(err, upstream.ErrDown) {
		s.t.Errorf("listening after the end: %v, want ErrDown", err)
	}
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.downs) != 1 {
		s.t.Fatalf("Down was called %d times: %v", len(s.downs), s.downs)
	}
	for _, k := range kinds {
		if !errors.Is(s.downs[0], k) {
			s.t.Errorf("Down(%v), want %v", s.downs[0], k)
		}
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	if got := s.must("text", `,"n":5`); got != `{"text":"xxxxx"}` {
		t.Errorf("got %s", got)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			n := i * 100
			got, err := s.call(t.Context(), "text", `,"n":`+strconv.Itoa(n))
			if want := `{"text":"` + strings.Repeat("x", n) + `"}`; err != nil || got != want {
				t.Errorf("call %d: %v, %d bytes", i, err, len(got))
			}
		})
	}
	wg.Wait()
	// More than a pipe holds, both ways.
	big := strings.Repeat("y", 1<<20)
	if got := s.must("text", `,"n":2000000,"text":"`+big+`"`); len(got) != 2000000+len(`{"text":""}`) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestFramingOnWrite(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	m, err := s.Exchange(t.Context(), upstream.Outgoing{Method: "tools/call", Params: []byte("{\r\n\t\"do\": \"line\",\n\"text\":\"a\\nb  c\"}")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"line":` + strconv.Quote(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"do":"line","text":"a\nb  c"}}`) + `}`
	if diff := cmp.Diff(want, string(m.Result)); diff != "" {
		t.Error(diff)
	}
}

func TestSendShapes(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	good := []upstream.Outgoing{
		{Method: "notifications/initialized"},
		{Answer: mcp.StringID("s1"), Result: []byte(`{}`)},
		{Answer: mcp.NumberID(4), Error: &mcp.Error{Code: -32601, Message: "no"}},
	}
	for _, m := range good {
		if err := s.Send(t.Context(), m); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	}
	bad := []upstream.Outgoing{{}, {Method: "tools/call"}, {Answer: mcp.NumberID(1)}, {Result: []byte(`{}`)}}
	for _, m := range bad {
		if err := s.Send(t.Context(), m); err == nil {
			t.Errorf("%+v was sent", m)
		}
	}
	if _, err := s.Exchange(t.Context(), upstream.Outgoing{Method: "notifications/x"}, nil); err == nil {
		t.Error("a notification was exchanged")
	}
	s.must("", "")
}

func TestEnvironmentIsEmptyButForWhatIsNamed(t *testing.T) {
	t.Setenv("MUNJIGI_TEST_SECRET", "never to be seen")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := config("plain")
	c.Env = append(c.Env, "A=1=2", "EMPTY=")
	c.Dir = dir
	var got struct {
		Env []string
		Dir string
	}
	if err := json.Unmarshal([]byte(start(t, c, nil).must("env", "")), &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Env)
	got.Env = slices.DeleteFunc(got.Env, func(e string) bool { return strings.HasPrefix(strings.ToUpper(e), "SYSTEMROOT=") })
	if diff := cmp.Diff([]string{"A=1=2", "EMPTY=", quickExit, "PATH=" + DefaultPath(), serverEnv + "=plain"}, got.Env); diff != "" {
		t.Error(diff)
	}
	if got.Dir != dir {
		t.Errorf("ran in %q, want %q", got.Dir, dir)
	}
	c.Env = append(c.Env, "PATH=/somewhere")
	if got := start(t, c, nil).must("env", ""); !strings.Contains(got, `"PATH=/somewhere"`) || strings.Contains(got, DefaultPath()) {
		t.Errorf("the configured PATH was not taken: %s", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no command":      func(c *Config) { c.Command = nil },
		"empty command":   func(c *Config) { c.Command = []string{""} },
		"NUL in argument": func(c *Config) { c.Command = []string{"x", "a\x00b"} },
		"no limits":       func(c *Config) { c.JSON = strictjson.Limits{} },
		"no equals":       func(c *Config) { c.Env = []string{"NAME"} },
		"no name":         func(c *Config) { c.Env = []string{"=x"} },
		"NUL in variable": func(c *Config) { c.Env = []string{"A=\x00"} },
	} {
		c := config("plain")
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestProgramIsSearchedInItsOwnPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "fake-server")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	c := config("plain")
	c.Command = []string{"fake-server"}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Legacy}); !errors.Is(err, upstream.ErrDown) || !strings.Contains(err.Error(), "PATH") {
		t.Errorf("got %v, want a hint about PATH", err)
	}
	// Relative entries are passed over: the working directory may hold anything.
	c.Env = append(c.Env, "PATH=.:"+dir)
	start(t, c, nil).must("", "")
}

func TestAnswersThatNobodyAsked(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	if got := s.must("other", ""); got != `{}` {
		t.Errorf("a foreign answer was taken: %s", got)
	}
	if got := s.must("twice", ""); got != `{"n":1}` {
		t.Errorf("got %s", got)
	}
	if got := s.must("batch", ""); got != `{"after":true}` {
		t.Errorf("got %s", got)
	}
	s.must("", "")
}

func TestLateAnswerIsDropped(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	for range maxViolations + 10 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Exchange(ctx, upstream.Outgoing{Method: "tools/call", Params: []byte(`{"do":"text"}`), RequestID: func(mcp.ID) { cancel() }}, nil)
		if !errors.Is(err, context.Canceled) && err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	s.must("", "")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.call(ctx, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v", err)
	}
	if err := s.Send(ctx, upstream.Outgoing{Method: "notifications/x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("send: %v", err)
	}
	if err := s.Listen(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("listen: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	var id mcp.ID
	done := make(chan error, 1)
	asked := make(chan struct{})
	go func() {
		_, err := s.Exchange(ctx, upstream.Outgoing{Method: "x", Params: []byte(`{"do":"silent"}`), RequestID: func(i mcp.ID) { id = i; close(asked) }}, nil)
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("while waiting: %v", err)
	}
	if id.IsZero() {
		t.Error("the ID was not told")
	}
	s.must("", "")
}

func TestOrderOfMessagesBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	for range 20 {
		s.must("notify", `,"n":50`)
		s.mu.Lock()
		got := len(s.unbound)
		for i, m := range s.unbound {
			if want := fmt.Sprintf(`notifications/progress{"n":%d}`, i); m != want {
				t.Fatalf("message %d is %s", i, m)
			}
		}
		s.unbound = nil
		s.mu.Unlock()
		if got != 50 {
			t.Fatalf("%d of 50 messages were handed on before the answer", got)
		}
	}
}

// A handler that hangs holds up neither answers nor the writing of requests.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := start(t, config("plain"), func(mcp.Message) { <-release })
	defer close(release)
	s.must("notify", `,"n":3`)
	s.must("notify", `,"n":3`)
}

func TestFloods(t *testing.T) {
	t.Parallel()
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		s := start(t, config("plain"), nil)
		if _, err := s.call(t.Context(), "flood", ""); !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
		s.wantDown(upstream.ErrViolation)
	})
	t.Run("requests", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		s := start(t, config("plain"), func(mcp.Message) { <-release })
		if _, err := s.call(t.Context(), "requests", ""); !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
		close(release)
		s.wantDown(upstream.ErrViolation)
	})
	t.Run("an endless line", func(t *testing.T) {
		t.Parallel()
		c := config("plain")
		c.JSON.Bytes = 1 << 20
		s := start(t, c, nil)
		if _, err := s.call(t.Context(), "endless", ""); !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
		s.wantDown(upstream.ErrTooLarge)
	})
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		s := start(t, config("plain"), nil)
		for range maxViolations {
			if _, err := s.call(t.Context(), "twice", ""); err != nil && !errors.Is(err, upstream.ErrDown) {
				t.Fatal(err)
			}
		}
		_, _ = s.call(t.Context(), "other", "")
		s.wantDown(upstream.ErrViolation)
	})
}

// One answer over the limit fails one call.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	c := config("plain")
	c.JSON.Bytes = 1 << 20
	s := start(t, c, nil)
	for _, do := range []string{"text", "texttail"} {
		if _, err := s.call(t.Context(), do, `,"n":3000000`); !errors.Is(err, upstream.ErrTooLarge) || errors.Is(err, upstream.ErrDown) {
			t.Errorf("%s: %v, want ErrTooLarge", do, err)
		}
		s.must("", "")
	}
}

func TestOuterID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		head, tail string
		want       int64
		ok         bool
	}{
		{`{"jsonrpc":"2.0","id":12,"result":{"a":"`, `aaa"}}`, 12, true},
		{`{"result":{"a":"aaa`, `aaa"},"jsonrpc":"2.0","id":7}`, 7, true},
		{`{"result":{"a":"aaa`, `aaa","id":7}}`, 0, false},
		{`{"result":{"a":"aaa`, `aaa","id":"7"}`, 0, false},
		{`{"result":{"a":"aaa`, `aaa\",\"id\":7}"}}`, 0, false},
		{`{"jsonrpc":"2.0","id":"x","result":`, `}`, 0, false},
		{``, ``, 0, false},
	}
	for _, tt := range tests {
		id, ok := outerID([]byte(tt.head), []byte(tt.tail))
		if ok != tt.ok || ok && id != mcp.NumberID(tt.want) {
			t.Errorf("outerID(%s, %s) = %s, %v", tt.head, tt.tail, id.Raw(), ok)
		}
	}
}

// What is read from both ends of a line is what the whole line says.
func FuzzOuterID(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":12,"result":{"a":{"b":[1,{"id":7}]},"id":8}}`))
	f.Add([]byte(`{"result":{"a":{"b":[1,{"x":1,"id":7}]},"id":8},"jsonrpc":"2.0","id":7}`))
	f.Add([]byte(`{"result":{},"jsonrpc":"2.0","id":"x,\"id\":7}"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := mcp.Decode(line, strictjson.Default())
		if err != nil {
			return
		}
		id, ok := outerID(line[:min(len(line), edge)], line[max(0, len(line)-edge):])
		if ok && id != m.ID {
			t.Fatalf("%s: read %s, but the ID is %s", line, id.Raw(), m.ID.Raw())
		}
	})
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for _, do := range []string{"half", "exit", "closeout"} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			s := start(t, config("plain"), nil)
			var wg sync.WaitGroup
			for range 8 {
				asked := make(chan struct{})
				wg.Go(func() {
					_, err := s.Exchange(t.Context(), upstream.Outgoing{Method: "x", Params: []byte(`{"do":"silent"}`), RequestID: func(mcp.ID) { close(asked) }}, nil)
					if !errors.Is(err, upstream.ErrDown) {
						t.Errorf("a waiting call: %v", err)
					}
				})
				<-asked
			}
			if _, err := s.call(t.Context(), do, ""); !errors.Is(err, upstream.ErrDown) {
				t.Errorf("the call itself: %v", err)
			}
			wg.Wait()
			s.wantDown()
		})
	}
}

func TestAServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	c := config("plain")
	c.WriteTimeout = 100 * time.Millisecond
	s := start(t, c, nil)
	s.must("deaf", "")
	// Far more than a pipe holds: the senders must not wait for the process.
	big := []byte(`{"text":"` + strings.Repeat("z", 1<<20) + `"}`)
	busy := 0
	for range 40 {
		switch err := s.Send(t.Context(), upstream.Outgoing{Method: "notifications/x", Params: big}); {
		case errors.Is(err, upstream.ErrBusy):
			busy++
		case err != nil && !errors.Is(err, upstream.ErrDown):
			t.Fatal(err)
		}
	}
	if busy == 0 {
		t.Log("the process was gone before the queue was full")
	}
	if _, err := s.call(t.Context(), "silent", ""); !errors.Is(err, upstream.ErrDown) && !errors.Is(err, upstream.ErrBusy) {
		t.Errorf("got %v", err)
	}
	s.wantDown(upstream.ErrViolation)
}

func TestAServerThatClosesItsInput(t *testing.T) {
	t.Parallel()
	c := config("plain")
	c.CloseTimeout = 50 * time.Millisecond
	s := start(t, c, nil)
	s.must("closein", "")
	var err error
	for err == nil { // until the pipe is closed on the other side
		err = s.Send(t.Context(), upstream.Outgoing{Method: "notifications/x"})
	}
	if !errors.Is(err, upstream.ErrDown) {
		t.Errorf("got %v", err)
	}
	s.wantDown()
}

func TestBackoffAfterCrashes(t *testing.T) {
	t.Parallel()
	s := start(t, config("plain"), nil)
	d := s.dialer
	_, _ = s.call(t.Context(), "exit", "")
	s.wantDown()
	_, err := d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Legacy})
	if !errors.Is(err, upstream.ErrBackoff) || !strings.Contains(err.Error(), "left") {
		t.Errorf("got %v, want ErrBackoff with the time left", err)
	}
	c := config("plain")
	c.Command = []string{filepath.Join(t.TempDir(), "missing")}
	d, err = New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Modern}); !errors.Is(err, upstream.ErrDown) {
		t.Errorf("got %v, want ErrDown", err)
	}
	if _, err := d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Modern}); !errors.Is(err, upstream.ErrBackoff) {
		t.Errorf("got %v, want ErrBackoff", err)
	}
}

// A connection that its owner closes is no crash.
func TestNoBackoffAfterClose(t *testing.T) {
	t.Parallel()
	d, err := New(config("plain"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s := dial(t, d, nil)
		s.must("", "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(s.downs) != 0 {
			t.Errorf("Down(%v) after Close", s.downs)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	}
}

func TestStderr(t *testing.T) {
	t.Parallel()
	lines := make(chan string, 4096)
	c := config("plain")
	c.Stderr = func(b []byte) { lines <- string(b) }
	s := start(t, c, nil)
	s.must("stderr", `,"n":3,"text":"`+strings.Repeat("w", 10_000)+`"`)
	for i := range 3 {
		if got := <-lines; len(got) != maxComplaint || !strings.HasPrefix(got, fmt.Sprintf("complaint %d www", i)) {
			t.Errorf("line %d has %d bytes: %.20s", i, len(got), got)
		}
	}
	s.must("stderr", `,"n":4000`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(lines); n > 3*complaintRate {
		t.Errorf("%d lines were handed on", n)
	}
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	d, err := New(config("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context(), upstream.DialOptions{}); err == nil {
		t.Error("no era was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, upstream.DialOptions{Era: mcp.Legacy}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
