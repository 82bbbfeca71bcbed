// Package jwt authenticates callers by access tokens that identity providers
// signed (RFC 9068, and what well-known providers send in its place).
//
// Threat: a token that was made for somebody else: for another resource, by
// another issuer, with an algorithm or a key of the attacker's choice, or long
// ago; an ID token in the place of an access token; a stranger who makes the
// gateway fetch keys until it or the provider falls over; a token that stays
// good after it was taken back.
//
// It guarantees that a principal comes only from a compact JWS whose signature
// was verified by a key that the configured issuer publishes, with an allowed
// algorithm that fits the key, whose audience is exactly the resource that was
// called, and which is in force now and not revoked as far as the gateway was
// told. All of it is asked again at each request; what is remembered is only
// that the signature was good. Tokens are not stored and appear in no error and
// in no log. A token that is bound to a key is refused unless something checks
// that key.
//
// It does not learn of revocations by itself: an outside token that nobody
// reports as ended is good until it expires, which is why long lifetimes are
// refused. A key that a provider withdraws is withdrawn here at the next
// refresh. Signatures are the work of go-jose; there is no cryptography here.
package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

// Defaults and bounds of an issuer.
const (
	DefaultSkew     = 60 * time.Second
	MaxSkew         = 5 * time.Minute
	DefaultLifetime = 90 * time.Minute
	// LongestLifetime is what an issuer may be allowed that tells us of ended
	// sessions and revoked tokens.
	LongestLifetime = 48 * time.Hour
	maxToken        = 16 << 10
)

// Issuer is one authorization server whose tokens are accepted.
type Issuer struct {
	// Issuer is the exact value of iss: an https URL, or http to a loopback
	// host that the client's rules open.
	Issuer string
	// JWKSURI names the key set and turns discovery off.
	JWKSURI string
	// Provider is the recipe; empty is Generic.
	Provider Provider
	// Algorithms is the allow-list; nil means RS, PS and ES with SHA-2, and
	// EdDSA.
	Algorithms []string
	// Types are the accepted values of the header's typ, "" for none; nil
	// means the recipe's.
	Types []string
	// ClockSkew is how far clocks may differ; 0 means DefaultSkew.
	ClockSkew time.Duration
	// MaxLifetime bounds exp-iat; 0 means the recipe's, which is 90 minutes. More
	// needs Ends.
	MaxLifetime time.Duration
	// Ends says that revocation reaches us before expiry: by introspection,
	// back-channel logout or continuous evaluation.
	Ends bool
	// LogoutClients are the audiences of its logout tokens; without them it
	// tells of no logouts.
	LogoutClients []string
	// Groups, Roles and Tenant name top-level claims; empty means the
	// recipe's.
	Groups, Roles, Tenant string
	// Implied are the scopes that a broader one of this issuer contains.
	Implied map[string][]string
	// As is the configured issuer under which principals of this one are
	// known. It is for the two issuers of one Entra tenant.
	As string
	// Own is set for the one issuer that is this gateway itself.
	Own *Own
}

// Options configure a Verifier.
type Options struct {
	Issuers []Issuer
	// Resources is every resource by its URL. Others are refused.
	Resources map[string]authn.Resource
	// Client fetches metadata and keys: egress.Client without redirects.
	Client *http.Client
	// Revoked reports that a proof (call.Identity.Proof) was taken back. It is
	// asked at each request and must answer at once.
	Revoked func(proof string) bool
	// Ended reports that a subject or session was logged out after the proof
	// was issued. It is asked at each request; nil means that nobody says.
	Ended func(id call.Identity) bool
	// Confirm proves possession of the key that a token is bound to. It is
	// asked at each request whose token is bound or comes by the DPoP scheme,
	// and must refuse an unbound token of that scheme. Nil refuses both.
	Confirm func(ctx context.Context, r authn.Request, scheme, token string, p call.Principal) error
	// CacheEntries and CacheBytes bound what is remembered of verified tokens;
	// 0 means 10,000 and 32 MiB.
	CacheEntries, CacheBytes int
	// Keep is the verifier of the config before: its keys are taken over, so
	// that a reload asks no provider.
	Keep *Verifier
	Log  *slog.Logger
}

// issuer is an Issuer that was judged.
type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	types      []string
	skew, life int64 // seconds
	tenant     string
	keys       *keys
}

// Verifier authenticates by JWT. Make it with New; the zero value refuses.
type Verifier struct {
	issuers   map[string]*issuer
	known     map[string]*issuer // by the issuer of principals
	resources *authn.Resources
	revoked   func(string) bool
	ended     func(call.Identity) bool
	confirm   func(context.Context, authn.Request, string, string, call.Principal) error
	cache     *cache
}

var _ authn.Authenticator = (*Verifier)(nil)

