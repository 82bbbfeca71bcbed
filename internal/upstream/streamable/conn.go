package streamable

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxIdleConns     = 256
	maxIdleTime      = 90 * time.Second
	handshakeTimeout = 10 * time.Second
)

// conn is one HTTP/1.1 connection. One exchange at a time owns it; only abort
// may be called by others.
type conn struct {
	raw    net.Conn // the socket, for abort and for the look before reuse
	rw     net.Conn // raw, or TLS over it
	sys    syscall.RawConn
	br     *bufio.Reader
	conf   *tls.Config // under which it was opened; nil: plain
	since  time.Time   // when it became idle
	dead   atomic.Bool
	timed  bool   // a deadline was set
	ends   func() // abort, as a value that is made once
	glance glance
	h      head
	b      body
}

// more reports whether the beginning of another message was read already.
func (c *conn) more() bool {
	b, _ := c.br.Peek(c.br.Buffered())
	return bytes.Contains(b, []byte("data:"))
}

// abort makes every operation on the connection fail now. It does not say
// goodbye in TLS: what matters is that nothing blocks.
func (c *conn) abort() {
	if c.dead.CompareAndSwap(false, true) {
		_ = c.raw.Close()
	}
}

// pool keeps the connections to one endpoint. The most recently used one is
// taken first. It holds no goroutine per connection.
type pool struct {
	dial DialFunc
	addr string
	tls  *security // nil: plain

	mu     sync.Mutex
	idle   []*conn
	sweep  *time.Timer
	closed bool
}

// DialFunc opens a TCP connection; see egress.Dialer.
type DialFunc = egress.DialFunc

func newPool(u *url.URL, conf *security) *pool {
	port := u.Port()
	p := &pool{dial: egress.Dialer(u)}
	if u.Scheme == "https" {
		p.tls = conf
		if port == "" {
			port = "443"
		}
	} else if port == "" {
		port = "80"
	}
	p.addr = net.JoinHostPort(u.Hostname(), port)
	return p
}

// get returns a connection on which nothing was read that nobody asked for,
// and which the server had not closed a moment ago.
func (p *pool) get(ctx context.Context) (c *conn, fresh bool, err error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			c, err := p.open(ctx)
			return c, true, err
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if p.trusted(c) && quiet(c) {
			return c, false, nil
		}
		c.abort()
	}
}

// trusted reports that a connection was opened under the trust that holds now.
func (p *pool) trusted(c *conn) bool { return p.tls == nil || c.conf == p.tls.now() }

func (p *pool) open(ctx context.Context) (*conn, error) {
	raw, err := p.dial(ctx, "tcp", p.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", upstream.ErrDown, err)
	}
	c := &conn{raw: raw, rw: raw}
	c.ends = c.abort
	if s, ok := raw.(syscall.Conn); ok {
		c.sys, _ = s.SyscallConn()
	}
	if p.tls != nil {
		hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		c.conf = p.tls.now()
		t := tls.Client(raw, c.conf)
		if err := t.HandshakeContext(hctx); err != nil {
			c.abort()
			return nil, fmt.Errorf("%w: %w", upstream.ErrDown, err)
		}
		c.rw = t
	}
	c.br = bufio.NewReaderSize(c.rw, 4<<10)
	c.b.c = c
	return c, nil
}

// put keeps a connection for reuse if its last exchange ended cleanly.
func (p *pool) put(c *conn) {
	if c.dead.Load() || c.h.close || !c.b.ended() || c.br.Buffered() > 0 || !p.trusted(c) {
		c.abort()
		return
	}
	if c.timed {
		c.timed = false
		_ = c.rw.SetDeadline(time.Time{})
	}
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdleConns {
		c.abort()
		return
	}
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(maxIdleTime/3, p.old)
	}
}

// old closes what was idle for too long.
func (p *pool) old() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit, n := time.Now().Add(-maxIdleTime), 0
	for n < len(p.idle) && p.idle[n].since.Before(limit) {
		p.idle[n].abort()
		n++
	}
	p.idle = append(p.idle[:0:0], p.idle[n:]...)
	if len(p.idle) == 0 || p.closed {
		p.sweep = nil
		return
	}
	p.sweep.Reset(maxIdleTime / 3)
}

// close lets go of the idle connections and keeps none from now on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.abort()
	}
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
	}
}
