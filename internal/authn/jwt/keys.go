package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/oauth"
)

// How keys are kept.
const (
	// RefreshAfter is the age at which a key set is fetched again while the old
	// one still serves.
	RefreshAfter = 15 * time.Minute
	// RefetchEvery is the least time between two fetches, whoever asks.
	RefetchEvery = 30 * time.Second
	// RetryEvery is the same while there are no keys at all.
	RetryEvery = 5 * time.Second
	// StaleAfter is the age at which keys are no longer used although the
	// provider does not answer.
	StaleAfter = 24 * time.Hour

	fetchTimeout = 20 * time.Second
	maxKeys      = 100
	minRSA       = 2048
	maxRSA       = 8192
)

// key is one public key of an issuer.
type key struct {
	kid    string
	alg    jose.SignatureAlgorithm // "" fits all of its type
	public any
	mark   [32]byte
	gone   atomic.Bool // no longer published
}

// fits reports that the key may verify alg (RFC 7518 3.1, RFC 8037 3.1).
func (k *key) fits(alg jose.SignatureAlgorithm) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, alg)
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && p.Curve == elliptic.P256() || alg == jose.ES384 && p.Curve == elliptic.P384() ||
			alg == jose.ES512 && p.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// set is what an issuer published at one time.
type set struct {
	at   time.Time
	keys []*key
}

