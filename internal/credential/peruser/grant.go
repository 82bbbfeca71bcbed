package peruser

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// grant is one grant as it is kept: sealed, since it holds the refresh token.
type grant struct {
	ID        string    `json:"id"` // another after each consent
	Owner     owner     `json:"owner"`
	Server    string    `json:"server"`
	ServerURL string    `json:"server_url"`
	Issuer    string    `json:"issuer"` // the authorization server
	Resource  string    `json:"resource"`
	Client    client    `json:"as_client"`
	Key       []byte    `json:"key,omitempty"` // tokens are bound to it
	Requested []string  `json:"requested"`
	Granted   []string  `json:"granted"`
	Refresh   string    `json:"refresh,omitempty"`
	Since     time.Time `json:"since"`
	Expires   time.Time `json:"expires"`
	// Lease is held by the one that uses the refresh token now.
	Lease string    `json:"lease,omitempty"`
	Until time.Time `json:"until"`
	// Steps counts how often it was widened within a day of Stepped.
	Steps   int       `json:"steps,omitempty"`
	Stepped time.Time `json:"stepped"`
	// Ended marks a grant that is over; it is kept for a moment so that nobody
	// puts it back.
	Ended bool `json:"ended,omitempty"`
}

const (
	// leaseTime is longer than a refresh can take.
	leaseTime = 45 * time.Second
	// tryTime is how long a refresh that failed is not tried again.
	tryTime = 5 * time.Second
	// lookTime is how long a grant is believed to be there without looking, and so
	// how long after a withdrawal another process may still use its access token.
	lookTime = 5 * time.Second
	// unknownTime is how long a token is used whose end nobody said.
	unknownTime = time.Hour
	// forceTime is how rarely a token that is still valid is refreshed because the
	// server refused it.
	forceTime = 30 * time.Second
	endedTime = 2 * leaseTime

	maxEntries = 200_000
)

// entry is what is in memory of a grant.
type entry struct {
	mu      sync.Mutex
	grant   string // its ID; empty when there is no token
	token   secret.Value
	key     *proofKey // of a token that is bound to it
	fresh   time.Time // until when it is used without a thought
	expires time.Time
	lasting bool // there is a refresh token
	looked  time.Time
	forced  time.Time
	dead    string // the ID of a grant whose fresh tokens the server refuses
	failed  time.Time
	failure error
	flight  chan struct{} // closed when the one under way has ended
}

func (sh *shared) entry(key string) *entry {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[key]
	if e == nil {
		if len(sh.entries) >= maxEntries {
			sh.evict()
		}
		e = &entry{}
		sh.entries[key] = e
	}
	return e
}

// evict lets go of what is expired, or else of anything that rests: a lasting
// grant is only refreshed once more.
func (sh *shared) evict() {
	now := time.Now()
	for _, all := range []bool{false, true} {
		for k, e := range sh.entries {
			if !e.mu.TryLock() {
				continue
			}
			if e.flight == nil && (all || now.After(e.expires)) {
				delete(sh.entries, k)
			}
			e.mu.Unlock()
			if all && len(sh.entries) < maxEntries*9/10 {
				return
			}
		}
		if len(sh.entries) < maxEntries {
			return
		}
	}
}

// take puts a new token into memory. The caller holds e.mu.
func (e *entry) take(g *grant, key *proofKey, a answer) {
	now := time.Now()
	e.grant, e.token, e.lasting, e.looked = g.ID, a.access, g.Refresh != "", now
	if e.key = nil; a.bound {
		e.key = key
	}
	e.failed, e.failure = time.Time{}, nil
	if e.expires = a.expires; e.expires.IsZero() {
		e.expires = now.Add(unknownTime)
	}
	// Refreshed in the last fifth of its life, at most five minutes ahead.
	ahead := min(e.expires.Sub(now)/5, 5*time.Minute)
	e.fresh = e.expires.Add(-ahead)
}

func (e *entry) drop() {
	e.key = nil
	e.grant, e.token, e.expires, e.fresh, e.looked = "", secret.Value{}, time.Time{}, time.Time{}, time.Time{}
}

var errNoGrantYet = errors.New("there is no grant yet")

// held is an access token and, where it is bound to one, its key.
type held struct {
	token secret.Value
	bound bool
}

