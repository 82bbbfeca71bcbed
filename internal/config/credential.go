package config

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CredentialType says how the gateway authenticates to a server.
type CredentialType string

// The types of credential that this build knows.
const (
	CredentialNone       CredentialType = "none"
	CredentialStatic     CredentialType = "static"
	CredentialClient     CredentialType = "client_credentials"
	CredentialJWTBearer  CredentialType = "jwt_bearer"
	CredentialExchange   CredentialType = "token_exchange"
	CredentialOnBehalfOf CredentialType = "on_behalf_of"
	CredentialIDJAG      CredentialType = "idjag"
)

// PerPrincipal reports that each caller has a credential of its own, made of
// what it presented.
func (t CredentialType) PerPrincipal() bool {
	switch t {
	case CredentialNone, CredentialStatic, CredentialClient, CredentialJWTBearer, "":
		return false
	}
	return true
}

// Credential is how the gateway authenticates to a server.
type Credential struct {
	Type CredentialType
	// Headers are set on each request when Type is static. Each value has a
	// secret.
	Headers []CredentialHeader
	// TokenServer gives the tokens of all other types; with idjag it is the
	// enterprise's identity provider, and Server gives the tokens.
	TokenServer
	Server TokenServer
	// Scopes are asked for.
	Scopes []string
	// Resource is the resource parameter: empty means the server's URL,
	// NoResource sends none. Audience is the audience parameter.
	Resource, Audience string
	// Audiences are further values that a token's aud may have.
	Audiences []string
	// Assertion is the grant of jwt_bearer.
	Assertion Value
	// SubjectTokenType, RequestedTokenType and ActorTokenType are URNs; empty is
	// the default. ActorToken may be zero.
	SubjectTokenType, RequestedTokenType, ActorTokenType string
	ActorToken                                           Value
	// SubjectIssuers are the issuers whose callers' tokens may be exchanged; empty
	// means the token server's own, where it is one of the gateway's issuers.
	SubjectIssuers []string
	PerUser
}

// NoResource says that no resource parameter is sent.
const NoResource = "none"

// TokenServer is an authorization server and how the gateway proves itself to
// it.
type TokenServer struct {
	Issuer, TokenEndpoint string
	ClientID              string
	// ClientAuth is a method, or empty for the one that the secret implies.
	ClientAuth                                string
	ClientSecret, PrivateKey, ClientAssertion Value
	Algorithm, KeyID, AssertionAudience       string
}

// The values of ClientAuth.
const (
	ClientAuthNone       = "none"
	ClientAuthBasic      = "client_secret_basic"
	ClientAuthPost       = "client_secret_post"
	ClientAuthPrivateKey = "private_key_jwt"
	ClientAuthAssertion  = "assertion"
)

// Method returns ClientAuth, or what the secret that is there implies.
func (t TokenServer) Method() string {
	switch {
	case t.ClientAuth != "":
		return t.ClientAuth
	case t.ClientSecret.IsSecret():
		return ClientAuthBasic
	case t.PrivateKey.IsSecret():
		return ClientAuthPrivateKey
	case t.ClientAssertion.IsSecret():
		return ClientAuthAssertion
	}
	return ClientAuthNone
}

// Proof returns the secret that the method needs.
func (t TokenServer) Proof() Value {
	switch t.Method() {
	case ClientAuthBasic, ClientAuthPost:
		return t.ClientSecret
	case ClientAuthPrivateKey:
		return t.PrivateKey
	case ClientAuthAssertion:
		return t.ClientAssertion
	}
	return Value{}
}

// CredentialHeader is one HTTP header, its name in canonical form.
type CredentialHeader struct {
	Name  string
	Value Value
}

const tokenServerKeys = "issuer token_endpoint client_id client_auth client_secret private_key client_assertion algorithm key_id assertion_audience "

// keysOf are the keys that a type reads beside type, and those of them that it
// needs.
func keysOf(t CredentialType) (reads, needs []string) {
	r, n := "", ""
	switch t {
	case CredentialNone:
	case CredentialStatic:
		r = "headers"
	case CredentialClient:
		r, n = tokenServerKeys+"scopes resource audience audiences", "client_id"
	case CredentialJWTBearer:
		r, n = tokenServerKeys+"scopes resource audience audiences assertion", "assertion"
	case CredentialExchange:
		r = tokenServerKeys + "scopes resource audience audiences subject_token_type requested_token_type actor_token actor_token_type subject_issuers"
	case CredentialOnBehalfOf:
		r, n = tokenServerKeys+"scopes audiences subject_issuers", "client_id scopes"
	case CredentialPerUser:
		r = "issuer client_id client_secret private_key scopes resource audiences client_document insecure_private_hosts"
	case CredentialIDJAG:
		r, n = tokenServerKeys+"authorization_server scopes resource audiences subject_token_type subject_issuers", "issuer authorization_server"
	}
	return strings.Fields(r), strings.Fields(n)
}

