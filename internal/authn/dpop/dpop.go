// Package dpop checks that whoever sends a token holds the key it is bound to
// (RFC 9449).
//
// Threat: an access token that leaked, from a log, a proxy, a crash report or
// another server, and is sent by whoever found it. And a proof that leaked with
// it: used again, for another token, another address or another method, made
// in advance, or with a key or an algorithm of the finder's choice.
//
// It guarantees that a proof is accepted only when it is one strict JWS of the
// type dpop+jwt, signed by the public key in its header with an allowed
// asymmetric algorithm, when that key is the one the token names, when it was
// made for this very method, address and token, lately, with a nonce of this
// gateway, and when nobody used it before at any process that shares the
// store. What cannot be looked up or written down is refused. Nothing is
// remembered in memory; what is stored of a proof is a digest, for as long as
// the proof could be used.
//
// It does not say that the token is good, nor that the key is kept well: who
// can use the client's key can make proofs. The body is not part of a proof.
// Signatures are the work of go-jose, and of Go's own library for the name that
// RFC 9864 gave to Ed25519; there is no cryptography here.
package dpop

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// Defaults and bounds.
const (
	DefaultWindow = time.Minute
	MaxWindow     = 5 * time.Minute
	// MaxProof is the longest proof in bytes: room for RSA keys of 8192 bits.
	MaxProof = 8 << 10
)

// Algorithms are those that a proof may be signed with: all need a private key
// that the gateway does not have.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

// Error is why a proof was refused. Its text is what the caller reads.
type Error uint8

// The errors of Check. Any other error means that the proof could not be
// judged, which refuses it as well.
const (
	ErrMissing Error = iota + 1
	ErrSeveral
	ErrMalformed
	ErrType
	ErrAlgorithm
	ErrKey
	ErrPrivate
	ErrSignature
	ErrMethod
	ErrURL
	ErrTime
	ErrToken
	ErrOtherKey
	ErrNonce
	ErrReplayed
)

// Error implements error.
func (e Error) Error() string {
	switch e {
	case ErrMissing:
		return "send a proof of the token's key in the DPoP header"
	case ErrSeveral:
		return "send one DPoP header with one proof"
	case ErrMalformed:
		return "the proof is not a signed JWT in compact form with jti, htm, htu, iat and ath"
	case ErrType:
		return "the proof's header does not have the type dpop+jwt"
	case ErrAlgorithm:
		return "the proof's algorithm is not one that algs names"
	case ErrKey:
		return "the proof's header has no public key in jwk that fits its algorithm"
	case ErrPrivate:
		return "the proof holds a private key: make a new key, and send only its public part"
	case ErrSignature:
		return "the proof's signature is wrong"
	case ErrMethod:
		return "the proof was made for another HTTP method"
	case ErrURL:
		return "the proof was made for another URL: htu is the resource's URL, without query and fragment"
	case ErrTime:
		return "the proof is too old or from the future: make a new one for each request, and check the clock"
	case ErrToken:
		return "the proof was made for another token"
	case ErrOtherKey:
		return "the proof was made by another key than the one the token is bound to"
	case ErrNonce:
		return "make a new proof with the nonce that the DPoP-Nonce header gives"
	case ErrReplayed:
		return "the proof was used before: make a new one for each request"
	}
	return "the proof is not accepted"
}

// Code is the error code for the challenge (RFC 9449 7.1 and 9).
func (e Error) Code() string {
	switch e {
	case ErrNonce:
		return "use_dpop_nonce"
	case ErrOtherKey:
		return "invalid_token"
	}
	return "invalid_dpop_proof"
}

// Reason is the code for the record.
func (e Error) Reason() call.Reason {
	switch e {
	case ErrNonce:
		return call.ReasonProofNonce
	case ErrReplayed:
		return call.ReasonReplayedProof
	}
	return call.ReasonBadProof
}

// Options configure a Checker.
type Options struct {
	// Algorithms is the allow-list; nil means Algorithms().
	Algorithms []string
	// Window is how far iat may lie from now, before or after; 0 means
	// DefaultWindow.
	Window time.Duration
	// Nonces are asked for in every proof; nil asks for none.
	Nonces *Nonces
	// Used is the bucket of proofs that were used. Every process that serves
	// the same resources shares it.
	Used store.KV
	Log  *slog.Logger
}

// Checker judges proofs. Make it with New; the zero value refuses.
type Checker struct {
	algorithms []jose.SignatureAlgorithm
	window     int64 // seconds
	nonces     *Nonces
	used       store.KV
	log        *slog.Logger
}