// token returns the access token of a grant. The error is errNoGrantYet or has
// credential.ErrUnavailable in its chain.
func (g *Grants) token(ctx context.Context, s *server, key string) (held, error) {
	e := g.shared.entry(key)
	for {
		e.mu.Lock()
		now := time.Now()
		valid := e.grant != "" && now.Before(e.expires)
		if valid && now.Sub(e.looked) < lookTime && (now.Before(e.fresh) || !e.lasting || now.Sub(e.failed) < tryTime) {
			defer e.mu.Unlock()
			return held{e.token, e.key != nil}, nil
		}
		if !valid && e.failure != nil && now.Sub(e.failed) < tryTime {
			defer e.mu.Unlock()
			return held{}, e.failure
		}
		if e.flight == nil {
			e.flight = make(chan struct{})
			g.shared.flights.Go(func() { g.fly(ctx, s, key, e) })
		}
		flight := e.flight
		if valid && now.Sub(e.looked) < lookTime {
			// Only ahead of its end: nobody waits for that.
			defer e.mu.Unlock()
			return held{e.token, e.key != nil}, nil
		}
		e.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return held{}, ctx.Err()
		}
		e.mu.Lock()
		now = time.Now()
		switch {
		case e.grant != "" && now.Before(e.expires) && now.Sub(e.looked) < lookTime:
			defer e.mu.Unlock()
			return held{e.token, e.key != nil}, nil
		case e.failure != nil && now.Sub(e.failed) < tryTime:
			defer e.mu.Unlock()
			return held{}, e.failure
		case e.flight == nil && e.grant == "":
			defer e.mu.Unlock()
			return held{}, errNoGrantYet
		}
		e.mu.Unlock()
	}
}

// fly is the one look at the store, and the one refresh, for all that wait.
func (g *Grants) fly(ctx context.Context, s *server, key string, e *entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*leaseTime)
	defer cancel()
	err := g.obtain(ctx, s, key, e)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case errors.Is(err, errNoGrantYet):
		e.drop()
		e.failure = nil
	case err != nil:
		e.failed, e.failure = time.Now(), unavailable(err)
		if e.grant != "" {
			e.looked = time.Now() // the token that is there serves until its end
		}
		g.log.Warn("the token of a grant could not be renewed", slog.String("server", s.Name), slog.Any("err", err))
	}
	close(e.flight)
	e.flight = nil
}

// obtain makes the entry hold a token of the grant that the store has.
func (g *Grants) obtain(ctx context.Context, s *server, key string, e *entry) error {
	for n := 0; ; n++ {
		var kept grant
		version, err := g.kept.get(ctx, key, &kept)
		if errors.Is(err, store.ErrNotFound) || err == nil && kept.Ended {
			return errNoGrantYet
		}
		if err != nil {
			return err
		}
		fits, err := g.fits(ctx, s, &kept)
		if err != nil {
			return err
		}
		if !fits {
			return errNoGrantYet
		}
		now := time.Now()
		e.mu.Lock()
		if e.dead == kept.ID {
			e.mu.Unlock()
			return errNoGrantYet
		}
		if e.grant != kept.ID {
			e.drop() // of an earlier consent
		}
		if e.grant != "" {
			e.looked = now
		}
		usable := e.grant != "" && now.Before(e.expires)
		done := usable && (now.Before(e.fresh) || kept.Refresh == "")
		e.mu.Unlock()
		switch {
		case done:
			return nil
		case kept.Refresh == "":
			return errNoGrantYet
		case kept.Lease != "" && now.Before(kept.Until):
			// Another process uses the refresh token now.
			if err := pause(ctx, min(time.Duration(n+1)*100*time.Millisecond, time.Second)); err != nil {
				return err
			}
			continue
		}
		kept.Lease, kept.Until = rand.Text(), now.Add(leaseTime)
		ok, err := g.kept.swap(ctx, key, version, kept, kept.Expires)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		again, err := g.renew(ctx, s, key, kept, e)
		if err != nil || !again {
			return err
		}
	}
}

// fits reports that a grant is for the server as it is configured now, and from
// the authorization server that it is tied to now.
func (g *Grants) fits(ctx context.Context, s *server, k *grant) (bool, error) {
	if k.ServerURL != s.URL || s.ClientID != "" && k.Client.ID != s.ClientID || s.Resource != "" && k.Resource != s.Resource {
		return false, nil
	}
	if s.AuthorizationServer != "" {
		return k.Issuer == s.AuthorizationServer, nil
	}
	var held pin
	_, err := g.pins.get(ctx, s.pinKey(), &held)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return held.Issuer == k.Issuer, err
}

