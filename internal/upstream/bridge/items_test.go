package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// questionsOfAll are what the server of TestItemsInAllPairs asks, in rounds.
var questionsOfAll = [][][2]string{
	{{mcp.MethodElicit, `{"mode":"form","message":"form"}`}, {mcp.MethodElicit, `{"mode":"url","url":"https://x","message":"url"}`}},
	{{mcp.MethodSampling, `{"messages":[],"maxTokens":1}`}, {mcp.MethodRootsList, `{}`}},
}

// everyItem is a server of either era that reports progress, logs, and asks
// everything it can before it answers.
func everyItem(x *exchange) (string, *mcp.Error) {
	route, _ := mcp.RouteOf(mcp.Modern, x.m.Method)
	if !route.Inputs {
		return `{}`, nil
	}
	say := func(n int) {
		x.notify(mcp.NotifyProgress, fmt.Sprintf(`{"progressToken":%s,"progress":%d}`, x.token(), n))
		x.notify(mcp.NotifyMessage, fmt.Sprintf(`{"level":"warning","data":%d}`, n))
	}
	if x.asked == mcp.Legacy {
		for n, round := range questionsOfAll {
			say(n)
			done := make(chan upstream.Outgoing, len(round))
			for _, q := range round {
				go func() { done <- x.ask(q[0], q[1]) }()
			}
			for range round {
				if a := <-done; x.ctx.Err() == nil && (a.Error != nil || !strings.Contains(string(a.Result), `"for"`)) {
					x.p.t.Errorf("answer %s %v", a.Result, a.Error)
				}
			}
		}
		return `{"done":true}`, nil
	}
	n := 0
	if s, ok := x.params["requestState"].(string); ok {
		_, _ = fmt.Sscan(s, &n)
		got, _ := x.params["inputResponses"].(map[string]any)
		for i := range questionsOfAll[n-1] {
			a, _ := got[fmt.Sprintf("k%d", i)].(map[string]any)
			if a["for"] == nil {
				x.p.t.Errorf("round %d lacks answer %d: %v", n, i, got)
			}
		}
	}
	if n == len(questionsOfAll) {
		return `{"resultType":"complete","done":true}`, nil
	}
	say(n)
	var reqs strictjson.Object
	for i, q := range questionsOfAll[n] {
		reqs = append(reqs, strictjson.Member{Name: fmt.Sprintf("k%d", i), Raw: []byte(`{"method":"` + q[0] + `","params":` + q[1] + `}`)})
	}
	return fmt.Sprintf(`{"resultType":"input_required","inputRequests":%s,"requestState":"%d"}`, reqs.Append(nil), n+1), nil
}

// finish drives a call to its end as a client of its era does, and returns
// what the client was asked.
func (r *rig) finish(from upstream.Caller, c *client, method, params string) (a upstream.Answer, asked []string) {
	r.t.Helper()
	c.answer = func(_ context.Context, m string, p []byte) (string, *mcp.Error, error) {
		o, _ := mcp.ObjectOf(p)
		text, _ := mcp.Text(o, "message", 64)
		c.mu.Lock()
		asked = append(asked, m+" "+text)
		c.mu.Unlock()
		return `{"action":"accept","for":"` + text + `"}`, nil, nil
	}
	a = r.must(from, c, method, params)
	for a.Kind == mcp.ResultInputRequired {
		reqs, err := mcp.ObjectOf(a.Requests)
		if err != nil {
			r.t.Fatal(err)
		}
		var out strictjson.Object
		for _, q := range reqs {
			o, _ := mcp.ObjectOf(q.Raw)
			m, _ := mcp.Text(o, "method", 64)
			p, _ := o.Get("params")
			res, _, _ := c.answer(r.t.Context(), m, p)
			out = append(out, strictjson.Member{Name: q.Name, Raw: []byte(res)})
		}
		a = r.must(resumed(from, a, string(out.Append(nil))), c, method, params)
	}
	return a, asked
}