// New judges the options. The error names every fault at once.
func New(o Options) (*Checker, error) {
	c := &Checker{window: int64(DefaultWindow / time.Second), nonces: o.Nonces, used: o.Used, log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	names := o.Algorithms
	if names == nil {
		names = Algorithms()
	}
	if len(names) == 0 {
		errs = append(errs, errors.New("no algorithm is allowed for proofs; name one or leave the key out"))
	}
	for _, n := range names {
		if !slices.Contains(Algorithms(), n) {
			errs = append(errs, fmt.Errorf("algorithm %q is not one for proofs: %q are", n, Algorithms()))
		}
		c.algorithms = append(c.algorithms, jose.SignatureAlgorithm(n))
	}
	switch {
	case o.Window < 0 || o.Window > MaxWindow:
		errs = append(errs, fmt.Errorf("a proof may be %v old at most", MaxWindow))
	case o.Window > 0:
		c.window = max(int64(o.Window/time.Second), 1)
	}
	if o.Used == nil {
		errs = append(errs, errors.New("nobody remembers which proofs were used: set Used"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// Algorithms are the names that this Checker accepts, for metadata and
// challenges.
func (c *Checker) Algorithms() []string {
	var out []string
	for _, a := range c.algorithms {
		out = append(out, string(a))
	}
	return out
}

// Check reports that the request carries a fresh proof for token by the key
// whose thumbprint (RFC 7638) is jkt, and uses that proof up. When the proof's
// nonce is about to end, or is what the proof lacks, r.Reply gets the next one.
func (c *Checker) Check(ctx context.Context, r authn.Request, token, jkt string) error {
	if c == nil || c.used == nil || jkt == "" || token == "" {
		return ErrOtherKey
	}
	p, err := c.judge(r, token, jkt, time.Now())
	if err != nil {
		return err
	}
	// Only now is anything written, so that strangers cannot fill the store.
	fresh, err := c.used.PutIfAbsent(ctx, p.name(), []byte{1}, time.Unix(p.issued+c.window+1, 0))
	if err != nil {
		c.log.Error("used proofs cannot be written down, so none is accepted", "err", err)
		return fmt.Errorf("used proofs cannot be written down: %w", err)
	}
	if !fresh {
		return ErrReplayed
	}
	return nil
}

// judge holds a proof against the request, the token and the clock. What costs
// nothing comes before the signature.
func (c *Checker) judge(r authn.Request, token, jkt string, now time.Time) (*proof, error) {
	hs := r.Header["Dpop"]
	switch {
	case len(hs) == 0 || len(hs) == 1 && hs[0] == "":
		return nil, ErrMissing
	case len(hs) > 1:
		return nil, ErrSeveral
	}
	p, err := parse(hs[0])
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.algorithms, p.alg) {
		return nil, ErrAlgorithm
	}
	if !fits(p.key, p.alg) {
		return nil, ErrKey
	}
	if p.method != r.Method || r.Method == "" {
		return nil, ErrMethod
	}
	want, ok1 := normal(r.Resource)
	got, ok2 := normal(p.url)
	if !ok1 || !ok2 || want != got {
		return nil, ErrURL
	}
	// iat may be as far off as the window, and not a second more.
	if t := now.Unix(); p.issued < t-c.window || p.issued > t+c.window || p.expires != 0 && p.expires <= t || p.notBefore > t+c.window {
		return nil, ErrTime
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(p.hash)) != 1 {
		return nil, ErrToken
	}
	if subtle.ConstantTimeCompare([]byte(p.thumbprint), []byte(jkt)) != 1 {
		return nil, ErrOtherKey
	}
	if err := p.verify(hs[0]); err != nil {
		return nil, err
	}
	if c.nonces == nil {
		return p, nil
	}
	good, newest := c.nonces.check(p.nonce, now)
	if !newest {
		next, err := c.nonces.Next(now)
		if err != nil {
			c.log.Error("no nonce for proofs can be made, so none is accepted", "err", err)
			return nil, fmt.Errorf("no nonce can be made: %w", err)
		}
		if r.Reply != nil {
			r.Reply.Set("DPoP-Nonce", next)
		}
	}
	if !good {
		return nil, ErrNonce
	}
	return p, nil
}

// NonceFrom is a purpose of a key ring: what nonces are made with.
const NonceFrom keys.Purpose = "dpop-nonce"