// renew uses the refresh token, whose lease the caller has, and puts down its
// successor before anything uses the access token. again reports that somebody
// else was faster.
func (g *Grants) renew(ctx context.Context, s *server, key string, k grant, e *entry) (again bool, err error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, leaseTime-5*time.Second)
	defer cancel()
	m, err := g.issuer(ctx, s, k.Issuer)
	if err != nil {
		return false, errors.Join(err, g.unlease(whole, key, k))
	}
	proof, err := readProofKey(k.Key)
	if err != nil {
		return false, errors.Join(err, g.unlease(whole, key, k))
	}
	form := func() url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {k.Refresh}, "resource": {k.Resource}}
	}
	a, err := g.tokens(ctx, s, m, k.Client, proof, form())
	if errors.Is(err, errLost) && ctx.Err() == nil {
		// The answer may have been a new refresh token. Servers that rotate them
		// take the old one once more for a moment.
		a, err = g.tokens(ctx, s, m, k.Client, proof, form())
	}
	var no *denial
	switch {
	case errors.As(err, &no) && slices.Contains([]string{"invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_target"}, no.code):
		return g.end(ctx, key, k, no)
	case errors.As(err, &no) && no.code == "invalid_client" && k.Client.Registered != "":
		if _, err := g.clients.kv.Delete(ctx, k.Client.Registered); err != nil {
			return false, err
		}
		return g.end(ctx, key, k, no)
	case err != nil:
		return false, errors.Join(err, g.unlease(whole, key, k))
	}
	next := k
	next.Lease, next.Until = "", time.Time{}
	if !a.refresh.IsZero() {
		next.Refresh = a.refresh.Reveal()
	}
	if a.scopes != nil {
		next.Granted = a.scopes
	}
	kept, err := g.putNext(whole, key, k, next)
	if err != nil {
		return false, err
	}
	if !kept {
		// It was withdrawn, or replaced by a new consent, meanwhile.
		g.revoke(ctx, s, k.Issuer, k.Client, next.Refresh, "refresh_token")
		return true, nil
	}
	if err := s.aimed(k.Resource, a); err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.take(&next, proof, a)
	return false, nil
}

// putNext replaces k by next, while the grant is still that of k. It tries for
// as long as it may: what is lost here is the grant.
func (g *Grants) putNext(ctx context.Context, key string, k, next grant) (bool, error) {
	for n := 0; ; n++ {
		var now grant
		version, err := g.kept.get(ctx, key, &now)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return false, nil
		case err == nil && (now.Ended || now.ID != k.ID || now.Refresh != k.Refresh):
			return false, nil
		case err == nil:
			var ok bool
			if ok, err = g.kept.swap(ctx, key, version, next, next.Expires); ok {
				return true, nil
			}
		}
		if err != nil && n > 4 {
			return false, fmt.Errorf("the next refresh token cannot be kept: %w", err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
}

// unlease lets others try, after a failure that says nothing of the grant.
func (g *Grants) unlease(ctx context.Context, key string, k grant) error {
	next := k
	next.Lease, next.Until = "", time.Time{}
	_, err := g.putNext(ctx, key, k, next)
	return err
}

// end ends a grant that its authorization server ended, unless another process
// has a newer refresh token.
func (g *Grants) end(ctx context.Context, key string, k grant, why *denial) (again bool, err error) {
	ended := k
	ended.Refresh, ended.Ended, ended.Lease = "", true, ""
	for {
		var now grant
		version, err := g.kept.get(ctx, key, &now)
		if errors.Is(err, store.ErrNotFound) {
			return false, errNoGrantYet
		}
		if err != nil {
			return false, err
		}
		if now.Ended || now.ID != k.ID || now.Refresh != k.Refresh {
			return true, nil
		}
		ok, err := g.kept.swap(ctx, key, version, ended, time.Now().Add(endedTime))
		if err != nil {
			return false, err
		}
		if ok {
			g.log.Info("a grant ended", slog.String("server", k.Server), slog.String("answer", why.code))
			if err := g.record(ctx, k.event(ReasonEnded, false)); err != nil {
				return false, err
			}
			return false, errNoGrantYet
		}
	}
}

func (k *grant) event(reason string, allowed bool) Event {
	return Event{Reason: reason, Allowed: allowed, Server: k.Server, Person: k.Owner.String(), Client: k.Owner.Client, Issuer: k.Issuer, Scopes: k.Granted}
}

func (k *grant) given() credential.Given {
	return credential.Given{Server: k.Server, Client: k.Owner.Client, Issuer: k.Issuer, Scopes: k.Granted, Since: k.Since, Expires: k.Expires, Lasting: k.Refresh != ""}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
