package jwt

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// realm makes the issuer /realms/x of a provider.
func realm(t *testing.T, p *provider) (Options, string) {
	t.Helper()
	o := p.options(t)
	issuer := p.url + "/realms/x"
	o.Issuers = []Issuer{{Issuer: issuer}}
	return o, p.token(t, map[string]any{"iss": issuer})
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside was reached") }))
	t.Cleanup(inside.Close)
	const (
		first  = "/.well-known/oauth-authorization-server/realms/x"
		second = "/.well-known/openid-configuration/realms/x"
		third  = "/realms/x/.well-known/openid-configuration"
	)
	doc := func(p *provider, more map[string]any) map[string]any {
		return alter(map[string]any{"issuer": p.url + "/realms/x", "jwks_uri": p.url + "/jwks"}, more)
	}
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	tests := []struct {
		name  string
		setup func(*provider)
		want  error
	}{
		{"RFC 8414", func(p *provider) { p.json(first, doc(p, nil)) }, nil},
		{"OpenID, inserted", func(p *provider) { p.json(second, doc(p, nil)) }, nil},
		{"OpenID, appended", func(p *provider) { p.json(third, doc(p, nil)) }, nil},
		{"a wrong one before a right one", func(p *provider) {
			p.json(first, doc(p, map[string]any{"issuer": p.url, "jwks_uri": p.url + "/wrong"}))
			p.json(third, doc(p, nil))
		}, nil},
		{"nothing", func(*provider) {}, ErrProvider},
		{"another issuer", func(p *provider) { p.json(first, doc(p, map[string]any{"issuer": "https://honest.example"})) }, ErrProvider},
		{"issuer with a slash", func(p *provider) { p.json(first, doc(p, map[string]any{"issuer": p.url + "/realms/x/"})) }, ErrProvider},
		{"no issuer", func(p *provider) { p.json(first, doc(p, map[string]any{"issuer": nil})) }, ErrProvider},
		{"no keys", func(p *provider) { p.json(first, doc(p, map[string]any{"jwks_uri": nil})) }, ErrProvider},
		{"plain keys", func(p *provider) { p.json(first, doc(p, map[string]any{"jwks_uri": "http://127.0.0.1:1/jwks"})) }, ErrProvider},
		{"keys inside", func(p *provider) { p.json(first, doc(p, map[string]any{"jwks_uri": inside.URL + "/jwks"})) }, ErrProvider},
		{"keys at the metadata address", func(p *provider) {
			p.json(first, doc(p, map[string]any{"jwks_uri": "https://169.254.169.254/latest/meta-data"}))
		}, ErrProvider},
		{"two issuers in one", func(p *provider) {
			p.page(first, raw(`{"issuer":"x","issuer":"`+p.url+`/realms/x","jwks_uri":"`+p.url+`/jwks"}`))
		}, ErrProvider},
		{"redirect inside", func(p *provider) {
			for _, at := range []string{first, second, third} {
				p.page(at, http.RedirectHandler(inside.URL, http.StatusFound).ServeHTTP)
			}
		}, ErrProvider},
		{"redirect to itself", func(p *provider) {
			p.page(first, http.RedirectHandler("/meta", http.StatusFound).ServeHTTP)
			p.json("/meta", doc(p, nil))
		}, ErrProvider},
		{"keys redirect inside", func(p *provider) {
			p.json(first, doc(p, nil))
			p.page("/jwks", http.RedirectHandler(inside.URL, http.StatusFound).ServeHTTP)
		}, ErrProvider},
		{"an error with a good document", func(p *provider) {
			p.page(first, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.url+"/realms/x", p.url+"/jwks")
			})
		}, ErrProvider},
		{"an array", func(p *provider) { p.page(first, raw(`[]`)) }, ErrProvider},
		{"a page", func(p *provider) { p.page(first, raw(`<html>`)) }, ErrProvider},
		{"keys are no array", func(p *provider) { p.json(first, doc(p, nil)); p.page("/jwks", raw(`{"keys":{}}`)) }, ErrProvider},
		{"keys are missing", func(p *provider) { p.json(first, doc(p, nil)); p.page("/jwks", raw(`{}`)) }, ErrProvider},
		{"100 MB of keys", func(p *provider) {
			p.json(first, doc(p, nil))
			p.page("/jwks", func(w http.ResponseWriter, _ *http.Request) {
				chunk := []byte(strings.Repeat(" ", 1<<20))
				for range 100 {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
				t.Error("100 MB were read")
			})
		}, ErrProvider},
		{"10,000 keys", func(p *provider) {
			p.json(first, doc(p, nil))
			p.page("/jwks", raw(`{"keys":[`+strings.Repeat(`{"kty":"EC"},`, 9999)+`{"kty":"EC"}]}`))
		}, ErrProvider},
		{"101 keys", func(p *provider) {
			p.json(first, doc(p, nil))
			list := slices.Repeat([]map[string]any{{"kty": "EC"}}, 100)
			p.publish(append(list, jwk(t, "k1", rsaKeys().first.Public(), nil))...)
		}, ErrProvider},
		{"no keys in the set", func(p *provider) { p.json(first, doc(p, nil)); p.publish() }, ErrKey},
	}
	for _, tt := range tests {
		p := newProvider(t)
		o, token := realm(t, p)
		tt.setup(p)
		v := verifier(t, o)
		if _, err := ask(v, home, token); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err := v.Ready(t.Context()); (err == nil) != (tt.want != ErrProvider) {
			t.Errorf("%s: ready: %v", tt.name, err)
		}
	}
}

