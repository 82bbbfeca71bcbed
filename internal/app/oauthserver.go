package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/bound"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/clients"
	"github.com/munjigi/munjigi/internal/oauthserver/consent"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
	"github.com/munjigi/munjigi/internal/pages"
)

const (
	bucketDecisions = "oauth-decision"
	bucketSteps     = "oauth-step"
	// grantEndKept outlives every access token of a grant that ended.
	grantEndKept = time.Hour
)

// authServer is the authorization server of one snapshot.
type authServer struct {
	face    *face.Face
	consent *consent.Consent
	strange strangers
}

// own is this gateway as the issuer of its own tokens. The keys are there once
// the authorization server is, which is made after the verifier that it asks.
type own struct{ face atomic.Pointer[face.Face] }

func (o *own) keys(ctx context.Context) ([]byte, error) {
	f := o.face.Load()
	if f == nil {
		return nil, errors.New("the authorization server is not there yet")
	}
	return f.KeySet(ctx)
}

// issuerOwn is what the verifier has to know of this gateway.
func (a *App) issuerOwn(cfg *config.Config, base string, o *own) jwt.Issuer {
	j := &jwt.Own{Keys: o.keys, OwnerClaim: face.ClaimOwner, GrantClaim: face.ClaimGrant, Issuers: signers(cfg),
		Owner: func(sealed, grant string) (call.Identity, error) { return face.Owner(a.ring, sealed, grant) }}
	return jwt.Issuer{Issuer: base, Own: j, Algorithms: []string{"ES256"}, MaxLifetime: cfg.AuthorizationServer.AccessToken}
}

// signers are the issuers of those who can let a client in.
func signers(cfg *config.Config) []string {
	if !cfg.Identity.Outside() {
		return []string{local.Issuer}
	}
	var list []string
	for _, i := range cfg.Identity.Issuers {
		if i.KnownAs == "" {
			list = append(list, i.URL)
		}
	}
	return list
}

// authServerOf makes the authorization server of one snapshot, nil where the
// config has none.
func (a *App) authServerOf(ctx context.Context, cfg *config.Config, base string, w who) (*authServer, error) {
	c := cfg.AuthorizationServer
	if !c.Enabled {
		return nil, nil
	}
	if a.o.Stdio {
		return nil, errors.New("authorization_server: needs pages, which only munjigi serve has")
	}
	decisions, err1 := a.db.Bucket(bucketDecisions)
	steps, err2 := a.db.Bucket(bucketSteps)
	configured, err3 := a.oauthClients(ctx, cfg)
	fetch, err4 := issuerClient(cfg)
	strange, err5 := a.strangersOf(cfg, base)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	kept := consent.NewDecisions(decisions)
	o := face.Options{Issuer: base, Resources: map[string]face.Resource{}, Consents: kept,
		Clients:   clients.All{Configured: configured, Documents: strange.documents, Registry: strange.registry},
		Documents: strange.documents != nil, Registration: strange.registry != nil, Store: a.db, Keys: a.ring,
		HTTP: fetch, Record: a.record.With(log.Strict), Once: once{a.nonces}.First, Ended: a.endedUnder(cfg), Revoke: a.grantEnded,
		AccessToken: c.AccessToken, SignedInFor: c.SignedInFor, KeyRotation: c.KeyRotation, Log: a.o.Logger}
	for url, r := range w.resources {
		o.Resources[url] = face.Resource{Scopes: r.Scopes, Least: r.Least}
	}
	o.Show = func(rw http.ResponseWriter, r *http.Request, status int, text, id string) {
		a.pages.Load().Refusal(rw, r, status, text, id)
	}
	if len(c.Assertions) > 0 {
		o.Assert = func(ctx context.Context, text string) (face.Assertion, error) {
			s, err := w.verifier.Assertion(ctx, text, base, c.Assertions)
			return face.Assertion{Who: s.Who, Client: s.Client, Resource: s.Resource, Scopes: s.Scopes, Once: s.ID, Until: s.Until}, err
		}
	}
	f, err := face.New(o)
	if err != nil {
		return nil, fmt.Errorf("authorization_server: %w", err)
	}
	asks, err := consent.New(consent.Options{Decisions: kept, Steps: steps, Flow: f, Used: strange.used})
	if err != nil {
		return nil, fmt.Errorf("authorization_server: %w", err)
	}
	w.own.face.Store(f)
	return &authServer{face: f, consent: asks, strange: strange}, nil
}

// addConsent gives the pages what they ask people about clients with.
func (s *authServer) addConsent(o *pages.Options) {
	if s != nil {
		o.Consent, o.Decisions = s.consent, s.consent
	}
}

