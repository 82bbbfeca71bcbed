package authn

import (
	"errors"
	"time"
)

// Causes of a refused sign-in by browser. Their text is for logs and the
// record; the pages have their own words. ErrUnavailable is one more.
var (
	// ErrNotBegun: this browser began no such sign-in, or too long ago.
	ErrNotBegun = errors.New("this browser began no such sign-in in the last ten minutes")
	// ErrReplayed: the answer was used before.
	ErrReplayed = errors.New("the answer of the provider was used before")
	// ErrOtherIssuer: the answer names another issuer than the one that was
	// asked (RFC 9207), or names none although the provider always does.
	ErrOtherIssuer = errors.New("the answer comes from another issuer than the one that was asked")
	// ErrDenied: the provider did not sign the person in.
	ErrDenied = errors.New("the provider refused the sign-in")
	// ErrIDToken: the provider's ID token is not acceptable.
	ErrIDToken = errors.New("the provider's ID token was refused")
	// ErrTooMany: too many sign-ins at once.
	ErrTooMany = errors.New("too many sign-ins at once")
	// ErrCode: the code is wrong, spent, too old, or of another browser.
	ErrCode = errors.New("the code is not valid for this browser")
	// ErrPasskey: the authenticator's answer proves nothing here.
	ErrPasskey = errors.New("the passkey's answer was refused")
	// ErrStale: the sign-in is too long ago for this.
	ErrStale = errors.New("this needs a sign-in of the last ten minutes")
	// ErrNoSession: there is no session of that ID any more.
	ErrNoSession = errors.New("there is no such session of a browser")
)

// Passkey is one passkey of the operator, as it is shown.
type Passkey struct {
	ID, Name   string
	Born, Used time.Time // Used is zero where it never was
}
