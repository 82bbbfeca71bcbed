package gateway

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
)

// stream is one SSE stream of a 2025-11-25 session. It keeps its last events
// for a client that lost its connection and comes back with Last-Event-ID
// ("Resumability and Redelivery").
type stream struct {
	id string

	mu      sync.Mutex
	first   int // sequence number of events[0]
	events  [][]byte
	bytes   int
	done    bool
	ended   time.Time
	changed chan struct{}
	all     *atomic.Int64 // bytes that the streams of all sessions keep; nil once dropped
}

const (
	keepEvents  = 256
	keepBytes   = 1 << 20
	keepStreams = 32
	keepDone    = time.Minute // after the end
	keepAll     = 256 << 20   // bytes, of all sessions
)

// newStream opens a resumable stream in the session.
func (s *Session) newStream() *stream {
	st := &stream{id: rand.Text()[:16], first: 1, changed: make(chan struct{}), all: s.kept}
	s.smu.Lock()
	defer s.smu.Unlock()
	if s.streams == nil {
		s.streams = map[string]*stream{}
	}
	before := time.Now()
	if len(s.streams) < keepStreams {
		before = before.Add(-keepDone)
	}
	s.forget(before)
	if len(s.streams) < 4*keepStreams {
		s.streams[st.id] = st
	} else {
		st.drop()
	}
	return st
}

// forget lets go of the streams that ended before a time; smu is held.
func (s *Session) forget(before time.Time) {
	for id, st := range s.streams {
		if st.over(before) {
			delete(s.streams, id)
			st.drop()
		}
	}
}

// forgetStreams lets go of streams that ended a while ago, or of all.
func (s *Session) forgetStreams(all bool) {
	s.smu.Lock()
	defer s.smu.Unlock()
	s.forget(time.Now().Add(-keepDone))
	if all {
		for id, st := range s.streams {
			delete(s.streams, id)
			st.drop()
		}
	}
}

// find returns the stream and the position that a Last-Event-ID names.
func (s *Session) find(lastEventID string) (*stream, int, bool) {
	id, n, ok := strings.Cut(lastEventID, ".")
	seq, err := strconv.Atoi(n)
	if !ok || err != nil || seq < 0 {
		return nil, 0, false
	}
	s.smu.Lock()
	st := s.streams[id]
	s.smu.Unlock()
	return st, seq, st != nil
}

func (s *Session) dropStream(st *stream) {
	s.smu.Lock()
	defer s.smu.Unlock()
	delete(s.streams, st.id)
	st.drop()
}

// over reports that the stream ended before a time.
func (st *stream) over(before time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.done && st.ended.Before(before)
}

// drop lets go of what a stream keeps; it keeps nothing more.
func (st *stream) drop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.all != nil {
		st.all.Add(-int64(st.bytes))
	}
	st.first += len(st.events)
	st.events, st.bytes, st.all = nil, 0, nil
}

// add keeps an event, as long as there is room for it, and returns its ID.
func (st *stream) add(body []byte) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	id := st.eventID(st.first + len(st.events))
	st.events = append(st.events, body)
	st.count(len(body))
	for len(st.events) > 0 && (st.all == nil || st.all.Load() > keepAll || len(st.events) > 1 && (len(st.events) > keepEvents || st.bytes > keepBytes)) {
		st.count(-len(st.events[0]))
		st.events[0] = nil
		st.events = st.events[1:]
		st.first++
	}
	close(st.changed)
	st.changed = make(chan struct{})
	return id
}

// count adds to the bytes that are kept; mu is held.
func (st *stream) count(n int) {
	st.bytes += n
	if st.all != nil {
		st.all.Add(int64(n))
	}
}

func (st *stream) eventID(seq int) string { return st.id + "." + strconv.Itoa(seq) }

func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.done {
		st.done, st.ended = true, time.Now()
		close(st.changed)
		st.changed = make(chan struct{})
	}
}

// after returns the events behind a position, whether more can follow, and a
// channel that closes on change. lost reports that some were dropped.
func (st *stream) after(seq int) (events [][]byte, next int, done, lost bool, changed <-chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	lost = seq+1 < st.first
	from := max(seq+1-st.first, 0)
	if from < len(st.events) {
		events = append(events, st.events[from:]...)
	}
	return events, st.first + len(st.events) - 1, st.done, lost, st.changed
}

// replay writes what a returning client missed and goes on until the stream
// is done.
func (st *stream) replay(ctx context.Context, seq int, w *sseWriter) {
	for {
		events, next, done, lost, changed := st.after(seq)
		if lost {
			return
		}
		for i, e := range events {
			if w.event(st.eventID(next-len(events)+1+i), e) != nil {
				return
			}
		}
		seq = next
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(w.keepAlive):
			if w.comment() != nil {
				return
			}
		}
	}
}

// resumable reports whether a version's clients understand priming events.
func resumable(v mcp.Version) bool { return v >= mcp.V20251125 }
