package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func TestUnboundRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.m.Method == mcp.MethodToolsCall {
				<-release
			}
			return `{}`, nil
		}}
		r := newRig(t, p, nil)
		from := legacyCaller("a", "s", everything)
		c := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) { return `{"roots":[]}`, nil, nil }}
		r.must(from, c, mcp.MethodToolsList, `{}`)
		pp := p.pipe(0)
		code := func(a upstream.Outgoing) int {
			if a.Error == nil {
				return 0
			}
			return a.Error.Code
		}
		if got := code(<-pp.unboundAsk(mcp.MethodRootsList, `{}`)); got != mcp.CodeInvalidRequest {
			t.Errorf("without a call: %d", got)
		}
		if got := code(<-pp.unboundAsk(mcp.MethodPing, `{}`)); got != 0 {
			t.Errorf("ping: %d", got)
		}
		var wg sync.WaitGroup
		start := func() {
			wg.Go(func() { r.must(from, c, mcp.MethodToolsCall, callX) })
			synctest.Wait()
		}
		start()
		if got := code(<-pp.unboundAsk(mcp.MethodRootsList, `{}`)); got != 0 {
			t.Errorf("during one call: %d", got)
		}
		start()
		if got := code(<-pp.unboundAsk(mcp.MethodRootsList, `{}`)); got != mcp.CodeInvalidRequest {
			t.Errorf("during two calls: %d", got)
		}
		close(release)
		wg.Wait()
		if got := code(<-pp.unboundAsk(mcp.MethodRootsList, `{}`)); got != mcp.CodeInvalidRequest {
			t.Errorf("after the calls: %d", got)
		}
		if diff := cmp.Diff([]string{"unbound-request", "unbound-request", "unbound-request"}, r.violations()); diff != "" {
			t.Error(diff)
		}
		if n := len(c.seen()); n != 1 {
			t.Errorf("the client was asked %d times", n)
		}
	})
}

func TestModernServerMayNotAsk(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		p := &peer{kind: kind, modern: true, handle: func(x *exchange) (string, *mcp.Error) {
			id, _ := x.question()
			x.out(mcp.AppendRequest(nil, id, mcp.MethodSampling, []byte(`{}`)))
			return `{"resultType":"complete"}`, nil
		}}
		r := newRig(t, p, nil)
		c := &client{}
		r.must(modernCaller("a", everything), c, mcp.MethodToolsCall, callX)
		if diff := cmp.Diff([]string{"server-request"}, r.violations()); diff != "" || len(c.seen()) != 0 || len(p.seen("0= ")) != 0 {
			t.Errorf("%s %q", diff, c.seen())
		}
	}
}

