package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/authz/approval"
	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
)

// Operations on calls that wait for a person.
const (
	OpApprovals     = "approvals-list"
	OpApprovalsShow = "approvals-show" // and a code on the gateway's terminal
	OpApprovalsGive = "approvals-give" // takes an ApprovalArg
	OpApprovalsDeny = "approvals-deny"
)

// ApprovalInfo is one call that waits, as commands see it. Its texts are of
// others.
type ApprovalInfo struct {
	ID         string          `json:"id"`
	Subject    string          `json:"subject"`
	Issuer     string          `json:"issuer"`
	Client     string          `json:"client"`
	Actors     []string        `json:"actors,omitempty"`
	Server     string          `json:"server"`
	Method     string          `json:"method"`
	Name       string          `json:"name"`
	Arguments  json.RawMessage `json:"arguments"`
	Definition string          `json:"definition"`
	Approvers  []string        `json:"approvers"`
	Checks     []string        `json:"checks"`
	Asked      time.Time       `json:"asked"`
	Until      time.Time       `json:"until"`
	// Code reports that approving takes the code that the gateway's terminal
	// shows.
	Code bool `json:"code"`
}

// ApprovalArg is the argument of OpApprovalsGive.
type ApprovalArg struct {
	Name string `json:"name"`
	Code string `json:"code"`
}

const (
	bucketApprovals  = "approval"
	sweepApprovals   = 15 * time.Second
	terminalApproves = "terminal" // the client of the terminal's principal
)

// terminalCodes are the codes by which the gateway's terminal approves. A code
// belongs to one request, so that what is shown beside it is what it approves.
type terminalCodes struct {
	mu      sync.Mutex
	showing string // what the code is for, while it is shown
	pairing *signin.Pairing
}

// approvalsOf makes the approvals of one snapshot.
func (a *App) approvalsOf(cfg *config.Config) (*approval.Approvals, error) {
	kv, err := a.db.Bucket(bucketApprovals)
	if err != nil {
		return nil, err
	}
	base, err := PagesURL(cfg)
	if err != nil {
		return nil, err
	}
	page := func() string {
		if !a.pages.Load().Serves(authz.ApprovalPage) {
			return "" // nobody can sign in
		}
		return base
	}
	c := cfg.Approval
	o := approval.Options{Store: kv, Keys: a.ring, Record: a.record.With(log.Strict), Page: page, Lists: map[string]approval.List{}, Default: c.Default,
		Wait: c.Wait, UseWithin: c.UseWithin, MostWaiting: c.Waiting, MostPerHour: c.PerHour,
		Strength: call.Requirement{ACR: c.ACR, AMR: c.AMR, MaxAge: c.MaxAge}, Keep: a.approvals.Load(), Log: a.o.Logger}
	for _, l := range c.Approvers {
		o.Lists[l.Name] = approval.List{Issuer: l.Issuer, Subjects: l.Subjects, Groups: l.Groups, Roles: l.Roles}
	}
	return approval.New(o)
}

// sweepApprovals ends the requests that nobody answered, until ctx ends.
func (a *App) sweepApprovals(ctx context.Context) {
	t := time.NewTicker(sweepApprovals)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := a.approvals.Load().Sweep(ctx); err != nil && ctx.Err() == nil {
				a.o.Logger.Warn("requests for approval that ended cannot be cleared away", "err", err)
			}
		}
	}
}

// unknownApprovers are the lists that policies name and the config does not
// have.
func unknownApprovers(cfg *config.Config, p *cedar.Policies) []config.Problem {
	known := cfg.Approval.ApproverNames()
	var bad []config.Problem
	for name, l := range p.Approvers() {
		if !slices.Contains(known, name) {
			bad = append(bad, config.Problem{File: l.File, Line: l.Line, Column: 1,
				Message: fmt.Sprintf("asks for the approval of %q, which the config does not have: nobody could give it", name),
				Next:    "mend the name, or add it under approval.approvers; " + authz.Operator + " is whoever runs the gateway"})
		}
	}
	sort.Slice(bad, func(i, j int) bool { return bad[i].String() < bad[j].String() })
	return bad
}

func operatorAtTerminal() authz.Approver {
	return authz.Approver{Principal: local.Attached(terminalApproves), Terminal: true}
}

