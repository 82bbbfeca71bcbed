package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// ServeStdio speaks MCP over a pair of streams, one message a line, for one
// principal and one server, or all of /mcp when server is empty, until the
// input ends or ctx does. Calls in flight are answered then, within the write
// limit.
func (g *Gateway) ServeStdio(ctx context.Context, p call.Principal, server string, r io.Reader, w io.Writer) error {
	return Converse(ctx, func() *Gateway { return g }, p, server, r, w)
}

// Converse is ServeStdio for a conversation that outlives a reload: each
// message is judged by the gateway that is current when it comes. A write that
// fails ends the conversation. It may leave a goroutine that waits for input
// until r ends.
func Converse(ctx context.Context, current func() *Gateway, p call.Principal, server string, r io.Reader, w io.Writer) error {
	g := current()
	if !p.Valid() {
		return errors.New("gateway: stdio needs a principal")
	}
	path := "/mcp/" + server
	switch {
	case server == "" && len(g.merged) > 0:
		path = "/mcp"
	case g.o.Servers[server] == nil:
		return errors.New("there is no server of this name here")
	}
	run, fail := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fail(nil)
	k := &pipe{current: current, ctx: run, fail: fail, principal: p, server: server, path: path, w: w, peer: &peer{},
		ended: make(chan struct{}), slots: make(chan struct{}, g.o.Limits.PerPrincipal+spare)}
	defer k.close()
	input := make(chan error, 1)
	go func() { input <- k.read(r, g.o.Limits.JSON.Bytes) }()
	var err error
	select {
	case err = <-input:
	case <-ctx.Done():
		err = ctx.Err()
	case <-run.Done():
		err = context.Cause(run)
	}
	k.wait(g.o.Limits.WriteTime)
	return err
}

// spare is how many messages beyond the calls that a principal may have under
// way are read before the reader waits: they are refused, or cancel or answer
// something.
const spare = 16

// read takes line after line.
func (k *pipe) read(r io.Reader, most int) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(lines, most)
		if len(bytes.TrimSpace(line)) > 0 || errors.Is(err, errLine) {
			k.take(line, errors.Is(err, errLine))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, errLine):
			return err
		case k.ctx.Err() != nil:
			return context.Cause(k.ctx)
		}
	}
}

var errLine = errors.New("a line is longer than the limit")

// readLine reads to the next newline and keeps at most most bytes of it; a
// longer line is read to its end and refused.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	over := false
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > most+2 {
			over = true
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case over:
			return nil, errLine
		case err != nil:
			return line, err
		}
		return line, nil
	}
}

// pipe is one stdio conversation.
type pipe struct {
	current   func() *Gateway
	ctx       context.Context //nolint:containedctx // the conversation's
	fail      context.CancelCauseFunc
	principal call.Principal
	server    string
	path      string
	ended     chan struct{} // closed when nothing more is read
	slots     chan struct{} // taken by requests under way

	wmu sync.Mutex
	w   io.Writer

	mu      sync.Mutex
	over    bool
	peer    *peer
	session *Session
	hears   bool
	work    sync.WaitGroup
}

// take handles one line. Requests run side by side; what changes the
// conversation itself is done in order.
func (k *pipe) take(line []byte, tooLong bool) {
	g := k.current()
	c := call.New(time.Now())
	c.Principal = k.principal
	in := &inbound{path: k.path, server: k.server, over: k.ended}
	in.read = func() ([]byte, *refusal) {
		return nil, refuseDecision(call.Decision{Stage: call.Decode, Reason: call.ReasonTooLarge, Detail: "line"})
	}
	if !tooLong {
		in.parsed = g.parse(c, line)
	}
	aside := in.parsed != nil && in.parsed.err == nil && in.parsed.msg.Kind == mcp.Request && in.parsed.msg.Method != mcp.MethodInitialize
	if aside {
		select {
		case k.slots <- struct{}{}:
		case <-k.ctx.Done():
			return
		}
	}
	k.mu.Lock()
	if k.over {
		k.mu.Unlock()
		return
	}
	k.work.Add(1)
	in.peer, in.session, in.era = k.peer, k.session, k.peer.era()
	k.mu.Unlock()
	out := &lineOut{k: k, in: in}
	g.inflight.enter()
	run := func() {
		defer k.work.Done()
		defer g.inflight.leave()
		g.serve(k.ctx, c, in, out)
		k.adopt(c, in)
	}
	if !aside {
		run()
		return
	}
	go func() {
		defer func() { <-k.slots }()
		run()
	}()
}

