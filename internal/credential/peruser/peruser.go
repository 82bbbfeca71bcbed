// Package peruser gives each person's own credential for a server: it is the
// OAuth 2.1 client that the authorization pages of the MCP specification
// (2025-11-25 and 2026-07-28) describe, with a person's browser in the middle.
//
// Threat: the token of one person, or of one client of a person, that is sent
// for another; an authorization server that passes for another (mix-up), is
// swapped for another, or drops PKCE; a link that makes somebody grant what
// somebody else asked for; a server that names addresses inside as its
// authorization server; a refresh token that is read from a disk, or lost by
// being used twice.
//
// It guarantees: a grant belongs to one issuer, subject, client and server, and
// to the authorization server that gave it. Only metadata that names exactly
// its issuer, and S256, are used. An answer counts once, within ten minutes,
// for the person that started it, from the authorization server that was asked
// (RFC 9207). Access tokens are in memory only; refresh tokens are sealed, and
// used by one process at a time. A changed authorization server is held until
// somebody approves it. What a server names is fetched by https from public
// addresses only, unless the operator opened a host for that server by name.
//
// It cannot know what a server does with a token, cannot make an authorization
// server forget that offers no revocation, and learns of a grant that was ended
// over there only by being refused.
package peruser

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// Bounds in time.
const (
	// LinkTime is how long a link, and the browser's way through the
	// authorization server, may take.
	LinkTime = 10 * time.Minute
	// GrantTime is how long a grant lasts before its person is asked again.
	GrantTime = 90 * 24 * time.Hour
)

// Server is one server whose credential is each person's own.
type Server struct {
	// Name is the configured name, URL the MCP endpoint.
	Name, URL string
	// AuthorizationServer is the issuer that the operator names; empty means that
	// the server's metadata names it, and the first one used is kept.
	AuthorizationServer string
	// ClientID is what the operator registered at the authorization server; empty
	// means that the gateway introduces itself. ClientSecret or ClientKey (a
	// private key, PKCS #8 in PEM) prove it; with neither, the client is public.
	ClientID     string
	ClientSecret secret.Value
	ClientKey    secret.Value
	// ClientDocument is the URL of a Client ID Metadata Document that the operator
	// publishes for this gateway; empty means the gateway's own.
	ClientDocument string
	// Scopes are asked for where the server's challenge names none, instead of all
	// that its metadata lists.
	Scopes []string
	// Resource is the identifier that the server's metadata may have instead of
	// its URL; empty means that it must be the URL.
	Resource string
	// Audiences are further values that the aud of a token may have beside the
	// resource.
	Audiences []string
	// PrivateHosts, "host" or "host:port", may be fetched from although they are
	// private when the server names them. Loopback among them may be plain http.
	PrivateHosts []string
	// Allow is the operator's egress.allow: it opens the host of
	// AuthorizationServer, which is the operator's word, and nothing else.
	Allow []string
}

// Event is something that belongs on the record.
type Event struct {
	// Reason is a stable kebab-case code; Allowed says which way it went.
	Reason  string
	Allowed bool
	Server  string
	// Person is whose grant it is, as call.Principal.String says it; for
	// ReasonMisused, who opened what is another's.
	Person string
	// Client is the OAuth client that the grant is for.
	Client string
	// Issuer is the authorization server, Scopes what was asked or given.
	Issuer string
	Scopes []string
}

// Reasons of events.
const (
	ReasonAsked     = "grant-asked"
	ReasonStarted   = "grant-started"
	ReasonGiven     = "grant-given"
	ReasonDeclined  = "grant-declined"
	ReasonEnded     = "grant-ended"
	ReasonWithdrawn = "grant-withdrawn"
	// ReasonMisused: a link or an answer of one person was opened by another.
	ReasonMisused = "grant-misused"
	// ReasonMixedUp: an answer came from another authorization server.
	ReasonMixedUp = "grant-mixed-up"
	// ReasonMoved: a server names another authorization server than before.
	ReasonMoved = "authorization-server-changed"
)

