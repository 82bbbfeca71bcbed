package gateway

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// intent goes on the record before anything is forwarded. If it cannot be
// written the call is refused.
func (g *Gateway) intent(ctx context.Context, c *call.Call, in *inbound) *refusal {
	e := g.event(c, in, audit.KindIntent)
	e.Stage, e.Effect, e.Reason = call.Clear.String(), call.Allow.String(), string(call.ReasonOK)
	if err := g.recorder(c.Target.Server).Record(ctx, &e); err != nil {
		g.o.Logger.Error("the record cannot be written", "err", err)
		return deny(c, call.Clear, call.ReasonRecordFailed, err.Error())
	}
	in.intended = true
	return nil
}

// outcome closes the call on the record; a panic becomes a deny.
func (g *Gateway) outcome(ctx context.Context, c *call.Call, in *inbound, out outbox) {
	if p := recover(); p != nil {
		g.o.Logger.Error("panic", "id", string(c.ID), "value", p, "stack", string(debug.Stack()))
		g.refuse(c, in, out, deny(c, call.Reply, call.ReasonPanic, "panic"))
	}
	v := c.Verdict()
	var missed map[string]string
	if !c.Principal.Valid() {
		let := false
		if missed, let = g.refused.take(v.Reason, time.Now()); !let {
			return
		}
	}
	e := g.event(c, in, audit.KindOutcome)
	e.Detail = missed
	e.Stage, e.Effect, e.Reason = v.Stage.String(), v.Effect.String(), string(v.Reason)
	for _, d := range c.Trail() {
		e.Trail = append(e.Trail, audit.Step{Stage: d.Stage.String(), Effect: d.Effect.String(), Reason: string(d.Reason), Detail: d.Detail, Findings: findings(d)})
	}
	e.Duration = e.Time.Sub(c.Started)
	if err := g.recorder(c.Target.Server).Record(context.WithoutCancel(ctx), &e); err != nil {
		g.o.Logger.Error("the record cannot be written", "err", err)
	}
}

// findings are what a verdict rests on, as the record has them.
func findings(d call.Decision) []audit.Finding {
	if len(d.Findings) == 0 {
		return nil
	}
	out := make([]audit.Finding, len(d.Findings))
	for i, f := range d.Findings {
		out[i] = audit.Finding{Guard: f.Guard, Reason: string(f.Reason), Path: f.Path}
	}
	return out
}

// contained makes a panic of work that is done for a call in another goroutine
// an error: nobody else can recover it, and it would end the process.
func (g *Gateway) contained(c *call.Call, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.o.Logger.Error("panic", "id", string(c.ID), "value", p, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return f()
}

func (g *Gateway) event(c *call.Call, in *inbound, kind string) audit.Event {
	e := audit.Event{
		ID: string(c.ID), Time: time.Now(), Kind: kind,
		Principal: c.Principal.String(), Client: c.Principal.Identity().Client,
		Server: c.Target.Server, Method: c.Target.Method, Target: c.Target.Name,
	}
	if in.era != 0 {
		e.Era = in.era.String()
	}
	if e.Method == "" && (in.msg.Kind == mcp.Result || in.msg.Kind == mcp.ErrorReply) {
		e.Method = "response"
	}
	for _, actor := range c.Principal.Identity().Actors {
		if issuer, subject, ok := call.SplitKey(actor); ok {
			e.Actors = append(e.Actors, subject+"@"+issuer)
		}
	}
	if in.session != nil {
		e.Session = in.session.digest
	}
	return e
}

// note records something that is not a call.
func (g *Gateway) note(ctx context.Context, st call.Stage, why call.Reason, server, principal string, detail map[string]string) {
	e := audit.Event{ID: string(call.NewID()), Time: time.Now(), Kind: audit.KindEvent, Stage: st.String(),
		Effect: call.Deny.String(), Reason: string(why), Server: server, Principal: principal, Detail: detail}
	if err := g.o.Record.Record(context.WithoutCancel(ctx), &e); err != nil {
		g.o.Logger.LogAttrs(ctx, slog.LevelError, "the record cannot be written", slog.Any("err", err))
	}
}

// refusals lets a bounded number of refusals of strangers onto the record: a
// flood of them must not fill the disk. The others are counted by reason, and
// told by the next one that is let through or when the gateway stops.
type refusals struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
	missed map[call.Reason]uint64
}

// At some 500 bytes each, strangers write less than 50 MB a day.
const (
	strangerBurst = 200
	strangerRate  = 1 // per second
)

// take reports whether a refusal goes on the record, and then what did not
// since the last one that did.
func (r *refusals) take(why call.Reason, now time.Time) (missed map[string]string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.IsZero() {
		r.tokens = strangerBurst
	} else {
		r.tokens = min(strangerBurst, r.tokens+now.Sub(r.last).Seconds()*strangerRate)
	}
	r.last = now
	if r.tokens < 1 {
		if r.missed == nil {
			r.missed = map[call.Reason]uint64{}
		}
		if _, counted := r.missed[why]; !counted && len(r.missed) >= maxCounted {
			why = "other"
		}
		r.missed[why]++
		return nil, false
	}
	r.tokens--
	return r.tell(), true
}

const maxCounted = audit.MaxDetail - 1

// tell returns the counts and forgets them. mu is held.
func (r *refusals) tell() map[string]string {
	if len(r.missed) == 0 {
		return nil
	}
	out := make(map[string]string, len(r.missed))
	for why, n := range r.missed {
		out["unrecorded."+string(why)] = strconv.FormatUint(n, 10)
	}
	r.missed = nil
	return out
}

// rest returns what was not told yet.
func (r *refusals) rest() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tell()
}

// lastRefusals puts on the record how many refusals of strangers are not.
func (g *Gateway) lastRefusals() {
	if missed := g.refused.rest(); missed != nil {
		g.note(context.Background(), call.Authenticate, call.ReasonUnauthenticated, "", "", missed)
	}
}
