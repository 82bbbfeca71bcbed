package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

const (
	home  = "https://gw.example/mcp/files"
	token = "the-access-token"
)

// maker makes proofs with one key.
type maker struct {
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newMaker(t testing.TB) maker {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return maker{jose.ES256, k}
}

var bigKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	a, err1 := rsa.GenerateKey(rand.Reader, 2048)
	b, err2 := rsa.GenerateKey(rand.Reader, 1024)
	if err1 != nil || err2 != nil {
		panic("no keys")
	}
	return [2]*rsa.PrivateKey{a, b}
})

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// jwk is the public key as a header carries it.
func (m maker) jwk(t testing.TB) map[string]any {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: m.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (m maker) thumbprint(t testing.TB) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: m.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proof makes a good proof but for what head and body change; nil removes.
func (m maker) proof(t testing.TB, head, body map[string]any) string {
	t.Helper()
	h := map[string]any{"typ": "dpop+jwt", "alg": string(m.alg), "jwk": m.jwk(t)}
	c := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": home, "iat": time.Now().Unix(), "ath": hashOf(token)}
	return m.sign(t, encode(t, change(h, head)), encode(t, change(c, body)))
}

func change(m, by map[string]any) map[string]any {
	maps.Copy(m, by)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sign signs arbitrary texts as the header and the claims.
func (m maker) sign(t testing.TB, head, body string) string {
	t.Helper()
	input := b64(head) + "." + b64(body)
	var sig []byte
	var err error
	hash := map[jose.SignatureAlgorithm]crypto.Hash{jose.ES256: crypto.SHA256, jose.ES384: crypto.SHA384, jose.ES512: crypto.SHA512,
		jose.RS256: crypto.SHA256, jose.RS384: crypto.SHA384, jose.RS512: crypto.SHA512,
		jose.PS256: crypto.SHA256, jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512}[m.alg]
	var sum []byte
	if hash != 0 {
		h := hash.New()
		h.Write([]byte(input))
		sum = h.Sum(nil)
	}
	switch k := m.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			t.Fatal(err)
		}
		size := (k.Params().BitSize + 7) / 8
		sig = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		if m.alg[0] == 'P' {
			sig, err = rsa.SignPSS(rand.Reader, k, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, hash, sum)
		}
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(input))
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(string(sig))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func request(proofs ...string) authn.Request {
	h := http.Header{}
	if proofs != nil {
		h["Dpop"] = proofs
	}
	return authn.Request{Method: http.MethodPost, Header: h, Resource: home, Reply: http.Header{}}
}

func bucket(t testing.TB, file string) store.KV {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := s.Bucket("dpop")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ring(t testing.TB) keys.Ring {
	t.Helper()
	r, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func checker(t testing.TB, edit func(*Options)) *Checker {
	t.Helper()
	o := Options{Used: bucket(t, filepath.Join(t.TempDir(), "s.db"))}
	if edit != nil {
		edit(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// read is what another reader sees in a proof's claims.
type read struct {
	JTI, HTM, HTU, ATH string
	IAT                float64
}

func readClaims(t testing.TB, b []byte) (c read) {
	t.Helper()
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
