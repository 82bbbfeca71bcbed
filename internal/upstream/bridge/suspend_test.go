package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// asker is a legacy server whose tool asks once and says what it was told.
func asker(kind Kind) *peer {
	return &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
		if x.m.Method != mcp.MethodToolsCall {
			return `{}`, nil
		}
		a := x.ask(mcp.MethodElicit, `{"message":"?"}`)
		if a.Error != nil {
			return `{"error":` + string(a.Error.Append(nil)) + `}`, nil
		}
		return `{"told":` + string(a.Result) + `}`, nil
	}}
}

const callX = `{"name":"x"}`

func TestResumeIsForItsOwnerOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := asker(HTTP)
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		yes := `{"r1":{"action":"accept"}}`
		lost := func(name string, from upstream.Caller, method, params string) {
			t.Helper()
			if _, err := r.do(t.Context(), from, &client{}, method, params); !errors.Is(err, upstream.ErrLost) {
				t.Errorf("%s: %v", name, err)
			}
		}
		lost("a stranger", resumed(modernCaller("b", everything), a, yes), mcp.MethodToolsCall, callX)
		lost("another tool", resumed(from, a, yes), mcp.MethodToolsCall, `{"name":"y"}`)
		lost("another method", resumed(from, a, yes), mcp.MethodPromptsGet, callX)
		forged := a
		forged.State = strings.Repeat("A", 22)
		lost("a forged state", resumed(from, forged, yes), mcp.MethodToolsCall, callX)

		var won, gone atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				b, err := r.do(t.Context(), resumed(from, a, yes), &client{}, mcp.MethodToolsCall, callX)
				switch {
				case errors.Is(err, upstream.ErrLost):
					gone.Add(1)
				case err == nil && string(b.Result) == `{"told":{"action":"accept"},"resultType":"complete"}`:
					won.Add(1)
				default:
					t.Errorf("%+v %v", b, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || gone.Load() != 7 {
			t.Errorf("%d won, %d lost", won.Load(), gone.Load())
		}
		lost("afterwards", resumed(from, a, yes), mcp.MethodToolsCall, callX)
		if n := len(p.seen("1> tools/call")); n != 1 {
			t.Errorf("executed %d times", n)
		}
	})
}

func TestMissingResponsesAreAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { x.ask(mcp.MethodRootsList, `{}`) })
			}
			wg.Wait()
			return `{}`, nil
		}}
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		began := time.Now()
		for _, bad := range []string{``, `{}`, `{"r9":{}}`, `{"r1":null,"r2":1}`} {
			b := r.must(resumed(from, a, bad), &client{}, mcp.MethodToolsCall, callX)
			if b.Kind != mcp.ResultInputRequired || b.State == a.State {
				t.Fatalf("%+v", b)
			}
			if diff := cmp.Diff(string(a.Requests), string(b.Requests)); diff != "" {
				t.Error(diff)
			}
			a = b
		}
		b := r.must(resumed(from, a, `{"r2":{"roots":[]}}`), &client{}, mcp.MethodToolsCall, callX)
		if diff := cmp.Diff(`{"r1":{"method":"roots/list"}}`, string(b.Requests)); diff != "" {
			t.Error(diff)
		}
		if time.Since(began) != 0 {
			t.Error("what is known to be missing was waited for")
		}
		c := r.must(resumed(from, b, `{"r1":{"roots":[]}}`), &client{}, mcp.MethodToolsCall, callX)
		if c.Kind != mcp.ResultComplete {
			t.Errorf("%+v", c)
		}
	})
}

func TestSuspensionExpires(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			p := asker(kind)
			r := newRig(t, p, func(c *Config) { c.Era = EraLegacy; c.IdleTimeout = time.Minute })
			from := modernCaller("a", everything)
			a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
			time.Sleep(5*time.Minute - time.Second)
			if len(p.seen("0 closed")) != 0 {
				t.Error("the connection of a suspended call was closed as idle")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := len(p.seen(`0= "q1"`)); n != 1 {
				t.Errorf("the server's request was answered %d times: %q", n, p.seen(""))
			}
			if n := len(p.seen("0! notifications/cancelled")); n != 1 {
				t.Errorf("%d cancellations: %q", n, p.seen(""))
			}
			if _, err := r.do(t.Context(), resumed(from, a, `{"r1":{"action":"accept"}}`), &client{}, mcp.MethodToolsCall, callX); !errors.Is(err, upstream.ErrLost) {
				t.Errorf("got %v", err)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if len(p.seen("0 closed")) != 1 {
				t.Error("the connection was not let go")
			}
			if r.parked.count[from.Principal.Key()] != 0 || len(r.parked.calls) != 0 {
				t.Error("something stays parked")
			}
		})
	}
}

func TestSuspensionCap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := asker(HTTP)
		r := newRig(t, p, func(c *Config) { c.MaxSuspended = 2 })
		from := modernCaller("a", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		r.must(from, &client{}, mcp.MethodToolsCall, callX)
		if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsCall, callX); !errors.Is(err, upstream.ErrBusy) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if n := len(p.seen("1! notifications/cancelled")); n != 1 {
			t.Errorf("the call that found no place was not cancelled: %q", p.seen(""))
		}
		r.must(modernCaller("b", everything), &client{}, mcp.MethodToolsCall, callX)
		r.must(resumed(from, a, `{"r1":{"action":"accept"}}`), &client{}, mcp.MethodToolsCall, callX)
		r.must(from, &client{}, mcp.MethodToolsCall, callX)
	})
}

