package spiffe

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// How bundles are kept.
const (
	// RefreshAfter is the age at which a remote bundle is fetched again while the
	// old one still serves, unless the bundle hints at a shorter time. A file is
	// read again after RefetchEvery.
	RefreshAfter = 5 * time.Minute
	// RefetchEvery is the least time between two fetches, whoever asks.
	RefetchEvery = 30 * time.Second
	// RetryEvery is the same while there is no bundle at all.
	RetryEvery = 5 * time.Second
	// StaleAfter is the age at which a bundle is no longer used although no new
	// one can be had.
	StaleAfter = 24 * time.Hour

	fetchTimeout = 20 * time.Second
	maxBundle    = 1 << 20
	minRSA       = 2048
	maxRSA       = 8192
)

// state is one bundle as it was read at one time.
type state struct {
	at    time.Time
	after time.Duration // when to refresh
	keys  *jwtbundle.Bundle
	certs *x509bundle.Bundle
}

// bundle is what a trust domain trusts, read when it is needed and never more
// often than RefetchEvery, however many strangers name keys that do not exist.
type bundle struct {
	d       *domain
	client  *http.Client
	log     *slog.Logger
	current atomic.Pointer[state]

	mu        sync.Mutex
	flight    chan struct{} // closed when the read that is under way ends
	attempted time.Time
}

func newBundle(d *domain, client *http.Client, log *slog.Logger) *bundle {
	return &bundle{d: d, client: client, log: log.With("trust_domain", d.Name)}
}

// adopt takes over what an earlier verifier knows of the same bundle.
func (b *bundle) adopt(old *domain) {
	if old != nil && old.File == b.d.File && old.URL == b.d.URL && old.Certificates == b.d.Certificates {
		b.current.Store(old.bundle.current.Load())
	}
}

// fresh reports that the bundle may be used, and has it read again in the
// background when it is old.
func (b *bundle) fresh(now time.Time) bool {
	cur := b.current.Load()
	if cur == nil {
		return false
	}
	age := now.Sub(cur.at)
	if age >= cur.after {
		b.start(now)
	}
	return age < StaleAfter
}

// find returns the bundle if it has the key, reading it again at most once.
func (b *bundle) find(ctx context.Context, kid string) (*jwtbundle.Bundle, error) {
	now := time.Now()
	if b.fresh(now) {
		if keys := b.current.Load().keys; has(keys, kid) {
			return keys, nil
		}
	}
	if err := b.wait(ctx, b.start(now)); err != nil {
		return nil, err
	}
	if !b.fresh(time.Now()) {
		return nil, ErrBundle
	}
	if keys := b.current.Load().keys; has(keys, kid) {
		return keys, nil
	}
	return nil, ErrKey
}

func has(keys *jwtbundle.Bundle, kid string) bool {
	_, ok := keys.FindJWTAuthority(kid)
	return ok
}

func (b *bundle) ready(ctx context.Context) error {
	now := time.Now()
	if b.fresh(now) {
		return nil
	}
	if err := b.wait(ctx, b.start(now)); err != nil {
		return err
	}
	if !b.fresh(time.Now()) {
		return ErrBundle
	}
	return nil
}

func (b *bundle) wait(ctx context.Context, flight <-chan struct{}) error {
	if flight == nil {
		return nil
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ErrBundle
	}
}

// start begins a read, or joins the one under way. It returns nil when it is too
// early for another.
func (b *bundle) start(now time.Time) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flight != nil {
		return b.flight
	}
	pause := RefetchEvery
	if b.current.Load() == nil {
		pause = RetryEvery
	}
	if !b.attempted.IsZero() && now.Sub(b.attempted) < pause {
		return nil
	}
	b.attempted = now
	flight := make(chan struct{})
	b.flight = flight
	go b.refresh(flight)
	return flight
}

