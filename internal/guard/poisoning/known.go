package poisoning

import (
	"sync"

	"github.com/munjigi/munjigi/internal/guard"
)

// mostKnown bounds the verdicts that are remembered.
const mostKnown = 16 << 10

// known remembers verdicts by the digests of what was judged: a call is judged
// by its definition each time, and the definition seldom changes.
type known struct {
	mu  sync.RWMutex
	all map[digests]guard.Verdict
}

type digests struct{ now, before [32]byte }

func newKnown() *known { return &known{all: map[digests]guard.Verdict{}} }

func (k *known) get(s guard.Subject, judge func(guard.Subject) guard.Verdict) guard.Verdict {
	if s.Definition == nil || s.Definition.Digest == [32]byte{} {
		return judge(s)
	}
	key := digests{now: s.Definition.Digest}
	if s.Previous != nil {
		key.before = s.Previous.Digest
	}
	k.mu.RLock()
	v, ok := k.all[key]
	k.mu.RUnlock()
	if ok {
		return v
	}
	v = judge(s)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) >= mostKnown {
		clear(k.all)
	}
	k.all[key] = v
	return v
}
