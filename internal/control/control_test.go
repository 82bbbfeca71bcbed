package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("MUNJIGI_TEST_CONTROL"); path != "" {
		s, err := Listen(path, nil)
		fmt.Println("listening", err)
		if err == nil {
			_ = s.Serve(context.Background())
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shortPath is a path in a folder of its own whose length every system allows.
func shortPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "control.sock")
}

type echo struct {
	Text string `json:"text"`
}

// start serves handlers until the test ends or stop is called, which waits for Serve.
func start(t testing.TB, handlers map[string]Handler, change ...func(*Server)) (path string, stop func()) {
	t.Helper()
	path = shortPath(t)
	s, err := Listen(path, handlers)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return path, stop
}

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestCall(t *testing.T) {
	t.Parallel()
	path, _ := start(t, map[string]Handler{
		"echo": func(_ context.Context, raw json.RawMessage) (any, error) {
			return Args[echo](raw)
		},
		"raw":   func(_ context.Context, raw json.RawMessage) (any, error) { return raw, nil },
		"none":  func(context.Context, json.RawMessage) (any, error) { return nil, nil },
		"plain": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no such server") },
		"coded": func(context.Context, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("w: %w", &Error{"gone", "it is gone"})
		},
		"blank":  func(context.Context, json.RawMessage) (any, error) { return nil, &Error{} },
		"panics": func(context.Context, json.RawMessage) (any, error) { panic("ouch") },
		"large":  func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", 8<<20), nil },
		"huge":   func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", MostAnswerBytes), nil },
		"channel": func(context.Context, json.RawMessage) (any, error) {
			return make(chan int), nil
		},
	})
	var out echo
	if err := Call(t.Context(), path, "echo", echo{"a\nb \u2028 \x00"}, &out); err != nil || out.Text != "a\nb \u2028 \x00" {
		t.Errorf("%q %v", out.Text, err)
	}
	var raw json.RawMessage
	if err := Call(t.Context(), path, "raw", nil, &raw); err != nil || string(raw) != "{}" {
		t.Errorf("%s %v", raw, err)
	}
	if err := Call(t.Context(), path, "none", nil, nil); err != nil {
		t.Error(err)
	}
	var large string
	if err := Call(t.Context(), path, "large", nil, &large); err != nil || len(large) != 8<<20 {
		t.Errorf("%d bytes %v", len(large), err)
	}
	for _, c := range []struct {
		op         string
		args       any
		code, says string
	}{
		{"nothing", nil, CodeUnknownOp, `"nothing"`},
		{"", nil, CodeUnknownOp, ""},
		{strings.Repeat("x", 5000), nil, CodeUnknownOp, `xxx`},
		{"plain", nil, CodeFailed, "no such server"},
		{"coded", nil, "gone", "it is gone"},
		{"blank", nil, CodeFailed, ""},
		{"panics", nil, CodeFailed, "ouch"},
		{"huge", nil, CodeFailed, "too long"},
		{"channel", nil, CodeFailed, "chan"},
		{"echo", map[string]int{"text": 1}, CodeMalformed, "arguments"},
		{"echo", map[string]string{"other": "x"}, CodeMalformed, "other"},
		{"echo", []int{1}, CodeMalformed, "arguments"},
	} {
		err := Call(t.Context(), path, c.op, c.args, &out)
		if code(err) != c.code || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 1000 {
			t.Errorf("%.20s: %v", c.op, err)
		}
	}
	if err := Call(t.Context(), path, "raw", strings.Repeat("x", MostRequestBytes), nil); err == nil || !strings.Contains(err.Error(), "send less") {
		t.Errorf("a request that is too long: %v", err)
	}
	if err := Call(t.Context(), path, "raw", strings.Repeat("x", MostRequestBytes-100), nil); err != nil {
		t.Errorf("a request that is just short enough: %v", err)
	}
	if err := Call(t.Context(), path, "echo", echo{"x"}, new(int)); err == nil {
		t.Error("a result of another shape was read")
	}
	if err := Call(t.Context(), path, "echo", make(chan int), nil); err == nil {
		t.Error("arguments that are not JSON were sent")
	}
}

