// Package clientcreds gives a server a token that the gateway gets in its own
// name: by client credentials (RFC 6749 4.4), or by an assertion that the
// platform wrote for this workload (RFC 7523 2.1).
//
// Threats: a token that is minted for one server and sent to another; a
// stampede on the token endpoint when a token ends, or when the endpoint is
// down; a server that makes the gateway fetch tokens without end by refusing
// each; an answer that is something else than a token, or somebody's secret in
// an error.
//
// It guarantees that requests name the resource (RFC 8707) and that a JWT for
// another audience is not sent; that one fetch at a time is under way, ahead of
// a token's end; that a refused token is replaced at most once in ten seconds;
// and that without a valid token nothing is sent.
//
// All callers act with this one token: it cannot tell them apart.
package clientcreds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Options say what is asked for. Server is required.
type Options struct {
	Server *oauth.Server
	// Assertion makes the grant a jwt-bearer grant. It is asked each time.
	Assertion func(context.Context) (secret.Value, error)
	Scopes    []string
	// Resource is the server's URL (RFC 8707), Audience what some providers want
	// in its place. Empty sends none.
	Resource, Audience string
	// Audiences are what a token's aud may say; empty compares nothing.
	Audiences []string
}

// Source implements credential.Source. The zero Source refuses.
type Source struct {
	o     Options
	cache *oauth.Cache
}

var _ credential.Source = (*Source)(nil)

// New returns a source. It asks for nothing yet.
func New(o Options) (*Source, error) {
	if o.Server == nil {
		return nil, errors.New("client credentials need an authorization server")
	}
	return &Source{o: o, cache: oauth.NewCache(1)}, nil
}

// Headers implements credential.Source. The subject may be nobody.
func (s *Source) Headers(ctx context.Context, _ credential.Subject) (http.Header, error) {
	if s.cache == nil {
		return nil, credential.ErrNone
	}
	t, err := s.cache.Get(ctx, oauth.Key{}, s.fetch)
	if err != nil {
		return nil, credential.Failed(err)
	}
	return credential.Bearer(t.Access), nil
}

// Rejected implements credential.Source. A token that lacks a scope is not
// replaced: another would lack it too.
func (s *Source) Rejected(_ context.Context, _ credential.Subject, r credential.Rejection) error {
	if s.cache == nil {
		return credential.ErrNone
	}
	if r.Status == http.StatusForbidden {
		return fmt.Errorf("%w: the server wants more scopes than this client was given", credential.ErrRefused)
	}
	if !r.Again && s.cache.Refused(oauth.Key{}, r.SentBearer()) {
		return nil
	}
	return fmt.Errorf("%w: the server does not accept the tokens of its authorization server", credential.ErrRefused)
}

func (s *Source) fetch(ctx context.Context) (oauth.Token, error) {
	form := url.Values{"grant_type": {oauth.GrantClientCredentials}}
	if s.o.Assertion != nil {
		v, err := s.o.Assertion(ctx)
		if err != nil {
			return oauth.Token{}, err
		}
		form.Set("grant_type", oauth.GrantJWTBearer)
		form.Set("assertion", strings.TrimSpace(v.Reveal()))
	}
	if len(s.o.Scopes) > 0 {
		form.Set("scope", strings.Join(s.o.Scopes, " "))
	}
	if s.o.Resource != "" {
		form.Set("resource", s.o.Resource)
	}
	if s.o.Audience != "" {
		form.Set("audience", s.o.Audience)
	}
	t, err := s.o.Server.Token(ctx, form, oauth.Ask{})
	if err != nil {
		return t, err
	}
	return t, credential.Aimed(t, s.o.Audiences)
}
