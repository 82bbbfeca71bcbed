package gateway

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
)

func TestFitsTasksOfAClient(t *testing.T) {
	t.Parallel()
	const working = `{"taskId":"a","status":"working","ttl":1}`
	sampling := question{Method: mcp.MethodSampling}
	wished := question{Method: mcp.MethodSampling, Task: true}
	get := question{Method: mcp.MethodTasksGet, TaskID: "a", Of: &sampling}
	result := question{Method: mcp.MethodTasksResult, TaskID: "a", Of: &sampling}
	const message = `{"role":"user","model":"m","content":{"type":"text","text":"x"}}`
	for _, tt := range []struct {
		name string
		q    question
		raw  string
		fits bool
	}{
		{"a task that was wished", wished, `{"task":` + working + `}`, true},
		{"an answer instead", wished, message, true},
		{"a task that was not wished", sampling, `{"task":` + working + `}`, false},
		{"a task without ID", wished, `{"task":{"status":"working"}}`, false},
		{"a task with an empty ID", wished, `{"task":{"taskId":"","status":"working"}}`, false},
		{"a task with a number", wished, `{"task":{"taskId":7,"status":"working"}}`, false},
		{"a task of no status", wished, `{"task":{"taskId":"a"}}`, false},
		{"a task of an odd status", wished, `{"task":{"taskId":"a","status":"done"}}`, false},
		{"a task that is a list", wished, `{"task":[` + working + `]}`, false},
		{"a state", get, working, true},
		{"the state of another task", get, `{"taskId":"b","status":"working"}`, false},
		{"an answer for a state", get, message, false},
		{"a result", result, message, true},
		{"a result that fits not", result, `{"role":"user"}`, false},
		{"a task as a result", result, `{"task":` + working + `}`, false},
		{"a list", question{Method: mcp.MethodTasksList}, `{"tasks":[]}`, false},
	} {
		if why := tt.q.fits([]byte(tt.raw)); (why == "") != tt.fits {
			t.Errorf("%s: %q", tt.name, why)
		}
	}
}

func TestWish(t *testing.T) {
	t.Parallel()
	declared, err := mcp.ParseCapabilities([]byte(`{"sampling":{},"elicitation":{},"tasks":{"requests":{"sampling":{"createMessage":{}},"elicitation":7}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, params, want string
		may                  bool
	}{
		{mcp.MethodSampling, `{"task":{},"x":1}`, `{"task":{},"x":1}`, true},
		{mcp.MethodSampling, `{"x":1}`, `{"x":1}`, false},
		{mcp.MethodElicit, `{"task":{},"x":1}`, `{"x":1}`, false},
		{mcp.MethodRootsList, `{"task":{}}`, `{}`, false},
		{mcp.MethodRootsList, ``, ``, false},
	} {
		may, out := wish(declared, tt.method, []byte(tt.params))
		if may != tt.may || string(out) != tt.want {
			t.Errorf("%s %s: %v %s", tt.method, tt.params, may, out)
		}
	}
}

func TestHostedTasksAreBoundedAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p peer
		host := func(server, id string, life time.Duration) bool {
			return p.host(&hosted{server: server, id: id, name: server + "/" + id, until: time.Now().Add(life)})
		}
		for i := range maxHosted {
			if !host("a", strconv.Itoa(i), time.Duration(i+1)*time.Second) {
				t.Fatalf("task %d was refused", i)
			}
		}
		if host("a", "more", time.Second) {
			t.Error("there is no bound")
		}
		if !host("a", "5", time.Second) {
			t.Error("a task that is known was refused")
		}
		if p.hosted("a", "a/7") == nil || p.hosted("b", "a/7") != nil || p.hosted("a", "7") != nil || p.hosting("7") == nil || p.hosting("a/7") != nil {
			t.Error("a task is found by what is not its name")
		}
		time.Sleep(2 * time.Second)
		if p.hosted("a", "a/0") != nil || p.hosting("0") != nil {
			t.Error("a task outlived its time")
		}
		if !host("b", "more", time.Second) {
			t.Error("what has ended leaves no room")
		}
		if (*peer)(nil).hosting("x") != nil {
			t.Error("nobody hosts a task")
		}
	})
}