// A request ID that is used again while its first use waits can be answered
// for neither: every call that it touches ends at once, not at its deadline.
func TestReusedRequestID(t *testing.T) {
	t.Parallel()
	ask := func(x *exchange, id mcp.ID) {
		x.out(mcp.AppendRequest(nil, id, mcp.MethodElicit, []byte(`{"message":"?"}`)))
	}
	violated := func(t *testing.T, r *rig, err error) {
		t.Helper()
		if !errors.Is(err, upstream.ErrViolation) || !slices.Contains(r.violations(), "reused-id") {
			t.Errorf("got %v, %q", err, r.violations())
		}
	}
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
				id, _ := x.question()
				ask(x, id)
				ask(x, id)
				return "silence", nil
			}}
			r := newRig(t, p, nil)
			began := time.Now()
			asked := 0
			c := &client{answer: func(ctx context.Context, _ string, _ []byte) (string, *mcp.Error, error) {
				asked++
				<-ctx.Done()
				return "", nil, ctx.Err()
			}}
			_, err := r.do(t.Context(), legacyCaller("a", "s", everything), c, mcp.MethodToolsCall, callX)
			violated(t, r, err)
			_, err = r.do(t.Context(), modernCaller("a", everything), &client{}, mcp.MethodToolsCall, callX)
			violated(t, r, err)
			synctest.Wait()
			if time.Since(began) != 0 || asked > 1 {
				t.Errorf("it took %v, asked %d times", time.Since(began), asked)
			}
			if got := p.seen("0! notifications/cancelled"); len(got) != 1 || !strings.Contains(got[0], "broke the protocol") {
				t.Errorf("%q", got)
			}
		})
	}
	// Two calls on one connection, and a call that waits for its client.
	synctest.Test(t, func(t *testing.T) {
		ids := make(chan mcp.ID, 1)
		again := make(chan struct{})
		p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.params["name"] == "first" {
				id, _ := x.question()
				ask(x, id)
				ids <- id
			} else {
				ask(x, <-ids)
				close(again)
			}
			return "silence", nil
		}}
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"first"}`)
		if a.Kind != mcp.ResultInputRequired {
			t.Fatalf("%+v", a)
		}
		_, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsCall, `{"name":"second"}`)
		violated(t, r, err)
		<-again
		_, err = r.do(t.Context(), resumed(from, a, `{"r1":{"action":"cancel"}}`), &client{}, mcp.MethodToolsCall, `{"name":"first"}`)
		violated(t, r, err)
	})
}
func TestForeignProgress(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tokens := map[string]string{}
	both := make(chan struct{})
	p := &peer{modern: true, handle: func(x *exchange) (string, *mcp.Error) {
		name, _ := x.params["name"].(string)
		mu.Lock()
		tokens[name] = x.token()
		if len(tokens) == 2 {
			close(both)
		}
		mu.Unlock()
		<-both
		if name == "evil" {
			x.notify(mcp.NotifyProgress, `{"progressToken":`+tokens["good"]+`,"progress":99}`)
			x.notify(mcp.NotifyProgress, `{"progressToken":"made up","progress":99}`)
		}
		return `{"resultType":"complete"}`, nil
	}}
	r := newRig(t, p, nil)
	var clients [2]client
	var wg sync.WaitGroup
	for i, name := range []string{"good", "evil"} {
		wg.Go(func() {
			from := modernCaller(name, everything)
			from.ProgressToken = []byte("1")
			r.must(from, &clients[i], mcp.MethodToolsCall, `{"name":"`+name+`"}`)
		})
	}
	wg.Wait()
	if len(clients[0].seen())+len(clients[1].seen()) != 0 {
		t.Errorf("%q %q", clients[0].seen(), clients[1].seen())
	}
	if diff := cmp.Diff([]string{"foreign-progress", "foreign-progress"}, r.violations()); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrentCallsKeepTheirMessages(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		for _, modern := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{kind: kind, modern: modern, legacy: !modern, handle: func(x *exchange) (string, *mcp.Error) {
					for i := range 20 {
						x.notify(mcp.NotifyProgress, fmt.Sprintf(`{"progressToken":%s,"progress":%d,"message":%q}`, x.token(), i, x.params["name"]))
					}
					return `{"resultType":"complete"}`, nil
				}}
				r := newRig(t, p, nil)
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						c := &client{}
						from := modernCaller("a", everything)
						from.ProgressToken = fmt.Append(nil, i)
						r.must(from, c, mcp.MethodToolsCall, fmt.Sprintf(`{"name":"n%d"}`, i))
						got := c.seen()
						if len(got) != 20 {
							t.Errorf("%d notifications", len(got))
						}
						for n, g := range got {
							if want := fmt.Sprintf(`notifications/progress {"progressToken":%d,"progress":%d,"message":"n%d"}`, i, n, i); g != want {
								t.Errorf("%s, want %s", g, want)
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

func TestFloodIsContained(t *testing.T) {
	t.Parallel()
	for _, from := range []upstream.Caller{legacyCaller("a", "s", everything), modernCaller("a", everything)} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
				if x.m.Method != mcp.MethodToolsCall {
					return `{}`, nil
				}
				for i := range 2000 {
					x.notify(mcp.NotifyMessage, fmt.Sprintf(`{"level":"error","data":%d}`, i))
				}
				big := strings.Repeat("x", 1<<20)
				for range 12 {
					x.notify(mcp.NotifyMessage, `{"level":"error","data":"`+big+`"}`)
				}
				for range 200 {
					x.unboundAskAndForget(mcp.MethodElicit)
				}
				return `{"n":1}`, nil
			}}
			r := newRig(t, p, nil)
			from := from
			from.LogLevel = "debug"
			stuck := &stuckClient{release: make(chan struct{})}
			var wg sync.WaitGroup
			wg.Go(func() {
				a := r.must(from, stuck, mcp.MethodToolsCall, callX)
				if a.Kind != mcp.ResultComplete {
					t.Errorf("%+v", a)
				}
			})
			synctest.Wait()
			r.mu.Lock()
			if !slices.Contains(r.bad, "flood") || len(r.bad) > 40 {
				t.Errorf("%d violations", len(r.bad))
			}
			r.mu.Unlock()
			close(stuck.release)
			wg.Wait()
			if stuck.n > 2*maxQueue { // those being passed on and those that wait
				t.Errorf("%d notifications were kept", stuck.n)
			}
		})
	}
}

func (x *exchange) unboundAskAndForget(method string) {
	id, _ := x.question()
	x.out(mcp.AppendRequest(nil, id, method, []byte(`{}`)))
}

// stuckClient reads nothing until it is released.
type stuckClient struct {
	release chan struct{}
	n       int
}

func (s *stuckClient) Notify(string, []byte) error {
	<-s.release
	s.n++
	return nil
}

func (s *stuckClient) Ask(ctx context.Context, _ string, _ []byte) ([]byte, *mcp.Error, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func TestCancellation(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer *peer
		from upstream.Caller
		want int
	}{
		"legacy http":  {&peer{kind: HTTP, legacy: true}, legacyCaller("a", "s", `{}`), 1},
		"legacy stdio": {&peer{kind: Stdio, legacy: true}, legacyCaller("a", "s", `{}`), 1},
		"modern stdio": {&peer{kind: Stdio, modern: true}, modernCaller("a", `{}`), 1},
		"modern http":  {&peer{kind: HTTP, modern: true}, modernCaller("a", `{}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				started := make(chan mcp.ID, 1)
				tc.peer.handle = func(x *exchange) (string, *mcp.Error) {
					started <- x.id
					return "silence", nil
				}
				r := newRig(t, tc.peer, nil)
				ctx, cancel := context.WithCancel(t.Context())
				var id mcp.ID
				go func() { id = <-started; cancel() }()
				if _, err := r.do(ctx, tc.from, &client{}, mcp.MethodToolsCall, callX); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				got := tc.peer.seen("0! notifications/cancelled")
				if len(got) != tc.want {
					t.Fatalf("%q", got)
				}
				if tc.want == 1 && got[0] != `0! notifications/cancelled {"requestId":`+id.Raw()+`,"reason":"the client cancelled the request"}` {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

func TestLogLevelOfASharedSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := map[string]chan struct{}{"one": make(chan struct{}), "two": make(chan struct{})}
		p := &peer{kind: HTTP, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.m.Method == mcp.MethodToolsCall {
				name, _ := x.params["name"].(string)
				<-release[name]
				x.notify(mcp.NotifyMessage, `{"level":"debug","data":1}`)
				x.notify(mcp.NotifyMessage, `{"level":"error","data":2}`)
			}
			return `{}`, nil
		}}
		r := newRig(t, p, nil)
		var wg sync.WaitGroup
		var clients [3]client
		start := func(i int, tool, level string) {
			from := modernCaller("a", everything)
			from.LogLevel = level
			wg.Go(func() { r.must(from, &clients[i], mcp.MethodToolsCall, `{"name":"`+tool+`"}`) })
			synctest.Wait()
		}
		start(0, "one", "debug")
		start(1, "two", "error")
		start(2, "two", "")
		close(release["two"])
		close(release["one"])
		wg.Wait()
		want := []string{`1> logging/setLevel {"level":"debug"}`}
		if diff := cmp.Diff(want, p.seen("1> logging/setLevel")); diff != "" {
			t.Error(diff)
		}
		high := `notifications/message {"level":"error","data":2}`
		for i, want := range [][]string{{`notifications/message {"level":"debug","data":1}`, high}, {high}, nil} {
			if diff := cmp.Diff(want, clients[i].seen()); diff != "" {
				t.Errorf("client %d: %s", i, diff)
			}
		}
		from := modernCaller("a", everything)
		from.LogLevel = "warning"
		r.must(from, &client{}, mcp.MethodToolsList, `{}`)
		if n := len(p.seen("1> logging/setLevel")); n != 2 {
			t.Errorf("set %d times", n)
		}
	})
}

