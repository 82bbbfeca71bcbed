package credential

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

// Paths below the gateway's public URL that belong to grants. They are part of
// what authorization servers are told and what people are sent to, and
// therefore do not change.
const (
	// GrantPage is opened by a person: GrantPage + "?id=" + GrantNeeded.ID. It
	// signs its opener in, shows what Grants.Pending says, and on a confirmed
	// POST redirects to what Grants.Start gives.
	GrantPage = "/grants/open"
	// GrantCallback is the redirect_uri: its query goes to Grants.Finish, once the
	// opener is signed in.
	GrantCallback = "/grants/callback"
	// GrantClient is the Client ID Metadata Document, GrantClientKeyed the same
	// for a client that proves itself with a key of GrantKeys (a JWK set). They
	// are public: anyone may GET them.
	GrantClient      = "/grants/client.json"
	GrantClientKeyed = "/grants/client-keyed.json"
	GrantKeys        = "/grants/keys.json"
)

// Grants are the grants that people gave or are asked for, as the pages of the
// gateway see them. Each method takes the principal that was signed in on the
// page: its issuer and subject must be those that the grant belongs to, while
// its client is that of the browser and counts for nothing. Somebody else's
// grant looks exactly like one that does not exist: ErrNoGrant.
type Grants interface {
	// Pending says what is asked under an ID. It can be asked for often, and
	// changes nothing.
	Pending(ctx context.Context, id string, p call.Principal) (Asked, error)
	// Start returns the authorization server's URL to which the person's browser
	// is to be redirected (303): https, or http on loopback where the operator
	// opened that. An ID is started once; after that, Pending and Start answer
	// ErrNoGrant. ErrUnavailable: try again later with the same ID.
	Start(ctx context.Context, id string, p call.Principal) (string, error)
	// Finish takes the query of GrantCallback, where each name may stand once.
	// The answer says what was granted. A query is finished once, and within ten
	// minutes of Start; it goes on after a restart. A *Declined says that the
	// authorization server, which was proved to be the right one, said no.
	Finish(ctx context.Context, query url.Values, p call.Principal) (Given, error)
	// Given lists what p granted, to whatever client, in the order of server and
	// client.
	Given(ctx context.Context, p call.Principal) ([]Given, error)
	// Withdraw ends a grant here and, where it can be reached and offers it, at
	// the authorization server (RFC 7009). It is nil once nothing is left here;
	// revoked reports whether the authorization server confirmed it, so that the
	// page can otherwise tell the person to end it there too.
	Withdraw(ctx context.Context, p call.Principal, client, server string) (revoked bool, err error)
}

// Asked is what a person is asked to allow.
type Asked struct {
	ID string
	// Server is the configured name, ServerURL where it is.
	Server, ServerURL string
	// Client is the OAuth client that acts for the person and will be able to use
	// the grant: an outside text. It is empty for the operator's own token.
	Client string
	// Issuer is the authorization server that will ask: show its host.
	Issuer string
	// Scopes are what will be requested: outside texts. Empty means that the
	// authorization server decides.
	Scopes []string
	// Widens lists those of Scopes that an earlier grant did not have; it is nil
	// where there was none.
	Widens []string
	// Expires is when the ID ends.
	Expires time.Time
}

// Given is one grant in force.
type Given struct {
	Server, Client, Issuer string
	Scopes                 []string
	// Since and Expires bound it; it may end earlier.
	Since, Expires time.Time
	// Lasting reports that it outlives the access token: a refresh token is kept,
	// sealed.
	Lasting bool
}

// Declined is the answer of an authorization server that gave nothing.
type Declined struct {
	Server string
	// Code is the error of RFC 6749 section 4.1.2.1, access_denied for instance:
	// 1 to 64 of [a-z0-9_]. Nothing else of what the server said is shown.
	Code string
}

// Error says what to do next.
func (d *Declined) Error() string {
	return "the authorization server of " + d.Server + " answered " + d.Code + ": nothing was granted; call the server again for a new link"
}

// Errors of Grants.
var (
	// ErrNoGrant: there is none of that ID, state or name, or it was used, ran
	// out, or belongs to somebody else.
	ErrNoGrant = errors.New("this link was used, has run out or is not yours: call the server again for a new one")
	// ErrMixedUp: the answer came from another authorization server than the one
	// that was asked, or does not say from which. Nothing of it is used.
	ErrMixedUp = errors.New("the answer did not come from the authorization server that was asked: nothing was granted; tell the operator of this gateway")
)
