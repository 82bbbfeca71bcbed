package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Purpose is under which the state of a sign-in is sealed.
const Purpose keys.Purpose = "sign-in"

// StateLife is how long a sign-in at a provider may take.
const StateLife = 10 * time.Minute

// Client is this gateway as a client of one provider.
type Client struct {
	Issuer, ID string
	// Secret is empty for a public client.
	Secret secret.Value
	// Scopes are asked for beside openid.
	Scopes []string
}

// Options configure Providers. All but Log are needed.
type Options struct {
	Clients []Client
	// Redirect is the URL of our callback page, as registered at the providers.
	Redirect string
	// HTTP is egress.Client without redirects.
	HTTP   *http.Client
	Verify Verify
	Ring   keys.Ring
	// Once reports that a key is seen for the first time, for good.
	Once func(ctx context.Context, key string, until time.Time) (bool, error)
	Log  *slog.Logger
}

// Providers signs people in at the operator's identity providers, by OpenID
// Connect's authorization code flow. The zero value refuses.
type Providers struct {
	o     Options
	by    map[string]Client
	asked *limit.Keyed

	mu    sync.Mutex
	known map[string]*metadata
}

// NewProviders judges the options. Nothing is fetched yet.
func NewProviders(o Options) (*Providers, error) {
	if o.HTTP == nil || o.HTTP.Transport == nil || o.Verify == nil || o.Ring == nil || o.Once == nil {
		return nil, errors.New("signing in needs a client, a verifier, keys and a memory of what was used")
	}
	if _, err := egress.CheckURL(o.Redirect, egress.Rules{PlainLoopback: true}); err != nil {
		return nil, fmt.Errorf("the callback: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Providers{o: o, by: map[string]Client{}, known: map[string]*metadata{}, asked: limit.NewKeyed(10, 50, 1)}
	for _, c := range o.Clients {
		if c.ID == "" {
			return nil, fmt.Errorf("issuer %s: signing in needs the client_id that was registered there", c.Issuer)
		}
		p.by[c.Issuer] = c
	}
	return p, nil
}

// state is what a browser carries to the provider and back. It is sealed, and
// opens only together with the cookie of the browser that began.
type state struct {
	Issuer   string `json:"i"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	To       string `json:"t"`
	Ends     int64  `json:"x"`
}

// Begin returns the provider's URL at which browser signs in, and remembers to,
// where it wants to go afterwards. Nothing is stored.
func (p *Providers) Begin(ctx context.Context, browser, issuer, to string) (string, error) {
	return p.begin(ctx, browser, issuer, to, nil)
}

// Again is Begin for a sign-in that must be as need says (OpenID Connect Core
// 3.1.2.1): the provider asks the person again where theirs is too old or too
// weak. Whoever asks for it judges the answer, since a provider may pass over
// what is asked.
func (p *Providers) Again(ctx context.Context, browser, issuer, to string, need call.Requirement) (string, error) {
	more := url.Values{}
	if len(need.ACR) > 0 {
		more.Set("acr_values", strings.Join(need.ACR, " "))
	}
	if need.MaxAge > 0 {
		// Half of it, so that time is left to decide in.
		more.Set("max_age", strconv.FormatInt(int64(need.MaxAge/2/time.Second), 10))
	}
	return p.begin(ctx, browser, issuer, to, more)
}

func (p *Providers) begin(ctx context.Context, browser, issuer, to string, more url.Values) (string, error) {
	c, ok := p.by[issuer]
	if !ok || browser == "" {
		return "", authn.ErrNotBegun
	}
	m, err := p.metadata(ctx, issuer)
	if err != nil {
		return "", err
	}
	s := state{Issuer: issuer, Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), To: to, Ends: time.Now().Add(StateLife).Unix()}
	b, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sealed, err := p.o.Ring.Seal(Purpose, b, []byte(digest(browser)))
	if err != nil {
		return "", err
	}
	u, err := url.Parse(m.authorize)
	if err != nil {
		return "", authn.ErrUnavailable
	}
	challenge := sha256.Sum256([]byte(s.Verifier))
	q := u.Query()
	for k, v := range map[string]string{
		"response_type": "code", "client_id": c.ID, "redirect_uri": p.o.Redirect,
		"scope": strings.Join(append([]string{"openid"}, c.Scopes...), " "), "state": base64.RawURLEncoding.EncodeToString(sealed), "nonce": s.Nonce,
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(k, v)
	}
	for k := range more {
		q.Set(k, more.Get(k))
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Finish takes the provider's answer from browser and returns who signed in
// and where they wanted to go. An answer serves once, whatever it says.
func (p *Providers) Finish(ctx context.Context, browser string, q url.Values) (call.Principal, string, error) {
	s, err := p.open(browser, q)
	if err != nil {
		return call.Principal{}, "", err
	}
	sum := digest(q.Get("state"))
	if first, err := p.o.Once(ctx, "sign-in:"+sum, time.Unix(s.Ends, 0).Add(time.Minute)); err != nil {
		return call.Principal{}, "", err
	} else if !first {
		return call.Principal{}, "", authn.ErrReplayed
	}
	c, ok := p.by[s.Issuer]
	if !ok {
		return call.Principal{}, "", authn.ErrNotBegun
	}
	m, err := p.metadata(ctx, s.Issuer)
	if err != nil {
		return call.Principal{}, s.To, err
	}
	// RFC 9207 2.4, for errors too.
	switch iss := q["iss"]; {
	case len(iss) > 1, len(iss) == 1 && iss[0] != s.Issuer, len(iss) == 0 && m.issInAnswer:
		return call.Principal{}, s.To, authn.ErrOtherIssuer
	}
	if q.Has("error") {
		return call.Principal{}, s.To, authn.ErrDenied
	}
	code := q["code"]
	if len(code) != 1 || code[0] == "" || len(code[0]) > 4096 {
		return call.Principal{}, s.To, authn.ErrNotBegun
	}
	idToken, access, err := p.redeem(ctx, c, m, code[0], s.Verifier)
	if err != nil {
		return call.Principal{}, s.To, err
	}
	who, err := p.o.Verify(ctx, idToken, Want{Issuer: s.Issuer, Client: c.ID, Nonce: s.Nonce, AccessToken: access})
	if err != nil || !who.Valid() {
		return call.Principal{}, s.To, errors.Join(authn.ErrIDToken, err)
	}
	return who, s.To, nil
}

// open reads the state that came back.
func (p *Providers) open(browser string, q url.Values) (state, error) {
	var s state
	if browser == "" || len(q["state"]) != 1 || len(q.Get("state")) > 8192 {
		return s, authn.ErrNotBegun
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(q.Get("state"))
	if err != nil {
		return s, authn.ErrNotBegun
	}
	b, err := p.o.Ring.Open(Purpose, sealed, []byte(digest(browser)))
	if err != nil || json.Unmarshal(b, &s) != nil || s.Nonce == "" || time.Now().Unix() >= s.Ends {
		return s, authn.ErrNotBegun
	}
	return s, nil
}

// redeem exchanges a code for an ID token (RFC 6749 4.1.3, RFC 7636 4.5).
func (p *Providers) redeem(ctx context.Context, c Client, m *metadata, code, verifier string) (idToken, access string, err error) {
	if ok, _ := p.asked.Allow("all"); !ok {
		return "", "", authn.ErrTooMany
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.o.Redirect}, "code_verifier": {verifier}}
	basic := !c.Secret.IsZero() && !m.secretInBody
	if !basic {
		form.Set("client_id", c.ID)
		if !c.Secret.IsZero() {
			form.Set("client_secret", c.Secret.Reveal())
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.token, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", authn.ErrUnavailable
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if basic {
		r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret.Reveal()))
	}
	doc, status, err := fetch(p.o.HTTP, r)
	if err != nil {
		p.o.Log.Warn("a provider's token endpoint did not answer as it should", "issuer", c.Issuer, "error", err)
		return "", "", authn.ErrUnavailable
	}
	if status != http.StatusOK {
		p.o.Log.Warn("a provider did not take a code", "issuer", c.Issuer, "status", status, "error", known(text(doc, "error")))
		return "", "", authn.ErrDenied
	}
	idToken = text(doc, "id_token")
	if idToken == "" {
		p.o.Log.Warn("a provider gave no ID token", "issuer", c.Issuer)
		return "", "", authn.ErrIDToken
	}
	return idToken, text(doc, "access_token"), nil
}

// fetch sends a request and reads an answer that is one strict JSON object.
func fetch(client *http.Client, r *http.Request) (strictjson.Object, int, error) {
	res, err := client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, oauth.MaxBytes+1))
	if err != nil {
		return nil, res.StatusCode, err
	}
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: oauth.MaxBytes, Depth: 16, Members: 20_000}); err != nil {
		return nil, res.StatusCode, fmt.Errorf("status %d: %w", res.StatusCode, err)
	}
	o, err := strictjson.SplitObject(body)
	return o, res.StatusCode, err
}

// text returns a member that is a string; anything else is empty.
func text(o strictjson.Object, name string) string {
	raw, ok := o.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return ""
	}
	s, err := strictjson.String(raw)
	if err != nil {
		return ""
	}
	return s
}

// known passes on the error codes of RFC 6749 5.2 and nothing else.
func known(code string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return code
	}
	return "another"
}

// metadata returns what is known of a provider, asking it where that is old.
func (p *Providers) metadata(ctx context.Context, issuer string) (*metadata, error) {
	p.mu.Lock()
	m := p.known[issuer]
	p.mu.Unlock()
	if m != nil && time.Since(m.at) < metadataFresh {
		return m, nil
	}
	if ok, _ := p.asked.Allow("all"); !ok {
		return nil, authn.ErrTooMany
	}
	m, err := discover(ctx, p.o.HTTP, issuer)
	if err != nil {
		p.o.Log.Warn("a provider's metadata cannot be had", "issuer", issuer, "error", err)
		return nil, authn.ErrUnavailable
	}
	p.mu.Lock()
	p.known[issuer] = m
	p.mu.Unlock()
	return m, nil
}
