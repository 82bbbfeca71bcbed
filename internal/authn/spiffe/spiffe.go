// Package spiffe authenticates workloads by JWT-SVIDs, the tokens that a SPIFFE
// trust domain gives its workloads (SPIFFE "JWT-SVID"), and, where the operator
// takes them, by X509-SVIDs, the certificates that it gives them.
//
// Threat: an SVID that was made for another audience and is replayed here by
// whoever it was shown to; a workload of one trust domain that names itself
// into another; a token of an authorization server that is taken for an SVID,
// or the reverse; an SVID that lives for days; a trust bundle that somebody else
// wrote, or that names a private or a weak key.
//
// It guarantees that a principal comes only from a compact JWS whose subject is
// a SPIFFE ID of a configured trust domain, signed by a key that this domain's
// own bundle names for JWT-SVIDs, whose one audience is exactly the resource that
// was called, and which is in force, short-lived and not revoked as far as the
// gateway was told. The principal's kind is always call.Workload; its issuer is
// the ID of the trust domain, which no OAuth issuer can have.
//
// An SVID carries no scopes: a workload has those that the operator gave to its
// trust domain, and what it may do is for policy to say. An SVID is a bearer
// token: whoever reads it may use it until it expires. An X509-SVID names no
// audience and needs none: the handshake in which its key is used is bound to
// the gateway's own certificate, so nobody can carry it elsewhere; it opens every
// resource here that scopes and policy leave open to it. Bundles come from a file
// or by https_web; the profile https_spiffe is not offered. SPIFFE IDs, bundles
// and signatures are the work of go-spiffe and go-jose.
package spiffe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of an SVID.
const (
	// MaxLifetime is the longest time from iat to exp, and from now to exp where
	// there is no iat.
	MaxLifetime = time.Hour
	// Skew is how far clocks may differ.
	Skew = 60 * time.Second
)

// Domain is one trust domain whose workloads may call.
type Domain struct {
	// Name is the trust domain, such as example.org.
	Name string
	// File is the absolute path of its bundle, or URL the https address of its
	// bundle endpoint (profile https_web). One of the two.
	File, URL string
	// Scopes are given to every workload of the domain.
	Scopes []string
	// Certificates takes X509-SVIDs of the domain too, which need no token.
	Certificates bool
}

// Options configure a Verifier.
type Options struct {
	Domains []Domain
	// Resources is every resource by its URL. Others are refused.
	Resources map[string]authn.Resource
	// Client fetches bundles: egress.Client without redirects. It may be nil when
	// no domain has a URL.
	Client *http.Client
	// Revoked reports that a proof (call.Identity.Proof) was taken back. It is
	// asked at each request and must answer at once.
	Revoked func(proof string) bool
	// Ended reports that a subject was logged out after the proof was issued;
	// nil means that nobody says.
	Ended func(id call.Identity) bool
	// Keep is the verifier of the config before: its bundles are taken over.
	Keep *Verifier
	Log  *slog.Logger
}

// Verifier authenticates by JWT-SVID. Make it with New; the zero value refuses.
type Verifier struct {
	domains   map[string]*domain // by the ID of the trust domain
	resources *authn.Resources
	revoked   func(string) bool
	ended     func(call.Identity) bool
}

type domain struct {
	Domain
	id     spiffeid.TrustDomain
	bundle *bundle
}

var _ authn.Authenticator = (*Verifier)(nil)

