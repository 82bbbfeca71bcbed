package pages

import (
	"context"
	"crypto/hmac"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// PathWithdrawClient takes back what a client was let do.
const PathWithdrawClient = "/grants/client/withdraw"

const stageConsent = "consent"

// Consent leads a client's request from the question to the code. See
// internal/oauthserver/consent.
type Consent interface {
	Open(ctx context.Context, id, browser string, who call.Principal) (oauthserver.Question, error)
	Approve(ctx context.Context, id, browser string, who call.Principal, scopes []string) (to string, err error)
	Refuse(ctx context.Context, id, browser string) (to string, err error)
	SignedIn(ctx context.Context, id, from, to string, who call.Principal) (another bool, err error)
}

// Decisions are what people let clients do.
type Decisions interface {
	Given(ctx context.Context, who call.Principal) ([]oauthserver.Decision, error)
	Withdraw(ctx context.Context, who call.Principal, client string) (bool, error)
}

// question shows what a client asks for, before anybody is sent to a provider.
// When its browser comes back from there, the code is made.
func (p *Pages) question(v *visit) {
	id := v.r.URL.Query()["id"]
	if len(id) != 1 || !grantID.MatchString(id[0]) || p.o.Consent == nil {
		v.noAsking(oauthserver.ErrNoAsking)
		return
	}
	q, err := p.o.Consent.Open(v.r.Context(), id[0], v.browser, v.who)
	if err != nil {
		v.noAsking(err)
		return
	}
	if q.Approved != nil {
		v.finishConsent(q, q.Approved)
		return
	}
	v.ask(http.StatusOK, q, false)
}

func (v *visit) ask(status int, q oauthserver.Question, nothing bool) {
	v.show(status, "consent", page{Title: v.t.ConsentTitle, Question: &q, Wrong: nothing, Issuers: v.p.o.Issuers})
}

// decide takes the person's answer.
func (p *Pages) decide(v *visit) {
	id := v.form.Get("id")
	if !grantID.MatchString(id) || p.o.Consent == nil {
		v.noAsking(oauthserver.ErrNoAsking)
		return
	}
	ctx := v.r.Context()
	q, err := p.o.Consent.Open(ctx, id, v.browser, v.who)
	if err != nil {
		v.noAsking(err)
		return
	}
	if !hmac.Equal([]byte(v.form.Get("about")), []byte(v.about(q))) {
		v.refuseAt(stageConsent, http.StatusForbidden, "consent-other-question", v.t.FormTitle, v.t.FormText, consentDetail(q, nil))
		return
	}
	switch v.form.Get("answer") {
	case "yes":
	case "no":
		if !v.done(stageConsent, "consent-refused", "", q.Client.ID, consentDetail(q, nil)) {
			return
		}
		to, err := p.o.Consent.Refuse(ctx, id, v.browser)
		if err != nil {
			v.noAsking(err)
			return
		}
		v.leave(to)
		return
	default:
		v.refuseAt(stageConsent, http.StatusBadRequest, "form-malformed", v.t.FormTitle, v.t.FormText, nil)
		return
	}
	scopes := ticked(v.form, q.Scopes)
	if len(scopes) == 0 {
		v.ask(http.StatusBadRequest, q, true)
		return
	}
	if v.who.Valid() {
		v.finishConsent(q, scopes)
		return
	}
	if !v.done(stageConsent, "consent-before-sign-in", "", q.Client.ID, consentDetail(q, scopes)) {
		return
	}
	if _, err := p.o.Consent.Approve(ctx, id, v.browser, v.who, scopes); err != nil {
		v.noAsking(err)
		return
	}
	to := oauthserver.PathConsent + "?" + url.Values{"id": {id}}.Encode()
	if len(p.o.Issuers) == 1 && p.o.Providers != nil {
		v.signInAt(p.o.Issuers[0], to)
		return
	}
	v.to(PathSignIn + "?" + url.Values{"to": {to}}.Encode())
}

// about ties an answer to the question that was shown: to its client as it was
// described, its redirect and its scopes.
func (v *visit) about(q oauthserver.Question) string {
	return v.token(strings.Join([]string{oauthserver.PathConsent, q.ID, q.Client.ID, q.Client.Digest, q.Redirect, q.Resource, strings.Join(q.Scopes, " ")}, "\n"))
}

// About is that of the question on the page.
func (d page) About() string { return d.visit.about(*d.Question) }

// ticked are the scopes whose own box and whose server's box are ticked.
func ticked(form url.Values, asked []string) []string {
	var out []string
	for _, s := range asked {
		server, _, _ := strings.Cut(s, ":")
		if form.Get("server:"+server) == "on" && form.Get("scope:"+s) == "on" {
			out = append(out, s)
		}
	}
	return out
}

// finishConsent makes the code for somebody who signed in, and sends the
// browser to the client with it.
func (v *visit) finishConsent(q oauthserver.Question, scopes []string) {
	if !v.done(stageConsent, "consent-given", "", q.Client.ID, consentDetail(q, scopes)) {
		return
	}
	to, err := v.p.o.Consent.Approve(v.r.Context(), q.ID, v.browser, v.who, scopes)
	if err != nil {
		v.noAsking(err)
		return
	}
	v.leave(to)
}

func consentDetail(q oauthserver.Question, scopes []string) map[string]string {
	d := map[string]string{"asked": strings.Join(q.Scopes, " "), "redirect": q.Redirect, "resource": q.Resource, "kind": q.Client.Kind.String()}
	if scopes != nil {
		d["scopes"] = strings.Join(scopes, " ")
	}
	return d
}

// noAsking answers for a request that is not there, or is not this browser's.
func (v *visit) noAsking(err error) {
	status, reason, title, text := http.StatusNotFound, "consent-unknown", v.t.NoAskingTitle, v.t.NoAskingText
	switch {
	case errors.Is(err, oauthserver.ErrOtherBrowser):
		reason = "consent-other-browser"
	case errors.Is(err, oauthserver.ErrNoAsking):
	case errors.Is(err, oauthserver.ErrWider), errors.Is(err, oauthserver.ErrNothing):
		status, reason, title, text = http.StatusBadRequest, "form-malformed", v.t.FormTitle, v.t.FormText
	case errors.Is(err, authn.ErrTooMany):
		status, reason, title, text = http.StatusTooManyRequests, "sign-in-too-many", v.t.BrokenTitle, v.t.TooMany
	default:
		v.broken(err)
		return
	}
	id, _ := v.note(stageConsent, deny, reason, "", "", nil)
	v.show(status, "message", page{Title: title, Text: text, ID: id})
}

// moved tells the consent that somebody signed in, at a browser whose name has
// changed.
func (v *visit) moved(from, to string) error {
	if v.p.o.Consent == nil {
		return nil
	}
	id := ""
	if path, query, _ := strings.Cut(to, "?"); path == oauthserver.PathConsent {
		if q, err := url.ParseQuery(query); err == nil {
			id = q.Get("id")
		}
	}
	another, err := v.p.o.Consent.SignedIn(v.r.Context(), id, from, v.browser, v.who)
	if err == nil && another {
		_, err = v.note(stageConsent, deny, "consent-other-person", "", "", nil)
	}
	return err
}

// withdrawClient takes back all that a client was let do.
func (p *Pages) withdrawClient(v *visit) {
	client := v.form.Get("client")
	if !v.who.Valid() || client == "" || p.o.Decisions == nil {
		v.noAsking(oauthserver.ErrNoAsking)
		return
	}
	if !v.done(stageConsent, "consent-withdrawn", "", client, nil) {
		return
	}
	if _, err := p.o.Decisions.Withdraw(v.r.Context(), v.who, client); err != nil {
		v.broken(err)
		return
	}
	v.show(http.StatusOK, "message", page{Title: v.t.WithdrawnTitle, Text: v.t.ClientWithdrawn, Next: PathGrants})
}

// Asks is one server of a question, with what is asked for there.
type Asks struct {
	Server string
	Boxes  []Box
	New    bool // nothing of it stands yet, although something does
}

// Box is one scope that can be ticked.
type Box struct {
	Scope, Words string
	New          bool
}

// Asks are the servers of the question.
func (d page) Asks() []Asks {
	var out []Asks
	for _, s := range d.Question.Scopes {
		server, what, _ := strings.Cut(s, ":")
		i := slices.IndexFunc(out, func(a Asks) bool { return a.Server == server })
		if i < 0 {
			i = len(out)
			out = append(out, Asks{Server: server})
		}
		words, ok := map[string]string{"list": d.T.ScopeList, "read": d.T.ScopeRead, "call": d.T.ScopeCall}[what]
		if !ok {
			words = visible(s)
		}
		out[i].Boxes = append(out[i].Boxes, Box{Scope: s, Words: words, New: slices.Contains(d.Question.Wider, s)})
	}
	for i, a := range out {
		out[i].New = !slices.ContainsFunc(a.Boxes, func(b Box) bool { return !b.New })
	}
	return out
}

// Local reports that the code goes to a program on the person's own computer.
func (d page) Local() bool {
	u, err := url.Parse(d.Question.Redirect)
	return err == nil && u.Scheme == "http" && egress.Loopback(u.Hostname())
}

// Elsewhere reports that the code goes to another host than the one that
// describes the client.
func (d page) Elsewhere() bool {
	return d.Question.Client.Host != "" && !d.Local() && host(d.Question.Redirect) != host("https://"+d.Question.Client.Host)
}

// Known reports what the client is: configured, document or registered.
func (d page) Known() string { return d.Question.Client.Kind.String() }
