package gateway

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
)

// hosted is a task that a legacy client runs for a server which asked for it
// (2025-11-25, tasks, "Creating Tasks" in the direction of the server). The
// server knows it by a sealed name that belongs to this session and server;
// what it says under the name of another's task is about no task.
type hosted struct {
	server, id string // the client's own
	name       string // the server's
	of         question
	until      time.Time
}

const (
	maxHosted  = 64 // of one session
	hostedLife = time.Hour
)

// aboutHosted reports the requests that a server makes about such a task.
// tasks/list is not among them: it would show a server what the client does
// for others.
func aboutHosted(method string) bool {
	switch method {
	case mcp.MethodTasksGet, mcp.MethodTasksResult, mcp.MethodTasksCancel:
		return true
	}
	return false
}

// host keeps account of a task that a client made of a question.
func (p *peer) host(h *hosted) bool {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, old := range p.hosts {
		if now.After(old.until) {
			delete(p.hosts, name)
		}
	}
	if len(p.hosts) >= maxHosted && p.hosts[h.name] == nil {
		return false
	}
	if p.hosts == nil {
		p.hosts = map[string]*hosted{}
	}
	p.hosts[h.name] = h
	return true
}

// hosted returns the task that a server names.
func (p *peer) hosted(server, name string) *hosted {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[name]; h != nil && h.server == server && time.Now().Before(h.until) {
		return h
	}
	return nil
}

// hosting returns the task that the client names.
func (p *peer) hosting(id string) *hosted {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hosts {
		if h.id == id && time.Now().Before(h.until) {
			return h
		}
	}
	return nil
}

// adopt gives a client's CreateTaskResult the name by which the server may ask
// for the task.
func (k *client) adopt(q question, result []byte) ([]byte, *mcp.Error) {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return nil, errUnfit()
	}
	raw, made := o.Get("task")
	if !made || !q.Task {
		return result, nil
	}
	task, err := mcp.ObjectOf(raw)
	if err != nil {
		return nil, errUnfit()
	}
	h := &hosted{server: k.c.Target.Server, of: q, until: time.Now().Add(lifeOf(task))}
	h.of.Task = false
	h.id, _ = mcp.Text(task, "taskId", maxTaskName)
	plain, err := json.Marshal([2]string{h.server, h.id})
	if err != nil {
		return nil, errUnfit()
	}
	if h.name, err = k.g.o.Sealer.Name(purposeHosted, plain, binding(k.in.session.key)); err != nil {
		return nil, errUnfit()
	}
	if !k.in.peer.host(h) {
		return nil, &mcp.Error{Code: mcp.CodeInternal, Message: "the client runs too many tasks: wait until some have ended"}
	}
	return o.With("task", task.With("taskId", strictjson.AppendString(nil, h.name)).Append(nil)).Append(nil), nil
}

// about prepares a server's request about a task of the client. nil means that
// there is no such task for this server.
func (k *client) about(method string, params []byte) (*hosted, question, []byte) {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return nil, question{}, nil
	}
	name, _ := mcp.Text(o, "taskId", maxName)
	h := k.in.peer.hosted(k.c.Target.Server, name)
	if h == nil {
		return nil, question{}, nil
	}
	o = mcp.WithMeta(o, nil, mcp.MetaRelatedTask)
	return h, question{Method: method, TaskID: h.id, Of: &h.of}, o.With("taskId", strictjson.AppendString(nil, h.id)).Append(nil)
}

// named puts the server's name of a task into what the client answered about
// it.
func (h *hosted) named(method string, result []byte) []byte {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return result
	}
	name := strictjson.AppendString(nil, h.name)
	if method == mcp.MethodTasksResult {
		related := strictjson.Object{{Name: "taskId", Raw: name}}.Append(nil)
		return mcp.WithMeta(o, strictjson.Object{{Name: mcp.MetaRelatedTask, Raw: related}}).Append(nil)
	}
	return o.With("taskId", name).Append(nil)
}

// lifeOf is how long a task is kept account of.
func lifeOf(task strictjson.Object) time.Duration {
	raw, _ := task.Get("ttl")
	ms, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(ms) || ms < 0 || ms > float64(hostedLife.Milliseconds()) {
		return hostedLife
	}
	return time.Duration(ms) * time.Millisecond
}

const maxTaskName = 1024

// fitsTask checks a task object of 2025-11-25; id is the task that was asked
// for, empty for a new one.
func fitsTask(o strictjson.Object, id string) string {
	got, ok := mcp.Text(o, "taskId", maxTaskName)
	switch {
	case !ok || got == "":
		return "taskId must be a string"
	case id != "" && got != id:
		return "taskId is not the task that was asked for"
	}
	switch status, _ := mcp.Text(o, "status", 32); status {
	case "working", "input_required", "completed", "failed", "cancelled":
		return ""
	}
	return "status is not one of a task's"
}

// wish takes a task out of the params of a request for a client that did not
// declare it for this request; it reports whether the client may make one.
// Receivers are to ignore the wish, but not all do.
func wish(c mcp.Capabilities, method string, params []byte) (may bool, out []byte) {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return false, params
	}
	if _, wants := o.Get("task"); !wants {
		return false, params
	}
	if method == mcp.MethodSampling && c.TaskSampling || method == mcp.MethodElicit && c.TaskElicit {
		return true, params
	}
	return false, o.Without("task").Append(nil)
}

func errUnfit() *mcp.Error {
	return &mcp.Error{Code: mcp.CodeInvalidParams, Message: "the client's answer did not fit what was asked"}
}
