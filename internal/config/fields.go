package config

import (
	"strings"
	"time"

	"slices"

	"go.yaml.in/yaml/v3"
)

// reading is the config that is being read and where its parts stand that are
// only judged once all is read.
type reading struct {
	*Config
	build Build
}

func topFields() []field[reading] {
	return []field[reading]{
		{"listen", readListen},
		{"public_url", readPublicURL},
		{"data", func(s *source, n *yaml.Node, key string, r *reading) { r.Data = s.pathAt(n, key) }},
		{"tls", func(s *source, n *yaml.Node, key string, r *reading) { readMapping(s, n, key, tlsFields(), &r.TLS) }},
		{"protocol_floor", func(s *source, n *yaml.Node, key string, r *reading) {
			if v, ok := s.oneOf(n, key, floors()...); ok {
				r.ProtocolFloor = v
			}
		}},
		{"merged", func(s *source, n *yaml.Node, key string, r *reading) {
			r.Merged = []string{}
			s.words(n, key, &r.Merged)
		}},
		{"merged_audience", func(s *source, n *yaml.Node, key string, r *reading) { s.words(n, key, &r.MergedAudience) }},
		{"merged_require_binding", func(s *source, n *yaml.Node, key string, r *reading) { s.bindings(n, key, &r.MergedRequireBinding) }},
		{"allowed_origins", func(s *source, n *yaml.Node, key string, r *reading) {
			s.checked(n, key, checkOrigin, &r.AllowedOrigins)
		}},
		{"allowed_hosts", func(s *source, n *yaml.Node, key string, r *reading) {
			s.checked(n, key, checkHostPort, &r.AllowedHosts)
		}},
		{"identity", func(s *source, n *yaml.Node, key string, r *reading) {
			readMapping(s, n, key, identityFields(), &r.Identity)
		}},
		{authServerKey, readAuthorizationServer},
		{"egress", func(s *source, n *yaml.Node, key string, r *reading) {
			readMapping(s, n, key, egressFields(), &r.Egress)
		}},
		{"servers", readServers},
		{"policy", func(s *source, n *yaml.Node, key string, r *reading) { s.paths(n, key, &r.Policy) }},
		{"policy_candidate", func(s *source, n *yaml.Node, key string, r *reading) { s.paths(n, key, &r.PolicyCandidate) }},
		{"approval", func(s *source, n *yaml.Node, key string, r *reading) {
			readMapping(s, n, key, approvalFields(), &r.Approval)
		}},
		{"guards", readGuards},
		{"definitions", func(s *source, n *yaml.Node, key string, r *reading) {
			readMapping(s, n, key, definitionFields(), &r.Definitions)
		}},
		{"audit", func(s *source, n *yaml.Node, key string, r *reading) { readMapping(s, n, key, auditFields(), &r.Audit) }},
		{"limits", func(s *source, n *yaml.Node, key string, r *reading) {
			readMapping(s, n, key, limitFields(), &r.Limits)
		}},
	}
}

// floors are the revisions down to which the operator may go. Older ones have
// rules, batches among them, that this gateway does not keep.
func floors() []string {
	return []string{"2025-03-26", DefaultFloor, "2025-11-25", "2026-07-28"}
}

func identityFields() []field[Identity] {
	return []field[Identity]{
		{"insecure_anonymous", func(s *source, n *yaml.Node, key string, i *Identity) { s.flag(n, key, &i.InsecureAnonymous) }},
		{"dpop", func(s *source, n *yaml.Node, key string, i *Identity) { readMapping(s, n, key, dpopFields(), &i.DPoP) }},
		{"issuers", func(s *source, n *yaml.Node, key string, i *Identity) {
			s.items(n, key, func(at string, item *yaml.Node) {
				var issuer Issuer
				readMapping(s, item, at, issuerFields(), &issuer)
				i.Issuers = append(i.Issuers, issuer)
			})
		}},
		{"spiffe", readSPIFFE},
	}
}

