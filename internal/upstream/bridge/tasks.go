package bridge

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Tasks are said in two ways: 2025-11-25 has them in the core protocol, with a
// blocking tasks/result on which the server asks, and modern revisions in an
// extension (SEP-2663), with tasks/get that shows everything and tasks/update
// that answers. The functions here translate the task object, and keep the
// connection of a legacy server's tasks open.

const (
	maxTaskLife = time.Hour // longest that a task keeps its connection open
	maxTasks    = 256       // tasks that one connection keeps account of
)

// The names of one thing in the two task objects.
var taskNames = [...]struct{ legacy, modern string }{{"ttl", "ttlMs"}, {"pollInterval", "pollIntervalMs"}}

// TaskForModern says a legacy task in modern names under the given ID.
func TaskForModern(task strictjson.Object, id string) strictjson.Object {
	out := make(strictjson.Object, 0, len(task)+2)
	for _, m := range task {
		for _, n := range taskNames {
			if m.Name == n.legacy {
				m = strictjson.Member{Name: n.modern, Raw: m.Raw}
			}
		}
		switch m.Name {
		case "taskId":
			m.Raw = strictjson.AppendString(nil, id)
		case "resultType", "result", "error", "inputRequests":
			continue // these are ours to write
		}
		out = append(out, m)
	}
	if _, ok := out.Get("ttlMs"); !ok {
		out = append(out, strictjson.Member{Name: "ttlMs", Raw: []byte("null")})
	}
	return mcp.WithMeta(out, nil, mcp.MetaRelatedTask)
}

// TaskForLegacy says a modern task in legacy names. A completed task whose
// result is an error of the tool has failed in that revision.
func TaskForLegacy(task strictjson.Object) strictjson.Object {
	out := make(strictjson.Object, 0, len(task))
	failed := false
	for _, m := range task {
		for _, n := range taskNames {
			if m.Name == n.modern {
				m = strictjson.Member{Name: n.legacy, Raw: m.Raw}
			}
		}
		switch m.Name {
		case "result":
			failed = isToolError(m.Raw)
			continue
		case "resultType", "error", "inputRequests":
			continue
		}
		out = append(out, m)
	}
	if failed {
		out = out.With("status", []byte(`"failed"`))
	}
	return mcp.WithMeta(out, nil, mcp.MetaServerInfo, mcp.MetaSubscriptionID)
}

func isToolError(result []byte) bool {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return false
	}
	raw, _ := o.Get("isError")
	return string(raw) == "true"
}

// taskOf returns the task object and ID of a legacy CreateTaskResult.
func taskOf(result []byte) (task strictjson.Object, id string, ok bool) {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return nil, "", false
	}
	raw, _ := o.Get("task")
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil, "", false
	}
	if task, err = strictjson.SplitObject(raw); err != nil {
		return nil, "", false
	}
	id, ok = mcp.Text(task, "taskId", maxTaskID)
	return task, id, ok
}

const maxTaskID = 1024

// paramTask returns params.taskId.
func paramTask(params []byte) string {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return ""
	}
	id, _ := mcp.Text(o, "taskId", 2*maxTaskID)
	return id
}

// relatedTask returns the task that a message says it belongs to.
func relatedTask(params []byte) string {
	raw := metaMember(params, mcp.MetaRelatedTask)
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return ""
	}
	return paramTask(raw)
}

func taskParams(id string) []byte {
	return strictjson.Object{{Name: "taskId", Raw: strictjson.AppendString(nil, id)}}.Append(nil)
}

// missingTasks is the error of SEP-2663 for a client that did not declare the
// extension.
func missingTasks() upstream.Answer {
	a := refuse(mcp.CodeMissingCapability, "Missing required client capability")
	a.Error.Data = []byte(`{"requiredCapabilities":{"extensions":{"` + mcp.ExtensionTasks + `":{}}}}`)
	return a
}

