// Package introspect authenticates callers by asking the issuer about their
// token (RFC 7662): opaque tokens, in which there is nothing to verify, and on
// wish also JWTs that were verified before, so that revocation is seen.
//
// Threat: an answer about a token of another resource that is taken for one of
// this (token information without its audience); a refresh token in the place of
// an access token; a token that was taken back and lives on in a cache; a
// stranger who sends tokens without end, so that the issuer falls over, or the
// gateway waits for it, or its memory fills; an issuer that does not answer and
// is taken to have said yes.
//
// It guarantees that a principal comes only from an answer of the configured
// endpoint that says active, names this issuer if it names one, a subject, a
// client and the very resource that was called as audience, and is in force; that
// an answer is used no longer than the configured time, and never past the
// token's end; that one token is asked about once at a time, however many
// requests carry it; that what one address can make us ask is bounded; and that
// without an answer nobody is let in. Tokens are kept in memory only, by digest,
// beside their text while they are good; they appear in no error and no log.
//
// A token that the issuer takes back lives on for as long as an answer holds. An
// issuer that says active of a token that it gave to another resource, and names
// this one, is believed.
package introspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds and defaults.
const (
	DefaultCache = 30 * time.Second
	MaxCache     = 5 * time.Minute
	// NegativeCache is how long a no holds.
	NegativeCache = 10 * time.Second
	// AskTimeout bounds one question with everything that it needs.
	AskTimeout = 10 * time.Second
	// RetryEvery is the pause after a question that got no answer.
	RetryEvery = time.Second

	maxToken    = 8 << 10
	maxSkew     = 5 * time.Minute
	defaultSkew = 60 * time.Second
	atOnce      = 32
	mostWaiting = 512 // questions about tokens that nobody saw before
	// A peer may bring this many tokens that nobody saw before.
	newPerSecond, newAtOnce, peers = 20, 100, 10_000
)

// Options configure an Introspector of one issuer.
type Options struct {
	// Issuer is the exact value of iss.
	Issuer string
	// Endpoint is where it is asked; empty is what its metadata names.
	Endpoint string
	// Prove puts the gateway's client authentication (RFC 6749 2.3) into a
	// question.
	Prove func(ctx context.Context, form url.Values, h http.Header) error
	// Client reaches the issuer: egress.Client without redirects.
	Client *http.Client
	// Resources is every resource by its URL. Others are refused.
	Resources map[string]authn.Resource
	// Cache is how long an answer holds; 0 is DefaultCache.
	Cache time.Duration
	// ClockSkew is how far clocks may differ; 0 is a minute.
	ClockSkew time.Duration
	// MaxLifetime bounds exp-iat where both are told; 0 does not.
	MaxLifetime time.Duration
	// Groups, Roles and Tenant name claims of an answer; empty means groups,
	// roles and none.
	Groups, Roles, Tenant string
	// Implied are the scopes that a broader one of this issuer contains.
	Implied map[string][]string
	// Revoked, Ended and Confirm are as in the verifier of JWTs: asked at each
	// request.
	Revoked func(proof string) bool
	Ended   func(id call.Identity) bool
	Confirm func(ctx context.Context, r authn.Request, scheme, token string, p call.Principal) error
	// Entries and Bytes bound what is remembered; 0 means 10,000 and 32 MiB.
	Entries, Bytes int
	// Keep is the introspector of the config before. If it asked the same
	// endpoint as the same client, its answers are taken over.
	Keep *Introspector
	// Identity names endpoint, client and way of proof, for Keep.
	Identity string
	Log      *slog.Logger
}

// Introspector authenticates by introspection. Make it with New; the zero value
// refuses.
type Introspector struct {
	o         Options
	resources *authn.Resources
	skew      int64
	cache     *cache
	fresh     *limit.Keyed
	places    chan struct{}

	mu      sync.Mutex
	flights map[[32]byte]*flight
	quiet   time.Time // no questions before
	found   string    // the endpoint, once discovered
	until   time.Time
}

// flight is one question that is under way.
type flight struct {
	done chan struct{}
	got  *answer
	err  error
}

var _ authn.Authenticator = (*Introspector)(nil)

