// Package approval keeps the calls that wait for the word of a person, and
// that word until it is used.
//
// Threat: a person's yes that serves for something else. For other arguments,
// another caller, client or server, a tool that was changed meanwhile, after
// the rules changed, twice, or much later; a yes of the client that is judged,
// of whoever asked, or of somebody who only left a browser open; so many
// questions that a person says yes without reading.
//
// It guarantees:
//   - An approval is bound to authz.Held.Match and to nothing less; whatever
//     differs waits anew.
//   - It is used at most once, whoever tries at the same moment, and ends by
//     itself. Silence is no, and a no holds for as long as a question waits.
//   - Only somebody of a list that the request names decides, with a sign-in
//     that is new and strong enough; nobody decides a call of their own where
//     the list can hold another person. The operator's terminal decides all.
//   - At most a few of one principal at one server wait at once, and a few in
//     an hour.
//   - Each request, decision, end and use is on the record, decisions and uses
//     before they count.
//   - What waits survives a restart; arguments are sealed in the store and
//     leave it when the request is over.
//
// It does not know whether the person understood what they saw, nor who sits
// at the terminal.
package approval

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// Purpose is under which requests are sealed.
const Purpose keys.Purpose = "approval"

// MaxArguments is the size of arguments that a person can still judge.
const MaxArguments = 16 << 10

// Reasons on the record.
const (
	ReasonRequested call.Reason = "approval-requested"
	ReasonGiven     call.Reason = "approval-given"
	ReasonDenied    call.Reason = "approval-denied"
	ReasonExpired   call.Reason = "approval-expired"
	ReasonUsed      call.Reason = "approval-used"
)

// Stage is the stage of the entries.
const Stage = "approval"

// List is who may approve: people of one issuer by subject, group or role.
type List struct {
	Issuer                  string
	Subjects, Groups, Roles []string
}

func (l List) holds(p call.Principal) bool {
	id := p.Identity()
	if id.Kind != call.Person || id.Issuer != l.Issuer {
		return false
	}
	shared := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
	}
	return slices.Contains(l.Subjects, id.Subject) || shared(l.Groups, id.Groups) || shared(l.Roles, id.Roles)
}

// several reports that the list can hold more than one person.
func (l List) several() bool { return len(l.Groups)+len(l.Roles) > 0 || len(l.Subjects) > 1 }

// Options configure Approvals. All but Page, Lists, Strength, Keep and Log are
// needed.
type Options struct {
	Store  store.KV
	Keys   keys.Ring
	Record audit.Recorder
	// Page returns the address of the pages without a path; empty where there are
	// none. It may be nil.
	Page func() string
	// Lists are the approvers by name, beside authz.Operator. Default are those of
	// a call whose requirement names none; empty is the operator.
	Lists   map[string]List
	Default []string
	// Wait is how long a request waits, and a no holds; UseWithin how long a yes
	// does.
	Wait, UseWithin time.Duration
	// MostWaiting and MostPerHour bound the requests of one principal at one
	// server.
	MostWaiting, MostPerHour int
	// Strength is what the sign-in of an approver must be.
	Strength call.Requirement
	// Keep is the one that this replaces.
	Keep *Approvals
	Log  *slog.Logger
}

// Approvals implements authz.Approvals and gateway.Approvals. Make it with New;
// the zero value knows nothing and approves nothing.
type Approvals struct {
	o Options
	*shared
}

// shared outlives a reload.
type shared struct {
	// asking makes the bounds exact: requests are made one at a time.
	asking sync.Mutex

	mu    sync.Mutex
	waits map[string]map[chan struct{}]struct{} // by ID
}

var _ authz.Approvals = (*Approvals)(nil)

