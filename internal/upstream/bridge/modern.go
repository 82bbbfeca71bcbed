package bridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Bounds of multi-round-trip requests.
const (
	maxRequests = 32 // requests of the server in one round
	maxRounds   = 10 // rounds of one call of a legacy client
	maxAskers   = 8  // requests put to a legacy client at once
)

// callModern carries a request to a modern server.
func (c *conn) callModern(ctx context.Context, r request) (upstream.Answer, error) {
	if r.from.Era == mcp.Modern && r.method == mcp.MethodTasksGet {
		a, err := c.oneRound(ctx, r, nil, modernMeta{caps: callerCapabilities(r.from, false), level: r.from.LogLevel})
		if err == nil && a.Error == nil {
			a.Result, err = c.shown(a.Result, r.from)
		}
		return a, err
	}
	if r.from.Era == mcp.Modern {
		return c.oneRound(ctx, r, r.from.Resume, modernMeta{caps: callerCapabilities(r.from, false), level: r.from.LogLevel})
	}
	if a, done := c.forLegacyOnly(r); done {
		return a, nil
	}
	switch r.method {
	case mcp.MethodTasksGet, mcp.MethodTasksResult, mcp.MethodTasksCancel, mcp.MethodTasksList:
		return c.taskOfLegacyClient(ctx, r)
	}
	r.asTask = c.wantsTaskOf(r)
	if _, ok := mcp.RouteOf(mcp.Modern, r.method); !ok {
		return upstream.Answer{}, notExpressible("the server is modern and knows no " + r.method)
	}
	return c.rounds(ctx, r)
}

// forLegacyOnly answers the requests of legacy clients that modern servers
// need not hear of, since they are said in the _meta of each request or on a
// stream of their own.
func (c *conn) forLegacyOnly(r request) (upstream.Answer, bool) {
	switch r.method {
	case mcp.MethodPing, mcp.MethodSetLevel:
		return complete(mcp.EmptyObject()), true
	case mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe:
		return c.s.wants.change(r, c.capabilities()), true
	}
	return upstream.Answer{}, false
}

func (m *memory) capabilities() features {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.caps
}

// defaultLevel is what a legacy client that named no level gets from a modern
// server, which otherwise would log nothing.
const defaultLevel = "info"

// rounds carries a legacy client's request: what the server needs is asked of
// the client, and the request is retried with the answers.
func (c *conn) rounds(ctx context.Context, r request) (upstream.Answer, error) {
	m := modernMeta{caps: callerCapabilities(r.from, r.asTask), level: r.from.LogLevel}
	if m.level == "" {
		m.level = defaultLevel
	}
	var resume *upstream.Resume
	for round := range maxRounds + 1 {
		a, err := c.oneRound(ctx, r, resume, m)
		if err != nil {
			return a, err
		}
		if a.Error != nil {
			a.Error = ErrorForLegacy(missingResource(r.method, r.params, a.Error))
			return a, nil
		}
		if a.Kind != mcp.ResultInputRequired {
			if r.asTask {
				return c.finishTask(r, a), nil
			}
			a.Result = ResultForLegacy(r.method, a.Result)
			if r.method == mcp.MethodToolsList && r.from.Version >= mcp.V20251125 && c.capabilities().tasks {
				a.Result = offerTasks(a.Result)
			}
			return a, nil
		}
		responses, refused, err := c.askAll(ctx, r, a.Requests)
		if err != nil {
			return upstream.Answer{}, err
		}
		if refused != nil {
			return declined(refused), nil
		}
		if a.Requests == nil {
			if err := pause(ctx, time.Duration(round+1)*100*time.Millisecond); err != nil {
				return upstream.Answer{}, err
			}
		}
		resume = &upstream.Resume{State: a.State, Responses: responses}
	}
	return upstream.Answer{}, violationError("it asked for input more often than ten times")
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askAll puts the requests of one round to a legacy client, several at once.
// The first refusal ends the round: a modern server has no place for it.
func (c *conn) askAll(ctx context.Context, r request, raw []byte) (responses []byte, refused *mcp.Error, err error) {
	if raw == nil {
		return nil, nil, nil
	}
	requests, err := mcp.ObjectOf(raw)
	if err != nil {
		return nil, nil, violationError("its input requests are malformed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := make(strictjson.Object, len(requests))
	places := make(chan struct{}, maxAskers)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, m := range requests {
		o, _ := mcp.ObjectOf(m.Raw)
		method, _ := mcp.Text(o, "method", 128)
		params, _ := o.Get("params")
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if ctx.Err() != nil {
				return
			}
			result, no, aerr := r.client.Ask(ctx, method, AskForLegacy(method, params, r.from.Version))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case refused != nil || err != nil:
			case aerr != nil:
				err = aerr
				cancel()
			case no != nil:
				refused = no
				cancel()
			default:
				out[i] = strictjson.Member{Name: m.Name, Raw: result}
			}
		})
	}
	wg.Wait()
	if err != nil || refused != nil {
		return nil, refused, err
	}
	return out.Append(nil), nil, ctx.Err()
}

