package peruser

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// Given implements credential.Grants.
func (g *Grants) Given(ctx context.Context, p call.Principal) ([]credential.Given, error) {
	if !p.Valid() {
		return nil, credential.ErrNoGrant
	}
	var out []credential.Given
	var failed error
	id := p.Identity()
	err := g.kept.kv.Scan(ctx, personKey(id.Issuer, id.Subject), func(e store.Entry) bool {
		var k grant
		if failed = g.kept.open(e, &k); failed != nil {
			return false
		}
		if !k.Ended && k.Owner.same(p) {
			out = append(out, k.given())
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, unavailable(err)
	}
	slices.SortFunc(out, func(a, b credential.Given) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Client, b.Client))
	})
	return out, nil
}

// Withdraw implements credential.Grants.
func (g *Grants) Withdraw(ctx context.Context, p call.Principal, clientName, serverName string) (bool, error) {
	if !p.Valid() {
		return false, credential.ErrNoGrant
	}
	id := p.Identity()
	key := grantKey(owner{Issuer: id.Issuer, Subject: id.Subject, Client: clientName}, serverName)
	var k grant
	for {
		version, err := g.kept.get(ctx, key, &k)
		if errors.Is(err, store.ErrNotFound) || err == nil && (k.Ended || !k.Owner.same(p)) {
			return false, credential.ErrNoGrant
		}
		if err != nil {
			return false, unavailable(err)
		}
		ended := k
		ended.Refresh, ended.Ended, ended.Lease = "", true, ""
		ok, err := g.kept.swap(ctx, key, version, ended, time.Now().Add(endedTime))
		if err != nil {
			return false, unavailable(err)
		}
		if ok {
			break
		}
	}
	e := g.shared.entry(key)
	e.mu.Lock()
	token, hint := k.Refresh, "refresh_token"
	if token == "" && e.grant == k.ID {
		token, hint = e.token.Reveal(), "access_token"
	}
	e.drop()
	e.mu.Unlock()
	if err := g.record(ctx, k.event(ReasonWithdrawn, true)); err != nil {
		return false, unavailable(err)
	}
	s := g.servers[serverName]
	if s != nil && s.URL != k.ServerURL {
		s = nil
	}
	return g.revoke(ctx, s, k.Issuer, k.Client, token, hint), nil
}