func issuerFields() []field[Issuer] {
	return []field[Issuer]{
		{"issuer", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if t, ok := s.text(n, key); ok {
				i.URL = t
				s.complain(n, key, checkURL(t))
			}
		}},
		{"provider", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if v, ok := s.oneOf(n, key, "generic", "keycloak", "entra", "okta", "auth0", "google"); ok {
				i.Provider = v
			}
		}},
		{"algorithms", func(s *source, n *yaml.Node, key string, i *Issuer) { s.words(n, key, &i.Algorithms) }},
		{"types", func(s *source, n *yaml.Node, key string, i *Issuer) { s.words(n, key, &i.Types) }},
		{"jwks_uri", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if t, ok := s.text(n, key); ok {
				i.JWKSURI = t
				s.complain(n, key, checkURL(t))
			}
		}},
		{"clock_skew", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if d, ok := s.duration(n, key, time.Second, 5*time.Minute); ok {
				i.ClockSkew = d
			}
		}},
		{"scopes", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if v, ok := s.oneOf(n, key, "required", "ignored"); ok {
				i.ScopesIgnored = v == "ignored"
			}
		}},
		{"max_lifetime", func(s *source, n *yaml.Node, key string, i *Issuer) {
			if d, ok := s.duration(n, key, time.Minute, 48*time.Hour); ok {
				i.MaxLifetime = d
			}
		}},
		{"groups_claim", claimField(func(i *Issuer) *string { return &i.GroupsClaim })},
		{"roles_claim", claimField(func(i *Issuer) *string { return &i.RolesClaim })},
		{"tenant_claim", claimField(func(i *Issuer) *string { return &i.TenantClaim })},
		{"known_as", claimField(func(i *Issuer) *string { return &i.KnownAs })},
		{"implied_scopes", readImplied},
		{"introspection", readIntrospection},
		{"logout", readLogout},
		{"signin", readSignIn},
	}
}

func egressFields() []field[Egress] {
	return []field[Egress]{
		{"ca", func(s *source, n *yaml.Node, key string, e *Egress) { e.CA = s.pathAt(n, key) }},
		{"allow", func(s *source, n *yaml.Node, key string, e *Egress) { s.checked(n, key, checkHostPort, &e.Allow) }},
	}
}

func auditFields() []field[Audit] {
	return []field[Audit]{
		{"durability", func(s *source, n *yaml.Node, key string, a *Audit) {
			if v, ok := s.oneOf(n, key, string(DurabilityStrict), string(DurabilityRelaxed)); ok {
				a.Durability = Durability(v)
			}
		}},
	}
}

func guardFields() []field[Guard] {
	return append([]field[Guard]{
		{"mode", func(s *source, n *yaml.Node, key string, g *Guard) {
			if v, ok := s.oneOf(n, key, string(ModeOff), string(ModeMonitor), string(ModeEnforce)); ok {
				g.Mode = Mode(v)
			}
		}},
		{"insecure_unknown_properties", func(s *source, n *yaml.Node, key string, g *Guard) {
			if g.Name != "schema" {
				s.fail(n, key, "belongs to the guard schema", "take it out")
				return
			}
			s.checked(n, key, checkTool, &g.InsecureUnknownProperties)
		}},
		{"rules", readFindRules},
		{"insecure_allow", readFindAllowed},
	}, argumentsFields()...)
}

// checkTool judges the name of one tool of one server.
func checkTool(t string) complaint {
	server, tool, ok := strings.Cut(t, "/")
	if !ok || server == "" || tool == "" {
		return complaint{"does not name a tool", "write server/tool, as in files/read_file"}
	}
	return complaint{}
}

func readGuards(s *source, n *yaml.Node, key string, r *reading) {
	s.members(n, key, func(name string, k, v *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{k.Line, k.Column}
		if !r.build.hasGuard(name) {
			next := "take it out: this build has no guards"
			if len(r.build.Guards) > 0 {
				next = unknownNext(name, r.build.Guards)
			}
			s.fail(k, at, "is not a guard of this build", next)
		}
		g := Guard{Name: name}
		readMapping(s, v, at, guardFields(), &g)
		if g.Mode == "" && v.Kind == yaml.MappingNode && len(v.Content) == 0 {
			s.fail(v, at, "has no mode", "write { mode: enforce }, { mode: monitor } or { mode: off }")
		}
		if g.Mode == "" {
			g.Mode = ModeEnforce
		}
		r.Guards = append(r.Guards, g)
	})
}

func readListen(s *source, n *yaml.Node, key string, r *reading) {
	t, ok := s.text(n, key)
	if !ok {
		return
	}
	r.Listen = t
	s.complain(n, key, checkListen(t))
}

