package introspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauth"
)

const (
	maxAnswer  = 64 << 10
	foundFor   = time.Hour // how long a discovered endpoint is believed
	maxDepth   = 16
	maxMembers = 4096
)

// answer is what the issuer said of one active token.
type answer struct {
	identity  call.Identity
	principal call.Principal
	audience  []string
	// fault says why the token opens nothing although it is active.
	fault error
	until int64 // Unix time of its end, 0 if nobody said
	size  int

	token  string
	digest [32]byte
	proof  string // under which the cache knows it
	asked  time.Time
	good   time.Time // until when it holds
}

func (a *answer) expired(now time.Time) bool { return a.until != 0 && now.Unix() >= a.until }

// ask puts one question (RFC 7662 2.1). It returns nil for a token that is not
// active. An error says that there was no answer that can be believed.
func (i *Introspector) ask(ctx context.Context, token string) (*answer, error) {
	endpoint, err := i.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	if err := i.o.Prove(ctx, form, h); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the endpoint is no URL")
	}
	r.Header = h
	res, err := i.o.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the endpoint answered with status %d", res.StatusCode)
	}
	if mt, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return nil, errors.New("the endpoint's answer is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errors.New("the endpoint's answer is too long")
	}
	return i.read(body, token, time.Now().Unix())
}

// endpoint is where to ask.
func (i *Introspector) endpoint(ctx context.Context) (string, error) {
	if i.o.Endpoint != "" {
		return i.o.Endpoint, nil
	}
	i.mu.Lock()
	at, until := i.found, i.until
	i.mu.Unlock()
	if time.Now().Before(until) {
		return at, nil
	}
	const member = "introspection_endpoint"
	d, err := oauth.Find(ctx, i.o.Client, i.o.Issuer, func(d oauth.Document) error { _, err := d.URL(member); return err })
	if err != nil {
		return "", err
	}
	if at, err = d.URL(member); err != nil {
		return "", err
	}
	i.mu.Lock()
	i.found, i.until = at, time.Now().Add(foundFor)
	i.mu.Unlock()
	return at, nil
}

// read judges an answer (RFC 7662 2.2).
func (i *Introspector) read(body []byte, token string, now int64) (*answer, error) {
	c, err := authn.ReadClaims(body, strictjson.Limits{Bytes: maxAnswer, Depth: maxDepth, Members: maxMembers})
	if err != nil {
		return nil, errors.New("the endpoint's answer is no JSON object that can be read in one way only")
	}
	raw, ok := c.Members.Get("active")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeBool {
		return nil, errors.New("the endpoint's answer does not say whether the token is active")
	}
	if string(raw) != "true" {
		return nil, nil
	}
	a := &answer{size: len(body) + len(token)}
	a.fault = i.identify(c, body, token, now, a)
	if a.fault == nil {
		a.principal = call.NewPrincipal(a.identity)
		if !a.principal.Valid() {
			a.fault = ErrClaims
		}
	}
	return a, nil
}

// identify reads what an active token proves.
func (i *Introspector) identify(c authn.Claims, body []byte, token string, now int64, a *answer) error {
	id := &a.identity
	*id = call.Identity{Issuer: i.o.Issuer, Claims: body, Asked: true}
	if iss, ok := c.Optional("iss"); !ok || iss != "" && iss != i.o.Issuer {
		return ErrIssuer
	}
	if err := i.inForce(c, now, a); err != nil {
		return err
	}
	if err := kindOfToken(c); err != nil {
		return err
	}
	var ok [13]bool
	a.audience, ok[0] = c.Texts("aud", true)
	id.Subject, ok[1] = c.Optional("sub")
	id.Client, ok[2] = c.Optional("client_id")
	id.Scopes, ok[3] = c.Scopes("scope")
	id.Groups, ok[4] = c.Texts(i.o.Groups, true)
	id.Roles, ok[5] = c.Texts(i.o.Roles, true)
	id.ACR, ok[6] = c.Optional("acr")
	id.AMR, ok[7] = c.Texts("amr", false)
	id.Session, ok[8] = c.Optional("sid")
	id.AuthTime, ok[9] = c.Date("auth_time")
	id.Actors, ok[10] = c.Actors(i.o.Issuer)
	ok[11] = true
	if i.o.Tenant != "" {
		id.Tenant, ok[11] = c.Optional(i.o.Tenant)
	}
	jti, good := c.Optional("jti")
	ok[12] = good
	switch {
	case !ok[0] || len(a.audience) == 0:
		return ErrAudience
	case ok != [13]bool{true, true, true, true, true, true, true, true, true, true, true, true, true}:
		return ErrClaims
	case id.Client == "":
		return ErrClaims
	case id.Subject == "":
		// An issuer has no subject to name when a client acts for itself. It may
		// also hide one, so nothing else may speak of a person.
		if c.Has("sub") || c.Has("username") || id.Session != "" || id.AuthTime != 0 || id.ACR != "" || len(id.AMR) > 0 || len(id.Actors) > 0 {
			return ErrClaims
		}
		id.Subject = id.Client
	}
	if id.Confirmation, good = c.Confirmation(); !good {
		return ErrBound
	}
	id.Kind = call.Person
	if id.Subject == id.Client {
		id.Kind = call.Workload
	}
	if id.Proof = authn.Pair(i.o.Issuer, jti); jti == "" {
		sum := sha256.Sum256([]byte(token))
		id.Proof = "sha256:" + hex.EncodeToString(sum[:])
	}
	id.Scopes = authn.Imply(id.Scopes, i.o.Implied)
	if !authn.Tidy(id) {
		return ErrClaims
	}
	return nil
}

// inForce holds an answer against the clock.
func (i *Introspector) inForce(c authn.Claims, now int64, a *answer) error {
	exp, ok1 := c.Date("exp")
	iat, ok2 := c.Date("iat")
	nbf, ok3 := c.Date("nbf")
	switch {
	case !ok1 || !ok2 || !ok3 || exp != 0 && exp <= iat:
		return ErrClaims
	case exp != 0 && now >= exp+i.skew:
		return ErrExpired
	case nbf > now+i.skew || iat > now+i.skew:
		return ErrNotYet
	case i.o.MaxLifetime > 0 && exp != 0 && iat != 0 && exp-iat > int64(i.o.MaxLifetime/time.Second):
		return ErrLifetime
	}
	if exp != 0 {
		a.until = exp + i.skew
	}
	a.identity.Expires, a.identity.Issued = a.until, iat
	return nil
}

// kindOfToken refuses what is active and no access token: issuers answer about
// refresh tokens too.
func kindOfToken(c authn.Claims) error {
	for _, name := range []string{"token_type", "typ", "token_use"} {
		s, ok := c.Optional(name)
		if !ok {
			return ErrClaims
		}
		switch strings.ToLower(s) {
		case "", "bearer", "dpop", "access_token", "access", "at+jwt":
		default:
			return ErrType
		}
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "events"} {
		if c.Has(name) {
			return ErrType
		}
	}
	return nil
}
