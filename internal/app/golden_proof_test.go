package app_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// goldenKeys are the keys of an archive's clients, by name.
type goldenKeys map[string]*ecdsa.PrivateKey

func (k goldenKeys) of(name string) (*ecdsa.PrivateKey, error) {
	if k[name] == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		k[name] = made
	}
	return k[name], nil
}

// thumbprint is the jkt of a key.
func (k goldenKeys) thumbprint(name string) (string, error) {
	key, err := k.of(name)
	if err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// proof makes a DPoP proof of "name=value …": key names the client's key, token
// what it is for, alg, typ and jwk (public, private, absent) change the header,
// everything else is a claim, as in tokens.
func (k goldenKeys) proof(url, args string) (string, error) {
	now := time.Now().Unix()
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": url, "iat": now}
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256"}
	name, jwk := "own", "public"
	for _, arg := range strings.Fields(args) {
		what, value, ok := strings.Cut(arg, "=")
		if !ok {
			return "", fmt.Errorf("%q is not name=value", arg)
		}
		switch what {
		case "key":
			name = value
		case "jwk":
			jwk = value
		case "alg", "typ":
			header[what] = value
		case "token":
			sum := sha256.Sum256([]byte(value))
			claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
		case "iat":
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return "", err
			}
			claims["iat"] = now + seconds
		default:
			if claims[what] = value; value == "absent" {
				delete(claims, what)
			}
		}
	}
	key, err := k.of(name)
	if err != nil {
		return "", err
	}
	switch jwk {
	case "public":
		header["jwk"] = jose.JSONWebKey{Key: key.Public()}
	case "private":
		header["jwk"] = jose.JSONWebKey{Key: key}
	}
	h, err1 := json.Marshal(header)
	c, err2 := json.Marshal(claims)
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64(h) + "." + b64(c)
	sum := sha256.Sum256([]byte(signed))
	r, s, err3 := ecdsa.Sign(rand.Reader, key, sum[:])
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", err
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}