// remember keeps account of a task that a legacy server made: its connection
// stays open, its progress and questions find their way.
func (c *conn) remember(f *flight, task strictjson.Object, id string) {
	life := maxTaskLife
	if raw, ok := task.Get("ttl"); ok {
		if ms, err := strconv.ParseFloat(string(raw), 64); err == nil && ms < float64(maxTaskLife.Milliseconds()) {
			life = max(time.Duration(ms)*time.Millisecond, 0)
		}
	}
	t := &remoteTask{c: c, id: id, until: time.Now().Add(life), turn: make(chan struct{}, 1)}
	t.questions.f = &flight{c: c, from: f.from, method: mcp.MethodTasksResult, task: id, in: inbox{wake: make(chan struct{}, 1)}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, old := range c.tasks {
		if time.Now().After(old.until) {
			c.forgetTask(k)
		}
	}
	if len(c.tasks) >= maxTasks || c.tasks[id] != nil {
		return
	}
	c.tasks[id] = t
	if f.token != "" && f.from.Era == mcp.Legacy {
		t.token = f.token
		c.late[f.token] = t
	}
	if t.until.After(c.busyTo) {
		c.busyTo = t.until
	}
}

// forgetTask drops the account of a task. conn.mu is held.
func (c *conn) forgetTask(id string) {
	if t := c.tasks[id]; t != nil {
		delete(c.tasks, id)
		delete(c.late, t.token)
	}
}

// taskFlight returns the call that a request about a task belongs to: the
// tasks/result that waits for it, or the account of a modern client's task.
func (c *conn) taskFlight(m mcp.Message) *flight {
	id := relatedTask(m.Params)
	if id == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.sole(func(f *flight) bool { return f.task == id }); f != nil {
		return f
	}
	if t := c.tasks[id]; t != nil && t.f.from.Era == mcp.Modern {
		return t.f
	}
	return nil
}

// lateProgress gives progress of a legacy client's task, whose call was
// answered long ago, to whoever of the session listens now.
func (c *conn) lateProgress(m mcp.Message) (known bool) {
	tok := progressToken(m.Params)
	c.mu.Lock()
	t := c.late[tok]
	var f *flight
	if t != nil {
		f = c.sole(func(f *flight) bool { return f.task == t.id })
	}
	c.mu.Unlock()
	if t == nil {
		return false
	}
	o, err := mcp.ObjectOf(m.Params)
	if err != nil {
		return false
	}
	m.Params = o.With(mcp.MetaProgressToken, t.f.from.ProgressToken).Append(nil)
	if f != nil {
		f.put(m)
	} else {
		c.tell(m, nil)
	}
	return true
}

// asTask reports whether a modern client's tools/call becomes a task at a
// legacy server, or is refused because it would have to.
func (c *conn) asTask(r request) (task bool, refusal *upstream.Answer) {
	if r.method != mcp.MethodToolsCall || !c.features.tasksAsk {
		return false, nil
	}
	declared := r.from.Capabilities.Tasks
	switch r.from.TaskSupport {
	case "required":
		if !declared {
			a := missingTasks()
			return false, &a
		}
		return true, nil
	case "optional":
		return declared, nil
	}
	return false, nil
}

// created turns a legacy CreateTaskResult into the modern one.
func (c *conn) created(f *flight, result []byte) (upstream.Answer, bool) {
	task, id, ok := taskOf(result)
	if !ok {
		return upstream.Answer{}, false
	}
	c.remember(f, task, id)
	flat := TaskForModern(task, c.id+"."+id)
	rest, _ := mcp.ObjectOf(result)
	for _, m := range rest.Without("task", "resultType") {
		if _, taken := flat.Get(m.Name); !taken {
			flat = append(flat, m)
		}
	}
	flat = append(strictjson.Object{{Name: "resultType", Raw: []byte(`"` + mcp.ResultTask + `"`)}}, mcp.WithMeta(flat, nil, mcp.MetaRelatedTask)...)
	return upstream.Answer{Kind: mcp.ResultTask, Result: flat.Append(nil), Era: mcp.Legacy}, true
}

// taskHome finds the connection and server-side ID of a task that a modern
// client made at a legacy server. Tasks end with their connection.
func (s *Server) taskHome(from upstream.Caller, id string) (*conn, string) {
	var home *conn
	s.mu.Lock()
	for _, sl := range s.pool {
		c := sl.opened()
		if c == nil || c.era != mcp.Legacy || c.owner != from.Principal.ClientKey() && !s.cfg.Shared {
			continue
		}
		if own, ok := strings.CutPrefix(id, c.id+"."); ok {
			home, id = c, own
			break
		}
	}
	s.mu.Unlock()
	if home == nil || !home.use() {
		return nil, ""
	}
	home.mu.Lock()
	t := home.tasks[id]
	known := t != nil && t.f.from.Principal.ClientKey() == from.Principal.ClientKey()
	home.mu.Unlock()
	if !known {
		home.release()
		return nil, ""
	}
	return home, id
}

// callTask carries a modern client's tasks/get, tasks/update and tasks/cancel
// to a legacy server.
func (s *Server) callTask(ctx context.Context, r request) (a upstream.Answer, err error) {
	if !r.from.Capabilities.Tasks {
		return missingTasks(), nil
	}
	given := paramTask(r.params)
	c, id := s.taskHome(r.from, given)
	if c == nil {
		return refuse(mcp.CodeInvalidParams, "there is no such task, or it has ended and was forgotten"), nil
	}
	defer c.release()
	c.heard(r.from)
	defer func() { a = c.signed(a) }()
	c.mu.Lock()
	t := c.tasks[id]
	if t != nil {
		t.f.from = r.from
	}
	c.mu.Unlock()
	if t == nil {
		return refuse(mcp.CodeInvalidParams, "there is no such task, or it has ended and was forgotten"), nil
	}
	switch r.method {
	case mcp.MethodTasksUpdate:
		return t.update(ctx, r)
	case mcp.MethodTasksCancel:
		return t.stop(ctx, r)
	}
	o, refused, err := t.detail(ctx, r, given)
	if err != nil || refused != nil {
		return upstream.Answer{Kind: mcp.ResultComplete, Error: refused}, err
	}
	task, err := c.shown(o.Append(nil), r.from)
	return complete(ResultForModern(task)), err
}
