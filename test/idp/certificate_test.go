//go:build real

package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// TestCertificateBound gets a token over mutual TLS, bound to the client's
// certificate (RFC 8705), and shows it to Munjigi with that certificate, another,
// and none.
func TestCertificateBound(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	server := selfSigned(t, file("server.pem"), file("server.key"))
	roots := x509.NewCertPool()
	roots.AddCert(server.Leaf)
	with := func(own ...tls.Certificate) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: own, MinVersion: tls.VersionTLS13}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	mine, other := selfSigned(t, file("mine.pem"), file("mine.key")), selfSigned(t, file("other.pem"), file("other.key"))

	ours, theirs := free(t), free(t)
	issuer := "https://" + theirs
	p := beginBy(t, with(), kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), "https://" + ours, newKey(t).jwks(t), file("server.pem"), file("server.key")}}, issuer, issuer+"/.well-known/openid-configuration")
	g := serveBy(t, with(mine), "https://"+ours, `tls: { cert: "`+file("server.pem")+`", key: "`+file("server.key")+`", client_auth: request }
`, `{ issuers: [{ issuer: "`+issuer+`" }] }`, `permit (principal is Munjigi::Workload, action, resource);`, theirs, "ca:"+file("server.pem"))
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"files:call"}, "resource": {g.resource("files")}}
	status, body, _ := postBy(t, with(mine), p.meta.Token, "carrier", "carrier-secret", form)
	token := granted(t, status, body)
	sum := sha256.Sum256(mine.Certificate[0])
	if cnf, _ := part(t, token, 1)["cnf"].(map[string]any); cnf["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Fatalf("the token is bound to %v", cnf)
	}
	for name, row := range map[string]struct {
		client *http.Client
		done   bool
	}{"its certificate": {with(mine), true}, "another": {with(other), false}, "none": {with(), false}} {
		g.client = row.client
		if a := g.call(t, "files", token, "test_simple_text"); a.done() != row.done || !row.done && a.status != http.StatusUnauthorized {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1, for servers and clients alike.
func selfSigned(t *testing.T, certFile, keyFile string) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
	write(t, certFile, string(certPEM))
	write(t, keyFile, string(keyPEM))
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
