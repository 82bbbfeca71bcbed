package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/clientcreds"
	"github.com/munjigi/munjigi/internal/credential/exchange"
	"github.com/munjigi/munjigi/internal/credential/idjag"
	"github.com/munjigi/munjigi/internal/credential/static"
	"github.com/munjigi/munjigi/internal/oauth"
)

// outgoing is how one server is given its credential.
type outgoing struct {
	source credential.Source // nil sends none
	prover credential.Prover // nil where no token is bound to a key
	// perPrincipal: each caller has its own.
	perPrincipal bool
	// refresh reads what the operator may have changed at a reload; may be nil.
	refresh func(context.Context) error
}

// proofs knows whether a caller's proof still holds, by the authenticator of
// the newest snapshot. The zero proofs say that none does.
type proofs struct {
	by atomic.Pointer[authn.Authenticator]
}

func (p *proofs) current(who call.Principal) bool {
	a := p.by.Load()
	return a != nil && (*a).Current(who)
}

// credential makes the source that a server's config asks for.
func (a *App) credential(ctx context.Context, cfg *config.Config, s config.Server) (outgoing, error) {
	c := s.Credential
	switch c.Type {
	case config.CredentialNone, "":
		return outgoing{}, nil
	case config.CredentialStatic:
		return a.staticCredential(ctx, s)
	case config.CredentialPerUser:
		src := granted{a, s.Name}
		return outgoing{source: src, prover: src, perPrincipal: true}, nil
	}
	// A token endpoint is shown what must be seen by nobody else: it is never
	// followed anywhere.
	client, err := issuerClient(cfg)
	if err != nil {
		return outgoing{}, err
	}
	server, err := a.tokenServer(ctx, client, c.TokenServer)
	if err != nil {
		return outgoing{}, err
	}
	resource, err := resourceOf(s)
	if err != nil {
		return outgoing{}, err
	}
	audiences := slices.Clone(c.Audiences)
	for _, v := range []string{resource, c.Audience} {
		if v != "" {
			audiences = append(audiences, v)
		}
	}
	out := outgoing{perPrincipal: c.Type.PerPrincipal()}
	switch c.Type {
	case config.CredentialClient, config.CredentialJWTBearer:
		o := clientcreds.Options{Server: server, Scopes: c.Scopes, Resource: resource, Audience: c.Audience, Audiences: audiences}
		if o.Assertion, err = a.proof(ctx, c.Assertion); err == nil {
			out.source, err = clientcreds.New(o)
		}
	case config.CredentialExchange, config.CredentialOnBehalfOf:
		o := exchange.Options{Server: server, OnBehalfOf: c.Type == config.CredentialOnBehalfOf, Subject: c.SubjectTokenType, Requested: c.RequestedTokenType,
			ActorType: c.ActorTokenType, Scopes: c.Scopes, Resource: resource, Audience: c.Audience, Audiences: audiences,
			Issuers: c.Exchanged(cfg.Identity.Issuers), Current: a.holds.current}
		if o.Actor, err = a.proof(ctx, c.ActorToken); err == nil {
			out.source, err = exchange.New(o)
		}
	case config.CredentialIDJAG:
		var last *oauth.Server
		if last, err = a.tokenServer(ctx, client, c.Server); err != nil {
			return outgoing{}, fmt.Errorf("authorization_server: %w", err)
		}
		out.source, err = idjag.New(idjag.Options{Provider: server, Server: last, ClientID: c.Server.ClientID, Subject: c.SubjectTokenType,
			Resource: resource, Scopes: c.Scopes, Audiences: audiences, Issuers: c.Exchanged(cfg.Identity.Issuers), Current: a.holds.current})
	default:
		err = fmt.Errorf("there is no credential of type %q", c.Type)
	}
	return out, err
}

func (a *App) staticCredential(ctx context.Context, s config.Server) (outgoing, error) {
	o := static.Options{Resolver: a.secrets, Log: a.o.Logger.With("server", s.Name)}
	for _, h := range s.Credential.Headers {
		o.Headers = append(o.Headers, static.Header{Name: h.Name, Prefix: h.Value.Text, Secret: h.Value.Secret})
	}
	src, err := static.New(ctx, o)
	if err != nil {
		return outgoing{}, err
	}
	return outgoing{source: src, refresh: src.Refresh}, nil
}

// tokenServer is an authorization server of the config. Its secret is read once
// to tell an operator who forgot it, and again each time that it is used.
func (a *App) tokenServer(ctx context.Context, client *http.Client, t config.TokenServer) (*oauth.Server, error) {
	auth := oauth.Authentication{Method: oauth.Method(t.Method()), ClientID: t.ClientID, Algorithm: t.Algorithm, KeyID: t.KeyID, Audience: t.AssertionAudience}
	var err error
	if auth.Secret, err = a.proof(ctx, t.Proof()); err != nil {
		return nil, err
	}
	return oauth.NewServer(client, t.Issuer, t.TokenEndpoint, auth)
}

// proof returns how a secret is read, nil for none.
func (a *App) proof(ctx context.Context, v config.Value) (func(context.Context) (secret.Value, error), error) {
	if !v.IsSecret() {
		return nil, nil
	}
	_, err := a.secrets.Resolve(ctx, v.Secret)
	return func(ctx context.Context) (secret.Value, error) { return a.secrets.Resolve(ctx, v.Secret) }, err
}

// resourceOf is the resource parameter of a server's tokens (RFC 8707), empty
// where none is sent.
func resourceOf(s config.Server) (string, error) {
	switch c := s.Credential; {
	case c.Resource == config.NoResource, c.Type == config.CredentialOnBehalfOf:
		return "", nil
	case c.Resource != "":
		return c.Resource, nil
	case s.URL.IsSecret():
		return "", errors.New("the server's URL holds a secret, which its authorization server must not see: write resource: as the authorization server knows the server, or none")
	}
	return s.URL.Text, nil
}
