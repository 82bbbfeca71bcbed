package face

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// keeper is where the library keeps things. It holds each turn to what that
// turn may do, whatever the library asks.
type keeper struct{ f *Face }

var (
	errTurn  = errors.New("this is not what the request was for")
	errRaced = errors.New("the token was used before, a moment ago")
)

// SaveSession implements goidc.AuthManager. A request that is over is over: it
// was taken before.
func (k keeper) SaveSession(ctx context.Context, as *goidc.AuthnSession) error {
	t := turnOf(ctx)
	if as.Status != goidc.StatusPending || t.client == nil {
		return nil
	}
	w := waiting{Session: *as, Digest: t.client.Digest, Scopes: strings.Fields(as.Scopes)}
	switch t.kind {
	case turnPush:
		return t.failed(k.f.askings.put(ctx, kindPushed, as.PushedAuthReqID, w, time.Now().Add(parLife)))
	case turnAuthorize:
		if err := k.f.askings.put(ctx, kindAsking, as.ID, w, time.Now().Add(oauthserver.AskingLife)); err != nil {
			return t.failed(err)
		}
		t.asking = as.ID
		return nil
	}
	return errTurn
}

// failed notes a fault of ours, of which the library would tell as if it were
// the caller's.
func (t *turn) failed(err error) error {
	if err != nil && t.fault == nil {
		t.fault = err
	}
	return err
}

// Session implements goidc.AuthManager.
func (k keeper) Session(ctx context.Context, id string) (*goidc.AuthnSession, error) {
	t := turnOf(ctx)
	if t.kind != turnApprove || t.waiting.Session.ID != id || id == "" {
		return nil, goidc.ErrNotFound
	}
	as := t.waiting.Session
	return &as, nil
}

// SessionByPushedAuthReqID implements goidc.PARManager.
func (k keeper) SessionByPushedAuthReqID(ctx context.Context, id string) (*goidc.AuthnSession, error) {
	t := turnOf(ctx)
	if t.kind != turnAuthorize || t.waiting.Session.PushedAuthReqID != id || id == "" {
		return nil, goidc.ErrNotFound
	}
	as := t.waiting.Session
	return &as, nil
}

// answerFor is what the library asks about the person at the browser.
func (f *Face) answerFor(_ http.ResponseWriter, r *http.Request, as *goidc.AuthnSession, _ *goidc.Client) (goidc.Status, error) {
	t := turnOf(r.Context())
	switch {
	case t.kind == turnAuthorize:
		return goidc.StatusPending, nil
	case t.kind != turnApprove:
		return goidc.StatusFailure, errTurn
	case t.refused:
		return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeAccessDenied, "the person said no")
	case t.approval == nil:
		return goidc.StatusFailure, errTurn
	}
	sub, err := f.subject(t.approval.Who.Identity())
	if err != nil {
		return goidc.StatusFailure, t.failed(err)
	}
	as.Subject, as.GrantedScopes, as.GrantedResources = sub, strings.Join(t.approval.Scopes, " "), as.Resources
	return goidc.StatusSuccess, nil
}

