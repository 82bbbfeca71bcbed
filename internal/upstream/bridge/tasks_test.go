package bridge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	taskCaps   = `{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	legacyTask = `{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}`
	modernTask = `{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
)

// taskPeer is a server of one era with one task, "t1".
type taskPeer struct {
	mu      sync.Mutex
	status  string
	answers int
	result  string
	fail    *mcp.Error
	changed chan struct{}
	token   string
}

func newTaskPeer() *taskPeer {
	return &taskPeer{status: "working", result: `{"content":[]}`, changed: make(chan struct{})}
}

func (k *taskPeer) set(f func()) {
	k.mu.Lock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
	k.mu.Unlock()
}

func (k *taskPeer) legacyObject() string {
	return `"taskId":"t1","status":"` + k.status + `","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:01Z","ttl":60000,"pollInterval":50`
}

func (k *taskPeer) legacy(x *exchange) (string, *mcp.Error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch x.m.Method {
	case mcp.MethodToolsCall:
		if x.params["task"] == nil {
			return `{"content":["plain"]}`, nil
		}
		k.token = x.token()
		return `{"task":{` + k.legacyObject() + `},"_meta":{"k":1}}`, nil
	case mcp.MethodTasksGet, mcp.MethodTasksCancel:
		if x.params["taskId"] != "t1" {
			return "", &mcp.Error{Code: mcp.CodeInvalidParams, Message: "Failed to retrieve task: Task not found"}
		}
		if x.m.Method == mcp.MethodTasksCancel {
			if k.status == "completed" || k.status == "cancelled" {
				return "", &mcp.Error{Code: mcp.CodeInvalidParams, Message: "ended"}
			}
			k.status = "cancelled"
		}
		return `{` + k.legacyObject() + `}`, nil
	case mcp.MethodTasksList:
		return `{"tasks":[{` + k.legacyObject() + `}]}`, nil
	case mcp.MethodTasksResult:
		asked := false
		for {
			if k.status == "input_required" && !asked {
				asked = true
				k.mu.Unlock()
				a := x.ask(mcp.MethodElicit, `{"message":"?","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}`)
				k.mu.Lock()
				if a.Error == nil && string(a.Result) != "{}" {
					k.status = "working"
					k.answers++
				}
				continue
			}
			if k.status == "completed" || k.status == "failed" {
				return strings.TrimSuffix(k.result, "}") + `,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}`, k.fail
			}
			if k.status == "cancelled" {
				return "", &mcp.Error{Code: mcp.CodeInternal, Message: "cancelled"}
			}
			ch := k.changed
			k.mu.Unlock()
			select {
			case <-ch:
			case <-x.ctx.Done():
				k.mu.Lock()
				return "", &mcp.Error{Code: mcp.CodeInternal, Message: "gone"}
			}
			k.mu.Lock()
		}
	}
	return `{}`, nil
}

const flatTask = `"taskId":"%s","status":"%s","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:01Z","ttlMs":60000,"pollIntervalMs":50`

