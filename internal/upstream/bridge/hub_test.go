package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// process is a modern server on standard streams. A frugal one keeps one
// subscription of each kind, in whose place the next one steps, and forgets all
// of them when any is cancelled, as a widely used library does. Only a polite
// one answers what was cancelled.
type process struct {
	frugal, polite bool

	mu    sync.Mutex
	subs  map[string]*subscribed // by request ID
	slots map[string]*subscribed // by kind, of a frugal one
	most  int
}

type subscribed struct {
	x    *exchange
	want filter
	end  chan struct{}
}

func (f filter) kinds() []string {
	var out []string
	for _, m := range f.object() {
		if m.Name != "resourceSubscriptions" {
			out = append(out, m.Name)
		}
	}
	return append(out, f.uris...)
}

func (p *process) handle(x *exchange) (string, *mcp.Error) {
	if x.m.Method != mcp.MethodListen {
		return `{"resultType":"complete"}`, nil
	}
	s := &subscribed{x: x, want: readFilter(x.m.Params), end: make(chan struct{})}
	p.mu.Lock()
	s.tell(mcp.NotifySubscriptionAck, `,"notifications":`+string(s.want.object().Append(nil)))
	p.subs[x.id.Raw()] = s
	p.most = max(p.most, len(p.subs))
	for _, k := range s.want.kinds() {
		p.slots[k] = s
	}
	p.mu.Unlock()
	select {
	case <-s.end:
	case <-x.ctx.Done():
	}
	if !p.polite {
		return "silence", nil
	}
	return `{"resultType":"complete"}`, nil
}

func (s *subscribed) tell(method, rest string) {
	s.x.notify(method, `{"_meta":{"io.modelcontextprotocol/subscriptionId":`+s.x.id.Raw()+`}`+rest+`}`)
}

func (p *process) heard(m upstream.Outgoing) {
	o, _ := mcp.ObjectOf(m.Params)
	id, _ := o.Get("requestId")
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.subs[string(id)]; s != nil {
		delete(p.subs, string(id))
		clear(p.slots)
		close(s.end)
	}
}