func (a *App) info(p authz.Approval) ApprovalInfo {
	return ApprovalInfo{ID: p.ID, Subject: p.Subject, Issuer: p.Issuer, Client: p.Client, Actors: p.Actors, Server: p.Server, Method: p.Method, Name: p.Name,
		Arguments: p.Arguments, Definition: p.Definition, Approvers: p.Approvers, Checks: p.Checks, Asked: p.Asked, Until: p.Until,
		Code: !a.Config().Approval.InsecureWithoutCode}
}

// approvalHandlers are the operations on what waits. Whoever reaches the
// control socket sees and refuses; approving takes a code that only the
// gateway's terminal shows, because the agent may run as the same user.
func (a *App) approvalHandlers() map[string]control.Handler {
	return map[string]control.Handler{
		OpApprovals: func(ctx context.Context, _ json.RawMessage) (any, error) {
			list, err := a.approvals.Load().Waiting(ctx, operatorAtTerminal())
			rows := []ApprovalInfo{}
			for _, p := range list {
				rows = append(rows, a.info(p))
			}
			return rows, err
		},
		OpApprovalsShow: named(a.showApproval),
		OpApprovalsDeny: named(func(ctx context.Context, id string) (any, error) {
			return nil, a.approvals.Load().Decide(ctx, id, operatorAtTerminal(), false)
		}),
		OpApprovalsGive: func(ctx context.Context, raw json.RawMessage) (any, error) {
			arg, err := control.Args[ApprovalArg](raw)
			if err != nil {
				return nil, err
			}
			if !a.Config().Approval.InsecureWithoutCode {
				if _, err := a.codes.pairing.Enter(arg.Name, arg.Code); err != nil {
					return nil, errors.New("that code is not the one that the gateway's terminal shows for this request: run the command again for a new one")
				}
			}
			return nil, a.approvals.Load().Decide(ctx, arg.Name, operatorAtTerminal(), true)
		},
	}
}

// showApproval says what a request is about, and puts a code for it on the
// gateway's terminal.
func (a *App) showApproval(ctx context.Context, id string) (any, error) {
	p, err := a.approvals.Load().Pending(ctx, id, operatorAtTerminal())
	if err != nil {
		return nil, err
	}
	info := a.info(p)
	switch {
	case !info.Code:
		return info, nil
	case a.o.Terminal == nil:
		return nil, errors.New("the gateway has no terminal to show a code on: approve on its page")
	}
	a.codes.mu.Lock()
	defer a.codes.mu.Unlock()
	a.codes.showing = info.Text()
	if err := a.codes.pairing.Show(id); errors.Is(err, authn.ErrTooMany) {
		return nil, errors.New("too many codes were asked for: wait ten seconds")
	} else if err != nil {
		return nil, err
	}
	return info, nil
}

func (a *App) newCodes() {
	a.codes.pairing = signin.NewPairing(local.Attached(terminalApproves), func(code string) {
		if _, err := fmt.Fprintf(a.o.Terminal, "\n  Somebody on this machine asks to approve this call:\n\n%s\n"+
			"  If that is you, and the call is right, type this code where you were asked for it:\n\n      %s\n\n  It is valid for five minutes and for this call only. If it is not you, do nothing.\n\n",
			a.codes.showing, code); err != nil {
			a.o.Logger.Error("the terminal cannot be written, so nobody can approve there", "err", err)
		}
	})
}

// Text says what a request is about, every character visible.
func (i ApprovalInfo) Text() string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "    %-10s %s\n", name, config.Visible(value)) }
	line("who", i.Subject+"  at "+i.Issuer)
	client := i.Client
	if client == "" {
		client = "the operator's own commands"
	}
	line("client", client)
	for _, actor := range i.Actors {
		line("through", actor)
	}
	line("server", i.Server)
	line("calls", i.Name+"  ("+i.Method+")")
	if len(i.Checks) > 0 {
		line("held by", strings.Join(i.Checks, ", "))
	}
	line("until", i.Until.Local().Format(time.RFC3339))
	b.WriteString("    arguments\n")
	for _, l := range authz.ArgumentLines(i.Arguments) {
		fmt.Fprintf(&b, "      %s\n", config.Visible(l))
	}
	return b.String()
}
