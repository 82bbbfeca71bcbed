package app

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/introspect"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/oauth"
)

// introspection adds the judges that ask issuers about tokens, if some are
// configured. What they share with the verifier of JWTs is in o.
func (a *App) introspection(ctx context.Context, cfg *config.Config, o jwt.Options, w who) (who, error) {
	w.asked = map[string]*introspect.Introspector{}
	j := asked{jwts: w.verifier, also: map[string]*introspect.Introspector{}}
	for _, i := range cfg.Identity.Issuers {
		if i.Introspection.Tokens == "" {
			continue
		}
		prove, err := a.proves(ctx, i)
		if err != nil {
			return who{}, err
		}
		in, err := introspect.New(introspect.Options{Issuer: i.URL, Endpoint: i.Introspection.Endpoint, Prove: prove, Client: o.Client,
			Resources: o.Resources, Cache: i.Introspection.Cache, ClockSkew: i.ClockSkew, MaxLifetime: i.MaxLifetime,
			Groups: i.GroupsClaim, Roles: i.RolesClaim, Tenant: i.TenantClaim, Implied: i.ImpliedScopes, Revoked: o.Revoked, Ended: o.Ended, Confirm: o.Confirm,
			Keep: a.asked[i.URL], Identity: fmt.Sprintf("%+v", i), Log: o.Log})
		if err != nil {
			return who{}, err
		}
		w.asked[i.URL] = in
		if i.Introspection.Opaque() {
			j.opaque = in
		}
		if i.Introspection.JWT() {
			j.also[i.URL] = in
		}
	}
	if len(w.asked) > 0 {
		w.authn = j
	}
	return w, nil
}

// proves is how the gateway authenticates at an introspection endpoint. The
// secret is looked up now, so that a config that lacks it is not taken, and again
// for each question.
func (a *App) proves(ctx context.Context, i config.Issuer) (func(context.Context, url.Values, http.Header) error, error) {
	v := i.Introspection
	by := oauth.Authentication{Method: oauth.Method(v.ClientAuth), ClientID: v.ClientID}
	ref := v.ClientSecret.Secret
	if by.Method == oauth.MethodPrivateKey {
		ref = v.ClientKey.Secret
	}
	if jwt.Provider(i.Provider) == jwt.Okta {
		// Okta wants its endpoint's address there, the specification the issuer.
		if by.Audience = v.Endpoint; by.Audience == "" {
			by.Audience = i.URL + "/v1/introspect"
		}
	}
	by.Secret = func(ctx context.Context) (secret.Value, error) { return a.secrets.Resolve(ctx, ref) }
	if err := by.Prove(ctx, url.Values{}, http.Header{}, i.URL); err != nil {
		return nil, fmt.Errorf("introspection at %s: %w", i.URL, err)
	}
	return func(ctx context.Context, form url.Values, h http.Header) error { return by.Prove(ctx, form, h, i.URL) }, nil
}

// asked judges tokens of issuers that are asked. The form of a token and the
// config decide who judges it: JWTs are verified, and where the config says so
// asked about too; of any other token the one issuer of opaque tokens is asked.
// What one refuses, no other is asked about.
type asked struct {
	jwts   *jwt.Verifier
	opaque *introspect.Introspector            // nil where there are no opaque tokens
	also   map[string]*introspect.Introspector // by issuer
}

// Authenticate implements authn.Authenticator.
func (j asked) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	token := ""
	if hs := r.Header["Authorization"]; len(hs) == 1 {
		_, token, _ = strings.Cut(hs[0], " ")
	}
	if j.opaque != nil && token != "" && !jwt.Compact(token) {
		return j.opaque.Authenticate(ctx, r)
	}
	p, err := j.jwts.Authenticate(ctx, r)
	if err != nil {
		return call.Principal{}, err
	}
	if ask := j.also[p.Identity().Issuer]; ask != nil && !p.Identity().Granted {
		if err := ask.Confirms(ctx, r, token, p); err != nil {
			return call.Principal{}, err
		}
	}
	return p, nil
}

// Current implements authn.Authenticator.
func (j asked) Current(p call.Principal) bool {
	id := p.Identity()
	if id.Asked {
		return j.opaque != nil && j.opaque.Issuer() == id.Issuer && j.opaque.Current(p)
	}
	ask := j.also[id.Issuer]
	return j.jwts.Current(p) && (ask == nil || id.Granted || ask.Current(p))
}