// Options are what Grants need. Everything but Roots, Resolver, Log, Record
// and Keep is required.
type Options struct {
	Store store.Store
	Keys  keys.Ring
	// BaseURL is the gateway's public URL without a path and trailing slash:
	// https, or http on loopback.
	BaseURL string
	// Name is what authorization servers show people.
	Name    string
	Servers []Server
	// Record takes events; an error stops what the event is about.
	Record func(context.Context, Event) error
	// Roots and Resolver are as in egress.Rules.
	Roots    *x509.CertPool
	Resolver egress.Resolver
	Log      *slog.Logger
	// Keep hands on access tokens, and people who wait, of the Grants that these
	// replace.
	Keep *Grants
}

// Grants are the grants of all people to all servers of one snapshot of the
// config. It is credential.Grants for the pages.
type Grants struct {
	base     string
	name     string
	kept     vault // grants
	links    vault // links and states
	clients  vault // registrations
	pins     vault // authorization servers
	signer   *signer
	servers  map[string]*server
	strict   *http.Client // for what no server's rules open
	record   func(context.Context, Event) error
	log      *slog.Logger
	shared   *shared
	issuers  *cache[*metadata]
	promises *cache[*promise]
}

// server is a Server with the clients that its rules allow.
type server struct {
	Server
	url *url.URL
	// own reaches the server's origin, others what the server names.
	own, others *http.Client
	open        map[string]bool
	signer      *signer // of ClientKey
}

var (
	_ credential.Grants = (*Grants)(nil)
	_ Source            = (*source)(nil)
)

// New checks the options. It connects to nothing.
func New(o Options) (*Grants, error) {
	if o.Store == nil || o.Keys == nil || o.Name == "" {
		return nil, errors.New("grants need a store, keys and a name")
	}
	if u, err := egress.CheckURL(o.BaseURL, egress.Rules{PlainLoopback: true}); err != nil {
		return nil, fmt.Errorf("public_url: %w", err)
	} else if u.Path != "" || u.RawQuery != "" {
		return nil, errors.New("public_url: grants need it without a path")
	}
	g := &Grants{base: o.BaseURL, name: o.Name, servers: map[string]*server{}, record: o.Record, log: o.Log,
		issuers: newCache[*metadata](issuerTime), promises: newCache[*promise](promiseTime)}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.record == nil {
		g.record = func(context.Context, Event) error { return nil }
	}
	for _, b := range []struct {
		name    string
		purpose keys.Purpose
		into    *vault
	}{
		{"grants", "upstream-grant", &g.kept}, {"grant-links", "upstream-grant-link", &g.links},
		{"grant-clients", "upstream-grant-client", &g.clients}, {"grant-servers", "upstream-grant-server", &g.pins},
	} {
		kv, err := o.Store.Bucket(b.name)
		if err != nil {
			return nil, err
		}
		*b.into = vault{kv, o.Keys, b.purpose}
	}
	var err error
	if g.signer, err = ringSigner(o.Keys); err != nil {
		return nil, err
	}
	rules := egress.Rules{Roots: o.Roots, Resolver: o.Resolver}
	if g.strict, err = egress.Client(rules); err != nil {
		return nil, err
	}
	for _, s := range o.Servers {
		if g.servers[s.Name] != nil {
			return nil, fmt.Errorf("server %s is there twice", s.Name)
		}
		if g.servers[s.Name], err = newServer(s, rules); err != nil {
			return nil, fmt.Errorf("servers.%s.credential: %w", s.Name, err)
		}
	}
	if g.shared = newShared(); o.Keep != nil {
		g.shared = o.Keep.shared
	}
	return g, nil
}

