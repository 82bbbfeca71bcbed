package keys

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/munjigi/munjigi/internal/base/secret"
)

// The first parts of what HKDF (RFC 5869) is told, before the purpose.
const (
	infoID   = "munjigi root key id v1"
	infoKey  = "munjigi subkey v1\x00"
	infoSeal = "munjigi seal v1\x00"
)

const (
	idBytes     = 8
	envelope    = 1 // the first byte of what Seal returns
	headerBytes = 1 + idBytes + chacha20poly1305.NonceSizeX
)

// Overhead is how many bytes longer a sealed text is than the plain one.
const Overhead = headerBytes + chacha20poly1305.Overhead

// Root is a root key of 32 bytes. It shows a placeholder wherever it is printed.
type Root struct{ key secret.Value }

// NewRoot takes a root key that came from elsewhere. All zeros are refused.
func NewRoot(key [32]byte) (Root, error) {
	if key == [32]byte{} {
		return Root{}, errors.New("keys: a root key of zeros is no key: generate one")
	}
	return Root{secret.New(string(key[:]))}, nil
}

// GenerateRoot makes a new root key from the system's random numbers.
func GenerateRoot() Root {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: it ends the process instead
	return Root{secret.New(string(key[:]))}
}

// Reveal returns the key, for the package that stores it.
func (r Root) Reveal() (key [32]byte) {
	copy(key[:], r.key.Reveal())
	return key
}

// ID returns the 16 hexadecimal digits that name the key. They are derived from it, so a damaged key has another ID.
func (r Root) ID() string {
	id, err := r.derive(infoID, idBytes)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(id)
}

func (r Root) derive(info string, size int) ([]byte, error) {
	if r.key.IsZero() {
		return nil, errors.New("keys: no root key: open or generate one")
	}
	return hkdf.Key(sha256.New, []byte(r.key.Reveal()), nil, info, size)
}

// Derived is a Ring over root keys held in memory. Subkeys come from HKDF-SHA256, the purpose being the info. Seal is
// XChaCha20-Poly1305 with a random nonce of 24 bytes, and returns
//
//	1 byte   version, 1
//	8 bytes  ID of the root key
//	24 bytes nonce
//	n bytes  ciphertext, then a tag of 16 bytes
//
// The zero Derived refuses everything.
type Derived struct {
	active *root
	byID   map[[idBytes]byte]*root
}

type root struct {
	id  [idBytes]byte
	key Root

	mu   sync.Mutex // held to add to subs
	subs atomic.Pointer[map[Purpose]*sub]
}

type sub struct {
	key  secret.Value
	aead cipher.AEAD
}

// NewDerived returns a ring that seals with active and opens with it and all earlier ones.
func NewDerived(active Root, earlier ...Root) (*Derived, error) {
	d := &Derived{byID: map[[idBytes]byte]*root{}}
	for _, key := range append([]Root{active}, earlier...) {
		id, err := key.derive(infoID, idBytes)
		if err != nil {
			return nil, err
		}
		r := &root{id: [idBytes]byte(id), key: key}
		r.subs.Store(&map[Purpose]*sub{})
		if d.byID[r.id] != nil {
			return nil, fmt.Errorf("keys: key %x is there twice: remove one", id)
		}
		d.byID[r.id] = r
		if d.active == nil {
			d.active = r
		}
	}
	return d, nil
}

func (r *root) sub(p Purpose) (*sub, error) {
	if s := (*r.subs.Load())[p]; s != nil {
		return s, nil
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := (*r.subs.Load())[p]; s != nil {
		return s, nil
	}
	key, err := r.key.derive(infoKey+string(p), 32)
	if err != nil {
		return nil, err
	}
	sealing, err := r.key.derive(infoSeal+string(p), chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(sealing)
	if err != nil {
		return nil, err
	}
	s := &sub{secret.New(string(key)), aead}
	more := maps.Clone(*r.subs.Load())
	more[p] = s
	r.subs.Store(&more)
	return s, nil
}

var errNoKeys = errors.New("keys: the ring holds no key: open or generate one")

// ActiveID returns the ID of the key that seals.
func (d *Derived) ActiveID() string {
	if d == nil || d.active == nil {
		return ""
	}
	return hex.EncodeToString(d.active.id[:])
}

// Subkey implements Ring.
func (d *Derived) Subkey(p Purpose) (id string, key [32]byte, err error) {
	if d == nil || d.active == nil {
		return "", key, errNoKeys
	}
	s, err := d.active.sub(p)
	if err != nil {
		return "", key, err
	}
	copy(key[:], s.key.Reveal())
	return d.ActiveID(), key, nil
}

// SubkeyByID implements Ring.
func (d *Derived) SubkeyByID(p Purpose, id string) (key [32]byte, err error) {
	if d == nil || d.active == nil {
		return key, errNoKeys
	}
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != idBytes || hex.EncodeToString(raw) != id {
		return key, ErrUnknownKey
	}
	r := d.byID[[idBytes]byte(raw)]
	if r == nil {
		return key, ErrUnknownKey
	}
	s, err := r.sub(p)
	if err != nil {
		return key, err
	}
	copy(key[:], s.key.Reveal())
	return key, nil
}

// Seal implements Ring.
func (d *Derived) Seal(p Purpose, plaintext, aad []byte) ([]byte, error) {
	if d == nil || d.active == nil {
		return nil, errNoKeys
	}
	s, err := d.active.sub(p)
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerBytes, len(plaintext)+Overhead)
	out[0] = envelope
	copy(out[1:], d.active.id[:])
	nonce := out[1+idBytes:]
	_, _ = rand.Read(nonce)
	return s.aead.Seal(out, nonce, plaintext, aad), nil
}

// Open implements Ring.
func (d *Derived) Open(p Purpose, sealed, aad []byte) ([]byte, error) {
	if d == nil || d.active == nil {
		return nil, errNoKeys
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(sealed) < Overhead || sealed[0] != envelope {
		return nil, ErrSealed
	}
	r := d.byID[[idBytes]byte(sealed[1:])]
	if r == nil {
		return nil, ErrSealed
	}
	s, err := r.sub(p)
	if err != nil {
		return nil, err
	}
	plain, err := s.aead.Open(nil, sealed[1+idBytes:headerBytes], sealed[headerBytes:], aad)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
