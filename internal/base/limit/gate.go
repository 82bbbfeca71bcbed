package limit

import "sync"

// Gate bounds how many are inside at the same time, for each key and in all.
// The zero value refuses. It is safe for concurrent use and must not be
// copied.
type Gate struct {
	each, all int

	mu     sync.Mutex
	inside map[id]*visitors // only keys with somebody inside
	total  int
}

// visitors are those who are inside for one key. The map holds it by pointer
// because assigning to a map again would replace the key by the caller's.
type visitors struct {
	key id
	n   int
}

// NewGate returns a gate that lets in each at a time for every key, and all at
// a time of all keys together. If one of them is not positive it refuses
// everything.
func NewGate(each, all int) *Gate {
	if each <= 0 || all <= 0 {
		return &Gate{}
	}
	return &Gate{each: each, all: all, inside: map[id]*visitors{}}
}

// Acquire lets one in for key and reports whether there was room; it does not
// wait. If ok, release must be called once the work is done; calling it again
// does nothing. If not ok, release does nothing, but may be called.
func (g *Gate) Acquire(key string) (release func(), ok bool) {
	if g == nil || g.each <= 0 || key == "" {
		return func() {}, false
	}
	name := idOf(key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all {
		return func() {}, false
	}
	r := g.inside[name]
	if r == nil {
		r = &visitors{key: name.keep()}
		g.inside[r.key] = r
	}
	if r.n >= g.each {
		return func() {}, false
	}
	r.n++
	g.total++
	var once sync.Once
	return func() { once.Do(func() { g.leave(r) }) }, true
}

func (g *Gate) leave(r *visitors) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if r.n--; r.n == 0 {
		delete(g.inside, r.key)
	}
}

// Inside returns how many are inside for key, and how many in all.
func (g *Gate) Inside(key string) (each, all int) {
	if g == nil {
		return 0, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.inside[idOf(key)]; r != nil {
		each = r.n
	}
	return each, g.total
}