// New judges the options and returns a verifier. Nothing is fetched yet. The
// error names every fault at once.
func New(o Options) (*Verifier, error) {
	v := &Verifier{issuers: map[string]*issuer{}, known: map[string]*issuer{},
		revoked: o.Revoked, ended: o.Ended, confirm: o.Confirm, cache: newCache(o.CacheEntries, o.CacheBytes)}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Client == nil || o.Client.Transport == nil {
		errs = append(errs, errors.New("a client for metadata and keys is missing: make one with egress.Client"))
	}
	if o.Revoked == nil {
		errs = append(errs, errors.New("nobody says which tokens were revoked: set Revoked"))
	}
	if len(o.Issuers) == 0 {
		errs = append(errs, errors.New("no issuer is configured: name one under identity.issuers"))
	}
	for _, i := range o.Issuers {
		is, err := i.judge()
		if err == nil && v.issuers[i.Issuer] != nil {
			err = errors.New("it is configured twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("issuer %s: %w", i.Issuer, err))
			continue
		}
		is.keys = newKeys(is, o.Client, o.Log)
		if o.Keep != nil {
			is.keys.adopt(o.Keep.issuers[i.Issuer])
		}
		v.issuers[i.Issuer] = is
	}
	for _, is := range v.issuers {
		if is.Own != nil {
			for _, of := range is.Own.Issuers {
				if v.known[of] == nil {
					v.known[of] = is
				}
			}
			continue
		}
		if is.As == "" {
			v.known[is.Issuer.Issuer] = is
			continue
		}
		if main := v.issuers[is.As]; main == nil || main.As != "" || is.tenant == "" || main.tenant != is.tenant {
			errs = append(errs, fmt.Errorf("issuer %s: its principals are known under another issuer, which must be configured and of the same Entra tenant", is.Issuer.Issuer))
		}
	}
	var err error
	if v.resources, err = authn.JudgeResources(o.Resources); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return v, nil
}

func (i Issuer) judge() (*issuer, error) {
	u, err := egress.CheckURL(i.Issuer, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New("an issuer has no query; write it exactly as the provider's metadata does")
	}
	if i.Own != nil && (!i.Own.good() || i.Provider != "" || i.As != "" || i.JWKSURI != "") {
		return nil, errors.New("the gateway as its own issuer needs keys and owners, and nothing of a provider's")
	}
	if i.JWKSURI != "" {
		if _, err := egress.CheckURL(i.JWKSURI, egress.Rules{PlainLoopback: true}); err != nil {
			return nil, fmt.Errorf("the key set: %w", err)
		}
	}
	r, err := recipeOf(i.Provider)
	if err != nil {
		return nil, err
	}
	is := &issuer{Issuer: i, types: r.types, life: int64(r.lifetime / time.Second), skew: int64(DefaultSkew / time.Second)}
	if is.tenant, err = r.judge(u); err != nil {
		return nil, err
	}
	if i.Types != nil {
		is.types = nil
		for _, t := range i.Types {
			if !slices.Contains([]string{"", "jwt", "at+jwt", "application/at+jwt"}, strings.ToLower(t)) {
				return nil, fmt.Errorf("type %q is not that of an access token: at+jwt, JWT or none", t)
			}
			is.types = append(is.types, strings.ToLower(t))
		}
	}
	if err := authn.CheckImplied(i.Implied); err != nil {
		return nil, err
	}
	if i.ClockSkew < 0 || i.ClockSkew > MaxSkew {
		return nil, fmt.Errorf("clocks may differ by %v at most", MaxSkew)
	} else if i.ClockSkew > 0 {
		is.skew = int64(i.ClockSkew / time.Second)
	}
	switch {
	case i.MaxLifetime < 0 || i.MaxLifetime > LongestLifetime:
		return nil, fmt.Errorf("a token may live for %v at most", LongestLifetime)
	case i.MaxLifetime > r.lifetime && !i.Ends:
		return nil, fmt.Errorf("tokens that live longer than %v need introspection or logout, because nothing else takes them back", r.lifetime)
	case i.MaxLifetime > 0:
		is.life = int64(i.MaxLifetime / time.Second)
	}
	names := i.Algorithms
	if names == nil {
		names = allAlgorithms()
	}
	if len(names) == 0 {
		return nil, errors.New("no algorithm is allowed; name one or leave the key out")
	}
	for _, n := range names {
		if !slices.Contains(allAlgorithms(), n) {
			return nil, fmt.Errorf("algorithm %q is not one of %s", n, strings.Join(allAlgorithms(), ", "))
		}
		is.algorithms = append(is.algorithms, jose.SignatureAlgorithm(n))
	}
	return is, nil
}

// allAlgorithms are those that a public key verifies.
func allAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// Authenticate implements authn.Authenticator.
func (v *Verifier) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	res := v.resources.Find(r.Resource)
	if res == nil {
		return call.Principal{}, refusal(nil, ErrResource)
	}
	hs := r.Header["Authorization"]
	switch len(hs) {
	case 0:
		return call.Principal{}, refusal(res, ErrMissing)
	case 1:
	default:
		return call.Principal{}, refusal(res, ErrHeader)
	}
	scheme, token, ok := strings.Cut(hs[0], " ")
	dpop := ok && strings.EqualFold(scheme, "DPoP") && v.confirm != nil
	if !ok || !dpop && !strings.EqualFold(scheme, "Bearer") {
		return call.Principal{}, refusal(res, ErrHeader)
	}
	p, bound, err := v.verify(ctx, res, r.Resource, token)
	if err != nil {
		return call.Principal{}, refusal(res, err)
	}
	if bound || dpop {
		if v.confirm == nil {
			return call.Principal{}, refusal(res, ErrBound)
		}
		if err := v.confirm(ctx, r, scheme, token, p); err != nil {
			return call.Principal{}, err
		}
	}
	return p, nil
}