// New judges the options and reads the bundles that are files. The error names
// every fault at once.
func New(o Options) (*Verifier, error) {
	v := &Verifier{domains: map[string]*domain{}, revoked: o.Revoked, ended: o.Ended}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if o.Revoked == nil {
		errs = append(errs, errors.New("nobody says which tokens are revoked"))
	}
	for _, d := range o.Domains {
		dom, err := d.judge(o)
		if err == nil && v.domains[dom.id.IDString()] != nil {
			err = errors.New("it is configured twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("trust domain %s: %w", d.Name, err))
			continue
		}
		v.domains[dom.id.IDString()] = dom
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

func (d Domain) judge(o Options) (*domain, error) {
	id, err := ParseDomain(d.Name)
	if err != nil {
		return nil, err
	}
	dom := &domain{Domain: d, id: id}
	switch {
	case (d.File == "") == (d.URL == ""):
		return nil, errors.New("its bundle is a file or a URL: name one of the two")
	case d.File != "" && !filepath.IsAbs(d.File):
		return nil, errors.New("the bundle's path is not absolute")
	case d.URL != "" && (o.Client == nil || o.Client.Transport == nil):
		return nil, errors.New("a client for bundles is missing: make one with egress.Client")
	case d.URL != "":
		if _, err := egress.CheckURL(d.URL, egress.Rules{PlainLoopback: true}); err != nil {
			return nil, fmt.Errorf("the bundle: %w", err)
		}
	}
	dom.bundle = newBundle(dom, o.Client, o.Log)
	if o.Keep != nil {
		dom.bundle.adopt(o.Keep.domains[id.IDString()])
	}
	if d.File != "" {
		// A file is there or it is a mistake; a remote bundle is waited for.
		if err := dom.bundle.load(context.Background()); err != nil {
			return nil, fmt.Errorf("the bundle: %w", err)
		}
	}
	return dom, nil
}

// ParseDomain reads the name of a trust domain: lower-case letters, digits, dots,
// dashes and underscores (SPIFFE-ID 2.1). It is not a spiffe:// URL.
func ParseDomain(name string) (spiffeid.TrustDomain, error) {
	bad := errors.New("write the bare name of the trust domain, such as example.org, without spiffe:// and without a path")
	if len(name) > 255 || strings.ContainsAny(name, ":/") {
		return spiffeid.TrustDomain{}, bad
	}
	id, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return spiffeid.TrustDomain{}, bad
	}
	return id, nil
}

// Issuer is the issuer of the principals of a trust domain.
func Issuer(domain string) string { return "spiffe://" + domain }

// Authenticate implements authn.Authenticator.
func (v *Verifier) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	res := v.resources.Find(r.Resource)
	if res == nil {
		return call.Principal{}, refusal(nil, ErrResource)
	}
	hs := r.Header["Authorization"]
	if len(hs) == 0 {
		return call.Principal{}, refusal(res, ErrMissing)
	}
	scheme, text, ok := strings.Cut(hs[0], " ")
	if len(hs) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
		return call.Principal{}, refusal(res, ErrHeader)
	}
	p, err := v.verify(ctx, res, text)
	if err != nil {
		return call.Principal{}, refusal(res, err)
	}
	return p, nil
}

func (v *Verifier) verify(ctx context.Context, res *authn.Protected, text string) (call.Principal, error) {
	t, err := parse(text)
	if err != nil {
		return call.Principal{}, err
	}
	d := v.domains[t.id.TrustDomain().IDString()]
	if d == nil {
		return call.Principal{}, ErrDomain
	}
	id, err := t.identify(res, time.Now())
	if err != nil {
		return call.Principal{}, err
	}
	keys, err := d.bundle.find(ctx, t.kid)
	if err != nil {
		return call.Principal{}, err
	}
	// What was read strictly above is what is verified here: the signature, and
	// once more subject, audience and expiry.
	svid, err := jwtsvid.ParseAndValidate(text, keys, t.aud)
	if err != nil || svid.ID != t.id {
		return call.Principal{}, ErrSignature
	}
	id.Issuer, id.Scopes = d.id.IDString(), slices.Clone(d.Scopes)
	p := call.NewPrincipal(id)
	switch {
	case !p.Valid():
		return call.Principal{}, ErrClaims
	case v.revoked == nil || v.revoked(id.Proof) || v.ended != nil && v.ended(id):
		return call.Principal{}, ErrRevoked
	}
	return p, nil
}

// Current implements authn.Authenticator.
func (v *Verifier) Current(p call.Principal) bool {
	if !p.Valid() || v.revoked == nil {
		return false
	}
	id := p.Identity()
	d := v.domains[id.Issuer]
	return d != nil && (d.Certificates || !strings.HasPrefix(id.Proof, certificateProof)) && id.Proof != "" && time.Now().Unix() < id.Expires && !v.revoked(id.Proof) && (v.ended == nil || !v.ended(id))
}

// Known reports that principals of this issuer are this verifier's.
func (v *Verifier) Known(issuer string) bool { return v.domains[issuer] != nil }

// Ready fetches every bundle that is not there yet. The error names the trust
// domains whose SVIDs are refused until their bundles can be had.
func (v *Verifier) Ready(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(v.domains)) {
		if err := v.domains[name].bundle.ready(ctx); err != nil {
			errs = append(errs, fmt.Errorf("trust domain %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
