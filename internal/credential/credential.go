// Package credential is the contract between the pipeline and whatever gives
// the gateway its own proof toward a server.
//
// Threat: a client's token that travels on to a server which it was not made
// for (token passthrough), and the token of one user that is lent to another.
// A Source gets the caller as a Subject and gives headers for exactly that
// caller and one server; nothing of the client's own headers is among them.
//
// It guarantees nothing about what a server does with what it was given.
package credential

import (
	"context"
	"errors"
	"net/http"

	"github.com/munjigi/munjigi/internal/call"
)

// Source gives the credential for one configured server. It must be safe for
// concurrent use. Any error is a refusal: a request is never sent without the
// credential that its server was configured to get.
type Source interface {
	// Headers returns the header fields that authenticate one HTTP request on
	// behalf of s. The map is the caller's own. The error may be a
	// *GrantNeeded, or have ErrUnavailable or ErrRefused in its chain; its text
	// goes on the record and holds no secret.
	Headers(ctx context.Context, s Subject) (http.Header, error)
	// Rejected hears that the server answered 401, or 403 with a challenge, to a
	// request that carried r.Sent. It returns nil when Headers would now give
	// something else and one more try is worth it. The error is as that of
	// Headers.
	Rejected(ctx context.Context, s Subject, r Rejection) error
}

// Prover proves for each request anew that its sender holds the key to which the
// token that Headers gave is bound (RFC 9449).
type Prover interface {
	// Prove adds the proof for one request with this method to the server's URL
	// to h, which is what Headers gave for s. It leaves alone what is bound to no
	// key. An error refuses the request.
	Prove(ctx context.Context, s Subject, method string, h http.Header) error
}

// Subject is on whose behalf a server is reached. The zero Subject is nobody: a
// Source whose credential is one caller's own refuses it.
type Subject = call.Subject

// Rejection is what a server said of a credential.
type Rejection struct {
	// Status is 401 or 403.
	Status int
	// Challenges are the values of WWW-Authenticate, as they came: untrusted.
	Challenges []string
	// Sent is what Headers gave for the request that was refused.
	Sent http.Header
	// Nonce is the DPoP-Nonce that came with it (RFC 9449 section 9): untrusted.
	Nonce string
	// Again reports that this was the second try: whatever Rejected returns,
	// there is no third.
	Again bool
}

// GrantNeeded says that the principal must first allow the gateway to act for
// it at the server's authorization server.
type GrantNeeded struct {
	// Server is the configured name.
	Server string
	// URL is the page of our own that starts the grant: https, or http on
	// loopback. It is bound to the principal and its client, single use, and
	// ends after ten minutes.
	URL string
	// ID names the pending grant, as elicitationId does: 128 random bits.
	ID string
	// Wait blocks until the grant was given (nil), or was refused or ran out, or
	// ctx ends.
	Wait func(ctx context.Context) error
}

// Error tells what to do next and holds no secret.
func (g *GrantNeeded) Error() string {
	return "the server " + g.Server + " needs your permission first: open the link that came with this answer"
}

// Errors of a Source.
var (
	// ErrUnavailable: whoever gives the credential cannot be reached now.
	ErrUnavailable = errors.New("the credential for the server cannot be had at the moment")
	// ErrRefused: whoever gives the credential refuses this principal or this
	// gateway, or the server accepts nothing that can be had.
	ErrRefused = errors.New("the credential for the server was refused")
	// ErrNone is the answer of a Source that is not set up.
	ErrNone = errors.New("no credential is configured for the server")
)
