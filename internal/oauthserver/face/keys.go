package face

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	bucketKeys                   = "oauth-signing-key"
	purposeSigning  keys.Purpose = "oauth-signing-key"
	mostSigningKeys              = 16
	// longestLead is how long before and after its time a key is published.
	longestLead = 24 * time.Hour
	keyRereads  = time.Minute
)

// signing holds the keys that sign tokens. They are in the store, sealed, under
// rising numbers; of two processes that make the next one, one does.
type signing struct {
	kv     store.KV
	ring   keys.Ring
	period time.Duration

	mu   sync.Mutex
	list []signingKey // in the order of their numbers
	read time.Time
}

type signingKey struct {
	number  int
	id      string
	from    time.Time
	private *ecdsa.PrivateKey
}

type keyRow struct {
	ID     string
	From   int64
	Sealed []byte // PKCS #8
}

func newSigning(s store.Store, ring keys.Ring, period time.Duration) (*signing, error) {
	kv, err := s.Bucket(bucketKeys)
	return &signing{kv: kv, ring: ring, period: period}, err
}

// lead is how long a key is published beyond its time on either side; no token
// lives as long.
func (s *signing) lead() time.Duration { return min(longestLead, s.period/4) }

// current returns the key that signs now.
func (s *signing) current(ctx context.Context) (signingKey, error) {
	list, err := s.keep(ctx)
	if err != nil {
		return signingKey{}, err
	}
	now := time.Now()
	for i := len(list) - 1; i >= 0; i-- {
		if !list[i].from.After(now) {
			return list[i], nil
		}
	}
	return signingKey{}, errors.New("no signing key is in force: is the clock right?")
}

// publish returns the key set.
func (s *signing) publish(ctx context.Context) ([]byte, error) {
	list, err := s.keep(ctx)
	if err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range list {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &k.private.PublicKey, KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return json.Marshal(set)
}

// keep reads the keys, makes what is missing and removes what has had its time.
func (s *signing) keep(ctx context.Context) ([]signingKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.list) == 0 || now.Sub(s.read) >= keyRereads || now.Before(s.read) {
		if err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	for {
		from, number := now, 1
		if n := len(s.list); n > 0 {
			newest := s.list[n-1]
			from, number = newest.from.Add(s.period), newest.number+1
			if newest.from.After(now) || now.Before(from.Add(-s.lead())) {
				break
			}
			if from.Before(now) {
				from = now
			}
		}
		if err := s.make(ctx, number, from); err != nil {
			return nil, err
		}
		if err := s.load(ctx); err != nil {
			return nil, err
		}
		if len(s.list) == 0 {
			return nil, errors.New("the signing key that was made is not there")
		}
	}
	// A key has had its time when its successor has been in force for long.
	for len(s.list) > 1 && now.Sub(s.list[1].from) > s.lead() {
		if _, err := s.kv.Delete(ctx, keyName(s.list[0].number)); err != nil {
			return nil, err
		}
		s.list = s.list[1:]
	}
	return append([]signingKey(nil), s.list...), nil
}

func keyName(number int) string { return fmt.Sprintf("%09d", number) }

func (s *signing) load(ctx context.Context) error {
	var list []signingKey
	var bad error
	err := s.kv.Scan(ctx, "", func(e store.Entry) bool {
		var row keyRow
		var k signingKey
		if bad = json.Unmarshal(e.Value, &row); bad != nil {
			return false
		}
		var der []byte
		if der, bad = s.ring.Open(purposeSigning, row.Sealed, []byte(e.Key)); bad != nil {
			bad = fmt.Errorf("signing key %s cannot be opened: %w", e.Key, bad)
			return false
		}
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		private, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok || private.Curve != elliptic.P256() {
			bad = fmt.Errorf("signing key %s is no P-256 key", e.Key)
			return false
		}
		k.id, k.from, k.private = row.ID, time.Unix(row.From, 0), private
		if _, bad = fmt.Sscanf(e.Key, "%d", &k.number); bad != nil {
			return false
		}
		list = append(list, k)
		return len(list) < mostSigningKeys
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	s.list, s.read = list, time.Now()
	return nil
}

// make puts a key under a number, unless somebody else did.
func (s *signing) make(ctx context.Context, number int, from time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	name := keyName(number)
	sealed, err := s.ring.Seal(purposeSigning, der, []byte(name))
	if err != nil {
		return err
	}
	b, err := json.Marshal(keyRow{ID: rand.Text(), From: from.Unix(), Sealed: sealed})
	if err != nil {
		return err
	}
	_, err = s.kv.PutIfAbsent(ctx, name, b, time.Time{})
	return err
}

// rawSigner signs as RFC 7518 3.4 wants it, r and s side by side. The library
// takes what a signer gives for that, and the standard library's gives ASN.1.
type rawSigner struct{ key *ecdsa.PrivateKey }

// Public implements crypto.Signer.
func (s rawSigner) Public() crypto.PublicKey { return s.key.Public() }

// Sign implements crypto.Signer.
func (s rawSigner) Sign(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	if s.key == nil {
		return nil, errors.New("no signing key")
	}
	a, b, err := ecdsa.Sign(random, s.key, digest)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	a.FillBytes(out[:32])
	b.FillBytes(out[32:])
	return out, nil
}
