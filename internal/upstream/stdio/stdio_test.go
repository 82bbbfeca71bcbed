package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

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
