package mtls_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/mtls"
	"github.com/munjigi/munjigi/internal/authn/mtls/mtlstest"
)

func TestConfirm(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewAuthority(t, nil)
	mine, other := mtlstest.Chain(t, ca.Issue(t, nil)), mtlstest.Chain(t, ca.Issue(t, nil))
	old := mtlstest.Chain(t, ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }))
	early := mtlstest.Chain(t, ca.Issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }))
	name := mtls.Thumbprint(mine[0])
	sum := sha256.Sum256(mine[0].Raw)
	if name != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Fatalf("the thumbprint is %s", name)
	}
	for what, row := range map[string]struct {
		chain []*x509.Certificate
		x5t   string
		want  error
	}{
		"the certificate":              {mine, name, nil},
		"none":                         {nil, name, mtls.ErrNone},
		"another":                      {other, name, mtls.ErrOther},
		"behind another":               {append(other[:1:1], mine[0]), name, mtls.ErrOther},
		"one that expired meanwhile":   {old, mtls.Thumbprint(old[0]), mtls.ErrTime},
		"one that is not in force yet": {early, mtls.Thumbprint(early[0]), mtls.ErrTime},
		"no thumbprint":                {mine, "", mtls.ErrOther},
		"part of a thumbprint":         {mine, name[:42], mtls.ErrOther},
	} {
		r := authn.Request{Certificates: row.chain, Header: http.Header{"X-Forwarded-Client-Cert": {name}, "X-Ssl-Cert": {name}, "Client-Cert": {name}}}
		if err := mtls.Confirm(r, row.x5t); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", what, err, row.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	ca, stranger := mtlstest.NewAuthority(t, nil), mtlstest.NewAuthority(t, nil)
	narrow := ca.Below(t, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"good.example"}, true
	})
	named := func(n string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{n}, nil }
	}
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	roots := mtlstest.Pool(ca)
	deep := ca.Below(t, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	for what, row := range map[string]struct {
		chain []*x509.Certificate
		roots *x509.CertPool
		good  bool
	}{
		"none":                     {nil, roots, true},
		"of the authority":         {mtlstest.Chain(t, ca.Issue(t, nil)), roots, true},
		"of one below":             {mtlstest.Chain(t, ca.Below(t, nil).Issue(t, nil)), roots, true},
		"within name constraints":  {mtlstest.Chain(t, narrow.Issue(t, named("a.good.example"))), roots, true},
		"against name constraints": {mtlstest.Chain(t, narrow.Issue(t, named("a.evil.example"))), roots, false},
		"too deep":                 {mtlstest.Chain(t, deep.Below(t, nil).Issue(t, nil)), roots, false},
		"without what is between":  {mtlstest.Chain(t, ca.Below(t, nil).Issue(t, nil))[:1], roots, false},
		"of a stranger":            {mtlstest.Chain(t, stranger.Issue(t, nil)), roots, false},
		"of nobody":                {mtlstest.Chain(t, mtlstest.SelfSigned(t, nil)), roots, false},
		"expired":                  {mtlstest.Chain(t, ca.Issue(t, expired)), roots, false},
		"not in force yet":         {mtlstest.Chain(t, ca.Issue(t, early)), roots, false},
		"for servers": {mtlstest.Chain(t, ca.Issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), roots, false},
		"of nobody where anybody may":      {mtlstest.Chain(t, mtlstest.SelfSigned(t, nil)), nil, true},
		"expired where anybody may":        {mtlstest.Chain(t, mtlstest.SelfSigned(t, expired)), nil, false},
		"not yet where anybody may":        {mtlstest.Chain(t, mtlstest.SelfSigned(t, early)), nil, false},
		"of the authority, nobody trusted": {mtlstest.Chain(t, ca.Issue(t, nil)), x509.NewCertPool(), false},
	} {
		if err := mtls.Admit(row.chain, row.roots, time.Now()); (err == nil) != row.good {
			t.Errorf("%s: %v", what, err)
		}
	}
}
