package stdio

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

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