func TestSetLevelOfALegacySession(t *testing.T) {
	t.Parallel()
	p := &peer{kind: Stdio, legacy: true}
	r := newRig(t, p, nil)
	from := legacyCaller("a", "s", `{}`)
	r.must(from, &client{}, mcp.MethodSetLevel, `{"level":"error"}`)
	from.LogLevel = "error"
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	if n := len(p.seen("0> logging/setLevel")); n != 1 {
		t.Errorf("set %d times", n)
	}
	p.pipe(0).crash(upstream.ErrDown)
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	if n := len(p.seen(`1> logging/setLevel {"level":"error"}`)); n != 1 {
		t.Errorf("a reopened session lacks its level: %q", p.seen(""))
	}
}

// Every method with a plain answer crosses all four pairs unchanged but for
// the era's own members.
func TestPlainMethodsInAllPairs(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		for _, modern := range []bool{true, false} {
			p := &peer{kind: kind, modern: modern, legacy: !modern, handle: func(x *exchange) (string, *mcp.Error) {
				if modern {
					return `{"resultType":"complete","x":{"n":1.0},"ttlMs":1,"cacheScope":"public","nextCursor":"c"}`, nil
				}
				return `{"x":{"n":1.0},"nextCursor":"c"}`, nil
			}}
			r := newRig(t, p, nil)
			for method, params := range map[string]string{
				mcp.MethodToolsList: `{"cursor":"q"}`, mcp.MethodPromptsList: ``, mcp.MethodPromptsGet: `{"name":"p","arguments":{"a":"b"}}`,
				mcp.MethodResourcesList: `{}`, mcp.MethodResourcesTemplatesList: `{}`, mcp.MethodResourcesRead: `{"uri":"file:///ü"}`,
				mcp.MethodComplete: `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}`, mcp.MethodToolsCall: `{"name":"t"}`,
			} {
				for _, from := range []upstream.Caller{modernCaller("a", everything), legacyCaller("a", "s", everything)} {
					a := r.must(from, &client{}, method, params)
					route, _ := mcp.RouteOf(mcp.Modern, method)
					want := `{"x":{"n":1.0},"nextCursor":"c"}`
					switch {
					case from.Era == mcp.Modern && modern:
						want = `{"resultType":"complete","x":{"n":1.0},"ttlMs":1,"cacheScope":"public","nextCursor":"c"}`
					case from.Era == mcp.Modern:
						want = `{"x":{"n":1.0},"nextCursor":"c","resultType":"complete"}`
					case modern && !route.Cacheable:
						want = `{"x":{"n":1.0},"ttlMs":1,"cacheScope":"public","nextCursor":"c"}`
					}
					if diff := cmp.Diff(want, string(a.Result)); diff != "" {
						t.Errorf("%s from %v to modern=%v: %s", method, from.Era, modern, diff)
					}
				}
			}
		}
	}
}