func TestAGivenKeySetTurnsDiscoveryOff(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.page("/.well-known/oauth-authorization-server", func(http.ResponseWriter, *http.Request) { t.Error("asked for metadata") })
	o := p.options(t)
	o.Issuers[0].JWKSURI = p.url + "/jwks"
	if _, err := ask(verifier(t, o), home, p.token(t, nil)); err != nil {
		t.Error(err)
	}
}

func TestKeysThatAreNotUsed(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this Go makes no 1024-bit key to try: ", err)
	}
	good := rsaKeys().first
	private := jwk(t, "k1", good, nil)
	other := rsaKeys().second.Public()
	tests := map[string][]map[string]any{
		"for encryption":         {jwk(t, "k1", good.Public(), map[string]any{"use": "enc"})},
		"not for verifying":      {jwk(t, "k1", good.Public(), map[string]any{"key_ops": []string{"encrypt"}})},
		"for another algorithm":  {jwk(t, "k1", good.Public(), map[string]any{"alg": "PS256"})},
		"for an unknown one":     {jwk(t, "k1", good.Public(), map[string]any{"alg": "RS1"})},
		"for a symmetric one":    {jwk(t, "k1", good.Public(), map[string]any{"alg": "HS256"})},
		"with its private part":  {private},
		"of a type not known":    {jwk(t, "k1", good.Public(), map[string]any{"kty": "rsa"})},
		"with a number as kid":   {jwk(t, "k1", good.Public(), map[string]any{"kid": 1})},
		"with exponent 3":        {jwk(t, "k1", &rsa.PublicKey{N: good.N, E: 3}, nil)},
		"two under one kid":      {jwk(t, "k1", good.Public(), nil), jwk(t, "k1", other, nil)},
		"of another kid":         {jwk(t, "k2", good.Public(), nil)},
		"symmetric":              {{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}},
		"an X25519 key":          {{"kty": "OKP", "crv": "X25519", "kid": "k1", "x": strings.Repeat("A", 43)}},
		"a point off the curve":  {{"kty": "EC", "crv": "P-256", "kid": "k1", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}},
		"an unknown curve":       {{"kty": "EC", "crv": "secp256k1", "kid": "k1", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}},
		"an elliptic one of P-1": {jwk(t, "k1", ec(t, elliptic.P256()).Public(), nil)},
	}
	for name, list := range tests {
		p.publish(list...)
		if _, err := ask(p.verifier(t), home, p.token(t, nil)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.publish(jwk(t, "k1", small.Public(), nil))
	weak := sign(t, "RS256", small, encode(t, header()), encode(t, p.good()))
	if _, err := ask(p.verifier(t), home, weak); !errors.Is(err, ErrKey) {
		t.Errorf("1024 bits: %v", err)
	}
	for name, list := range map[string][]map[string]any{
		"beside many that are not used": {{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}, {"kty": "??"}, {}, jwk(t, "k1", good.Public(), nil)},
		"beside another type":           {jwk(t, "k1", ec(t, elliptic.P256()).Public(), nil), jwk(t, "k1", good.Public(), nil)},
		"twice the same":                {jwk(t, "k1", good.Public(), nil), jwk(t, "k1", good.Public(), nil)},
		"with certificates of nobody":   {jwk(t, "k1", good.Public(), map[string]any{"x5c": []string{"bm90IGEgY2VydA=="}, "x5t": "?", "x5u": "https://evil.example"})},
		"for its algorithm and more":    {jwk(t, "k1", good.Public(), map[string]any{"alg": "RS256", "use": "sig", "key_ops": []string{"verify"}, "issuer": "x"})},
	} {
		p.publish(list...)
		if _, err := ask(p.verifier(t), home, p.token(t, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoKidMeansOneKey(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	token := p.with(t, alter(header(), map[string]any{"kid": nil}), nil)
	if _, err := ask(p.verifier(t), home, token); err != nil {
		t.Error(err)
	}
	p.publish(jwk(t, "k1", rsaKeys().first.Public(), nil), jwk(t, "k2", rsaKeys().second.Public(), nil))
	if _, err := ask(p.verifier(t), home, token); !errors.Is(err, ErrKey) {
		t.Errorf("two keys: %v", err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		v := p.verifier(t)
		old := p.token(t, nil)
		if _, err := ask(v, home, old); err != nil {
			t.Fatal(err)
		}
		p.publish(jwk(t, "k2", rsaKeys().second.Public(), nil))
		fresh := sign(t, "RS256", rsaKeys().second, encode(t, alter(header(), map[string]any{"kid": "k2"})), encode(t, p.good()))
		if _, err := ask(v, home, fresh); !errors.Is(err, ErrKey) {
			t.Errorf("fetched twice within 30 seconds: %v", err)
		}
		time.Sleep(RefetchEvery)
		if _, err := ask(v, home, fresh); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		if _, err := ask(v, home, old); !errors.Is(err, ErrKey) {
			t.Errorf("a remembered token whose key was withdrawn: %v", err)
		}
		if n := p.count("/jwks"); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestAWithdrawnKeyIsNoticedWithoutAFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		v := p.verifier(t)
		token := p.token(t, map[string]any{"exp": time.Now().Unix() + 3600})
		if _, err := ask(v, home, token); err != nil {
			t.Fatal(err)
		}
		p.publish(jwk(t, "k2", rsaKeys().second.Public(), nil))
		time.Sleep(RefreshAfter)
		if _, err := ask(v, home, token); err != nil {
			t.Errorf("nobody waits for a refresh: %v", err)
		}
		synctest.Wait()
		if _, err := ask(v, home, token); !errors.Is(err, ErrKey) {
			t.Errorf("after the refresh: %v", err)
		}
		p.publish(jwk(t, "k1", rsaKeys().first.Public(), nil))
		time.Sleep(RefetchEvery)
		if _, err := ask(v, home, token); err != nil {
			t.Errorf("the key is back: %v", err)
		}
	})
}

func TestStrangersCauseNoFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		v := p.verifier(t)
		good := p.token(t, nil)
		parts := strings.Split(good, ".")
		for minute := range 10 {
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					h := b64(fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt","kid":"%d-%d"}`, minute, i))
					if _, err := ask(v, home, h+"."+parts[1]+"."+parts[2]); !errors.Is(err, ErrKey) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			time.Sleep(6 * time.Second)
		}
		if n := p.count("/jwks"); n > 3 {
			t.Errorf("1000 strangers in a minute caused %d fetches", n)
		}
	})
}

func TestProviderDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		log := &locked{}
		o := p.options(t)
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		v := verifier(t, o)
		p.page("/jwks", down)
		for range 50 {
			if _, err := ask(v, home, p.token(t, nil)); !errors.Is(err, ErrProvider) {
				t.Fatalf("without keys: %v", err)
			}
		}
		if n := p.count("/jwks"); n != 1 {
			t.Errorf("%d fetches while it is down", n)
		}
		if !strings.Contains(log.String(), "status 503") {
			t.Errorf("log: %s", log)
		}
		p.publish(jwk(t, "k1", rsaKeys().first.Public(), nil))
		time.Sleep(RetryEvery)
		if _, err := ask(v, home, p.token(t, nil)); err != nil {
			t.Fatalf("it is back: %v", err)
		}

		p.page("/jwks", down)
		time.Sleep(StaleAfter - time.Minute)
		fresh := p.token(t, nil)
		if _, err := ask(v, home, fresh); err != nil {
			t.Errorf("keys of 24 hours less a minute: %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		for range 2 {
			if _, err := ask(v, home, fresh); !errors.Is(err, ErrProvider) {
				t.Errorf("a remembered token and keys of 24 hours: %v", err)
			}
			synctest.Wait()
		}
		p.publish(jwk(t, "k1", rsaKeys().first.Public(), nil))
		time.Sleep(RefetchEvery)
		if _, err := ask(v, home, p.token(t, nil)); err != nil {
			t.Errorf("it is back again: %v", err)
		}
	})
}

func TestAWaitingCallerCanLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		open := make(chan struct{})
		answer := p.pages["/jwks"]
		p.page("/jwks", func(w http.ResponseWriter, r *http.Request) { <-open; answer(w, r) })
		v := p.verifier(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Authenticate(ctx, request(home, "Bearer "+p.token(t, nil))); !errors.Is(err, ErrProvider) {
			t.Errorf("%v", err)
		}
		close(open)
		synctest.Wait()
		if _, err := ask(v, home, p.token(t, nil)); err != nil {
			t.Errorf("the fetch went on without its caller: %v", err)
		}
		if n := p.count("/jwks"); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestExpiryOfARememberedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inProcess(t)
		v := p.verifier(t)
		token := p.token(t, nil)
		who, err := ask(v, home, token)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(359 * time.Second)
		if _, err := ask(v, home, token); err != nil || !v.Current(who) {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := ask(v, home, token); !errors.Is(err, ErrExpired) || v.Current(who) {
			t.Errorf("at its end: %v", err)
		}
	})
}

