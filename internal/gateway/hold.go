package gateway

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Policy and guards may hold a call until a person says yes. The client learns
// where that person decides, and its word about it counts for nothing: the same
// call goes through once after the yes, whoever says that it was given. An
// approval is found when the stage judges and used up when nothing else stands
// between the call and its server.

// Approvals keeps held calls and what people say of them. Held calls differ
// when their Match differs.
type Approvals interface {
	// Ask says where a held call stands. The first time it begins to wait. The
	// errors that callers learn of are authz.ErrManyWaiting and
	// authz.ErrUnreadable.
	Ask(ctx context.Context, h authz.Held) (authz.Standing, error)
	// Use uses an approval up and reports whether it was there.
	Use(ctx context.Context, h authz.Held, id string) (bool, error)
	// Wait returns when a request waits no longer, or ctx ends.
	Wait(ctx context.Context, id string)
}

const (
	purposeHold = "approval-state"
	holdKey     = "approval" // of the question in inputRequests
	// holdRounds is how often one call asks; holdWait how long each retry waits
	// for the person.
	holdRounds = 8
	holdWait   = 45 * time.Second
	holdLife   = time.Hour // of a state; the request itself ends earlier
)

// yes is an approval that a call rests on.
type yes struct {
	match string // hexadecimal
	held  authz.Held
	id    string
	used  bool
}

// holding is what the requestState of a held call remembers.
type holding struct {
	ID      string `json:"i"`
	Round   int    `json:"r"`
	Nonce   string `json:"n"`
	Expires int64  `json:"e"`
}

// holdable reports that what is held is a call that can be made again later.
func holdable(in *inbound) bool {
	if in.msg.Kind != mcp.Request {
		return false
	}
	switch in.msg.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead:
		return true
	}
	return false
}

// hold puts the verdict of a stage that held a call on the trail: an annotation
// if a person approved this very call, else the hold and its refusal.
func (g *Gateway) hold(ctx context.Context, c *call.Call, in *inbound, d call.Decision) *refusal {
	if in.msg.Kind == mcp.Result || in.msg.Kind == mcp.ErrorReply {
		if d.Stage == call.Authorize && in.peer.approved(in.msg.ID) {
			// It belongs to a call that a person approved.
			c.Decide(approvedBy(d, "the call that it answers"))
			return nil
		}
	}
	if !holdable(in) || g.o.Approvals == nil {
		c.Decide(d)
		return refuseDecision(d).say("a check held this, and it cannot wait for a person here")
	}
	h := heldOf(c, in, d, g.o.Rules)
	sum, err := h.Match()
	if err != nil {
		return deny(c, d.Stage, call.ReasonInternal, "the arguments have no canonical form")
	}
	match := hex.EncodeToString(sum[:])
	if in.asked != nil && slices.Contains(in.asked.Approved, match) {
		c.Decide(approvedBy(d, "the round before"))
		return nil
	}
	if i := slices.IndexFunc(in.approvals, func(y *yes) bool { return y.match == match }); i >= 0 {
		c.Decide(approvedBy(d, in.approvals[i].id))
		return nil
	}
	st, err := g.o.Approvals.Ask(ctx, h)
	switch {
	case errors.Is(err, authz.ErrManyWaiting):
		r := deny(c, d.Stage, call.ReasonManyHeld, err.Error())
		return r.say("this needs the approval of a person, and too many calls wait for one already or did within the last hour: ask the person to decide those first, and do not repeat this call before")
	case errors.Is(err, authz.ErrUnreadable):
		return deny(c, d.Stage, call.ReasonUnreadable, err.Error())
	case err != nil:
		return deny(c, d.Stage, call.ReasonInternal, err.Error())
	}
	switch st.State {
	case authz.Approved:
		in.approvals = append(in.approvals, &yes{match: match, held: h, id: st.ID})
		c.Decide(approvedBy(d, st.ID))
		return nil
	case authz.Denied:
		return deny(c, d.Stage, call.ReasonRefusedByPerson, "request "+st.ID)
	case authz.Waiting:
		return heldRefusal(c, d, st)
	}
	return deny(c, d.Stage, call.ReasonInternal, "an approval in no state")
}

