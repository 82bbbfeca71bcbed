// Package streamable reaches one MCP server over Streamable HTTP, in both eras.
//
// Threat: a server that is hostile or broken. It may answer another request
// than the one that was asked, answer twice, never end, flood, lie about
// lengths, compress a bomb, redirect elsewhere, or hand out a session ID that
// smuggles a header. And a gateway that passes on what it should not: headers
// of the client, credentials to another host.
//
// It guarantees: each request goes to the configured URL and nowhere else (no
// redirects, no proxy from the environment), with headers that are built here
// and never copied; every message that comes back was read by the strict
// decoder within the limits; Exchange returns the one response that carries
// the ID of its request, or an error, and never later than its context; a
// violation ends that exchange and its connection, and nothing else. A request
// whose bytes may have reached the server is never sent again; only the answer
// is resumed, by GET with the last event ID, where the server offers that. The
// one exception is a request that the server refused for its credential: it was
// not executed, and is sent once more if another credential can be had.
//
// It knows no method's meaning: whether a message may be sent and whether what
// comes back may be shown are decided above.
package streamable

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Limits bound what one server can make the gateway do.
type Limits struct {
	// JSON bounds one message.
	JSON strictjson.Limits
	// Head is the size of a response's status line and headers in bytes.
	Head int
	// Idle is the longest silence of a server from which an answer is awaited.
	// Streams that only listen may be silent for ever.
	Idle time.Duration
	// Stream is how many bytes the answer to one request may have in all,
	// with the messages before it. Streams that only listen have no such bound.
	Stream int64
	// Resumes is how often in a row an answer is asked for again with a last
	// event ID without any event coming.
	Resumes int
}

// DefaultLimits returns the limits of strictjson.Default for a message, 64 KiB
// of headers, five minutes of silence, 256 MiB a stream and five resumptions.
func DefaultLimits() Limits {
	return Limits{JSON: strictjson.Default(), Head: 64 << 10, Idle: 5 * time.Minute, Stream: 256 << 20, Resumes: 5}
}

// Config says how one server is reached.
type Config struct {
	// URL is the MCP endpoint: https, or http on loopback.
	URL string
	// Limits in their zero value refuse every answer.
	Limits Limits
	// Credential gives the headers that authenticate each HTTP request. Its
	// error refuses the request. Nil sends no credential.
	Credential credential.Source
	// Prover adds a proof of possession to what Credential gave. Nil adds none.
	Prover credential.Prover
	// RootCAs are the trusted certificate authorities; nil is the system's.
	RootCAs *x509.CertPool
	// Trust takes the place of RootCAs where authorities or the gateway's own
	// certificate change. It is asked at each request and must answer at once;
	// another pointer is another trust, under which no older connection is used
	// for a new request.
	Trust func() *Trust
	// Log takes what was contained and is told to no caller. Nil discards.
	Log *slog.Logger
}

// Dialer opens connections to one configured server. All of them share one
// pool of TCP connections.
type Dialer struct {
	limits     Limits
	credential credential.Source
	prover     credential.Prover
	log        *slog.Logger
	pool       *pool

	post, get, del string // the part of a head that never changes

	scratch sync.Pool // *scratch
	events  sync.Pool // *events
	drains  sync.WaitGroup
}

// New checks the configuration and returns a Dialer. It connects to nothing.
func New(c Config) (*Dialer, error) {
	u, err := egress.CheckURL(c.URL, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, err
	}
	l := c.Limits
	if l.JSON.Bytes <= 0 || l.Head <= 0 || l.Idle <= 0 || l.Stream <= 0 || l.Resumes < 0 {
		return nil, errors.New("every limit of a server must be set; start from DefaultLimits")
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Dialer{limits: l, credential: c.Credential, prover: c.Prover, log: log}
	trust := c.Trust
	if trust == nil {
		fixed := &Trust{RootCAs: c.RootCAs}
		trust = func() *Trust { return fixed }
	}
	d.pool = newPool(u, newSecurity(u, trust))
	common := " " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: munjigi\r\nAccept-Encoding: identity\r\nAccept: "
	d.post = http.MethodPost + common + mcp.ContentJSON + ", " + mcp.ContentEventStream + "\r\nContent-Type: " + mcp.ContentJSON + "\r\n"
	d.get = http.MethodGet + common + mcp.ContentEventStream + "\r\n"
	d.del = http.MethodDelete + common + mcp.ContentJSON + "\r\n"
	d.scratch.New = func() any { return new(scratch) }
	d.events.New = func() any { return new(events) }
	return d, nil
}

func (d *Dialer) prefix(method string) string {
	switch method {
	case http.MethodGet:
		return d.get
	case http.MethodDelete:
		return d.del
	}
	return d.post
}

// Dial returns a connection. It sends nothing: the first message does.
func (d *Dialer) Dial(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
	if o.Era != mcp.Legacy && o.Era != mcp.Modern {
		return nil, errors.New("a connection needs to know its era")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &transport{d: d, era: o.Era, unbound: o.Unbound, down: o.Down, keeper: o.Subject, ended: make(chan struct{}), live: map[*conn]struct{}{}}, nil
}

// Close lets go of the idle connections of all transports, which keep none
// from now on.
func (d *Dialer) Close() {
	d.pool.close()
	d.drains.Wait()
}

const (
	drainTime  = 250 * time.Millisecond
	drainBytes = 4 << 10
)

// release keeps a connection whose answer is known, and waits a moment for the
// end of its body if that has not come yet.
func (d *Dialer) release(c *conn) {
	if !c.b.ended() && !c.b.chunked && c.b.left >= 0 && c.b.left <= int64(c.br.Buffered()) {
		_, _ = c.br.Discard(int(c.b.left))
		c.b.done = true
	}
	if c.b.ended() || c.h.close {
		d.pool.put(c)
		return
	}
	d.drains.Go(func() { d.drain(c) })
}

// drain reads what a server sends after its answer, which may be nothing but
// the end and, for an answer without a message, a short text.
func (d *Dialer) drain(c *conn) {
	c.timed, c.b.idle = true, 0
	_ = c.rw.SetReadDeadline(time.Now().Add(drainTime))
	var b [512]byte
	for n := 0; n < drainBytes; {
		k, err := c.b.Read(b[:])
		if n += k; err != nil {
			break
		}
		if c.h.kind == mcp.ContentEventStream && bytes.Contains(b[:k], []byte("data:")) {
			d.contained("more messages after the response")
			break
		}
	}
	d.pool.put(c)
}

// contained notes what a server did wrong where no caller can be told.
func (d *Dialer) contained(what string) {
	d.log.Warn("server broke the protocol", slog.String("what", what))
}

// keep returns a reader of events for reuse, unless its buffer has grown.
func (d *Dialer) keep(s *events) {
	if s.r = nil; len(s.buf) <= maxPooled {
		d.events.Put(s)
	}
}