// New judges the options. Nothing is fetched yet.
func New(o Options) (*Introspector, error) {
	var errs []error
	if u, err := egress.CheckURL(o.Issuer, egress.Rules{PlainLoopback: true}); err != nil {
		errs = append(errs, err)
	} else if u.RawQuery != "" || u.ForceQuery {
		errs = append(errs, errors.New("an issuer has no query; write it exactly as the provider's metadata does"))
	}
	if o.Endpoint != "" {
		if _, err := egress.CheckURL(o.Endpoint, egress.Rules{PlainLoopback: true}); err != nil {
			errs = append(errs, fmt.Errorf("the endpoint: %w", err))
		}
	}
	if o.Client == nil || o.Client.Transport == nil || o.Prove == nil || o.Revoked == nil {
		errs = append(errs, errors.New("a client, its authentication, or whoever knows what was revoked is missing"))
	}
	if o.Cache < 0 || o.Cache > MaxCache {
		errs = append(errs, fmt.Errorf("an answer may hold for %v at most", MaxCache))
	}
	if o.ClockSkew < 0 || o.ClockSkew > maxSkew {
		errs = append(errs, fmt.Errorf("clocks may differ by %v at most", maxSkew))
	}
	resources, err := authn.JudgeResources(o.Resources)
	errs = append(errs, err, authn.CheckImplied(o.Implied))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("introspection at %s: %w", o.Issuer, err)
	}
	if o.Cache == 0 {
		o.Cache = DefaultCache
	}
	if o.ClockSkew == 0 {
		o.ClockSkew = defaultSkew
	}
	if o.Groups == "" {
		o.Groups = "groups"
	}
	if o.Roles == "" {
		o.Roles = "roles"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("issuer", o.Issuer)
	i := &Introspector{o: o, resources: resources, skew: int64(o.ClockSkew / time.Second), cache: newCache(o.Entries, o.Bytes),
		fresh: limit.NewKeyed(newPerSecond, newAtOnce, peers), places: make(chan struct{}, atOnce), flights: map[[32]byte]*flight{}}
	if k := o.Keep; k != nil && k.o.Identity == o.Identity && o.Identity != "" {
		i.cache.adopt(k.cache, i.shelfLife)
	}
	i.o.Keep = nil // or every reload would keep all before it
	return i, nil
}

// Authenticate implements authn.Authenticator for opaque tokens.
func (i *Introspector) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	if i.cache == nil {
		return call.Principal{}, refusal(nil, ErrResource)
	}
	res := i.resources.Find(r.Resource)
	if res == nil {
		return call.Principal{}, refusal(nil, ErrResource)
	}
	scheme, token, err := credentials(r.Header["Authorization"], i.o.Confirm != nil)
	if err != nil {
		return call.Principal{}, refusal(res, err)
	}
	a, err := i.know(ctx, token, r.Peer)
	if err != nil {
		return call.Principal{}, refusal(res, err)
	}
	p, err := i.accept(a, res)
	if err != nil {
		return call.Principal{}, refusal(res, err)
	}
	if a.identity.Confirmation.Bound() || strings.EqualFold(scheme, "DPoP") {
		if i.o.Confirm == nil {
			return call.Principal{}, refusal(res, ErrBound)
		}
		if err := i.o.Confirm(ctx, r, scheme, token, p); err != nil {
			return call.Principal{}, err
		}
	}
	i.cache.name(a, a.identity.Proof)
	return p, nil
}

// accept holds an answer against one resource and this moment.
func (i *Introspector) accept(a *answer, res *authn.Protected) (call.Principal, error) {
	switch {
	case a.fault != nil:
		return call.Principal{}, a.fault
	case !res.Accepts(a.audience):
		return call.Principal{}, ErrAudience
	case i.o.Revoked(a.identity.Proof), i.o.Ended != nil && i.o.Ended(a.identity):
		return call.Principal{}, ErrRevoked
	}
	return a.principal, nil
}

