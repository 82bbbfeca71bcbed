package cedar

import (
	"bytes"
	"sync"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of what a decider remembers: questions in one half of a memo, and
// bytes of the names in one of them.
const (
	maxRemembered = 4096
	maxRememberKB = 4
)

// question is what a decision rests on besides arguments, context, claims and
// the time of signing in. Principal.CacheKey has the rest of the principal but
// for its kind.
type question struct {
	caller string
	kind   call.Kind
	target call.Target
}

// memo remembers what one snapshot of policies made of questions; a reload
// makes a new decider and so an empty memo. When one half is full the other
// is forgotten, so that what is asked again and again stays.
type memo[V any] struct {
	mu         sync.RWMutex
	young, old map[question]remembered[V]
}

// remembered is an answer, and what it rests on that its question does not
// have.
type remembered[V any] struct {
	claims   []byte
	authTime int64
	answer   V
}

// questionOf is what is asked, if it may be remembered.
func questionOf(q authz.Query) (question, bool) {
	k := question{caller: q.Principal.CacheKey(), kind: q.Principal.Kind(), target: q.Target}
	return k, len(k.caller)+len(k.target.Name)+len(k.target.Method)+len(k.target.Server) <= maxRememberKB<<10
}

func (m *memo[V]) get(k question, claims []byte, authTime int64) (answer V, ok bool) {
	m.mu.RLock()
	r, ok := m.young[k]
	aged := !ok
	if aged {
		r, ok = m.old[k]
	}
	m.mu.RUnlock()
	if !ok || r.authTime != authTime || !bytes.Equal(r.claims, claims) {
		return answer, false
	}
	if aged {
		m.put(k, r)
	}
	return r.answer, true
}

func (m *memo[V]) put(k question, r remembered[V]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= maxRemembered {
		m.young, m.old = nil, m.young
	}
	if m.young == nil {
		m.young = make(map[question]remembered[V])
	}
	m.young[k] = r
}
