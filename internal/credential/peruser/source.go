package peruser

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// source is the credential.Source of one server.
type source struct {
	g *Grants
	s *server
}

const (
	maxSteps  = 8
	stepsTime = 24 * time.Hour
)

// The schemes of Authorization, as they stand before a token.
const (
	schemeBearer = "Bearer "
	schemeDPoP   = "DPoP "
)

// Headers gives the caller's access token. Where there is no grant yet it gives
// no header: the server's 401 is what names its authorization server and the
// scopes, and what Rejected turns into a GrantNeeded.
func (c *source) Headers(ctx context.Context, s credential.Subject) (http.Header, error) {
	if err := grantable(s.Principal); err != nil {
		return nil, err
	}
	t, err := c.g.token(ctx, c.s, grantKey(ownerOf(s.Principal), c.s.Name))
	if errors.Is(err, errNoGrantYet) {
		return http.Header{}, nil
	}
	if err != nil {
		return nil, err
	}
	scheme := schemeBearer
	if t.bound {
		scheme = schemeDPoP
	}
	return http.Header{"Authorization": {scheme + t.token.Reveal()}}, nil
}

// grantable refuses who cannot sit before a browser.
func grantable(p call.Principal) error {
	switch {
	case !p.Valid():
		return refused("the server's credential is each person's own, and nobody is calling")
	case p.Identity().Kind == call.Person || p.Identity().Kind == call.Operator:
		return nil
	}
	return refused("the server's credential is each person's own; a %s has none: configure another type of credential for it", p.Identity().Kind)
}

// Rejected refreshes the token that was refused, or asks the person.
func (c *source) Rejected(ctx context.Context, s credential.Subject, r credential.Rejection) error {
	if err := grantable(s.Principal); err != nil {
		return err
	}
	key := grantKey(ownerOf(s.Principal), c.s.Name)
	said := readChallenges(r.Challenges)
	sent := sentToken(r.Sent)
	if r.Status == http.StatusForbidden {
		if said.code != "insufficient_scope" || sent.IsZero() {
			return refused("the server refused the person's token")
		}
		return c.widen(ctx, s.Principal, key, said, sent)
	}
	if said.code == "use_dpop_nonce" && r.Sent.Get("DPoP") != "" && c.g.shared.nonces.put(atServer(c.s), r.Nonce) {
		return nil
	}
	if !sent.IsZero() {
		if again, err := c.g.replaced(ctx, c.s, key, sent); again || err != nil {
			return err
		}
	}
	if !sent.IsZero() {
		c.g.promises.forget(c.s.promiseKey(said.metadata)) // it may be why the token is refused
	}
	return c.g.ask(ctx, c.s, s.Principal, said, nil)
}

func sentToken(h http.Header) secret.Value {
	_, token, _ := strings.Cut(h.Get("Authorization"), " ")
	return secret.New(token)
}

// replaced reports that there is another token than the one that was refused,
// making one if that is worth a try.
func (g *Grants) replaced(ctx context.Context, s *server, key string, sent secret.Value) (bool, error) {
	e := g.shared.entry(key)
	e.mu.Lock()
	now := time.Now()
	switch {
	case e.grant != "" && !e.token.Equal(sent):
		e.mu.Unlock()
		return true, nil
	case e.grant == "":
		e.mu.Unlock()
		return false, nil // somebody else found the same a moment ago
	case now.Sub(e.forced) < forceTime:
		// A token that was made because another was refused is refused too: it
		// takes the person.
		e.dead = e.grant
		e.drop()
		e.mu.Unlock()
		return false, nil
	}
	e.forced = now
	e.drop()
	e.mu.Unlock()
	_, err := g.token(ctx, s, key)
	if errors.Is(err, errNoGrantYet) {
		return false, nil
	}
	return err == nil, err
}

