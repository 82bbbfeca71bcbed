package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// ownTasks are the finished calls of legacy clients that asked for a task and
// whose modern server answered at once: the answer is kept under an ID of
// ours, so that the client finds what it expects.
type ownTasks struct {
	mu    sync.Mutex
	tasks map[string]*ownTask
	count map[string]int
}

type ownTask struct {
	owner  string
	made   time.Time
	until  time.Time
	ttl    time.Duration
	failed bool
	result []byte
}

const (
	maxOwnTasks = 64 // of one principal and client
	maxOwnLife  = 5 * time.Minute
)

// keep stores an answer and returns its task.
func (t *ownTasks) keep(from upstream.Caller, result []byte, ttl time.Duration) (strictjson.Object, bool) {
	if ttl <= 0 || ttl > maxOwnLife {
		ttl = maxOwnLife
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	id, now := "done-"+hex.EncodeToString(b[:]), time.Now()
	o := &ownTask{owner: from.Principal.ClientKey(), made: now, until: now.Add(ttl), ttl: ttl, failed: isToolError(result), result: result}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tasks == nil {
		t.tasks, t.count = map[string]*ownTask{}, map[string]int{}
	}
	for k, old := range t.tasks {
		if now.After(old.until) {
			t.drop(k)
		}
	}
	if t.count[o.owner] >= maxOwnTasks {
		return nil, false
	}
	t.tasks[id] = o
	t.count[o.owner]++
	return o.object(id), true
}

// drop forgets a task. ownTasks.mu is held.
func (t *ownTasks) drop(id string) {
	o := t.tasks[id]
	delete(t.tasks, id)
	if t.count[o.owner]--; t.count[o.owner] <= 0 {
		delete(t.count, o.owner)
	}
}

func (t *ownTasks) find(from upstream.Caller, id string) *ownTask {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.tasks[id]
	if o == nil || o.owner != from.Principal.ClientKey() || time.Now().After(o.until) {
		return nil
	}
	return o
}

func (o *ownTask) object(id string) strictjson.Object {
	status := `"completed"`
	if o.failed {
		status = `"failed"`
	}
	at := strictjson.AppendString(nil, o.made.UTC().Format("2006-01-02T15:04:05.000Z"))
	return strictjson.Object{
		{Name: "taskId", Raw: strictjson.AppendString(nil, id)}, {Name: "status", Raw: []byte(status)},
		{Name: "createdAt", Raw: at}, {Name: "lastUpdatedAt", Raw: at},
		{Name: "ttl", Raw: strconv.AppendInt(nil, o.ttl.Milliseconds(), 10)},
	}
}

// answer serves the tasks requests of a legacy client about a task of ours.
func (o *ownTask) answer(method, id string) upstream.Answer {
	switch method {
	case mcp.MethodTasksResult:
		return complete(relateResult(o.result, id))
	case mcp.MethodTasksCancel:
		return refuse(mcp.CodeInvalidParams, "the task has ended already")
	}
	return complete(o.object(id).Append(nil))
}

// relateResult names the task in the _meta of its result.
func relateResult(result []byte, id string) []byte {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return result
	}
	return mcp.WithMeta(o, strictjson.Object{{Name: mcp.MetaRelatedTask, Raw: taskParams(id)}}).Append(nil)
}

// wantsTaskOf reports a legacy client's tools/call that asks for a task of a
// modern server with tasks. Other servers ignore the wish ("Task Support and
// Handling").
func (c *conn) wantsTaskOf(r request) bool {
	return r.method == mcp.MethodToolsCall && isTaskCall(r.params, mcp.Legacy) && c.capabilities().tasks
}

// finishTask turns the answer of a legacy client's call into a task.
func (c *conn) finishTask(r request, a upstream.Answer) upstream.Answer {
	var task strictjson.Object
	if a.Kind == mcp.ResultTask {
		o, err := mcp.ObjectOf(a.Result)
		if err != nil {
			return a
		}
		task = TaskForLegacy(o)
	} else {
		var ok bool
		if task, ok = c.s.own.keep(r.from, ResultForLegacy(r.method, a.Result), wantedLife(r.params)); !ok {
			return refuse(mcp.CodeInvalidRequest, "too many finished tasks are kept: call without a task, or wait until they expire")
		}
	}
	return complete(strictjson.Object{{Name: "task", Raw: task.Append(nil)}}.Append(nil))
}

func wantedLife(params []byte) time.Duration {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return 0
	}
	raw, _ := o.Get("task")
	task, err := mcp.ObjectOf(raw)
	if err != nil {
		return 0
	}
	return millis(task, "ttl")
}

