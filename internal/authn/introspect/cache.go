package introspect

import (
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

const (
	defaultEntries = 10_000
	defaultBytes   = 32 << 20
	entryCost      = 2 << 10 // bytes beside the answer and the token
	mostRefused    = 10_000
)

// cache remembers answers by the digest of their token, and the ones about
// tokens in use by their proof. Both tables are bounded; what has to leave is
// chosen at random, so that no order of arrivals keeps somebody out.
type cache struct {
	entries, bytes int

	mu    sync.RWMutex
	by    map[[32]byte]*answer
	proof map[string]*answer
	no    map[[32]byte]time.Time
	size  int
}

func newCache(entries, bytes int) *cache {
	if entries <= 0 {
		entries = defaultEntries
	}
	if bytes <= 0 {
		bytes = defaultBytes
	}
	return &cache{entries: entries, bytes: bytes, by: map[[32]byte]*answer{}, proof: map[string]*answer{}, no: map[[32]byte]time.Time{}}
}

// get returns what is known of a token; no reports that it is known not to be
// active.
func (c *cache) get(d [32]byte, now time.Time) (a *answer, no bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if until, ok := c.no[d]; ok && now.Before(until) {
		return nil, true
	}
	if a = c.by[d]; a != nil && a.expired(now) {
		a = nil
	}
	return a, false
}

func (c *cache) named(proof string) *answer {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.proof[proof]
}

// name lets an answer be found by the proof that rests on it.
func (c *cache) name(a *answer, proof string) {
	c.mu.RLock()
	same := a.proof == proof && c.proof[proof] == a
	c.mu.RUnlock()
	if same {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[a.digest] != a {
		return // another answer took its place, or it had to leave
	}
	if c.proof[a.proof] == a {
		delete(c.proof, a.proof)
	}
	a.proof = proof
	c.proof[proof] = a
}

func (c *cache) put(a *answer, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.by[a.digest]; old != nil {
		a.proof = old.proof
		c.remove(old)
	}
	delete(c.no, a.digest)
	c.by[a.digest] = a
	if a.proof != "" {
		c.proof[a.proof] = a
	}
	c.size += a.size + entryCost
	for len(c.by) > c.entries || c.size > c.bytes && len(c.by) > 1 {
		c.evict(a, now)
	}
}

// evict removes an answer that does not hold any more if one of a few does not,
// else the first of them. The order of a map is random.
func (c *cache) evict(keep *answer, now time.Time) {
	var victim *answer
	looked := 0
	for _, a := range c.by {
		if a == keep {
			continue
		}
		if victim == nil {
			victim = a
		}
		if !now.Before(a.good) {
			victim = a
			break
		}
		if looked++; looked == 8 {
			break
		}
	}
	c.remove(victim)
}

func (c *cache) remove(a *answer) {
	if a == nil || c.by[a.digest] != a {
		return
	}
	c.size -= a.size + entryCost
	delete(c.by, a.digest)
	if c.proof[a.proof] == a {
		delete(c.proof, a.proof)
	}
}

// refuse remembers that a token is not active, and forgets whatever was said of
// it before.
func (c *cache) refuse(d [32]byte, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.by[d])
	c.no[d] = until
	for k, v := range c.no {
		if len(c.no) <= mostRefused && !v.Before(until.Add(-NegativeCache)) {
			break
		}
		if k != d {
			delete(c.no, k)
		}
	}
}

func (c *cache) forget(match func(call.Identity) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.by {
		if match(a.identity) {
			c.remove(a)
		}
	}
}

// adopt takes over the answers of an earlier cache.
func (c *cache) adopt(old *cache, good func(*answer) time.Time) {
	old.mu.RLock()
	list := make([]*answer, 0, len(old.by))
	for _, a := range old.by {
		list = append(list, a)
	}
	old.mu.RUnlock()
	now := time.Now()
	for _, a := range list {
		copied := *a
		copied.good = good(&copied)
		c.put(&copied, now)
	}
}
