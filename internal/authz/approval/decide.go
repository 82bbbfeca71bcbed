package approval

import (
	"context"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/store"
)

// Pending implements authz.Approvals.
func (a *Approvals) Pending(ctx context.Context, id string, who authz.Approver) (authz.Approval, error) {
	r, err := a.pending(ctx, id, who)
	if err != nil {
		return authz.Approval{}, err
	}
	return a.show(r, who), nil
}

func (a *Approvals) show(r *row, who authz.Approver) authz.Approval {
	p := authz.Approval{ID: r.ID, State: r.State, Subject: r.Subject, Issuer: r.Issuer, Client: r.Client, Server: r.Server, Method: r.Method, Name: r.Name,
		Arguments: r.Arguments, Definition: r.Definition, Approvers: r.Approvers, Checks: r.Checks, Asked: r.Asked, Until: r.Until, Fresh: a.fresh(who, time.Now())}
	for _, actor := range r.Actors {
		if issuer, subject, ok := call.SplitKey(actor); ok {
			p.Actors = append(p.Actors, subject+"@"+issuer)
		}
	}
	return p
}

func (a *Approvals) pending(ctx context.Context, id string, who authz.Approver) (*row, error) {
	r, err := a.find(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case r.State != authz.Waiting || !time.Now().Before(r.Until):
		return nil, authz.ErrNoApproval
	}
	return r, a.may(r, who)
}

// may says why somebody may not decide a request, or is nil.
func (a *Approvals) may(r *row, who authz.Approver) error {
	if !who.Principal.Valid() {
		return authz.ErrNoApproval
	}
	operator := who.Principal.Kind() == call.Operator
	if who.Terminal {
		if !operator {
			return authz.ErrNoApproval
		}
		return nil
	}
	wanted := r.Approvers
	if operator && slices.Contains(wanted, authz.Operator) {
		return nil
	}
	own := who.Principal.Key() == r.Owner || slices.Contains(r.Actors, who.Principal.Key())
	refused := authz.ErrNoApproval
	for _, name := range wanted {
		l, known := a.o.Lists[name]
		if !known || !l.holds(who.Principal) {
			continue
		}
		// Another list or another person of this one could decide instead.
		if own && (l.several() || len(wanted) > 1) {
			refused = authz.ErrOwnCall
			continue
		}
		return nil
	}
	if own && refused == authz.ErrNoApproval {
		return authz.ErrOwnCall
	}
	return refused
}

// fresh reports that a sign-in is good enough for a decision. The operator has no
// provider: a code of the terminal, or a passkey, is as strong as it gets.
func (a *Approvals) fresh(who authz.Approver, now time.Time) bool {
	if who.Terminal {
		return true
	}
	id, need := who.Principal.Identity(), a.o.Strength
	if id.Kind != call.Operator {
		if len(need.ACR) > 0 && !slices.Contains(need.ACR, id.ACR) {
			return false
		}
		if slices.ContainsFunc(need.AMR, func(m string) bool { return !slices.Contains(id.AMR, m) }) {
			return false
		}
	}
	age := now.Sub(time.Unix(id.AuthTime, 0))
	return need.MaxAge > 0 && id.AuthTime > 0 && age <= need.MaxAge && age >= -time.Minute
}

// Waiting implements authz.Approvals.
func (a *Approvals) Waiting(ctx context.Context, who authz.Approver) ([]authz.Approval, error) {
	var out []authz.Approval
	now := time.Now()
	err := a.o.Store.Scan(ctx, prefixCall, func(e store.Entry) bool {
		r, err := a.open(e)
		if err == nil && r.State == authz.Waiting && now.Before(r.Until) && a.may(r, who) == nil {
			out = append(out, a.show(r, who))
		}
		return true
	})
	slices.SortFunc(out, func(x, y authz.Approval) int { return x.Asked.Compare(y.Asked) })
	return out, err
}

// Decide implements authz.Approvals.
func (a *Approvals) Decide(ctx context.Context, id string, who authz.Approver, yes bool) error {
	r, err := a.pending(ctx, id, who)
	if err != nil {
		return err
	}
	now := time.Now()
	if !a.fresh(who, now) {
		return authz.ErrSignInAgain
	}
	next := *r
	next.By = who.Principal.String()
	if who.Terminal {
		next.By += " at the terminal"
	}
	why, effect := ReasonDenied, call.Deny
	next.State, next.Until = authz.Denied, now.Add(a.o.Wait)
	if yes {
		why, effect = ReasonGiven, call.Allow
		next.State, next.Until = authz.Approved, now.Add(a.o.UseWithin)
	}
	next.Arguments = nil // nobody has to see them any more
	// A yes that somebody else's no was faster than is on the record and counts
	// for nothing.
	if err := a.note(ctx, &next, why, effect, ""); err != nil {
		return err
	}
	ok, err := a.swap(ctx, r, &next)
	if err != nil {
		return err
	}
	a.tell(id)
	if !ok {
		return authz.ErrNoApproval
	}
	return nil
}
