package bridge

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// listening runs Listen until the test ends it.
type listening struct {
	client
	cancel context.CancelFunc
	done   chan error
}

func (r *rig) listen(from upstream.Caller, filter string) *listening {
	ctx, cancel := context.WithCancel(r.t.Context())
	l := &listening{cancel: cancel, done: make(chan error, 1)}
	cl := r.clear(from, mcp.MethodListen, "", `{"notifications":`+filter+`}`)
	go func() { l.done <- r.Listen(ctx, cl, from, &l.client) }()
	synctest.Wait()
	return l
}

func (l *listening) stop(t *testing.T, want error) {
	t.Helper()
	l.cancel()
	if err := <-l.done; !errors.Is(err, want) {
		t.Errorf("listen ended with %v, want %v", err, want)
	}
}

const wholeFilter = `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["file:///a","file:///b"]}`

func TestListenAtLegacyServer(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
				if x.m.Method == mcp.MethodResourcesSubscribe && x.params["uri"] == "file:///b" {
					return "", &mcp.Error{Code: mcp.CodeResourceNotFound, Message: "no"}
				}
				return `{}`, nil
			}}
			r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
			from := modernCaller("a", everything)
			l, other := r.listen(from, wholeFilter), r.listen(from, `{"resourceSubscriptions":["file:///a"]}`)
			stranger := r.listen(modernCaller("b", everything), wholeFilter)
			pp := p.pipe(0)
			pp.unboundNotify(mcp.NotifyToolsChanged, `{"_meta":{"io.modelcontextprotocol/subscriptionId":"forged"}}`)
			pp.unboundNotify(mcp.NotifyPromptsChanged, `{}`)
			pp.unboundNotify(mcp.NotifyResourcesChanged, `{}`)
			pp.unboundNotify(mcp.NotifyResourceUpdated, `{"uri":"file:///a"}`)
			pp.unboundNotify(mcp.NotifyResourceUpdated, `{"uri":"file:///a/below"}`)
			pp.unboundNotify(mcp.NotifyResourceUpdated, `{"uri":"file:///other"}`)
			pp.unboundNotify(mcp.NotifyMessage, `{"level":"error","data":1}`)
			pp.unboundNotify("notifications/evil", `{}`)
			synctest.Wait()
			want := []string{`notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["file:///a"]}}`,
				`notifications/tools/list_changed {}`, `notifications/resources/list_changed {}`,
				`notifications/resources/updated {"uri":"file:///a"}`, `notifications/resources/updated {"uri":"file:///a/below"}`}
			if diff := cmp.Diff(want, l.seen()); diff != "" {
				t.Error(diff)
			}
			want = []string{`notifications/subscriptions/acknowledged {"notifications":{"resourceSubscriptions":["file:///a"]}}`,
				`notifications/resources/updated {"uri":"file:///a"}`, `notifications/resources/updated {"uri":"file:///a/below"}`}
			if diff := cmp.Diff(want, other.seen()); diff != "" {
				t.Error(diff)
			}
			if n := len(stranger.seen()); n != 1 {
				t.Errorf("a stranger heard %q", stranger.seen())
			}
			if got := p.seen(`0> resources/subscribe {"uri":"file:///a"}`); len(got) != 1 {
				t.Errorf("subscribed %d times", len(got))
			}
			l.stop(t, context.Canceled)
			synctest.Wait()
			if got := p.seen(`0> resources/unsubscribe`); len(got) != 0 {
				t.Errorf("unsubscribed while another watches: %q", got)
			}
			other.stop(t, context.Canceled)
			synctest.Wait()
			if diff := cmp.Diff([]string{`0> resources/unsubscribe {"uri":"file:///a"}`}, p.seen(`0> resources/unsubscribe`)); diff != "" {
				t.Error(diff)
			}
			stranger.stop(t, context.Canceled)
		})
	}
}

func TestLegacySessionAtLegacyServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: HTTP, legacy: true}
		r := newRig(t, p, nil)
		from := legacyCaller("a", "s", everything)
		l := r.listen(from, `{"toolsListChanged":true}`)
		r.must(from, &client{}, mcp.MethodResourcesSubscribe, `{"uri":"file:///a"}`)
		pp := p.pipe(0)
		pp.unboundNotify(mcp.NotifyResourceUpdated, `{"uri":"file:///a"}`)
		pp.unboundNotify(mcp.NotifyMessage, `{"level":"error","data":1}`)
		pp.unboundNotify(mcp.NotifyElicitationComplete, `{"elicitationId":"e"}`)
		synctest.Wait()
		want := []string{`notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true}}`,
			`notifications/resources/updated {"uri":"file:///a"}`, `notifications/message {"level":"error","data":1}`, `notifications/elicitation/complete {"elicitationId":"e"}`}
		if diff := cmp.Diff(want, l.seen()); diff != "" {
			t.Error(diff)
		}
		pp.crash(upstream.ErrDown)
		if err := <-l.done; !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
		l = r.listen(from, `{"toolsListChanged":true}`)
		if got := p.seen(`1> resources/subscribe {"uri":"file:///a"}`); len(got) != 1 {
			t.Errorf("a reopened session lost its subscription: %q", p.seen(""))
		}
		r.must(from, &client{}, mcp.MethodResourcesUnsubscribe, `{"uri":"file:///a"}`)
		if got := p.seen(`1> resources/unsubscribe {"uri":"file:///a"}`); len(got) != 1 {
			t.Errorf("%q", p.seen(""))
		}
		l.stop(t, context.Canceled)
	})
}

