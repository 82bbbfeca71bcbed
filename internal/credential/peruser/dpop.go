package peruser

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/credential"
)

// proofKey is the key that one grant's tokens are bound to (RFC 9449): ES256,
// made for that grant, and kept sealed with it.
type proofKey struct {
	raw    []byte
	sign   jose.Signer
	thumb  string
	public jose.JSONWebKey
}

const algorithmOfProofs = string(jose.ES256)

func newProofKey() (*proofKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	raw, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	return readProofKey(raw)
}

// readProofKey takes what proofKey.raw is. Nothing is no key.
func readProofKey(raw []byte) (*proofKey, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, err
	}
	k := &proofKey{raw: raw, public: jose.JSONWebKey{Key: key.Public()}}
	thumb, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k.thumb = base64.RawURLEncoding.EncodeToString(thumb)
	k.sign, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	return k, err
}

// proof is a new proof for one request. token is empty at a token endpoint.
func (k *proofKey) proof(method string, at *url.URL, token, nonce string) (string, error) {
	htu := url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path, RawPath: at.RawPath}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": htu.String(), "iat": time.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	o, err := k.sign.Sign(text)
	if err != nil {
		return "", err
	}
	return o.CompactSerialize()
}

// nonces are the last ones that servers and authorization servers gave.
type nonces struct {
	mu sync.Mutex
	of map[string]string
}

const maxNonce = 1024

func (n *nonces) get(who string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[who]
}

// put reports whether a nonce is another one than before.
func (n *nonces) put(who, nonce string) bool {
	if nonce == "" || len(nonce) > maxNonce || strings.ContainsFunc(nonce, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of[who] == nonce {
		return false
	}
	if len(n.of) >= cacheEntries {
		clear(n.of)
	}
	n.of[who] = nonce
	return true
}

func atServer(s *server) string     { return "server " + s.Name + " " + s.URL }
func atIssuer(issuer string) string { return "issuer " + issuer }

// errChanged: the token was replaced between being given and being proved.
var errChanged = errors.New("the token was renewed at the same moment")

// Prove implements credential.Prover for tokens that are bound to a key.
func (c *source) Prove(_ context.Context, s credential.Subject, method string, h http.Header) error {
	token, ok := strings.CutPrefix(h.Get("Authorization"), schemeDPoP)
	if !ok {
		return nil
	}
	e := c.g.shared.entry(grantKey(ownerOf(s.Principal), c.s.Name))
	e.mu.Lock()
	key, same := e.key, e.token.Reveal() == token
	e.mu.Unlock()
	if key == nil || !same {
		return unavailable(errChanged)
	}
	proof, err := key.proof(method, c.s.url, token, c.g.shared.nonces.get(atServer(c.s)))
	if err != nil {
		return err
	}
	h.Set("DPoP", proof)
	return nil
}
