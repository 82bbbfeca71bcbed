package app_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuerKeys are made once: RSA takes its time.
var issuerKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = k
	}
	return keys
})

// goldenIssuer is the identity provider of an archive: metadata, keys,
// introspection, and tokens that templates ask for.
type goldenIssuer struct {
	*httptest.Server
	inside   *httptest.Server // where no fetch may lead
	resource string
	keys     goldenKeys

	mu     sync.Mutex
	mode   string
	active map[string]map[string]any
	issued []string
	log    strings.Builder // what it was asked
	sent   int             // bytes of a key set without end
}

func newGoldenIssuer(t *testing.T) *goldenIssuer {
	t.Helper()
	i := &goldenIssuer{active: map[string]map[string]any{}, keys: goldenKeys{}}
	i.inside = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the inside was reached: %s", r.URL.Path)
	}))
	t.Cleanup(i.inside.Close)
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

// ServeHTTP implements http.Handler.
func (i *goldenIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fmt.Fprintf(&i.log, "%s %s\n", r.Method, r.URL.Path)
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case i.mode == "down":
		w.WriteHeader(http.StatusServiceUnavailable)
	case i.mode == "redirect" && strings.HasPrefix(r.URL.Path, "/.well-known/"):
		http.Redirect(w, r, i.inside.URL+"/meta", http.StatusFound)
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		answer(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "introspection_endpoint": i.URL + "/introspect"})
	case r.URL.Path == "/keys" && i.mode == "huge":
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for i.sent < 100<<20 {
			n, err := w.Write(chunk)
			if i.sent += n; err != nil {
				return
			}
		}
	case r.URL.Path == "/keys":
		n := 0
		if i.mode == "rotated" {
			n = 1
		}
		answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: issuerKeys()[n].Public(), KeyID: "k" + strconv.Itoa(n+1), Algorithm: "RS256", Use: "sig"}}})
	case r.URL.Path == "/introspect" && r.ParseForm() == nil:
		claims := i.active[r.PostForm.Get("token")]
		if claims == nil {
			claims = map[string]any{"active": false}
		}
		answer(claims)
	default:
		http.NotFound(w, r)
	}
}

// set plays "issuer MODE": up, down, rotated, redirect or huge.
func (i *goldenIssuer) set(mode string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch mode {
	case "up", "down", "rotated", "redirect", "huge":
		i.mode = mode
		return nil
	}
	return errors.New("an issuer is up, down, rotated, redirect or huge")
}

var template = regexp.MustCompile(`\{\{(token|logout|opaque|proof) ?([^{}]*)\}\}`)

// fill makes the tokens that a step asks for.
func (i *goldenIssuer) fill(text string) (string, error) {
	var bad error
	out := template.ReplaceAllStringFunc(text, func(s string) string {
		m := template.FindStringSubmatch(s)
		if m[1] == "proof" {
			proof, err := i.keys.proof(i.resource, m[2])
			bad = errors.Join(bad, err)
			return proof
		}
		token, err := i.token(m[1], m[2])
		bad = errors.Join(bad, err)
		return token
	})
	return out, bad
}

// token makes one of "name=value …": alg, kid, typ and key are of the header and
// the signature, jkt and x5t bind it to a client's key or a certificate,
// everything else is a claim. A time with a sign is from now on, and
// "absent" takes a claim away. An opaque token is active.
func (i *goldenIssuer) token(kind, args string) (string, error) {
	now := time.Now().Unix()
	claims := map[string]any{"iss": i.URL, "sub": "kim", "aud": i.resource, "client_id": "agent", "scope": "s:list s:read s:call", "iat": now, "exp": now + 600, "jti": rand.Text()}
	header := map[string]string{"alg": "RS256", "typ": "at+jwt", "kid": "k1"}
	if kind == "logout" {
		claims = map[string]any{"iss": i.URL, "aud": "gateway", "iat": now, "exp": now + 120, "jti": rand.Text(),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		header["typ"] = "logout+jwt"
	}
	key := 0
	for _, arg := range strings.Fields(args) {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return "", fmt.Errorf("%q is not name=value", arg)
		}
		value = strings.NewReplacer("+", " ").Replace(value)
		switch name {
		case "alg", "kid", "typ":
			header[name] = strings.ReplaceAll(value, " ", "+")
		case "key":
			key = map[string]int{"second": 1, "stranger": 2}[value]
		case "jkt":
			jkt, err := i.keys.thumbprint(value)
			if err != nil {
				return "", err
			}
			claims["cnf"] = map[string]string{"jkt": jkt}
		case "x5t":
			claims["cnf"] = map[string]string{"x5t#S256": value}
		case "exp", "iat", "nbf", "auth_time":
			seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if value == "absent" {
				delete(claims, name)
			} else if err != nil {
				return "", err
			} else {
				claims[name] = now + seconds
			}
		default:
			if claims[name] = value; value == "absent" {
				delete(claims, name)
			}
		}
	}
	out := rand.Text()
	if kind == "opaque" {
		claims["active"] = true
	} else {
		var err error
		if out, err = compact(header, claims, issuerKeys()[key]); err != nil {
			return "", err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued = append(i.issued, out)
	if kind == "opaque" {
		i.active[out] = claims
	}
	return out, nil
}

// named returns the tokens of named subjects.
func (i *goldenIssuer) named(t *testing.T) func(string) string {
	known := map[string]string{}
	return func(name string) string {
		if known[name] == "" {
			text, err := i.token("token", "sub="+name)
			if err != nil {
				t.Fatal(err)
			}
			known[name] = text
		}
		return known[name]
	}
}

// compact makes a JWS the way that its header asks for, also one that nobody
// should take.
func compact(header map[string]string, claims map[string]any, key *rsa.PrivateKey) (string, error) {
	h, err1 := json.Marshal(header)
	c, err2 := json.Marshal(claims)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64(h) + "." + b64(c)
	var sig []byte
	switch header["alg"] {
	case "none":
	case "HS256":
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(signed))
		sig = mac.Sum(nil)
	default:
		sum := sha256.Sum256([]byte(signed))
		var err error
		if sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]); err != nil {
			return "", err
		}
	}
	return signed + "." + b64(sig), nil
}

// leaked returns a piece of 16 bytes of a token that stands in b.
func (i *goldenIssuer) leaked(b []byte) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, token := range i.issued {
		for at := 0; at+16 <= len(token); at++ {
			if bytes.Contains(b, []byte(token[at:at+16])) {
				return token[at : at+16]
			}
		}
	}
	return ""
}

// asked is what the issuer was asked, in order.
func (i *goldenIssuer) asked() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sent > 64<<20 { // what lies in buffers of sockets is less
		fmt.Fprintf(&i.log, "%d bytes of a key set were taken\n", i.sent)
	}
	return i.log.String()
}
