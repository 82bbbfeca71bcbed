package gateway

import (
	"context"
	"log/slog"
	"runtime/debug"
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
	if !c.Principal.Valid() && !g.refused.take(v.Reason, time.Now()) {
		return
	}
	e := g.event(c, in, audit.KindOutcome)
	e.Stage, e.Effect, e.Reason = v.Stage.String(), v.Effect.String(), string(v.Reason)
	for _, d := range c.Trail() {
		e.Trail = append(e.Trail, audit.Step{Stage: d.Stage.String(), Effect: d.Effect.String(), Reason: string(d.Reason), Detail: d.Detail})
	}
	e.Duration = e.Time.Sub(c.Started)
	if err := g.recorder(c.Target.Server).Record(context.WithoutCancel(ctx), &e); err != nil {
		g.o.Logger.Error("the record cannot be written", "err", err)
	}
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
// flood of them must not fill the disk. The rest is counted and told by the
// next one that is let through.
type refusals struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
	missed uint64
}

const (
	strangerBurst = 200
	strangerRate  = 20 // per second
)

func (r *refusals) take(_ call.Reason, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.IsZero() {
		r.tokens = strangerBurst
	} else {
		r.tokens = min(strangerBurst, r.tokens+now.Sub(r.last).Seconds()*strangerRate)
	}
	r.last = now
	if r.tokens < 1 {
		r.missed++
		return false
	}
	r.tokens--
	return true
}
