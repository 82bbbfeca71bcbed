package pages

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// ask shows what a server's grant is about, to the person it belongs to.
func (p *Pages) ask(v *visit) {
	id := v.r.URL.Query()["id"]
	if len(id) != 1 || !grantID.MatchString(id[0]) || p.o.Grants == nil {
		v.noGrant(credential.ErrNoGrant)
		return
	}
	if v.needSignIn() {
		return
	}
	a, err := p.o.Grants.Pending(v.r.Context(), id[0], v.who)
	if err != nil {
		v.noGrant(err)
		return
	}
	v.show(http.StatusOK, "ask", page{Title: say(v.t.AskTitle, visible(a.Server)), Asked: a})
}

// answer takes the person's yes or no.
func (p *Pages) answer(v *visit) {
	id := v.form.Get("id")
	if !v.who.Valid() || !grantID.MatchString(id) || p.o.Grants == nil {
		v.noGrant(credential.ErrNoGrant)
		return
	}
	ctx := v.r.Context()
	a, err := p.o.Grants.Pending(ctx, id, v.who)
	if err != nil {
		v.noGrant(err)
		return
	}
	detail := map[string]string{"issuer": a.Issuer, "scopes": strings.Join(a.Scopes, " ")}
	switch v.form.Get("answer") {
	case "yes":
	case "no":
		if v.done(stageGrant, "grant-declined", a.Server, a.Client, detail) {
			v.show(http.StatusOK, "message", page{Title: v.t.DeclinedTitle, Text: v.t.DeclinedText, Next: PathGrants})
		}
		return
	default:
		v.refuseAt(stageGrant, http.StatusBadRequest, "form-malformed", v.t.FormTitle, v.t.FormText, nil)
		return
	}
	if !v.done(stageGrant, "grant-approved", a.Server, a.Client, detail) {
		return
	}
	to, err := p.o.Grants.Start(ctx, id, v.who)
	if err != nil {
		v.noGrant(err)
		return
	}
	v.leave(to)
}

// finishGrant takes the authorization server's answer.
func (p *Pages) finishGrant(v *visit) {
	q, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil || len(q["state"]) != 1 || len(v.r.URL.RawQuery) > 8<<10 || p.o.Grants == nil {
		v.noGrant(credential.ErrNoGrant)
		return
	}
	if v.needSignIn() {
		return
	}
	g, err := p.o.Grants.Finish(v.r.Context(), q, v.who)
	if err != nil {
		v.noGrant(err)
		return
	}
	// It is done; the person is told whatever becomes of this entry.
	id, _ := v.note(stageGrant, allow, "grant-given", g.Server, g.Client, map[string]string{"issuer": g.Issuer, "scopes": strings.Join(g.Scopes, " ")})
	v.show(http.StatusOK, "done", page{Title: say(v.t.DoneTitle, visible(g.Server)), Given: []credential.Given{g}, ID: id})
}

// given lists what the person granted.
func (p *Pages) given(v *visit) {
	if v.needSignIn() {
		return
	}
	var list []credential.Given
	if p.o.Grants != nil {
		var err error
		if list, err = p.o.Grants.Given(v.r.Context(), v.who); err != nil {
			v.noGrant(err)
			return
		}
	}
	var clients []oauthserver.Decision
	if p.o.Decisions != nil {
		var err error
		if clients, err = p.o.Decisions.Given(v.r.Context(), v.who); err != nil {
			v.broken(err)
			return
		}
		slices.SortStableFunc(clients, func(a, b oauthserver.Decision) int { return b.Since.Compare(a.Since) })
	}
	v.show(http.StatusOK, "given", page{Title: v.t.GivenTitle, Given: list, Clients: clients})
}

// withdraw takes one grant back.
func (p *Pages) withdraw(v *visit) {
	server, client := v.form.Get("server"), v.form.Get("client")
	if !v.who.Valid() || server == "" || p.o.Grants == nil {
		v.noGrant(credential.ErrNoGrant)
		return
	}
	if !v.done(stageGrant, "grant-withdrawn", server, client, nil) {
		return
	}
	there, err := p.o.Grants.Withdraw(v.r.Context(), v.who, client, server)
	if err != nil {
		v.noGrant(err)
		return
	}
	text := v.t.WithdrawnHere
	if there {
		text = v.t.WithdrawnThere
	}
	v.show(http.StatusOK, "message", page{Title: v.t.WithdrawnTitle, Text: text, Next: PathGrants})
}

// noGrant answers for a grant that is not there, or that did not come about.
func (v *visit) noGrant(err error) {
	status, reason, title, text := http.StatusNotFound, "grant-unknown", v.t.NoGrantTitle, v.t.NoGrantText
	var no *credential.Declined
	switch {
	case errors.Is(err, credential.ErrNoGrant):
	case errors.As(err, &no):
		status, reason, title, text = http.StatusForbidden, "grant-refused", v.t.GrantRefusedTitle, say(v.t.GrantRefusedText, visible(no.Server), visible(no.Code))
	case errors.Is(err, credential.ErrMixedUp):
		status, reason, title, text = http.StatusForbidden, "grant-mixed-up", v.t.MixedUpTitle, v.t.MixedUpText
	case errors.Is(err, credential.ErrUnavailable):
		status, reason, title, text = http.StatusServiceUnavailable, "grant-unavailable", v.t.BrokenTitle, v.t.GrantDown
	case errors.Is(err, credential.ErrRefused):
		status, reason, title, text = http.StatusForbidden, "grant-refused", v.t.GrantRefusedTitle, v.t.GrantRefusedBare
	default:
		v.broken(err)
		return
	}
	id, _ := v.note(stageGrant, deny, reason, "", "", map[string]string{"cause": err.Error()})
	v.show(status, "message", page{Title: title, Text: text, ID: id})
}
