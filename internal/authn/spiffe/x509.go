package spiffe

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// ErrCertificate is the refusal of a certificate that names a configured trust
// domain and is no good X509-SVID of it.
var ErrCertificate = errors.New("the client certificate is not an X509-SVID in force of its trust domain: get a new one and open another connection")

// MaxCertificate is the longest time for which an X509-SVID may be made out.
const MaxCertificate = 7 * 24 * time.Hour

// certificateProof begins the name of a certificate as a proof.
const certificateProof = "x509:"

// Admits judges a chain that a client shows in a handshake. It is ours when its
// first certificate names a trust domain whose certificates are taken; others
// are for somebody else to judge.
func (v *Verifier) Admits(chain []*x509.Certificate) (ours bool, err error) {
	d, named := v.of(chain)
	if !named {
		return false, nil
	}
	_, err = d.certified(chain, time.Now())
	return true, err
}

// Certified is who a request is by the certificate of its connection alone (SPIFFE
// "X509-SVID"); ok is false when it shows none of a trust domain whose
// certificates are taken. The chain is verified at each request, so that an
// authority that left the bundle vouches for nobody any more.
func (v *Verifier) Certified(r authn.Request) (p call.Principal, ok bool, err error) {
	d, named := v.of(r.Certificates)
	if !named {
		return call.Principal{}, false, nil
	}
	if v.resources.Find(r.Resource) == nil {
		return call.Principal{}, false, ErrResource
	}
	now := time.Now()
	id, err := d.certified(r.Certificates, now)
	if errors.Is(err, ErrBundle) {
		return call.Principal{}, false, err
	}
	if err != nil {
		return call.Principal{}, false, ErrCertificate
	}
	leaf := r.Certificates[0]
	sum := sha256.Sum256(leaf.Raw)
	who := call.Identity{Issuer: d.id.IDString(), Subject: id.String(), Kind: call.Workload, Client: id.String(), Scopes: slices.Clone(d.Scopes),
		Proof: certificateProof + hex.EncodeToString(sum[:]), Issued: leaf.NotBefore.Unix(), Expires: leaf.NotAfter.Unix()}
	if v.revoked == nil || v.revoked(who.Proof) || v.ended != nil && v.ended(who) {
		return call.Principal{}, false, ErrCertificate
	}
	p = call.NewPrincipal(who)
	return p, p.Valid(), nil
}

// of returns the trust domain that a chain's first certificate names, if its
// certificates are taken.
func (v *Verifier) of(chain []*x509.Certificate) (*domain, bool) {
	if v == nil || len(chain) == 0 {
		return nil, false
	}
	for _, u := range chain[0].URIs {
		if d := v.domains[Issuer(u.Host)]; u.Scheme == "spiffe" && d != nil && d.Certificates {
			return d, true
		}
	}
	return nil, false
}

// certified verifies a chain by the domain's own authorities, name constraints
// included. What X509-SVID 4 and 5 demand of the first certificate is the work
// of go-spiffe.
func (d *domain) certified(chain []*x509.Certificate, now time.Time) (spiffeid.ID, error) {
	if !d.bundle.fresh(now) {
		d.bundle.start(now)
		return spiffeid.ID{}, ErrBundle
	}
	id, _, err := x509svid.Verify(chain, d.bundle.current.Load().certs, x509svid.WithTime(now))
	leaf := chain[0]
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case id.TrustDomain() != d.id || id.Path() == "":
		return spiffeid.ID{}, errors.New("it names no workload of the trust domain")
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return spiffeid.ID{}, errors.New("it is not for clients")
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return spiffeid.ID{}, errors.New("it is not in force")
	case leaf.NotAfter.Sub(leaf.NotBefore) > MaxCertificate:
		return spiffeid.ID{}, errors.New("it is made out for too long")
	case len(leaf.DNSNames)+len(leaf.IPAddresses) > 256:
		return spiffeid.ID{}, errors.New("it has too many names")
	}
	return id, nil
}

// certificatesOf returns the authorities for X509-SVIDs of a bundle.
func (d *domain) certificatesOf(all []*x509.Certificate) (*x509bundle.Bundle, error) {
	if !d.Certificates {
		return x509bundle.New(d.id), nil
	}
	if len(all) == 0 {
		return nil, errors.New("it has no authority for X509-SVIDs (use: x509-svid)")
	}
	return x509bundle.FromX509Authorities(d.id, all), nil
}
