package face

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

const (
	allow = "allow"
	deny  = "deny"
	stage = "authorization-server"
)

// event is one step, for the record.
type event struct {
	effect, reason string
	who            string // as call.Principal names itself
	client         string
	resource       string
	detail         map[string]string
}

// asks is the reason of the one step that strangers can make without end and
// that is no refusal.
const asks = "client-asks"

// note puts a step on the record and returns its ID. What strangers can make is
// bounded: then the ID is empty.
func (f *Face) note(ctx context.Context, e event) (string, error) {
	if e.effect == deny || e.reason == asks {
		if ok, _ := f.strangers.Allow("all"); !ok {
			return "", nil
		}
	}
	d := map[string]string{}
	for k, v := range e.detail {
		if v != "" {
			d[k] = v
		}
	}
	if e.resource != "" {
		d["resource"] = short(e.resource)
	}
	ev := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: stage, Effect: e.effect, Reason: e.reason,
		Principal: e.who, Client: short(e.client), Detail: d}
	if err := f.o.Record.Record(context.WithoutCancel(ctx), &ev); err != nil {
		f.o.Log.Error("the record cannot be written", "err", err)
		return "", err
	}
	return ev.ID, nil
}

// nameOf names a person as call.Principal does.
func nameOf(id call.Identity) string { return id.Subject + "@" + id.Issuer }

func short(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}

// recordToken is asked before a token leaves; without an entry none does.
func (f *Face) recordToken(ctx context.Context, tkn *goidc.Token, _ *goidc.Grant) error {
	t := turnOf(ctx)
	if t.grant == nil {
		return errTurn
	}
	reason := map[turnKind]string{turnCode: "token-issued", turnRefresh: "token-refreshed", turnAssertion: "assertion-exchanged"}[t.kind]
	if reason == "" {
		return errTurn
	}
	_, err := f.note(ctx, event{allow, reason, nameOf(t.grant.Who), t.grant.Client, t.grant.Resource,
		map[string]string{"scopes": tkn.Scopes, "token": tkn.ID, "grant": audit.ShortDigest(t.grant.ID), "bound": tkn.JWKThumbprint}})
	return t.failed(err)
}

// Asking implements oauthserver.Flow.
func (f *Face) Asking(ctx context.Context, id string) (oauthserver.Asking, error) {
	w, err := f.askings.get(ctx, kindAsking, id)
	if err != nil {
		return oauthserver.Asking{}, err
	}
	return f.asking(ctx, w)
}

// asking is what waits, with the client as it is now. A client that changed
// since has to ask again.
func (f *Face) asking(ctx context.Context, w waiting) (oauthserver.Asking, error) {
	c, err := f.client(ctx, w.Session.ClientID)
	if err != nil {
		if errors.Is(err, oauthserver.ErrNoClient) || errors.Is(err, oauthserver.ErrClientRefused) {
			err = errors.Join(oauthserver.ErrNoAsking, err)
		}
		return oauthserver.Asking{}, err
	}
	p := w.Session.AuthorizationParameters
	if c.Digest != w.Digest || !c.Redirects(p.RedirectURI) || len(p.Resources) != 1 || time.Now().Unix() >= w.Until {
		return oauthserver.Asking{}, oauthserver.ErrNoAsking
	}
	return oauthserver.Asking{ID: w.Session.ID, Client: c, Redirect: p.RedirectURI, Resource: p.Resources[0], Scopes: w.Scopes, Until: time.Unix(w.Until, 0)}, nil
}

// Approve implements oauthserver.Flow.
func (f *Face) Approve(ctx context.Context, id string, a oauthserver.Approval) (string, error) {
	if !a.Who.Valid() || len(a.Scopes) == 0 {
		return "", errors.New("nobody approved, or nothing")
	}
	w, err := f.askings.take(ctx, kindAsking, id)
	if err != nil {
		return "", err
	}
	asked, err := f.asking(ctx, w)
	if err != nil {
		return "", err
	}
	for _, s := range a.Scopes {
		if !slices.Contains(asked.Scopes, s) {
			return "", oauthserver.ErrWider
		}
	}
	if f.o.Ended(a.Who.Identity()) {
		return "", oauthserver.ErrNoConsent
	}
	t := &turn{kind: turnApprove, redirect: asked.Redirect, client: &asked.Client, waiting: w, approval: &a}
	if t.fresh, err = f.grants.issue(codePrefix, rand.Text(), 0); err != nil {
		return "", err
	}
	if _, err := f.note(ctx, event{allow, "code-issued", a.Who.String(), asked.Client.ID, asked.Resource,
		map[string]string{"scopes": strings.Join(a.Scopes, " "), "redirect": asked.Redirect, "client.kind": asked.Client.Kind.String(),
			"grant": audit.ShortDigest(t.fresh.grant)}}); err != nil {
		return "", err
	}
	return f.answered(ctx, t)
}

// Refuse implements oauthserver.Flow.
func (f *Face) Refuse(ctx context.Context, id string) (string, error) {
	w, err := f.askings.take(ctx, kindAsking, id)
	if err != nil {
		return "", err
	}
	asked, err := f.asking(ctx, w)
	if err != nil {
		return "", err
	}
	if _, err := f.note(ctx, event{deny, "person-refused", "", asked.Client.ID, asked.Resource,
		map[string]string{"scopes": strings.Join(asked.Scopes, " "), "redirect": asked.Redirect}}); err != nil {
		return "", err
	}
	return f.answered(ctx, &turn{kind: turnApprove, redirect: asked.Redirect, client: &asked.Client, waiting: w, refused: true})
}

// answered lets the library go on with a request that a person answered, and
// returns where it sends the browser.
func (f *Face) answered(ctx context.Context, t *turn) (string, error) {
	a, err := f.ask(ctx, t, http.MethodGet, oauthserver.PathAuthorize+"/"+t.waiting.Session.ID, url.Values{}, http.Header{})
	if err != nil {
		return "", err
	}
	to := a.header.Get("Location")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(to, redirectBase(t.redirect)) {
		return "", fmt.Errorf("the answer cannot be given: %w", errors.Join(t.fault, t.cause))
	}
	return to, nil
}

// redirectBase is a redirect without its query, which the library writes anew.
func redirectBase(redirect string) string {
	base, _, _ := strings.Cut(redirect, "?")
	return base
}

// Withdraw implements oauthserver.Flow.
func (f *Face) Withdraw(ctx context.Context, issuer, subject, client string) (int, error) {
	ids, err := f.grants.of(ctx, issuer, subject, client)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, id := range ids {
		gone, err := f.grants.end(ctx, id)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	if n > 0 {
		who := call.Identity{Issuer: issuer, Subject: subject}
		_, err = f.note(ctx, event{allow, "grants-withdrawn", nameOf(who), client, "", map[string]string{"grants": fmt.Sprint(n)}})
	}
	return n, err
}
