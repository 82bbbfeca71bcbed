package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/authn/mtls"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/upstream/streamable"
)

const (
	mostPEM   = 1 << 20
	lookAgain = time.Second
	mostChain = 8 // certificates that a client may show
)

// material is what stands in a few PEM files: a certificate with its key, and
// authorities. It is read again when one of them changes, and what cannot be
// used changes nothing.
type material struct {
	cert, key, ca string // paths; empty ones are not read

	mu   sync.Mutex
	seen [sha256.Size]byte // of what was read last, good or bad
	now  atomic.Pointer[pems]
}

// pems is what material held at one time. It is never changed.
type pems struct {
	pair  *tls.Certificate
	cas   *x509.CertPool
	trust streamable.Trust // the same, toward a server
}

// trust is what the files say, for connections to a server.
func (m *material) trust() *streamable.Trust { return &m.now.Load().trust }

// openMaterial reads the files, which must be good.
func openMaterial(cert, key, ca string) (*material, error) {
	m := &material{cert: cert, key: key, ca: ca}
	_, err := m.look()
	return m, err
}

// look reads the files and reports whether they gave something new. The same
// fault is an error once.
func (m *material) look() (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var texts [3][]byte
	sum := sha256.New()
	var errs []error
	for i, path := range []string{m.cert, m.key, m.ca} {
		if path == "" {
			continue
		}
		b, err := secret.ReadFile(path, mostPEM, secret.OthersWrite)
		if err != nil {
			errs = append(errs, err)
			b = []byte(err.Error())
		}
		fmt.Fprintf(sum, "%d %d ", i, len(b))
		sum.Write(b)
		texts[i] = b
	}
	digest := [sha256.Size]byte(sum.Sum(nil))
	if digest == m.seen {
		return false, nil
	}
	m.seen = digest
	if len(errs) > 0 {
		return false, errors.Join(errs...)
	}
	next := &pems{}
	if m.cert != "" {
		pair, err := tls.X509KeyPair(texts[0], texts[1])
		if err != nil {
			return false, fmt.Errorf("%s and %s: %w", m.cert, m.key, err)
		}
		if now := time.Now(); now.After(pair.Leaf.NotAfter) {
			return false, fmt.Errorf("%s: the certificate expired on %s: get a new one", m.cert, pair.Leaf.NotAfter.Format(time.DateOnly))
		}
		next.pair = &pair
	}
	if m.ca != "" {
		next.cas = x509.NewCertPool()
		if !next.cas.AppendCertsFromPEM(texts[2]) {
			return false, fmt.Errorf("%s holds no certificate in PEM", m.ca)
		}
	}
	next.trust = streamable.Trust{RootCAs: next.cas, Certificate: next.pair}
	m.now.Store(next)
	return true, nil
}

// entrance is the TLS of the listener: what a new connection is met with.
// Connections that are open go on with what they were met with.
type entrance struct{ now atomic.Pointer[met] }

// met is the entrance under one config.
type met struct {
	files *material
	auth  string
	svids *spiffe.Verifier // nil where no trust domain's certificates are taken
	log   *slog.Logger
}

// prepare reads what a config names; take puts it in force. Without TLS it does
// nothing.
func (e *entrance) prepare(t config.TLS) (take func(*spiffe.Verifier, *slog.Logger), err error) {
	if !t.Enabled() {
		return func(*spiffe.Verifier, *slog.Logger) {}, nil
	}
	files, err := openMaterial(t.Cert, t.Key, t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return func(svids *spiffe.Verifier, log *slog.Logger) { e.now.Store(&met{files, t.ClientAuth, svids, log}) }, nil
}

// config is the TLS of the listener, for as long as it listens.
func (e *entrance) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: e.meet}
}

// meet makes the TLS of one connection.
func (e *entrance) meet(*tls.ClientHelloInfo) (*tls.Config, error) {
	m := e.now.Load()
	p := m.files.now.Load()
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*p.pair}}
	switch m.auth {
	case config.ClientAuthRequest:
		c.ClientAuth = tls.RequestClientCert
	case config.ClientAuthRequire:
		c.ClientAuth = tls.RequireAnyClientCert
	default:
		return c, nil
	}
	c.ClientCAs = p.cas // what clients are told to choose from
	if m.svids != nil {
		c.ClientCAs = nil // trust domains have authorities of their own
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		err := admitted(m, p, s.PeerCertificates)
		if err != nil {
			m.log.Info("a client certificate was refused", "err", err)
		}
		return err
	}
	return c, nil
}

// x509SVIDs returns what judges the certificates of trust domains, or nil.
func (a *App) x509SVIDs(cfg *config.Config) *spiffe.Verifier {
	if slices.ContainsFunc(cfg.Identity.SPIFFE, func(d config.TrustDomain) bool { return d.Certificates }) {
		return a.svids
	}
	return nil
}

// admitted judges a client's chain, on resumed connections too: by its trust
// domain if that is configured for certificates, else by the authorities.
func admitted(m *met, p *pems, chain []*x509.Certificate) error {
	if len(chain) > mostChain {
		return fmt.Errorf("the client shows %d certificates, %d at most: %w", len(chain), mostChain, mtls.ErrChain)
	}
	if m.svids != nil {
		if ours, err := m.svids.Admits(chain); ours {
			return err
		}
	}
	return mtls.Admit(chain, p.cas, time.Now())
}

// watched is what is looked at again and again, under the name that logs have.
type watched struct {
	name string
	m    *material
}

// lookAfter looks at the files of the listener and of the servers until ctx
// ends, and says what it took and what it did not.
func (a *App) lookAfter(ctx context.Context) {
	every := time.NewTicker(lookAgain)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		a.lookOnce()
	}
}

// lookOnce is one round of lookAfter.
func (a *App) lookOnce() {
	for _, w := range a.watching() {
		switch changed, err := w.m.look(); {
		case err != nil:
			a.o.Logger.Error("a certificate, key or authority was not taken; the old one goes on", "of", w.name, "err", err)
		case changed:
			a.o.Logger.Info("new certificates, keys or authorities are in force for new connections", "of", w.name)
		}
	}
}

func (a *App) watching() []watched {
	var out []watched
	if m := a.entrance.now.Load(); m != nil {
		out = append(out, watched{"tls", m.files})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, r := range a.servers {
		if r.files != nil {
			out = append(out, watched{"servers." + name + ".tls", r.files})
		}
	}
	return out
}
