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
// is resumed, by GET with the last event ID, where the server offers that.
//
// It knows no method's meaning: whether a message may be sent and whether what
// comes back may be shown are decided above.
package streamable

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"crypto/tls"
	"crypto/x509"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
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
	// Authorize adds the credential for one HTTP request to h, which is empty
	// before. An error refuses the request. Nil sends no credential.
	Authorize func(ctx context.Context, h http.Header) error
	// RootCAs are the trusted certificate authorities; nil is the system's.
	RootCAs *x509.CertPool
	// Log takes what was contained and is told to no caller. Nil discards.
	Log *slog.Logger
}

// Dialer opens connections to one configured server. All of them share one
// pool of TCP connections.
type Dialer struct {
	url       *url.URL
	limits    Limits
	authorize func(context.Context, http.Header) error
	log       *slog.Logger
	http      *http.Transport
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
	d := &Dialer{url: u, limits: l, authorize: c.Authorize, log: log}
	d.http = &http.Transport{
		DialContext:            egress.Dialer(u),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.RootCAs},
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true,
		ForceAttemptHTTP2:      u.Scheme == "https",
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: int64(l.Head),
		ExpectContinueTimeout:  time.Second,
	}
	return d, nil
}

// Dial returns a connection. It sends nothing: the first message does.
func (d *Dialer) Dial(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
	if o.Era != mcp.Legacy && o.Era != mcp.Modern {
		return nil, errors.New("a connection needs to know its era")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newTransport(d, o), nil
}

// Close lets go of the idle connections of all transports.
func (d *Dialer) Close() { d.http.CloseIdleConnections() }