func TestErrorsInAllPairs(t *testing.T) {
	t.Parallel()
	for _, modern := range []bool{true, false} {
		p := &peer{modern: modern, legacy: !modern, handle: func(x *exchange) (string, *mcp.Error) {
			return "", &mcp.Error{Code: -32021, Message: "m", Data: []byte(`{"k":[1]}`)}
		}}
		r := newRig(t, p, nil)
		for _, from := range []upstream.Caller{modernCaller("a", everything), legacyCaller("a", "s", everything)} {
			a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
			want := -32021
			switch {
			case modern && from.Era == mcp.Legacy:
				want = mcp.CodeInvalidRequest
			case !modern && from.Era == mcp.Modern:
				want = mcp.CodeInternal
			}
			if a.Error == nil || a.Error.Code != want || string(a.Error.Data) != `{"k":[1]}` || a.Error.Message != "m" {
				t.Errorf("modern=%v from %v: %+v", modern, from.Era, a.Error)
			}
		}
	}
}

func TestMethodsWithoutAWord(t *testing.T) {
	t.Parallel()
	modern := newRig(t, &peer{modern: true}, nil)
	if _, err := modern.do(t.Context(), legacyCaller("a", "s", `{}`), &client{}, "future/method", `{}`); !errors.Is(err, upstream.ErrNotExpressible) {
		t.Errorf("got %v", err)
	}
	legacy := newRig(t, &peer{legacy: true}, nil)
	if _, err := legacy.do(t.Context(), modernCaller("a", `{}`), &client{}, "future/method", `{}`); !errors.Is(err, upstream.ErrNotExpressible) {
		t.Errorf("got %v", err)
	}
}

