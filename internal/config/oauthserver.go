package config

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Usual times of the authorization server.
const (
	DefaultAccessToken  = 5 * time.Minute
	DefaultSignedInFor  = 12 * time.Hour
	DefaultKeyRotation  = 30 * 24 * time.Hour
	longestAccessToken  = 15 * time.Minute
	longestSignedInFor  = 90 * 24 * time.Hour
	longestKeyRotation  = 366 * 24 * time.Hour
	mostOAuthClients    = 1000
	authServerKey       = "authorization_server"
	clientSecretBasic   = "client_secret_basic"
	clientSecretPost    = "client_secret_post"
	clientPrivateKeyJWT = "private_key_jwt"
)

// AuthorizationServer is the gateway's own OAuth authorization server. It is
// off, and zero, where the key is not written.
type AuthorizationServer struct {
	Enabled bool
	// AccessToken is how long an access token lives, SignedInFor how long a
	// client may refresh it before the person signs in again.
	AccessToken, SignedInFor time.Duration
	// KeyRotation is how long a key signs before the next one does.
	KeyRotation time.Duration
	// Clients were registered by the operator.
	Clients []OAuthClient
	// Documents says which clients are known by their metadata documents.
	Documents ClientDocuments
	// Registration lets clients register themselves (RFC 7591).
	Registration bool
	// Assertions are the issuers among identity.issuers whose identity
	// assertions (ID-JAG) become access tokens.
	Assertions []string
}

// OAuthClient is one client that the operator registered.
type OAuthClient struct {
	ID, Name     string
	RedirectURIs []string
	// Auth is none, client_secret_basic, client_secret_post or private_key_jwt.
	Auth string
	// Secret is always a secret, or zero.
	Secret Value
	// Keys is the absolute path of the client's JWK set.
	Keys string
	// Scopes bounds what it may ask for; empty means all.
	Scopes []string
	// DPoP says that its tokens are always bound to a key.
	DPoP bool
	// Assertions says that it may trade identity assertions.
	Assertions bool
}

func readAuthorizationServer(s *source, n *yaml.Node, key string, r *reading) {
	r.AuthorizationServer = AuthorizationServer{Enabled: true, AccessToken: DefaultAccessToken, SignedInFor: DefaultSignedInFor, KeyRotation: DefaultKeyRotation}
	readMapping(s, n, key, authorizationServerFields(), &r.AuthorizationServer)
}

func authorizationServerFields() []field[AuthorizationServer] {
	length := func(least, most time.Duration, in func(*AuthorizationServer) *time.Duration) func(*source, *yaml.Node, string, *AuthorizationServer) {
		return func(s *source, n *yaml.Node, key string, a *AuthorizationServer) {
			if d, ok := s.duration(n, key, least, most); ok {
				*in(a) = d
			}
		}
	}
	return []field[AuthorizationServer]{
		{"access_token", length(time.Minute, longestAccessToken, func(a *AuthorizationServer) *time.Duration { return &a.AccessToken })},
		{"signed_in_for", length(10*time.Minute, longestSignedInFor, func(a *AuthorizationServer) *time.Duration { return &a.SignedInFor })},
		{"key_rotation", length(24*time.Hour, longestKeyRotation, func(a *AuthorizationServer) *time.Duration { return &a.KeyRotation })},
		{"clients", func(s *source, n *yaml.Node, key string, a *AuthorizationServer) {
			s.items(n, key, func(at string, item *yaml.Node) {
				var c OAuthClient
				readMapping(s, item, at, oauthClientFields(), &c)
				a.Clients = append(a.Clients, c)
			})
		}},
		{"documents", func(s *source, n *yaml.Node, key string, a *AuthorizationServer) {
			readMapping(s, n, key, clientDocumentFields(), &a.Documents)
		}},
		{"registration", func(s *source, n *yaml.Node, key string, a *AuthorizationServer) { s.flag(n, key, &a.Registration) }},
		{"identity_assertions", func(s *source, n *yaml.Node, key string, a *AuthorizationServer) {
			s.checked(n, key, checkURL, &a.Assertions)
		}},
	}
}

func oauthClientFields() []field[OAuthClient] {
	return []field[OAuthClient]{
		{"id", func(s *source, n *yaml.Node, key string, c *OAuthClient) {
			if t, ok := s.text(n, key); ok {
				c.ID = t
				s.complain(n, key, checkClientID(t))
			}
		}},
		{"name", func(s *source, n *yaml.Node, key string, c *OAuthClient) { c.Name, _ = s.text(n, key) }},
		{"redirect_uris", func(s *source, n *yaml.Node, key string, c *OAuthClient) {
			s.checked(n, key, checkURL, &c.RedirectURIs)
		}},
		{"client_auth", func(s *source, n *yaml.Node, key string, c *OAuthClient) {
			if v, ok := s.oneOf(n, key, "none", clientSecretBasic, clientSecretPost, clientPrivateKeyJWT); ok {
				c.Auth = v
			}
		}},
		{"client_secret", secretField(func(c *OAuthClient) *Value { return &c.Secret })},
		{"client_keys", func(s *source, n *yaml.Node, key string, c *OAuthClient) { c.Keys = s.pathAt(n, key) }},
		{"scopes", func(s *source, n *yaml.Node, key string, c *OAuthClient) { s.checked(n, key, checkAnyScope, &c.Scopes) }},
		{"dpop", func(s *source, n *yaml.Node, key string, c *OAuthClient) { s.flag(n, key, &c.DPoP) }},
		{"identity_assertions", func(s *source, n *yaml.Node, key string, c *OAuthClient) { s.flag(n, key, &c.Assertions) }},
	}
}

