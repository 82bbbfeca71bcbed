// Package face is the protocol of the gateway's own OAuth 2.1 authorization
// server: what MCP clients speak, whatever identity provider stands behind.
//
// Threat: a token for somebody who did not ask for it. A code that is
// redirected, injected, replayed or redeemed without its verifier; a refresh
// token that was stolen and is used beside its owner; a token for a resource
// that was not named; a request that two parsers read in two ways; a half-made
// grant that a crash left behind; a client that talks to us and believes that
// it talks to another.
//
// It guarantees: PKCE with S256, always; a resource of ours, exactly one, in
// both requests; a redirect that is one of the client's own, letter by letter;
// an answer that names its issuer (RFC 9207); codes that live a minute, serve
// once and end everything that came of them when they come again; access tokens
// of minutes (RFC 9068); refresh tokens of which one is good at a time, where
// the newest before it is forgiven within ReuseGrace and any other ends the
// family at once, its access tokens too. Each step from a code to a token is
// one write to the store, made before anything is answered, so that a process
// that dies leaves what nobody holds. Signing keys lie sealed in the store,
// are published before they sign and after they stopped.
//
// It does not know who a person is (internal/authn/signin) and asks nobody for
// consent (internal/oauthserver/consent). The grammar of the protocol, client
// authentication and proofs of possession are go-oidc's; this package reads
// each request first, strictly, and hands on only what it read.
package face

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/store"
)

// Where metadata stands (RFC 8414 3, OpenID Connect Discovery 4).
const (
	PathMetadata = "/.well-known/oauth-authorization-server"
	PathOpenID   = "/.well-known/openid-configuration"
)

// Times that are not configured.
const (
	CodeLife = time.Minute
	// ReuseGrace is how long after a refresh the token before it is refused
	// without ending the family: clients send twice.
	ReuseGrace = 5 * time.Second
	parLife    = time.Minute
)

// Resource is one address that tokens are made for.
type Resource struct {
	// Scopes is all that it knows, Least what is meant when a client names none.
	Scopes, Least []string
}

// Assertion is what an identity assertion says, its signature, issuer, audience
// and time being good.
type Assertion struct {
	Who      call.Principal
	Client   string // the client it was made for
	Resource string
	Scopes   []string
	Once     string // names the assertion
	Until    time.Time
}

// Options configure a Face. Those without a remark are needed.
type Options struct {
	// Issuer is the address of the gateway without a path.
	Issuer    string
	Resources map[string]Resource // by URL
	Clients   oauthserver.Clients
	Consents  oauthserver.Consents
	Store     store.Store
	Keys      keys.Ring
	Record    audit.Recorder
	// HTTP is egress.Client. Nothing is fetched, because Clients have their keys;
	// a library that thought otherwise would be held to the rule for all fetches.
	HTTP *http.Client
	// Once reports that a key is seen for the first time, for good.
	Once func(ctx context.Context, key string, until time.Time) (bool, error)
	// Ended reports that a person's sign-in was taken back since.
	Ended func(call.Identity) bool
	// Revoke makes the tokens of a grant (call.Identity.Proof) worthless at once.
	Revoke func(ctx context.Context, proof string) error
	// Assert judges an identity assertion; nil where none is accepted.
	Assert func(ctx context.Context, assertion string) (Assertion, error)
	// AccessToken, SignedInFor and KeyRotation are as in the config.
	AccessToken, SignedInFor, KeyRotation time.Duration
	// Documents and Registration say in the metadata what Clients knows.
	Documents, Registration bool
	// Show writes the page of a refusal that no client can be told of; nil
	// writes plain text.
	Show func(w http.ResponseWriter, r *http.Request, status int, text, id string)
	Log  *slog.Logger
}

// Face is an http.Handler for the paths of the authorization server, and the
// Flow of its consent pages. Make it with New; the zero value serves nothing.
type Face struct {
	o         Options
	host      string
	lib       http.Handler
	signing   *signing
	grants    *grants
	askings   *askings
	metadata  []byte
	routes    map[string]route
	strangers *limit.Keyed // their refusals on the record
	asks      *limit.Keyed // authorization requests
}

