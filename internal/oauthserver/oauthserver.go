// Package oauthserver is the contract between the parts of the gateway's own
// OAuth authorization server: the protocol (face), who its clients are
// (clients), and what people let them do (consent, and its pages).
//
// Threat: the confused deputy. The gateway is one client of the operator's
// identity provider and has many clients of its own, most of them strangers. A
// provider that remembers that a person allowed the gateway would let each of
// these strangers through without a question, unless the gateway asks its own
// one first, for each person and each client.
//
// The steps of one flow, and who owns each:
//
//  1. face: the request at PathAuthorize is judged: the client exists, the
//     redirect is exactly one of its own, PKCE is S256, the resource is one of
//     ours, the scopes are that resource's. Nothing is shown and nothing is
//     made for a request that fails here. It becomes an Asking, kept for
//     AskingLife under 128 random bits, and the browser is sent to PathConsent
//     with that ID.
//  2. consent: the page shows the Asking and takes an answer from this browser,
//     before any provider is visited. No is Flow.Refuse.
//  3. consent, by internal/authn/signin: the person signs in at the provider,
//     or as the local operator.
//  4. consent: the answer is bound to issuer, subject and client. When the
//     browser's earlier consent was another subject's, the page asks again
//     before step 5.
//  5. face: Flow.Approve spends the Asking, which serves once, and makes the
//     code for exactly the scopes that were granted.
//  6. face: at each use of the code and of a refresh token it looks the client
//     up again and asks Consents whether what was granted still stands.
//
// It guarantees only what types can: the zero value of each type is refused by
// every implementation. The rest is theirs.
package oauthserver

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

// Paths of the authorization server, under the issuer, which has no path.
const (
	PathAuthorize = "/oauth/authorize"
	PathToken     = "/oauth/token"
	PathPAR       = "/oauth/par"
	PathRevoke    = "/oauth/revoke"
	PathKeys      = "/oauth/keys"
	PathRegister  = "/oauth/register" // belongs to clients
	PathConsent   = "/oauth/consent"  // belongs to consent; the query is id
)

// AskingLife is how long a person may take from the client's request to the
// code.
const AskingLife = 10 * time.Minute

// Kind says how a client became known. The zero Kind is no client.
type Kind uint8

// Kinds of clients.
const (
	Configured Kind = iota + 1 // the operator wrote it into the config
	Document                   // its ID is the URL of its metadata document
	Registered                 // it registered itself (RFC 7591)
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Configured:
		return "configured"
	case Document:
		return "document"
	case Registered:
		return "registered"
	}
	return "unknown"
}

// AuthMethod is how a client proves itself at the token endpoint (RFC 7591 2).
// The empty method is refused.
type AuthMethod string

// Methods that are supported.
const (
	AuthNone          AuthMethod = "none"
	AuthSecretBasic   AuthMethod = "client_secret_basic"
	AuthSecretPost    AuthMethod = "client_secret_post"
	AuthPrivateKeyJWT AuthMethod = "private_key_jwt"
)

// Client is one client of this authorization server, as it is now.
type Client struct {
	ID   string
	Kind Kind
	// Name is what the client calls itself: text of a stranger.
	Name string
	// Host is the host of the metadata document, as in a URL; "" for others.
	Host string
	// Unvouched says that the operator named neither the document nor its host:
	// any host is believed here, and the person is told so.
	Unvouched bool
	// RedirectURIs are compared by Redirects: https, or http to loopback.
	RedirectURIs []string
	Auth         AuthMethod
	// SecretDigest is the SHA-256 of the client's secret, for the two secret
	// methods.
	SecretDigest [32]byte
	// JWKS is the client's key set (RFC 7517 5, public keys only), for
	// private_key_jwt. Whoever fetched it kept the rule for all fetches.
	JWKS []byte
	// Scopes bounds what it may ask for; nil means every scope of the resource.
	Scopes []string
	// DPoP says that its tokens are always bound to a key (RFC 9449 5.2).
	DPoP bool
	// Assertions says that it may trade an identity assertion of a trusted
	// provider for a token (RFC 7523, enterprise-managed authorization). Only a
	// configured client that proves itself may.
	Assertions bool
	// Digest names everything about the client that a person saw or relied on
	// when they consented. Another digest means consent again.
	Digest string
	// Expires is when the registration ends; zero means it does not.
	Expires time.Time
}