// checkClientID keeps IDs of the operator's clients apart from those that are
// URLs and from those that registration gives out.
func checkClientID(t string) complaint {
	if t == "" || len(t) > 128 || strings.ContainsFunc(t, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) {
		return complaint{"is not a name for a client", "write up to 128 letters, digits, dots, hyphens and underscores"}
	}
	return complaint{}
}

// judgeAuthorizationServer holds what concerns several keys.
func (s *source) judgeAuthorizationServer(r *reading) {
	a := &r.AuthorizationServer
	if !a.Enabled || s.failed(authServerKey) {
		return
	}
	person := slices.ContainsFunc(r.Identity.Issuers, func(i Issuer) bool { return i.SignIn.Enabled() })
	switch {
	case !r.build.AuthorizationServer:
		s.failKey(authServerKey, "asks for an authorization server, which this build does not have", "take it out")
	case r.Identity.InsecureAnonymous:
		s.failKey(authServerKey, "stands beside insecure_anonymous, with which nobody is anybody", "take one of them out")
	case r.Identity.Outside() && !person:
		s.failKey(authServerKey, "has nobody who could sign in", "add signin: to one of identity.issuers")
	}
	if len(a.Clients) > mostOAuthClients {
		s.failKey(join(authServerKey, "clients"), "names too many clients", "keep the first thousand and let the others use client documents")
	}
	for i := range a.Clients {
		s.judgeOAuthClient(r, &a.Clients[i], index(join(authServerKey, "clients"), i), i)
	}
	for i, issuer := range a.Assertions {
		at := index(join(authServerKey, "identity_assertions"), i)
		if !slices.ContainsFunc(r.Identity.Issuers, func(is Issuer) bool { return is.URL == issuer }) {
			s.failKey(at, "is none of identity.issuers", "name an issuer exactly as it stands there")
		}
	}
}

func (s *source) judgeOAuthClient(r *reading, c *OAuthClient, at string, i int) {
	if c.ID == "" && !s.said(at+".id") {
		s.failKey(at, "has no id", "write id: with the client_id that the client is given")
	}
	if j := slices.IndexFunc(r.AuthorizationServer.Clients, func(o OAuthClient) bool { return o.ID == c.ID }); c.ID != "" && j < i {
		s.failKey(at+".id", "is listed twice", "keep one of the two")
	}
	if len(c.RedirectURIs) == 0 && !c.Assertions && !s.failed(at+".redirect_uris") {
		s.failKey(at, "has no redirect_uris", "write redirect_uris: [the exact address to which the client takes its codes]")
	}
	secret, keys := c.Secret.IsSecret(), c.Keys != ""
	if c.Auth == "" {
		c.Auth = "none"
		if secret {
			c.Auth = clientSecretBasic
		} else if keys {
			c.Auth = clientPrivateKeyJWT
		}
	}
	wantSecret, wantKeys := c.Auth == clientSecretBasic || c.Auth == clientSecretPost, c.Auth == clientPrivateKeyJWT
	if wantSecret != secret && !s.failed(at+".client_secret") {
		s.failKey(at, map[bool]string{true: "has no client_secret", false: "has a client_secret that is not used"}[wantSecret],
			"write client_secret: { secret: env:NAME } with client_auth: "+clientSecretBasic+" or "+clientSecretPost+", or neither")
	}
	if wantKeys != keys && !s.failed(at+".client_keys") {
		s.failKey(at, map[bool]string{true: "has no client_keys", false: "has client_keys that are not used"}[wantKeys],
			"write client_keys: with the path of the client's JWK set and client_auth: "+clientPrivateKeyJWT+", or neither")
	}
	if keys {
		s.judgeFile(at+".client_keys", c.Keys)
	}
	if c.Assertions && c.Auth == "none" {
		s.failKey(at+".identity_assertions", "is for clients that prove themselves", "add client_secret: or client_keys:")
	}
}

// departures are what is looser than usual.
func (a AuthorizationServer) departures() []Departure {
	list := a.Documents.departures(join(authServerKey, "documents"))
	if a.Registration {
		list = append(list, Departure{join(authServerKey, "registration"), "true", "any program may register itself as a client under a name of its choice, and ask people to let it in"})
	}
	for _, one := range []struct {
		name       string
		has, usual time.Duration
		means      string
	}{
		{"access_token", a.AccessToken, DefaultAccessToken, "a stolen access token is good for longer than the default of "},
		{"signed_in_for", a.SignedInFor, DefaultSignedInFor, "clients act for a person who has not signed in for longer than the default of "},
		{"key_rotation", a.KeyRotation, DefaultKeyRotation, "a key signs for longer than the default of "},
	} {
		if a.Enabled && one.has > one.usual {
			list = append(list, Departure{join(authServerKey, one.name), one.has.String(), one.means + one.usual.String()})
		}
	}
	return list
}
