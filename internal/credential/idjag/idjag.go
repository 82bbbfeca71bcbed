// Package idjag gives a server a token that stands for the caller, by way of
// the enterprise's identity provider: enterprise-managed authorization of MCP
// (draft-ietf-oauth-identity-assertion-authz-grant). The provider exchanges the
// caller's token for an identity assertion aimed at the server's authorization
// server, which gives an access token for it.
//
// Threats: an assertion that is aimed at, or issued by, somebody else, and is
// shown to an authorization server that can use it elsewhere; one that is for
// another client or resource; the caller's token at the server or at its
// authorization server; and all that threatens any token that is kept for a
// caller.
//
// It guarantees that the caller's token goes to the provider's token endpoint
// only, and the assertion, used once and never kept, to the one authorization
// server that it names; that an assertion which does not say exactly the
// configured issuer, audience, client and resource is shown to nobody; that
// tokens are kept by issuer, subject, client, rights and the token's digest,
// never past the caller's token's end, and given out only while the caller's
// proof still holds; and that without a valid token nothing is sent.
//
// The assertion's signature is the authorization server's to verify: here it
// comes from the provider's own endpoint.
package idjag

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Options say who is asked. All but Subject, Scopes, Audiences, Issuers and Most
// are required.
type Options struct {
	// Provider is the enterprise's identity provider, with its issuer; Server the
	// MCP server's authorization server, with its issuer, at which ClientID is
	// this gateway.
	Provider, Server *oauth.Server
	ClientID         string
	// Subject is the type of the caller's token (an access token).
	Subject string
	// Resource is the MCP server's URL.
	Resource string
	Scopes   []string
	// Audiences are what the access token's aud may say; empty compares nothing.
	Audiences []string
	// Issuers are those whose callers' tokens may be shown to the provider; empty
	// allows the provider's own.
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
	switch {
	case o.Provider == nil || o.Server == nil:
		return nil, errors.New("enterprise-managed authorization needs a provider and the server's authorization server")
	case o.Provider.Issuer() == "" || o.Server.Issuer() == "":
		return nil, errors.New("enterprise-managed authorization needs the issuers of the provider and of the server's authorization server: the assertion names both")
	case o.ClientID == "" || o.Resource == "":
		return nil, errors.New("enterprise-managed authorization needs a client_id at the server's authorization server, and the server's URL")
	}
	if o.Subject == "" {
		o.Subject = oauth.TypeAccess
	}
	if len(o.Issuers) == 0 {
		o.Issuers = []string{o.Provider.Issuer()}
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

// fetch makes both requests.
func (s *Source) fetch(ctx context.Context, who credential.Subject) (oauth.Token, error) {
	assertion, err := s.assertion(ctx, who)
	if err != nil {
		return oauth.Token{}, err
	}
	form := url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {assertion.Reveal()}}
	if len(s.o.Scopes) > 0 {
		form.Set("scope", strings.Join(s.o.Scopes, " "))
	}
	t, err := s.o.Server.Token(ctx, form, oauth.Ask{})
	if err != nil {
		return t, fmt.Errorf("the server's authorization server: %w", err)
	}
	if t.Access.Equal(assertion) {
		return oauth.Token{}, fmt.Errorf("%w: what came back is the assertion that was shown", credential.ErrRefused)
	}
	return t, credential.Aimed(t, s.o.Audiences)
}

// assertion asks the provider for an identity assertion and judges what it says.
func (s *Source) assertion(ctx context.Context, who credential.Subject) (secret.Value, error) {
	form := url.Values{
		"grant_type":           {oauth.GrantExchange},
		"requested_token_type": {oauth.TypeIDJAG},
		"audience":             {s.o.Server.Issuer()},
		"resource":             {s.o.Resource},
		"subject_token":        {who.Token.Reveal()},
		"subject_token_type":   {s.o.Subject},
	}
	if len(s.o.Scopes) > 0 {
		form.Set("scope", strings.Join(s.o.Scopes, " "))
	}
	t, err := s.o.Provider.Token(ctx, form, oauth.Ask{Type: "N_A", Kind: oauth.TypeIDJAG})
	if err != nil {
		return secret.Value{}, fmt.Errorf("the enterprise's identity provider: %w", err)
	}
	if why := s.wrong(t.Access, time.Now()); why != "" {
		return secret.Value{}, fmt.Errorf("%w: the identity assertion that came %s; it was shown to nobody", credential.ErrRefused, why)
	}
	return t.Access, nil
}

const skew = time.Minute

// wrong says what an assertion says that it must not; empty when all is right.
func (s *Source) wrong(assertion secret.Value, now time.Time) string {
	c, ok := oauth.Peek(assertion.Reveal())
	if !ok {
		return "is no JWT"
	}
	aud, hasAud := c.Texts("aud")
	resource, hasResource := c.Texts("resource")
	exp, _ := c.Body.Get("exp")
	end, err := strconv.ParseFloat(string(exp), 64)
	switch {
	case c.Type() != "oauth-id-jag+jwt":
		return "has another type"
	case c.Text("iss") != s.o.Provider.Issuer():
		return "is of another issuer"
	case !hasAud || len(aud) != 1 || aud[0] != s.o.Server.Issuer():
		return "is for another authorization server"
	case c.Text("client_id") != s.o.ClientID:
		return "is for another client"
	case c.Text("sub") == "":
		return "names nobody"
	case hasResource && !slices.Contains(resource, s.o.Resource):
		return "is for another resource"
	case !hasResource && resourceThere(c):
		return "is for a resource that cannot be read"
	case err != nil || !(end > float64(now.Add(-skew).Unix())):
		return "has ended"
	}
	return ""
}

func resourceThere(c oauth.Claims) bool { _, there := c.Body.Get("resource"); return there }