// modernStream lets a test speak on the open streams of a modern peer.
type modernStream struct {
	mu   sync.Mutex
	open []*exchange
	end  []chan string
}

func (m *modernStream) handle(x *exchange) (string, *mcp.Error) {
	if x.m.Method != mcp.MethodListen {
		return `{"resultType":"complete"}`, nil
	}
	end := make(chan string, 1)
	m.mu.Lock()
	m.open, m.end = append(m.open, x), append(m.end, end)
	m.mu.Unlock()
	select {
	case r := <-end:
		return r, nil
	case <-x.ctx.Done():
		return "silence", nil
	}
}

func (m *modernStream) send(i int, method, rest string) {
	m.mu.Lock()
	x := m.open[i]
	m.mu.Unlock()
	x.notify(method, `{"_meta":{"io.modelcontextprotocol/subscriptionId":`+x.id.Raw()+`}`+rest+`}`)
}

func TestListenAtModernServer(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			var s modernStream
			p := &peer{kind: kind, modern: true, handle: s.handle}
			r := newRig(t, p, nil)
			from := modernCaller("a", everything)
			l := r.listen(from, `{"toolsListChanged":true,"resourceSubscriptions":["file:///a"],"future":{"x":1}}`)
			two := r.listen(from, `{"promptsListChanged":true}`)
			s.send(0, mcp.NotifyToolsChanged, "")
			s.send(0, mcp.NotifySubscriptionAck, `,"notifications":{"toolsListChanged":true}`)
			s.send(0, mcp.NotifySubscriptionAck, `,"notifications":{"toolsListChanged":true}`)
			s.send(0, mcp.NotifyToolsChanged, "")
			s.send(0, mcp.NotifyPromptsChanged, "")
			s.send(0, mcp.NotifyProgress, `,"progressToken":1,"progress":1`)
			s.send(0, mcp.NotifyResourceUpdated, `,"uri":"file:///a"`)
			s.send(1, mcp.NotifySubscriptionAck, `,"notifications":{"promptsListChanged":true}`)
			s.send(1, mcp.NotifyPromptsChanged, "")
			synctest.Wait()
			want := []string{`notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true}}`,
				`notifications/tools/list_changed {}`, `notifications/resources/updated {"uri":"file:///a"}`}
			if diff := cmp.Diff(want, l.seen()); diff != "" {
				t.Error(diff)
			}
			want = []string{`notifications/subscriptions/acknowledged {"notifications":{"promptsListChanged":true}}`, `notifications/prompts/list_changed {}`}
			if diff := cmp.Diff(want, two.seen()); diff != "" {
				t.Error(diff)
			}
			if n := len(r.violations()); n < 3 {
				t.Errorf("%q", r.violations())
			}
			sent := p.seen("0> subscriptions/listen")
			if len(sent) != 2 || !strings.Contains(sent[0], `"future":{"x":1}`) || !strings.Contains(sent[0], mcp.MetaClientCapabilities) {
				t.Errorf("%q", sent)
			}
			s.end[0] <- `{"resultType":"complete"}`
			if err := <-l.done; err != nil {
				t.Errorf("a graceful end: %v", err)
			}
			two.stop(t, context.Canceled)
			synctest.Wait()
			cancelled := p.seen("0! notifications/cancelled")
			if kind == Stdio && len(cancelled) != 1 || kind == HTTP && len(cancelled) != 0 {
				t.Errorf("%q", cancelled)
			}
		})
	}
}

func TestStdioServerEndsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s modernStream
		p := &peer{kind: Stdio, modern: true, handle: s.handle}
		r := newRig(t, p, nil)
		l := r.listen(modernCaller("a", everything), `{"toolsListChanged":true}`)
		p.pipe(0).unboundNotify(mcp.NotifyCancelled, `{"requestId":`+s.open[0].id.Raw()+`}`)
		if err := <-l.done; err != nil {
			t.Errorf("got %v", err)
		}
		l = r.listen(modernCaller("a", everything), `{"toolsListChanged":true}`)
		p.pipe(0).crash(upstream.ErrDown)
		if err := <-l.done; !errors.Is(err, upstream.ErrDown) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLegacySessionAtModernServer(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			var s modernStream
			p := &peer{kind: kind, modern: true, handle: s.handle}
			r := newRig(t, p, func(c *Config) { c.Era = EraModern })
			from := legacyCaller("a", "s", everything)
			r.must(from, &client{}, mcp.MethodResourcesSubscribe, `{"uri":"file:///early"}`)
			l := r.listen(from, `{"toolsListChanged":true}`)
			s.send(0, mcp.NotifySubscriptionAck, `,"notifications":{}`)
			synctest.Wait()
			r.must(from, &client{}, mcp.MethodResourcesSubscribe, `{"uri":"file:///a"}`)
			synctest.Wait()
			s.send(0, mcp.NotifyToolsChanged, "") // the first stream goes on meanwhile
			s.send(1, mcp.NotifySubscriptionAck, `,"notifications":{}`)
			s.send(1, mcp.NotifyResourceUpdated, `,"uri":"file:///a"`)
			synctest.Wait()
			if kind == Stdio {
				s.send(0, mcp.NotifyResourceUpdated, `,"uri":"file:///early"`) // it stays open
			}
			synctest.Wait()
			want := []string{`notifications/subscriptions/acknowledged {"notifications":{}}`, `notifications/tools/list_changed {}`, `notifications/resources/updated {"uri":"file:///a"}`}
			if kind == Stdio {
				want = append(want, `notifications/resources/updated {"uri":"file:///early"}`)
			}
			if diff := cmp.Diff(want, l.seen()); diff != "" {
				t.Error(diff)
			}
			for i, uri := range []string{"file:///a", "file:///early"} {
				r.must(from, &client{}, mcp.MethodResourcesUnsubscribe, `{"uri":"`+uri+`"}`)
				synctest.Wait()
				if kind == HTTP {
					s.send(2+i, mcp.NotifySubscriptionAck, `,"notifications":{}`)
				} else {
					s.send(1-i, mcp.NotifyResourceUpdated, `,"uri":"`+uri+`"`) // nobody wants it any more
				}
				synctest.Wait()
			}
			synctest.Wait()
			var filters []string
			for _, line := range p.seen("0> subscriptions/listen") {
				_, f, _ := strings.Cut(line, `"notifications":`)
				f, _, _ = strings.Cut(f, `,"_meta"`)
				filters = append(filters, f)
			}
			want = []string{`{"toolsListChanged":true,"resourceSubscriptions":["file:///early"]}`,
				`{"toolsListChanged":true,"resourceSubscriptions":["file:///a","file:///early"]}`,
				`{"toolsListChanged":true,"resourceSubscriptions":["file:///early"]}`, `{"toolsListChanged":true}`}
			stay := 1
			if kind == Stdio {
				// A process is asked for what is new, and cancelled nothing.
				want, stay = []string{want[0], `{"resourceSubscriptions":["file:///a"]}`}, 2
			}
			if diff := cmp.Diff(want, filters); diff != "" {
				t.Error(diff)
			}
			if open := len(r.pool[r.key(mcp.Modern, from)].opened().listeners); open != stay {
				t.Errorf("%d streams stay open", open)
			}
			if n := len(l.seen()); n != 2+stay {
				t.Errorf("%q", l.seen())
			}
			l.stop(t, context.Canceled)
			r.End("s")
			if len(r.wants.sets) != 0 {
				t.Error("a session that ended is remembered")
			}
		})
	}
}

func TestListenStopsWhenRulesChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true}
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		var mu sync.Mutex
		var gens call.Generations
		now := func() call.Generations { mu.Lock(); defer mu.Unlock(); return gens }
		done := make(chan error, 1)
		c := &client{}
		cl := r.clearFor("srv", from, mcp.MethodListen, "", `{"notifications":`+wholeFilter+`}`, now)
		go func() { done <- r.Listen(t.Context(), cl, from, c) }()
		synctest.Wait()
		mu.Lock()
		gens.Revocation++
		mu.Unlock()
		p.pipe(0).unboundNotify(mcp.NotifyToolsChanged, `{}`)
		if err := <-done; !errors.Is(err, call.ErrStale) {
			t.Errorf("got %v", err)
		}
		if n := len(c.seen()); n != 1 {
			t.Errorf("%q", c.seen())
		}
	})
}

func TestListenFloodAndDuplicates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, legacy: true}
		r := newRig(t, p, nil)
		stuck := &stuckClient{release: make(chan struct{})}
		from := modernCaller("a", everything)
		ctx, cancel := context.WithCancel(t.Context())
		cl := r.clear(from, mcp.MethodListen, "", `{"notifications":{"toolsListChanged":true}}`)
		done := make(chan error, 1)
		go func() { done <- r.Listen(ctx, cl, from, stuck) }()
		synctest.Wait()
		for range 20_000 {
			p.pipe(0).unboundNotify(mcp.NotifyToolsChanged, `{}`)
		}
		close(stuck.release)
		synctest.Wait()
		if stuck.n > 3 {
			t.Errorf("%d copies were kept", stuck.n)
		}
		cancel()
		<-done
	})
}

