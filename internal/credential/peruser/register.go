package peruser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// How a client proves itself at a token endpoint.
const (
	methodNone  = "none"
	methodBasic = "client_secret_basic"
	methodPost  = "client_secret_post"
	methodKey   = "private_key_jwt"
)

// client is who the gateway is for one authorization server.
type client struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	// Secret is set for a client that was registered on the way; that of the
	// operator's config is not repeated here.
	Secret string `json:"secret,omitempty"`
	// Registered names the registration, so that it can be dropped.
	Registered string    `json:"registered,omitempty"`
	Expires    time.Time `json:"expires"` // of the secret; zero means never
}

// Document is the Client ID Metadata Document of the gateway
// (draft-ietf-oauth-client-id-metadata-document): the one of credential.GrantClient,
// or that of credential.GrantClientKeyed. It names no server and no person.
func (g *Grants) Document(keyed bool) ([]byte, error) {
	d := g.describe()
	d["client_id"], d["token_endpoint_auth_method"] = g.base+credential.GrantClient, methodNone
	if keyed {
		d["client_id"], d["token_endpoint_auth_method"] = g.base+credential.GrantClientKeyed, methodKey
		d["jwks_uri"] = g.base + credential.GrantKeys
		d["token_endpoint_auth_signing_alg"] = string(g.signer.alg)
	}
	return json.Marshal(d)
}

// PublicKeys is the JWK set of credential.GrantKeys.
func (g *Grants) PublicKeys() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{g.signer.public}})
}

func (g *Grants) describe() map[string]any {
	kind := "web"
	if strings.HasPrefix(g.base, "http:") {
		kind = "native"
	}
	return map[string]any{
		"client_name": g.name, "client_uri": g.base, "redirect_uris": []string{g.base + credential.GrantCallback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "application_type": kind,
	}
}

// published reports that an authorization server can fetch our document.
func (g *Grants) published() bool { return strings.HasPrefix(g.base, "https:") }

// introduce finds who the gateway is for an authorization server: as the
// operator registered it, by its metadata document, or by registering it now.
func (g *Grants) introduce(ctx context.Context, s *server, m *metadata) (client, error) {
	switch {
	case s.ClientID != "":
		return s.registered(m)
	case m.documents && s.ClientDocument != "":
		return client{ID: s.ClientDocument, Method: methodNone}, nil
	case m.documents && g.published() && slices.Contains(m.methods, methodKey) && g.signer.fits(m.algorithms):
		return client{ID: g.base + credential.GrantClientKeyed, Method: methodKey}, nil
	case m.documents && g.published():
		return client{ID: g.base + credential.GrantClient, Method: methodNone}, nil
	case m.register != "":
		return g.register(ctx, s, m)
	}
	return client{}, refused("the authorization server does not take a client that it does not know: register this gateway there, "+
		"with the redirect URI %s, and write client_id into servers.%s.credential", g.base+credential.GrantCallback, s.Name)
}

func (s *server) registered(m *metadata) (client, error) {
	c := client{ID: s.ClientID, Method: methodNone}
	switch {
	case s.signer != nil:
		if c.Method = methodKey; !s.signer.fits(m.algorithms) {
			return c, refused("the authorization server does not take the algorithm of private_key: use a key of another kind")
		}
	case !s.ClientSecret.IsZero():
		if c.Method = methodBasic; !slices.Contains(m.methods, methodBasic) && slices.Contains(m.methods, methodPost) {
			c.Method = methodPost
		}
	}
	return c, nil
}

// register asks for a client by RFC 7591, once for an authorization server, a
// server and a redirect URI, and keeps it sealed.
func (g *Grants) register(ctx context.Context, s *server, m *metadata) (client, error) {
	key := store.Key(digest(m.issuer), s.Name, digest(g.base))
	for range 3 {
		var c client
		version, err := g.clients.get(ctx, key, &c)
		switch {
		case err == nil && (c.Expires.IsZero() || time.Until(c.Expires) > 2*LinkTime):
			return c, nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return client{}, unavailable(err)
		}
		fresh, err := g.askForClient(ctx, s, m)
		if err != nil {
			return client{}, err
		}
		fresh.Registered = key
		var ok bool
		if version == 0 {
			ok, err = g.clients.put(ctx, key, fresh, time.Time{})
		} else {
			ok, err = g.clients.swap(ctx, key, version, fresh, time.Time{})
		}
		if err != nil {
			return client{}, unavailable(err)
		}
		if ok {
			return fresh, nil
		}
	}
	return client{}, unavailable(errors.New("somebody else registers at the same moment"))
}

func (g *Grants) askForClient(ctx context.Context, s *server, m *metadata) (client, error) {
	want := g.describe()
	method := ""
	for _, one := range []string{methodBasic, methodPost, methodNone} {
		if slices.Contains(m.methods, one) {
			method = one
			break
		}
	}
	if method == "" && slices.Contains(m.methods, methodKey) && g.published() && g.signer.fits(m.algorithms) {
		method = methodKey
		want["jwks_uri"] = g.base + credential.GrantKeys
	}
	if method == "" {
		return client{}, refused("the authorization server knows none of the ways to prove a client that are known here")
	}
	want["token_endpoint_auth_method"] = method
	body, err := json.Marshal(want)
	if err != nil {
		return client{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.register, bytes.NewReader(body))
	if err != nil {
		return client{}, refused("registration_endpoint: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	res, err := s.others.Do(r)
	if err != nil {
		return client{}, unavailable(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return client{}, unavailable(err)
	}
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return client{}, unavailable(fmt.Errorf("the registration endpoint answered with status %d", res.StatusCode))
	case res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK:
		return client{}, refused("the authorization server refused to register the redirect URI %s (status %d): register this gateway there yourself, "+
			"and write client_id into servers.%s.credential", g.base+credential.GrantCallback, res.StatusCode, s.Name)
	}
	d, err := parse(text)
	if err != nil {
		return client{}, refused("the registration endpoint's answer: %w", err)
	}
	c := client{Method: method}
	var ok bool
	if c.ID, ok = d.text("client_id"); !ok || c.ID == "" {
		return client{}, refused("the registration endpoint gave no client_id")
	}
	c.Secret, _ = d.text("client_secret")
	if said, ok := d.text("token_endpoint_auth_method"); ok && said != "" {
		c.Method = said
	} else if c.Secret == "" && (method == methodBasic || method == methodPost) {
		c.Method = methodNone
	}
	switch {
	case c.Method == methodNone, c.Method == methodKey && method == methodKey:
		c.Secret = ""
	case (c.Method == methodBasic || c.Method == methodPost) && c.Secret != "":
	default:
		return client{}, refused("the registration endpoint gave a client that cannot prove itself")
	}
	if raw, ok := d.members.Get("client_secret_expires_at"); ok && c.Secret != "" {
		if at := seconds(raw); at > 0 {
			c.Expires = time.Unix(at, 0)
		}
	}
	return c, nil
}