// SaveGrant implements goidc.GrantManager. Each change of a grant is one write,
// and the library answers only after it.
func (k keeper) SaveGrant(ctx context.Context, g *goidc.Grant) error {
	t := turnOf(ctx)
	if g.RevokedAt != 0 {
		if t.kind != turnCode && t.kind != turnRevoke {
			return errTurn
		}
		if t.kind == turnCode && t.ended == "" {
			t.ended = "code-misused"
			if g.AuthCodeConsumedAt != 0 {
				t.ended = "code-replayed"
			}
		}
		_, err := k.f.grants.end(ctx, g.ID)
		return t.failed(err)
	}
	now := time.Now()
	switch t.kind {
	case turnApprove:
		p := t.waiting.Session.AuthorizationParameters
		t.grant = &grant{ID: g.ID, Who: t.approval.Who.Identity(), Client: g.ClientID, Digest: t.waiting.Digest, Redirect: p.RedirectURI, Resource: p.Resources[0],
			Scopes: t.approval.Scopes, Challenge: p.CodeChallenge, JKT: g.JWKThumbprint, Made: now.Unix(), CodeUntil: now.Add(CodeLife).Unix(),
			Until: now.Add(k.f.o.SignedInFor).Unix()}
	case turnAssertion:
		t.grant = &grant{ID: g.ID, Who: t.asserted.Who.Identity(), Client: g.ClientID, Digest: t.client.Digest, Resource: t.asserted.Resource,
			Scopes: strings.Fields(g.Scopes), JKT: g.JWKThumbprint, Made: now.Unix(), CodeUsed: true, Until: now.Add(k.f.o.AccessToken).Unix(), Asserted: true}
		if err := k.f.own(t); err != nil {
			return t.failed(err)
		}
	case turnCode, turnRefresh:
		if t.grant == nil || t.grant.ID != g.ID {
			return errTurn
		}
		t.grant.CodeUsed, t.grant.JKT = true, g.JWKThumbprint
		t.grant.Refresh, t.grant.Generation, t.grant.Rotated = digest(t.fresh.text), t.fresh.generation, now.UnixMilli()
	default:
		return errTurn
	}
	done, err := k.f.grants.put(ctx, t.grant)
	if err != nil {
		return t.failed(err)
	}
	if !done {
		return invalidGrant(errRaced)
	}
	return nil
}

// Grant implements goidc.GrantManager, for access tokens that are revoked.
func (k keeper) Grant(ctx context.Context, id string) (*goidc.Grant, error) {
	t := turnOf(ctx)
	if t.kind != turnRevoke {
		return nil, goidc.ErrNotFound
	}
	return k.load(ctx, t, id)
}

func (k keeper) load(ctx context.Context, t *turn, id string) (*goidc.Grant, error) {
	row, err := k.f.grants.get(ctx, id)
	if errors.Is(err, errGone) {
		return nil, errors.Join(goidc.ErrNotFound, err)
	}
	if err != nil {
		return nil, t.failed(err)
	}
	t.grant = row
	g := &goidc.Grant{ID: row.ID, ClientID: row.Client, CreatedAt: int(row.Made), Scopes: strings.Join(row.Scopes, " "), Resources: goidc.Resources{row.Resource},
		JWKThumbprint: row.JKT, AuthCodeExpiresAt: int(row.CodeUntil), RefreshTokenExpiresAt: int(row.Until)}
	g.AuthParams.RedirectURI, g.AuthParams.CodeChallenge, g.AuthParams.CodeChallengeMethod = row.Redirect, row.Challenge, goidc.CodeChallengeMethodSHA256
	if row.CodeUsed {
		g.AuthCodeConsumedAt = int(row.Made)
	}
	if g.Subject, err = k.f.subject(row.Who); err != nil {
		return nil, t.failed(err)
	}
	return g, nil
}

// GrantByAuthCode implements goidc.AuthManager.
func (k keeper) GrantByAuthCode(ctx context.Context, code string) (*goidc.Grant, error) {
	t := turnOf(ctx)
	shown, ok := k.f.grants.read(codePrefix, code)
	if !ok || t.kind != turnCode || t.client == nil {
		return nil, goidc.ErrNotFound
	}
	g, err := k.load(ctx, t, shown.grant)
	if err != nil || t.grant.CodeUsed || t.client.ID != t.grant.Client {
		return g, err // the library ends what is replayed or stolen
	}
	if err := k.stands(ctx, t); err != nil {
		return nil, err
	}
	if t.fresh, err = k.f.grants.issue(refreshPrefix, shown.grant, 1); err != nil {
		return nil, t.failed(err)
	}
	g.RefreshToken = t.fresh.text
	return g, t.failed(k.f.own(t))
}

