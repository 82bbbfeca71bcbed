package credential

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Delegated keeps tokens that were made of callers' tokens: by issuer, subject,
// client, rights and the digest of the caller's token, never past that token's
// end, and given out only while the caller's proof holds. Use NewDelegated; the
// zero Delegated refuses.
type Delegated struct {
	issuers []string
	current func(call.Principal) bool
	cache   *oauth.Cache
}

// NewDelegated returns a keeper of at most most tokens (0: 10,000) for callers
// of these issuers (none: of any). current reports that a caller's proof still
// holds.
func NewDelegated(issuers []string, current func(call.Principal) bool, most int) (*Delegated, error) {
	if current == nil {
		return nil, errors.New("to act for a caller, the gateway must know whether the caller's proof still holds")
	}
	if most <= 0 {
		most = 10_000
	}
	return &Delegated{issuers: issuers, current: current, cache: oauth.NewCache(most)}, nil
}

var errEnded = fmt.Errorf("%w: the caller's own token has ended or was revoked", ErrRefused)

// Headers gives the token that is kept for a caller, or that fetch gets.
func (d *Delegated) Headers(ctx context.Context, who Subject, fetch func(context.Context) (oauth.Token, error)) (http.Header, error) {
	k, err := d.admit(who)
	if err != nil {
		return nil, err
	}
	t, err := d.cache.Get(ctx, k, func(ctx context.Context) (oauth.Token, error) {
		t, err := fetch(ctx)
		if err != nil {
			return t, err
		}
		if t.Access.Equal(who.Token) {
			return oauth.Token{}, fmt.Errorf("%w: what came back is the caller's own token", ErrRefused)
		}
		if end := who.Principal.Identity().Expires; end != 0 && time.Unix(end, 0).Before(t.Expires) {
			t.Expires, t.Last = time.Unix(end, 0), true
		}
		return t, nil
	})
	if err != nil {
		return nil, Failed(err)
	}
	if !d.current(who.Principal) {
		d.cache.Forget(k) // it ended while we waited
		return nil, errEnded
	}
	return Bearer(t.Access), nil
}

// Rejected hears what Source.Rejected hears. A token that lacks a scope is not
// replaced: another would lack it too.
func (d *Delegated) Rejected(who Subject, r Rejection) error {
	k, err := d.admit(who)
	if err != nil {
		return err
	}
	if r.Status == http.StatusForbidden {
		return fmt.Errorf("%w: the server wants more scopes than the caller's token was exchanged for", ErrRefused)
	}
	if !r.Again && d.cache.Refused(k, r.SentBearer()) {
		return nil
	}
	return fmt.Errorf("%w: the server does not accept the tokens of its authorization server", ErrRefused)
}

// admit refuses callers for whom nothing may be had, and names what may.
func (d *Delegated) admit(who Subject) (oauth.Key, error) {
	if d == nil || d.cache == nil {
		return oauth.Key{}, ErrNone
	}
	id := who.Principal.Identity()
	switch {
	case !who.Principal.Valid():
		return oauth.Key{}, fmt.Errorf("%w: this server is reached in the name of its callers only", ErrRefused)
	case id.Kind != call.Person && id.Kind != call.Workload, who.Token.IsZero():
		return oauth.Key{}, fmt.Errorf("%w: the caller brought no token of an identity provider", ErrRefused)
	case len(d.issuers) > 0 && !slices.Contains(d.issuers, id.Issuer):
		return oauth.Key{}, fmt.Errorf("%w: tokens of the caller's issuer are not shown to this server's authorization server", ErrRefused)
	}
	// The lengths make the digest injective.
	h := sha256.New()
	for _, part := range []string{who.Principal.CacheKey(), who.Token.Reveal()} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
		h.Write([]byte(part))
	}
	k := oauth.Key(h.Sum(nil))
	if !d.current(who.Principal) {
		d.cache.Forget(k)
		return oauth.Key{}, errEnded
	}
	return k, nil
}
