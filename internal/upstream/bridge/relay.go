package bridge

import (
	"context"
	"sync"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// relay passes what the server sends during a call on to the client that
// waits for it: notifications in order, requests to a legacy client at once.
// It costs nothing until the first message comes.
type relay struct {
	f      *flight
	client upstream.Client
	ctx    context.Context
	cancel context.CancelFunc
	stop   chan struct{}
	done   chan struct{}
	asking sync.WaitGroup
}

func (f *flight) relayTo(ctx context.Context, client upstream.Client) *relay {
	r := &relay{f: f, client: client, stop: make(chan struct{}), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(ctx)
	f.pump = func() { go r.run() }
	return r
}

// close passes on what is still queued and waits for it, unless the client is
// gone.
func (r *relay) close() {
	close(r.stop)
	r.f.pumpOnce.Do(func() { close(r.done) })
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
			if err := r.client.Notify(method, params); err != nil {
				r.f.c.s.cfg.Logger.Debug("a notification was not passed on", "server", r.f.c.s.cfg.Name, "method", known(method), "error", err.Error())
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
		result, refused, err := r.client.Ask(actx, m.Method, m.Params)
		out := context.WithoutCancel(r.ctx)
		switch {
		case err == nil && refused == nil:
			c.answer(out, m.ID, result, nil)
		case err == nil:
			c.answer(out, m.ID, nil, refused)
		case actx.Err() != nil && r.ctx.Err() == nil:
			c.answered(m.ID) // the server withdrew it
		default:
			c.answer(out, m.ID, nil, errNoAnswer)
		}
	})
}
