package peruser

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// The states of a link.
const (
	linkOpen    = "open"
	linkStarted = "started"
	linkGiven   = "given"
	linkRefused = "refused"
)

// link is one request to a person.
type link struct {
	Owner     owner     `json:"owner"`
	Server    string    `json:"server"`
	ServerURL string    `json:"server_url"`
	Issuer    string    `json:"issuer"`
	Resource  string    `json:"resource"`
	Scopes    []string  `json:"scopes"`
	Widens    []string  `json:"widens,omitempty"`
	State     string    `json:"state"`
	Expires   time.Time `json:"expires"`
}

// flow is what is known of an authorization request until its answer comes. It
// holds the verifier.
type flow struct {
	Link     string    `json:"link"`
	Issuer   string    `json:"issuer"`
	ISS      bool      `json:"iss"` // the authorization server says that it names itself
	Token    string    `json:"token"`
	Client   client    `json:"client"`
	Redirect string    `json:"redirect"`
	Verifier string    `json:"verifier"`
	Key      []byte    `json:"key,omitempty"` // what tokens will be bound to
	Expires  time.Time `json:"expires"`
	Of       link      `json:"of"`
}

func linkKey(id string) string     { return store.Key("link", digest(id)) }
func stateKey(state string) string { return store.Key("state", digest(state)) }

// token128 returns 130 random bits as text.
func token128() string { return rand.Text() }

// named reports that s may be what token128 gave.
func named(s string) bool { return len(s) == len(token128()) }

func (l *link) event(reason string, allowed bool) Event {
	return Event{Reason: reason, Allowed: allowed, Server: l.Server, Person: l.Owner.String(), Client: l.Owner.Client, Issuer: l.Issuer, Scopes: l.Scopes}
}

func (g *Grants) newLink(ctx context.Context, l *link) (string, error) {
	id := token128()
	l.State, l.Expires = linkOpen, time.Now().Add(LinkTime)
	ok, err := g.links.put(ctx, linkKey(id), l, l.Expires)
	if err == nil && !ok {
		err = errors.New("a random number came twice")
	}
	return id, err
}

// mine reads a link that p may see. Somebody else's is ErrNoGrant, as is one
// that is not there, and goes on the record.
func (g *Grants) mine(ctx context.Context, id string, p call.Principal) (link, store.Version, error) {
	var l link
	if !p.Valid() || !named(id) {
		return l, 0, credential.ErrNoGrant
	}
	version, err := g.links.get(ctx, linkKey(id), &l)
	if errors.Is(err, store.ErrNotFound) {
		return l, 0, credential.ErrNoGrant
	}
	if err != nil {
		return l, 0, unavailable(err)
	}
	if !l.Owner.same(p) {
		e := l.event(ReasonMisused, false)
		e.Person = p.String()
		return link{}, 0, errors.Join(credential.ErrNoGrant, g.record(ctx, e))
	}
	if l.State != linkOpen || time.Now().After(l.Expires) {
		return l, version, credential.ErrNoGrant
	}
	return l, version, nil
}

// Pending implements credential.Grants.
func (g *Grants) Pending(ctx context.Context, id string, p call.Principal) (credential.Asked, error) {
	l, _, err := g.mine(ctx, id, p)
	if err != nil {
		return credential.Asked{}, err
	}
	if s := g.servers[l.Server]; s == nil || s.URL != l.ServerURL {
		return credential.Asked{}, credential.ErrNoGrant
	}
	at, _, _ := strings.Cut(l.ServerURL, "?")
	return credential.Asked{ID: id, Server: l.Server, ServerURL: at, Client: l.Owner.Client, Issuer: l.Issuer,
		Scopes: l.Scopes, Widens: l.Widens, Expires: l.Expires}, nil
}

