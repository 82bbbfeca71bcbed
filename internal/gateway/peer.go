package gateway

import (
	"context"
	"strconv"
	"sync"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// peer is the state of one conversation that allows both sides to ask: a
// legacy session or a stdio connection. It knows which request IDs are in use
// and which questions wait for an answer.
type peer struct {
	mu       sync.Mutex
	speaks   mcp.Era
	inflight map[string]*claimed
	waiting  map[string]*pending
	hosts    map[string]*hosted // by the server's name
	used     used
	next     uint64
}

// claimed is one request under way.
type claimed struct{ cancel context.CancelCauseFunc }

// pending is a question put to the client.
type pending struct {
	question
	target call.Target
	of     authz.Query // the call that the server works on
	// approved: a person approved that call.
	approved bool
	answer   chan reply
}

type reply struct {
	result []byte
	err    *mcp.Error
}

const (
	maxInflight = 4096
	maxWaiting  = 256
)

// era returns the era that the conversation opened with, 0 before.
func (p *peer) era() mcp.Era {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.speaks
}

// opens fixes the era of the conversation.
func (p *peer) opens(e mcp.Era) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.speaks = e
}

// begin claims a request ID until end is called. It fails, and says why, when
// the ID is in use or, in the legacy era, was. free gives the ID back: it is
// called before the answer is written, since a client may use it again then.
func (p *peer) begin(ctx context.Context, id mcp.ID) (_ context.Context, free, end func(), why call.Reason, text string) {
	key := idKey(id.Raw())
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, running := p.inflight[key]; running {
		return nil, nil, nil, call.ReasonReusedID, "this request ID is in use"
	}
	if len(p.inflight) >= maxInflight {
		return nil, nil, nil, call.ReasonTooMany, "too many requests are under way: wait and try again"
	}
	if p.speaks == mcp.Legacy && !p.used.add(key) {
		return nil, nil, nil, call.ReasonReusedID, "this request ID was used before in this session: take a new one"
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if p.inflight == nil {
		p.inflight = map[string]*claimed{}
	}
	r := &claimed{cancel}
	p.inflight[key] = r
	free = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.inflight[key] == r {
			delete(p.inflight, key)
		}
	}
	return ctx, free, func() { free(); cancel(nil) }, "", ""
}

// opened notes the ID of the initialize that opened a session.
func (p *peer) opened(id mcp.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used.add(idKey(id.Raw()))
}

// cancel ends the request of an ID, if there is one.
func (p *peer) cancel(rawID []byte, why error) {
	p.mu.Lock()
	r := p.inflight[idKey(string(rawID))]
	p.mu.Unlock()
	if r != nil {
		r.cancel(why)
	}
}

// cancelAll ends every request.
func (p *peer) cancelAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.inflight {
		r.cancel(errEnded)
	}
}

// ask registers a question and returns its ID.
func (p *peer) ask(q question, t call.Target, of authz.Query, approved bool) (mcp.ID, *pending, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxWaiting {
		return mcp.ID{}, nil, false
	}
	if p.waiting == nil {
		p.waiting = map[string]*pending{}
	}
	p.next++
	id := mcp.StringID("munjigi-" + strconv.FormatUint(p.next, 10))
	w := &pending{question: q, target: t, of: of, approved: approved, answer: make(chan reply, 1)}
	p.waiting[id.Raw()] = w
	return id, w, true
}

// forget drops a question that nobody waits for any more.
func (p *peer) forget(id mcp.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id.Raw())
}

func (p *peer) find(id mcp.ID) *pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting[id.Raw()]
}

func (p *peer) waitsFor(id mcp.ID) bool { return !id.IsZero() && p.find(id) != nil }

func (p *peer) asker(id mcp.ID) call.Target {
	if w := p.find(id); w != nil {
		return w.target
	}
	return call.Target{}
}

// query is what an answer is authorized by: it is part of the call that the
// server works on.
func (p *peer) query(id mcp.ID) authz.Query {
	if w := p.find(id); w != nil {
		return w.of
	}
	return authz.Query{}
}

// approved reports that a person approved the call that an answer belongs to.
func (p *peer) approved(id mcp.ID) bool {
	w := p.find(id)
	return w != nil && w.approved
}

// fits checks an answer against its question.
func (p *peer) fits(id mcp.ID, result []byte) string {
	w := p.find(id)
	if w == nil {
		return "nobody asked for this answer"
	}
	return w.question.fits(result)
}

// trim drops from an answer what was not asked.
func (p *peer) trim(id mcp.ID, result []byte) []byte {
	if w := p.find(id); w != nil {
		return w.question.trim(result)
	}
	return result
}

// deliver hands an answer to who waits for it; only the first is taken.
func (p *peer) deliver(id mcp.ID, r reply) bool {
	p.mu.Lock()
	w := p.waiting[id.Raw()]
	delete(p.waiting, id.Raw())
	p.mu.Unlock()
	if w == nil {
		return false
	}
	w.answer <- r
	return true
}
