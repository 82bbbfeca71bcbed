package pages

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Paths of approvals beside authz.ApprovalPage.
const (
	PathApprovals     = "/approvals"
	PathApproveSignIn = "/approvals/signin"
)

const stageApproval = "approval"

// approver is whoever is signed in. The client of a browser's session counts
// for nothing.
func (v *visit) approver() authz.Approver { return authz.Approver{Principal: v.who} }

// approval shows a call that waits, to somebody who may decide about it.
func (p *Pages) approval(v *visit) {
	id := v.r.URL.Query()["id"]
	if len(id) != 1 || !grantID.MatchString(id[0]) || p.o.Approvals == nil {
		v.noApproval(authz.ErrNoApproval)
		return
	}
	if v.needSignIn() {
		return
	}
	a, err := p.o.Approvals.Pending(v.r.Context(), id[0], v.approver())
	if err != nil {
		v.noApproval(err)
		return
	}
	v.showApproval(http.StatusOK, a)
}

func (v *visit) showApproval(status int, a authz.Approval) {
	v.show(status, "approve", page{Title: say(v.t.ApproveTitle, visible(a.Name)), Waits: []authz.Approval{a}})
}

// approvals lists the calls that wait for whoever is signed in.
func (p *Pages) approvals(v *visit) {
	if v.needSignIn() {
		return
	}
	var list []authz.Approval
	if p.o.Approvals != nil {
		var err error
		if list, err = p.o.Approvals.Waiting(v.r.Context(), v.approver()); err != nil {
			v.broken(err)
			return
		}
	}
	v.show(http.StatusOK, "approvals", page{Title: v.t.WaitingTitle, Waits: list})
}

// decideApproval takes a person's yes or no. The approvals put it on the record
// before it counts.
func (p *Pages) decideApproval(v *visit) {
	id := v.form.Get("id")
	if !v.who.Valid() || !grantID.MatchString(id) || p.o.Approvals == nil {
		v.noApproval(authz.ErrNoApproval)
		return
	}
	yes := false
	switch v.form.Get("answer") {
	case "yes":
		yes = true
	case "no":
	default:
		v.refuseAt(stageApproval, http.StatusBadRequest, "form-malformed", v.t.FormTitle, v.t.FormText, nil)
		return
	}
	ctx := v.r.Context()
	a, err := p.o.Approvals.Pending(ctx, id, v.approver())
	if err == nil {
		err = p.o.Approvals.Decide(ctx, id, v.approver(), yes)
	}
	switch {
	case errors.Is(err, authz.ErrSignInAgain):
		a.Fresh = false
		v.showApproval(http.StatusForbidden, a)
		return
	case err != nil:
		v.noApproval(err)
		return
	}
	title, text := v.t.RefusedTitle, v.t.RefusedText
	if yes {
		title, text = v.t.ApprovedTitle, v.t.ApprovedText
	}
	v.show(http.StatusOK, "message", page{Title: title, Text: text, ID: id})
}

// approveSignIn sends somebody whose sign-in is too old or too weak to sign in
// again, and back to the call.
func (p *Pages) approveSignIn(v *visit) {
	id := v.form.Get("id")
	if !v.who.Valid() || !grantID.MatchString(id) || p.o.Approvals == nil {
		v.noApproval(authz.ErrNoApproval)
		return
	}
	to := authz.ApprovalPage + "?" + url.Values{"id": {id}}.Encode()
	if p.o.Providers != nil {
		issuer := v.who.Identity().Issuer
		u, err := p.o.Providers.Again(v.r.Context(), v.browser, issuer, to, p.o.Approvals.Strength())
		if err != nil {
			v.notSignedIn(err, issuer)
			return
		}
		v.leave(u)
		return
	}
	// A code of the terminal proves the operator anew, for a session of its own.
	if !v.done(stageSignIn, "signed-out", "", "", nil) {
		return
	}
	if err := p.o.Sessions.End(v.r.Context(), v.session); err != nil && !errors.Is(err, authn.ErrNoSession) {
		v.broken(err)
		return
	}
	v.session, v.who = "", call.Principal{}
	v.setCookie("session", "")
	v.renew()
	v.to(PathSignIn + "?" + url.Values{"to": {to}}.Encode())
}

// noApproval answers for a request that is not there for this person.
func (v *visit) noApproval(err error) {
	status, reason, title, text := http.StatusNotFound, "approval-unknown", v.t.NoApprovalTitle, v.t.NoApprovalText
	switch {
	case errors.Is(err, authz.ErrNoApproval):
	case errors.Is(err, authz.ErrOwnCall):
		status, reason, title, text = http.StatusForbidden, "approval-own", v.t.OwnCallTitle, v.t.OwnCallText
	default:
		v.broken(err)
		return
	}
	id, _ := v.note(stageApproval, deny, reason, "", "", map[string]string{"cause": err.Error()})
	v.show(status, "message", page{Title: title, Text: text, ID: id})
}

// Kind is what the target of a held call is, in words.
func (d page) Kind(method string) string {
	switch method {
	case mcp.MethodPromptsGet:
		return d.T.Prompt
	case mcp.MethodResourcesRead:
		return d.T.Resource
	}
	return d.T.Tool
}

// lines shows arguments a member on a line, every character visible and none
// left out.
func lines(raw []byte) []string {
	out := authz.ArgumentLines(raw)
	for i := range out {
		out[i] = config.Visible(out[i])
	}
	return out
}

// Approves reports that there are calls that people can be asked about.
func (d page) Approves() bool { return d.visit.p.o.Approvals != nil }