// A request about a task that the client runs belongs to the call in which the
// client made it, also over a pipe on which several calls are under way, and to
// another call of the session when that one is over.
func TestTasksOfTheClient(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := map[string]chan struct{}{"first": make(chan struct{}), "second": make(chan struct{})}
			p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
				if name, _ := x.params["name"].(string); name != "" {
					<-release[name]
				}
				return `{}`, nil
			}}
			r := newRig(t, p, func(c *Config) { c.Shared = shared })
			from := legacyCaller("a", "s", `{"sampling":{},"tasks":{"cancel":{},"list":{},"requests":{"sampling":{"createMessage":{}}}}}`)
			var clients [2]client
			for i := range clients {
				clients[i].answer = func(_ context.Context, method string, _ []byte) (string, *mcp.Error, error) {
					if method == mcp.MethodSampling {
						return `{"task":{"taskId":"t1","status":"working"}}`, nil, nil
					}
					return `{"taskId":"t1","status":"completed"}`, nil, nil
				}
			}
			var wg sync.WaitGroup
			start := func(i int, name string) {
				wg.Go(func() { r.must(from, &clients[i], mcp.MethodToolsCall, `{"name":"`+name+`"}`) })
				synctest.Wait()
			}
			start(0, "first")
			pp := p.pipe(0)
			ask := func(method, params string, want int) {
				t.Helper()
				got := 0
				if a := <-pp.unboundAsk(method, params); a.Error != nil {
					got = a.Error.Code
				}
				if got != want {
					t.Errorf("%s %s: %d, want %d", method, params, got, want)
				}
			}
			ask(mcp.MethodSampling, `{"task":{}}`, 0)
			start(1, "second")
			ask(mcp.MethodTasksGet, `{"taskId":"t1"}`, 0)
			ask(mcp.MethodTasksCancel, `{"taskId":"t1"}`, 0)
			ask(mcp.MethodTasksGet, `{"taskId":"t2"}`, mcp.CodeInvalidRequest) // which call?
			ask(mcp.MethodTasksList, `{}`, mcp.CodeInvalidRequest)
			if n, m := len(clients[0].seen()), len(clients[1].seen()); n != 3 || m != 0 {
				t.Errorf("asked %d and %d times", n, m)
			}
			close(release["first"])
			synctest.Wait()
			ask(mcp.MethodTasksResult, `{"taskId":"t1"}`, 0)
			ask(mcp.MethodTasksList, `{}`, mcp.CodeMethodNotFound)
			close(release["second"])
			wg.Wait()
			ask(mcp.MethodTasksGet, `{"taskId":"t1"}`, mcp.CodeInvalidRequest)
			if got := p.seen("0> initialize"); len(got) != 1 || strings.Contains(got[0], `"list"`) {
				t.Errorf("%q", got)
			}
		})
	}
}

// What a server asks while the gateway makes a request of its own belongs to
// no call of the client, and is refused and counted like what comes at any
// other moment; beside a call it belongs to that.
func TestNobodyIsAskedAside(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		for _, from := range []upstream.Caller{legacyCaller("a", "s", everything), modernCaller("a", everything)} {
			synctest.Test(t, func(t *testing.T) {
				var code int
				p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
					if x.m.Method == mcp.MethodToolsCall {
						return "silence", nil
					}
					x.notify(mcp.NotifyToolsChanged, `{}`)
					a := x.ask(mcp.MethodRootsList, `{}`)
					code = 0
					if a.Error != nil {
						code = a.Error.Code
					}
					return `{"tools":[]}`, nil
				}}
				r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
				aside := from
				aside.Aside = true
				deaf := &client{}
				if a := r.must(aside, deaf, mcp.MethodToolsList, `{}`); a.Kind != mcp.ResultComplete || code != mcp.CodeInvalidRequest || len(deaf.seen()) != 0 {
					t.Errorf("%+v, %d, %q", a, code, deaf.seen())
				}
				if diff := cmp.Diff([]string{"unbound-request"}, r.violations()); diff != "" {
					t.Error(diff)
				}
				if from.Era == mcp.Modern {
					return
				}
				if kind == HTTP {
					asideOfAnother(t, p)
				}
				c := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) { return `{"roots":[]}`, nil, nil }}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = r.do(ctx, from, c, mcp.MethodToolsCall, callX) })
				synctest.Wait()
				r.must(aside, deaf, mcp.MethodToolsList, `{}`)
				if diff := cmp.Diff([]string{`notifications/tools/list_changed {}`, `ask roots/list {}`}, c.seen()); diff != "" || code != 0 {
					t.Errorf("%d: %s", code, diff)
				}
				cancel()
				wg.Wait()
			})
		}
	}
}

// On a connection that callers share, what comes on the stream of one caller's
// list is not put to another.
func asideOfAnother(t *testing.T, p *peer) {
	t.Helper()
	r := newRig(t, p, func(c *Config) { c.Era, c.Shared = EraLegacy, true })
	other := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) { return `{"roots":[]}`, nil, nil }}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = r.do(ctx, legacyCaller("b", "s2", everything), other, mcp.MethodToolsCall, callX) })
	synctest.Wait()
	aside := legacyCaller("a", "s", everything)
	aside.Aside = true
	r.must(aside, &client{}, mcp.MethodToolsList, `{}`)
	if diff := cmp.Diff([]string{"unbound-request"}, r.violations()); diff != "" || len(other.seen()) != 0 {
		t.Errorf("%q %s", other.seen(), diff)
	}
	cancel()
	wg.Wait()
}
