// Package exchange gives a server a token that stands for the caller: the
// caller's own token is exchanged at an authorization server (RFC 8693), or, at
// Entra ID, taken on behalf of the caller.
//
// Threats: the caller's token at the server (passthrough); the token of one
// caller that is given out for another, or for a client, scopes or a proof that
// it was not made for; a token that outlives what it was made of, or works after
// the caller was logged out; a provider of one organization that is shown the
// tokens of another; a provider that is down, and callers that are let through
// as somebody else instead.
//
// It guarantees that the caller's token goes to the token endpoint and nowhere
// else; that what came of it is kept by issuer, subject, client, rights and the
// token's digest, never past either token's end, and given out only while the
// caller's proof still holds; that keeping is bounded, and one exchange per key
// is under way at a time; and that without a valid token nothing is sent.
//
// It cannot know what the provider puts into the token beyond its audience.
package exchange

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Options say how tokens are exchanged. Server and Current are required.
type Options struct {
	Server *oauth.Server
	// OnBehalfOf is Entra ID's way instead of RFC 8693.
	OnBehalfOf bool
	// Subject and Requested are token types (urn:…): what the caller's token is
	// (an access token) and what is wanted (an access token).
	Subject, Requested string
	// Actor, if not nil, gives the token of who acts for the caller, of the type
	// ActorType (a JWT). It is asked each time.
	Actor     func(context.Context) (secret.Value, error)
	ActorType string
	Scopes    []string
	// Resource is the server's URL (RFC 8707), Audience its logical name. Empty
	// sends none.
	Resource, Audience string
	// Audiences are what a token's aud may say; empty compares nothing.
	Audiences []string
	// Issuers are those whose callers' tokens may be shown to the server; empty
	// allows all.
	Issuers []string
	// Current reports that a caller's proof still holds.
	Current func(call.Principal) bool
	// Most bounds how many tokens are kept (10,000).
	Most int
}

// Source implements credential.Source. The zero Source refuses.
type Source struct {
	o    Options
	kept *credential.Delegated
}

var _ credential.Source = (*Source)(nil)

// New returns a source. It asks for nothing yet.
func New(o Options) (*Source, error) {
	if o.Server == nil {
		return nil, errors.New("token exchange needs an authorization server")
	}
	if o.OnBehalfOf && (o.Actor != nil || len(o.Scopes) == 0) {
		return nil, errors.New("on-behalf-of needs scopes and knows no actor")
	}
	for p, v := range map[*string]string{&o.Subject: oauth.TypeAccess, &o.Requested: oauth.TypeAccess, &o.ActorType: oauth.TypeJWT} {
		if *p == "" {
			*p = v
		}
	}
	kept, err := credential.NewDelegated(o.Issuers, o.Current, o.Most)
	return &Source{o: o, kept: kept}, err
}

// Headers implements credential.Source.
func (s *Source) Headers(ctx context.Context, who credential.Subject) (http.Header, error) {
	return s.kept.Headers(ctx, who, func(ctx context.Context) (oauth.Token, error) { return s.fetch(ctx, who) })
}

// Rejected implements credential.Source.
func (s *Source) Rejected(_ context.Context, who credential.Subject, r credential.Rejection) error {
	return s.kept.Rejected(who, r)
}

func (s *Source) fetch(ctx context.Context, who credential.Subject) (oauth.Token, error) {
	form, want, err := s.form(ctx, who.Token)
	if err != nil {
		return oauth.Token{}, err
	}
	t, err := s.o.Server.Token(ctx, form, want)
	if err != nil {
		return t, err
	}
	return t, credential.Aimed(t, s.o.Audiences)
}

func (s *Source) form(ctx context.Context, token secret.Value) (url.Values, oauth.Ask, error) {
	form := url.Values{}
	var want oauth.Ask
	if s.o.OnBehalfOf {
		form.Set("grant_type", oauth.GrantJWTBearer)
		form.Set("assertion", token.Reveal())
		form.Set("requested_token_use", "on_behalf_of")
	} else {
		form.Set("grant_type", oauth.GrantExchange)
		form.Set("subject_token", token.Reveal())
		form.Set("subject_token_type", s.o.Subject)
		form.Set("requested_token_type", s.o.Requested)
		want.Kind = s.o.Requested
		if s.o.Actor != nil {
			v, err := s.o.Actor(ctx)
			if err != nil {
				return nil, want, err
			}
			form.Set("actor_token", strings.TrimSpace(v.Reveal()))
			form.Set("actor_token_type", s.o.ActorType)
		}
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
	return form, want, nil
}