func readCredential(s *source, n *yaml.Node, key string, v *Server) {
	c := Credential{}
	before := len(s.problems) + s.omitted
	readMapping(s, n, key, credentialFields(), &c)
	v.Credential = c
	said := func(name string) bool { return s.said(join(key, name)) }
	if c.Type == "" {
		if n.Kind == yaml.MappingNode && !said("type") {
			s.fail(n, key, "has no type", "write type: static, client_credentials, token_exchange or another; see docs/credentials.md")
		}
		return
	}
	reads, needs := keysOf(c.Type)
	for _, f := range credentialFields() {
		if f.name != "type" && said(f.name) && !slices.Contains(reads, f.name) {
			s.failKey(join(key, f.name), "is not for a credential of type "+string(c.Type), "take it out, or write the type that it is for")
		}
	}
	for _, name := range needs {
		if !said(name) {
			s.fail(n, key, "of type "+string(c.Type)+" lacks "+name, "add "+name+"; see docs/credentials.md")
		}
	}
	if c.Type == CredentialStatic && len(c.Headers) == 0 && (!said("headers") || len(s.problems)+s.omitted == before) {
		s.fail(n, key, "names no header", `write headers: { Authorization: { prefix: "Bearer ", secret: env:NAME } }`)
	}
	if !c.Type.judged(reads) || len(s.problems)+s.omitted > before {
		return
	}
	s.judgeTokenServer(n, key, c.TokenServer, c.Type != CredentialJWTBearer && c.Type != CredentialExchange)
	if c.Type == CredentialIDJAG {
		s.judgeTokenServer(n, join(key, "authorization_server"), c.Server, true)
		if c.Server.Issuer == "" {
			s.failKey(join(key, "authorization_server"), "names no issuer", "write issuer: https://…, which the identity assertion is aimed at")
		}
	}
}

// judgeTokenServer holds the rules about one authorization server.
func (s *source) judgeTokenServer(n *yaml.Node, key string, t TokenServer, named bool) {
	switch {
	case t.Issuer == "" && t.TokenEndpoint == "":
		s.fail(n, key, "names no authorization server", "write issuer: https://…, or token_endpoint: https://… where it has no metadata")
		return
	case named && t.ClientID == "":
		s.fail(n, key, "names no client_id", "write client_id: as the authorization server knows this gateway")
		return
	}
	given := 0
	for _, p := range []struct {
		name string
		v    Value
		by   []string
	}{
		{"client_secret", t.ClientSecret, []string{ClientAuthBasic, ClientAuthPost}},
		{"private_key", t.PrivateKey, []string{ClientAuthPrivateKey}},
		{"client_assertion", t.ClientAssertion, []string{ClientAuthAssertion}},
	} {
		if !p.v.IsSecret() {
			continue
		}
		if given++; given > 1 || !slices.Contains(p.by, t.Method()) {
			s.failKey(join(key, p.name), "is not what client_auth: "+t.Method()+" sends", "keep one proof: client_secret, private_key or client_assertion")
		}
	}
	m := t.Method()
	switch {
	case m != ClientAuthNone && given == 0:
		s.failKey(join(key, "client_auth"), "is "+m+" without its secret", "add client_secret, private_key or client_assertion")
	case m != ClientAuthNone && m != ClientAuthAssertion && t.ClientID == "":
		s.fail(n, key, "names no client_id", "write client_id: as the authorization server knows this gateway")
	case m == ClientAuthPrivateKey && t.Issuer == "" && t.AssertionAudience == "":
		s.failKey(join(key, "private_key"), "signs for an unknown issuer", "write issuer:, which the signed assertion names as its audience")
	case m != ClientAuthPrivateKey && (t.Algorithm != "" || t.KeyID != "" || t.AssertionAudience != ""):
		s.fail(n, key, "shapes a signature without a private_key", "take algorithm, key_id and assertion_audience out, or add private_key")
	}
}

