package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Errors of a client. What http.Client returns wraps them.
var (
	ErrAddress  = errors.New("the host's address is not on the public internet; an operator opens it with egress.allow")
	ErrRedirect = errors.New("the server answered with a redirect, which is not followed here; name the final URL")
	ErrTooLarge = errors.New("the answer is longer than is read here")
)

// Bounds of a client where the rules name none.
const (
	DefaultTimeout  = 10 * time.Second
	DefaultMaxBytes = 1 << 20
	maxRedirects    = 5
	maxAddresses    = 8
)

// Resolver turns a host name into addresses.
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// Client returns a client for URLs that a stranger can influence: issuers'
// metadata, keys, client documents, discovery.
//
// It fetches https only, and plain http from a loopback host that Allow names.
// Each name is resolved once, every address of the answer must be acceptable,
// the connection goes to one of these addresses and is checked again when the
// socket exists. There is no proxy, no cookie, no compression; redirects are
// followed only as far as the rules say, each judged like a first URL and never
// from elsewhere into a host that Allow opened. An answer is cut off by size
// and by time, body included.
//
// The error names the entry of Allow that is no host.
func Client(r Rules) (*http.Client, error) {
	if r.MaxRedirects < 0 || r.MaxRedirects > maxRedirects {
		return nil, fmt.Errorf("at most %d redirects can be followed", maxRedirects)
	}
	g := &gate{rules: r, open: make(map[string]bool, len(r.Allow))}
	for _, entry := range r.Allow {
		key, err := hostKey(entry)
		if err != nil {
			return nil, fmt.Errorf("egress.allow: %q: %w", entry, err)
		}
		g.open[key] = true
	}
	if g.rules.Timeout <= 0 {
		g.rules.Timeout = DefaultTimeout
	}
	if g.rules.MaxBytes <= 0 {
		g.rules.MaxBytes = DefaultMaxBytes
	}
	if g.rules.Resolver == nil {
		g.rules.Resolver = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	g.under = &http.Transport{
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.Roots},
		TLSHandshakeTimeout:    g.rules.Timeout,
		ResponseHeaderTimeout:  g.rules.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		MaxConnsPerHost:        4,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{Transport: g, Timeout: g.rules.Timeout, CheckRedirect: g.redirect}, nil
}

// hostKey returns the form of "host" or "host:port" that lookups use.
func hostKey(entry string) (string, error) {
	host, port := entry, ""
	if a, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		host = a.Unmap().String()
	} else if h, p, err := net.SplitHostPort(entry); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "", errors.New("the port is not between 1 and 65535")
		}
		host, port = h, p
	}
	if host == "" || !validHost(host) {
		return "", errors.New("write a host name or an IP address, with or without a port")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if reachOf(a) == never {
			return "", errors.New("this address is never opened: link-local, metadata, multicast or none")
		}
		host = a.Unmap().String()
	}
	return joinKey(host, port), nil
}

func joinKey(host, port string) string {
	host = strings.ToLower(host)
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// gate is the transport: it judges each request before it is sent.
type gate struct {
	rules Rules
	open  map[string]bool
	under *http.Transport
}

// opened reports that the operator opened a host and port.
func (g *gate) opened(host, port string) bool {
	return g.open[joinKey(host, "")] || g.open[joinKey(host, port)]
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.judge(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	res, err := g.under.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.ContentLength > g.rules.MaxBytes {
		_ = res.Body.Close()
		return nil, ErrTooLarge
	}
	res.Body = &bounded{under: res.Body, left: g.rules.MaxBytes}
	return res, nil
}

func (g *gate) judge(r *http.Request) error {
	opened := g.opened(r.URL.Hostname(), portOf(r.URL))
	if r.URL.Scheme == "http" && !opened {
		return errors.New("plain http is fetched only from a loopback host that egress.allow names; use https")
	}
	u, err := CheckURL(r.URL.String(), Rules{PlainLoopback: opened})
	if err != nil {
		return err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return g.address(a, u.Hostname(), opened)
	}
	return nil
}

// address judges one address of a host.
func (g *gate) address(a netip.Addr, host string, opened bool) error {
	if opened && Loopback(host) && !a.Unmap().IsLoopback() {
		return ErrNotLoopback
	}
	switch reachOf(a) {
	case public:
		return nil
	case private:
		if opened {
			return nil
		}
	}
	return ErrAddress
}

// redirect judges one more hop. The next request is judged like any other;
// here is what depends on where it comes from.
func (g *gate) redirect(next *http.Request, via []*http.Request) error {
	if len(via) > g.rules.MaxRedirects {
		return ErrRedirect
	}
	last := via[len(via)-1].URL
	same := joinKey(last.Hostname(), portOf(last)) == joinKey(next.URL.Hostname(), portOf(next.URL))
	if !same && g.opened(next.URL.Hostname(), portOf(next.URL)) {
		return ErrRedirect
	}
	return nil
}

// dial resolves once, judges every address, and connects to one of them.
func (g *gate) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, ErrAddress
	}
	opened := g.opened(host, port)
	var list []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		list = []netip.Addr{a}
	} else if list, err = g.rules.Resolver(ctx, host); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrAddress
	}
	for _, a := range list {
		if err := g.address(a, host, opened); err != nil {
			return nil, err
		}
	}
	if len(list) > maxAddresses {
		list = list[:maxAddresses]
	}
	d := &net.Dialer{Timeout: g.rules.Timeout / 2, ControlContext: g.control(host, opened)}
	var errs []error
	for _, a := range list {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// control judges the address of a socket before it connects.
func (g *gate) control(host string, opened bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrAddress
		}
		return g.address(ap.Addr(), host, opened)
	}
}

// CloseIdleConnections lets http.Client close what is not used.
func (g *gate) CloseIdleConnections() { g.under.CloseIdleConnections() }

// bounded is a body that ends in ErrTooLarge after left bytes.
type bounded struct {
	under io.ReadCloser
	left  int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.under.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}

func (b *bounded) Close() error { return b.under.Close() }

// Roots returns the system's certificate authorities and those in pem, the
// text of one or more certificates. The error says that pem holds none.
func Roots(pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file holds no certificate in PEM form")
	}
	return pool, nil
}
