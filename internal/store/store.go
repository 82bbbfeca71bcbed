// Package store is the contract for what must outlive a call or a process: who used a one-time value, who holds a
// session, what was approved.
//
// The threat: a value that may be used once and is used twice because two requests, two processes or two replicas
// looked at the same moment; an entry of one principal found under the key of another; a record of use that vanished
// before the thing it guards expired.
//
// Guaranteed by every Store: PutIfAbsent, CompareAndSwap and Delete each happen at one moment for all users of the
// store, and have happened for good when they return; an entry is gone at its expiry for every method alike; buckets
// share nothing. Package storetest holds each implementation to this.
//
// Not guaranteed: secrecy. Callers seal what must not be read. Callers also put tenant and principal into the key, with
// Key, so that no two owners can meet.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds that every store keeps.
const (
	MostKeyBytes   = 1024
	MostValueBytes = 1 << 20
)

// Errors of a store. Any other error, one of a context among them, leaves open whether a write happened.
var (
	ErrNotFound = errors.New("store: no such entry")
	ErrClosed   = errors.New("store: closed")
)

// Version names one state of an entry. No two states of a key ever have the same, not even after it was deleted and put
// again. It is never zero.
type Version int64

// Entry is one entry of a bucket.
type Entry struct {
	Key     string
	Value   []byte
	Version Version
	Expiry  time.Time // zero when it never expires; to the millisecond
}

// KV is one bucket. Keys are 1 to MostKeyBytes arbitrary bytes, values up to MostValueBytes. An expiry is the zero time,
// for never, or lies in the future.
type KV interface {
	// Get returns the entry under key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// PutIfAbsent puts an entry where there is none and reports whether it did. Of many that try, one does.
	PutIfAbsent(ctx context.Context, key string, value []byte, expiry time.Time) (bool, error)
	// CompareAndSwap replaces the entry that still has the version old, and reports whether it did.
	CompareAndSwap(ctx context.Context, key string, old Version, value []byte, expiry time.Time) (bool, error)
	// Delete removes the entry and reports whether there was one. Of many that try, one is told that there was.
	Delete(ctx context.Context, key string) (bool, error)
	// Scan gives the entries whose keys begin with prefix to f, in the order of their bytes, until f returns false.
	// f may use the bucket. What is put or deleted meanwhile may be given or not.
	Scan(ctx context.Context, prefix string, f func(Entry) bool) error
}

// Store is a set of buckets.
type Store interface {
	// Bucket returns the bucket of that name, which need not hold anything yet. Names are 1 to 63 of [a-z0-9-], the
	// first a letter.
	Bucket(name string) (KV, error)
	// Close ends all use. What was written stays.
	Close() error
}

// Key makes one key of several parts. No two lists of parts give the same key, and Key(a, b) is a prefix of Key(a, b, c)
// and of no key whose first two parts are others, so it serves Scan too.
func Key(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		for i := range len(part) {
			switch c := part[i]; c {
			case 0:
				b.WriteString("\x01\x01")
			case 1:
				b.WriteString("\x01\x02")
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte(0)
	}
	return b.String()
}

// CheckBucket says why name names no bucket, or returns nil. Implementations call it.
func CheckBucket(name string) error {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && (c == '-' || c >= '0' && c <= '9')) {
			return fmt.Errorf("store: %q names no bucket: use [a-z][a-z0-9-]*", name)
		}
	}
	if name == "" || len(name) > 63 {
		return errors.New("store: a bucket's name has 1 to 63 characters: name one")
	}
	return nil
}

// CheckKey says why key is none, or returns nil. Implementations call it.
func CheckKey(key string) error {
	if key == "" || len(key) > MostKeyBytes {
		return fmt.Errorf("store: a key of %d bytes: it must have 1 to %d", len(key), MostKeyBytes)
	}
	return nil
}

// CheckEntry says why key, value and expiry cannot be put at now, or returns nil. Implementations call it.
func CheckEntry(key string, value []byte, expiry, now time.Time) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(value) > MostValueBytes {
		return fmt.Errorf("store: a value of %d bytes: at most %d fit", len(value), MostValueBytes)
	}
	if !expiry.IsZero() && !expiry.After(now) {
		return errors.New("store: the entry is expired before it is put: refuse what it was for")
	}
	return nil
}