// oneRound sends a request once and reads what kind of answer came.
func (c *conn) oneRound(ctx context.Context, r request, resume *upstream.Resume, m modernMeta) (upstream.Answer, error) {
	params, name, err := withResume(r, resume)
	if err != nil {
		return upstream.Answer{}, err
	}
	f := c.depart(ctx, r)
	m.token = f.token
	out := upstream.Outgoing{Method: r.method, Version: c.version, Headers: r.from.Headers}
	out.Members, out.Name = modernMembers(params, r.from, c.version, m), name
	msg, err := f.exchange(ctx, out)
	f.settle()
	if err != nil {
		return upstream.Answer{}, c.modernFailure(err)
	}
	if msg.Kind == mcp.ErrorReply {
		a, err := answerOf(msg)
		if err == nil && a.Error.Code == mcp.CodeUnsupportedVersion {
			return upstream.Answer{}, errForgotten
		}
		if err == nil && c.permanent() {
			c.s.era.doubt(a.Error.Code)
		}
		return a, err
	}
	return c.readModern(msg.Result, r)
}

// modernFailure notes when an error speaks against what is remembered of the
// server: the next call asks it anew.
func (c *conn) modernFailure(err error) error {
	var st *upstream.StatusError
	if errors.As(err, &st) && wrongEra(st.Status) && c.s.era.setting == EraAuto {
		c.s.era.forget(mcp.Modern)
	}
	return err
}

// withResume puts the state and responses of a round into the params of a
// retry, and takes both out of a first request. It also returns the target
// that Mcp-Name repeats.
func withResume(r request, resume *upstream.Resume) (params strictjson.Object, name string, err error) {
	if params, err = mcp.ObjectOf(r.params); err != nil {
		return nil, "", err
	}
	route, _ := mcp.RouteOf(mcp.Modern, r.method)
	if route.Header {
		name, _ = mcp.Text(params, route.Name, 1<<16)
	}
	if r.from.Era == mcp.Legacy {
		params = params.Without("task")
	}
	if !route.Inputs {
		return params, name, nil
	}
	params = params.Without("inputResponses", "requestState")
	if resume == nil {
		return params, name, nil
	}
	if resume.Responses != nil {
		params = append(params, strictjson.Member{Name: "inputResponses", Raw: resume.Responses})
	}
	if resume.State != "" {
		params = append(params, strictjson.Member{Name: "requestState", Raw: strictjson.AppendString(nil, resume.State)})
	}
	return params, name, nil
}

// readModern reads a modern result by its resultType and refuses the kinds
// that were not offered ("ResultType").
func (c *conn) readModern(result []byte, r request) (upstream.Answer, error) {
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return upstream.Answer{}, violationError("its result is malformed")
	}
	kind := mcp.ResultComplete
	if _, ok := o.Get("resultType"); ok {
		if kind, ok = mcp.Text(o, "resultType", 64); !ok {
			return upstream.Answer{}, violationError("its resultType is no short text")
		}
	}
	route, _ := mcp.RouteOf(mcp.Modern, r.method)
	switch {
	case kind == mcp.ResultComplete:
		return complete(result), nil
	case kind == mcp.ResultInputRequired && route.Inputs:
		return c.readInputRequired(o, r)
	case kind == mcp.ResultTask && r.method == mcp.MethodToolsCall && r.mayTask():
		// What it asks stands in tasks/get (SEP-2663, CreateTaskResult).
		if _, asks := o.Get("inputRequests"); asks {
			result = o.Without("inputRequests").Append(nil)
		}
		return upstream.Answer{Result: result, Kind: mcp.ResultTask}, nil
	}
	c.s.violation("result-type", "the server answered with a kind of result that this request does not offer")
	return upstream.Answer{}, violationError("it answered with a kind of result that was not offered")
}

