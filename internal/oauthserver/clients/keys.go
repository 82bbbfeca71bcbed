package clients

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// checkKeys holds a key set (RFC 7517 5) against the rule for clients: public
// keys for signatures only, of kinds and sizes that we verify. It returns the
// set as it is written again, so that nobody reads another one.
func checkKeys(raw []byte) ([]byte, error) {
	if err := strictjson.Validate(raw, strictjson.Limits{Bytes: MaxBytes, Depth: 8, Members: 1000}); err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("it is no key set")
	}
	if len(set.Keys) == 0 || len(set.Keys) > maxKeys {
		return nil, errors.New("a key set has one to eight keys")
	}
	seen := map[string]bool{}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			return nil, errors.New("it holds a key that is private, shared or malformed: publish public keys only, and throw this one away")
		}
		if k.Use != "" && k.Use != "sig" {
			return nil, errors.New("a key is for encryption; use is sig")
		}
		if seen[k.KeyID] && k.KeyID != "" {
			return nil, errors.New("two keys have one kid")
		}
		seen[k.KeyID] = true
		switch p := k.Key.(type) {
		case *rsa.PublicKey:
			if n := p.N.BitLen(); n < 2048 || n > 8192 {
				return nil, errors.New("an RSA key has 2048 to 8192 bits")
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			return nil, errors.New("a key is neither RSA, elliptic curve nor Ed25519")
		}
	}
	return json.Marshal(set)
}
