package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/base/secret"
)

// Method is how a client authenticates at a token endpoint (RFC 6749 2.3, RFC
// 7523 2.2). The zero Method is refused.
type Method string

// The methods.
const (
	MethodNone       Method = "none" // a public client names itself, or nobody does
	MethodBasic      Method = "client_secret_basic"
	MethodPost       Method = "client_secret_post"
	MethodPrivateKey Method = "private_key_jwt"
	// MethodAssertion presents a JWT that somebody else made for this workload: a
	// projected service account token, a JWT-SVID.
	MethodAssertion Method = "assertion"
)

// Authentication is how the gateway proves itself to an authorization server.
type Authentication struct {
	Method   Method
	ClientID string
	// Secret returns the client's secret, its private key (PEM or a JWK), or the
	// assertion. It is asked each time, so that what changed is used.
	Secret func(context.Context) (secret.Value, error)
	// Algorithm, KeyID and Audience shape the JWT of private_key_jwt. Empty: by
	// the key; the JWK's, else its thumbprint; the issuer.
	Algorithm, KeyID, Audience string
}

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife = time.Minute
	leastRSA      = 2048
)

func (a Authentication) check(issuer string) error {
	switch a.Method {
	case MethodNone:
		return nil
	case MethodBasic, MethodPost, MethodPrivateKey, MethodAssertion:
	default:
		return fmt.Errorf("%q is no way to authenticate at a token endpoint", a.Method)
	}
	if a.Secret == nil {
		return errors.New("the client's secret, key or assertion is missing")
	}
	if a.ClientID == "" && a.Method != MethodAssertion {
		return errors.New("the client's name at the authorization server (client_id) is missing")
	}
	if a.Method == MethodPrivateKey && issuer == "" && a.Audience == "" {
		return errors.New("a signed assertion names the issuer as its audience: name the issuer too")
	}
	return nil
}

// add puts the proof into a token request.
func (a Authentication) add(ctx context.Context, form url.Values, h http.Header, issuer string) error {
	if a.Method == MethodNone {
		if a.ClientID != "" {
			form.Set("client_id", a.ClientID)
		}
		return nil
	}
	v, err := a.Secret(ctx)
	if err != nil {
		return err
	}
	switch a.Method {
	case MethodBasic:
		// RFC 6749 2.3.1: both parts are form-encoded first.
		pair := url.QueryEscape(a.ClientID) + ":" + url.QueryEscape(v.Reveal())
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		return nil
	case MethodPost:
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", v.Reveal())
		return nil
	case MethodAssertion:
		t := strings.TrimSpace(v.Reveal())
		if !plain(t) || len(t) > maxToken {
			return errors.New("the client's assertion is no token: look at what writes it")
		}
		if a.ClientID != "" {
			form.Set("client_id", a.ClientID)
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", t)
		return nil
	}
	jwt, err := a.sign(v, issuer)
	if err != nil {
		return err
	}
	form.Set("client_id", a.ClientID)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", jwt)
	return nil
}

// sign makes the assertion of private_key_jwt: one audience, the issuer, and an
// explicit type (draft-ietf-oauth-rfc7523bis), so that no other server and no
// other purpose can use it.
func (a Authentication) sign(key secret.Value, issuer string) (string, error) {
	k, kid, err := ParsePrivateKey([]byte(key.Reveal()))
	if err != nil {
		return "", err
	}
	alg, err := algorithmOf(k, a.Algorithm)
	if err != nil {
		return "", err
	}
	if a.KeyID != "" {
		kid = a.KeyID
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("client-authentication+jwt"))
	if err != nil {
		return "", errors.New("the client's key cannot sign")
	}
	audience := a.Audience
	if audience == "" {
		audience = issuer
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": a.ClientID, "sub": a.ClientID, "aud": audience,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(), "jti": rand.Text()})
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", errors.New("the client's key cannot sign")
	}
	return jws.CompactSerialize()
}

// ParsePrivateKey reads a private key as PEM (PKCS #8, PKCS #1, SEC 1) or as a
// JWK, and the key ID that the JWK or else its thumbprint (RFC 7638) gives. The
// error shows nothing of the key.
func ParsePrivateKey(text []byte) (crypto.Signer, string, error) {
	var key any
	kid := ""
	if block, _ := pem.Decode(text); block != nil {
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			err = errors.New("another type")
		}
		if err != nil {
			return nil, "", errors.New("the client's key is no private key in PEM form: write PKCS #8, without a passphrase")
		}
	} else {
		var j jose.JSONWebKey
		if err := j.UnmarshalJSON(text); err != nil || j.IsPublic() {
			return nil, "", errors.New("the client's key is neither a private key in PEM form nor a private JWK")
		}
		key, kid = j.Key, j.KeyID
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, "", errors.New("the client's key cannot sign: use RSA, P-256, P-384, P-521 or Ed25519")
	}
	if r, ok := s.(*rsa.PrivateKey); ok && r.N.BitLen() < leastRSA {
		return nil, "", fmt.Errorf("the client's RSA key is shorter than %d bits: make a new one", leastRSA)
	}
	if kid == "" {
		sum, err := (&jose.JSONWebKey{Key: s.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, "", errors.New("the client's key cannot sign: use RSA, P-256, P-384, P-521 or Ed25519")
		}
		kid = base64.RawURLEncoding.EncodeToString(sum)
	}
	return s, kid, nil
}

// algorithmOf returns the wanted algorithm if the key can do it, or the usual
// one of the key.
func algorithmOf(k crypto.Signer, want string) (jose.SignatureAlgorithm, error) {
	var can []jose.SignatureAlgorithm
	switch p := k.Public().(type) {
	case *rsa.PublicKey:
		can = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.RS384, jose.RS512, jose.PS384, jose.PS512}
	case *ecdsa.PublicKey:
		switch p.Curve.Params().BitSize {
		case 256:
			can = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			can = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			can = []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		can = []jose.SignatureAlgorithm{jose.EdDSA}
	}
	switch {
	case len(can) == 0:
		return "", errors.New("the client's key cannot sign: use RSA, P-256, P-384, P-521 or Ed25519")
	case want == "":
		return can[0], nil
	case slices.Contains(can, jose.SignatureAlgorithm(want)):
		return jose.SignatureAlgorithm(want), nil
	}
	return "", fmt.Errorf("the client's key cannot sign with %s", want)
}