// GrantByRefreshToken implements goidc.RefreshTokenManager.
func (k keeper) GrantByRefreshToken(ctx context.Context, token string) (*goidc.Grant, error) {
	t := turnOf(ctx)
	shown, ok := k.f.grants.read(refreshPrefix, token)
	if !ok || t.client == nil {
		return nil, goidc.ErrNotFound
	}
	g, err := k.load(ctx, t, shown.grant)
	switch {
	case err != nil:
		return nil, err
	case t.kind == turnRevoke:
		return g, nil
	case t.kind != turnRefresh || t.client.ID != t.grant.Client:
		return nil, errTurn
	case digest(token) == t.grant.Refresh:
	case shown.generation == t.grant.Generation-1 && time.Since(time.UnixMilli(t.grant.Rotated)) < ReuseGrace:
		return nil, errRaced
	default:
		// Somebody holds a token that its owner has used already: one of the two
		// is a thief, and nobody can say which.
		t.ended = "refresh-reused"
		_, err := k.f.grants.end(ctx, shown.grant)
		return nil, errors.Join(goidc.ErrNotFound, t.failed(err))
	}
	if err := k.stands(ctx, t); err != nil {
		return nil, err
	}
	if t.fresh, err = k.f.grants.issue(refreshPrefix, shown.grant, t.grant.Generation+1); err != nil {
		return nil, t.failed(err)
	}
	return g, t.failed(k.f.own(t))
}

// stands ends a grant whose person signed out, or whose consent does not hold
// any more for the client as it is now.
func (k keeper) stands(ctx context.Context, t *turn) error {
	over := k.f.o.Ended(t.grant.Who)
	if over {
		t.ended = "signed-out"
	} else {
		err := k.f.o.Consents.Stands(ctx, oauthserver.Granted{Issuer: t.grant.Who.Issuer, Subject: t.grant.Who.Subject, Client: *t.client,
			Resource: t.grant.Resource, Scopes: slices.Clone(t.grant.Scopes)})
		if err == nil {
			return nil
		}
		if !errors.Is(err, oauthserver.ErrNoConsent) {
			return t.failed(err)
		}
		t.ended = "consent-ended"
	}
	_, err := k.f.grants.end(ctx, t.grant.ID)
	return errors.Join(goidc.ErrNotFound, t.failed(err))
}

// PurposeOwner is under which a token says whom it is of, to us alone.
const PurposeOwner keys.Purpose = "oauth-owner"

// ClaimOwner and ClaimGrant are the claims of our access tokens by which the
// resource server, which is this gateway, knows whose they are and of which
// grant.
const (
	ClaimOwner = "own"
	ClaimGrant = goidc.ClaimGrantID
)

// own seals the owner of a grant for its tokens: clients can read a token, and
// what a provider says of a person is not theirs to read.
func (f *Face) own(t *turn) error {
	b, err := json.Marshal(t.grant.Who)
	if err != nil {
		return err
	}
	sealed, err := f.o.Keys.Seal(PurposeOwner, b, []byte(t.grant.ID))
	t.owner = base64.RawURLEncoding.EncodeToString(sealed)
	return err
}

// Owner opens what own sealed.
func Owner(ring keys.Ring, sealed, grant string) (call.Identity, error) {
	var id call.Identity
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return id, keys.ErrSealed
	}
	b, err := ring.Open(PurposeOwner, raw, []byte(grant))
	if err != nil {
		return id, err
	}
	return id, json.Unmarshal(b, &id)
}

func (f *Face) claims(ctx context.Context, _ *goidc.Token, _ *goidc.Grant) map[string]any {
	return map[string]any{ClaimOwner: turnOf(ctx).owner}
}

func (f *Face) lifetime(ctx context.Context, _ *goidc.Grant, _ *goidc.Client) goidc.TokenOptions {
	life := f.o.AccessToken
	if t := turnOf(ctx); t.grant != nil {
		life = min(life, time.Until(time.Unix(t.grant.Until, 0)))
	}
	return goidc.NewJWTTokenOptions(goidc.SigAlgES256, max(1, int(life/time.Second)))
}
