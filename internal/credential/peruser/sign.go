package peruser

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/keys"
)

// keyPurpose is the key by which the gateway proves that it is the client of
// its own metadata document.
const keyPurpose keys.Purpose = "upstream-client-key"

// signer signs client assertions (RFC 7523 2.2).
type signer struct {
	alg    jose.SignatureAlgorithm
	sign   jose.Signer
	public jose.JSONWebKey
}

// ringSigner derives the gateway's own ES256 key from its ring.
func ringSigner(ring keys.Ring) (*signer, error) {
	_, seed, err := ring.Subkey(keyPurpose)
	if err != nil {
		return nil, err
	}
	for {
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
		if err == nil {
			return newSigner(key)
		}
		seed = sha256.Sum256(seed[:]) // not below the order of the curve: one in 2^32
	}
}

// pemSigner takes the private key of a client that the operator registered.
func pemSigner(v secret.Value) (*signer, error) {
	block, _ := pem.Decode([]byte(v.Reveal()))
	if block == nil {
		return nil, errors.New("the secret is no PEM: write a private key as PKCS #8, BEGIN PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the secret is no private key in PKCS #8")
	}
	k, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key does not sign")
	}
	return newSigner(k)
}

func newSigner(key crypto.Signer) (*signer, error) {
	var alg jose.SignatureAlgorithm
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			alg = jose.ES256
		case elliptic.P384():
			alg = jose.ES384
		case elliptic.P521():
			alg = jose.ES512
		}
	case ed25519.PrivateKey:
		alg = jose.EdDSA
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			alg = jose.PS256
		}
	}
	if alg == "" {
		return nil, errors.New("the key must be P-256, P-384, P-521, Ed25519 or RSA of 2048 bits or more")
	}
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(alg), Use: "sig"}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &signer{alg, s, public}, nil
}

// fits reports that an authorization server takes the signer's algorithm, as
// far as it says.
func (s *signer) fits(algorithms []string) bool {
	return s != nil && (len(algorithms) == 0 || slices.Contains(algorithms, string(s.alg)))
}

// assertion proves a client to one authorization server for a minute.
func (s *signer) assertion(client, issuer string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": client, "sub": client, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}
	o, err := s.sign.Sign(claims)
	if err != nil {
		return "", err
	}
	return o.CompactSerialize()
}
