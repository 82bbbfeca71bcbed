package oauth

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
)

// Key names one token in a Cache: a digest of all that it depends on.
type Key [32]byte

// Cache keeps tokens until shortly before their end and fetches the next one
// ahead of it. Use NewCache.
//
// Threat: a stampede on the token endpoint when a token ends or the endpoint is
// down; a token that is given out after its end; memory that callers fill. One
// fetch per key is under way at a time, whoever waits; failures are told to all
// who wait and are not repeated at once; the least used key goes when there are
// too many. Nothing is given out without a token that is valid now.
type Cache struct {
	most int

	mu   sync.Mutex
	by   map[Key]*list.Element // of *entry
	used *list.List            // most recently used first
}

// entry is one key's token and fetch. Cache.mu guards it.
type entry struct {
	key    Key
	token  Token
	renew  time.Time // when the next one is fetched ahead
	flight *fetching
	forced time.Time // of the last Refused that dropped a token
	fails  int
	until  time.Time // no fetch before this, after failures
	err    error     // of the last failure
}

type fetching struct {
	done  chan struct{}
	token Token
	err   error
}

const (
	fetchTime   = 30 * time.Second
	margin      = 10 * time.Second // a token is not used so shortly before its end
	forceEvery  = 10 * time.Second
	firstPause  = 500 * time.Millisecond
	longest     = 30 * time.Second
	sweptAtOnce = 2
)

// NewCache returns a cache of at most most tokens.
func NewCache(most int) *Cache {
	return &Cache{most: max(most, 1), by: map[Key]*list.Element{}, used: list.New()}
}

// usable reports that a token can be sent now.
func (t Token) usable(now time.Time) bool {
	return !t.Access.IsZero() && now.Before(t.Expires)
}

// Get returns the token of a key, fetching it if need be. The fetch goes on when
// ctx ends, since others may wait for it; it is given half a minute.
func (c *Cache) Get(ctx context.Context, k Key, fetch func(context.Context) (Token, error)) (Token, error) {
	now := time.Now()
	c.mu.Lock()
	e := c.entry(k, now)
	if e.token.usable(now) {
		t := e.token
		if now.After(e.renew) && e.flight == nil && !now.Before(e.until) {
			c.start(ctx, e, fetch)
		}
		c.mu.Unlock()
		return t, nil
	}
	if e.flight == nil {
		if now.Before(e.until) {
			err := e.err
			c.mu.Unlock()
			return Token{}, err
		}
		c.start(ctx, e, fetch)
	}
	f := e.flight
	c.mu.Unlock()
	select {
	case <-f.done:
		if f.err == nil && !f.token.usable(time.Now()) {
			return Token{}, fmt.Errorf("%w: its token has ended already", ErrAnswer)
		}
		return f.token, f.err
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
}

// entry returns the entry of a key and makes room. Cache.mu is held.
func (c *Cache) entry(k Key, now time.Time) *entry {
	for range sweptAtOnce {
		last := c.used.Back()
		if last == nil {
			break
		}
		if old := last.Value.(*entry); old.key == k || old.flight != nil || old.token.usable(now) || now.Before(old.until) {
			break
		}
		c.drop(last)
	}
	if el := c.by[k]; el != nil {
		c.used.MoveToFront(el)
		return el.Value.(*entry)
	}
	if c.used.Len() >= c.most {
		c.drop(c.used.Back())
	}
	e := &entry{key: k}
	c.by[k] = c.used.PushFront(e)
	return e
}

func (c *Cache) drop(el *list.Element) {
	delete(c.by, el.Value.(*entry).key)
	c.used.Remove(el)
}

// start fetches in the background. Cache.mu is held.
func (c *Cache) start(ctx context.Context, e *entry, fetch func(context.Context) (Token, error)) {
	f := &fetching{done: make(chan struct{})}
	e.flight = f
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	go func() {
		defer cancel()
		f.token, f.err = fetch(ctx)
		c.mu.Lock()
		c.arrived(e, f)
		c.mu.Unlock()
		close(f.done)
	}()
}

func (c *Cache) arrived(e *entry, f *fetching) {
	e.flight = nil
	now := time.Now()
	if f.err != nil {
		e.err = f.err
		e.until = now.Add(min(firstPause<<min(e.fails, 10), longest))
		e.fails++
		return
	}
	life := f.token.Expires.Sub(now)
	// Callers get the token's end as it is used here: shortly before its own.
	f.token.Expires = f.token.Expires.Add(-min(margin, life/10))
	e.token, e.fails, e.err, e.until = f.token, 0, nil, time.Time{}
	e.renew = f.token.Expires
	if !f.token.Last {
		// Ahead by a tenth, with as much again at random, so that replicas and
		// tokens of one moment do not come together.
		ahead := min(life/10, 2*time.Minute)
		e.renew = e.renew.Add(-ahead - jitter(ahead))
	}
}

// jitter is a random part of d.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:])                                                  // never fails: crypto/rand aborts the process instead
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(max(d, 1))) //nolint:gosec // d is not negative
}

// Refused says that a server refused a token. It reports whether Get would give
// another: the one that came since, or, at most every ten seconds, a new one.
func (c *Cache) Refused(k Key, sent secret.Value) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.by[k]
	if el == nil {
		return true
	}
	e := el.Value.(*entry)
	now := time.Now()
	if !e.token.usable(now) || !e.token.Access.Equal(sent) {
		return true
	}
	if now.Sub(e.forced) < forceEvery {
		return false
	}
	e.forced, e.token = now, Token{}
	return true
}

// Forget drops the token of a key.
func (c *Cache) Forget(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.by[k]; el != nil {
		c.drop(el)
	}
}

// Len returns how many keys there are.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used.Len()
}
