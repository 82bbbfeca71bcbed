package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// LongLifetime is how long tokens may live that nothing can take back.
const LongLifetime = 90 * time.Minute

// DefaultIntrospectionCache is how long an answer to an introspection holds.
const DefaultIntrospectionCache = 30 * time.Second

// Introspection says how an issuer is asked about its tokens (RFC 7662).
type Introspection struct {
	// Tokens says which: opaque (all that are no JWTs), jwt (after their
	// signature was verified) or both; empty asks about none.
	Tokens string
	// Endpoint is from the issuer's metadata where it is empty.
	Endpoint string
	// ClientID is how the gateway is registered at the issuer.
	ClientID string
	// ClientAuth is client_secret_basic, client_secret_post or
	// private_key_jwt.
	ClientAuth string
	// ClientSecret is for the first two, ClientKey (PEM or JWK) for the third.
	ClientSecret, ClientKey Value
	// Cache is how long an answer holds.
	Cache time.Duration
}

// Opaque reports that tokens are judged by introspection alone.
func (i Introspection) Opaque() bool { return i.Tokens == "opaque" || i.Tokens == "both" }

// JWT reports that JWTs are asked about after they were verified.
func (i Introspection) JWT() bool { return i.Tokens == "jwt" || i.Tokens == "both" }

// Logout says how an issuer tells of sessions that ended (OpenID Connect
// Back-Channel Logout 1.0).
type Logout struct {
	// Clients are the audiences of its logout tokens: the client under which
	// the gateway is registered for them.
	Clients []string
}

func claimField(in func(*Issuer) *string) func(*source, *yaml.Node, string, *Issuer) {
	return func(s *source, n *yaml.Node, key string, i *Issuer) {
		if t, ok := s.text(n, key); ok {
			*in(i) = t
		}
	}
}

// readImplied reads which scopes a broader one contains.
func readImplied(s *source, n *yaml.Node, key string, i *Issuer) {
	i.ImpliedScopes = map[string][]string{}
	s.members(n, key, func(name string, k, v *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{k.Line, k.Column}
		if !scopeToken(name) {
			s.fail(k, at, "is not a scope", "write visible ASCII without spaces, quotation marks and backslashes")
			return
		}
		var list []string
		s.checked(v, at, func(t string) complaint {
			if !scopeToken(t) {
				return complaint{"is not a scope", "write visible ASCII without spaces, quotation marks and backslashes"}
			}
			return complaint{}
		}, &list)
		i.ImpliedScopes[name] = list
	})
}

// scopeToken reports a scope-token of RFC 6749 3.3.
func scopeToken(t string) bool {
	return t != "" && !strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' })
}

func introspectionFields() []field[Introspection] {
	return []field[Introspection]{
		{"tokens", func(s *source, n *yaml.Node, key string, i *Introspection) {
			if v, ok := s.oneOf(n, key, "opaque", "jwt", "both"); ok {
				i.Tokens = v
			}
		}},
		{"endpoint", func(s *source, n *yaml.Node, key string, i *Introspection) {
			if t, ok := s.text(n, key); ok {
				i.Endpoint = t
				s.complain(n, key, checkURL(t))
			}
		}},
		{"client_id", func(s *source, n *yaml.Node, key string, i *Introspection) { i.ClientID, _ = s.text(n, key) }},
		{"client_auth", func(s *source, n *yaml.Node, key string, i *Introspection) {
			if v, ok := s.oneOf(n, key, "client_secret_basic", "client_secret_post", "private_key_jwt"); ok {
				i.ClientAuth = v
			}
		}},
		{"client_secret", secretField(func(i *Introspection) *Value { return &i.ClientSecret })},
		{"client_key", secretField(func(i *Introspection) *Value { return &i.ClientKey })},
		{"cache", func(s *source, n *yaml.Node, key string, i *Introspection) {
			if d, ok := s.duration(n, key, time.Second, 5*time.Minute); ok {
				i.Cache = d
			}
		}},
	}
}

func secretField[T any](in func(*T) *Value) func(*source, *yaml.Node, string, *T) {
	return func(s *source, n *yaml.Node, key string, i *T) {
		v, ok := s.value(n, key)
		if ok && (!v.IsSecret() || v.Text != "") {
			s.fail(n, key, "must name a secret", "write { secret: env:NAME }, file:PATH or sealed:NAME")
			return
		}
		*in(i) = v
	}
}