// serve hands a request to the authorization server, if it is one for it.
func (s *authServer) serve(w http.ResponseWriter, r *http.Request) bool {
	if s == nil {
		return false
	}
	if r.URL.Path == oauthserver.PathRegister && s.strange.endpoint != nil {
		gateway.Secure(w.Header())
		s.strange.endpoint.ServeHTTP(w, r)
		return true
	}
	if !s.face.Serves(r.URL.Path) {
		return false
	}
	gateway.Secure(w.Header())
	s.face.ServeHTTP(w, r)
	return true
}

// grantEnded makes the tokens of a grant worthless at once and for good.
func (a *App) grantEnded(ctx context.Context, proof string) error {
	if err := a.endings.put(ctx, ending{ended: ended{Kind: endedToken, Name: proof}, Until: time.Now().Unix()}, grantEndKept); err != nil {
		return err
	}
	a.gens.revocation.Add(1)
	return nil
}

// oauthClients are the clients that the operator registered.
func (a *App) oauthClients(ctx context.Context, cfg *config.Config) (map[string]oauthserver.Client, error) {
	out := map[string]oauthserver.Client{}
	for _, c := range cfg.AuthorizationServer.Clients {
		one := oauthserver.Client{ID: c.ID, Kind: oauthserver.Configured, Name: c.Name, RedirectURIs: c.RedirectURIs, Auth: oauthserver.AuthMethod(c.Auth),
			Scopes: c.Scopes, DPoP: c.DPoP, Assertions: c.Assertions}
		if one.Name == "" {
			one.Name = c.ID
		}
		for _, uri := range c.RedirectURIs {
			if err := oauthserver.CheckRedirect(uri); err != nil {
				return nil, fmt.Errorf("authorization_server: client %s: %w", c.ID, err)
			}
		}
		if c.Secret.IsSecret() {
			v, err := a.secrets.Resolve(ctx, c.Secret.Secret)
			if err != nil {
				return nil, fmt.Errorf("authorization_server: client %s: %w", c.ID, err)
			}
			one.SecretDigest = sha256.Sum256([]byte(v.Reveal()))
		}
		if c.Keys != "" {
			b, err := secret.ReadFile(c.Keys, 64<<10, secret.OthersWrite)
			if err != nil {
				return nil, fmt.Errorf("authorization_server: client %s: %w", c.ID, err)
			}
			one.JWKS = b
		}
		// What a person saw; a new secret or key is the operator's business.
		b, err := json.Marshal([]any{one.Name, one.RedirectURIs, one.Auth, one.Scopes})
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		one.Digest = hex.EncodeToString(sum[:])
		out[one.ID] = one
	}
	return out, nil
}

// ownIdentity adds the gateway's own tokens to those of the operator, where
// there is no identity provider.
func (a *App) ownIdentity(cfg *config.Config, base string, order, merged []string, w who) (who, error) {
	client, err := issuerClient(cfg)
	if err != nil {
		return who{}, err
	}
	w.resources = resourcesOf(cfg, base, order, merged)
	o := jwt.Options{Client: client, Resources: map[string]authn.Resource{}, Revoked: a.takenBack, Ended: a.endings.over, Keep: a.verifier, Log: a.o.Logger}
	for url, r := range w.resources {
		r.ScopesIgnored[local.Issuer] = true // the operator's own tokens have none
		o.Resources[url] = authn.Resource{Metadata: r.Metadata, Scope: strings.Join(r.Least, " ")}
	}
	keys, err := a.keysOf(cfg, base, w.resources)
	if err != nil {
		return who{}, err
	}
	o.Confirm, w.own = keys.Confirm, new(own)
	o.Issuers = []jwt.Issuer{a.issuerOwn(cfg, base, w.own)}
	if w.verifier, err = jwt.New(o); err != nil {
		return who{}, err
	}
	both := localOrOwn{local: a.auth, own: w.verifier}
	if both.resources, err = authn.JudgeResources(o.Resources); err != nil {
		return who{}, err
	}
	var none bound.Known
	w.authn = keys.Over(both, none)
	return w, nil
}

// localOrOwn judges the operator's tokens and those that the operator granted.
// The form of a token decides who judges it; what one refuses, the other is not
// asked about.
type localOrOwn struct {
	local     *local.Local
	own       *jwt.Verifier
	resources *authn.Resources
}

// Authenticate implements authn.Authenticator.
func (l localOrOwn) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	token := ""
	if hs := r.Header["Authorization"]; len(hs) == 1 {
		_, token, _ = strings.Cut(hs[0], " ")
	}
	if token == "" || jwt.Compact(token) {
		return l.own.Authenticate(ctx, r)
	}
	p, err := l.local.Authenticate(ctx, r)
	var no *authn.Refusal
	if errors.As(err, &no) {
		// Whoever has no good token finds here how to get one.
		told := *no
		told.Challenge += l.resources.Find(r.Resource).Params()
		return call.Principal{}, &told
	}
	return p, err
}

// Current implements authn.Authenticator.
func (l localOrOwn) Current(p call.Principal) bool {
	if p.Identity().Granted {
		return l.own.Current(p)
	}
	return l.local.Current(p)
}
