package jwt

import (
	"context"
	"slices"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// Own says that an issuer is this gateway itself (internal/oauthserver). Its
// keys are had without a fetch, its tokens are for exactly the resource that
// was called, and their principals are the people who granted them, known as
// their own provider's tokens name them.
type Own struct {
	// Keys returns the key set (RFC 7517 5).
	Keys func(ctx context.Context) ([]byte, error)
	// Owner opens the claim that says whom a token is of; grant is the token's
	// grant, which all its tokens are revoked by.
	Owner func(sealed, grant string) (call.Identity, error)
	// OwnerClaim and GrantClaim are where a token has the two.
	OwnerClaim, GrantClaim string
	// Issuers are those of the people whose grants count.
	Issuers []string
}

func (o *Own) good() bool {
	return o.Keys != nil && o.Owner != nil && o.OwnerClaim != "" && o.GrantClaim != "" && len(o.Issuers) > 0
}

// own reads a token of this gateway.
func (is *issuer) own(t *token, resource string, now int64) (call.Identity, error) {
	c := t.claims
	aud, ok := c.Texts("aud", true)
	if !ok || len(aud) != 1 || authn.Canonical(aud[0]) != authn.Canonical(resource) {
		return call.Identity{}, ErrAudience
	}
	exp, err := is.inForce(c, now)
	if err != nil {
		return call.Identity{}, err
	}
	sealed, ok1 := c.Text(is.Own.OwnerClaim, maxToken)
	grant, ok2 := c.Text(is.Own.GrantClaim, authn.MaxText)
	client, ok3 := c.Text("client_id", authn.MaxText)
	scopes, ok4 := c.Scopes("scope")
	if !ok1 || !ok2 || !ok3 || !ok4 || sealed == "" || grant == "" || client == "" || len(scopes) == 0 {
		return call.Identity{}, ErrClaims
	}
	id, err := is.Own.Owner(sealed, grant)
	if err != nil {
		return call.Identity{}, ErrClaims
	}
	if !slices.Contains(is.Own.Issuers, id.Issuer) {
		return call.Identity{}, ErrIssuer
	}
	if id.Confirmation, ok = c.Confirmation(); !ok {
		return call.Identity{}, ErrBound
	}
	id.Client, id.Scopes, id.Granted = client, scopes, true
	id.Proof, id.Expires, id.Actors, id.Asked = Proof(t.issuer, grant), exp+is.skew, nil, false
	if !authn.Tidy(&id) {
		return call.Identity{}, ErrClaims
	}
	return id, nil
}
