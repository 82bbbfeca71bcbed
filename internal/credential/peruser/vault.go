package peruser

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// vault is a bucket whose values are sealed JSON, bound to their keys.
type vault struct {
	kv      store.KV
	ring    keys.Ring
	purpose keys.Purpose
}

// get reads an entry into v. The error is store.ErrNotFound, or that of a store
// or a seal.
func (b vault) get(ctx context.Context, key string, v any) (store.Version, error) {
	e, err := b.kv.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	return e.Version, b.open(e, v)
}

func (b vault) open(e store.Entry, v any) error {
	text, err := b.ring.Open(b.purpose, e.Value, []byte(e.Key))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func (b vault) seal(key string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return b.ring.Seal(b.purpose, text, []byte(key))
}

func (b vault) put(ctx context.Context, key string, v any, expiry time.Time) (bool, error) {
	sealed, err := b.seal(key, v)
	if err != nil {
		return false, err
	}
	return b.kv.PutIfAbsent(ctx, key, sealed, expiry)
}

func (b vault) swap(ctx context.Context, key string, old store.Version, v any, expiry time.Time) (bool, error) {
	sealed, err := b.seal(key, v)
	if err != nil {
		return false, err
	}
	return b.kv.CompareAndSwap(ctx, key, old, sealed, expiry)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// cache keeps what was fetched for a moment; it fetches one key once at a time.
type cache[T any] struct {
	time time.Duration

	mu      sync.Mutex
	entries map[string]*fetched[T]
}

type fetched[T any] struct {
	done chan struct{}
	at   time.Time // zero while it is fetched
	v    T
	err  error
}

const cacheEntries = 1024

func newCache[T any](keep time.Duration) *cache[T] {
	return &cache[T]{time: keep, entries: map[string]*fetched[T]{}}
}

// get returns what is kept under key, or what f fetches. Failures are not kept.
// f goes on when ctx ends, for the others who wait.
func (c *cache[T]) get(ctx context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil || !e.at.IsZero() && time.Since(e.at) > c.time {
		if len(c.entries) >= cacheEntries {
			for k, old := range c.entries {
				if !old.at.IsZero() {
					delete(c.entries, k)
				}
			}
		}
		e = &fetched[T]{done: make(chan struct{})}
		c.entries[key] = e
		go func() {
			v, err := f(context.WithoutCancel(ctx))
			c.mu.Lock()
			defer c.mu.Unlock()
			e.v, e.err, e.at = v, err, time.Now()
			if err != nil && c.entries[key] == e {
				delete(c.entries, key)
			}
			close(e.done)
		}()
	}
	c.mu.Unlock()
	select {
	case <-e.done:
		return e.v, e.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// forget lets the next get fetch.
func (c *cache[T]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}