// Valid reports that a client can be used at t.
func (c Client) Valid(t time.Time) bool {
	return c.ID != "" && c.Kind != 0 && c.Auth != "" && (c.Expires.IsZero() || t.Before(c.Expires))
}

// Redirects reports that uri is one of the client's redirects, letter by
// letter. A loopback redirect that was given without a port stands for any port
// there (RFC 8252 7.3), and nothing else differs.
func (c Client) Redirects(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Port() == "" || !egress.Loopback(u.Hostname()) {
		return false
	}
	bare, found := strings.CutPrefix(uri, "http://"+u.Host)
	return found && slices.Contains(c.RedirectURIs, "http://"+strings.TrimSuffix(u.Host, ":"+u.Port())+bare)
}

// CheckRedirect says why a redirect is none that a client may have, or returns
// nil: https, or http to a loopback host, in a form that every reader reads
// alike.
func CheckRedirect(uri string) error {
	if len(uri) > 2048 || strings.ContainsAny(uri, "\"'<>^`{|}*") {
		return errors.New("a redirect has at most 2048 characters and neither quotation marks nor brackets nor an asterisk: write them percent-encoded")
	}
	_, err := egress.CheckURL(uri, egress.Rules{PlainLoopback: true})
	return err
}

// Errors of a lookup.
var (
	// ErrNoClient says that there is no such client.
	ErrNoClient = errors.New("no such client: register it, or ask the operator to add it")
	// ErrClientRefused says that there may be one and that it is not let in: its
	// host is not trusted, its document is malformed, or it could not be had.
	ErrClientRefused = errors.New("the client is not accepted here: ask the operator")
)

// Clients finds clients. Every error but those two is a fault of ours.
type Clients interface {
	// Client returns the client of that ID as it is now.
	Client(ctx context.Context, id string) (Client, error)
}

// Asking is one authorization request that was judged and waits for a person.
type Asking struct {
	ID       string
	Client   Client
	Redirect string // where the answer goes: one of the client's own
	Resource string // URL, one of ours
	// Scopes is what is asked for, in order, each {server}:list, {server}:read or
	// {server}:call of a server behind the resource. There is at least one.
	Scopes []string
	Until  time.Time
}

// Servers returns the servers that the scopes name, in order, each once.
func (a Asking) Servers() []string { return ServersOf(a.Scopes) }

// ServersOf returns the servers that scopes name, in order, each once.
func ServersOf(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if name, _, ok := strings.Cut(s, ":"); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Approval is what a person who signed in lets a client do.
type Approval struct {
	// Who signed in. Its issuer and subject are whom the grant is bound to; its
	// claims go into the tokens' owner as policy sees it.
	Who call.Principal
	// Scopes is a part of what was asked for, not empty.
	Scopes []string
}

// Errors of a flow.
var (
	// ErrNoAsking says that there is no such request: it was answered, took too
	// long, or never was.
	ErrNoAsking = errors.New("this request was answered already or took too long: begin again in your client")
	// ErrWider says that an approval holds what was not asked for.
	ErrWider = errors.New("more was granted than was asked for")
)

// Flow is what the consent pages do with a request. Face offers it.
type Flow interface {
	// Asking returns the request of that ID, or ErrNoAsking.
	Asking(ctx context.Context, id string) (Asking, error)
	// Approve spends the request and returns the URL, at the client, to which
	// the browser goes with the code. Of two calls one has ErrNoAsking.
	Approve(ctx context.Context, id string, a Approval) (to string, err error)
	// Refuse spends the request and returns the URL that tells the client no.
	Refuse(ctx context.Context, id string) (to string, err error)
	// Withdraw ends every grant of a client for a subject at once, its access
	// tokens too, and returns how many there were.
	Withdraw(ctx context.Context, issuer, subject, client string) (int, error)
}

// ErrNoConsent says that what was granted does not stand any more.
var ErrNoConsent = errors.New("the person's consent has ended or no longer covers this client: begin again in your client")

// Consents says whether what a person once let a client do still stands.
type Consents interface {
	// Stands returns nil while issuer and subject let the client, as it is now,
	// have scopes at resource; ErrNoConsent, or that it could not be found out.
	Stands(ctx context.Context, g Granted) error
}

// Granted is what a grant rests on.
type Granted struct {
	Issuer, Subject string
	Client          Client // as it is now
	Resource        string
	Scopes          []string
}