func readPublicURL(s *source, n *yaml.Node, key string, r *reading) {
	t, ok := s.text(n, key)
	if !ok {
		return
	}
	c := checkURL(t)
	if c == (complaint{}) {
		c = checkNoQuery(t)
	}
	s.complain(n, key, c)
	for len(t) > 0 && t[len(t)-1] == '/' {
		t = t[:len(t)-1]
	}
	r.PublicURL = t
}

// words reads a list of texts, each at most once.
func (s *source) words(n *yaml.Node, key string, into *[]string) {
	s.checked(n, key, func(string) complaint { return complaint{} }, into)
}

// checked reads a list of texts that a check looks at, each at most once.
func (s *source) checked(n *yaml.Node, key string, check func(string) complaint, into *[]string) {
	seen := map[string]bool{}
	s.items(n, key, func(at string, item *yaml.Node) {
		t, ok := s.text(item, at)
		if !ok {
			return
		}
		if seen[t] {
			s.fail(item, at, "is listed twice", "keep one of the two")
			return
		}
		seen[t] = true
		if c := check(t); c != (complaint{}) {
			s.complain(item, at, c)
			return
		}
		*into = append(*into, t)
	})
}

// pathAt reads a path and makes it absolute.
func (s *source) pathAt(n *yaml.Node, key string) string {
	t, ok := s.text(n, key)
	if !ok {
		return ""
	}
	return s.path(t)
}

// complaint is what a check found and what to do next; zero for nothing.
type complaint struct{ message, next string }

func (s *source) complain(n *yaml.Node, key string, c complaint) {
	if c != (complaint{}) {
		s.fail(n, key, c.message, c.next)
	}
}

// Keys lists the keys of the file with their paths: * stands for a name, []
// for a place in a list.
func Keys() []string {
	keys := leaves("", topFields(), "approval", "tls", "identity", authServerKey, "egress", "servers", "guards", "definitions", "audit", "limits")
	keys = append(keys, leaves("tls.", tlsFields())...)
	keys = append(keys, leaves("identity.", identityFields(), "dpop")...)
	keys = append(keys, leaves("identity.dpop.", dpopFields())...)
	keys = append(keys, leaves("identity.issuers[].", issuerFields(), "introspection", "logout", "signin")...)
	keys = append(keys, leaves("identity.issuers[].introspection.", introspectionFields())...)
	keys = append(keys, leaves("identity.issuers[].logout.", logoutFields())...)
	keys = append(keys, leaves("identity.spiffe[].", trustDomainFields())...)
	keys = append(keys, leaves("identity.issuers[].signin.", signInFields())...)
	keys = append(keys, leaves(authServerKey+".", authorizationServerFields(), "clients", "documents")...)
	keys = append(keys, leaves(authServerKey+".documents.", clientDocumentFields())...)
	keys = append(keys, leaves(authServerKey+".clients[].", oauthClientFields())...)
	keys = append(keys, leaves("egress.", egressFields())...)
	keys = append(keys, leaves("servers.*.", serverFields(), "credential", "tls", "audit")...)
	keys = append(keys, leaves("servers.*.tls.", serverTLSFields())...)
	keys = append(keys, leaves("servers.*.credential.", credentialFields(), "authorization_server")...)
	keys = append(keys, leaves("servers.*.credential.authorization_server.", tokenServerFields(func(t *TokenServer) *TokenServer { return t }))...)
	keys = append(keys, leaves("servers.*.audit.", auditFields())...)
	keys = append(keys, leaves("approval.", approvalFields(), "approvers")...)
	keys = append(keys, leaves("approval.approvers.*.", approversFields())...)
	keys = append(keys, leaves("guards.*.", guardFields(), "rules", "insecure_allow")...)
	keys = append(keys, leaves("guards.*.rules[].", append(selectFields(), field[FindRule]{name: "do"}))...)
	keys = append(keys, leaves("guards.*.insecure_allow[].", selectFields())...)
	keys = append(keys, leaves("definitions.", definitionFields())...)
	keys = append(keys, leaves("audit.", auditFields())...)
	return append(keys, leaves("limits.", limitFields())...)
}

// leaves names the fields below a path but for those that have fields of
// their own.
func leaves[T any](path string, fields []field[T], branches ...string) []string {
	var keys []string
	for _, f := range fields {
		if !slices.Contains(branches, f.name) {
			keys = append(keys, path+f.name)
		}
	}
	return keys
}
