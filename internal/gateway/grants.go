package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/credential"
)

// grantWatch remembers which permissions people are asked for, and tells those
// who wait for one when it was given. A permission belongs to one principal,
// client and server. It outlives a reload.
type grantWatch struct {
	life context.Context //nolint:containedctx // of the goroutines that wait
	end  context.CancelFunc

	mu      sync.Mutex
	pending map[string]*pendingGrant
	owned   map[string]int
	given   map[ownedServer]time.Time // lately
	waiting map[ownedServer]map[chan struct{}]struct{}
	hearing map[string]map[chan string]struct{} // by the key of a legacy session
}

// ownedServer is whose permission for which server; owner is a ClientKey.
type ownedServer struct{ owner, server string }

// pendingGrant is one link that waits for its person.
type pendingGrant struct {
	ownedServer
	need *credential.GrantNeeded
	told map[string]bool // keys of the sessions that were told its ID
}

const (
	// maxPendingOwn and maxPending bound the links that wait: of one client of
	// one principal, and in all.
	maxPendingOwn = 16
	maxPending    = 10_000
	maxTold       = 64
	// grantLife is how long a link lives, and how long it is remembered that it
	// was used.
	grantLife = 10 * time.Minute
)

var errNeverGiven = errors.New("whoever asks for the permission does not say when it is given")

func newGrantWatch() *grantWatch {
	w := &grantWatch{pending: map[string]*pendingGrant{}, owned: map[string]int{}, given: map[ownedServer]time.Time{},
		waiting: map[ownedServer]map[chan struct{}]struct{}{}, hearing: map[string]map[chan string]struct{}{}}
	w.life, w.end = context.WithCancel(context.Background())
	return w
}

// add notes a permission that owner was asked for, and which session was told;
// session is empty where none was. It fails when too many wait.
func (w *grantWatch) add(owner string, need *credential.GrantNeeded, session string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending[need.ID]
	switch {
	case need.ID == "" || need.URL == "" || p != nil && (p.owner != owner || p.server != need.Server):
		return false // no link of this owner
	case p == nil && (w.owned[owner] >= maxPendingOwn || len(w.pending) >= maxPending || w.life.Err() != nil):
		return false
	case p == nil:
		p = &pendingGrant{ownedServer: ownedServer{owner, need.Server}, need: need, told: map[string]bool{}}
		w.pending[need.ID] = p
		w.owned[owner]++
		go w.watch(p)
	}
	if session != "" && len(p.told) < maxTold {
		p.told[session] = true
	}
	return true
}

// watch waits for one permission and tells who waits too.
func (w *grantWatch) watch(p *pendingGrant) {
	ctx, cancel := context.WithTimeout(w.life, grantLife)
	defer cancel()
	err := waitFor(ctx, p.need)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, p.need.ID)
	if w.owned[p.owner]--; w.owned[p.owner] <= 0 {
		delete(w.owned, p.owner)
	}
	if err != nil {
		return
	}
	now := time.Now()
	if len(w.given) >= maxPending {
		for k, at := range w.given {
			if now.Sub(at) > grantLife {
				delete(w.given, k)
			}
		}
	}
	if len(w.given) < maxPending {
		w.given[p.ownedServer] = now
	}
	for ch := range w.waiting[p.ownedServer] {
		close(ch)
	}
	delete(w.waiting, p.ownedServer)
	for session := range p.told {
		for ch := range w.hearing[session] {
			select {
			case ch <- p.need.ID:
			default: // it is told a lot and reads nothing
			}
		}
	}
}

// waitFor contains what a source does while it waits.
func waitFor(ctx context.Context, need *credential.GrantNeeded) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	if need.Wait == nil {
		return errNeverGiven
	}
	return need.Wait(ctx)
}

// find returns the link of an ID if it is owner's and still waits.
func (w *grantWatch) find(id, owner, server string) *credential.GrantNeeded {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.pending[id]; p != nil && p.ownedServer == (ownedServer{owner, server}) {
		return p.need
	}
	return nil
}

// lately reports that the permission was given a short while ago.
func (w *grantWatch) lately(owner, server string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.given[ownedServer{owner, server}]
	return ok && time.Since(at) <= grantLife
}

// wait returns a channel that is closed when the permission is given; stop ends
// the wait.
func (w *grantWatch) wait(owner, server string) (given <-chan struct{}, stop func()) {
	k, ch := ownedServer{owner, server}, make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[k] == nil {
		w.waiting[k] = map[chan struct{}]struct{}{}
	}
	w.waiting[k][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.waiting[k], ch); len(w.waiting[k]) == 0 {
			delete(w.waiting, k)
		}
	}
}

// hear returns the IDs of permissions that a session was told and that were
// given; stop ends it.
func (w *grantWatch) hear(session string) (ids <-chan string, stop func()) {
	ch := make(chan string, maxPendingOwn)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hearing[session] == nil {
		w.hearing[session] = map[chan string]struct{}{}
	}
	w.hearing[session][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.hearing[session], ch); len(w.hearing[session]) == 0 {
			delete(w.hearing, session)
		}
	}
}
