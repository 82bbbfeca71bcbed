// Package egress decides where the gateway itself may connect to.
//
// Threat: an address that was checked as one thing and is another when the
// connection is made: a name on loopback whose DNS answer points elsewhere, so
// that a plain connection with credentials leaves the machine; a URL that
// hides a password or another host from the person who reads it; a URL that a
// stranger chose and that leads to the inside, by its address, by a name that
// is resolved twice with two answers, or by a redirect.
//
// It guarantees that a URL it accepted is https, or http to loopback where the
// rules allow that, without user information, fragment or unreadable host, and
// that a dialer for loopback connects to nothing else, whatever the resolver
// says: the address is checked after resolution, when the socket exists. A
// Client reaches public addresses only, apart from the hosts that the operator
// opened, and reads a bounded answer in a bounded time. It does not judge
// whether a public host deserves trust, and it cannot know that a public
// address is routed inside.
package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotLoopback is returned by a loopback dialer for any other address.
var ErrNotLoopback = errors.New("the name is configured as loopback but its address is not; use https or write 127.0.0.1")

// Rules say which URLs are accepted. The zero Rules accept https only, to
// public addresses only.
type Rules struct {
	// PlainLoopback lets CheckURL accept http to a loopback host. A Client
	// wants such a host in Allow too.
	PlainLoopback bool

	// What follows is for Client alone.

	// Allow names the hosts, "host" or "host:port", that may have private
	// addresses. Link-local and metadata addresses stay closed.
	Allow []string
	// Timeout bounds one exchange with its body; 0 is DefaultTimeout.
	Timeout time.Duration
	// MaxBytes bounds the body of an answer; 0 is DefaultMaxBytes.
	MaxBytes int64
	// MaxRedirects is how many redirects are followed, at most 5.
	MaxRedirects int
	// Roots are the certificate authorities; nil means the system's.
	Roots *x509.CertPool
	// Resolver resolves names; nil means the system's.
	Resolver Resolver
}

// Loopback reports whether host (a name or an IP address, without port and
// brackets) is the loopback interface by its text: localhost, 127.0.0.0/8, ::1
// or an IPv4-mapped form of these.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Zone() == "" && a.Unmap().IsLoopback()
}

// CheckURL parses the URL of a configured server and holds it against the
// rules. The error says what to write instead and never quotes the URL, which
// may hold a secret.
func CheckURL(raw string, r Rules) (*url.URL, error) {
	for i := 0; i < len(raw); i++ {
		if raw[i] <= 0x20 || raw[i] > 0x7e {
			return nil, errors.New("the URL may hold visible ASCII only; write the host in its xn-- form and percent-encode the rest")
		}
		if raw[i] == '\\' {
			return nil, errors.New("the URL holds a backslash, which readers disagree on; remove it")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed; write it as https://host/path")
	}
	host := u.Hostname()
	switch {
	case u.Opaque != "" || host == "":
		return nil, errors.New("the URL names no host; write it as https://host/path")
	case u.User != nil:
		return nil, errors.New("the URL holds a user name or password; configure a credential instead")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("the URL has a fragment, which is never sent; remove it")
	case !validHost(host):
		return nil, errors.New("the URL's host is neither a DNS name nor an IP address")
	}
	if strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("the URL's port is empty; write a number or leave the colon out")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the URL's port is not between 1 and 65535")
		}
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !r.PlainLoopback || !Loopback(host) {
			return nil, errors.New("plain http is allowed to loopback only; use https")
		}
	default:
		return nil, errors.New("the URL's scheme must be https, or http to loopback")
	}
	return u, nil
}

// validHost accepts DNS names of letters, digits, hyphens, underscores and
// dots, and IP addresses without a zone. A name that ends in a number is
// refused unless it is a plain IPv4 address: resolvers read 127.1 and 0x7f.1
// in ways of their own (WHATWG URL, "ends in a number").
func validHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Zone() == ""
	}
	if len(host) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := 0; i < len(l); i++ {
			c := l[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" {
		return false
	}
	if len(last) > 1 && (last[:2] == "0x" || last[:2] == "0X") && strings.Trim(last[2:], "0123456789abcdefABCDEF") == "" {
		return false
	}
	return true
}

// DialFunc connects to "host:port" over TCP.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dialer returns a dialer for a URL that CheckURL accepted. For a URL on
// loopback it refuses to connect to any other address. It uses no proxy.
func Dialer(u *url.URL) DialFunc {
	d := &net.Dialer{
		Timeout:         10 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4},
	}
	if Loopback(u.Hostname()) {
		d.ControlContext = onlyLoopback
	}
	return d.DialContext
}

func onlyLoopback(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().Unmap().IsLoopback() {
		return ErrNotLoopback
	}
	return nil
}