// pick returns the key of a kid that fits alg. If several do, or without a kid
// several fit, none is meant.
func (s *set) pick(kid string, alg jose.SignatureAlgorithm) *key {
	var found *key
	for _, k := range s.keys {
		if kid != "" && k.kid != kid || !k.fits(alg) {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

// keys are the keys of one issuer, fetched when they are needed and never more
// often than RefetchEvery, however many strangers name keys that do not exist.
type keys struct {
	is      *issuer
	client  *http.Client
	log     *slog.Logger
	current atomic.Pointer[set]

	mu        sync.Mutex
	flight    chan struct{} // closed when the fetch that is under way ends
	attempted time.Time
	uri       string // of the key set, once discovered
	found     time.Time
}

func newKeys(is *issuer, client *http.Client, log *slog.Logger) *keys {
	return &keys{is: is, client: client, log: log.With("issuer", is.Issuer.Issuer)}
}

// adopt takes over what an earlier verifier knows of the same issuer.
func (s *keys) adopt(old *issuer) {
	if old != nil && old.JWKSURI == s.is.JWKSURI && old.Provider == s.is.Provider {
		s.current.Store(old.keys.current.Load())
	}
}

// fresh reports that the keys may still be used, and has them refreshed in the
// background when they are old.
func (s *keys) fresh(now time.Time) bool {
	cur := s.current.Load()
	if cur == nil {
		return false
	}
	age := now.Sub(cur.at)
	if age >= RefreshAfter {
		s.start(now)
	}
	return age < StaleAfter
}

// find returns the key for a token's header, fetching the set at most once.
func (s *keys) find(ctx context.Context, kid string, alg jose.SignatureAlgorithm) (*key, error) {
	now := time.Now()
	if s.fresh(now) {
		if k := s.current.Load().pick(kid, alg); k != nil {
			return k, nil
		}
	}
	if err := s.wait(ctx, s.start(now)); err != nil {
		return nil, err
	}
	if !s.fresh(time.Now()) {
		return nil, ErrProvider
	}
	if k := s.current.Load().pick(kid, alg); k != nil {
		return k, nil
	}
	return nil, ErrKey
}

func (s *keys) ready(ctx context.Context) error {
	now := time.Now()
	if s.fresh(now) {
		return nil
	}
	if err := s.wait(ctx, s.start(now)); err != nil {
		return err
	}
	if !s.fresh(time.Now()) {
		return ErrProvider
	}
	return nil
}

func (s *keys) wait(ctx context.Context, flight <-chan struct{}) error {
	if flight == nil {
		return nil
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ErrProvider
	}
}

// start begins a fetch, or joins the one under way. It returns nil when it is
// too early for another.
func (s *keys) start(now time.Time) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	pause := RefetchEvery
	if s.current.Load() == nil {
		pause = RetryEvery
	}
	if !s.attempted.IsZero() && now.Sub(s.attempted) < pause {
		return nil
	}
	s.attempted = now
	flight := make(chan struct{})
	s.flight = flight
	uri := s.uri
	if now.Sub(s.found) >= StaleAfter {
		uri = ""
	}
	go s.refresh(flight, uri)
	return flight
}

// refresh fetches once. It belongs to no request: others wait for it too.
func (s *keys) refresh(flight chan struct{}, uri string) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	found, err := s.fetch(ctx, uri)
	s.mu.Lock()
	s.uri = found
	if found != "" && found != uri {
		s.found = time.Now()
	}
	s.flight = nil
	s.mu.Unlock()
	if err != nil {
		s.log.Warn("an issuer's keys cannot be fetched", "error", err, "have", s.current.Load() != nil)
	}
	close(flight)
}

// fetch discovers the key set unless its address is known, and reads it. It
// returns the address, or "" to discover it anew next time.
func (s *keys) fetch(ctx context.Context, uri string) (string, error) {
	if s.is.Own != nil {
		body, err := s.is.Own.Keys(ctx)
		if err != nil {
			return "", err
		}
		return "", s.take(body)
	}
	if s.is.JWKSURI != "" {
		uri = s.is.JWKSURI
	}
	if uri == "" {
		var err error
		if uri, err = discover(ctx, s.client, s.is.Issuer.Issuer); err != nil {
			return "", err
		}
	}
	body, err := oauth.Fetch(ctx, s.client, uri)
	if err != nil {
		return "", fmt.Errorf("key set: %w", err)
	}
	if err := s.take(body); err != nil {
		return "", err
	}
	return uri, nil
}

// take makes what an issuer published the current set.
func (s *keys) take(body []byte) error {
	list, dropped, err := s.is.readKeys(body)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	if len(dropped) > 0 || len(list) == 0 {
		s.log.Warn("keys of an issuer are not used", "used", len(list), "dropped", errors.Join(dropped...))
	}
	s.replace(list)
	return nil
}

// replace makes a list the current set. Keys that stay keep their identity;
// what was verified by one that left has to be verified again.
func (s *keys) replace(list []*key) {
	old := s.current.Load()
	if old != nil {
		for _, was := range old.keys {
			i := slices.IndexFunc(list, func(k *key) bool { return k.mark == was.mark })
			if i >= 0 {
				list[i] = was
			}
			was.gone.Store(i < 0)
		}
	}
	s.current.Store(&set{at: time.Now(), keys: list})
}

// readKeys reads a JWK set (RFC 7517 5). Keys that cannot be used are left out
// and named; a set that is malformed or too long is refused whole.
func (is *issuer) readKeys(body []byte) (list []*key, dropped []error, err error) {
	doc, err := strictjson.SplitObject(body)
	if err != nil {
		return nil, nil, errors.New("it is no JSON object")
	}
	raw, ok := doc.Get("keys")
	if !ok {
		return nil, nil, errors.New("it has no keys member")
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, nil, errors.New("its keys member is no array")
	}
	if len(items) > maxKeys {
		return nil, nil, fmt.Errorf("it has %d keys, more than %d", len(items), maxKeys)
	}
	for i, item := range items {
		k, err := is.readKey(item)
		if errors.Is(err, errEncrypts) {
			continue
		}
		if err != nil {
			dropped = append(dropped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		list = append(list, k)
	}
	unique := make([]*key, 0, len(list))
	for _, k := range list {
		if !slices.ContainsFunc(unique, func(o *key) bool { return o.mark == k.mark }) {
			unique = append(unique, k)
		}
	}
	return unique, dropped, nil
}

// errEncrypts is no fault: many providers publish such a key beside the others.
var errEncrypts = errors.New("it is for encryption")

// readKey reads one JWK and leaves out whatever is not a public key for
// signatures.
func (is *issuer) readKey(raw []byte) (*key, error) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, errors.New("no JSON object")
	}
	c := authn.Claims{Members: o}
	kty, ok1 := c.Text("kty", 16)
	kid, ok2 := c.Text("kid", maxKID)
	use, ok3 := c.Text("use", 16)
	alg, ok4 := c.Text("alg", 32)
	ops, ok5 := c.Texts("key_ops", false)
	of, ok6 := c.Text("issuer", authn.MaxText)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return nil, errors.New("a member has the wrong type or is too long")
	}
	switch {
	case kty != "RSA" && kty != "EC" && kty != "OKP":
		return nil, errors.New("its type is not RSA, EC or OKP")
	case use == "enc":
		return nil, errEncrypts
	case use != "" && use != "sig":
		return nil, errors.New("it is not for signatures")
	case c.Has("key_ops") && !slices.Contains(ops, "verify"):
		return nil, errors.New("it is not for verifying")
	case alg != "" && !slices.Contains(is.algorithms, jose.SignatureAlgorithm(alg)):
		return nil, errors.New("its algorithm is not allowed")
	case of != "" && is.Provider == Entra && of != is.Issuer.Issuer && !is.templated(of):
		return nil, errors.New("it belongs to another issuer")
	}
	for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := o.Get(secret); ok {
			return nil, errors.New("its private part is published, so anybody can sign with it")
		}
	}
	var j jose.JSONWebKey
	if err := j.UnmarshalJSON(o.Without("x5c", "x5u", "x5t", "x5t#S256").Append(nil)); err != nil {
		return nil, errors.New("it cannot be read")
	}
	switch p := j.Key.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits, wanted %d to %d", n, minRSA, maxRSA)
		}
		if p.E < 65537 || p.E%2 == 0 {
			return nil, errors.New("an RSA key with a weak exponent")
		}
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() && p.Curve != elliptic.P521() {
			return nil, errors.New("its curve is not P-256, P-384 or P-521")
		}
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return nil, errors.New("its length is wrong")
		}
	default:
		return nil, errors.New("its kind is not supported")
	}
	der, err := x509.MarshalPKIXPublicKey(j.Key)
	if err != nil {
		return nil, errors.New("it cannot be read")
	}
	mark := sha256.Sum256(fmt.Appendf(nil, "%q %q %x", kid, alg, der))
	return &key{kid: kid, alg: jose.SignatureAlgorithm(alg), public: j.Key, mark: mark}, nil
}
