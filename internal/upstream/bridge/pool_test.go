package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func TestConnectionsPerCaller(t *testing.T) {
	t.Parallel()
	other := func(c upstream.Caller, client string) upstream.Caller {
		c.Principal = call.NewPrincipal(call.Identity{Issuer: "test", Subject: "a", Kind: call.Operator, Client: client})
		return c
	}
	modern, legacy := modernCaller("a", everything), legacyCaller("a", "s1", everything)
	same := legacyCaller("a", "s2", everything)
	for name, tc := range map[string]struct {
		peer   *peer
		era    EraSetting
		shared bool
		from   []upstream.Caller
		want   int
	}{
		"modern http is one for all":            {&peer{kind: HTTP, modern: true}, EraModern, false, []upstream.Caller{modern, modernCaller("b", `{}`), legacy, same}, 1},
		"modern process per principal":          {&peer{kind: Stdio, modern: true}, EraModern, false, []upstream.Caller{modern, modern, modernCaller("b", everything)}, 2},
		"modern process per client":             {&peer{kind: Stdio, modern: true}, EraModern, false, []upstream.Caller{modern, other(modern, "x")}, 2},
		"modern process shared":                 {&peer{kind: Stdio, modern: true}, EraModern, true, []upstream.Caller{modern, modernCaller("b", `{}`)}, 1},
		"legacy session per downstream session": {&peer{kind: HTTP, legacy: true}, EraLegacy, false, []upstream.Caller{legacy, legacy, same, legacyCaller("b", "s1", everything)}, 3},
		"legacy process per downstream session": {&peer{kind: Stdio, legacy: true}, EraLegacy, false, []upstream.Caller{legacy, same, other(legacy, "x")}, 3},
		"legacy per declared abilities":         {&peer{kind: Stdio, legacy: true}, EraLegacy, false, []upstream.Caller{modern, modernCaller("a", `{}`), modernCaller("a", `{"extensions":{"x/ui":{}}}`), modern}, 3},
		"legacy per principal":                  {&peer{kind: HTTP, legacy: true}, EraLegacy, false, []upstream.Caller{modern, modernCaller("b", everything)}, 2},
		"legacy shared":                         {&peer{kind: Stdio, legacy: true}, EraLegacy, true, []upstream.Caller{modern, modernCaller("b", everything)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.peer, func(c *Config) { c.Era, c.Shared = tc.era, tc.shared })
			for _, from := range tc.from {
				r.must(from, &client{}, mcp.MethodToolsList, `{}`)
			}
			if n := tc.peer.dials(); n != tc.want {
				t.Errorf("%d connections, want %d", n, tc.want)
			}
		})
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
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
		from := legacyCaller("a", "s", `{}`)
		var wg sync.WaitGroup
		wg.Go(func() { r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`) })
		time.Sleep(20 * time.Minute)
		if len(p.seen("0 closed")) != 0 {
			t.Error("a connection in use was closed")
		}
		close(release)
		wg.Wait()
		time.Sleep(9 * time.Minute)
		r.must(from, &client{}, mcp.MethodToolsList, `{}`)
		time.Sleep(9 * time.Minute)
		if len(p.seen("0 closed")) != 0 {
			t.Error("a connection was closed before its time")
		}
		time.Sleep(2 * time.Minute)
		if len(p.seen("0 closed")) != 1 {
			t.Error("an idle connection stays open")
		}
		r.must(from, &client{}, mcp.MethodToolsList, `{}`)
		if p.dials() != 2 {
			t.Errorf("%d dials", p.dials())
		}
	})
}

func TestBoundOnConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.m.Method == mcp.MethodToolsCall {
				<-release
			}
			return `{}`, nil
		}}
		r := newRig(t, p, func(c *Config) { c.MaxConns, c.Era = 2, EraLegacy })
		var wg sync.WaitGroup
		for _, s := range []string{"s1", "s2"} {
			wg.Go(func() { r.must(legacyCaller("a", s, `{}`), &client{}, mcp.MethodToolsCall, `{"name":"x"}`) })
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if _, err := r.do(t.Context(), legacyCaller("a", "s3", `{}`), &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrBusy) {
			t.Errorf("got %v", err)
		}
		close(release)
		wg.Wait()
		r.must(legacyCaller("a", "s2", `{}`), &client{}, mcp.MethodToolsList, `{}`)
		time.Sleep(time.Second)
		r.must(legacyCaller("a", "s1", `{}`), &client{}, mcp.MethodToolsList, `{}`)
		r.must(legacyCaller("a", "s3", `{}`), &client{}, mcp.MethodToolsList, `{}`)
		synctest.Wait()
		if len(p.seen("1 closed")) != 1 || len(p.seen("0 closed")) != 0 {
			t.Errorf("room was not made by closing what was idle longest: %q", p.seen(""))
		}
	})
}

func TestLostConnectionIsReopenedAndNothingSentTwice(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{upstream.ErrDown, upstream.ErrSessionGone} {
		for _, from := range []upstream.Caller{legacyCaller("a", "s", `{}`), modernCaller("a", `{}`)} {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{kind: Stdio, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
					if x.m.Method == mcp.MethodToolsCall {
						return "silence", nil
					}
					return `{}`, nil
				}}
				r := newRig(t, p, nil)
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`)
					if !errors.Is(err, cause) || !strings.Contains(err.Error(), "not sent again") {
						t.Errorf("got %v", err)
					}
				})
				synctest.Wait()
				p.pipe(0).crash(cause)
				wg.Wait()
				r.must(from, &client{}, mcp.MethodToolsList, `{}`)
				if p.dials() != 2 || len(p.seen("1> tools/call")) != 0 {
					t.Errorf("%d dials: %q", p.dials(), p.seen(""))
				}
			})
		}
	}
}

func TestSessionGoneInOtherWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		restarted := false
		p := &peer{kind: HTTP, legacy: true}
		p.handle = func(x *exchange) (string, *mcp.Error) {
			if restarted && x.n == 0 {
				return "", &mcp.Error{Code: -32000, Message: "Bad Request: No valid session ID provided"}
			}
			return `{}`, nil
		}
		r := newRig(t, p, nil)
		from := legacyCaller("a", "s", `{}`)
		r.must(from, &client{}, mcp.MethodToolsList, `{}`)
		restarted = true
		if a := r.must(from, &client{}, mcp.MethodToolsList, `{}`); a.Error == nil {
			t.Errorf("%+v", a)
		}
		if a := r.must(from, &client{}, mcp.MethodToolsList, `{}`); a.Error != nil || p.dials() != 2 {
			t.Errorf("%+v after %d dials", a, p.dials())
		}
		synctest.Wait()
	})
}

func TestDoubtIsCheckedOnce(t *testing.T) {
	t.Parallel()
	p := &peer{kind: HTTP, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
		if x.m.Method == mcp.MethodToolsCall {
			return "", &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "no"}
		}
		return `{}`, nil
	}}
	r := newRig(t, p, nil)
	from := legacyCaller("a", "s", `{}`)
	r.must(from, &client{}, mcp.MethodToolsCall, callX)
	for range 3 {
		r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	}
	if n := len(p.seen("0> ping")); n != 1 || p.dials() != 1 {
		t.Errorf("%d pings, %d dials", n, p.dials())
	}
}

func TestSessionGoneByStatus(t *testing.T) {
	t.Parallel()
	gone := false
	p := &peer{legacy: true}
	p.t = t
	d := dialerFunc(func(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
		tr, err := p.Dial(ctx, o)
		return &amnesiac{tr.(*pipe), &gone}, err
	})
	s, err := New(Config{Name: "srv", Era: EraLegacy, Kind: HTTP}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	r := &rig{Server: s, t: t, peer: p}
	from := legacyCaller("a", "s", `{}`)
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	gone = true
	if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrSessionGone) {
		t.Errorf("got %v", err)
	}
	gone = false
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	if p.dials() != 2 {
		t.Errorf("%d dials", p.dials())
	}
}

// amnesiac forgets its sessions.
type amnesiac struct {
	*pipe
	gone *bool
}

func (a *amnesiac) Exchange(ctx context.Context, m upstream.Outgoing, h upstream.Handler) (mcp.Message, error) {
	if *a.gone {
		return mcp.Message{}, upstream.ErrSessionGone
	}
	return a.pipe.Exchange(ctx, m, h)
}

func TestEndOfSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: HTTP, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
			if x.m.Method == mcp.MethodToolsCall {
				return "silence", nil
			}
			return `{}`, nil
		}}
		r := newRig(t, p, nil)
		a, b := legacyCaller("a", "s1", `{}`), legacyCaller("a", "s2", `{}`)
		r.must(b, &client{}, mcp.MethodToolsList, `{}`)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.do(t.Context(), a, &client{}, mcp.MethodToolsCall, `{"name":"x"}`); err == nil {
				t.Error("a call outlived its session")
			}
		})
		synctest.Wait()
		r.End("")
		r.End("s1")
		wg.Wait()
		synctest.Wait()
		if len(p.seen("1 closed")) != 1 || len(p.seen("0 closed")) != 0 {
			t.Errorf("%q", p.seen(""))
		}
	})
}

