package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Purposes of sealed texts.
const (
	purposeState  = "request-state"
	purposeCursor = "cursor"
	purposeTask   = "task-id"
	purposeHosted = "client-task-id"
)

const (
	maxState     = 256 << 10
	maxResponses = 64
)

// asked is what a sealed requestState remembers: what was asked, and the
// server's own state.
type asked struct {
	Questions map[string]question `json:"q"`
	State     string              `json:"s,omitempty"`
	Nonce     string              `json:"n"`
	Expires   int64               `json:"e"`
	// Approved are the approvals that the call rests on, by their Match: the
	// rounds that follow belong to it.
	Approved []string `json:"p,omitempty"`
}

// question is one server request that waits for an answer.
type question struct {
	Method string          `json:"m"`
	Mode   string          `json:"o,omitempty"`
	Schema json.RawMessage `json:"c,omitempty"`

	// Task: the client may answer with a task instead. TaskID and Of are the
	// task that is asked about and the question that its result answers. None
	// of these crosses to a modern client.
	Task   bool      `json:"-"`
	TaskID string    `json:"-"`
	Of     *question `json:"-"`
}

// readQuestion keeps of a server's request what its answer is checked against.
func readQuestion(method string, params []byte) question {
	q := question{Method: method}
	if method == mcp.MethodElicit {
		q.Mode = mcp.ElicitMode(params)
		if o, err := mcp.ObjectOf(params); err == nil {
			if s, ok := o.Get("requestedSchema"); ok {
				q.Schema = s
			}
		}
	}
	return q
}

// binding ties a sealed text to all it may be used for; each part carries its
// length, so no two lists of parts look alike.
func binding(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p))) //nolint:gosec // parts are far below 4 GiB
		b = append(b, p...)
	}
	return b
}

// stateBinding binds requestState to issuer, subject, client, server, method,
// name, the digest of the arguments and the definition's digest.
func stateBinding(c *call.Call, in *inbound) []byte {
	args, _ := in.params.Get("arguments")
	canon, err := strictjson.Canonical(args)
	if err != nil {
		canon = args
	}
	sum := sha256.Sum256(canon)
	def := ""
	if in.def != nil {
		def = string(in.def.digest[:])
	}
	return binding(c.Principal.ClientKey(), in.path, c.Target.Server, c.Target.Method, c.Target.Name, string(sum[:]), def)
}

// sealState makes the requestState of an answer that asks for input.
func (g *Gateway) sealState(c *call.Call, in *inbound, requests strictjson.Object, state string) (string, error) {
	a := asked{Questions: map[string]question{}, State: state, Nonce: string(call.NewID()), Expires: time.Now().Add(g.o.Limits.Suspend).Unix(), Approved: in.rests()}
	for _, r := range requests {
		o, err := strictjson.SplitObject(r.Raw)
		if err != nil {
			return "", err
		}
		method, _ := mcp.Text(o, "method", 64)
		params, _ := o.Get("params")
		a.Questions[r.Name] = readQuestion(method, params)
	}
	plain, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	if len(plain) > maxState {
		return "", upstream.ErrTooLarge
	}
	return g.o.Sealer.Seal(purposeState, plain, stateBinding(c, in))
}

// inputs reads requestState and inputResponses of a modern request. What was
// not asked is dropped; what was asked must fit what was asked.
func (g *Gateway) inputs(c *call.Call, in *inbound) *refusal {
	if in.era != mcp.Modern {
		return nil
	}
	_, hasState := in.params.Get("requestState")
	rawResp, hasResp := in.params.Get("inputResponses")
	if !in.route.Inputs {
		if hasState || hasResp && in.msg.Method != mcp.MethodTasksUpdate {
			return deny(c, call.Validate, call.ReasonInvalidParams, "inputs").say("requestState and inputResponses do not belong to this method")
		}
		return nil
	}
	if !hasState && !hasResp {
		return nil
	}
	bad := func(what string) *refusal {
		return deny(c, call.Validate, call.ReasonInvalidParams, what).say(what)
	}
	var responses strictjson.Object
	if hasResp {
		if strictjson.TypeOf(rawResp) != strictjson.TypeObject {
			return bad("params.inputResponses must be an object")
		}
		var err error
		if responses, err = strictjson.SplitObject(rawResp); err != nil || len(responses) > maxResponses {
			return bad("params.inputResponses has too many members")
		}
	}
	a := &asked{}
	if hasState {
		text, ok := mcp.Text(in.params, "requestState", 2*maxState)
		if !ok {
			return bad("params.requestState must be a string")
		}
		plain, err := g.o.Sealer.Open(purposeState, text, stateBinding(c, in))
		if err != nil || json.Unmarshal(plain, a) != nil || time.Now().Unix() > a.Expires {
			return deny(c, call.Validate, call.ReasonBadState, "does not open, or has expired")
		}
	}
	in.asked = a
	in.resume = &upstream.Resume{State: a.State}
	kept := strictjson.Object{}
	for _, r := range responses {
		q, was := a.Questions[r.Name]
		if !was {
			if hasState {
				continue
			}
			// Volunteered: sent on only if the server asks for it.
			if strictjson.TypeOf(r.Raw) != strictjson.TypeObject {
				return bad("params.inputResponses." + printable(r.Name) + " must be an object")
			}
			in.volunteered = append(in.volunteered, r)
			continue
		}
		if why := q.fits(r.Raw); why != "" {
			return bad("params.inputResponses." + printable(r.Name) + ": " + why)
		}
		kept = append(kept, strictjson.Member{Name: r.Name, Raw: q.trim(r.Raw)})
	}
	if hasResp {
		in.resume.Responses = kept.Append(nil)
	}
	in.params = in.params.Without("requestState", "inputResponses")
	in.msg.Params = in.params.Append(nil)
	if hasState {
		in.caller.Resume = in.resume
	}
	return nil
}

