package bridge

import (
	"context"
	"sync"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// relay passes what the server sends during a call on to the client that
// waits for it: notifications in order, requests to a legacy client at once.
type relay struct {
	f      *flight
	ctx    context.Context
	cancel context.CancelFunc
	stop   chan struct{}
	done   chan struct{}
	asking sync.WaitGroup
}

func (f *flight) startRelay() {
	f.in.wake = make(chan struct{}, 1)
	r := &relay{f: f, stop: make(chan struct{}), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(f.ctx)
	f.relay = r
	go r.run()
}

// settle takes the call off the connection and waits until what came for it
// was passed on.
func (f *flight) settle() {
	f.arrive()
	f.start.Do(func() {})
	if f.relay != nil {
		f.relay.close()
	}
}

// close passes on what is still queued and waits for it, unless the client is
// gone.
func (r *relay) close() {
	close(r.stop)
	select {
	case <-r.done:
	case <-r.ctx.Done():
	}
	r.cancel()
	r.asking.Wait()
}

func (r *relay) run() {
	defer close(r.done)
	for {
		r.pass()
		select {
		case <-r.f.in.wake:
		case <-r.stop:
			r.pass()
			return
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *relay) pass() {
	for _, m := range r.f.in.take() {
		if m.Kind == mcp.Request {
			r.ask(m)
			continue
		}
		if method, params, ok := r.f.notification(m); ok && r.ctx.Err() == nil {
			if err := r.f.client.Notify(method, params); err != nil {
				r.f.c.s.cfg.Logger.Debug("a notification was not passed on", "method", known(method), "error", err.Error())
			}
		}
	}
}

// ask puts a server's request to the client and its answer to the server.
func (r *relay) ask(m mcp.Message) {
	c := r.f.c
	actx, cancel := context.WithCancel(r.ctx)
	c.mu.Lock()
	a := c.asks[m.ID.Raw()]
	if a != nil {
		a.cancel = cancel
	}
	c.mu.Unlock()
	if a == nil {
		cancel() // withdrawn meanwhile
		return
	}
	r.asking.Go(func() {
		defer cancel()
		result, refused, err := r.f.client.Ask(actx, m.Method, m.Params)
		out := context.WithoutCancel(r.ctx)
		switch {
		case err == nil && refused == nil:
			c.host(r.f, result)
			r.f.answer(out, m.ID, result, nil)
		case err == nil:
			r.f.answer(out, m.ID, nil, refused)
		case actx.Err() != nil && r.ctx.Err() == nil:
			c.answered(m.ID) // the server withdrew it
		default:
			c.answered(m.ID)
			c.later(upstream.Outgoing{Answer: m.ID, Error: errNoAnswer})
		}
	})
}