func TestCrashWhileSuspended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := asker(Stdio)
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		p.pipe(0).crash(upstream.ErrDown)
		synctest.Wait()
		_, err := r.do(t.Context(), resumed(from, a, `{"r1":{"action":"accept"}}`), &client{}, mcp.MethodToolsCall, callX)
		if !errors.Is(err, upstream.ErrDown) || !strings.Contains(err.Error(), "not sent again") {
			t.Errorf("got %v", err)
		}
		if b := r.must(from, &client{}, mcp.MethodToolsCall, callX); b.Kind != mcp.ResultInputRequired || p.dials() != 2 {
			t.Errorf("%+v after %d dials", b, p.dials())
		}
	})
}

func TestClientLeavesBeforeTheRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) { return "silence", nil }}
		r := newRig(t, p, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.do(ctx, modernCaller("a", everything), &client{}, mcp.MethodToolsCall, callX); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if n := len(p.seen(`0! notifications/cancelled {"requestId":3`)); n != 1 {
			t.Errorf("%q", p.seen(""))
		}
	})
}

func TestServerDoesNotWaitForTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			id, _ := x.question()
			x.out(mcp.AppendRequest(nil, id, mcp.MethodElicit, []byte(`{"message":"?"}`)))
			time.Sleep(time.Second)
			x.notify(mcp.NotifyProgress, `{"progressToken":`+x.token()+`,"progress":9}`)
			return `{"n":1}`, nil
		}}
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		from.ProgressToken = []byte("1")
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		time.Sleep(2 * time.Second)
		c := &client{}
		b := r.must(resumed(from, a, `{}`), c, mcp.MethodToolsCall, callX)
		if string(b.Result) != `{"n":1,"resultType":"complete"}` {
			t.Errorf("%+v", b)
		}
		if diff := cmp.Diff([]string{`notifications/progress {"progressToken":1,"progress":9}`}, c.seen()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWithdrawnRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			id, _ := x.question()
			x.out(mcp.AppendRequest(nil, id, mcp.MethodElicit, []byte(`{"message":"first"}`)))
			time.Sleep(10 * time.Millisecond)
			x.notify(mcp.NotifyCancelled, `{"requestId":`+id.Raw()+`}`)
			time.Sleep(time.Second)
			x.ask(mcp.MethodElicit, `{"message":"second"}`)
			return `{}`, nil
		}}
		for _, from := range []upstream.Caller{modernCaller("a", everything), legacyCaller("a", "s", everything)} {
			r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
			c := &client{answer: func(ctx context.Context, _ string, params []byte) (string, *mcp.Error, error) {
				if strings.Contains(string(params), "first") {
					<-ctx.Done()
					return "", nil, ctx.Err()
				}
				return `{"action":"accept"}`, nil, nil
			}}
			a := r.must(from, c, mcp.MethodToolsCall, callX)
			if from.Era == mcp.Modern {
				if string(a.Requests) != `{"r2":{"method":"elicitation/create","params":{"message":"second"}}}` {
					t.Errorf("%s", a.Requests)
				}
				r.must(resumed(from, a, `{"r2":{"action":"accept"}}`), c, mcp.MethodToolsCall, callX)
			}
			for i := range p.dials() {
				if got := p.seen(string(rune('0'+i)) + `= "q1"`); len(got) != 0 {
					t.Errorf("a withdrawn request was answered: %q", got)
				}
			}
		}
	})
}

func TestCloseWhileSuspended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := asker(HTTP)
		r := newRig(t, p, nil)
		r.must(modernCaller("a", everything), &client{}, mcp.MethodToolsCall, callX)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestParkedCallsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := asker(Stdio)
			r := newRig(t, p, func(c *Config) { c.Shared = shared })
			from := modernCaller("a", everything)
			first := r.must(from, &client{}, mcp.MethodToolsCall, callX)
			second := r.must(from, &client{}, mcp.MethodToolsCall, callX)
			if shared {
				// Whose question it is cannot be known among strangers.
				if second.Kind != mcp.ResultComplete || !strings.Contains(string(second.Result), "-32600") {
					t.Errorf("%+v %s", second, second.Result)
				}
				return
			}
			if second.Kind != mcp.ResultInputRequired {
				t.Fatalf("%+v %s", second, second.Result)
			}
			for i, a := range []upstream.Answer{second, first} {
				said := []string{"second", "first"}[i]
				b := r.must(resumed(from, a, `{"r1":{"action":"accept","content":{"n":"`+said+`"}}}`), &client{}, mcp.MethodToolsCall, callX)
				if !strings.Contains(string(b.Result), said) {
					t.Errorf("%s", b.Result)
				}
			}
			if n := len(r.violations()); n != 0 || p.dials() != 1 {
				t.Errorf("%q, %d dials", r.violations(), p.dials())
			}
		})
	}
}