// mayTask reports that the request declared the tasks extension.
func (r *request) mayTask() bool {
	return r.from.Era == mcp.Modern && r.from.Capabilities.Tasks || r.asTask
}

func (c *conn) readInputRequired(o strictjson.Object, r request) (upstream.Answer, error) {
	a := upstream.Answer{Kind: mcp.ResultInputRequired}
	requests, asked := o.Get("inputRequests")
	state, stated := o.Get("requestState")
	if !asked && !stated {
		return a, violationError("it needs input and does not say which")
	}
	if stated {
		if strictjson.TypeOf(state) != strictjson.TypeString {
			return a, violationError("its requestState is no text")
		}
		var err error
		if a.State, err = strictjson.String(state); err != nil {
			return a, violationError("its requestState is malformed")
		}
	}
	if asked {
		if err := c.checkRequests(requests, r.from); err != nil {
			return a, err
		}
		a.Requests = requests
	}
	if rest := o.Without("inputRequests", "requestState", "resultType"); len(rest) > 0 {
		a.Result = rest.Append(nil)
	}
	return a, nil
}

// shown takes out of a task what its client did not declare that it answers,
// and what no client answers: it is not shown what it cannot be asked.
func (c *conn) shown(task []byte, from upstream.Caller) ([]byte, error) {
	o, err := mcp.ObjectOf(task)
	if err != nil {
		return nil, violationError("its task is malformed")
	}
	raw, ok := o.Get("inputRequests")
	if !ok {
		return task, nil
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil, violationError("its inputRequests are no object")
	}
	requests, err := strictjson.SplitObject(raw)
	if err != nil || len(requests) > maxRequests {
		return nil, violationError("its inputRequests are malformed or too many")
	}
	kept := requests[:0:0]
	for _, m := range requests {
		if _, why := inputRequest(m.Raw, from); why == "" {
			kept = append(kept, m)
		} else {
			c.s.violation("undeclared-request", why)
		}
	}
	if len(kept) == len(requests) {
		return task, nil
	}
	return o.With("inputRequests", kept.Append(nil)).Append(nil), nil
}

// inputRequest reads one entry of inputRequests; why says what is wrong with
// it, in words of ours.
func inputRequest(raw []byte, from upstream.Caller) (method, why string) {
	o, err := mcp.ObjectOf(raw)
	if err != nil || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return "", "one of its inputRequests is no object"
	}
	method, _ = mcp.Text(o, "method", 128)
	params, ok := o.Get("params")
	if ok && strictjson.TypeOf(params) != strictjson.TypeObject {
		return "", "one of its inputRequests has malformed params"
	}
	switch method {
	case mcp.MethodSampling, mcp.MethodElicit, mcp.MethodRootsList:
	default:
		return "", "one of its inputRequests is no request that a client answers"
	}
	if !from.Capabilities.Allows(method, params) {
		return method, "it asked for " + method + ", which the client did not declare"
	}
	return method, ""
}

// checkRequests reads inputRequests: only the three methods of the
// specification, and only what the client declared.
func (c *conn) checkRequests(raw []byte, from upstream.Caller) error {
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return violationError("its inputRequests are no object")
	}
	requests, err := strictjson.SplitObject(raw)
	if err != nil || len(requests) > maxRequests {
		return violationError("its inputRequests are malformed or too many")
	}
	for _, m := range requests {
		method, why := inputRequest(m.Raw, from)
		if method != "" && why != "" {
			c.s.violation("undeclared-request", "the server asked what the client did not declare: "+method)
		}
		if why != "" {
			return violationError(why)
		}
	}
	return nil
}
