package limit

import (
	"math"
	"sync"
	"time"
)

// Keyed is a token bucket for each key: burst tokens at first, refilled at a
// steady rate. The zero value refuses. It is safe for concurrent use and must
// not be copied.
type Keyed struct {
	interval time.Duration // time in which one token comes back
	room     time.Duration // time in which an empty bucket fills: burst intervals
	keys     int
	start    time.Time

	mu      sync.Mutex
	buckets map[id]*bucket
	queue   []*bucket // heap, the bucket that is full first at the top
}

// bucket is told by one time: when it is full again. A bucket that is full now
// is like one that does not exist.
type bucket struct {
	key  id
	full time.Duration // since Keyed.start
	at   int           // index in Keyed.queue
}

// NewKeyed returns a limit of perSecond tokens a second and at most burst
// tokens at once for each of at most keys keys that are in use, that is, whose
// buckets are not full. Arguments that are not positive, a rate beyond 1e9 or
// not a number, and a bucket that needs more than a century to fill give a
// limit that refuses everything.
func NewKeyed(perSecond float64, burst, keys int) *Keyed {
	const century = 100 * 365 * 24 * float64(time.Hour)
	interval := float64(time.Second) / perSecond
	usable := perSecond > 0 && interval >= 1 && burst > 0 && keys > 0 && interval*float64(burst) <= century
	if !usable {
		return &Keyed{}
	}
	k := &Keyed{interval: time.Duration(math.Ceil(interval)), keys: keys, start: time.Now(), buckets: map[id]*bucket{}}
	k.room = k.interval * time.Duration(burst)
	return k
}

// Allow takes one token from the bucket of key and reports whether there was
// one. If not, wait says how long it takes until one will be there, or a place
// in the table for this key; a wait of zero says that it never will. A refused
// call takes nothing.
func (k *Keyed) Allow(key string) (ok bool, wait time.Duration) {
	if k == nil || k.keys <= 0 || key == "" {
		return false, 0
	}
	name := idOf(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Since(k.start)
	b := k.buckets[name]
	if b == nil {
		k.evict(now)
		if len(k.queue) >= k.keys {
			return false, k.queue[0].full - now
		}
		b = &bucket{key: name.keep(), full: now + k.interval, at: len(k.queue)}
		k.buckets[b.key] = b
		k.queue = append(k.queue, b)
		k.up(b)
		return true, 0
	}
	full := max(b.full, now) + k.interval
	if over := full - now - k.room; over > 0 {
		return false, over
	}
	b.full = full
	k.down(b)
	return true, 0
}

// Len returns how many keys the table holds.
func (k *Keyed) Len() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue)
}

// evict drops up to two full buckets: more than one call can add, so that the
// table shrinks after a flood, and never so many that one caller waits long.
func (k *Keyed) evict(now time.Duration) {
	for range 2 {
		if len(k.queue) == 0 || k.queue[0].full > now {
			return
		}
		delete(k.buckets, k.queue[0].key)
		last := len(k.queue) - 1
		b := k.queue[last]
		k.queue[last] = nil
		k.queue = k.queue[:last]
		if last > 0 {
			b.at = 0
			k.queue[0] = b
			k.down(b)
		}
	}
}

// up restores the heap after b came to its end.
func (k *Keyed) up(b *bucket) {
	for b.at > 0 {
		parent := k.queue[(b.at-1)/2]
		if parent.full <= b.full {
			return
		}
		k.swap(b, parent)
	}
}

// down restores the heap after b.full grew.
func (k *Keyed) down(b *bucket) {
	for {
		i := 2*b.at + 1
		if i >= len(k.queue) {
			return
		}
		child := k.queue[i]
		if i+1 < len(k.queue) && k.queue[i+1].full < child.full {
			child = k.queue[i+1]
		}
		if b.full <= child.full {
			return
		}
		k.swap(b, child)
	}
}

func (k *Keyed) swap(x, y *bucket) {
	k.queue[x.at], k.queue[y.at] = y, x
	x.at, y.at = y.at, x.at
}
