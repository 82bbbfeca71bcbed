package face

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// grantAssertion is the grant type of RFC 7523.
const grantAssertion = string(goidc.GrantJWTBearer)

// algorithms are what clients may sign with.
func algorithms() []goidc.SignatureAlgorithm {
	return []goidc.SignatureAlgorithm{goidc.SigAlgES256, goidc.SigAlgES384, goidc.SigAlgPS256, goidc.SigAlgRS256}
}

func algorithmNames() []string {
	var out []string
	for _, a := range algorithms() {
		out = append(out, string(a))
	}
	return out
}

// turn is one request on its way through the library, which calls back for
// everything that is kept.
type turn struct {
	kind     turnKind
	redirect string              // that was judged
	client   *oauthserver.Client // as it was looked up
	waiting  waiting             // the request that is answered, or was pushed
	approval *oauthserver.Approval
	refused  bool
	asking   string // the ID of the request that now waits for a person
	grant    *grant
	fresh    ticket // what this turn gives out
	asserted Assertion
	owner    string // of the token, sealed
	ended    string // the reason for which a grant ended
	cause    error  // what the library says is wrong
	fault    error  // what is wrong with us
}

type turnKind uint8

const (
	turnAuthorize turnKind = iota + 1
	turnPush
	turnApprove
	turnCode
	turnRefresh
	turnAssertion
	turnRevoke
)

type turnKey struct{}

func turnOf(ctx context.Context) *turn {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		return t
	}
	return &turn{}
}

