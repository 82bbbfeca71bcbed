// Package mtls knows callers by the certificate with which they opened the
// connection.
//
// Threat: an access token that leaked and comes over somebody else's
// connection (RFC 8705); a certificate that has expired, was made for servers,
// or is of another authority than the one that may speak for its name; a
// header in which a proxy, or whoever is taken for one, says which certificate
// it saw.
//
// It guarantees that only the certificate of this very connection counts,
// whose private key the client used in the handshake; that it is in force at
// each request and not only when the connection was opened; and that a token
// that is bound to a certificate is compared with all of it.
//
// It does not know of revoked certificates: no list is fetched and nobody is
// asked. Make them short-lived, or take the authority out of the file, which
// works at once for new handshakes.
package mtls

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
)

// Errors of a certificate. Their text is what the caller reads.
var (
	ErrNone  = errors.New("the token is bound to a client certificate: open the connection with it")
	ErrTime  = errors.New("the client certificate is not in force: get a new one and open another connection")
	ErrOther = errors.New("the token is bound to another client certificate")
	ErrChain = errors.New("the client certificate is not one that is trusted here")
)

// Thumbprint is the name of a certificate in a token (RFC 8705 3.1).
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Confirm compares the certificate of a request with the one that a token is
// bound to.
func Confirm(r authn.Request, x5t string) error {
	if len(r.Certificates) == 0 {
		return ErrNone
	}
	leaf := r.Certificates[0]
	if subtle.ConstantTimeCompare([]byte(Thumbprint(leaf)), []byte(x5t)) != 1 {
		return ErrOther
	}
	if !inForce(leaf, time.Now()) {
		return ErrTime
	}
	return nil
}

func inForce(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// Admit judges the chain that a client showed in a handshake: in force, for
// clients, and, where roots are given, of one of these authorities, name
// constraints included. Nil roots trust nobody's word and let any certificate
// in: it then proves its own key, which a token can be bound to, and no name.
func Admit(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 {
		return nil
	}
	leaf := chain[0]
	if !inForce(leaf, now) {
		return ErrTime
	}
	if roots == nil {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return errors.Join(ErrChain, err)
	}
	return nil
}
