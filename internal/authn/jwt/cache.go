package jwt

import (
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

const (
	defaultEntries = 10_000
	defaultBytes   = 32 << 20
	entryCost      = 1 << 10 // bytes beside the claims
)

// entry is what is remembered of a verified token: who it proves, until when,
// and by which key.
type entry struct {
	principal call.Principal
	proof     string
	bound     bool
	until     int64
	key       *key
	keys      *keys
	size      int
}

// usable reports that the token is in force and its key still published.
func (e *entry) usable(now time.Time) bool {
	return now.Unix() < e.until && !e.key.gone.Load() && e.keys.fresh(now)
}

// cache remembers verified tokens by digest. It is bounded by number and by
// size; what has to leave is chosen at random, so that no order of arrivals
// keeps somebody out. A hit takes a read lock and one look-up.
type cache struct {
	entries, bytes int

	mu   sync.RWMutex
	by   map[[32]byte]*entry
	size int
}

func newCache(entries, bytes int) *cache {
	if entries <= 0 {
		entries = defaultEntries
	}
	if bytes <= 0 {
		bytes = defaultBytes
	}
	return &cache{entries: entries, bytes: bytes, by: map[[32]byte]*entry{}}
}

func (c *cache) get(d [32]byte) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.by[d]
}

func (c *cache) put(d [32]byte, e *entry, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(d)
	c.by[d] = e
	c.size += e.size + entryCost
	for len(c.by) > c.entries || c.size > c.bytes && len(c.by) > 1 {
		c.evict(d, now)
	}
}

// evict removes an expired entry if one of a few is, else the first of them.
// The order of a map is random.
func (c *cache) evict(keep [32]byte, now int64) {
	var victim [32]byte
	looked := 0
	for d, e := range c.by {
		if d == keep {
			continue
		}
		if looked == 0 {
			victim = d
		}
		if e.until <= now {
			victim = d
			break
		}
		if looked++; looked == 8 {
			break
		}
	}
	c.remove(victim)
}

func (c *cache) drop(d [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(d)
}

func (c *cache) remove(d [32]byte) {
	if e, ok := c.by[d]; ok {
		c.size -= e.size + entryCost
		delete(c.by, d)
	}
}
