package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// modern serves the extension.
func (k *taskPeer) modern(x *exchange) (string, *mcp.Error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	meta, _ := x.params["_meta"].(map[string]any)
	declared := strings.Contains(fmt.Sprint(meta[mcp.MetaClientCapabilities]), mcp.ExtensionTasks)
	if !declared && strings.HasPrefix(x.m.Method, "tasks/") {
		return "", &mcp.Error{Code: mcp.CodeMissingCapability, Message: "no"}
	}
	object := fmt.Sprintf(flatTask, "t1", k.status)
	switch x.m.Method {
	case mcp.MethodToolsList:
		return `{"resultType":"complete","tools":[{"name":"x","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`, nil
	case mcp.MethodToolsCall:
		if x.params["name"] == "instant" || !declared {
			return `{"resultType":"complete","content":["now"]}`, nil
		}
		return `{"resultType":"task",` + object + `}`, nil
	case mcp.MethodTasksGet:
		if x.m.Name != "t1" {
			return "", &mcp.Error{Code: mcp.CodeInvalidParams, Message: "Failed to retrieve task: Task not found"}
		}
		switch k.status {
		case "input_required":
			object += `,"inputRequests":{"q1":{"method":"elicitation/create","params":{"message":"?"}},"q2":{"method":"roots/list"}}`
		case "completed":
			object += `,"result":` + k.result
		case "failed":
			object += `,"error":{"code":-32603,"message":"broke"}`
		}
		return `{"resultType":"complete",` + object + `}`, nil
	case mcp.MethodTasksUpdate:
		k.answers++
		k.status = "working"
		time.AfterFunc(time.Second, func() { k.set(func() { k.status = "completed" }) })
	case mcp.MethodTasksCancel:
		k.status = "cancelled"
	}
	return `{"resultType":"complete"}`, nil
}

func TestTasksModernAtModern(t *testing.T) {
	t.Parallel()
	k := newTaskPeer()
	p := &peer{modern: true, caps: modernTask, handle: k.modern}
	r := newRig(t, p, nil)
	from := modernCaller("a", taskCaps)
	a := r.must(from, &client{}, mcp.MethodToolsCall, callX)
	if diff := cmp.Diff(fmt.Sprintf(`{"resultType":"task",`+flatTask+`}`, "t1", "working"), string(a.Result)); diff != "" || a.Kind != mcp.ResultTask {
		t.Error(diff)
	}
	k.status = "input_required"
	b := r.must(from, &client{}, mcp.MethodTasksGet, `{"taskId":"t1"}`)
	if !strings.Contains(string(b.Result), `"inputRequests":{"q1":`) {
		t.Errorf("%s", b.Result)
	}
	r.must(from, &client{}, mcp.MethodTasksUpdate, `{"taskId":"t1","inputResponses":{"q1":{"action":"accept"}}}`)
	if got := p.seen("0> tasks/update"); len(got) != 1 || !strings.Contains(got[0], `"inputResponses":{"q1":{"action":"accept"}}`) {
		t.Errorf("%q", got)
	}
	r.must(from, &client{}, mcp.MethodTasksCancel, `{"taskId":"t1"}`)
	if a := r.must(from, &client{}, mcp.MethodTasksGet, `{"taskId":"other"}`); a.Error == nil {
		t.Errorf("%+v", a)
	}
}

func TestTasksLegacyAtModern(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTaskPeer()
		k.status = "working"
		p := &peer{modern: true, caps: modernTask, handle: k.modern}
		r := newRig(t, p, func(c *Config) { c.Era = EraModern })
		from := legacyCaller("a", "s", everything)
		d, err := r.Describe(t.Context(), from)
		if err != nil || string(d.Capabilities) != `{"tools":{},"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}` {
			t.Fatalf("%s %v", d.Capabilities, err)
		}
		if a := r.must(from, &client{}, mcp.MethodToolsList, `{}`); string(a.Result) != `{"tools":[{"name":"x","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}}]}` {
			t.Errorf("%s", a.Result)
		}
		if a := r.must(from, &client{}, mcp.MethodToolsCall, callX); string(a.Result) != `{"content":["now"]}` {
			t.Errorf("without a wish for a task: %s", a.Result)
		}
		a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x","task":{"ttl":5000}}`)
		if diff := cmp.Diff(`{"task":{`+k.legacyObject()+`}}`, string(a.Result)); diff != "" {
			t.Error(diff)
		}
		about := `{"taskId":"t1"}`
		if a := r.must(from, &client{}, mcp.MethodTasksGet, about); string(a.Result) != `{`+k.legacyObject()+`}` {
			t.Errorf("%s", a.Result)
		}
		if a := r.must(from, &client{}, mcp.MethodTasksList, `{}`); a.Error == nil || a.Error.Code != mcp.CodeMethodNotFound {
			t.Errorf("%+v", a)
		}
		c := &client{answer: func(_ context.Context, m string, _ []byte) (string, *mcp.Error, error) {
			if m == mcp.MethodRootsList {
				return `{"roots":[]}`, nil, nil
			}
			return `{"action":"accept"}`, nil, nil
		}}
		time.AfterFunc(2*time.Second, func() { k.set(func() { k.status = "input_required" }) })
		b := r.must(from, c, mcp.MethodTasksResult, about)
		if diff := cmp.Diff(`{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}`, string(b.Result)); diff != "" {
			t.Error(diff)
		}
		got := c.seen()
		if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), `ask elicitation/create {"message":"?","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}`) {
			t.Errorf("%q", got)
		}
		if n := len(p.seen("0> tasks/get")); n > 120 {
			t.Errorf("polled %d times in 3 s", n)
		}
		k.result = `{"content":[],"isError":true}`
		if a := r.must(from, &client{}, mcp.MethodTasksGet, about); !strings.Contains(string(a.Result), `"status":"failed"`) {
			t.Errorf("%s", a.Result)
		}
		if a := r.must(from, &client{}, mcp.MethodTasksCancel, about); a.Error == nil || a.Error.Code != mcp.CodeInvalidParams {
			t.Errorf("%+v", a)
		}
		k.status = "working"
		if a := r.must(from, &client{}, mcp.MethodTasksCancel, about); !strings.Contains(string(a.Result), `"status":"cancelled"`) {
			t.Errorf("%s", a.Result)
		}
		if a := r.must(from, &client{}, mcp.MethodTasksResult, about); a.Error == nil {
			t.Errorf("%+v", a)
		}
		k.status = "failed"
		if a := r.must(from, &client{}, mcp.MethodTasksResult, about); a.Error == nil || a.Error.Message != "broke" {
			t.Errorf("%+v", a)
		}
		k.status = "input_required"
		no := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
			return "", &mcp.Error{Code: -1, Message: "no"}, nil
		}}
		if a := r.must(from, no, mcp.MethodTasksResult, about); a.Error == nil || a.Error.Code != -1 || k.status != "cancelled" {
			t.Errorf("%+v %s", a, k.status)
		}
	})
}

func TestTaskThatWasDoneAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTaskPeer()
		p := &peer{modern: true, caps: modernTask, handle: k.modern}
		r := newRig(t, p, func(c *Config) { c.Era = EraModern })
		from := legacyCaller("a", "s", everything)
		a := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"instant","task":{"ttl":5000}}`)
		task, id, ok := taskOf(a.Result)
		if status, _ := mcp.Text(task, "status", 32); !ok || status != "completed" {
			t.Fatalf("%s", a.Result)
		}
		about := `{"taskId":"` + id + `"}`
		if g := r.must(from, &client{}, mcp.MethodTasksGet, about); string(g.Result) != string(task.Append(nil)) {
			t.Errorf("%s", g.Result)
		}
		want := `{"content":["now"],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"` + id + `"}}}`
		if g := r.must(from, &client{}, mcp.MethodTasksResult, about); string(g.Result) != want {
			t.Errorf("%s", g.Result)
		}
		if g := r.must(from, &client{}, mcp.MethodTasksCancel, about); g.Error == nil {
			t.Errorf("%+v", g)
		}
		if g := r.must(legacyCaller("b", "s", everything), &client{}, mcp.MethodTasksResult, about); g.Error == nil {
			t.Errorf("a stranger got %s", g.Result)
		}
		time.Sleep(6 * time.Second)
		if g := r.must(from, &client{}, mcp.MethodTasksResult, about); g.Error == nil {
			t.Errorf("after its life: %s", g.Result)
		}
		for range maxOwnTasks {
			r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"instant","task":{}}`)
		}
		if g := r.must(from, &client{}, mcp.MethodToolsCall, `{"name":"instant","task":{}}`); g.Error == nil {
			t.Error("no bound on finished tasks")
		}
	})
}

func TestTasksNeedADeclaration(t *testing.T) {
	t.Parallel()
	k := newTaskPeer()
	plain := newRig(t, &peer{modern: true, handle: k.modern}, func(c *Config) { c.Era = EraModern })
	from := legacyCaller("a", "s", everything)
	if a := plain.must(from, &client{}, mcp.MethodToolsCall, `{"name":"x","task":{}}`); string(a.Result) != `{"content":["now"]}` {
		t.Errorf("a server without tasks: %s", a.Result)
	}
	if a := plain.must(from, &client{}, mcp.MethodTasksGet, `{"taskId":"t1"}`); a.Error == nil || a.Error.Code != mcp.CodeMethodNotFound {
		t.Errorf("%+v", a)
	}
	var call *exchange
	unasked := newRig(t, &peer{legacy: true, handle: func(x *exchange) (string, *mcp.Error) {
		call = x
		return `{"content":[]}`, nil
	}}, nil)
	m := modernCaller("a", taskCaps)
	m.TaskSupport = "required"
	if a := unasked.must(m, &client{}, mcp.MethodToolsCall, callX); a.Kind != mcp.ResultComplete || call.params["task"] != nil {
		t.Errorf("a server without the capability was asked for a task: %+v", a)
	}
}

func TestFloodOfTasks(t *testing.T) {
	t.Parallel()
	n := 0
	p := &peer{legacy: true, caps: legacyTask, handle: func(x *exchange) (string, *mcp.Error) {
		n++
		return fmt.Sprintf(`{"task":{"taskId":"t%d","status":"working","ttl":null}}`, n), nil
	}}
	r := newRig(t, p, func(c *Config) { c.Era = EraLegacy })
	from := modernCaller("a", taskCaps)
	from.TaskSupport = "optional"
	for range maxTasks + 20 {
		r.must(from, &client{}, mcp.MethodToolsCall, callX)
	}
	for _, sl := range r.pool {
		if got := len(sl.opened().tasks); got > maxTasks {
			t.Errorf("%d tasks are kept", got)
		}
	}
	if _, err := r.do(t.Context(), from, &client{}, mcp.MethodTasksGet, `{"taskId":"x.y"}`); err != nil && !errors.Is(err, upstream.ErrDown) {
		t.Error(err)
	}
}