func TestGetStreamOfLegacySession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		p := &peer{kind: HTTP, legacy: true}
		p.listen = func(pp *pipe, ctx context.Context) error {
			opened++
			if opened < 3 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		r := newRig(t, p, nil)
		r.must(legacyCaller("a", "s", `{}`), &client{}, mcp.MethodToolsList, `{}`)
		time.Sleep(time.Minute)
		synctest.Wait()
		if opened != 3 {
			t.Errorf("opened %d times", opened)
		}
	})
	for _, err := range []error{&upstream.StatusError{Status: 405}, upstream.ErrSessionGone} {
		synctest.Test(t, func(t *testing.T) {
			opened := 0
			p := &peer{kind: HTTP, legacy: true, listen: func(*pipe, context.Context) error { opened++; return err }}
			r := newRig(t, p, nil)
			_, _ = r.do(t.Context(), legacyCaller("a", "s", `{}`), &client{}, mcp.MethodToolsList, `{}`)
			time.Sleep(time.Minute)
			synctest.Wait()
			gone := errors.Is(err, upstream.ErrSessionGone)
			if !gone && opened != 1 || gone != (len(p.seen("0 closed")) == 1) {
				t.Errorf("%v: opened %d times, %q", err, opened, p.seen("0 closed"))
			}
		})
	}
}

// A change that a legacy server tells while a call is under way reaches a
// client that has no other stream for it, and the owner of the catalogue in
// any case.
func TestChangesDuringACall(t *testing.T) {
	t.Parallel()
	changes := []string{
		`notifications/tools/list_changed {}`, `notifications/prompts/list_changed {}`, `notifications/resources/list_changed {}`,
		`notifications/resources/updated {"uri":"file:///a"}`, `notifications/elicitation/complete {"elicitationId":"e"}`,
	}
	legacy, modern := legacyCaller("a", "s", everything), modernCaller("a", everything)
	const ack = `notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true,"resourcesListChanged":true}}`
	for name, tc := range map[string]struct {
		from           upstream.Caller
		filter         string // of a stream beside the call
		shared         bool
		onCall, beside []string
	}{
		"legacy, no stream":             {from: legacy, onCall: changes},
		"legacy, its own stream":        {from: legacy, filter: `{"toolsListChanged":true,"resourcesListChanged":true}`, beside: []string{ack, changes[0], changes[2], changes[3], changes[4]}},
		"legacy, no stream, shared":     {from: legacy, shared: true, onCall: changes},
		"modern, no stream":             {from: modern},
		"modern, what it subscribed to": {from: modern, filter: `{"toolsListChanged":true,"resourcesListChanged":true}`, beside: []string{ack, changes[0], changes[2]}},
	} {
		for _, kind := range []Kind{HTTP, Stdio} {
			if tc.shared && kind == Stdio {
				continue // nothing says whose call it belongs to
			}
			synctest.Test(t, func(t *testing.T) {
				p := &peer{kind: kind, legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
					if x.m.Method == mcp.MethodToolsCall {
						for _, c := range changes {
							method, params, _ := strings.Cut(c, " ")
							x.notify(method, params)
						}
					}
					return `{}`, nil
				}}
				var told []string
				r := newRig(t, p, func(c *Config) {
					c.Shared = tc.shared
					c.Changed = func(method string) { told = append(told, method) }
				})
				var l *listening
				if tc.filter != "" {
					l = r.listen(tc.from, tc.filter)
				}
				var c client
				r.must(tc.from, &c, mcp.MethodToolsCall, callX)
				synctest.Wait()
				if diff := cmp.Diff(tc.onCall, c.seen()); diff != "" {
					t.Errorf("%s, kind %d: %s", name, kind, diff)
				}
				if l != nil {
					if diff := cmp.Diff(tc.beside, l.seen()); diff != "" {
						t.Errorf("%s, kind %d, beside the call: %s", name, kind, diff)
					}
					l.stop(t, context.Canceled)
				}
				p.pipe(-1).unboundNotify(mcp.NotifyToolsChanged, `{}`)
				want := []string{mcp.NotifyToolsChanged, mcp.NotifyPromptsChanged, mcp.NotifyResourcesChanged, mcp.NotifyToolsChanged}
				if diff := cmp.Diff(want, told); diff != "" {
					t.Errorf("%s, kind %d, the catalogue: %s", name, kind, diff)
				}
			})
		}
	}
}
