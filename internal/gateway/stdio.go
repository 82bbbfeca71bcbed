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
// input ends or ctx does.
func (g *Gateway) ServeStdio(ctx context.Context, p call.Principal, server string, r io.Reader, w io.Writer) error {
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &pipe{g: g, ctx: ctx, principal: p, server: server, path: path, w: w, peer: &peer{}}
	defer k.close()
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(lines, g.o.Limits.JSON.Bytes)
		if len(bytes.TrimSpace(line)) > 0 || errors.Is(err, errLine) {
			k.take(line, errors.Is(err, errLine))
		}
		if err != nil && !errors.Is(err, errLine) {
			k.wait()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
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
	g         *Gateway
	ctx       context.Context
	principal call.Principal
	server    string
	path      string

	wmu sync.Mutex
	w   io.Writer

	mu      sync.Mutex
	peer    *peer
	session *Session
	hears   bool
	work    sync.WaitGroup
}

// take handles one line. Requests run side by side; what changes the
// conversation itself is done in order.
func (k *pipe) take(line []byte, tooLong bool) {
	k.mu.Lock()
	in := &inbound{path: k.path, server: k.server, peer: k.peer, session: k.session, era: k.peer.era()}
	k.mu.Unlock()
	c := call.New(time.Now())
	c.Principal = k.principal
	in.read = func() ([]byte, *refusal) {
		if tooLong {
			return nil, refuseDecision(call.Decision{Stage: call.Decode, Reason: call.ReasonTooLarge, Detail: "line"})
		}
		return line, nil
	}
	out := &lineOut{k: k, in: in}
	k.g.inflight.enter()
	run := func() {
		defer k.g.inflight.leave()
		k.g.serve(k.ctx, c, in, out)
		k.adopt(c, in)
	}
	if bytes.Contains(line, []byte(`"method"`)) && bytes.Contains(line, []byte(`"id"`)) && !bytes.Contains(line, []byte(`"initialize"`)) {
		k.work.Go(run)
		return
	}
	run()
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
		hin := &inbound{path: in.path, server: k.server, peer: k.peer, session: k.session, era: mcp.Legacy}
		// Its end is the session's end; the input's end does not wait for it.
		go k.g.hear(k.session.ctx, h, hin, &lineOut{k: k, in: hin})
	}
}

// wait lets calls in flight finish after the input ended, within the write
// limit: a client that closes its end wants the answers it asked for and no
// longer.
func (k *pipe) wait() {
	done := make(chan struct{})
	go func() { k.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(k.g.o.Limits.WriteTime):
	}
}

func (k *pipe) close() {
	k.mu.Lock()
	s := k.session
	p := k.peer
	k.mu.Unlock()
	p.cancelAll()
	if s != nil {
		k.g.o.Sessions.close(s)
	}
}

func (k *pipe) write(parts [][]byte) error {
	body := bytes.Join(append(parts, []byte{'\n'}), nil)
	if bytes.IndexByte(body[:len(body)-1], '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0 {
		body = append(strictjson.Compact(nil, body), '\n')
	}
	k.wmu.Lock()
	defer k.wmu.Unlock()
	_, err := k.w.Write(body)
	return err
}

// lineOut is the outbox of one message on stdio.
type lineOut struct {
	k  *pipe
	in *inbound
	// call is the context of a request; nil for other messages.
	call context.Context //nolint:containedctx // its cause says why the request ended
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
	_ = o.k.write(b)
}

func (o *lineOut) accepted() {}