func newServer(s Server, rules egress.Rules) (*server, error) {
	u, err := egress.CheckURL(s.URL, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, err
	}
	if s.Name == "" {
		return nil, errors.New("the server has no name")
	}
	out := &server{Server: s, url: u, open: map[string]bool{}}
	for _, h := range s.PrivateHosts {
		out.open[strings.ToLower(h)] = true
	}
	allow := slices.Clone(s.PrivateHosts)
	if s.AuthorizationServer != "" {
		as, err := egress.CheckURL(s.AuthorizationServer, egress.Rules{PlainLoopback: true})
		if err != nil {
			return nil, fmt.Errorf("issuer: %w", err)
		}
		for _, h := range s.Allow {
			if h = strings.ToLower(h); h == strings.ToLower(as.Hostname()) || h == strings.ToLower(as.Host) {
				allow = append(allow, h)
				out.open[h] = true
			}
		}
	}
	if s.ClientDocument != "" {
		d, err := egress.CheckURL(s.ClientDocument, egress.Rules{})
		if err != nil || d.Path == "" || d.Path == "/" {
			return nil, errors.New("client_document: write the https URL of the document, with its path")
		}
	}
	if s.ClientID == "" && (!s.ClientSecret.IsZero() || !s.ClientKey.IsZero()) {
		return nil, errors.New("client_id: name the client that the secret or key belongs to")
	}
	if !s.ClientSecret.IsZero() && !s.ClientKey.IsZero() {
		return nil, errors.New("private_key: a client has a secret or a key: take one of them out")
	}
	if s.ClientID != "" && s.AuthorizationServer == "" {
		return nil, errors.New("issuer: name the one that knows client_id; it is told to no other")
	}
	if !s.ClientKey.IsZero() {
		if out.signer, err = pemSigner(s.ClientKey); err != nil {
			return nil, fmt.Errorf("private_key: %w", err)
		}
	}
	for _, scope := range s.Scopes {
		if !scopeToken(scope) {
			return nil, errors.New("scopes: a scope is visible ASCII without space, quote and backslash")
		}
	}
	if out.others, err = egress.Client(with(rules, allow)); err != nil {
		return nil, fmt.Errorf("insecure_private_hosts: %w", err)
	}
	// The operator configured the server's own origin; what the transport may
	// reach, its metadata may be read from.
	own := u.Hostname()
	if out.own, err = egress.Client(with(rules, append(allow, joinPort(own, portOf(u))))); err != nil {
		return nil, err
	}
	return out, nil
}

func with(r egress.Rules, allow []string) egress.Rules {
	r.Allow, r.PlainLoopback = allow, true
	return r
}

// opened reports that plain http to a URL's host is the operator's wish.
func (s *server) opened(u *url.URL) bool {
	return s != nil && (s.open[strings.ToLower(u.Hostname())] || s.open[strings.ToLower(joinPort(u.Hostname(), portOf(u)))])
}

// endpoint judges a URL that a server or an authorization server named.
func (s *server) endpoint(raw string) (*url.URL, error) {
	u, err := egress.CheckURL(raw, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !s.opened(u) {
		return nil, errors.New("it is plain http; only https is used, or http on loopback that insecure_private_hosts of this server names")
	}
	return u, nil
}

// Source gives the credentials for one server, with proofs for those that are
// bound to a key.
type Source interface {
	credential.Source
	credential.Prover
}

// Source returns the source of one server's credentials, or an error when the
// server is not among Options.Servers.
func (g *Grants) Source(name string) (Source, error) {
	s := g.servers[name]
	if s == nil {
		return nil, credential.ErrNone
	}
	return &source{g, s}, nil
}

// Close waits for refreshes in flight, whose answers would be lost, until ctx
// ends.
func (g *Grants) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { g.shared.flights.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shared outlives a reload.
type shared struct {
	mu      sync.Mutex
	entries map[string]*entry          // by grant key
	asked   map[string][]ask           // by grant key
	waiting map[string][]chan struct{} // by link ID
	flights sync.WaitGroup
	nonces  nonces
}

func newShared() *shared {
	return &shared{entries: map[string]*entry{}, asked: map[string][]ask{}, waiting: map[string][]chan struct{}{},
		nonces: nonces{of: map[string]string{}}}
}

// owner is who a grant belongs to.
type owner struct {
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	Client  string    `json:"client"`
	Kind    call.Kind `json:"kind"`
}

func ownerOf(p call.Principal) owner {
	id := p.Identity()
	return owner{id.Issuer, id.Subject, id.Client, id.Kind}
}

func (o owner) String() string { return o.Subject + "@" + o.Issuer }

// same reports that p is the person, whatever client it uses now.
func (o owner) same(p call.Principal) bool {
	id := p.Identity()
	return p.Valid() && o.Issuer == id.Issuer && o.Subject == id.Subject
}

// grantKey names a grant in the store: by person first, so that one's grants
// can be listed. Digests bound its length.
func grantKey(o owner, server string) string {
	return personKey(o.Issuer, o.Subject) + store.Key(digest(o.Client), server)
}

func personKey(issuer, subject string) string { return store.Key(digest(store.Key(issuer, subject))) }
