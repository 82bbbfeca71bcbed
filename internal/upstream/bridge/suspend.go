package bridge

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// A legacy server asks while a call is in flight; a modern client is answered
// input_required and comes back with another request. Between the two the
// call waits here: its request stays open at the server, in a goroutine that
// no client's request owns.

// longest bounds a suspended call in all, however often its client comes back.
const longest = time.Hour

// suspended is a call of a modern client at a legacy server. One goroutine at
// a time works on it: the client's, or the timer that ends it.
type suspended struct {
	*flight
	target call.Target
	asTask bool
	owner  string // Principal.ClientKey
	who    string // Principal.Key
	cancel context.CancelFunc
	values context.Context

	done chan struct{} // closed when the server answered
	msg  mcp.Message   // after done
	err  error         // after done

	questions
	timer *time.Timer
}

// suspensions are the calls that wait for their clients.
type suspensions struct {
	s     *Server
	mu    sync.Mutex
	calls map[string]*suspended
	count map[string]int
}

func (p *suspensions) init(s *Server) {
	p.s, p.calls, p.count = s, map[string]*suspended{}, map[string]int{}
}

// put parks a call under a fresh name.
func (p *suspensions) put(f *suspended) (state string, ok bool) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	state = base64.RawURLEncoding.EncodeToString(b[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[f.who] >= p.s.cfg.MaxSuspended {
		return "", false
	}
	p.count[f.who]++
	p.calls[state] = f
	f.timer = time.AfterFunc(p.s.cfg.SuspendFor, func() {
		if p.remove(state, f) {
			f.abandon(errNoAnswer)
		}
	})
	return state, true
}

// take hands a parked call to whoever brings its name, its owner only and
// once. Another's call looks like one that is not there.
func (p *suspensions) take(state, owner string, target call.Target) *suspended {
	p.mu.Lock()
	f := p.calls[state]
	p.mu.Unlock()
	if f == nil || f.owner != owner || f.target != target || !p.remove(state, f) {
		return nil
	}
	f.timer.Stop()
	return f
}

func (p *suspensions) remove(state string, f *suspended) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[state] != f {
		return false
	}
	delete(p.calls, state)
	if p.count[f.who]--; p.count[f.who] <= 0 {
		delete(p.count, f.who)
	}
	return true
}

// clear ends every parked call.
func (p *suspensions) clear() {
	p.mu.Lock()
	var all []*suspended
	for _, f := range p.calls {
		f.timer.Stop()
		all = append(all, f)
	}
	clear(p.calls)
	clear(p.count)
	p.mu.Unlock()
	for _, f := range all {
		f.cancel()
	}
}

// callSuspendable carries a modern client's request to a legacy server.
func (c *conn) callSuspendable(ctx context.Context, r request) (upstream.Answer, error) {
	if r.from.Resume != nil {
		if r.from.Resume.State != "" {
			return upstream.Answer{}, upstream.ErrLost
		}
		// The first call was refused with "URL elicitation required".
		if !allAccepted(r.from.Resume.Responses) {
			return declined(&mcp.Error{Code: mcp.CodeInvalidRequest,
				Message: "the server needs the user to complete a step in the browser, and the user did not accept it"}), nil
		}
	}
	if _, ok := mcp.RouteOf(mcp.Legacy, r.method); !ok {
		return upstream.Answer{}, notExpressible("the server is legacy and knows no " + r.method)
	}
	asTask, refusal := c.asTask(r)
	if refusal != nil {
		return *refusal, nil
	}
	r.asTask = asTask
	c.applyLevel(ctx, r.from)
	return c.suspendable(ctx, r)
}

// refuse answers with an error of our own.
func refuse(code int, message string) upstream.Answer {
	why := call.ReasonTooMany
	switch code {
	case mcp.CodeMethodNotFound:
		why = call.ReasonUnknownMethod
	case mcp.CodeInvalidParams:
		why = call.ReasonInvalidParams
	case mcp.CodeMissingCapability:
		why = call.ReasonMissingCapability
	case mcp.CodeInternal:
		why = call.ReasonCancelled
	}
	return upstream.Answer{Kind: mcp.ResultComplete, Error: &mcp.Error{Code: code, Message: message}, Refused: why}
}

// declined answers that the client, or the person before it, did not do what
// the call needs.
func declined(e *mcp.Error) upstream.Answer {
	return upstream.Answer{Kind: mcp.ResultComplete, Error: e, Refused: call.ReasonDeclined}
}

// suspendable sends the request and serves it until it is answered or waits
// for its client.
func (c *conn) suspendable(ctx context.Context, r request) (upstream.Answer, error) {
	f := &suspended{
		flight: c.departWaiting(r), target: r.target, asTask: r.asTask, done: make(chan struct{}),
		owner: r.from.Principal.ClientKey(), who: r.from.Principal.Key(), values: context.WithoutCancel(ctx),
	}
	f.questions.f = f.flight
	if !c.use() {
		f.arrive()
		return upstream.Answer{}, upstream.ErrDown
	}
	fctx, cancel := context.WithTimeout(f.values, longest)
	f.cancel = cancel
	out := upstream.Outgoing{Method: r.method, Params: legacyParams(r.params, r.from, f.token), Version: c.version}
	if r.asTask {
		out.Params = withTask(out.Params)
	}
	c.s.spawn(func() {
		f.msg, f.err = f.exchange(fctx, out)
		f.arrive()
		cancel()
		c.release()
		close(f.done)
	})
	return f.serve(ctx, r.client, nil)
}