func talk(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	b, err := io.ReadAll(conn)
	if err != nil && len(b) == 0 {
		t.Errorf("%.40q: %v", text, err)
	}
	return string(b)
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	called := make(chan string, 100)
	path, _ := start(t, map[string]Handler{"x": func(_ context.Context, raw json.RawMessage) (any, error) {
		called <- string(raw)
		return "done", nil
	}})
	for name, line := range map[string]string{
		"blank": "", "not JSON": "x", "array": `[{"op":"x"}]`, "string": `"x"`, "null": `null`, "no op": `{}`, "op is a number": `{"op":1}`,
		"op twice": `{"op":"y","op":"x"}`, "op twice, escaped": `{"op":"y","\u006fp":"x"}`, "another case": `{"Op":"x"}`, "more": `{"op":"x","id":1}`,
		"two values": `{"op":"x"}{"op":"x"}`, "invalid UTF-8": "{\"op\":\"x\",\"args\":\"\xff\"}", "deep": `{"op":"x","args":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"too long": `{"op":"x","args":"` + strings.Repeat("a", MostRequestBytes) + `"}`, "zeros": "\x00\x00",
	} {
		if got := talk(t, path, line+"\n"); !strings.Contains(got, `"code":"malformed"`) || !strings.HasSuffix(got, "}\n") {
			t.Errorf("%s: %.200q", name, got)
		}
	}
	if len(called) != 0 {
		t.Errorf("a handler was called with %s", <-called)
	}
	if got := talk(t, path, ` { "op" : "x" , "args" : [ 1 ] } `+"\n"); got != `{"ok":"done"}`+"\n" || <-called != "[ 1 ]" {
		t.Errorf("%q", got)
	}
}

func TestSlowCallerIsCutOff(t *testing.T) {
	t.Parallel()
	path, _ := start(t, nil, func(s *Server) { s.askWait = 10 * time.Millisecond })
	for _, part := range []string{"", `{"op":`} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, part)
		if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), CodeMalformed) {
			t.Errorf("%q %v", b, err)
		}
		_ = conn.Close()
	}
}

func TestCallerThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	answering := make(chan struct{})
	path, stop := start(t, map[string]Handler{"x": func(context.Context, json.RawMessage) (any, error) {
		close(answering)
		return strings.Repeat("x", MostAnswerBytes/2), nil
	}}, func(s *Server) { s.takeWait = 20 * time.Millisecond })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, `{"op":"x"}`+"\n")
	<-answering
	stop()
	if b, err := io.ReadAll(conn); err != nil || bytes.HasSuffix(b, []byte("\n")) {
		t.Errorf("%d bytes were kept for a caller that did not read: %v", len(b), err)
	}
}

func TestHandlerEndsWhenItsCallerLeaves(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}, 2), make(chan error, 2)
	path, _ := start(t, map[string]Handler{"x": func(ctx context.Context, _ json.RawMessage) (any, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan error, 1)
	go func() { called <- Call(ctx, path, "x", nil, nil) }()
	<-began
	cancel()
	if err := <-called; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-ended
	talkative, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer talkative.Close()
	_, _ = io.WriteString(talkative, `{"op":"x"}`+"\n"+`{"op":"x"}`+"\n")
	<-began
	<-ended
}

func TestStopDrains(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	path, stop := start(t, map[string]Handler{"x": func(ctx context.Context, _ json.RawMessage) (any, error) {
		close(began)
		<-ctx.Done()
		return "saved", nil
	}})
	idle, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	var out string
	called := make(chan error, 1)
	go func() { called <- Call(t.Context(), path, "x", nil, &out) }()
	<-began
	stop()
	if err := <-called; err != nil || out != "saved" {
		t.Errorf("%q %v", out, err)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	gate, began := make(chan struct{}), make(chan struct{}, mostConnections)
	path, _ := start(t, map[string]Handler{"x": func(context.Context, json.RawMessage) (any, error) {
		began <- struct{}{}
		<-gate
		return nil, nil
	}})
	var wg sync.WaitGroup
	for range mostConnections {
		wg.Go(func() {
			if err := Call(t.Context(), path, "x", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range mostConnections {
		<-began
	}
	if err := Call(t.Context(), path, "x", nil, nil); code(err) != CodeBusy {
		t.Errorf("%v", err)
	}
	close(gate)
	wg.Wait()
	if err := Call(t.Context(), path, "x", nil, nil); err != nil {
		t.Errorf("places were not given back: %v", err)
	}
}

func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("only Linux and macOS say who is at the other end of a socket")
	}
	called := make(chan struct{}, 1)
	handlers := map[string]Handler{"x": func(context.Context, json.RawMessage) (any, error) {
		called <- struct{}{}
		return nil, nil
	}}
	path, _ := start(t, handlers, func(s *Server) { s.uid = os.Geteuid() + 1 })
	if err := Call(t.Context(), path, "x", nil, nil); code(err) != CodeForbidden {
		t.Errorf("the server took another user's order: %v", err)
	}
	path, _ = start(t, handlers)
	if err := call(t.Context(), path, os.Geteuid()+1, "x", nil, nil); err == nil || !strings.Contains(err.Error(), "listens on") {
		t.Errorf("the command spoke to another user's program: %v", err)
	}
	if len(called) != 0 {
		t.Error("a handler was called")
	}
}

func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, says string }{
		"closed":       {"", "closed the connection"},
		"cut off":      {`{"ok":1`, "closed the connection"},
		"not JSON":     {"x\n", "not JSON"},
		"array":        {"[]\n", "not an object"},
		"neither":      {"{}\n", "neither"},
		"twice":        {`{"ok":1,"ok":2}` + "\n", "not JSON"},
		"blank error":  {`{"error":{}}` + "\n", "did not say why"},
		"error and ok": {`{"ok":1,"error":{"code":"c","message":"no"}}` + "\n", "no"},
		"endless":      {strings.Repeat("x", MostAnswerBytes+2), "more than"},
	} {
		path := shortPath(t)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, c.answer)
			_ = conn.Close()
		})
		if err := Call(t.Context(), path, "x", nil, new(int)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		_ = l.Close()
		wg.Wait()
	}
}

// Whatever line comes, it is refused or gives an operation and arguments that are one valid value.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{`{"op":"x"}`, `{"op":"x","args":{"a":[1]}}`, `{"op":"x","op":"y"}`, `[]`, `{"op":"\ud800"}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		op, args, err := parseRequest(line)
		if err != nil {
			return
		}
		if err := strictjson.Validate(args, limits(MostRequestBytes)); err != nil {
			t.Errorf("%s %s: %v", op, args, err)
		}
		var lenient struct {
			Op   string
			Args json.RawMessage
		}
		if err := json.Unmarshal(line, &lenient); err != nil || lenient.Op != op {
			t.Errorf("another reader reads %q, not %q: %v", lenient.Op, op, err)
		}
	})
}
