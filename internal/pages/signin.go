package pages

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

var grantID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// inside returns where to go after signing in: one of our own pages, by its
// form and not by what it does not contain. Everything else is the list.
func inside(to string) string {
	if len(to) > 8<<10 || strings.ContainsAny(to, "\\\r\n\t#") {
		return PathGrants
	}
	path, query, _ := strings.Cut(to, "?")
	q, err := url.ParseQuery(query)
	switch {
	case err != nil:
	case (path == credential.GrantPage || path == oauthserver.PathConsent || path == authz.ApprovalPage) && len(q) == 1 && len(q["id"]) == 1 && grantID.MatchString(q.Get("id")):
		return path + "?" + q.Encode()
	case path == PathApprovals && query == "":
		return path
	case path == credential.GrantCallback && len(q["state"]) == 1:
		return path + "?" + q.Encode()
	}
	return PathGrants
}

// signIn shows the ways to sign in.
func (p *Pages) signIn(v *visit) {
	to := inside(v.r.URL.Query().Get("to"))
	if v.who.Valid() {
		v.to(to)
		return
	}
	v.showSignIn(to, page{})
}

func (v *visit) showSignIn(to string, d page) {
	d.Title, d.To, d.Issuers = v.t.SignInTitle, to, v.p.o.Issuers
	name, status := "signin", http.StatusOK
	if v.p.o.Pairing != nil {
		name = "code"
		var err error
		if d.Ceremony, err = v.signInCeremony(); err != nil {
			v.broken(err)
			return
		}
	}
	if d.Wrong {
		status = http.StatusForbidden
	}
	v.show(status, name, d)
}

// needSignIn sends a stranger to sign in, and back afterwards.
func (v *visit) needSignIn() bool {
	if v.who.Valid() {
		return false
	}
	v.to(PathSignIn + "?" + url.Values{"to": {v.r.URL.RequestURI()}}.Encode())
	return true
}

// beginSignIn sends the browser to the provider that was chosen.
func (p *Pages) beginSignIn(v *visit) {
	issuer := v.form.Get("issuer")
	if p.o.Providers == nil || !slices.Contains(p.o.Issuers, issuer) {
		v.refuseAt(stageSignIn, http.StatusBadRequest, "form-malformed", v.t.FormTitle, v.t.FormText, nil)
		return
	}
	v.signInAt(issuer, v.form.Get("to"))
}

func (v *visit) signInAt(issuer, to string) {
	u, err := v.p.o.Providers.Begin(v.r.Context(), v.browser, issuer, inside(to))
	if err != nil {
		v.notSignedIn(err, issuer)
		return
	}
	v.leave(u)
}

// finishSignIn takes the provider's answer.
func (p *Pages) finishSignIn(v *visit) {
	if p.o.Providers == nil {
		v.fail(http.StatusNotFound, v.t.UnknownTitle, v.t.UnknownText)
		return
	}
	q, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		v.notSignedIn(authn.ErrNotBegun, "")
		return
	}
	who, to, err := p.o.Providers.Finish(v.r.Context(), v.browser, q)
	if err != nil {
		v.notSignedIn(err, "")
		return
	}
	v.welcome(who, to)
}

// code shows a code on the terminal, or takes the one that was typed.
func (p *Pages) code(v *visit) {
	to := inside(v.form.Get("to"))
	if p.o.Pairing == nil {
		v.fail(http.StatusNotFound, v.t.UnknownTitle, v.t.UnknownText)
		return
	}
	if !v.form.Has("code") {
		// Before the record: whoever asks without end would fill it.
		if ok, _ := p.asks.Allow("all"); !ok {
			v.notSignedIn(authn.ErrTooMany, "")
			return
		}
		if !v.done(stageSignIn, "code-shown", "", "", nil) {
			return
		}
		if err := p.o.Pairing.Show(v.browser); err != nil {
			v.notSignedIn(err, "")
			return
		}
		v.showSignIn(to, page{Code: true})
		return
	}
	who, err := p.o.Pairing.Enter(v.browser, v.form.Get("code"))
	if err != nil {
		id, _ := v.note(stageSignIn, deny, "code-refused", "", "", nil)
		v.showSignIn(to, page{Code: true, Wrong: true, ID: id})
		return
	}
	v.welcome(who, to)
}

// welcome begins a session under names that the browser never had before.
func (v *visit) welcome(who call.Principal, to string) {
	ctx := v.r.Context()
	if v.session != "" {
		if err := v.p.o.Sessions.End(ctx, v.session); err != nil {
			v.broken(err)
			return
		}
		v.session = ""
	}
	v.who = who
	if !v.done(stageSignIn, "signed-in", "", "", nil) {
		return
	}
	id, err := v.p.o.Sessions.Start(ctx, who)
	if err != nil {
		v.who = call.Principal{}
		v.broken(err)
		return
	}
	before := v.browser
	v.renew()
	if err := v.moved(before, inside(to)); err != nil {
		err = errors.Join(err, v.p.o.Sessions.End(ctx, id))
		v.who = call.Principal{}
		v.broken(err)
		return
	}
	v.setCookie("session", id)
	v.to(inside(to))
}

// notSignedIn says why a sign-in failed, in words that say what to do.
func (v *visit) notSignedIn(err error, issuer string) {
	status, reason, text := http.StatusForbidden, "sign-in-refused", v.t.SignInRefused
	switch {
	case errors.Is(err, authn.ErrUnavailable):
		status, reason, text = http.StatusServiceUnavailable, "sign-in-unavailable", v.t.ProviderDown
	case errors.Is(err, authn.ErrTooMany):
		status, reason, text = http.StatusTooManyRequests, "sign-in-too-many", v.t.TooMany
		v.w.Header().Set("Retry-After", "10")
	case errors.Is(err, authn.ErrNotBegun), errors.Is(err, authn.ErrReplayed):
		status, reason, text = http.StatusBadRequest, "sign-in-not-begun", v.t.SignInOld
	case errors.Is(err, authn.ErrDenied):
		reason, text = "sign-in-denied", v.t.SignInDenied
	case errors.Is(err, authn.ErrPasskey):
		reason, text = "passkey-refused", v.t.PasskeyRefused
	case errors.Is(err, authn.ErrOtherIssuer):
		reason = "sign-in-mixed-up"
	}
	detail := map[string]string{"cause": err.Error()}
	if issuer != "" {
		detail["issuer"] = issuer
	}
	id, _ := v.note(stageSignIn, deny, reason, "", "", detail)
	v.show(status, "message", page{Title: v.t.SignInFailed, Text: text, ID: id, Next: PathSignIn})
}

func (p *Pages) askSignOut(v *visit) {
	if !v.who.Valid() {
		v.fail(http.StatusOK, v.t.SignedOutTitle, v.t.SignedOutText)
		return
	}
	v.show(http.StatusOK, "signout", page{Title: v.t.SignOut})
}

// signOut ends the session here; the provider's own goes on.
func (p *Pages) signOut(v *visit) {
	if v.session != "" {
		if !v.done(stageSignIn, "signed-out", "", "", nil) {
			return
		}
		if err := p.o.Sessions.End(v.r.Context(), v.session); err != nil {
			v.broken(err)
			return
		}
	}
	v.session, v.who = "", call.Principal{}
	v.setCookie("session", "")
	v.renew()
	v.show(http.StatusOK, "message", page{Title: v.t.SignedOutTitle, Text: v.t.SignedOutText, Next: PathSignIn})
}