type route struct {
	methods []string
	serve   func(w http.ResponseWriter, r *http.Request)
}

var _ oauthserver.Flow = (*Face)(nil)

// New judges the options. Nothing is fetched; signing keys are made when the
// first is needed.
func New(o Options) (*Face, error) {
	u, err := egress.CheckURL(o.Issuer, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, fmt.Errorf("the issuer: %w", err)
	}
	if u.Path != "" || u.RawQuery != "" {
		return nil, errors.New("the issuer has a path or a query: leave it out")
	}
	if len(o.Resources) == 0 || o.Clients == nil || o.Consents == nil || o.Store == nil || o.Keys == nil || o.Record == nil || o.HTTP == nil || o.HTTP.Transport == nil ||
		o.Once == nil || o.Ended == nil || o.Revoke == nil || o.AccessToken <= 0 || o.SignedInFor <= 0 || o.KeyRotation <= 0 {
		return nil, errors.New("an authorization server needs resources, clients, consents, a store, keys, a record, and times")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Show == nil {
		o.Show = showPlain
	}
	f := &Face{o: o, host: strings.ToLower(u.Host), strangers: limit.NewKeyed(20, 200, 1), asks: limit.NewKeyed(10, 200, 1)}
	if f.signing, err = newSigning(o.Store, o.Keys, o.KeyRotation); err != nil {
		return nil, err
	}
	if f.askings, err = newAskings(o.Store, o.Keys); err != nil {
		return nil, err
	}
	if f.grants, err = newGrants(o); err != nil {
		return nil, err
	}
	if f.lib, err = f.library(); err != nil {
		return nil, err
	}
	if f.metadata, err = json.Marshal(f.describe()); err != nil {
		return nil, err
	}
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	f.routes = map[string]route{
		PathMetadata:              {get, f.serveMetadata},
		PathOpenID:                {get, f.serveMetadata},
		oauthserver.PathKeys:      {get, f.serveKeys},
		oauthserver.PathAuthorize: {[]string{http.MethodGet, http.MethodPost}, f.authorize},
		oauthserver.PathToken:     {post, f.token},
		oauthserver.PathPAR:       {post, f.par},
		oauthserver.PathRevoke:    {post, f.revoke},
	}
	return f, nil
}

// Serves reports that a path is one of the authorization server's.
func (f *Face) Serves(path string) bool {
	if f == nil {
		return false
	}
	_, ok := f.routes[path]
	return ok
}

// ServeHTTP implements http.Handler. Headers that every answer of the gateway
// has are set by whoever mounts it.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt, ok := f.routes[r.URL.Path]
	if !ok || r.URL.RawPath != "" {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if !f.here(r.Host) {
		_, _ = f.note(r.Context(), event{effect: deny, reason: "wrong-host", detail: map[string]string{"host": short(r.Host)}})
		f.say(w, http.StatusMisdirectedRequest, "invalid_request", "this server is known as "+f.o.Issuer)
		return
	}
	if r.URL.Path != oauthserver.PathAuthorize {
		// For clients that run in a browser. Nothing here is authenticated by what
		// a browser adds on its own.
		h.Set("Access-Control-Allow-Origin", "*")
		h.Del("Cross-Origin-Resource-Policy")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", strings.Join(rt.methods, ", "))
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, MCP-Protocol-Version")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if !slices.Contains(rt.methods, r.Method) {
		h.Set("Allow", strings.Join(rt.methods, ", "))
		f.say(w, http.StatusMethodNotAllowed, "invalid_request", "the method is not one of "+strings.Join(rt.methods, ", "))
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(10 * time.Second))
	rt.serve(w, r)
}

// here reports that a Host is the issuer's, or another loopback name of its
// port: metadata is asked for under whichever name a client was given.
func (f *Face) here(host string) bool {
	host = strings.ToLower(host)
	if host == f.host {
		return true
	}
	a, errA := url.Parse("http://" + host)
	b, errB := url.Parse("http://" + f.host)
	return errA == nil && errB == nil && a.Port() == b.Port() && egress.Loopback(a.Hostname()) && egress.Loopback(b.Hostname())
}

// metadata of RFC 8414 and OpenID Connect Discovery, whose readers skip what
// they do not know. There are no ID tokens: clients act for a person, they do
// not learn who it is.
type metadata struct {
	Issuer         string   `json:"issuer"`
	Authorization  string   `json:"authorization_endpoint"`
	Token          string   `json:"token_endpoint"`
	Keys           string   `json:"jwks_uri"`
	Registration   string   `json:"registration_endpoint,omitempty"`
	Scopes         []string `json:"scopes_supported"`
	ResponseTypes  []string `json:"response_types_supported"`
	ResponseModes  []string `json:"response_modes_supported"`
	GrantTypes     []string `json:"grant_types_supported"`
	AuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	Revocation     string   `json:"revocation_endpoint"`
	RevokeMethods  []string `json:"revocation_endpoint_auth_methods_supported"`
	Challenges     []string `json:"code_challenge_methods_supported"`
	PAR            string   `json:"pushed_authorization_request_endpoint"`
	Iss            bool     `json:"authorization_response_iss_parameter_supported"`
	Documents      bool     `json:"client_id_metadata_document_supported,omitempty"`
	DPoP           []string `json:"dpop_signing_alg_values_supported"`
	Resources      []string `json:"protected_resources"`
	Profiles       []string `json:"authorization_grant_profiles_supported,omitempty"`
	SubjectTypes   []string `json:"subject_types_supported"`
	IDTokens       []string `json:"id_token_signing_alg_values_supported"`
}

func (f *Face) describe() metadata {
	at := func(path string) string { return f.o.Issuer + path }
	methods := []string{string(oauthserver.AuthNone), string(oauthserver.AuthSecretBasic), string(oauthserver.AuthSecretPost), string(oauthserver.AuthPrivateKeyJWT)}
	m := metadata{
		Issuer: f.o.Issuer, Authorization: at(oauthserver.PathAuthorize), Token: at(oauthserver.PathToken), Keys: at(oauthserver.PathKeys),
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"}, GrantTypes: []string{"authorization_code", "refresh_token"},
		AuthMethods: methods, AuthAlgorithms: algorithmNames(), Revocation: at(oauthserver.PathRevoke), RevokeMethods: methods,
		Challenges: []string{"S256"}, PAR: at(oauthserver.PathPAR), Iss: true, Documents: f.o.Documents, DPoP: algorithmNames(),
		SubjectTypes: []string{"public"}, IDTokens: []string{"ES256"},
	}
	if f.o.Registration {
		m.Registration = at(oauthserver.PathRegister)
	}
	if f.o.Assert != nil {
		m.GrantTypes = append(m.GrantTypes, grantAssertion)
		m.Profiles = []string{"urn:ietf:params:oauth:grant-profile:id-jag"}
	}
	for u, r := range f.o.Resources {
		m.Resources = append(m.Resources, u)
		for _, s := range r.Least {
			if !slices.Contains(m.Scopes, s) {
				m.Scopes = append(m.Scopes, s)
			}
		}
	}
	slices.Sort(m.Resources)
	slices.Sort(m.Scopes)
	return m
}

func (f *Face) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(f.metadata)
}

func (f *Face) serveKeys(w http.ResponseWriter, r *http.Request) {
	b, err := f.KeySet(r.Context())
	if err != nil {
		f.o.Log.Error("the signing keys cannot be read", "err", err)
		f.say(w, http.StatusServiceUnavailable, "temporarily_unavailable", "try again later")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// KeySet returns the public keys (RFC 7517 5): the one that signs, the one
// before it and, ahead of time, the next.
func (f *Face) KeySet(ctx context.Context) ([]byte, error) { return f.signing.publish(ctx) }

// say answers with an error of RFC 6749 5.2. The text is public.
func (f *Face) say(w http.ResponseWriter, status int, code, text string) {
	b, err := json.Marshal(struct {
		Error string `json:"error"`
		Text  string `json:"error_description"`
	}{code, text})
	if err != nil {
		b = []byte(`{"error":"server_error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func showPlain(w http.ResponseWriter, _ *http.Request, status int, text, id string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%s\n%s\n", text, id)
}