// widen asks the person for scopes that the server misses (step-up).
func (c *source) widen(ctx context.Context, p call.Principal, key string, said challenge, sent secret.Value) error {
	var k grant
	_, err := c.g.kept.get(ctx, key, &k)
	if errors.Is(err, store.ErrNotFound) || err == nil && k.Ended {
		return c.g.ask(ctx, c.s, p, said, nil)
	}
	if err != nil {
		return unavailable(err)
	}
	e := c.g.shared.entry(key)
	e.mu.Lock()
	newer := e.grant != "" && !e.token.Equal(sent)
	e.mu.Unlock()
	if newer {
		return nil
	}
	if len(said.scopes) == 0 {
		return refused("the server wants more scopes and does not say which")
	}
	if len(beyond(k.Requested, said.scopes)) == 0 {
		return refused("the server refuses the person's token although the scopes that it wants were asked for; withdraw the grant to be asked again")
	}
	if k.Steps >= maxSteps && time.Since(k.Stepped) < stepsTime {
		return refused("the server wanted more scopes %d times within a day", maxSteps)
	}
	return c.g.ask(ctx, c.s, p, said, &k)
}

// ask is one request to a person that is open.
type ask struct {
	id      string
	expires time.Time
	scopes  []string
}

const maxAsks = 8

// ask finds out what the server wants and makes a link for it. Its error is
// never nil. An open link for the same is given again.
func (g *Grants) ask(ctx context.Context, s *server, p call.Principal, said challenge, old *grant) error {
	o := ownerOf(p)
	key := grantKey(o, s.Name)
	promise, err := g.promised(ctx, s, said.metadata)
	if err != nil {
		return unavailable(err)
	}
	issuer, err := g.chosen(ctx, s, promise)
	if err != nil {
		return err
	}
	m, err := g.issuer(ctx, s, issuer)
	if err != nil {
		return unavailable(err)
	}
	l := link{Owner: o, Server: s.Name, ServerURL: s.URL, Issuer: issuer, Resource: promise.resource, Scopes: g.wanted(s, said, promise, m)}
	if old != nil && old.Issuer == issuer {
		l.Scopes = union(old.Requested, l.Scopes)
		l.Widens = beyond(old.Requested, l.Scopes)
	}
	g.shared.mu.Lock()
	open := slices.DeleteFunc(slices.Clone(g.shared.asked[key]), func(a ask) bool { return time.Until(a.expires) < LinkTime/2 })
	g.shared.mu.Unlock()
	for _, a := range open {
		if slices.Equal(a.scopes, l.Scopes) {
			var was link
			if _, err := g.links.get(ctx, linkKey(a.id), &was); err == nil && was.State == linkOpen && was.Issuer == issuer && was.ServerURL == s.URL {
				return g.needed(a.id, s.Name)
			}
		}
	}
	if len(open) >= maxAsks {
		return refused("the server wants other scopes each time; wait a few minutes")
	}
	id, err := g.newLink(ctx, &l)
	if err != nil {
		return unavailable(err)
	}
	g.shared.remember(key, ask{id, l.Expires, l.Scopes})
	if err := g.record(ctx, l.event(ReasonAsked, true)); err != nil {
		return unavailable(err)
	}
	return g.needed(id, s.Name)
}

// remember notes an open link and forgets those that ran out.
func (sh *shared) remember(key string, a ask) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := time.Now()
	if len(sh.asked) >= maxEntries {
		for k, list := range sh.asked {
			if now.After(list[len(list)-1].expires) {
				delete(sh.asked, k)
			}
		}
	}
	list := slices.DeleteFunc(slices.Clone(sh.asked[key]), func(a ask) bool { return now.After(a.expires) })
	sh.asked[key] = append(list, a)
}

// wanted chooses scopes as the specification does ("Scope Selection Strategy"):
// what the challenge names, or else what the operator names, or else all that
// the server's metadata lists. offline_access is added where the authorization
// server has it.
func (g *Grants) wanted(s *server, said challenge, p *promise, m *metadata) []string {
	list := said.scopes
	if len(list) == 0 {
		list = s.Scopes
	}
	if len(list) == 0 && p.scoped {
		list = p.scopes
	}
	list = slices.DeleteFunc(cleanScopes(list), func(scope string) bool { return scope == offline })
	if slices.Contains(m.scopes, offline) {
		list = append(list, offline)
	}
	return list
}

func (g *Grants) needed(id, server string) error {
	return &credential.GrantNeeded{
		Server: server, ID: id, URL: g.base + credential.GrantPage + "?id=" + id,
		Wait: func(ctx context.Context) error { return g.wait(ctx, id) },
	}
}
