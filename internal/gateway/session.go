package gateway

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Session is one legacy session of a downstream client. A session never
// authenticates: each request brings its own proof, and the session only
// answers to the principal and the client that opened it. Another client of the
// same user is somebody else here: what the session holds upstream was given to
// the first.
type Session struct {
	peer
	id, digest string
	key        string // issuer and subject, then the session
	path       string
	principal  call.Principal
	version    mcp.Version
	// capabilities and clientInfo are what initialize declared.
	capabilities mcp.Capabilities
	clientInfo   []byte
	created      time.Time
	used         atomic.Int64 // Unix nanoseconds
	ctx          context.Context
	end          context.CancelFunc

	smu     sync.Mutex
	logs    string
	streams map[string]*stream
	kept    *atomic.Int64 // Sessions.kept
}

// ID returns the value of Mcp-Session-Id.
func (s *Session) ID() string { return s.id }

func (s *Session) level() string {
	s.smu.Lock()
	defer s.smu.Unlock()
	return s.logs
}

func (s *Session) setLevel(l string) {
	s.smu.Lock()
	defer s.smu.Unlock()
	s.logs = l
}

// Sessions holds the legacy sessions. It outlives a reload. Use NewSessions.
type Sessions struct {
	mu     sync.RWMutex
	byID   map[string]*Session
	owned  map[string]int
	limits Limits
	ended  func(*Session)
	// strays bounds how often a client presents a session that is not its own,
	// alarms how many of those are told one by one.
	strays, alarms *limit.Keyed
	grants         *grantWatch
	// kept counts the bytes that streams keep for clients that come back.
	kept atomic.Int64
}

// What a client may present that is not its own: enough for all of its sessions
// after a restart that forgot them, too little to look for others'.
const (
	strayBurst = 100
	strayRate  = 1 // per second
	alarmBurst = 10
	alarmRate  = 1.0 / 60
)

// NewSessions returns an empty table. ended is told of every session that
// ends, by whatever cause.
func NewSessions(l Limits, ended func(key string)) *Sessions {
	return &Sessions{grants: newGrantWatch(), byID: map[string]*Session{}, owned: map[string]int{}, limits: l,
		strays: limit.NewKeyed(strayRate, strayBurst, maxKeys), alarms: limit.NewKeyed(alarmRate, alarmBurst, maxKeys), ended: func(s *Session) {
			if ended != nil {
				ended(s.key)
			}
		}}
}

// open makes a session with 128 bits and more of randomness in its ID.
func (t *Sessions) open(p call.Principal, path string) (*Session, bool) {
	id := rand.Text() // 130 bits, base32
	s := &Session{id: id, digest: audit.ShortDigest(id), key: p.Key() + ":" + id, path: path, principal: p, created: time.Now()}
	s.speaks, s.kept = mcp.Legacy, &t.kept
	s.used.Store(s.created.UnixNano())
	s.ctx, s.end = context.WithCancel(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.limits.Sessions || t.owned[p.Key()] >= t.limits.PrincipalOwn {
		s.end()
		return nil, false
	}
	t.byID[id] = s
	t.owned[p.Key()]++
	return s, true
}

// found is what a session ID means to who presents it.
type found uint8

const (
	foundNone    found = iota // there is none, or it has run out
	foundOwn                  // it is the presenter's
	foundForeign              // it belongs to another principal, or to another client of the same
	foundWider                // it is the presenter's, who has come by more rights since it was opened
)

// find returns the session of an ID. Whatever it found that is not the
// presenter's own, the presenter must be answered as if there were none.
func (t *Sessions) find(id string, p call.Principal, path string) (*Session, found) {
	t.mu.RLock()
	s := t.byID[id]
	t.mu.RUnlock()
	switch {
	case s == nil:
		return nil, foundNone
	case s.principal.ClientKey() != p.ClientKey():
		return s, foundForeign
	case s.path != path || t.stale(s, time.Now()):
		return nil, foundNone
	case wider(s.principal.Identity(), p.Identity()):
		return s, foundWider
	}
	s.used.Store(time.Now().UnixNano())
	return s, foundOwn
}

// wider reports that a proof gives more than the one that a session was opened
// with: a scope, role or group that was not there, or a stronger or other
// sign-in. Less is no reason to end a session: each request is judged by the
// proof that it brings.
func wider(was, now call.Identity) bool {
	for _, l := range [][2][]string{{was.Scopes, now.Scopes}, {was.Roles, now.Roles}, {was.Groups, now.Groups}, {was.AMR, now.AMR}} {
		for _, s := range l[1] {
			if !slices.Contains(l[0], s) {
				return true
			}
		}
	}
	return now.ACR != "" && now.ACR != was.ACR
}

func (t *Sessions) stale(s *Session, now time.Time) bool {
	return now.Sub(time.Unix(0, s.used.Load())) > t.limits.SessionIdle || now.Sub(s.created) > t.limits.SessionLife
}

// close ends a session; nothing of it stays behind.
func (t *Sessions) close(s *Session) {
	t.mu.Lock()
	if t.byID[s.id] != s {
		t.mu.Unlock()
		return
	}
	delete(t.byID, s.id)
	if t.owned[s.principal.Key()]--; t.owned[s.principal.Key()] <= 0 {
		delete(t.owned, s.principal.Key())
	}
	t.mu.Unlock()
	s.end()
	s.cancelAll()
	s.forgetStreams(true)
	t.ended(s)
}

// SessionInfo is one row of `munjigi sessions list`.
type SessionInfo struct {
	Digest    string    `json:"id"`
	Principal string    `json:"principal"`
	Path      string    `json:"path"`
	Version   string    `json:"version"`
	Created   time.Time `json:"created"`
	Used      time.Time `json:"used"`
}

// List returns the sessions without their IDs.
func (t *Sessions) List() []SessionInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]SessionInfo, 0, len(t.byID))
	for _, s := range t.byID {
		out = append(out, SessionInfo{Digest: s.digest, Principal: s.principal.String(), Path: s.path,
			Version: string(s.version), Created: s.created, Used: time.Unix(0, s.used.Load())})
	}
	return out
}

// End ends the sessions whose digest starts with prefix and returns how many.
func (t *Sessions) End(prefix string) int {
	if len(prefix) < 8 {
		return 0
	}
	t.mu.RLock()
	var hit []*Session
	for _, s := range t.byID {
		if strings.HasPrefix(s.digest, prefix) {
			hit = append(hit, s)
		}
	}
	t.mu.RUnlock()
	for _, s := range hit {
		t.close(s)
	}
	return len(hit)
}

// EndOf ends the sessions of the principals that match, and returns how many.
func (t *Sessions) EndOf(match func(call.Principal) bool) int {
	t.mu.RLock()
	var hit []*Session
	for _, s := range t.byID {
		if match(s.principal) {
			hit = append(hit, s)
		}
	}
	t.mu.RUnlock()
	for _, s := range hit {
		t.close(s)
	}
	return len(hit)
}

// Sweep ends stale sessions until ctx ends.
func (t *Sessions) Sweep(ctx context.Context, every time.Duration) {
	defer t.grants.end()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.mu.RLock()
			var old []*Session
			for _, s := range t.byID {
				if t.stale(s, now) {
					old = append(old, s)
				}
				s.forgetStreams(false)
			}
			t.mu.RUnlock()
			for _, s := range old {
				t.close(s)
			}
		}
	}
}