func approvedBy(d call.Decision, what string) call.Decision {
	d.Effect, d.Reason, d.Detail = call.Annotate, call.ReasonApproved, what
	return d
}

func heldOf(c *call.Call, in *inbound, d call.Decision, rules string) authz.Held {
	h := authz.Held{Call: c.ID, Principal: c.Principal, Target: c.Target, Rules: rules}
	h.Arguments, _ = in.params.Get("arguments")
	if in.def != nil {
		h.Definition = in.def.digest
	}
	if d.Needs != nil {
		h.Needs = *d.Needs
	}
	if len(h.Needs.Checks) == 0 {
		h.Needs.Checks = []string{d.Stage.String() + "/" + string(d.Reason)}
	}
	return h
}

// heldRefusal tells the model what to do.
func heldRefusal(c *call.Call, d call.Decision, st authz.Standing) *refusal {
	if d.Reason == "" {
		d.Reason = call.ReasonApproval
	}
	d.Detail = strings.TrimPrefix(d.Detail+", request "+st.ID, ", ")
	c.Decide(d)
	r := refuseDecision(d)
	r.code, r.words, r.held = mcp.CodeInvalidRequest, true, &st
	where := "run munjigi approve " + st.ID + " where the gateway runs"
	if st.URL != "" {
		where = "open " + st.URL + " in a browser (or " + where + ")"
		r = r.withData("url", strictjson.AppendString(nil, st.URL))
	}
	return r.withData("approval", strictjson.AppendString(nil, st.ID)).
		say("nothing was sent: this call needs the approval of a person. Ask a person who may approve it to " + where +
			" within " + minutes(time.Until(st.Until)) + ", wait for them, then repeat exactly the same call; it goes through once")
}

func minutes(d time.Duration) string {
	n := int((d + time.Minute - 1) / time.Minute)
	if n <= 1 {
		return "a minute"
	}
	return strconv.Itoa(n) + " minutes"
}

// useApprovals uses up what a call rests on, just before it is sent. Somebody
// else may have been faster with the same call.
func (g *Gateway) useApprovals(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if len(in.rests()) > 0 {
		in.dropUnseen()
	}
	for _, y := range in.approvals {
		if y.used {
			continue
		}
		ok, err := g.o.Approvals.Use(context.WithoutCancel(ctx), y.held, y.id)
		if err != nil {
			return deny(c, call.Clear, call.ReasonRecordFailed, err.Error())
		}
		if !ok {
			return deny(c, call.Clear, call.ReasonApprovalSpent, "request "+y.id)
		}
		y.used = true
	}
	return nil
}

// dropUnseen leaves out of an approved call what travels beside the arguments and
// nobody was shown: members and metadata of no revision, and headers that no
// definition asks for.
func (in *inbound) dropUnseen() {
	if in.msg.Kind != mcp.Request || !holdable(in) {
		return
	}
	keep := func(o strictjson.Object, known ...string) strictjson.Object {
		return slices.DeleteFunc(slices.Clone(o), func(m strictjson.Member) bool { return !slices.Contains(known, m.Name) })
	}
	o := keep(in.params, "name", "uri", "arguments", "task", "_meta")
	if raw, ok := o.Get("_meta"); ok {
		meta, err := mcp.ObjectOf(raw)
		if err != nil {
			meta = nil
		}
		o = o.With("_meta", keep(meta, mcp.MetaProtocolVersion, mcp.MetaClientInfo, mcp.MetaClientCapabilities, mcp.MetaLogLevel, mcp.MetaProgressToken).Append(nil))
	}
	in.params, in.msg.Params = o, o.Append(nil)
	in.caller.Headers = slices.DeleteFunc(slices.Clone(in.caller.Headers), func(h upstream.Header) bool {
		return in.def == nil || !slices.ContainsFunc(in.def.headers, func(d mcp.ParamHeader) bool { return strings.EqualFold(d.Name, h.Name) })
	})
}

