package stdio

import (
	"crypto/rand"
	"sync"
	"time"
)

const (
	crashTime    = 10 * time.Second
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// backoff remembers crashes: the pause doubles with each that follows another
// and is forgotten when a process has lived for crashTime.
type backoff struct {
	mu      sync.Mutex
	crashes int
	until   time.Time
}

// left returns how long no process is to be started.
func (b *backoff) left() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Until(b.until)
}

// crashed counts a start that failed or a process that ended by itself soon
// after. A quarter of the pause is random, so that several gateways do not
// start in step.
func (b *backoff) crashed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := maxBackoff
	if b.crashes < 7 {
		d = firstBackoff << b.crashes
		b.crashes++
	}
	var jitter [1]byte
	_, _ = rand.Read(jitter[:]) // never fails: crypto/rand aborts the process instead
	d -= d / 4 * time.Duration(jitter[0]) / 255
	if until := time.Now().Add(d); until.After(b.until) {
		b.until = until
	}
}

// lived forgets the crashes.
func (b *backoff) lived() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashes, b.until = 0, time.Time{}
}