func TestTasksModernAtLegacy(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			k := newTaskPeer()
			p := &peer{kind: kind, legacy: true, caps: legacyTask, handle: k.legacy}
			r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
			from := modernCaller("a", taskCaps)
			d, err := r.Describe(t.Context(), from)
			if err != nil || string(d.Capabilities) != modernTask {
				t.Fatalf("%s %v", d.Capabilities, err)
			}
			if a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x","task":{}}`); a.Kind != mcp.ResultComplete || string(a.Result) != `{"content":["plain"],"resultType":"complete"}` {
				t.Errorf("a tool without tasks: %s", a.Result)
			}
			from.TaskSupport = "required"
			bare := modernCaller("a", everything)
			bare.TaskSupport = "required"
			if a := r.must(bare, &client{}, mcp.MethodToolsCall, callX); a.Error == nil || a.Error.Code != mcp.CodeMissingCapability || string(a.Error.Data) != `{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}` {
				t.Errorf("%+v", a.Error)
			}
			a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
			o, _ := mcp.ObjectOf(a.Result)
			id, _ := mcp.Text(o, "taskId", 100)
			if diff := cmp.Diff(fmt.Sprintf(`{"resultType":"task",`+flatTask+`,"_meta":{"k":1}}`, id, "working"), string(a.Result)); diff != "" || a.Kind != mcp.ResultTask {
				t.Fatal(diff)
			}
			about := `{"taskId":"` + id + `"}`
			get := func(want string) {
				t.Helper()
				if diff := cmp.Diff(want, string(r.must(from, &client{}, mcp.MethodTasksGet, about).Result)); diff != "" {
					t.Error(diff)
				}
			}
			get(fmt.Sprintf(`{`+flatTask+`,"resultType":"complete"}`, id, "working"))
			k.set(func() { k.status = "input_required" })
			asked := fmt.Sprintf(`{`+flatTask+`,"inputRequests":{"r1":{"method":"elicitation/create","params":{"message":"?"}}},"resultType":"complete"}`, id, "input_required")
			get(asked)
			get(asked)
			for _, stranger := range []upstream.Caller{modernCaller("b", taskCaps), bare} {
				for _, m := range []string{mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel} {
					if a := r.must(stranger, &client{}, m, about); a.Error == nil {
						t.Errorf("%s by another: %s", m, a.Result)
					}
				}
			}
			update := func(responses string) {
				t.Helper()
				if a := r.must(from, &client{}, mcp.MethodTasksUpdate, `{"taskId":"`+id+`","inputResponses":`+responses+`}`); string(a.Result) != `{"resultType":"complete"}` {
					t.Errorf("%+v", a)
				}
			}
			update(`{"r9":{"action":"accept"}}`)
			get(asked)
			update(`{"r1":{"action":"accept","content":{}}}`)
			update(`{"r1":{"action":"accept","content":{}}}`)
			synctest.Wait()
			get(fmt.Sprintf(`{`+flatTask+`,"resultType":"complete"}`, id, "working"))
			if k.answers != 1 {
				t.Errorf("answered %d times", k.answers)
			}
			k.set(func() { k.status, k.result = "failed", `{"content":[],"isError":true` })
			done := fmt.Sprintf(`{`+flatTask+`,"result":{"content":[],"isError":true},"resultType":"complete"}`, id, "completed")
			get(done)
			get(done)
			if n := len(p.seen("0> tasks/result")) + len(p.seen("1> tasks/result")); n != 1 {
				t.Errorf("tasks/result opened %d times", n)
			}
			if a := r.must(from, &client{}, mcp.MethodTasksGet, `{"taskId":"t1"}`); a.Error == nil || a.Error.Code != mcp.CodeInvalidParams {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestTasksModernAtLegacyErrorsAndCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTaskPeer()
		p := &peer{legacy: true, caps: legacyTask, handle: k.legacy}
		r := newRig(t, p, func(c *Config) { c.Era, c.IdleTimeout = EraLegacy, 10*time.Second })
		from := modernCaller("a", taskCaps)
		from.TaskSupport = "optional"
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		o, _ := mcp.ObjectOf(a.Result)
		id, _ := mcp.Text(o, "taskId", 100)
		about := `{"taskId":"` + id + `"}`
		time.Sleep(50 * time.Second)
		k.set(func() { k.status, k.fail = "failed", &mcp.Error{Code: mcp.CodeInternal, Message: "broke"} })
		want := fmt.Sprintf(`{`+flatTask+`,"error":{"code":-32603,"message":"broke"},"resultType":"complete"}`, id, "failed")
		if diff := cmp.Diff(want, string(r.must(from, &client{}, mcp.MethodTasksGet, about).Result)); diff != "" {
			t.Error(diff)
		}
		if p.dials() != 1 {
			t.Error("the connection of a task was closed as idle")
		}
		for _, status := range []string{"working", "completed"} {
			k.set(func() { k.status = status })
			if a := r.must(from, &client{}, mcp.MethodTasksCancel, about); string(a.Result) != `{"resultType":"complete"}` {
				t.Errorf("%s: %+v", status, a)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(p.seen("0 closed")) != 1 {
			t.Error("the connection of an old task stays open")
		}
		if a := r.must(from, &client{}, mcp.MethodTasksGet, about); a.Error == nil || a.Error.Code != mcp.CodeInvalidParams {
			t.Errorf("%+v", a)
		}
	})
}

func TestTaskStatesOnStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTaskPeer()
		p := &peer{kind: Stdio, legacy: true, caps: legacyTask, handle: k.legacy}
		r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
		from := modernCaller("a", taskCaps)
		from.TaskSupport = "optional"
		a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
		o, _ := mcp.ObjectOf(a.Result)
		id, _ := mcp.Text(o, "taskId", 100)
		l := r.listen(from, `{"taskIds":["`+id+`","made up"]}`)
		other := r.listen(from, `{"toolsListChanged":true}`)
		k.set(func() { k.status = "completed" })
		p.pipe(0).unboundNotify(mcp.NotifyTaskStatus, `{`+k.legacyObject()+`}`)
		p.pipe(0).unboundNotify(mcp.NotifyTaskStatus, `{"taskId":"t2","status":"working"}`)
		synctest.Wait()
		want := []string{`notifications/subscriptions/acknowledged {"notifications":{"taskIds":["` + id + `"]}}`,
			fmt.Sprintf(`notifications/tasks {`+flatTask+`,"result":{"content":[]}}`, id, "completed")}
		if diff := cmp.Diff(want, l.seen()); diff != "" {
			t.Error(diff)
		}
		if n := len(other.seen()); n != 1 {
			t.Errorf("%q", other.seen())
		}
		l.stop(t, context.Canceled)
		other.stop(t, context.Canceled)
	})
}

func TestTasksLegacyAtLegacy(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			k := newTaskPeer()
			p := &peer{kind: kind, legacy: true, caps: legacyTask, handle: k.legacy}
			r := newRig(t, p, nil)
			from := legacyCaller("a", "s", everything)
			stream := r.listen(from, `{}`)
			from.ProgressToken = []byte("5")
			a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x","task":{"ttl":9}}`)
			if diff := cmp.Diff(`{"task":{`+k.legacyObject()+`},"_meta":{"k":1}}`, string(a.Result)); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(p.seen("0> tools/call")[0], `"task":{"ttl":9}`) {
				t.Errorf("%q", p.seen(""))
			}
			from.ProgressToken = nil
			pp := p.pipe(0)
			pp.unboundNotify(mcp.NotifyTaskStatus, `{"taskId":"t1","status":"input_required"}`)
			pp.unboundNotify(mcp.NotifyProgress, `{"progressToken":`+k.token+`,"progress":1}`)
			k.set(func() { k.status = "input_required" })
			c := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
				return `{"action":"accept"}`, nil, nil
			}}
			var wg sync.WaitGroup
			wg.Go(func() {
				if a := r.must(from, c, mcp.MethodTasksResult, `{"taskId":"t1"}`); string(a.Result) != `{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}` {
					t.Errorf("%s", a.Result)
				}
			})
			synctest.Wait()
			pp.unboundNotify(mcp.NotifyProgress, `{"progressToken":`+k.token+`,"progress":2}`)
			synctest.Wait()
			if a := r.must(from, &client{}, mcp.MethodTasksGet, `{"taskId":"t1"}`); string(a.Result) != `{`+k.legacyObject()+`}` {
				t.Errorf("%s", a.Result)
			}
			if a := r.must(from, &client{}, mcp.MethodTasksList, `{}`); string(a.Result) != `{"tasks":[{`+k.legacyObject()+`}]}` {
				t.Errorf("%s", a.Result)
			}
			k.set(func() { k.status, k.result = "completed", `{"content":[]` })
			wg.Wait()
			want := []string{`notifications/subscriptions/acknowledged {"notifications":{}}`, `notifications/tasks/status {"taskId":"t1","status":"input_required"}`, `notifications/progress {"progressToken":5,"progress":1}`}
			if diff := cmp.Diff(want, stream.seen()); diff != "" {
				t.Error(diff)
			}
			want = []string{`ask elicitation/create {"message":"?","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}`, `notifications/progress {"progressToken":5,"progress":2}`}
			if diff := cmp.Diff(want, c.seen()); diff != "" {
				t.Error(diff)
			}
			if a := r.must(from, &client{}, mcp.MethodTasksCancel, `{"taskId":"t1"}`); a.Error == nil || a.Error.Code != mcp.CodeInvalidParams {
				t.Errorf("%+v", a)
			}
			stream.stop(t, context.Canceled)
		})
	}
}