// Start implements credential.Grants.
func (g *Grants) Start(ctx context.Context, id string, p call.Principal) (string, error) {
	l, version, err := g.mine(ctx, id, p)
	if err != nil {
		return "", err
	}
	s := g.servers[l.Server]
	if s == nil || s.URL != l.ServerURL {
		return "", credential.ErrNoGrant
	}
	m, err := g.issuer(ctx, s, l.Issuer)
	if err != nil {
		return "", unavailable(err)
	}
	c, err := g.introduce(ctx, s, m)
	if err != nil {
		return "", unavailable(err)
	}
	state, verifier := token128(), token128()+token128() // 52 characters, RFC 7636 4.1
	f := flow{Link: id, Issuer: m.issuer, ISS: m.iss, Token: m.token.String(), Client: c, Redirect: g.base + credential.GrantCallback,
		Verifier: verifier, Expires: time.Now().Add(LinkTime), Of: l}
	var proof *proofKey
	if m.dpop {
		if proof, err = newProofKey(); err != nil {
			return "", err
		}
		f.Key = proof.raw
	}
	// The link lasts as long as the way it opens, so that who waits is told.
	l.State, l.Expires = linkStarted, f.Expires
	ok, err := g.links.swap(ctx, linkKey(id), version, l, l.Expires)
	if err != nil {
		return "", unavailable(err)
	}
	if !ok {
		return "", credential.ErrNoGrant // started elsewhere at the same moment
	}
	if err := g.record(ctx, l.event(ReasonStarted, true)); err != nil {
		return "", unavailable(err)
	}
	if ok, err = g.links.put(ctx, stateKey(state), f, f.Expires); err != nil || !ok {
		return "", unavailable(cmp.Or(err, errors.New("a random number came twice")))
	}
	challenge := sha256.Sum256([]byte(verifier))
	u := *m.authorize
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": c.ID, "redirect_uri": f.Redirect, "state": state, "resource": l.Resource,
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	q.Del("scope")
	if len(l.Scopes) > 0 {
		q.Set("scope", strings.Join(l.Scopes, " "))
	}
	if q.Del("dpop_jkt"); proof != nil {
		q.Set("dpop_jkt", proof.thumb) // RFC 9449 10
	}
	if slices.Contains(l.Scopes, offline) {
		q.Set("prompt", "consent") // OpenID Connect Core 11
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Finish implements credential.Grants.
func (g *Grants) Finish(ctx context.Context, query url.Values, p call.Principal) (credential.Given, error) {
	none := credential.Given{}
	state, ok := once(query, "state")
	if !ok || !named(state) || !p.Valid() {
		return none, credential.ErrNoGrant
	}
	var f flow
	_, err := g.links.get(ctx, stateKey(state), &f)
	if errors.Is(err, store.ErrNotFound) {
		return none, credential.ErrNoGrant
	}
	if err != nil {
		return none, unavailable(err)
	}
	l := f.Of
	if !l.Owner.same(p) {
		// The state stays: ending it would be a weapon.
		e := l.event(ReasonMisused, false)
		e.Person = p.String()
		return none, errors.Join(credential.ErrNoGrant, g.record(ctx, e))
	}
	if first, err := g.links.kv.Delete(ctx, stateKey(state)); err != nil {
		return none, unavailable(err)
	} else if !first || time.Now().After(f.Expires) {
		return none, credential.ErrNoGrant
	}
	given, err := g.redeem(ctx, query, &f)
	outcome := linkGiven
	if err != nil {
		outcome = linkRefused
	}
	if err := g.settle(context.WithoutCancel(ctx), f.Link, outcome); err != nil {
		g.log.Warn("who waits for a grant cannot be told", slog.String("server", l.Server), slog.Any("err", err))
	}
	return given, err
}

// once returns a parameter that stands once.
func once(q url.Values, name string) (string, bool) {
	if len(q[name]) != 1 {
		return "", false
	}
	return q[name][0], true
}

// redeem judges an answer (RFC 9207 2.4, RFC 6749 4.1.2) and turns its code into
// a grant.
func (g *Grants) redeem(ctx context.Context, q url.Values, f *flow) (credential.Given, error) {
	none, l := credential.Given{}, f.Of
	iss, there := once(q, "iss")
	if len(q["iss"]) > 1 || there && iss != f.Issuer || !there && f.ISS {
		return none, errors.Join(credential.ErrMixedUp, g.record(ctx, l.event(ReasonMixedUp, false)))
	}
	if len(q["error"]) > 0 {
		code, _ := once(q, "error")
		if !errorCode(code) {
			code = "invalid_request"
		}
		return none, errors.Join(&credential.Declined{Server: l.Server, Code: code}, g.record(ctx, l.event(ReasonDeclined, false)))
	}
	code, ok := once(q, "code")
	if !ok || code == "" || len(code) > maxToken {
		return none, credential.ErrNoGrant
	}
	s := g.servers[l.Server]
	if s == nil || s.URL != l.ServerURL || s.AuthorizationServer != "" && s.AuthorizationServer != f.Issuer ||
		s.ClientID != "" && s.ClientID != f.Client.ID {
		return none, credential.ErrNoGrant // the config changed meanwhile
	}
	token, err := s.endpoint(f.Token)
	if err != nil {
		return none, refused("token_endpoint: %w", err)
	}
	// The code goes where the metadata pointed when the person was sent there.
	m := &metadata{issuer: f.Issuer, token: token}
	proof, err := readProofKey(f.Key)
	if err != nil {
		return none, err
	}
	a, err := g.tokens(ctx, s, m, f.Client, proof, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {f.Redirect},
		"code_verifier": {f.Verifier}, "resource": {l.Resource}})
	if err != nil {
		return none, g.unredeemed(ctx, f, err)
	}
	if err := errors.Join(s.aimed(l.Resource, a), g.tie(ctx, s, f.Issuer)); err != nil {
		g.revoke(ctx, s, f.Issuer, f.Client, a.refresh.Reveal(), "refresh_token")
		return none, err
	}
	return g.keep(ctx, f, proof, a)
}

// unredeemed says why a code gave nothing.
func (g *Grants) unredeemed(ctx context.Context, f *flow, err error) error {
	var no *denial
	if !errors.As(err, &no) {
		return unavailable(err)
	}
	if no.code == "invalid_client" && f.Client.Registered != "" {
		if _, err := g.clients.kv.Delete(ctx, f.Client.Registered); err != nil {
			return unavailable(err)
		}
	}
	return errors.Join(&credential.Declined{Server: f.Of.Server, Code: no.code}, g.record(ctx, f.Of.event(ReasonDeclined, false)))
}

// tie pins the authorization server of a server with the first grant. One that
// is tied to another already stays so.
func (g *Grants) tie(ctx context.Context, s *server, issuer string) error {
	if s.AuthorizationServer != "" {
		return nil
	}
	if ok, err := g.pins.put(ctx, s.pinKey(), pin{Issuer: issuer}, time.Time{}); err != nil {
		return unavailable(err)
	} else if ok {
		return nil
	}
	var held pin
	if _, err := g.pins.get(ctx, s.pinKey(), &held); err != nil {
		return unavailable(err)
	}
	if held.Issuer != issuer {
		return refused("%w: `munjigi servers approve %s` accepts that", errMoved, s.Name)
	}
	return nil
}

// keep stores a new grant in place of an earlier one.
func (g *Grants) keep(ctx context.Context, f *flow, proof *proofKey, a answer) (credential.Given, error) {
	l, now := f.Of, time.Now()
	k := grant{ID: token128(), Owner: l.Owner, Server: l.Server, ServerURL: l.ServerURL, Issuer: f.Issuer, Resource: l.Resource, Client: f.Client, Key: f.Key,
		Requested: l.Scopes, Granted: a.scopes, Refresh: a.refresh.Reveal(), Since: now, Expires: now.Add(GrantTime)}
	if k.Granted == nil {
		k.Granted = l.Scopes
	}
	if k.Refresh == "" {
		end := a.expires
		if end.IsZero() {
			end = now.Add(unknownTime)
		}
		if !end.After(now) {
			return credential.Given{}, refused("the token endpoint gave a token that has ended already, and no refresh token")
		}
		k.Expires = end
	}
	// First the record, then the token: what is used was recorded.
	if err := g.record(ctx, k.event(ReasonGiven, true)); err != nil {
		return credential.Given{}, unavailable(err)
	}
	key := grantKey(l.Owner, l.Server)
	for n := 0; ; n++ {
		var old grant
		version, err := g.kept.get(ctx, key, &old)
		var ok bool
		switch {
		case errors.Is(err, store.ErrNotFound):
			ok, err = g.kept.put(ctx, key, k, k.Expires)
		case err == nil:
			if !old.Ended {
				k.Steps, k.Stepped = steps(&old, len(l.Widens) > 0)
			}
			ok, err = g.kept.swap(ctx, key, version, k, k.Expires)
		}
		if ok {
			break
		}
		if n == 9 {
			return credential.Given{}, unavailable(fmt.Errorf("the grant cannot be kept: %w", cmp.Or(err, errors.New("it changes all the time"))))
		}
	}
	e := g.shared.entry(key)
	e.mu.Lock()
	e.take(&k, proof, a)
	e.dead, e.forced = "", time.Time{}
	e.mu.Unlock()
	return k.given(), nil
}

// steps counts one more widening, within a day of the first.
func steps(old *grant, wider bool) (int, time.Time) {
	n, since := old.Steps, old.Stepped
	if time.Since(since) > stepsTime {
		n, since = 0, time.Now()
	}
	if wider {
		n++
	}
	return n, since
}

// settle marks how a link ended and wakes who waits.
func (g *Grants) settle(ctx context.Context, id, outcome string) error {
	for {
		var l link
		version, err := g.links.get(ctx, linkKey(id), &l)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return unavailable(err)
		}
		l.State = outcome
		ok, err := g.links.swap(ctx, linkKey(id), version, l, l.Expires)
		if err != nil {
			return unavailable(err)
		}
		if ok {
			break
		}
	}
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	for _, ch := range g.shared.waiting[id] {
		close(ch)
	}
	delete(g.shared.waiting, id)
	return nil
}