// judgeCredential holds the rules that need the rest of the file.
func (s *source) judgeCredential(r *reading, v Server) {
	at := join("servers", v.Name)
	if !v.Credential.Type.PerPrincipal() {
		return
	}
	if v.Credential.Type == CredentialPerUser {
		s.judgePerUser(at+".credential", v)
	}
	if v.Shared {
		s.failKey(at+".shared", "stands beside a credential that each caller has of its own", "take shared: out: such a server is never reached for two callers together")
	}
	if len(r.Identity.Issuers) == 0 && v.Credential.Type != CredentialPerUser {
		s.failKey(at+".credential", fmt.Sprintf("of type %s needs callers with tokens of identity providers", v.Credential.Type),
			"add identity: with issuers:, or write a type that acts for nobody: static, client_credentials or jwt_bearer")
		return
	}
	ours := func(issuer string) bool {
		return slices.ContainsFunc(r.Identity.Issuers, func(i Issuer) bool { return i.URL == issuer })
	}
	for i, issuer := range v.Credential.SubjectIssuers {
		if !ours(issuer) {
			s.failKey(index(at+".credential.subject_issuers", i), "names an issuer whose tokens are not taken here", "name one of identity.issuers, exactly as it stands there")
		}
	}
	if c := v.Credential; c.Type == CredentialIDJAG && len(c.SubjectIssuers) == 0 && c.Issuer != "" && !ours(c.Issuer) {
		s.failKey(at+".credential.issuer", "is no issuer whose tokens are taken here, so nobody's could be exchanged", "write subject_issuers: with those of identity.issuers whose callers it knows")
	}
}

// Exchanged returns the issuers whose callers' tokens may be exchanged; none
// means all of the gateway's.
func (c Credential) Exchanged(ours []Issuer) []string {
	if len(c.SubjectIssuers) > 0 {
		return c.SubjectIssuers
	}
	if c.Issuer != "" && slices.ContainsFunc(ours, func(i Issuer) bool { return i.URL == c.Issuer }) {
		return []string{c.Issuer}
	}
	return nil
}

func credentialFields() []field[Credential] {
	list := []field[Credential]{
		{"type", func(s *source, n *yaml.Node, key string, c *Credential) {
			if t, ok := s.oneOf(n, key, string(CredentialNone), string(CredentialStatic), string(CredentialClient), string(CredentialJWTBearer),
				string(CredentialExchange), string(CredentialOnBehalfOf), string(CredentialIDJAG), string(CredentialPerUser)); ok {
				c.Type = CredentialType(t)
			}
		}},
		{"headers", readCredentialHeaders},
		{"authorization_server", func(s *source, n *yaml.Node, key string, c *Credential) {
			readMapping(s, n, key, tokenServerFields(func(t *TokenServer) *TokenServer { return t }), &c.Server)
		}},
		{"scopes", func(s *source, n *yaml.Node, key string, c *Credential) {
			s.checked(n, key, checkScopeToken, &c.Scopes)
		}},
		{"resource", func(s *source, n *yaml.Node, key string, c *Credential) {
			if t, ok := s.text(n, key); ok {
				if c.Resource = t; t != NoResource {
					s.complain(n, key, checkResource(t))
				}
			}
		}},
		{"audience", textField(func(c *Credential) *string { return &c.Audience })},
		{"audiences", func(s *source, n *yaml.Node, key string, c *Credential) { s.words(n, key, &c.Audiences) }},
		{"assertion", proofField(func(c *Credential) *Value { return &c.Assertion })},
		{"subject_token_type", tokenTypeField(func(c *Credential) *string { return &c.SubjectTokenType })},
		{"requested_token_type", tokenTypeField(func(c *Credential) *string { return &c.RequestedTokenType })},
		{"actor_token", proofField(func(c *Credential) *Value { return &c.ActorToken })},
		{"actor_token_type", tokenTypeField(func(c *Credential) *string { return &c.ActorTokenType })},
		{"subject_issuers", func(s *source, n *yaml.Node, key string, c *Credential) {
			s.checked(n, key, checkURL, &c.SubjectIssuers)
		}},
	}
	list = append(list, perUserFields()...)
	return append(list, tokenServerFields(func(c *Credential) *TokenServer { return &c.TokenServer })...)
}