// answer is what the library wrote.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// ask hands a request to the library that is made anew of what was read.
func (f *Face) ask(ctx context.Context, t *turn, method, path string, form url.Values, header http.Header) (*answer, error) {
	body := ""
	at := path
	if method == http.MethodGet {
		at += "?" + form.Encode()
	} else {
		body = form.Encode()
	}
	r, err := http.NewRequestWithContext(context.WithValue(ctx, turnKey{}, t), method, f.o.Issuer+at, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.RequestURI = path // what a proof of possession names
	for _, name := range []string{"Authorization", "Dpop"} {
		if v := header.Values(name); len(v) == 1 {
			r.Header.Set(name, v[0])
		}
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a := &answer{header: http.Header{}}
	f.lib.ServeHTTP(a, r)
	return a, nil
}

// library sets go-oidc up. Whatever it does not need to do is off; its own
// metadata and registration are behind no path of ours.
func (f *Face) library() (http.Handler, error) {
	var resources []string
	var scopes []goidc.Scope
	seen := map[string]bool{}
	for u, r := range f.o.Resources {
		resources = append(resources, u)
		for _, s := range r.Scopes {
			if !seen[s] {
				seen[s] = true
				scopes = append(scopes, goidc.NewScope(s))
			}
		}
	}
	text := func(context.Context) string { return rand.Text() }
	opts := []provider.Option{
		provider.WithScopes(scopes...),
		provider.WithResourceIndicators(resources, provider.WithResourceIndicatorsRequired()),
		provider.WithAuthCodeGrant(provider.AuthCodeGrantConfig{Manager: keeper{f}, ResponseTypes: []goidc.ResponseType{goidc.ResponseTypeCode}},
			provider.WithIssuerResponseParameter(),
			provider.WithPKCE([]goidc.CodeChallengeMethod{goidc.CodeChallengeMethodSHA256}, provider.WithPKCERequired()),
			provider.WithPAR(keeper{f}, provider.WithPAREndpoint(oauthserver.PathPAR), provider.WithPARLifetime(int(parLife/time.Second)), provider.WithPARIDFunc(text)),
			provider.WithAuthCodeLifetime(int(CodeLife/time.Second)),
			provider.WithAuthCodeFunc(func(ctx context.Context) string { return turnOf(ctx).fresh.text }),
			provider.WithAuthPolicies(goidc.NewPolicy("person", func(*http.Request, *goidc.AuthnSession, *goidc.Client) bool { return true }, f.answerFor)),
		),
		provider.WithAuthSessionLifetime(int(oauthserver.AskingLife / time.Second)),
		provider.WithAuthnSessionIDFunc(text),
		provider.WithGrantIDFunc(func(ctx context.Context) string { return turnOf(ctx).fresh.grant }),
		provider.WithJWTIDFunc(text),
		provider.WithRefreshTokenGrant(keeper{f}, provider.WithRefreshTokenRotation(),
			provider.WithRefreshTokenFunc(func(ctx context.Context) string { return turnOf(ctx).fresh.text }),
			provider.WithRefreshTokenShouldIssue(func(context.Context, *goidc.Client, *goidc.Grant) bool { return false })),
		provider.WithNoneAuthn(), provider.WithSecretBasicAuthn(), provider.WithSecretPostAuthn(), provider.WithPrivateKeyJWTAuthn(algorithms()...),
		provider.WithClientSecretVerifier(verifySecret),
		provider.WithDCR(registry{f}), // where the library looks clients up
		provider.WithTokenRevocation(func(context.Context, *goidc.Client) bool { return true }, provider.WithTokenRevocationRevokeGrantOnAccessToken(),
			provider.WithTokenRevocationEndpoint(oauthserver.PathRevoke)),
		provider.WithDPoP(algorithms()),
		provider.WithJTIConsumer(f.onceOnly),
		provider.WithJWTLifetime(300), provider.WithJWTLeewayTime(30),
		provider.WithTokenOptions(f.lifetime),
		provider.WithTokenClaims(f.claims),
		provider.WithTokenHandler(f.recordToken),
		provider.WithSigner(func(ctx context.Context, _ goidc.SignatureAlgorithm) (string, crypto.Signer, error) {
			k, err := f.signing.current(ctx)
			return k.id, rawSigner{k.private}, err
		}),
		provider.WithHTTPClientFunc(func(context.Context) *http.Client { return f.o.HTTP }),
		provider.WithErrorHandler(func(ctx context.Context, err error) { turnOf(ctx).cause = err }),
		provider.WithAuthorizeEndpoint(oauthserver.PathAuthorize), provider.WithTokenEndpoint(oauthserver.PathToken),
	}
	if f.o.Assert != nil {
		opts = append(opts, provider.WithJWTBearerGrant(f.assertion, provider.WithJWTBearerClientAuthnRequired()))
	}
	p, err := provider.New(provider.Config{Issuer: f.o.Issuer, Manager: keeper{f}, JWKS: f.publicKeys, IDTokenAlgs: []goidc.SignatureAlgorithm{goidc.SigAlgES256}}, opts...)
	if err != nil {
		return nil, err
	}
	return p.Handler(), nil
}

func (f *Face) publicKeys(ctx context.Context) (goidc.JSONWebKeySet, error) {
	var set goidc.JSONWebKeySet
	b, err := f.signing.publish(ctx)
	if err != nil {
		return set, err
	}
	return set, json.Unmarshal(b, &set)
}

func verifySecret(_ context.Context, stored, given string) error {
	sum := sha256.Sum256([]byte(given))
	if given == "" || len(stored) != len(sum) || subtle.ConstantTimeCompare([]byte(stored), sum[:]) != 1 {
		return errors.New("the secret is wrong")
	}
	return nil
}

// onceOnly takes the ID of a proof or an assertion of a client.
func (f *Face) onceOnly(ctx context.Context, id string) error {
	if len(id) > 1024 {
		return errors.New("jti is too long")
	}
	first, err := f.o.Once(ctx, "oauth-jti:"+digest(id), time.Now().Add(15*time.Minute))
	if err == nil && !first {
		err = errors.New("jti was used before")
	}
	return err
}

// registry is where the library looks clients up.
type registry struct{ f *Face }

func (registry) SaveClient(context.Context, *goidc.Client) error {
	return errors.New("clients are not kept here")
}

func (registry) DeleteClient(context.Context, string) error {
	return errors.New("clients are not kept here")
}

func (r registry) Client(ctx context.Context, id string) (*goidc.Client, error) {
	t := turnOf(ctx)
	if t.client == nil || t.client.ID != id {
		c, err := r.f.client(ctx, id)
		if errors.Is(err, oauthserver.ErrNoClient) || errors.Is(err, oauthserver.ErrClientRefused) {
			return nil, errors.Join(goidc.ErrNotFound, err)
		}
		if err != nil {
			return nil, err
		}
		t.client = &c
	}
	return r.f.shape(t)
}

// client looks a client up and refuses what cannot be used.
func (f *Face) client(ctx context.Context, id string) (oauthserver.Client, error) {
	if id == "" || len(id) > 2048 {
		return oauthserver.Client{}, oauthserver.ErrNoClient
	}
	c, err := f.o.Clients.Client(ctx, id)
	if err != nil {
		return oauthserver.Client{}, err
	}
	if !c.Valid(time.Now()) || c.ID != id {
		return oauthserver.Client{}, oauthserver.ErrClientRefused
	}
	return c, nil
}

// shape says to the library what a client may do. Its redirects are the one
// that was judged.
func (f *Face) shape(t *turn) (*goidc.Client, error) {
	c := t.client
	out := &goidc.Client{ID: c.ID, Secret: string(c.SecretDigest[:])}
	out.ApplicationType = goidc.ApplicationTypeWeb
	out.GrantTypes = []goidc.GrantType{goidc.GrantAuthorizationCode, goidc.GrantRefreshToken}
	if c.Assertions && f.o.Assert != nil && c.Kind == oauthserver.Configured && c.Auth != oauthserver.AuthNone {
		out.GrantTypes = append(out.GrantTypes, goidc.GrantJWTBearer)
	}
	out.ResponseTypes = []goidc.ResponseType{goidc.ResponseTypeCode}
	out.TokenAuthnMethod = goidc.AuthnMethod(c.Auth)
	out.DPoPTokenBindingRequired = c.DPoP
	if t.redirect != "" {
		out.RedirectURIs = []string{t.redirect}
	}
	var scopes []string
	for _, r := range f.o.Resources {
		for _, s := range r.Scopes {
			if (c.Scopes == nil || slices.Contains(c.Scopes, s)) && !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
	}
	out.ScopeIDs = strings.Join(scopes, " ")
	if c.Auth == oauthserver.AuthPrivateKeyJWT {
		out.JWKS = &goidc.JSONWebKeySet{}
		if err := json.Unmarshal(c.JWKS, out.JWKS); err != nil {
			return nil, errors.Join(goidc.ErrNotFound, errors.New("the client's keys cannot be read"))
		}
	}
	return out, nil
}

// subject names a person to clients: the same for all of them, and nothing that
// says who it is.
func (f *Face) subject(id call.Identity) (string, error) {
	_, key, err := f.o.Keys.Subkey("oauth-subject")
	return mac(key, authn.Pair(id.Issuer, id.Subject)), err
}
