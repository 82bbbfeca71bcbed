package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// sealer makes the texts that clients carry for the gateway out of a key
// ring. What Seal makes begins with "s", what Name makes with "n".
type sealer struct{ ring keys.Ring }

var _ gateway.Sealer = sealer{}

// Seal implements gateway.Sealer.
func (s sealer) Seal(purpose string, plain, binding []byte) (string, error) {
	b, err := s.ring.Seal(keys.Purpose(purpose), plain, binding)
	if err != nil {
		return "", err
	}
	return "s" + base64.RawURLEncoding.EncodeToString(b), nil
}

// Name implements gateway.Sealer. The nonce is a keyed digest of what is
// sealed and of its binding (the construction of RFC 5297 with other parts):
// equal inputs give equal texts, and different ones never share a nonce.
func (s sealer) Name(purpose string, plain, binding []byte) (string, error) {
	id, key, err := s.ring.Subkey(keys.Purpose(purpose + "-name"))
	if err != nil {
		return "", err
	}
	nonce := syntheticNonce(key, plain, binding)
	aead, err := chacha20poly1305.NewX(subkey(key, "seal"))
	if err != nil {
		return "", err
	}
	return "n" + id + "." + base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, binding)), nil
}

// Open implements gateway.Sealer.
func (s sealer) Open(purpose, sealed string, binding []byte) ([]byte, error) {
	if rest, ok := strings.CutPrefix(sealed, "s"); ok {
		b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
		if err != nil {
			return nil, keys.ErrSealed
		}
		return s.ring.Open(keys.Purpose(purpose), b, binding)
	}
	rest, ok := strings.CutPrefix(sealed, "n")
	id, text, cut := strings.Cut(rest, ".")
	if !ok || !cut {
		return nil, keys.ErrSealed
	}
	key, err := s.ring.SubkeyByID(keys.Purpose(purpose+"-name"), id)
	if err != nil {
		return nil, keys.ErrSealed
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < chacha20poly1305.NonceSizeX {
		return nil, keys.ErrSealed
	}
	aead, err := chacha20poly1305.NewX(subkey(key, "seal"))
	if err != nil {
		return nil, err
	}
	nonce, body := b[:chacha20poly1305.NonceSizeX], b[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, body, binding)
	if err != nil || !hmac.Equal(nonce, syntheticNonce(key, plain, binding)) {
		return nil, keys.ErrSealed
	}
	return plain, nil
}

func subkey(key [32]byte, what string) []byte {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(what))
	return m.Sum(nil)
}

func syntheticNonce(key [32]byte, plain, binding []byte) []byte {
	m := hmac.New(sha256.New, subkey(key, "nonce"))
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(binding))))
	m.Write(binding)
	m.Write(plain)
	return m.Sum(nil)[:chacha20poly1305.NonceSizeX]
}

// once remembers nonces in the store, so that a restart forgets none.
type once struct{ kv store.KV }

// First implements gateway.Once.
func (o once) First(ctx context.Context, key string, until time.Time) (bool, error) {
	return o.kv.PutIfAbsent(ctx, key, []byte{1}, until)
}
