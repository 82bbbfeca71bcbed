// Package keys is the contract by which the rest asks for keys: always for a purpose, never for the root key itself.
//
// The threat: one key for everything, so that a sealed value of one kind is accepted as another, a signature for one
// reader passes with the next, and a rotation breaks all of it at once.
//
// Guaranteed by every Ring: keys of two purposes are unrelated; what was sealed opens only with the same purpose and
// the same additional data; the ID of the key travels in what was sealed, so that after a rotation the earlier keys
// still open and only the newest one seals. Derived keeps these rules for any source of root keys; where a root key
// lies, and who may reach it, is the business of the subpackages.
//
// Not guaranteed: freshness. What was sealed once opens for ever; expiry and single use are up to the caller.
package keys

import (
	"errors"
	"fmt"
)

// Purpose names what a key is for. Purposes are constants of the code, 1 to 64 of [a-z0-9-], the first a letter.
type Purpose string

// Check says why p is no purpose, or returns nil.
func (p Purpose) Check() error {
	for i := range len(p) {
		c := p[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && (c == '-' || c >= '0' && c <= '9')) {
			return fmt.Errorf("keys: %q is no purpose: use [a-z][a-z0-9-]*", string(p))
		}
	}
	if p == "" || len(p) > 64 {
		return errors.New("keys: a purpose has 1 to 64 characters: name one")
	}
	return nil
}

// Errors of a Ring.
var (
	// ErrSealed is the one answer to whatever does not open, so that nobody learns why.
	ErrSealed = errors.New("keys: altered, sealed for another purpose or owner, or by a key that is not here")
	// ErrUnknownKey is returned for a key ID that the ring does not hold.
	ErrUnknownKey = errors.New("keys: no key of that ID: it was removed, or belongs to another data folder")
)

// Ring hands out keys by purpose. It may be used by many goroutines at once.
type Ring interface {
	// Subkey returns the newest key for p and the ID under which SubkeyByID finds it later. It is never the key
	// that Seal uses.
	Subkey(p Purpose) (id string, key [32]byte, err error)
	// SubkeyByID returns the key for p that Subkey gave out under id, or ErrUnknownKey.
	SubkeyByID(p Purpose, id string) (key [32]byte, err error)
	// Seal encrypts and authenticates plaintext, and authenticates aad, which must be given to Open again.
	Seal(p Purpose, plaintext, aad []byte) ([]byte, error)
	// Open returns what was sealed for p with aad, or ErrSealed.
	Open(p Purpose, sealed, aad []byte) ([]byte, error)
}