func TestEndWhileOpening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true, t: t}
		d := dialerFunc(func(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
			time.Sleep(time.Second)
			return p.Dial(ctx, o)
		})
		s, err := New(Config{Name: "srv", Era: EraLegacy, Kind: Stdio}, d)
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{Server: s, t: t, peer: p}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.do(t.Context(), legacyCaller("a", "s1", `{}`), &client{}, mcp.MethodToolsList, `{}`); err == nil {
				t.Error("a session that ended was opened")
			}
		})
		synctest.Wait()
		r.End("s1")
		wg.Wait()
		synctest.Wait()
		if len(p.seen("0 closed")) != 1 {
			t.Errorf("the process of an ended session runs on: %q", p.seen(""))
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOpeningOutlivesItsFirstCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true, t: t}
		d := dialerFunc(func(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
			select {
			case <-time.After(2 * time.Second):
				return p.Dial(ctx, o)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		s, err := New(Config{Name: "srv", Era: EraLegacy, Kind: Stdio}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		r := &rig{Server: s, t: t, peer: p}
		from := legacyCaller("a", "s", `{}`)
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.do(ctx, from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { r.must(from, &client{}, mcp.MethodToolsList, `{}`) })
		wg.Wait()
		if p.dials() != 1 {
			t.Errorf("%d dials", p.dials())
		}
	})
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	for _, from := range []upstream.Caller{legacyCaller("a", "s", `{}`), modernCaller("a", everything)} {
		for _, era := range []EraSetting{EraModern, EraLegacy} {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{kind: Stdio, legacy: true, modern: true, handle: func(x *exchange) (string, *mcp.Error) { return "silence", nil }}
				r := newRig(t, p, func(c *Config) { c.Era = era })
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`); err == nil {
						t.Error("a call outlived the server")
					}
				})
				synctest.Wait()
				if err := r.Close(t.Context()); err != nil {
					t.Error(err)
				}
				wg.Wait()
				if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsCall, `{"name":"x"}`); !errors.Is(err, errClosed) {
					t.Errorf("after Close: %v", err)
				}
			})
		}
	}
}

func TestClearanceIsForThisCaller(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true, legacy: true}
	r := newRig(t, p, nil)
	from, session := modernCaller("a", everything), legacyCaller("a", "s1", `{}`)
	still := func() call.Generations { return call.Generations{} }
	used := r.clear(from, mcp.MethodToolsList, "", `{}`)
	if _, err := r.Call(t.Context(), used, from, &client{}); err != nil {
		t.Fatal(err)
	}
	var n uint64
	moved := r.clearFor("srv", from, mcp.MethodToolsList, "", `{}`, func() call.Generations { n++; return call.Generations{Policy: n} })
	before := len(p.seen("0> tools/list"))
	for name, tc := range map[string]struct {
		cl   *call.Clearance
		from upstream.Caller
		want error
	}{
		"none":                 {nil, from, call.ErrNotCleared},
		"zero":                 {new(call.Clearance), from, call.ErrNotCleared},
		"used":                 {used, from, call.ErrSpent},
		"another server":       {r.clearFor("other", from, mcp.MethodToolsList, "", `{}`, still), from, call.ErrNotCleared},
		"another principal":    {r.clear(from, mcp.MethodToolsList, "", `{}`), modernCaller("b", everything), call.ErrNotCleared},
		"another session":      {r.clear(session, mcp.MethodToolsList, "", `{}`), legacyCaller("a", "s2", `{}`), call.ErrNotCleared},
		"generations moved":    {moved, from, call.ErrStale},
		"listen is no call":    {r.clear(from, mcp.MethodListen, "", `{}`), from, upstream.ErrNotExpressible},
		"initialize no call":   {r.clear(from, mcp.MethodInitialize, "", `{}`), from, upstream.ErrNotExpressible},
		"notification no call": {r.clear(from, mcp.NotifyCancelled, "", `{}`), from, upstream.ErrNotExpressible},
	} {
		if _, err := r.Call(t.Context(), tc.cl, tc.from, &client{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: call: %v", name, err)
		}
		if errors.Is(tc.want, upstream.ErrNotExpressible) || tc.cl == nil {
			continue
		}
		if err := r.Notify(t.Context(), tc.cl, tc.from); err == nil {
			t.Errorf("%s: notify passed", name)
		}
		if err := r.Listen(t.Context(), tc.cl, tc.from, &client{}); err == nil {
			t.Errorf("%s: listen passed", name)
		}
	}
	if after := len(p.seen("0> tools/list")); after != before {
		t.Error("something reached the server")
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	asked, done := make(chan struct{}), make(chan struct{})
	p := &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
		if x.m.Method == mcp.MethodToolsCall {
			x.ask(mcp.MethodSampling, `{"_meta":{"progressToken":"q"}}`)
		}
		return `{}`, nil
	}}
	r := newRig(t, p, nil)
	from := legacyCaller("a", "s", everything)
	send := func(method, params string) {
		t.Helper()
		if err := r.Notify(t.Context(), r.clear(from, method, "", params), from); err != nil {
			t.Error(err)
		}
	}
	send(mcp.NotifyRootsChanged, `{}`)
	if p.dials() != 0 {
		t.Error("a notification opened a connection")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r.must(from, &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
			close(asked)
			<-done
			return `{}`, nil, nil
		}}, mcp.MethodToolsCall, `{"name":"x"}`)
	})
	<-asked
	send(mcp.NotifyRootsChanged, `{}`)
	send(mcp.NotifyProgress, `{"progressToken":"q","progress":1}`)
	send(mcp.NotifyProgress, `{"progressToken":"forged","progress":1}`)
	send(mcp.NotifyInitialized, `{}`)
	send(mcp.NotifyTaskStatus, `{}`)
	send("notifications/evil", `{}`)
	close(done)
	wg.Wait()
	got := p.seen("0! ")
	want := []string{"0! notifications/initialized ", "0! notifications/roots/list_changed {}", `0! notifications/progress {"progressToken":"q","progress":1}`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
}
