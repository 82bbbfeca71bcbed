package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/guard/all"
)

// tokenLife is just short of what the gateway accepts by default.
const tokenLife = 85 * time.Minute

// permitAll is the policy of the gateways that have one.
const permitAll = "permit (principal, action, resource);\n"

// callers says who may call a gateway that is measured: with the zero value
// everybody, and without a policy.
type callers struct {
	// policy has every call decided by a policy that permits all.
	policy bool
	// issuer vouches for callers; it needs policy.
	issuer *issuer
	// guards run as they do by default; without, only schema does where there is a policy, and none where not, so
	// that what the gate costs and what judging content costs are two figures.
	guards bool
}

// config is the part of a gateway's config about its callers. The policy is
// written to folder.
func (c callers) config(folder, listen string) (string, error) {
	text := "identity: { insecure_anonymous: true }\n"
	if c.issuer != nil {
		text = "public_url: http://" + listen + "\nidentity: { issuers: [{ issuer: \"" + c.issuer.url + "\" }] }\negress: { allow: [\"" + c.issuer.host + "\"] }\ndefinitions: { first_sight: clean }\n"
	}
	text += c.guardsText()
	if !c.policy {
		return text, nil
	}
	return text + "policy: [policy.cedar]\n", os.WriteFile(filepath.Join(folder, "policy.cedar"), []byte(permitAll), 0o600)
}

// guardsText turns off what is not to be measured.
func (c callers) guardsText() string {
	if c.guards {
		return ""
	}
	var off []string
	for _, g := range all.Guards(all.Settings{}) {
		if name := g.Spec().Name; name != "schema" || !c.policy {
			off = append(off, name+": { mode: off }")
		}
	}
	return "guards: { " + strings.Join(off, ", ") + " }\n"
}

// headers are what a caller of a resource sends besides.
func (c callers) headers(resource string) ([]string, error) {
	if c.issuer == nil {
		return nil, nil
	}
	t, err := c.issuer.token(resource)
	return []string{"Authorization: Bearer " + t}, err
}

// issuer is an identity provider in this process: its metadata, its key and
// tokens signed by RS256, as most providers sign.
type issuer struct {
	url, host string
	key       *rsa.PrivateKey
	server    *http.Server
}

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &issuer{url: "http://" + l.Addr().String(), host: l.Addr().String(), key: key}
	mux := http.NewServeMux()
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux.HandleFunc("/.well-known/oauth-authorization-server", answer(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"}))
	mux.HandleFunc("/keys", answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}}))
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = i.server.Serve(l) }()
	return i, nil
}

// token is an access token for a resource (RFC 9068).
func (i *issuer) token(resource string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": i.url, "sub": "caller", "aud": resource, "client_id": "bench", "scope": "echo:list echo:read echo:call",
		"iat": now.Unix(), "exp": now.Add(tokenLife).Unix(), "jti": rand.Text()})
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (i *issuer) close() error { return i.server.Close() }