// spendState makes a requestState single use.
func (g *Gateway) spendState(ctx context.Context, c *call.Call, in *inbound) *refusal {
	nonce, expires := "", int64(0)
	switch {
	case in.spent:
	case in.asked != nil && in.asked.Nonce != "":
		nonce, expires = in.asked.Nonce, in.asked.Expires
	case in.granting != nil:
		nonce, expires = in.granting.Nonce, in.granting.Expires
	case in.holding != nil:
		nonce, expires = in.holding.Nonce, in.holding.Expires
	}
	if nonce == "" {
		return nil
	}
	first, err := g.o.Once.First(ctx, "state/"+nonce, time.Unix(expires, 0).Add(time.Minute))
	if err != nil {
		return deny(c, call.Authorize, call.ReasonInternal, err.Error())
	}
	if !first {
		return deny(c, call.Authorize, call.ReasonReplayedState, "nonce was used")
	}
	in.spent = true
	return nil
}

// printable keeps a client's own name short in an error.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return s
}

// sealCursor and openCursor keep a server's cursor opaque and bound to who
// got it for which list.
func (g *Gateway) sealCursor(c *call.Call, in *inbound, plain []byte) ([]byte, error) {
	s, err := g.o.Sealer.Seal(purposeCursor, plain, binding(c.Principal.Key(), in.path, in.msg.Method))
	return strictjson.AppendString(nil, s), err
}

func (g *Gateway) openCursor(c *call.Call, in *inbound) *refusal {
	in.cursor, in.places = nil, nil
	raw, ok := in.params.Get("cursor")
	if !ok {
		return nil
	}
	var plain []byte
	s, err := strictjson.String(raw)
	if err == nil {
		plain, err = g.o.Sealer.Open(purposeCursor, s, binding(c.Principal.Key(), in.path, in.msg.Method))
	}
	if err == nil && in.server == "" {
		err = json.Unmarshal(plain, &in.places)
	}
	if err != nil {
		return deny(c, call.Validate, call.ReasonInvalidParams, "cursor").say("the cursor is not valid: list from the beginning")
	}
	in.cursor = plain
	if in.cursor == nil {
		in.cursor = []byte{}
	}
	return nil
}

// taskTarget opens a sealed task ID.
func (g *Gateway) taskTarget(c *call.Call, in *inbound) *refusal {
	server, id, ok := g.openTask(c, in, in.name)
	if !ok {
		// Modern: -32602 for a task nobody knows; the same for another's.
		return deny(c, call.Resolve, call.ReasonUnknownTarget, "task").say("there is no such task")
	}
	c.Target.Server, c.Target.Name = server, id
	in.params = in.params.With("taskId", strictjson.AppendString(nil, id))
	in.msg.Params = in.params.Append(nil)
	return nil
}

func (g *Gateway) openTask(c *call.Call, in *inbound, sealed string) (server, id string, ok bool) {
	plain, err := g.o.Sealer.Open(purposeTask, sealed, binding(c.Principal.Key(), in.path))
	if err != nil {
		return "", "", false
	}
	var t [2]string
	if json.Unmarshal(plain, &t) != nil || g.o.Servers[t[0]] == nil || in.server != "" && in.server != t[0] {
		return "", "", false
	}
	return t[0], t[1], true
}

// openRelated gives a client's answer the server's own ID of the task that it
// belongs to. A name that does not open, or is another server's, is left out.
func (g *Gateway) openRelated(c *call.Call, in *inbound) {
	o, err := mcp.ObjectOf(in.msg.Result)
	if err != nil {
		return
	}
	raw, _ := o.Get("_meta")
	meta, err := mcp.ObjectOf(raw)
	if err != nil {
		return
	}
	raw, has := meta.Get(mcp.MetaRelatedTask)
	if !has {
		return
	}
	t, err := mcp.ObjectOf(raw)
	if err != nil {
		return
	}
	sealed, _ := mcp.Text(t, "taskId", maxName)
	if server, id, ok := g.openTask(c, in, sealed); ok && server == c.Target.Server {
		t = t.With("taskId", strictjson.AppendString(nil, id))
		o = mcp.WithMeta(o, strictjson.Object{{Name: mcp.MetaRelatedTask, Raw: t.Append(nil)}})
	} else {
		o = mcp.WithMeta(o, nil, mcp.MetaRelatedTask)
	}
	in.msg.Result = o.Append(nil)
}

func (g *Gateway) sealTask(c *call.Call, in *inbound, server, id string) (string, error) {
	plain, err := json.Marshal([2]string{server, id})
	if err != nil {
		return "", err
	}
	return g.o.Sealer.Name(purposeTask, plain, binding(c.Principal.Key(), in.path))
}
