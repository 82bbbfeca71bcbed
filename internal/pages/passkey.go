package pages

import (
	"context"
	"errors"
	"net/http"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// Paths of passkeys.
const (
	PathPasskey  = "/signin/passkey"
	PathPasskeys = "/signin/passkeys"
	PathForget   = "/signin/passkeys/remove"
	PathScript   = "/signin/passkey.js"
)

// Passkeys sign the operator in by an authenticator. See
// internal/authn/passkey. Options and answers are the JSON of WebAuthn 5.1.8.
type Passkeys interface {
	Any(ctx context.Context) (bool, error)
	BeginSignIn(browser string) (options, state string, err error)
	FinishSignIn(ctx context.Context, browser, state, answer string) (call.Principal, error)
}

// PasskeyList is what the operator does with their passkeys.
type PasskeyList interface {
	List(ctx context.Context) ([]authn.Passkey, error)
	BeginRegister(ctx context.Context, browser string, who call.Principal) (options, state string, err error)
	FinishRegister(ctx context.Context, browser string, who call.Principal, state, answer, name string) error
	Remove(ctx context.Context, who call.Principal, id string) (bool, error)
}

// ceremony is what a page gives to an authenticator.
type ceremony struct{ Options, State string }

func (p *Pages) serveScript(v *visit) {
	v.w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = v.w.Write(p.script)
}

// signInCeremony is nil where there is no passkey to sign in with.
func (v *visit) signInCeremony() (*ceremony, error) {
	if v.p.o.Passkeys == nil {
		return nil, nil
	}
	if some, err := v.p.o.Passkeys.Any(v.r.Context()); err != nil || !some {
		return nil, err
	}
	options, state, err := v.p.o.Passkeys.BeginSignIn(v.browser)
	return &ceremony{options, state}, err
}

// passkeySignIn takes an authenticator's answer.
func (p *Pages) passkeySignIn(v *visit) {
	if p.o.Passkeys == nil {
		v.fail(http.StatusNotFound, v.t.UnknownTitle, v.t.UnknownText)
		return
	}
	who, err := p.o.Passkeys.FinishSignIn(v.r.Context(), v.browser, v.form.Get("state"), v.form.Get("answer"))
	if err != nil {
		v.notSignedIn(err, "")
		return
	}
	v.welcome(who, inside(v.form.Get("to")))
}

// passkeys lists them and offers to add one.
func (p *Pages) passkeys(v *visit) {
	if p.o.PasskeyList == nil {
		v.fail(http.StatusNotFound, v.t.UnknownTitle, v.t.UnknownText)
		return
	}
	if v.needSignIn() {
		return
	}
	ctx := v.r.Context()
	list, err := p.o.PasskeyList.List(ctx)
	if err != nil {
		v.broken(err)
		return
	}
	d := page{Title: v.t.PasskeysTitle, Keys: list}
	options, state, err := p.o.PasskeyList.BeginRegister(ctx, v.browser, v.who)
	switch {
	case err == nil:
		d.Ceremony = &ceremony{options, state}
	case errors.Is(err, authn.ErrStale):
		d.Text = v.t.PasskeyStaleText
	case errors.Is(err, authn.ErrTooMany):
		d.Text = v.t.PasskeyFull
	default:
		v.broken(err)
		return
	}
	v.show(http.StatusOK, "passkeys", d)
}

// addPasskey keeps what an authenticator made.
func (p *Pages) addPasskey(v *visit) {
	if !v.who.Valid() || p.o.PasskeyList == nil {
		v.refuseAt(stageSignIn, http.StatusForbidden, "passkey-refused", v.t.PasskeyStale, v.t.PasskeyStaleText, nil)
		return
	}
	if !v.done(stageSignIn, "passkey-added", "", "", map[string]string{"name": visible(v.form.Get("name"))}) {
		return
	}
	err := p.o.PasskeyList.FinishRegister(v.r.Context(), v.browser, v.who, v.form.Get("state"), v.form.Get("answer"), v.form.Get("name"))
	if err != nil {
		v.noPasskey(err)
		return
	}
	v.show(http.StatusOK, "message", page{Title: v.t.PasskeyAdded, Text: v.t.PasskeyAddedText, Next: PathPasskeys})
}

// forgetPasskey removes one.
func (p *Pages) forgetPasskey(v *visit) {
	if !v.who.Valid() || p.o.PasskeyList == nil {
		v.refuseAt(stageSignIn, http.StatusForbidden, "passkey-refused", v.t.PasskeyStale, v.t.PasskeyStaleText, nil)
		return
	}
	if !v.done(stageSignIn, "passkey-removed", "", "", nil) {
		return
	}
	if _, err := p.o.PasskeyList.Remove(v.r.Context(), v.who, v.form.Get("id")); err != nil {
		v.noPasskey(err)
		return
	}
	v.show(http.StatusOK, "message", page{Title: v.t.PasskeyRemoved, Text: v.t.PasskeyRemovedText, Next: PathPasskeys})
}

// noPasskey answers for what did not come about.
func (v *visit) noPasskey(err error) {
	title, text := v.t.FormTitle, v.t.PasskeyRefused
	switch {
	case errors.Is(err, authn.ErrStale):
		title, text = v.t.PasskeyStale, v.t.PasskeyStaleText
	case errors.Is(err, authn.ErrNotBegun), errors.Is(err, authn.ErrReplayed):
		text = v.t.FormText
	case errors.Is(err, authn.ErrTooMany):
		text = v.t.PasskeyFull
	case errors.Is(err, authn.ErrPasskey):
	default:
		v.broken(err)
		return
	}
	v.refuseAt(stageSignIn, http.StatusForbidden, "passkey-refused", title, text, map[string]string{"cause": err.Error()})
}