// Confirms asks whether a token is still active that another authenticator
// verified for p, and remembers it for Current. The error is a *authn.Refusal.
func (i *Introspector) Confirms(ctx context.Context, r authn.Request, token string, p call.Principal) error {
	res := i.resources.Find(r.Resource)
	if i.cache == nil || res == nil || !p.Valid() {
		return refusal(nil, ErrResource)
	}
	a, err := i.know(ctx, token, r.Peer)
	if err != nil {
		return refusal(res, err)
	}
	if errors.Is(a.fault, ErrIssuer) || errors.Is(a.fault, ErrExpired) {
		return refusal(res, a.fault)
	}
	i.cache.name(a, p.Identity().Proof)
	return nil
}

// Current implements authn.Authenticator: the last answer still holds. One that
// grew old is asked anew in the background; until the answer comes, and for no
// longer than an answer holds, the proof counts.
func (i *Introspector) Current(p call.Principal) bool {
	if i.cache == nil || !p.Valid() {
		return false
	}
	id := p.Identity()
	if i.o.Revoked(id.Proof) || i.o.Ended != nil && i.o.Ended(id) {
		return false
	}
	now := time.Now()
	a := i.cache.named(id.Proof)
	if a == nil || a.expired(now) {
		return false
	}
	if now.Before(a.good) {
		return true
	}
	i.start(a.token, digest(a.token), now)
	return now.Before(a.good.Add(i.o.Cache))
}

// Issuer returns who is asked.
func (i *Introspector) Issuer() string { return i.o.Issuer }

// Forget drops the answers about whom match reports, so that the issuer is asked
// again.
func (i *Introspector) Forget(match func(call.Identity) bool) { i.cache.forget(match) }

// know returns an active answer about a token, asking at most once.
func (i *Introspector) know(ctx context.Context, token, peer string) (*answer, error) {
	d, now := digest(token), time.Now()
	a, no := i.cache.get(d, now)
	if no {
		return nil, ErrInactive
	}
	if a != nil && now.Before(a.good) {
		return a, nil
	}
	if a == nil {
		if waiting, joins := i.underway(d); !joins {
			if ok, _ := i.fresh.Allow(peerOf(peer)); !ok || waiting >= mostWaiting {
				return nil, ErrBusy
			}
		}
	}
	f := i.start(token, d, now)
	if f == nil {
		return nil, ErrProvider
	}
	select {
	case <-f.done:
		return f.got, f.err
	case <-ctx.Done():
		return nil, ErrProvider
	}
}

// underway returns how many questions are, and whether d's is among them.
func (i *Introspector) underway(d [32]byte) (n int, its bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.flights), i.flights[d] != nil
}

// start begins a question or joins the one under way. It returns nil while the
// issuer is left alone because it did not answer.
func (i *Introspector) start(token string, d [32]byte, now time.Time) *flight {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.flights[d]; f != nil {
		return f
	}
	if now.Before(i.quiet) {
		return nil
	}
	f := &flight{done: make(chan struct{}), err: ErrProvider}
	i.flights[d] = f
	go i.fly(f, token, d)
	return f
}

// fly asks once. It belongs to no request: others wait for it too.
func (i *Introspector) fly(f *flight, token string, d [32]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), AskTimeout)
	defer cancel()
	defer func() {
		i.mu.Lock()
		delete(i.flights, d)
		i.mu.Unlock()
		close(f.done)
	}()
	select {
	case i.places <- struct{}{}:
		defer func() { <-i.places }()
	case <-ctx.Done():
		return
	}
	asked := time.Now()
	a, err := i.ask(ctx, token)
	switch {
	case err != nil:
		i.o.Log.Warn("an issuer does not say whether tokens are active", "error", err)
		i.mu.Lock()
		i.quiet = time.Now().Add(RetryEvery)
		i.mu.Unlock()
	case a == nil:
		f.err = ErrInactive
		i.cache.refuse(d, time.Now().Add(NegativeCache))
	default:
		a.token, a.digest, a.asked = token, d, asked
		a.good = i.shelfLife(a)
		i.cache.put(a, time.Now())
		f.got, f.err = a, nil
	}
}

// shelfLife is until when an answer holds.
func (i *Introspector) shelfLife(a *answer) time.Time {
	good := a.asked.Add(i.o.Cache)
	if a.until != 0 && good.After(time.Unix(a.until, 0)) {
		return time.Unix(a.until, 0)
	}
	return good
}

// digest names a token without keeping it.
func digest(token string) [32]byte { return sha256.Sum256([]byte(token)) }