func TestItemsInAllPairs(t *testing.T) {
	t.Parallel()
	calls := map[string]string{mcp.MethodToolsCall: `{"name":"x","arguments":{}}`, mcp.MethodPromptsGet: `{"name":"x"}`, mcp.MethodResourcesRead: `{"uri":"file:///x"}`}
	for _, kind := range []Kind{HTTP, Stdio} {
		for _, modern := range []bool{true, false} {
			for _, from := range []upstream.Caller{modernCaller("a", everything), legacyCaller("a", "s", everything)} {
				for method, params := range calls {
					synctest.Test(t, func(t *testing.T) {
						p := &peer{kind: kind, modern: modern, legacy: !modern, handle: everyItem}
						r := newRig(t, p, nil)
						from, c := from, &client{}
						from.ProgressToken, from.LogLevel = []byte(`"p"`), "info"
						a, asked := r.finish(from, c, method, params)
						if !strings.Contains(string(a.Result), `"done":true`) {
							t.Errorf("%+v", a)
						}
						var told []string
						for _, g := range c.seen() {
							if !strings.HasPrefix(g, "ask ") {
								told = append(told, g)
							}
						}
						want := []string{`notifications/progress {"progressToken":"p","progress":0}`, `notifications/message {"level":"warning","data":0}`,
							`notifications/progress {"progressToken":"p","progress":1}`, `notifications/message {"level":"warning","data":1}`}
						if diff := cmp.Diff(want, told); diff != "" {
							t.Errorf("kind %d, modern %v, from %v, %s: %s", kind, modern, from.Era, method, diff)
						}
						slices.Sort(asked)
						if diff := cmp.Diff([]string{"elicitation/create form", "elicitation/create url", "roots/list ", "sampling/createMessage "}, asked); diff != "" {
							t.Errorf("kind %d, modern %v, from %v, %s: %s", kind, modern, from.Era, method, diff)
						}
						if bad := r.violations(); len(bad) != 0 {
							t.Errorf("violations %q", bad)
						}
					})
				}
			}
		}
	}
}

func TestCancellationInCrossPairs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer *peer
		from upstream.Caller
		want int
	}{
		"modern client, legacy http":  {&peer{kind: HTTP, legacy: true}, modernCaller("a", `{}`), 1},
		"modern client, legacy stdio": {&peer{kind: Stdio, legacy: true}, modernCaller("a", `{}`), 1},
		"legacy client, modern stdio": {&peer{kind: Stdio, modern: true}, legacyCaller("a", "s", `{}`), 1},
		"legacy client, modern http":  {&peer{kind: HTTP, modern: true}, legacyCaller("a", "s", `{}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := 0
				tc.peer.handle = func(x *exchange) (string, *mcp.Error) {
					cancel()
					<-x.ctx.Done()
					ended++
					return "silence", nil
				}
				r := newRig(t, tc.peer, nil)
				if _, err := r.do(ctx, tc.from, &client{}, mcp.MethodToolsCall, callX); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				got := 0
				for i := range tc.peer.dials() {
					got += len(tc.peer.seen(string(rune('0'+i)) + "! notifications/cancelled"))
				}
				if got != tc.want || ended != 1 {
					t.Errorf("%d cancellations, %d requests ended", got, ended)
				}
			})
		})
	}
}

// A client that leaves while it is asked ends the call at the server.
func TestClientLeavesWhileAsked(t *testing.T) {
	t.Parallel()
	for _, modern := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: Stdio, modern: modern, legacy: !modern, handle: everyItem}
			r := newRig(t, p, nil)
			ctx, cancel := context.WithCancel(t.Context())
			c := &client{answer: func(ctx context.Context, _ string, _ []byte) (string, *mcp.Error, error) {
				cancel()
				<-ctx.Done()
				return "", nil, ctx.Err()
			}}
			if _, err := r.do(ctx, legacyCaller("a", "s", everything), c, mcp.MethodToolsCall, callX); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			synctest.Wait()
			for _, sl := range r.pool {
				if n := len(sl.opened().flights); n != 0 {
					t.Errorf("%d calls stay", n)
				}
			}
		})
	}
}