// adopt makes the session that initialize opened the conversation's own.
func (k *pipe) adopt(c *call.Call, in *inbound) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if in.msg.Method == mcp.MethodInitialize && in.session != nil && in.session.ctx.Err() == nil && k.session == nil {
		k.session, k.peer = in.session, &in.session.peer
	}
	if in.msg.Method == mcp.NotifyInitialized && k.session != nil && !k.hears {
		k.hears = true
		h := c.Fork(call.Target{Server: k.server, Method: mcp.NotifyInitialized})
		for _, s := range []call.Stage{call.Resolve, call.Validate, call.Authorize, call.InspectRequest} {
			h.Pass(s)
		}
		go k.hear(h, k.session)
	}
}

// hear tells the client of changes until its session ends; the input's end
// does not wait for it. What it hears is judged by the gateway that is current.
func (k *pipe) hear(c *call.Call, s *Session) {
	for s.ctx.Err() == nil {
		g := k.current()
		ctx, cancel := context.WithCancel(s.ctx)
		go func() {
			defer cancel()
			select {
			case <-g.drain:
			case <-ctx.Done():
			}
		}()
		in := &inbound{path: k.path, server: k.server, peer: &s.peer, session: s, era: mcp.Legacy}
		_ = g.contained(c, func() error {
			heard := g.openEars(c, in)
			defer heard.close()
			g.hear(ctx, c, in, &lineOut{k: k, in: in}, heard)
			return nil
		})
		cancel()
		if g.draining.Load() || k.current() == g {
			return
		}
	}
}

// wait lets calls in flight finish after the input ended: a client that closes
// its end wants the answers it asked for and no longer. Its streams end and
// what it was asked has no answer any more.
func (k *pipe) wait(most time.Duration) {
	k.mu.Lock()
	k.over = true
	k.mu.Unlock()
	close(k.ended)
	done := make(chan struct{})
	go func() { k.work.Wait(); close(done) }()
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case <-done:
	case <-k.ctx.Done():
	case <-late.C:
	}
}

func (k *pipe) close() {
	k.mu.Lock()
	s := k.session
	p := k.peer
	k.mu.Unlock()
	p.cancelAll()
	if s != nil {
		k.current().o.Sessions.close(s)
	}
}

func (k *pipe) write(parts [][]byte) error {
	body := bytes.Join(append(parts, []byte{'\n'}), nil)
	if bytes.IndexByte(body[:len(body)-1], '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0 {
		body = append(strictjson.Compact(nil, body), '\n')
	}
	k.wmu.Lock()
	defer k.wmu.Unlock()
	if k.ctx.Err() != nil {
		return context.Cause(k.ctx)
	}
	_, err := k.w.Write(body)
	if err != nil {
		k.fail(err)
	}
	return err
}

// lineOut is the outbox of one message on stdio.
type lineOut struct {
	k  *pipe
	in *inbound
	// call is the context of a request; nil for other messages.
	call context.Context //nolint:containedctx // its cause says why the request ended
	free func()          // gives the request's ID back; nil where none was taken
}

// hushed reports that the client cancelled the request: it is told nothing
// more ("MUST NOT send any further messages for it").
func (o *lineOut) hushed() bool {
	return o.call != nil && errors.Is(context.Cause(o.call), errCancelled)
}

func (o *lineOut) send(rel call.Release) error {
	b, err := rel.Take()
	if err != nil {
		return err
	}
	if o.hushed() {
		return errCancelled
	}
	return o.k.write(b)
}

func (o *lineOut) finish(_ int, _ *refusal, rel call.Release) {
	b, err := rel.Take()
	if err != nil || o.hushed() || o.in.msg.Kind == mcp.Notification || o.in.msg.Kind == mcp.Result || o.in.msg.Kind == mcp.ErrorReply {
		return
	}
	if o.free != nil {
		o.free()
	}
	_ = o.k.write(b)
}

func (o *lineOut) accepted() {}