// verify judges a token for a resource. What it remembers of a token is only
// that signature and claims were good: time, keys and revocation are asked
// anew.
func (v *Verifier) verify(ctx context.Context, res *authn.Protected, name, token string) (p call.Principal, bound bool, err error) {
	if len(token) > maxToken {
		return call.Principal{}, false, ErrMalformed
	}
	now := time.Now()
	d := digest(name, token)
	e := v.cache.get(d)
	if e == nil || !e.usable(now) {
		if e, err = v.prove(ctx, now, res, name, token); err != nil {
			return call.Principal{}, false, err
		}
		v.cache.put(d, e, now.Unix())
	}
	if v.revoked(e.proof) || v.ended != nil && v.ended(e.principal.Identity()) {
		v.cache.drop(d)
		return call.Principal{}, false, ErrRevoked
	}
	return e.principal, e.bound, nil
}

// prove verifies a token from nothing.
func (v *Verifier) prove(ctx context.Context, now time.Time, res *authn.Protected, name, token string) (*entry, error) {
	t, err := parse(token)
	if err != nil {
		return nil, err
	}
	is := v.issuers[t.issuer]
	if is == nil {
		return nil, ErrIssuer
	}
	if !slices.Contains(is.types, strings.ToLower(t.typ)) {
		return nil, ErrType
	}
	k, err := is.signed(ctx, t, token)
	if err != nil {
		return nil, err
	}
	var id call.Identity
	if is.Own != nil {
		id, err = is.own(t, name, now.Unix())
	} else {
		id, err = is.identify(t, res, now.Unix())
	}
	if err != nil {
		return nil, err
	}
	p := call.NewPrincipal(id)
	if !p.Valid() {
		return nil, ErrClaims
	}
	return &entry{principal: p, proof: id.Proof, bound: id.Confirmation.Bound(), until: id.Expires, key: k, keys: is.keys, size: len(t.payload)}, nil
}

// signed verifies the signature of a token by a key that the issuer publishes
// for the algorithm, which must be allowed.
func (is *issuer) signed(ctx context.Context, t *token, text string) (*key, error) {
	if !slices.Contains(is.algorithms, t.alg) {
		return nil, ErrAlgorithm
	}
	k, err := is.keys.find(ctx, t.kid, t.alg)
	if err != nil {
		return nil, err
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{t.alg})
	if err != nil {
		return nil, ErrMalformed
	}
	payload, err := jws.Verify(k.public)
	if err != nil || string(payload) != string(t.payload) {
		return nil, ErrSignature
	}
	return k, nil
}

// Current implements authn.Authenticator.
func (v *Verifier) Current(p call.Principal) bool {
	if !p.Valid() || v.revoked == nil {
		return false
	}
	id := p.Identity()
	return v.known[id.Issuer] != nil && id.Proof != "" && time.Now().Unix() < id.Expires && !v.revoked(id.Proof) && (v.ended == nil || !v.ended(id))
}

// Ready fetches the keys of every issuer that has none yet. The error names
// the issuers whose tokens are refused until their keys can be had.
func (v *Verifier) Ready(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(v.issuers)) {
		if err := v.issuers[name].keys.ready(ctx); err != nil {
			errs = append(errs, fmt.Errorf("issuer %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Compact reports that a token has the form of a compact JWS, so that another
// authenticator can be asked about the rest.
func Compact(token string) bool { return strings.Count(token, ".") == 2 }

// digest names a token at a resource without keeping it. Usual ones fit on the
// stack.
func digest(resource, token string) [32]byte {
	var room [4 << 10]byte
	buf := binary.BigEndian.AppendUint64(room[:0], uint64(len(resource)))
	buf = append(buf, resource...)
	buf = append(buf, token...)
	return sha256.Sum256(buf)
}