// waitTime is how often a link is looked at that another process may finish.
const waitTime = 2 * time.Second

// wait implements credential.GrantNeeded.Wait.
func (g *Grants) wait(ctx context.Context, id string) error {
	for {
		over, err := g.lookOrWait(ctx, id)
		if over || err != nil {
			return err
		}
	}
}

func (g *Grants) lookOrWait(ctx context.Context, id string) (over bool, err error) {
	woken := g.shared.watch(id) // before the look, so that nothing falls between
	defer g.shared.unwatch(id, woken)
	var l link
	_, err = g.links.get(ctx, linkKey(id), &l)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, fmt.Errorf("%w: the link ran out", credential.ErrRefused)
	case err != nil:
		return true, unavailable(err)
	case l.State == linkGiven:
		return true, nil
	case l.State == linkRefused:
		return true, fmt.Errorf("%w: nothing was granted", credential.ErrRefused)
	}
	t := time.NewTimer(waitTime)
	defer t.Stop()
	select {
	case <-woken:
	case <-t.C:
	case <-ctx.Done():
	}
	return false, ctx.Err()
}

func (sh *shared) watch(id string) chan struct{} {
	ch := make(chan struct{})
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.waiting[id] = append(sh.waiting[id], ch)
	return ch
}

func (sh *shared) unwatch(id string, ch chan struct{}) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	list := slices.DeleteFunc(sh.waiting[id], func(c chan struct{}) bool { return c == ch })
	if sh.waiting[id] = list; len(list) == 0 {
		delete(sh.waiting, id)
	}
}