func tokenServerFields[T any](in func(*T) *TokenServer) []field[T] {
	url := func(to func(*TokenServer) *string) func(*source, *yaml.Node, string, *T) {
		return func(s *source, n *yaml.Node, key string, v *T) {
			if t, ok := s.text(n, key); ok {
				*to(in(v)) = t
				s.complain(n, key, checkURL(t))
			}
		}
	}
	text := func(to func(*TokenServer) *string) func(*source, *yaml.Node, string, *T) {
		return textField(func(v *T) *string { return to(in(v)) })
	}
	proof := func(to func(*TokenServer) *Value) func(*source, *yaml.Node, string, *T) {
		return proofField(func(v *T) *Value { return to(in(v)) })
	}
	return []field[T]{
		{"issuer", url(func(t *TokenServer) *string { return &t.Issuer })},
		{"token_endpoint", url(func(t *TokenServer) *string { return &t.TokenEndpoint })},
		{"client_id", text(func(t *TokenServer) *string { return &t.ClientID })},
		{"client_auth", func(s *source, n *yaml.Node, key string, v *T) {
			if m, ok := s.oneOf(n, key, ClientAuthNone, ClientAuthBasic, ClientAuthPost, ClientAuthPrivateKey, ClientAuthAssertion); ok {
				in(v).ClientAuth = m
			}
		}},
		{"client_secret", proof(func(t *TokenServer) *Value { return &t.ClientSecret })},
		{"private_key", proof(func(t *TokenServer) *Value { return &t.PrivateKey })},
		{"client_assertion", proof(func(t *TokenServer) *Value { return &t.ClientAssertion })},
		{"algorithm", func(s *source, n *yaml.Node, key string, v *T) {
			if a, ok := s.oneOf(n, key, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"); ok {
				in(v).Algorithm = a
			}
		}},
		{"key_id", text(func(t *TokenServer) *string { return &t.KeyID })},
		{"assertion_audience", text(func(t *TokenServer) *string { return &t.AssertionAudience })},
	}
}

func textField[T any](in func(*T) *string) func(*source, *yaml.Node, string, *T) {
	return func(s *source, n *yaml.Node, key string, v *T) {
		if t, ok := s.text(n, key); ok {
			*in(v) = t
		}
	}
}

// proofField reads a whole secret: nothing stands before it.
func proofField[T any](in func(*T) *Value) func(*source, *yaml.Node, string, *T) {
	return func(s *source, n *yaml.Node, key string, v *T) {
		if n.Kind == yaml.ScalarNode {
			s.fail(n, key, "must name a secret, and is text", "write { secret: env:NAME }, file:PATH or sealed:NAME; the secret itself never stands in this file")
			return
		}
		value, ok := s.value(n, key)
		if ok && value.Text != "" {
			s.fail(n, key, "has a prefix, which does not belong here", "write { secret: … } alone")
			return
		}
		*in(v) = value
	}
}

func tokenTypeField[T any](in func(*T) *string) func(*source, *yaml.Node, string, *T) {
	return func(s *source, n *yaml.Node, key string, v *T) {
		if t, ok := s.oneOf(n, key, "access_token", "id_token", "jwt"); ok {
			*in(v) = "urn:ietf:params:oauth:token-type:" + t
		}
	}
}

// checkScopeToken holds a scope to RFC 6749 3.3.
func checkScopeToken(t string) complaint {
	if t == "" || strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		return complaint{"is not a scope", "write each scope as its own item, without spaces"}
	}
	return complaint{}
}

// checkResource holds a resource to RFC 8707 2: an absolute URI without a
// fragment.
func checkResource(t string) complaint {
	scheme, rest, ok := strings.Cut(t, ":")
	if !ok || scheme == "" || rest == "" || strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '#' }) {
		return complaint{"is not an absolute URI", "write the server's URL as its authorization server knows it, or none"}
	}
	return complaint{}
}

func readCredentialHeaders(s *source, n *yaml.Node, key string, c *Credential) {
	seen := map[string]bool{}
	s.members(n, key, func(name string, k, node *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{node.Line, node.Column}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !headerName(name):
			s.fail(k, at, "is not a name for a header", "use letters, digits and -")
			return
		case reservedHeader(canonical):
			s.fail(k, at, "is a header that the gateway sets itself", "take it out: only a credential's own headers belong here")
			return
		case seen[canonical]:
			s.fail(k, at, "is written twice, in other letters", "keep one of the two")
			return
		}
		seen[canonical] = true
		if node.Kind == yaml.ScalarNode {
			s.fail(node, at, "must name a secret, and is text", `write { secret: env:NAME }, with what stands before it as prefix: "Bearer "`)
			return
		}
		value, ok := s.value(node, at)
		if !ok {
			return
		}
		if strings.ContainsFunc(value.Text, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			s.fail(node, at, "has a prefix with characters that a header cannot carry", "use plain ASCII")
			return
		}
		c.Headers = append(c.Headers, CredentialHeader{Name: canonical, Value: value})
	})
}

// CredentialHeaderName reports whether a credential may be sent in a header of
// this name: a token of RFC 9110 that the gateway does not set itself.
func CredentialHeaderName(name string) bool {
	return headerName(name) && !reservedHeader(textproto.CanonicalMIMEHeaderKey(name))
}