// resume continues a parked call with what its client brings.
func (f *suspended) resume(ctx context.Context, from upstream.Caller, client upstream.Client) (upstream.Answer, error) {
	f.c.mu.Lock()
	f.parked = false
	f.from.ProgressToken, f.from.LogLevel, f.from.Capabilities = from.ProgressToken, from.LogLevel, from.Capabilities
	f.from.Principal, f.from.Token = from.Principal, from.Token
	f.c.mu.Unlock()
	f.c.heard(from)
	f.collect(client)
	f.respond(f.values, from.Resume.Responses)
	var due <-chan time.Time
	if len(f.pending) > 0 {
		now := make(chan time.Time, 1)
		now <- time.Now()
		due = now
	}
	return f.serve(ctx, client, due)
}

// serve waits until the server answered, or asked and the round is complete,
// or the client left.
func (f *suspended) serve(ctx context.Context, client upstream.Client, due <-chan time.Time) (upstream.Answer, error) {
	for {
		if f.collect(client) && due == nil {
			due = time.After(f.c.s.cfg.RoundGather)
		}
		if len(f.pending) == 0 {
			due = nil
		}
		select {
		case <-f.done:
			f.collect(client)
			return f.finish()
		default:
		}
		select {
		case <-f.in.wake:
		case <-f.done:
		case <-due:
			f.collect(client)
			if len(f.pending) == 0 {
				due = nil
				continue
			}
			return f.park()
		case <-ctx.Done():
			f.abandon(errNoAnswer)
			return upstream.Answer{}, ctx.Err()
		}
	}
}

// park answers input_required and leaves the call waiting.
func (f *suspended) park() (upstream.Answer, error) {
	requests := f.requests()
	f.c.mu.Lock()
	f.parked = true
	f.c.mu.Unlock()
	state, ok := f.c.s.parked.put(f)
	if !ok {
		f.abandon(errTooMany)
		return upstream.Answer{}, worded("too many calls wait for answers of their clients", upstream.ErrBusy)
	}
	return upstream.Answer{Kind: mcp.ResultInputRequired, Requests: requests, State: state, Suspended: true, Era: mcp.Legacy}, nil
}

// abandon ends a call that nobody will continue and frees what it holds: the
// server's requests are refused and the call is cancelled.
func (f *suspended) abandon(why *mcp.Error) {
	f.collect(nil)
	f.drop(why)
	f.cancel()
}

// finish turns the server's answer into the client's era.
func (f *suspended) finish() (upstream.Answer, error) {
	f.drop(errNoAnswer)
	if f.err != nil {
		return upstream.Answer{}, f.err
	}
	if f.asTask && f.msg.Kind == mcp.Result {
		if a, ok := f.c.created(f.flight, f.msg.Result); ok {
			return a, nil
		}
	}
	return modernAnswer(f.msg, f.from)
}

// withTask asks a legacy server to make a task of a call.
func withTask(params []byte) []byte {
	o, err := mcp.ObjectOf(params)
	if err != nil {
		return params
	}
	return o.With("task", mcp.EmptyObject()).Append(nil)
}

// modernAnswer turns a legacy server's response into a modern one.
func modernAnswer(msg mcp.Message, from upstream.Caller) (upstream.Answer, error) {
	a, err := answerOf(msg)
	if err != nil {
		return a, err
	}
	a.Era = mcp.Legacy
	if a.Error == nil {
		a.Result = ResultForModern(a.Result)
		return a, nil
	}
	if a.Error.Code == mcp.CodeURLElicitation {
		return urlElicitations(a.Error, from)
	}
	a.Error = ErrorForModern(a.Error)
	return a, nil
}

// urlElicitations turns "URL elicitation required" (2025-11-25) into a round
// of requests. No call waits: the client retries, and the server executes for
// the first time.
func urlElicitations(e *mcp.Error, from upstream.Caller) (upstream.Answer, error) {
	list, ok := elicitationsOf(e.Data)
	if !ok {
		return upstream.Answer{}, violationError("its list of URL elicitations is malformed")
	}
	if !from.Capabilities.URL {
		a := refuse(mcp.CodeMissingCapability, "Missing required client capability")
		a.Era, a.Error.Data = mcp.Legacy, []byte(`{"requiredCapabilities":{"elicitation":{"url":{}}}}`)
		return a, nil
	}
	requests := make(strictjson.Object, 0, len(list))
	for i, p := range list {
		requests = append(requests, strictjson.Member{Name: "u" + strconv.Itoa(i+1), Raw: InputRequest(mcp.MethodElicit, p)})
	}
	return upstream.Answer{Kind: mcp.ResultInputRequired, Requests: requests.Append(nil), Era: mcp.Legacy}, nil
}