// refresh reads once. It belongs to no request: others wait for it too.
func (b *bundle) refresh(flight chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	if err := b.load(ctx); err != nil {
		b.log.Warn("a trust domain's bundle cannot be had", "error", err, "have", b.current.Load() != nil)
	}
	b.mu.Lock()
	b.flight = nil
	b.mu.Unlock()
	close(flight)
}

// load reads the bundle and makes it the current one. A bad one changes nothing.
func (b *bundle) load(ctx context.Context) error {
	text, err := b.read(ctx)
	if err != nil {
		return err
	}
	s, err := b.d.readBundle(text)
	if err != nil {
		return err
	}
	b.current.Store(s)
	return nil
}

func (b *bundle) read(ctx context.Context) ([]byte, error) {
	if b.d.File != "" {
		f, err := os.Open(b.d.File)
		if err != nil {
			return nil, errors.New("its file cannot be opened")
		}
		defer func() { _ = f.Close() }()
		return bounded(f)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.d.URL, nil)
	if err != nil {
		return nil, errors.New("its address is no URL")
	}
	r.Header.Set("Accept", "application/json")
	res, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the bundle endpoint answered with status %d", res.StatusCode)
	}
	return bounded(res.Body)
}

func bounded(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxBundle+1))
	if err == nil && len(text) > maxBundle {
		err = egress.ErrTooLarge
	}
	return text, err
}

// readBundle reads a bundle (SPIFFE Trust Domain and Bundle 4). One key that
// nobody may trust refuses it whole: a bundle is written by one hand.
func (d *domain) readBundle(text []byte) (*state, error) {
	if err := strictjson.Validate(text, strictjson.Limits{Bytes: maxBundle, Depth: maxDepth, Members: 20_000}); err != nil {
		return nil, err
	}
	doc, err := strictjson.SplitObject(text)
	if err != nil {
		return nil, errors.New("it is no JSON object")
	}
	for _, raw := range keysOf(doc) {
		for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, ok := raw.Get(secret); ok {
				return nil, errors.New("it holds a private key, so anybody who reads it can sign")
			}
		}
	}
	all, err := spiffebundle.Parse(d.id, text)
	if err != nil {
		return nil, errors.New("it is no SPIFFE bundle: fetch it with the trust domain's own tool, in the format spiffe")
	}
	keys := all.JWTAuthorities()
	if len(keys) == 0 && !d.Certificates {
		return nil, errors.New("it has no key for JWT-SVIDs (use: jwt-svid)")
	}
	for _, k := range keys {
		if err := strong(k); err != nil {
			return nil, err
		}
	}
	certs, err := d.certificatesOf(all.X509Authorities())
	if err != nil {
		return nil, err
	}
	s := &state{at: time.Now(), after: RefreshAfter, keys: jwtbundle.FromJWTAuthorities(d.id, keys), certs: certs}
	if hint, ok := all.RefreshHint(); ok && hint > 0 {
		s.after = min(s.after, max(hint, RefetchEvery))
	}
	if d.File != "" {
		s.after = RefetchEvery
	}
	return s, nil
}

func keysOf(doc strictjson.Object) []strictjson.Object {
	raw, ok := doc.Get("keys")
	if !ok {
		return nil
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil
	}
	var out []strictjson.Object
	for _, item := range items {
		if o, err := strictjson.SplitObject(item); err == nil {
			out = append(out, o)
		}
	}
	return out
}

// strong refuses keys that others can sign for.
func strong(k crypto.PublicKey) error {
	switch p := k.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA || p.E < 65537 || p.E%2 == 0 {
			return fmt.Errorf("it has a weak RSA key of %d bits, wanted %d to %d and the usual exponent", p.N.BitLen(), minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() && p.Curve != elliptic.P521() {
			return errors.New("it has a key on a curve that is not P-256, P-384 or P-521")
		}
	default:
		return errors.New("it has a key for JWT-SVIDs that is neither RSA nor EC")
	}
	return nil
}
