package streamable

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"sync/atomic"
)

// Trust is what handshakes with a server rest on.
type Trust struct {
	// RootCAs are the authorities of the server; nil is the system's.
	RootCAs *x509.CertPool
	// Certificate is what is shown to the server when it asks; nil shows none.
	Certificate *tls.Certificate
}

// security makes the TLS of new connections: of the newest trust, and with
// sessions that are resumed under the same trust only.
type security struct {
	host  string
	trust func() *Trust
	made  atomic.Pointer[secured]
}

type secured struct {
	of   *Trust
	conf *tls.Config
}

func newSecurity(u *url.URL, trust func() *Trust) *security {
	return &security{host: u.Hostname(), trust: trust}
}

// now returns the same pointer as long as the trust is the same.
func (s *security) now() *tls.Config {
	t := s.trust()
	if m := s.made.Load(); m != nil && m.of == t {
		return m.conf
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		RootCAs:            t.RootCAs,
		ServerName:         s.host,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if t.Certificate != nil {
		c.Certificates = []tls.Certificate{*t.Certificate}
	}
	s.made.Store(&secured{t, c})
	return c
}