func TestAReloadKeepsTheKeys(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	o := p.options(t)
	first := verifier(t, o)
	if err := first.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.server.Close()
	o.Keep = first
	if _, err := ask(verifier(t, o), home, p.token(t, nil)); err != nil {
		t.Errorf("same issuer: %v", err)
	}
	o.Issuers = []Issuer{{Issuer: p.url, JWKSURI: p.url + "/elsewhere"}}
	if _, err := ask(verifier(t, o), home, p.token(t, nil)); !errors.Is(err, ErrProvider) {
		t.Errorf("another key set: %v", err)
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	o := p.options(t)
	o.CacheEntries = 8
	var revoked atomic.Bool
	o.Revoked = func(proof string) bool { return revoked.Load() && proof == Proof(p.url, "t3") }
	v := verifier(t, o)
	var tokens []string
	for i := range 20 {
		tokens = append(tokens, p.token(t, map[string]any{"jti": fmt.Sprint("t", i), "sub": fmt.Sprint("user", i)}))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 200 {
				i := (n*7 + w) % len(tokens)
				who, err := ask(v, home, tokens[i])
				if errors.Is(err, ErrRevoked) && i == 3 {
					continue
				}
				if err != nil || who.Identity().Subject != fmt.Sprint("user", i) {
					t.Errorf("%d: %v %v", i, who, err)
				}
				if n == 100 {
					revoked.Store(true)
				}
				v.Current(who)
				if n%50 == 0 {
					is := v.issuers[p.url]
					cur := is.keys.current.Load()
					is.keys.replace(slices.Clone(cur.keys))
				}
			}
		})
	}
	wg.Wait()
	if _, err := ask(v, home, tokens[3]); !errors.Is(err, ErrRevoked) {
		t.Errorf("%v", err)
	}
}
