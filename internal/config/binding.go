package config

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The ways in which a token can be bound to a key of its client.
const (
	BindingDPoP = "dpop" // RFC 9449
	BindingMTLS = "mtls" // RFC 8705
)

// What is asked of a client in the handshake.
const (
	ClientAuthOff     = "off"
	ClientAuthRequest = "request"
	ClientAuthRequire = "require"
)

// TLS says how the gateway itself is served, with the absolute paths of PEM
// files.
type TLS struct {
	Cert, Key string
	// ClientAuth says whether clients are asked for a certificate; empty is off.
	ClientAuth string
	// ClientCA holds the authorities of clients; without it a certificate
	// proves its own key and no name.
	ClientCA string
}

// Enabled reports whether the gateway is served by TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// AsksClients reports whether clients are asked for a certificate.
func (t TLS) AsksClients() bool {
	return t.ClientAuth == ClientAuthRequest || t.ClientAuth == ClientAuthRequire
}

// ServerTLS says how a server is reached by TLS, with the absolute paths of PEM
// files.
type ServerTLS struct {
	// CA holds the authorities of the server; empty is the system's.
	CA string
	// Cert and Key are what the gateway shows; empty shows nothing.
	Cert, Key string
}

// DPoP says how proofs of possession (RFC 9449) are judged.
type DPoP struct {
	// NonceOff takes proofs without a nonce of the gateway.
	NonceOff bool
	// Algorithms is the allow-list; empty is all that are known.
	Algorithms []string
	// Window is how far a proof's time may lie from now; 0 is the default.
	Window time.Duration
}

// DefaultDPoPWindow is how far a proof's time may lie from now.
const DefaultDPoPWindow = time.Minute

func tlsFields() []field[TLS] {
	return []field[TLS]{
		{"cert", func(s *source, n *yaml.Node, key string, t *TLS) { t.Cert = s.pathAt(n, key) }},
		{"key", func(s *source, n *yaml.Node, key string, t *TLS) { t.Key = s.pathAt(n, key) }},
		{"client_auth", func(s *source, n *yaml.Node, key string, t *TLS) {
			if v, ok := s.oneOf(n, key, ClientAuthOff, ClientAuthRequest, ClientAuthRequire); ok {
				t.ClientAuth = v
			}
		}},
		{"client_ca", func(s *source, n *yaml.Node, key string, t *TLS) { t.ClientCA = s.pathAt(n, key) }},
	}
}

func serverTLSFields() []field[ServerTLS] {
	return []field[ServerTLS]{
		{"ca", func(s *source, n *yaml.Node, key string, t *ServerTLS) { t.CA = s.pathAt(n, key) }},
		{"cert", func(s *source, n *yaml.Node, key string, t *ServerTLS) { t.Cert = s.pathAt(n, key) }},
		{"key", func(s *source, n *yaml.Node, key string, t *ServerTLS) { t.Key = s.pathAt(n, key) }},
	}
}

func dpopFields() []field[DPoP] {
	return []field[DPoP]{
		{"nonce", func(s *source, n *yaml.Node, key string, d *DPoP) {
			if v, ok := s.oneOf(n, key, "required", "off"); ok {
				d.NonceOff = v == "off"
			}
		}},
		{"algorithms", func(s *source, n *yaml.Node, key string, d *DPoP) { s.words(n, key, &d.Algorithms) }},
		{"window", func(s *source, n *yaml.Node, key string, d *DPoP) {
			if v, ok := s.duration(n, key, time.Second, 5*time.Minute); ok {
				d.Window = v
			}
		}},
	}
}

// bindings reads the methods of which a token needs one.
func (s *source) bindings(n *yaml.Node, key string, into *[]string) {
	s.checked(n, key, func(t string) complaint {
		if t == BindingDPoP || t == BindingMTLS {
			return complaint{}
		}
		return complaint{"is " + short(t) + ", which is no way to bind a token", "write dpop, mtls or both"}
	}, into)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		s.fail(n, key, "names no way to bind a token", "write [dpop], [mtls] or [dpop, mtls], or leave the key out")
	}
}

// MergedBinding returns the methods of which a token for the merged endpoint
// needs one: what merged_require_binding says and every server there agrees
// with. It is empty where nobody requires any, and not ok where no token could
// satisfy all.
func (c *Config) MergedBinding() (methods []string, ok bool) {
	lists := [][]string{c.MergedRequireBinding}
	for _, name := range c.MergedServers() {
		s, _ := c.Server(name)
		lists = append(lists, s.RequireBinding)
	}
	required := false
	methods = []string{BindingDPoP, BindingMTLS}
	for _, l := range lists {
		if len(l) == 0 {
			continue
		}
		required = true
		methods = slices.DeleteFunc(methods, func(m string) bool { return !slices.Contains(l, m) })
	}
	if !required {
		return nil, true
	}
	return methods, len(methods) > 0
}

// judgeBinding holds the rules of keys that need more than one key of the file.
func (s *source) judgeBinding(r *reading) {
	check := func(key string, methods []string) {
		switch {
		case len(methods) == 0:
		case !r.Identity.Outside() && !s.said("identity.issuers"):
			s.failKey(key, "requires bound tokens without anybody who makes some", "add identity: with issuers, or take it out")
		case !r.TLS.AsksClients() && slices.Equal(methods, []string{BindingMTLS}):
			s.failKey(key, "requires a client certificate, and none is asked for", "write tls: with client_auth: request")
		}
	}
	for _, v := range r.Servers {
		check(join("servers", v.Name)+".require_binding", v.RequireBinding)
		s.judgeServerTLS(v)
	}
	check("merged_require_binding", r.MergedRequireBinding)
	if _, ok := r.MergedBinding(); !ok {
		s.failKey("merged", "names servers whose require_binding no one token can satisfy", "leave one of them out, or let both take the same kind of token")
	}
	t := r.TLS
	if s.said("tls.client_ca") && !t.AsksClients() && !s.failed("tls.client_auth") {
		s.failKey("tls.client_ca", "is for certificates that nobody is asked for", "write client_auth: request or require beside it")
	}
	s.judgeFile("tls.client_ca", t.ClientCA)
}

func (s *source) judgeServerTLS(v Server) {
	at := join("servers", v.Name) + ".tls"
	switch {
	case !s.said(at) || s.failed(at):
		return
	case v.Stdio():
		s.failKey(at, "is for servers that are a URL", "take it out: this server is a command")
		return
	case strings.HasPrefix(strings.ToLower(v.URL.Text), "http:"):
		s.failKey(at, "is for servers that are reached by https", "write url: https://…, or take it out")
	case (v.TLS.Cert == "") != (v.TLS.Key == ""):
		s.failKey(at, "names one of cert and key", "write both, the paths of two PEM files")
	case v.TLS == ServerTLS{} && !s.said(at+".ca") && !s.said(at+".cert") && !s.said(at+".key"):
		s.failKey(at, "is empty", "write ca:, or cert: and key:, or take it out")
	}
	s.judgeFile(at+".ca", v.TLS.CA)
	s.judgeFile(at+".cert", v.TLS.Cert)
	s.judgeKeyFile(at+".key", v.TLS.Key)
}

// judgeKeyFile is judgeFile for a private key.
func (s *source) judgeKeyFile(key, path string) {
	if info := s.judgeFile(key, path); info != nil && readableByAll(info) {
		s.warnKey(key, "can be read by every user of this machine", "chmod 600 the file")
	}
}