// rests names the approvals of a call, for what is sealed of it and for the
// answers to what its server asks.
func (in *inbound) rests() []string {
	var out []string
	if in.asked != nil {
		out = append(out, in.asked.Approved...)
	}
	for _, y := range in.approvals {
		out = append(out, y.match)
	}
	return out
}

// askApproval puts the link to a client that can show one and carry a state;
// false where it cannot.
func (g *Gateway) askApproval(c *call.Call, in *inbound, out outbox, r *refusal) bool {
	if in.msg.Kind != mcp.Request || in.era != mcp.Modern || !in.route.Inputs || !in.caller.Capabilities.URL || r.held.URL == "" || in.rewrote ||
		in.resume != nil && in.asked.Nonce != "" {
		return false
	}
	round := 1
	if in.holding != nil {
		round = in.holding.Round + 1
	}
	if round > holdRounds {
		return false
	}
	plain, err := json.Marshal(holding{ID: r.held.ID, Round: round, Nonce: string(call.NewID()), Expires: time.Now().Add(holdLife).Unix()})
	if err != nil {
		return false
	}
	state, err := g.o.Sealer.Seal(purposeHold, plain, stateBinding(c, in))
	if err != nil {
		return false
	}
	host := "the gateway"
	if u, err := url.Parse(r.held.URL); err == nil && u.Host != "" {
		host = u.Host
	}
	message := "[" + c.Target.Server + "] A person has to approve this call. The link opens a page of the gateway at " + host +
		", which asks whoever opens it to sign in and shows the call. Give it to somebody who may approve it."
	params := strictjson.Object{{Name: "mode", Raw: []byte(`"url"`)}, {Name: "message", Raw: strictjson.AppendString(nil, message)},
		{Name: "url", Raw: strictjson.AppendString(nil, r.held.URL)}}
	q := strictjson.Object{{Name: "method", Raw: []byte(`"` + mcp.MethodElicit + `"`)}, {Name: "params", Raw: params.Append(nil)}}
	g.inputRequiredByUs(c, in, out, r, holdKey, q, state)
	return true
}

// awaited takes the answer of a client that was shown a link, and gives the
// person time. The answer proves nothing: where the call stands is looked up.
func (g *Gateway) awaited(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.era != mcp.Modern || !in.route.Inputs || in.holding != nil {
		return nil
	}
	text, ok := mcp.Text(in.params, "requestState", 2*maxState)
	if !ok {
		return nil
	}
	plain, err := g.o.Sealer.Open(purposeHold, text, stateBinding(c, in))
	if err != nil {
		return nil // the state of something else, or of nothing
	}
	var s holding
	if json.Unmarshal(plain, &s) != nil || time.Now().Unix() > s.Expires {
		return deny(c, call.Validate, call.ReasonBadState, "has expired")
	}
	in.holding = &s
	action, ref := g.linkAnswer(c, in, holdKey)
	switch {
	case ref != nil:
		return ref
	case action == "":
		return nil // it is asked again
	case action != "accept":
		r := deny(c, call.Validate, call.ReasonDeclined, "the link was not opened").say("the approval that this call needs was declined; nothing was sent to the server " + c.Target.Server)
		r.words = true
		return r
	case g.o.Approvals != nil:
		ctx, cancel := context.WithTimeout(ctx, min(holdWait, g.o.Limits.CallTime))
		defer cancel()
		stop := context.AfterFunc(g.stopping, cancel)
		defer stop()
		g.o.Approvals.Wait(ctx, s.ID)
	}
	return nil
}
