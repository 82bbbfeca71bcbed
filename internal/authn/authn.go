// Package authn is the contract between the pipeline and whoever can tell who
// calls.
//
// Threat: a request that is served because something about it looked right:
// its address, its session, an earlier success. Each request is authenticated
// on its own, from its headers alone, before anything of its body is read.
//
// The contract guarantees nothing about how strong a proof is; the principal
// says who made it.
package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/munjigi/munjigi/internal/call"
)

// Authenticator turns headers into a principal. It fails closed: any error is
// a refusal, and there is no second authenticator to fall back to.
type Authenticator interface {
	// Authenticate proves who calls. The error is an *Refusal or counts as one.
	Authenticate(ctx context.Context, r Request) (call.Principal, error)
	// Current reports that a principal's proof still holds; open streams ask
	// about once a second.
	Current(p call.Principal) bool
}

// Request is all that an authenticator may look at.
type Request struct {
	Method string
	Header http.Header
	// Resource is the exact resource that is called: its public URL, which is
	// also what a proof of possession names (htu of RFC 9449), whatever proxies
	// stand in between.
	Resource string
	// Certificates is the chain that the client proved in the handshake of this
	// very connection, its own first; empty without one. It never comes from a
	// header.
	Certificates []*x509.Certificate
	// Reply are the headers that the answer will carry, whatever it says. An
	// authenticator may add its own. Nil where nobody reads them.
	Reply http.Header
	// Peer is the IP address that the connection comes from, which is a proxy's
	// where one stands in between.
	Peer string
	// Loopback reports that the peer's address is a loopback address.
	Loopback bool
}

// Refusal says why a caller was not let in. Challenge is the value of
// WWW-Authenticate. Cause, if there is one, is what an errors.Is can tell apart.
type Refusal struct {
	Reason    call.Reason
	Text      string
	Challenge string
	Cause     error
}

// Error returns the public text.
func (r *Refusal) Error() string { return r.Text }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// ErrUnavailable is in the chain of a refusal that says nothing about the
// caller: whoever could vouch for it cannot be reached. It is a refusal all the
// same.
var ErrUnavailable = errors.New("whoever could vouch for the caller cannot be reached")

// ErrNobody is the answer of an authenticator that is not set up.
var ErrNobody = errors.New("no authenticator is configured")