// change tells those who subscribed that something of a kind changed.
func (p *process) change(kind string) {
	method, rest := mcp.NotifyResourceUpdated, `,"uri":"`+kind+`"`
	switch kind {
	case "toolsListChanged":
		method, rest = mcp.NotifyToolsChanged, ""
	case "promptsListChanged":
		method, rest = mcp.NotifyPromptsChanged, ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var to []*subscribed
	if p.frugal {
		if s := p.slots[kind]; s != nil {
			to = append(to, s)
		}
	} else {
		for _, s := range p.subs {
			for _, k := range s.want.kinds() {
				if k == kind {
					to = append(to, s)
				}
			}
		}
	}
	for _, s := range to {
		s.tell(method, rest)
	}
}

// watcher looks at what changed each time that it is told, as a client does.
type watcher struct {
	*listening
	kinds []string
	world *world
	told  map[string]int // what it knows of each kind
	acked bool
}

type world struct {
	mu sync.Mutex
	is map[string]int
}

func (w *watcher) Notify(method string, params []byte) error {
	o, _ := mcp.ObjectOf(params)
	kind, _ := mcp.Text(o, "uri", 100)
	switch method {
	case mcp.NotifyToolsChanged:
		kind = "toolsListChanged"
	case mcp.NotifyPromptsChanged:
		kind = "promptsListChanged"
	}
	w.world.mu.Lock()
	defer w.world.mu.Unlock()
	if method == mcp.NotifySubscriptionAck {
		w.acked = true
		for _, k := range w.kinds {
			w.told[k] = w.world.is[k] // it looks now, and relies on being told from here on
		}
		return nil
	}
	w.told[kind] = w.world.is[kind]
	return nil
}

func (w *watcher) Ask(context.Context, string, []byte) ([]byte, *mcp.Error, error) {
	panic("nobody is asked on a stream")
}

// Many listeners of one client come and go at one process while things change.
// Whoever is subscribed knows the last change in the end, whatever the server
// makes of several subscriptions.
func TestNoChangeIsLostAtASharedProcess(t *testing.T) {
	t.Parallel()
	kinds := []string{"toolsListChanged", "promptsListChanged"}
	for i := range 40 {
		kinds = append(kinds, fmt.Sprintf("file:///%d", i))
	}
	for _, like := range []struct{ frugal, polite bool }{{false, true}, {true, true}, {true, false}} {
		for seed := range uint64(40) {
			synctest.Test(t, func(t *testing.T) {
				pr := &process{frugal: like.frugal, polite: like.polite, subs: map[string]*subscribed{}, slots: map[string]*subscribed{}}
				p := &peer{kind: Stdio, modern: true, handle: pr.handle, heard: pr.heard}
				r := newRig(t, p, func(c *Config) { c.Era = EraModern })
				rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a repeatable test
				wd := &world{is: map[string]int{}}
				live := map[*watcher]bool{}
				from := modernCaller("a", everything)
				join := func() {
					w := &watcher{world: wd, told: map[string]int{}}
					for range 1 + rnd.IntN(3) {
						w.kinds = append(w.kinds, kinds[rnd.IntN(len(kinds)/(1+rnd.IntN(12)))])
					}
					f := filter{}
					for _, k := range w.kinds {
						switch {
						case strings.HasPrefix(k, "file:"):
							f.uris = append(f.uris, k)
						case k == "toolsListChanged":
							f.tools = true
						default:
							f.prompts = true
						}
					}
					w.listening = r.follow(from, string(f.object().Append(nil)), w)
					live[w] = true
				}
				for range 120 {
					switch n := rnd.IntN(10); {
					case n < 3 || len(live) == 0:
						join()
					case n < 5:
						for w := range live {
							delete(live, w)
							w.cancel()
							break
						}
					case n == 5:
						synctest.Wait()
					default:
						kind := kinds[rnd.IntN(len(kinds)/(1+rnd.IntN(12)))]
						wd.mu.Lock()
						wd.is[kind]++
						wd.mu.Unlock()
						pr.change(kind)
					}
				}
				time.Sleep(2 * endTime) // a server that does not answer is waited for
				synctest.Wait()
				for w := range live {
					wd.mu.Lock()
					for _, k := range w.kinds {
						if !w.acked || w.told[k] != wd.is[k] {
							t.Errorf("frugal %v, polite %v, seed %d: one that wants %v (acknowledged: %v) knows change %d of %s, it is %d",
								like.frugal, like.polite, seed, w.kinds, w.acked, w.told[k], k, wd.is[k])
						}
					}
					wd.mu.Unlock()
					w.stop(t, context.Canceled)
				}
				synctest.Wait()
				pr.mu.Lock()
				defer pr.mu.Unlock()
				if pr.most > maxShared+1 || len(pr.subs) > 0 || p.dials() != 1 {
					t.Errorf("%d subscriptions at once, %d stay, %d processes", pr.most, len(pr.subs), p.dials())
				}
				if len(r.violations()) > 0 {
					t.Errorf("%q", r.violations())
				}
			})
		}
	}
}

func (r *rig) follow(from upstream.Caller, filter string, c upstream.Client) *listening {
	ctx, cancel := context.WithCancel(r.t.Context())
	l := &listening{cancel: cancel, done: make(chan error, 1)}
	cl := r.clear(from, mcp.MethodListen, "", `{"notifications":`+filter+`}`)
	go func() { l.done <- r.Listen(ctx, cl, from, c) }()
	return l
}

func TestAProcessIsAskedOnceForEachKind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pr := &process{frugal: true, polite: true, subs: map[string]*subscribed{}, slots: map[string]*subscribed{}}
		p := &peer{kind: Stdio, modern: true, handle: pr.handle, heard: pr.heard}
		r := newRig(t, p, nil)
		from := modernCaller("a", everything)
		one := r.listen(from, `{"toolsListChanged":true}`)
		two := r.listen(from, `{"toolsListChanged":true}`)
		three := r.listen(from, `{"toolsListChanged":true,"promptsListChanged":true}`)
		one.stop(t, context.Canceled)
		pr.change("toolsListChanged")
		pr.change("promptsListChanged")
		synctest.Wait()
		tools, prompts := `notifications/tools/list_changed {}`, `notifications/prompts/list_changed {}`
		if diff := cmp.Diff([]string{`notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true}}`, tools}, two.seen()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{`notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true,"promptsListChanged":true}}`, tools, prompts}, three.seen()); diff != "" {
			t.Error(diff)
		}
		if n, m := len(p.seen("0> subscriptions/listen")), len(p.seen("0! notifications/cancelled")); n != 2 || m != 0 {
			t.Errorf("asked %d times, cancelled %d", n, m)
		}
		two.stop(t, context.Canceled)
		three.cancel()
		four := r.listen(from, `{"promptsListChanged":true}`)
		pr.change("promptsListChanged")
		synctest.Wait()
		if n := len(four.seen()); n != 2 {
			t.Errorf("%q", four.seen())
		}
		// The server ends what it was asked for: those who heard it are told.
		pr.mu.Lock()
		for id, s := range pr.subs {
			delete(pr.subs, id)
			close(s.end)
		}
		pr.mu.Unlock()
		if err := <-four.done; err != nil {
			t.Errorf("a graceful end: %v", err)
		}
	})
}
