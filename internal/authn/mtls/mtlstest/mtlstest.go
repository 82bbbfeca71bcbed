// Package mtlstest makes certificate authorities and certificates for tests:
// good ones, and those that must be refused.
//
// Nothing of it is for anything else: keys lie in memory and names are made up.
package mtlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Cert  *x509.Certificate
	key   crypto.Signer
	above []*x509.Certificate // what stands between it and its root, itself first
}

// NewAuthority makes a root; edit may change its certificate.
func NewAuthority(t testing.TB, edit func(*x509.Certificate)) *Authority {
	t.Helper()
	a := &Authority{}
	a.Cert, a.key = make1(t, authority(edit), nil)
	return a
}

// Below makes an authority that this one signs.
func (a *Authority) Below(t testing.TB, edit func(*x509.Certificate)) *Authority {
	t.Helper()
	b := &Authority{}
	b.Cert, b.key = make1(t, authority(edit), a)
	b.above = append([]*x509.Certificate{b.Cert}, a.above...)
	return b
}

func authority(edit func(*x509.Certificate)) *x509.Certificate {
	c := template()
	c.Subject = pkix.Name{CommonName: "authority " + c.SerialNumber.String()}
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	if edit != nil {
		edit(c)
	}
	return c
}

func template() *x509.Certificate {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		n = big.NewInt(1)
	}
	return &x509.Certificate{SerialNumber: n, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
}

// Issue makes a certificate for clients and servers at 127.0.0.1 and localhost,
// with the chain up to the root but without it; edit may change it.
func (a *Authority) Issue(t testing.TB, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := template()
	c.Subject = pkix.Name{CommonName: "leaf"}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	if edit != nil {
		edit(c)
	}
	leaf, key := make1(t, c, a)
	out := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, up := range a.above {
		out.Certificate = append(out.Certificate, up.Raw)
	}
	return out
}

// SVID makes an X509-SVID of a SPIFFE ID; edit may change it.
func (a *Authority) SVID(t testing.TB, id string, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return a.Issue(t, func(c *x509.Certificate) {
		c.URIs, c.DNSNames, c.IPAddresses = []*url.URL{u}, nil, nil
		if edit != nil {
			edit(c)
		}
	})
}

// SelfSigned makes a certificate that nobody vouches for.
func SelfSigned(t testing.TB, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := template()
	c.Subject = pkix.Name{CommonName: "self"}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if edit != nil {
		edit(c)
	}
	leaf, key := make1(t, c, nil)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func make1(t testing.TB, c *x509.Certificate, by *Authority) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := c, crypto.Signer(key)
	if by != nil {
		parent, signer = by.Cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Chain parses the chain of a certificate.
func Chain(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, der := range c.Certificate {
		p, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// Pool holds the roots of authorities.
func Pool(all ...*Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range all {
		p.AddCert(a.Cert)
	}
	return p
}

// Write writes a chain and its key to two files, as renewal does: each at once.
func Write(t testing.TB, c tls.Certificate, cert, key string) {
	t.Helper()
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	WriteFile(t, cert, chain)
}

// WriteCA writes authorities to a file.
func WriteCA(t testing.TB, file string, all ...*Authority) {
	t.Helper()
	var b []byte
	for _, a := range all {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})...)
	}
	WriteFile(t, file, b)
}

// WriteFile puts a file in the place of another at one moment.
func WriteFile(t testing.TB, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}
