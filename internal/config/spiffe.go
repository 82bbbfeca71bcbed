package config

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// TrustDomain is a SPIFFE trust domain whose workloads may call.
type TrustDomain struct {
	// Name is the trust domain without spiffe://.
	Name string
	// BundleFile is the absolute path of its bundle, or BundleURL the address of
	// its bundle endpoint.
	BundleFile, BundleURL string
	// Scopes are given to every workload of the domain: an SVID has none.
	Scopes []string
	// ScopesIgnored lets its workloads through without scopes; policy alone
	// decides then.
	ScopesIgnored bool
	// Certificates lets workloads in by X509-SVID too.
	Certificates bool
}

func readSPIFFE(s *source, n *yaml.Node, key string, i *Identity) {
	s.items(n, key, func(at string, item *yaml.Node) {
		var d TrustDomain
		readMapping(s, item, at, trustDomainFields(), &d)
		i.SPIFFE = append(i.SPIFFE, d)
	})
}

func trustDomainFields() []field[TrustDomain] {
	return []field[TrustDomain]{
		{"trust_domain", func(s *source, n *yaml.Node, key string, d *TrustDomain) {
			if t, ok := s.text(n, key); ok {
				d.Name = t
				s.complain(n, key, checkTrustDomain(t))
			}
		}},
		{"bundle", func(s *source, n *yaml.Node, key string, d *TrustDomain) {
			t, ok := s.text(n, key)
			if !ok {
				return
			}
			if strings.Contains(t, "://") {
				d.BundleURL = t
				s.complain(n, key, checkURL(t))
				return
			}
			d.BundleFile = s.path(t)
			if info, err := os.Stat(d.BundleFile); err != nil {
				s.fail(n, key, "cannot be read", "write the trust domain's bundle there, in the format spiffe, or name its https address")
			} else {
				s.complain(n, key, writableByOthers(info))
			}
		}},
		{"certificates", func(s *source, n *yaml.Node, key string, d *TrustDomain) { s.flag(n, key, &d.Certificates) }},
		{"scopes", func(s *source, n *yaml.Node, key string, d *TrustDomain) {
			if n.Kind == yaml.ScalarNode {
				_, d.ScopesIgnored = s.oneOf(n, key, "ignored")
				return
			}
			s.checked(n, key, checkScope, &d.Scopes)
		}},
	}
}

// trustDomain has the characters of SPIFFE-ID 2.1.
var trustDomain = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

func checkTrustDomain(t string) complaint {
	if !trustDomain.MatchString(t) {
		return complaint{"is no trust domain", "write its bare name in lower case, such as example.org, without spiffe:// and without a path"}
	}
	return complaint{}
}

// ownScope is what this gateway asks for: a server and what is done there.
var ownScope = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}:(list|read|call)$`)

func checkScope(t string) complaint {
	if !ownScope.MatchString(t) {
		return complaint{"is no scope of this gateway", "write SERVER:list, SERVER:read or SERVER:call, one for each that workloads shall have"}
	}
	return complaint{}
}

func (s *source) judgeSPIFFE(r *reading) {
	if len(r.Identity.SPIFFE) == 0 {
		return
	}
	if !r.build.Identity {
		s.failKey("identity.spiffe", "asks for workloads by SPIFFE, which this build does not support yet", "take spiffe: out")
	}
	for i, d := range r.Identity.SPIFFE {
		at := index("identity.spiffe", i)
		if d.Name == "" && !s.said(at+".trust_domain") {
			s.failKey(at, "names no trust domain", "write trust_domain: example.org")
		}
		if d.BundleFile == "" && d.BundleURL == "" && !s.said(at+".bundle") {
			s.failKey(at, "has no bundle, so nobody could be verified", "write bundle: with the file or the https address of the trust domain's bundle")
		}
		if !s.said(at+".scopes") || !d.ScopesIgnored && len(d.Scopes) == 0 && !s.failed(at+".scopes") {
			s.failKey(at, "says nothing of scopes, which an SVID does not carry", "write scopes: [SERVER:list, SERVER:call] for all its workloads, or scopes: ignored to leave it to policy alone")
		}
		if d.Certificates && !r.TLS.AsksClients() {
			s.failKey(at+".certificates", "takes client certificates, and none is asked for", "write tls: with client_auth: request")
		}
		for _, scope := range d.Scopes {
			if name, _, ok := strings.Cut(scope, ":"); ok && checkScope(scope) == (complaint{}) && !slices.ContainsFunc(r.Servers, func(v Server) bool { return v.Name == name }) {
				s.failKey(at+".scopes", "names a scope of "+name+", and there is no such server", "name a server of servers:")
			}
		}
	}
	if r.build.Identity && r.PublicURL == "" && !s.said("public_url") && len(r.Identity.Issuers) == 0 {
		s.failKey("identity.spiffe", "needs public_url, which SVIDs name as their audience", "write public_url: https://… as workloads reach the gateway")
	}
}