// New judges the options.
func New(o Options) (*Approvals, error) {
	if o.Store == nil || o.Keys == nil || o.Record == nil {
		return nil, errors.New("approvals need a store, keys and a record")
	}
	if o.Wait < time.Second || o.UseWithin < time.Second || o.MostWaiting < 1 || o.MostPerHour < 1 {
		return nil, errors.New("approvals need a time to wait, a time to be used in, and bounds")
	}
	if _, taken := o.Lists[authz.Operator]; taken {
		return nil, errors.New("the name " + authz.Operator + " means the operator, and cannot be that of a list")
	}
	for name, l := range o.Lists {
		if l.Issuer == "" || len(l.Subjects)+len(l.Groups)+len(l.Roles) == 0 {
			return nil, fmt.Errorf("the approvers %s are nobody", name)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Approvals{o: o, shared: &shared{waits: map[string]map[chan struct{}]struct{}{}}}
	if o.Keep != nil && o.Keep.shared != nil {
		a.shared = o.Keep.shared
	}
	return a, nil
}

// Strength implements authz.Approvals.
func (a *Approvals) Strength() call.Requirement { return a.o.Strength }

// attempts bounds how often somebody else may be faster.
const attempts = 8

var errBusy = errors.New("the approval changed again and again")

// Ask says where a held call stands. The first time it begins to wait.
func (a *Approvals) Ask(ctx context.Context, h authz.Held) (authz.Standing, error) {
	match, err := h.Match()
	if err != nil || !h.Principal.Valid() {
		return authz.Standing{}, errors.Join(authz.ErrNoApproval, err)
	}
	key := keyOf(match)
	a.asking.Lock()
	defer a.asking.Unlock()
	for range attempts {
		r, there, err := a.get(ctx, key)
		if err != nil {
			return authz.Standing{}, err
		}
		if there && r.standing() {
			now := time.Now()
			if now.Before(r.Until) {
				return a.stands(r), nil
			}
			if err := a.expire(ctx, r); err != nil {
				return authz.Standing{}, err
			}
			continue
		}
		made, err := a.begin(ctx, h, key, r, there)
		if err != nil {
			return authz.Standing{}, err
		}
		if made != nil {
			return a.stands(made), nil
		}
	}
	return authz.Standing{}, errBusy
}

func (a *Approvals) stands(r *row) authz.Standing {
	s := authz.Standing{State: r.State, ID: r.ID, Until: r.Until}
	if a.o.Page != nil && r.State == authz.Waiting {
		if base := a.o.Page(); base != "" {
			s.URL = base + authz.ApprovalPage + "?id=" + r.ID
		}
	}
	return s
}

// begin makes a request, in the place of one that is over. It is nil where
// somebody else was faster.
func (a *Approvals) begin(ctx context.Context, h authz.Held, key string, old *row, there bool) (*row, error) {
	args := h.Arguments
	if args == nil {
		args = []byte("{}")
	}
	canon, err := strictjson.Canonical(args)
	if err != nil {
		return nil, err
	}
	if len(canon)+len(h.Target.Name) > MaxArguments {
		return nil, authz.ErrUnreadable
	}
	owner := ownerKey(h.Principal.Key(), h.Target.Server)
	if err := a.room(ctx, owner); err != nil {
		return nil, err
	}
	approvers := h.Needs.Approvers
	if len(approvers) == 0 {
		approvers = a.o.Default
	}
	if len(approvers) == 0 {
		approvers = []string{authz.Operator}
	}
	id, now := h.Principal.Identity(), time.Now()
	r := &row{ID: string(call.NewID()), State: authz.Waiting, Owner: h.Principal.Key(), Subject: id.Subject, Issuer: id.Issuer, Client: id.Client, Actors: id.Actors,
		Server: h.Target.Server, Method: h.Target.Method, Name: h.Target.Name, Arguments: canon, Definition: hex.EncodeToString(h.Definition[:]),
		Approvers: approvers, Checks: h.Needs.Checks, Call: string(h.Call), Asked: now, Until: now.Add(a.o.Wait), key: key}
	if err := a.note(ctx, r, ReasonRequested, call.Hold, ""); err != nil {
		return nil, err
	}
	value, err := a.seal(r)
	if err != nil {
		return nil, err
	}
	// The index and the count come first: what they name and is not there counts
	// for nothing.
	if _, err := a.o.Store.PutIfAbsent(ctx, indexKey(r.ID), []byte(key), now.Add(a.o.Wait+a.o.UseWithin+keep)); err != nil {
		return nil, err
	}
	if _, err := a.o.Store.PutIfAbsent(ctx, owner+r.ID, []byte(key), now.Add(time.Hour)); err != nil {
		return nil, err
	}
	ok := false
	if there {
		ok, err = a.o.Store.CompareAndSwap(ctx, key, old.version, value, r.gone())
	} else {
		ok, err = a.o.Store.PutIfAbsent(ctx, key, value, r.gone())
	}
	if err != nil || !ok {
		return nil, err
	}
	return r, nil
}

// room refuses a principal that asks too much.
func (a *Approvals) room(ctx context.Context, owner string) error {
	type one struct{ id, key string }
	var all []one
	err := a.o.Store.Scan(ctx, owner, func(e store.Entry) bool {
		all = append(all, one{e.Key[len(owner):], string(e.Value)})
		return len(all) <= a.o.MostPerHour
	})
	if err != nil {
		return err
	}
	if len(all) >= a.o.MostPerHour {
		return authz.ErrManyWaiting
	}
	waiting := 0
	for _, x := range all {
		r, there, err := a.get(ctx, x.key)
		if err != nil {
			return err
		}
		if there && r.ID == x.id && r.State == authz.Waiting && time.Now().Before(r.Until) {
			waiting++
		}
	}
	if waiting >= a.o.MostWaiting {
		return authz.ErrManyWaiting
	}
	return nil
}

// Use uses an approval up, and reports whether it was there to be used.
func (a *Approvals) Use(ctx context.Context, h authz.Held, id string) (bool, error) {
	match, err := h.Match()
	if err != nil {
		return false, err
	}
	r, there, err := a.get(ctx, keyOf(match))
	if err != nil || !there || r.ID != id || r.State != authz.Approved || !time.Now().Before(r.Until) {
		return false, err
	}
	used := *r
	used.State, used.Call = authz.Used, string(h.Call)
	used.Arguments = nil
	ok, err := a.swap(ctx, r, &used)
	if err != nil || !ok {
		return false, err
	}
	// It is used up whatever becomes of this: without an entry nothing is sent.
	if err := a.note(ctx, &used, ReasonUsed, call.Allow, ""); err != nil {
		return false, err
	}
	return true, nil
}

// Wait returns when a request waits no longer, or ctx ends.
func (a *Approvals) Wait(ctx context.Context, id string) {
	ch := make(chan struct{})
	a.mu.Lock()
	if a.waits[id] == nil {
		a.waits[id] = map[chan struct{}]struct{}{}
	}
	a.waits[id][ch] = struct{}{}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.waits[id], ch); len(a.waits[id]) == 0 {
			delete(a.waits, id)
		}
	}()
	// Another process may decide; it does not tell.
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		r, err := a.find(ctx, id)
		if err != nil || r.State != authz.Waiting || !time.Now().Before(r.Until) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ch:
			return
		case <-look.C:
		}
	}
}

