package bridge

import (
	"context"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// firstQuestion is how long a task that needs input may take to say which.
const firstQuestion = 2 * time.Second

// remoteTask is the account of a task at a legacy server. For a modern client
// it holds what the server asks: tasks/result is opened in the background when
// the task needs input, and its questions are shown by tasks/get.
type remoteTask struct {
	c     *conn
	id    string // the server's
	until time.Time
	token string // progress token at the server, of a legacy client's task

	turn chan struct{} // held by the one who works on what follows
	questions
	open chan struct{} // tasks/result is under way; closed when answered
	msg  mcp.Message   // after open
	err  error         // after open
}

func (t *remoteTask) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case t.turn <- struct{}{}:
		return func() { <-t.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask sends one request about the task.
func (t *remoteTask) ask(ctx context.Context, r request, method string) (mcp.Message, error) {
	r.method, r.params = method, taskParams(t.id)
	f := t.c.depart(ctx, r)
	msg, err := f.exchange(ctx, upstream.Outgoing{Method: method, Params: r.params, Version: t.c.version})
	f.settle()
	return msg, err
}

// detail is the task with what its status carries (SEP-2663, DetailedTask).
func (t *remoteTask) detail(ctx context.Context, r request, shown string) (strictjson.Object, *mcp.Error, error) {
	unlock, err := t.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	msg, err := t.ask(ctx, r, mcp.MethodTasksGet)
	if err != nil {
		return nil, nil, err
	}
	a, err := answerOf(msg)
	if err != nil || a.Error != nil {
		if a.Error != nil {
			a.Error = ErrorForModern(a.Error)
		}
		return nil, a.Error, err
	}
	task, err := mcp.ObjectOf(a.Result)
	if err != nil {
		return nil, nil, violationError("its task is malformed")
	}
	status, _ := mcp.Text(task, "status", 32)
	out := TaskForModern(task, shown)
	t.collect(nil)
	switch status {
	case "completed", "failed":
		return t.finished(ctx, r, out)
	case "cancelled":
		t.drop(errNoAnswer)
		return out, nil, nil
	case "input_required":
		if err := t.await(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	if len(t.pending) > 0 {
		return out.With("status", []byte(`"input_required"`)).With("inputRequests", t.requests()), nil, nil
	}
	return out.With("status", []byte(`"working"`)), nil, nil
}

// await opens tasks/result and waits until the server has asked, and a moment
// longer for what belongs to the same round.
func (t *remoteTask) await(ctx context.Context, r request) error {
	t.listen(ctx, r)
	if len(t.pending) > 0 {
		return nil
	}
	due := time.After(firstQuestion)
	for {
		select {
		case <-t.f.in.wake:
			if t.collect(nil) {
				due = time.After(t.c.s.cfg.RoundGather)
			}
		case <-t.open:
			t.collect(nil)
			return nil
		case <-due:
			t.collect(nil)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen opens tasks/result unless it is open and unanswered.
func (t *remoteTask) listen(ctx context.Context, r request) {
	if t.open != nil {
		select {
		case <-t.open:
			if t.err == nil {
				return
			}
		default:
			return
		}
	}
	if !t.c.use() {
		return
	}
	t.open = make(chan struct{})
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), t.until)
	open := t.open
	t.c.s.spawn(func() {
		defer close(open)
		defer t.c.release()
		defer cancel()
		t.msg, t.err = t.f.exchange(ctx, upstream.Outgoing{Method: mcp.MethodTasksResult, Params: taskParams(t.id), Version: t.c.version})
	})
}

// finished embeds the result or error of a task that ended.
func (t *remoteTask) finished(ctx context.Context, r request, out strictjson.Object) (strictjson.Object, *mcp.Error, error) {
	t.listen(ctx, r)
	if t.open == nil {
		return nil, nil, lostInFlight(context.Cause(t.c.ctx))
	}
	select {
	case <-t.open:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	t.collect(nil)
	t.drop(errNoAnswer)
	if t.err != nil {
		return nil, nil, t.err
	}
	a, err := answerOf(t.msg)
	if err != nil {
		return nil, nil, err
	}
	if a.Error != nil {
		return out.With("status", []byte(`"failed"`)).With("error", ErrorForModern(a.Error).Append(nil)), nil, nil
	}
	o, err := mcp.ObjectOf(a.Result)
	if err != nil {
		return nil, nil, violationError("the result of its task is malformed")
	}
	return out.With("status", []byte(`"completed"`)).With("result", mcp.WithMeta(o, nil, mcp.MetaRelatedTask).Append(nil)), nil, nil
}

// update answers questions of the task; what is not outstanding is ignored.
func (t *remoteTask) update(ctx context.Context, r request) (upstream.Answer, error) {
	o, err := mcp.ObjectOf(r.params)
	if err != nil {
		return upstream.Answer{}, err
	}
	responses, ok := o.Get("inputResponses")
	if !ok || strictjson.TypeOf(responses) != strictjson.TypeObject {
		return refuse(mcp.CodeInvalidParams, "params.inputResponses must be an object"), nil
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return upstream.Answer{}, err
	}
	defer unlock()
	t.collect(nil)
	t.respond(context.WithoutCancel(ctx), responses)
	return complete([]byte(`{"resultType":"complete"}`)), nil
}

// stop passes tasks/cancel and acknowledges it. A legacy server refuses to
// cancel what has ended; in modern revisions that is acknowledged too.
func (t *remoteTask) stop(ctx context.Context, r request) (upstream.Answer, error) {
	ack := complete([]byte(`{"resultType":"complete"}`))
	if t.c.features.tasksCancel {
		msg, err := t.ask(ctx, r, mcp.MethodTasksCancel)
		if err != nil {
			return upstream.Answer{}, err
		}
		if msg.Kind == mcp.Result {
			return ack, nil
		}
	}
	msg, err := t.ask(ctx, r, mcp.MethodTasksGet)
	if err != nil {
		return upstream.Answer{}, err
	}
	a, err := answerOf(msg)
	if err != nil || a.Error == nil {
		return ack, err
	}
	a.Error = ErrorForModern(a.Error)
	return a, nil
}

// wantsTask reports whether a stream asked for the states of a task.
func (l *listener) wantsTask(params []byte) bool {
	id := paramTask(params)
	if l.c.routed() == mcp.Legacy {
		id = l.c.id + "." + id
	}
	for _, want := range l.want.tasks {
		if want == id && id != "" {
			return true
		}
	}
	return false
}

// ackTasks returns the tasks of a filter that live on this connection.
func (c *conn) ackTasks(from upstream.Caller, ids []string) (honoured []string) {
	for _, id := range ids {
		if from.Era != mcp.Modern {
			break
		}
		if home, _ := c.s.taskHome(from, id); home != nil {
			if home == c {
				honoured = append(honoured, id)
			}
			home.release()
		}
	}
	return honoured
}

// taskNotification says a change of a task in the words of the client's era.
// A modern client gets the whole task, as tasks/get would show it.
func (c *conn) taskNotification(ctx context.Context, l *listener, client upstream.Client, method string, params []byte) (string, []byte, bool) {
	if method == mcp.NotifyTask {
		task, err := c.shown(params, l.from)
		if err != nil {
			c.s.violation("task", "the server told of a task what cannot be read")
		}
		return method, task, err == nil
	}
	if method != mcp.NotifyTaskStatus || l.from.Era != mcp.Modern {
		return method, params, true
	}
	id := paramTask(params)
	c.mu.Lock()
	t := c.tasks[id]
	c.mu.Unlock()
	if t == nil {
		return "", nil, false
	}
	o, refused, err := t.detail(ctx, request{from: l.from, client: client}, c.id+"."+id)
	if err != nil || refused != nil {
		return "", nil, false
	}
	task, err := c.shown(o.Append(nil), l.from)
	return mcp.NotifyTask, task, err == nil
}
