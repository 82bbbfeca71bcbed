package gateway

import (
	"context"
	"errors"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// taskAnswers checks the answers of tasks/update against what the task asks.
// What that is, is asked of the server in the caller's name each time: nothing
// that a client carries or that is remembered here has to be believed, and any
// replica can check. An answer to what is not asked never reaches the server,
// but the update is acknowledged all the same, as SEP-2663 wants ("SHOULD
// ignore … keys that were never issued, keys that have already been answered").
func (g *Gateway) taskAnswers(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.msg.Method != mcp.MethodTasksUpdate {
		return nil
	}
	bad := func(what string) *refusal {
		return deny(c, call.Validate, call.ReasonInvalidParams, what).say(what)
	}
	raw, _ := in.params.Get("inputResponses")
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return bad("params.inputResponses must be an object")
	}
	answers, err := strictjson.SplitObject(raw)
	if err != nil || len(answers) > maxResponses {
		return bad("params.inputResponses has too many members")
	}
	if in.asked == nil {
		ctx, cancel := g.deadline(ctx, c)
		defer cancel()
		var ref *refusal
		if in.asked, ref = g.askedByTask(ctx, c, in); ref != nil {
			return ref
		}
	}
	kept := answers[:0:0]
	changed := false
	for _, r := range answers {
		q, was := in.asked.Questions[r.Name]
		if !was {
			changed = true
			continue
		}
		if why := q.fits(r.Raw); why != "" {
			return bad("params.inputResponses." + printable(r.Name) + ": " + why)
		}
		trimmed := q.trim(r.Raw)
		changed = changed || len(trimmed) != len(r.Raw)
		kept = append(kept, strictjson.Member{Name: r.Name, Raw: trimmed})
	}
	if unasked := len(answers) - len(kept); unasked > 0 {
		c.Decide(call.Decision{Effect: call.Redact, Stage: call.Validate, Reason: call.ReasonUnaskedAnswer,
			Detail: "left out: " + strconv.Itoa(unasked)})
	}
	if changed {
		in.params = in.params.With("inputResponses", kept.Append(nil))
		in.msg.Params = in.params.Append(nil)
	}
	return nil
}

// askedByTask is what a task asks now, as far as its caller would be shown it.
func (g *Gateway) askedByTask(ctx context.Context, c *call.Call, in *inbound) (*asked, *refusal) {
	t := call.Target{Server: c.Target.Server, Method: mcp.MethodTasksGet, Name: c.Target.Name}
	params := strictjson.Object{{Name: "taskId", Raw: strictjson.AppendString(nil, t.Name)}}
	a, err := g.side(ctx, c, in, t, params)
	switch {
	case err != nil:
		return nil, serverRefusal(ctx, c, err)
	case a.Error != nil && a.Refused != "":
		return nil, refusedThere(c, a)
	case a.Error != nil && a.Error.Code == mcp.CodeInvalidParams:
		return nil, deny(c, call.Validate, call.ReasonUnknownTarget, "task").say("there is no such task")
	case a.Error != nil:
		return nil, deny(c, call.Validate, call.ReasonServerError, a.Error.Error()).say("the server does not say what the task asks: try again")
	}
	d, seen := g.o.Guards.Inspect(ctx, guard.Result, call.InspectResult, guard.Subject{Principal: c.Principal, Target: t, Raw: a.Result})
	if !d.Effect.Passes() {
		c.Decide(d)
		return nil, refuseDecision(d)
	}
	questions, err := questionsOf(seen)
	if err != nil {
		return nil, serverRefusal(ctx, c, errors.Join(upstream.ErrViolation, err))
	}
	return &asked{Questions: questions}, nil
}

// questionsOf reads the inputRequests of a task.
func questionsOf(task []byte) (map[string]question, error) {
	o, err := mcp.ObjectOf(task)
	if err != nil {
		return nil, err
	}
	all := map[string]question{}
	raw, ok := o.Get("inputRequests")
	if !ok {
		return all, nil
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil, errors.New("inputRequests is not an object")
	}
	requests, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		if strictjson.TypeOf(r.Raw) != strictjson.TypeObject {
			continue
		}
		q, err := strictjson.SplitObject(r.Raw)
		if err != nil {
			continue
		}
		method, _ := mcp.Text(q, "method", 64)
		params, _ := q.Get("params")
		all[r.Name] = readQuestion(method, params)
	}
	return all, nil
}
