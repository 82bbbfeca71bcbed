package jwt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// How long an identity assertion may live: it is made to be used at once.
const longestAssertion = 10 * 60

// Asserted is what an identity assertion says (ID-JAG,
// draft-ietf-oauth-identity-assertion-authz-grant).
type Asserted struct {
	Who      call.Principal
	Client   string // the client that it was made for
	Resource string
	Scopes   []string
	// ID names the assertion: it may be used once.
	ID string
	// Until is when it ends.
	Until time.Time
}

// ErrAssertion is the cause of a refusal of what its issuer did not make as an
// identity assertion for us.
var ErrAssertion = errors.New("this is not an identity assertion for this server: typ oauth-id-jag+jwt, iss, sub, aud, client_id, resource, scope, jti, iat and exp are needed")

// Assertion verifies an identity assertion of one of the issuers, which are
// configured, for audience, which is this server. Whether it was used before,
// and by whom it is shown, is the caller's to find out.
func (v *Verifier) Assertion(ctx context.Context, text, audience string, issuers []string) (Asserted, error) {
	t, err := parse(text)
	if err != nil {
		return Asserted{}, err
	}
	is := v.issuers[t.issuer]
	if is == nil || is.Own != nil || audience == "" || !slices.Contains(issuers, t.issuer) {
		return Asserted{}, ErrIssuer
	}
	if strings.ToLower(t.typ) != "oauth-id-jag+jwt" {
		return Asserted{}, ErrType
	}
	if _, err := is.signed(ctx, t, text); err != nil {
		return Asserted{}, err
	}
	a, id, err := is.asserted(t, audience, time.Now().Unix())
	if err != nil {
		return Asserted{}, err
	}
	if a.Who = call.NewPrincipal(id); !a.Who.Valid() {
		return Asserted{}, ErrClaims
	}
	if v.ended != nil && v.ended(id) {
		return Asserted{}, ErrRevoked
	}
	return a, nil
}

func (is *issuer) asserted(t *token, audience string, now int64) (Asserted, call.Identity, error) {
	var a Asserted
	c := t.claims
	id := call.Identity{Issuer: is.Issuer.Issuer, Kind: call.Person}
	if is.As != "" {
		id.Issuer = is.As
	}
	aud, ok := c.Texts("aud", true)
	if !ok || len(aud) != 1 || aud[0] != audience {
		return a, id, ErrAudience
	}
	exp, err := is.inForce(c, now)
	if err != nil {
		return a, id, err
	}
	id.Issued, _ = c.Date("iat")
	if exp-id.Issued > longestAssertion {
		return a, id, ErrLifetime
	}
	if c.Has("cnf") {
		return a, id, ErrBound
	}
	var good [9]bool
	a.Client, good[0] = c.Text("client_id", authn.MaxText)
	a.Resource, good[1] = c.Text("resource", authn.MaxText)
	a.Scopes, good[2] = c.Scopes("scope")
	a.ID, good[3] = c.Text("jti", authn.MaxText)
	id.Subject, good[4] = c.Text("sub", authn.MaxText)
	id.ACR, good[5] = c.Optional("acr")
	id.AMR, good[6] = c.Texts("amr", false)
	id.AuthTime, good[7] = c.Date("auth_time")
	id.Session, good[8] = c.Optional("sid")
	if good != [9]bool{true, true, true, true, true, true, true, true, true} ||
		a.Client == "" || a.Resource == "" || a.ID == "" || id.Subject == "" || len(a.Scopes) == 0 {
		return a, id, ErrAssertion
	}
	if is.Provider != Keycloak { // whose ID tokens alone say that they are some
		if err := is.subjectOf(c, &id); err != nil {
			return a, id, err
		}
	}
	if err := is.rights(c, &id); err != nil {
		return a, id, err
	}
	if !authn.Tidy(&id) {
		return a, id, ErrClaims
	}
	// The issuer is in the name: two of them may give the same.
	a.ID, a.Until, id.Client = Proof(t.issuer, a.ID), time.Unix(exp+is.skew, 0), a.Client
	return a, id, nil
}