func (a *Approvals) tell(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ch := range a.waits[id] {
		close(ch)
	}
	delete(a.waits, id)
}

// Sweep ends what nobody answered or used in time, and puts that on the record.
func (a *Approvals) Sweep(ctx context.Context) error {
	var late []*row
	now := time.Now()
	err := a.o.Store.Scan(ctx, prefixCall, func(e store.Entry) bool {
		if r, err := a.open(e); err == nil && r.standing() && !now.Before(r.Until) {
			late = append(late, r)
		}
		return true
	})
	for _, r := range late {
		err = errors.Join(err, a.expire(ctx, r))
	}
	return err
}

// expire ends a request whose time is over. A no that is over was said already.
func (a *Approvals) expire(ctx context.Context, r *row) error {
	over := *r
	over.State, over.Arguments = authz.Expired, nil
	ok, err := a.swap(ctx, r, &over)
	if err != nil || !ok || r.State == authz.Denied {
		return err
	}
	a.tell(r.ID)
	return a.note(ctx, &over, ReasonExpired, call.Deny, r.State.String())
}

// note puts what happened to a request on the record, under the request's ID.
func (a *Approvals) note(ctx context.Context, r *row, why call.Reason, effect call.Effect, was string) error {
	e := audit.Event{ID: r.ID, Time: time.Now(), Kind: audit.KindEvent, Stage: Stage, Effect: effect.String(), Reason: string(why),
		Principal: r.Subject + "@" + r.Issuer, Client: r.Client, Server: r.Server, Method: r.Method, Target: r.Name,
		Detail: map[string]string{"call": r.Call, "definition": r.Definition[:min(16, len(r.Definition))]}}
	for _, actor := range r.Actors {
		if issuer, subject, ok := call.SplitKey(actor); ok {
			e.Actors = append(e.Actors, subject+"@"+issuer)
		}
	}
	if len(r.Approvers) > 0 {
		b, err := json.Marshal(r.Approvers)
		if err != nil {
			return err
		}
		e.Detail["approvers"] = string(b)
	}
	if r.By != "" {
		e.Detail["by"] = r.By
	}
	if was != "" {
		e.Detail["was"] = was
	}
	if why == ReasonRequested || why == ReasonGiven {
		e.Detail["until"] = r.Until.UTC().Format(time.RFC3339)
	}
	if err := a.o.Record.Record(context.WithoutCancel(ctx), &e); err != nil {
		a.o.Log.Error("the record cannot be written", "err", err)
		return err
	}
	return nil
}
