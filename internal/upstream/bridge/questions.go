package bridge

import (
	"context"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// questions are the requests of a legacy server that wait for a modern
// client. One goroutine at a time works on them.
type questions struct {
	f       *flight
	pending []pending
	asked   int
}

// pending is one request. Its key is not used again.
type pending struct {
	key, method string
	id          mcp.ID
	params      []byte
}

// collect takes what the server sent: notifications go to the client that
// waits now, requests become pending. It reports whether any is new.
func (q *questions) collect(client upstream.Client) (fresh bool) {
	for _, m := range q.f.in.take() {
		switch {
		case m.Kind == mcp.Request:
			q.asked++
			q.pending = append(q.pending, pending{key: "r" + strconv.Itoa(q.asked), method: m.Method, id: m.ID, params: m.Params})
			fresh = true
		case m.Method == mcp.NotifyCancelled:
			q.withdraw(m)
		case client != nil:
			if method, params, ok := q.f.notification(m); ok {
				_ = client.Notify(method, params) // a client that is gone ends ctx
			}
		}
	}
	return fresh
}

// withdraw forgets a request that the server cancelled.
func (q *questions) withdraw(m mcp.Message) {
	o, err := mcp.ObjectOf(m.Params)
	if err != nil {
		return
	}
	id, _ := o.Get("requestId")
	for i, p := range q.pending {
		if p.id.Raw() == string(id) {
			q.f.c.answered(p.id)
			q.pending = append(q.pending[:i:i], q.pending[i+1:]...)
			return
		}
	}
}

// respond sends the answers that an inputResponses object has; what it lacks
// stays pending.
func (q *questions) respond(ctx context.Context, responses []byte) {
	o, _ := mcp.ObjectOf(responses)
	var left []pending
	for _, p := range q.pending {
		raw, ok := o.Get(p.key)
		if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
			left = append(left, p)
			continue
		}
		result := ResponseForLegacy(raw)
		if q.f.task != "" {
			result = relateResult(result, q.f.task)
		}
		q.f.answer(ctx, p.id, result, nil)
	}
	q.pending = left
}

// requests returns the inputRequests object of what is pending.
func (q *questions) requests() []byte {
	o := make(strictjson.Object, 0, len(q.pending))
	for _, p := range q.pending {
		o = append(o, strictjson.Member{Name: p.key, Raw: InputRequest(p.method, p.params)})
	}
	return o.Append(nil)
}

// drop refuses what is pending.
func (q *questions) drop(why *mcp.Error) {
	for _, p := range q.pending {
		q.f.c.answered(p.id)
		q.f.c.later(upstream.Outgoing{Answer: p.id, Error: why})
	}
	q.pending = nil
}