func readIntrospection(s *source, n *yaml.Node, key string, i *Issuer) {
	i.Introspection = Introspection{Tokens: "opaque", Cache: DefaultIntrospectionCache}
	readMapping(s, n, key, introspectionFields(), &i.Introspection)
	v := &i.Introspection
	if v.ClientAuth == "" {
		v.ClientAuth = "client_secret_basic"
		if v.ClientKey.IsSecret() {
			v.ClientAuth = "private_key_jwt"
		}
	}
	has := func(name string) bool { _, ok := s.at[join(key, name)]; return ok }
	if n.Kind == yaml.MappingNode && !has("client_id") {
		s.fail(n, key, "has no client_id", "write client_id: with the name under which the gateway is registered at the issuer")
	}
	need, other := "client_secret", "client_key"
	if v.ClientAuth == "private_key_jwt" {
		need, other = other, need
	}
	if n.Kind == yaml.MappingNode && !has(need) {
		s.fail(n, key, "has no "+need, "write "+need+": { secret: env:NAME }: "+v.ClientAuth+" needs it")
	}
	if has(other) {
		s.failKey(join(key, other), "is not what "+v.ClientAuth+" uses", "take it out, or change client_auth")
	}
}

func logoutFields() []field[Logout] {
	return []field[Logout]{
		{"clients", func(s *source, n *yaml.Node, key string, l *Logout) { s.words(n, key, &l.Clients) }},
	}
}

func readLogout(s *source, n *yaml.Node, key string, i *Issuer) {
	readMapping(s, n, key, logoutFields(), &i.Logout)
	if n.Kind == yaml.MappingNode && len(i.Logout.Clients) == 0 && !s.failed(join(key, "clients")) {
		s.fail(n, key, "names no client", "write clients: [the client under which the gateway is registered for logout tokens]")
	}
}

// judgeIssuers holds what concerns several keys of one issuer, or several
// issuers.
func (s *source) judgeIssuers(list []Issuer) {
	opaque := ""
	for i, is := range list {
		at := index("identity.issuers", i)
		if is.URL == "" && !s.said(at+".issuer") {
			s.failKey(at, "names no issuer", "write issuer: https://…")
		}
		if j := slices.IndexFunc(list, func(o Issuer) bool { return o.URL == is.URL }); is.URL != "" && j < i {
			s.failKey(at+".issuer", "is listed twice", "keep one of the two")
		}
		if is.KnownAs != "" {
			j := slices.IndexFunc(list, func(o Issuer) bool { return o.URL == is.KnownAs })
			if j < 0 || list[j].KnownAs != "" || j == i || is.Provider != "entra" {
				s.failKey(at+".known_as", "is not the other issuer of one Entra tenant", "name the issuer of this file under which users are known, or take it out")
			}
			if is.Introspection.Tokens != "" || len(is.Logout.Clients) > 0 {
				s.failKey(at+".known_as", "stands beside introspection or logout", "take those out: Entra has neither")
			}
		}
		most := LongLifetime
		if is.Provider == "entra" {
			most += 5 * time.Minute // its iat lies that much before
		}
		if is.MaxLifetime > most && !is.Introspection.JWT() && len(is.Logout.Clients) == 0 {
			s.failKey(at+".max_lifetime", "is longer than "+most.String()+", and nothing takes such tokens back",
				"add logout: or introspection: { tokens: jwt, … }, or let the issuer make shorter tokens")
		}
		if is.Introspection.Opaque() {
			if opaque != "" {
				s.failKey(at+".introspection", "is the second for opaque tokens, which do not say whose they are",
					"keep one such issuer ("+short(opaque)+"), and write tokens: jwt for the others")
			}
			opaque = is.URL
		}
		if is.Provider == "google" && is.Introspection.Tokens != "" {
			s.failKey(at+".introspection", "is not offered by Google", "take it out")
		}
	}
}

// departures are what an issuer is trusted with beyond the usual.
func (i Issuer) departures(at string) []Departure {
	var list []Departure
	if i.ScopesIgnored {
		list = append(list, Departure{at + ".scopes", "ignored", "tokens of " + Visible(i.URL) + " need no scope of this gateway; policy alone decides"})
	}
	for _, broad := range slices.Sorted(maps.Keys(i.ImpliedScopes)) {
		list = append(list, Departure{join(at+".implied_scopes", Visible(broad)), Visible(strings.Join(i.ImpliedScopes[broad], " ")),
			"a token of " + Visible(i.URL) + " with this scope has these too"})
	}
	if i.MaxLifetime > LongLifetime {
		list = append(list, Departure{at + ".max_lifetime", i.MaxLifetime.String(), "tokens may live longer than the default of " + LongLifetime.String()})
	}
	if i.Introspection.Cache > DefaultIntrospectionCache {
		list = append(list, Departure{at + ".introspection.cache", i.Introspection.Cache.String(),
			strings.Join([]string{"a token that was taken back is good for longer than", DefaultIntrospectionCache.String()}, " ")})
	}
	return list
}
