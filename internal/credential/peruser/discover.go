package peruser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	issuerTime  = 5 * time.Minute
	promiseTime = 15 * time.Second

	maxDocument = 256 << 10
	maxList     = 64

	prmPath = "/.well-known/oauth-protected-resource"
	// offline is the scope by which OpenID providers are asked for a refresh token.
	offline = "offline_access"
)

// refused is an error of the kind ErrRefused whose text the operator or the
// person can act upon.
func refused(format string, a ...any) error {
	return fmt.Errorf("%w: %w", credential.ErrRefused, fmt.Errorf(format, a...))
}

func unavailable(err error) error {
	if errors.Is(err, credential.ErrRefused) || errors.Is(err, credential.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
}

// promise is what a server's protected resource metadata says (RFC 9728).
type promise struct {
	resource string
	issuers  []string
	scopes   []string
	scoped   bool // it has scopes_supported
}

// promised finds and judges the metadata of a server: where its challenge says,
// or else at the well-known addresses, path-inserted first.
func (g *Grants) promised(ctx context.Context, s *server, at string) (*promise, error) {
	return g.promises.get(ctx, s.promiseKey(at), func(ctx context.Context) (*promise, error) {
		p, err := s.readPromise(ctx, at)
		if err == nil || s.AuthorizationServer == "" || errors.Is(err, credential.ErrRefused) {
			return p, err
		}
		// Nothing is published; the operator said who it is.
		return &promise{resource: s.resource(), issuers: []string{s.AuthorizationServer}}, nil
	})
}

func (s *server) promiseKey(at string) string { return s.Name + "\x00" + s.URL + "\x00" + at }

// resource is the identifier of a server where nobody says another.
func (s *server) resource() string {
	if s.Resource != "" {
		return s.Resource
	}
	u := *s.url
	u.RawQuery = ""
	return strings.TrimSuffix(u.String(), "/")
}

func (s *server) readPromise(ctx context.Context, at string) (*promise, error) {
	if at != "" {
		u, err := egress.CheckURL(at, egress.Rules{PlainLoopback: true})
		if err != nil {
			return nil, refused("resource_metadata of the server's challenge: %w", err)
		}
		client := s.others
		if sameOrigin(u, s.url) {
			client = s.own
		} else if _, err := s.endpoint(at); err != nil {
			return nil, refused("resource_metadata of the server's challenge: %w", err)
		}
		d, err := fetch(ctx, client, at)
		if err != nil {
			return nil, refused("the metadata that the server's challenge names cannot be read: %w", err)
		}
		return s.judgePromise(d, at == origin(s.url)+prmPath)
	}
	path := s.url.EscapedPath()
	list := []string{origin(s.url) + prmPath}
	if path != "" && path != "/" {
		list = append([]string{origin(s.url) + prmPath + path}, list...)
	}
	var errs []error
	for i, at := range list {
		d, err := fetch(ctx, s.own, at)
		if err == nil {
			return s.judgePromise(d, i == len(list)-1)
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("the server publishes no metadata of its authorization server; name it as issuer in its credential: %w", errors.Join(errs...))
}

// judgePromise holds metadata against the server that was called. A document at
// the root may speak for the whole origin.
func (s *server) judgePromise(d doc, root bool) (*promise, error) {
	p := &promise{}
	var ok bool
	if p.resource, ok = d.text("resource"); !ok || !s.matches(p.resource, root) {
		return nil, refused("the server's metadata is for another resource than the server; "+
			"if the operator trusts it, its resource belongs into servers.%s.credential.resource", s.Name)
	}
	if p.issuers, ok = d.texts("authorization_servers"); !ok || len(p.issuers) == 0 {
		return nil, refused("the server's metadata names no authorization server")
	}
	if methods, there := d.texts("bearer_methods_supported"); there && !slices.Contains(methods, "header") {
		return nil, refused("the server does not take tokens in the header, and nowhere else are they sent")
	}
	scopes, _ := d.texts("scopes_supported")
	p.scopes, p.scoped = cleanScopes(scopes), len(scopes) > 0
	return p, nil
}

// matches compares a resource identifier with the server's URL: scheme and host
// without case, a port that is the default left out, the rest exactly (RFC
// 9728 3.3).
func (s *server) matches(resource string, root bool) bool {
	if s.Resource != "" {
		return resource == s.Resource
	}
	u, err := egress.CheckURL(resource, egress.Rules{PlainLoopback: true})
	if err != nil || !sameOrigin(u, s.url) {
		return false
	}
	path, own := strings.TrimSuffix(u.EscapedPath(), "/"), strings.TrimSuffix(s.url.EscapedPath(), "/")
	if u.RawQuery != "" && u.RawQuery != s.url.RawQuery {
		return false
	}
	return path == own || root && path == "" && u.RawQuery == ""
}

// metadata is what is used of an authorization server's (RFC 8414).
type metadata struct {
	issuer              string
	authorize, token    *url.URL
	register, revoke    string
	iss                 bool // RFC 9207 3
	dpop                bool // it binds tokens to keys of our algorithm
	documents           bool // client_id_metadata_document_supported
	methods, algorithms []string
	scopes              []string
}

// issuer returns the metadata of an authorization server by its exact name.
// s may be nil, for a server that is configured no more.
func (g *Grants) issuer(ctx context.Context, s *server, issuer string) (*metadata, error) {
	name := ""
	if s != nil {
		name = s.Name + "\x00" + s.URL
	}
	return g.issuers.get(ctx, name+"\x00"+issuer, func(ctx context.Context) (*metadata, error) {
		client := g.strict
		if s != nil {
			client = s.others
		}
		return s.discover(ctx, client, issuer)
	})
}

func (s *server) discover(ctx context.Context, client *http.Client, issuer string) (*metadata, error) {
	u, err := s.endpoint(issuer)
	if err != nil {
		return nil, refused("the authorization server's name: %w", err)
	}
	if u.RawQuery != "" || strings.Contains(issuer, "?") {
		return nil, refused("the authorization server's name has a query, which no issuer has")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	list := []string{
		origin(u) + "/.well-known/oauth-authorization-server" + path,
		origin(u) + "/.well-known/openid-configuration" + path,
	}
	if path != "" {
		list = append(list, origin(u)+path+"/.well-known/openid-configuration")
	}
	var errs []error
	for _, at := range list {
		d, err := fetch(ctx, client, at)
		if err == nil {
			if name, ok := d.text("issuer"); ok && name == issuer {
				m, err := s.judgeIssuer(d, issuer)
				if err != nil {
					return nil, refused("the authorization server %s: %w", u.Host, err)
				}
				return m, nil
			}
			err = refused("the document names another issuer")
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("the authorization server's metadata: %w", unavailable(errors.Join(errs...)))
}

func (s *server) judgeIssuer(d doc, issuer string) (*metadata, error) {
	m := &metadata{issuer: issuer}
	need := func(name string) (*url.URL, error) {
		raw, ok := d.text(name)
		if !ok || raw == "" {
			return nil, errors.New("it names no " + name)
		}
		u, err := s.endpoint(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return u, nil
	}
	var err error
	if m.authorize, err = need("authorization_endpoint"); err != nil {
		return nil, err
	}
	if m.token, err = need("token_endpoint"); err != nil {
		return nil, err
	}
	if pkce, _ := d.texts("code_challenge_methods_supported"); !slices.Contains(pkce, "S256") {
		return nil, errors.New("it does not say that it supports PKCE with S256 (code_challenge_methods_supported), without which no code is asked for")
	}
	if types, there := d.texts("response_types_supported"); there && !slices.Contains(types, "code") {
		return nil, errors.New("it gives no authorization codes")
	}
	if grants, there := d.texts("grant_types_supported"); there && !slices.Contains(grants, "authorization_code") {
		return nil, errors.New("it gives no tokens for authorization codes")
	}
	for name, into := range map[string]*string{"registration_endpoint": &m.register, "revocation_endpoint": &m.revoke} {
		if raw, ok := d.text(name); ok && raw != "" {
			u, err := s.endpoint(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			*into = u.String()
		}
	}
	m.iss = d.yes("authorization_response_iss_parameter_supported")
	m.documents = d.yes("client_id_metadata_document_supported")
	var there bool
	if m.methods, there = d.texts("token_endpoint_auth_methods_supported"); !there {
		m.methods = []string{methodBasic} // RFC 8414 2
	}
	m.algorithms, _ = d.texts("token_endpoint_auth_signing_alg_values_supported")
	m.scopes, _ = d.texts("scopes_supported")
	proofs, _ := d.texts("dpop_signing_alg_values_supported")
	m.dpop = slices.Contains(proofs, algorithmOfProofs)
	return m, nil
}

// chosen picks the authorization server of a server: what the operator named,
// or what was pinned, if the server still names it; else the first one, until a
// person's grant pins it.
func (g *Grants) chosen(ctx context.Context, s *server, p *promise) (string, error) {
	if s.AuthorizationServer != "" {
		if slices.Contains(p.issuers, s.AuthorizationServer) {
			return s.AuthorizationServer, nil
		}
		return "", refused("the server names another authorization server than servers.%s.credential.issuer", s.Name)
	}
	var held pin
	version, err := g.pins.get(ctx, s.pinKey(), &held)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p.issuers[0], nil
	case err != nil:
		return "", unavailable(err)
	case slices.Contains(p.issuers, held.Issuer):
		return held.Issuer, nil
	}
	if held.Offered != p.issuers[0] {
		held.Offered = p.issuers[0]
		if _, err := g.pins.swap(ctx, s.pinKey(), version, held, time.Time{}); err != nil {
			return "", unavailable(err)
		}
		if err := g.record(ctx, Event{Reason: ReasonMoved, Server: s.Name, Issuer: held.Offered}); err != nil {
			return "", unavailable(err)
		}
	}
	return "", refused("%w: `munjigi servers approve %s` accepts that", errMoved, s.Name)
}

var errMoved = errors.New("the server names another authorization server than before, and is held")

// pin is the authorization server that a server is tied to.
type pin struct {
	Issuer  string `json:"issuer"`
	Offered string `json:"offered,omitempty"`
}

func (s *server) pinKey() string { return store.Key(s.Name, digest(s.URL)) }

// Approve accepts the authorization server that a server named last in place of
// the one that it is tied to. Grants of the earlier one end. It reports whether
// there was anything to accept.
func (g *Grants) Approve(ctx context.Context, name string) (bool, error) {
	s := g.servers[name]
	if s == nil {
		return false, credential.ErrNone
	}
	var held pin
	version, err := g.pins.get(ctx, s.pinKey(), &held)
	if errors.Is(err, store.ErrNotFound) || err == nil && held.Offered == "" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ok, err := g.pins.swap(ctx, s.pinKey(), version, pin{Issuer: held.Offered}, time.Time{})
	if err == nil && !ok {
		err = errors.New("the server's authorization server changed at the same moment: look again")
	}
	return err == nil, err
}

// doc is a JSON object of somebody else.
type doc struct{ members strictjson.Object }

func (d doc) text(name string) (string, bool) {
	raw, ok := d.members.Get(name)
	if !ok {
		return "", false
	}
	s, err := strictjson.String(raw)
	return s, err == nil && len(s) <= maxURL
}

func (d doc) texts(name string) ([]string, bool) {
	raw, ok := d.members.Get(name)
	if !ok {
		return nil, false
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, false
	}
	var out []string
	for _, item := range items {
		if s, err := strictjson.String(item); err == nil && s != "" && len(s) <= maxURL && len(out) < maxList {
			out = append(out, s)
		}
	}
	return out, true
}

func (d doc) yes(name string) bool {
	raw, _ := d.members.Get(name)
	return string(raw) == "true"
}

func parse(body []byte) (doc, error) {
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: maxDocument, Depth: 16, Members: 2000}); err != nil {
		return doc{}, err
	}
	o, err := strictjson.SplitObject(body)
	if err != nil {
		return doc{}, errors.New("it is no JSON object")
	}
	return doc{o}, nil
}

// fetch reads a document by GET.
func fetch(ctx context.Context, client *http.Client, at string) (doc, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return doc{}, errors.New("the address is no URL")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "munjigi")
	res, err := client.Do(r)
	if err != nil {
		return doc{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return doc{}, fmt.Errorf("the answer has status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return doc{}, err
	}
	return parse(body)
}

func origin(u *url.URL) string { return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) }

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "http"):
		return "80"
	}
	return "443"
}

func joinPort(host, port string) string { return net.JoinHostPort(host, port) }

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}