// millis reads a member that counts milliseconds; 0 when there is none.
func millis(o strictjson.Object, name string) time.Duration {
	raw, _ := o.Get(name)
	ms, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || ms <= 0 || ms > float64(maxTaskLife.Milliseconds()) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// taskOfLegacyClient serves a legacy client's tasks requests at a modern
// server.
func (c *conn) taskOfLegacyClient(ctx context.Context, r request) (upstream.Answer, error) {
	if r.method == mcp.MethodTasksList || !c.capabilities().tasks {
		return refuse(mcp.CodeMethodNotFound, "Method not found"), nil
	}
	id := paramTask(r.params)
	if o := c.s.own.find(r.from, id); o != nil {
		return o.answer(r.method, id), nil
	}
	switch r.method {
	case mcp.MethodTasksResult:
		return c.pollResult(ctx, r, id)
	case mcp.MethodTasksCancel:
		return c.cancelTask(ctx, r, id)
	}
	a, _, err := c.getTask(ctx, r, id)
	return a, err
}

// about sends a tasks request of the extension in a legacy client's name.
func (c *conn) about(ctx context.Context, r request, method string, params []byte) (upstream.Answer, error) {
	r.method, r.params = method, params
	a, err := c.oneRound(ctx, r, nil, modernMeta{caps: callerCapabilities(r.from, true)})
	if err == nil && a.Error != nil {
		a.Error = ErrorForLegacy(a.Error)
	}
	return a, err
}

// getTask returns the task in legacy words, and as it came.
func (c *conn) getTask(ctx context.Context, r request, id string) (upstream.Answer, strictjson.Object, error) {
	a, err := c.about(ctx, r, mcp.MethodTasksGet, taskParams(id))
	if err != nil || a.Error != nil {
		return a, nil, err
	}
	o, err := mcp.ObjectOf(a.Result)
	if err != nil {
		return a, nil, violationError("its task is malformed")
	}
	return complete(TaskForLegacy(o).Append(nil)), o, nil
}

// Pace of polling when the server does not say.
const (
	pollEvery = time.Second
	pollLeast = 20 * time.Millisecond
	pollMost  = 30 * time.Second
)

// pollResult blocks until a task has ended, as tasks/result of 2025-11-25
// does, and puts what the task asks to the client meanwhile.
func (c *conn) pollResult(ctx context.Context, r request, id string) (upstream.Answer, error) {
	answered := map[string]bool{}
	for {
		a, o, err := c.getTask(ctx, r, id)
		if err != nil || a.Error != nil {
			return a, err
		}
		switch status, _ := mcp.Text(o, "status", 32); status {
		case "completed":
			result, _ := o.Get("result")
			if strictjson.TypeOf(result) != strictjson.TypeObject {
				return a, violationError("its completed task has no result")
			}
			return complete(relateResult(ResultForLegacy(mcp.MethodToolsCall, result), id)), nil
		case "failed":
			raw, _ := o.Get("error")
			e, err := mcp.ParseError(raw)
			if err != nil {
				return a, violationError("its failed task has no error")
			}
			return upstream.Answer{Kind: mcp.ResultComplete, Error: ErrorForLegacy(e)}, nil
		case "cancelled":
			return refuse(mcp.CodeInternal, "the task was cancelled"), nil
		case "input_required":
			if a, err := c.askForTask(ctx, r, id, o, answered); err != nil || a.Error != nil {
				return a, err
			}
		}
		every := millis(o, "pollIntervalMs")
		if every == 0 {
			every = pollEvery
		}
		if err := pause(ctx, min(max(every, pollLeast), pollMost)); err != nil {
			return upstream.Answer{}, err
		}
	}
}

// askForTask puts new questions of a task to a legacy client and brings the
// server its answers. A client that refuses ends the task: the extension has
// no word for a refusal.
func (c *conn) askForTask(ctx context.Context, r request, id string, task strictjson.Object, answered map[string]bool) (a upstream.Answer, err error) {
	raw, _ := task.Get("inputRequests")
	if err = c.checkRequests(raw, r.from); err != nil {
		return a, err
	}
	all, err := strictjson.SplitObject(raw)
	if err != nil {
		return a, err
	}
	var fresh strictjson.Object
	for _, m := range all {
		if answered[m.Name] {
			continue
		}
		o, err := mcp.ObjectOf(m.Raw)
		if err != nil {
			return a, err
		}
		params, _ := o.Get("params")
		fresh = append(fresh, strictjson.Member{Name: m.Name, Raw: o.With("params", relateResult(params, id)).Append(nil)})
	}
	if len(fresh) == 0 {
		return a, nil
	}
	responses, refused, err := c.askAll(ctx, r, fresh.Append(nil))
	if err != nil {
		return a, err
	}
	if refused != nil {
		_, err := c.about(ctx, r, mcp.MethodTasksCancel, taskParams(id))
		return declined(refused), err
	}
	params := strictjson.Object{{Name: "taskId", Raw: strictjson.AppendString(nil, id)}, {Name: "inputResponses", Raw: responses}}
	if a, err = c.about(ctx, r, mcp.MethodTasksUpdate, params.Append(nil)); err != nil || a.Error != nil {
		return a, err
	}
	for _, m := range fresh {
		answered[m.Name] = true
	}
	return a, nil
}

// cancelTask cancels a task and answers with its state, as 2025-11-25 wants.
func (c *conn) cancelTask(ctx context.Context, r request, id string) (upstream.Answer, error) {
	a, o, err := c.getTask(ctx, r, id)
	if err != nil || a.Error != nil {
		return a, err
	}
	switch status, _ := mcp.Text(o, "status", 32); status {
	case "completed", "failed", "cancelled":
		return refuse(mcp.CodeInvalidParams, "the task has ended already"), nil
	}
	if a, err := c.about(ctx, r, mcp.MethodTasksCancel, taskParams(id)); err != nil || a.Error != nil {
		return a, err
	}
	a, o, err = c.getTask(ctx, r, id)
	if err != nil || a.Error != nil {
		return a, err
	}
	switch status, _ := mcp.Text(o, "status", 32); status {
	case "completed", "failed", "cancelled":
		return a, nil
	}
	// Cancelling is under way; the revision of the client knows no such state.
	return complete(TaskForLegacy(o).With("status", []byte(`"cancelled"`)).Append(nil)), nil
}

// offerTasks tells a legacy client that it may call each tool as a task: in
// its revision a tool that says nothing may not be ("Tool-Level Negotiation").
func offerTasks(result []byte) []byte {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return result
	}
	tools, ok := o.Get("tools")
	if !ok {
		return result
	}
	return o.With("tools", eachObject(tools, func(tool strictjson.Object) strictjson.Object {
		if _, ok := tool.Get("execution"); ok {
			return tool
		}
		return tool.With("execution", []byte(`{"taskSupport":"optional"}`))
	})).Append(nil)
}
