package jwt

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauth"
)

// FuzzVerify gives arbitrary texts, and arbitrary headers and claims under a
// good signature, to a verifier. What is accepted was signed by the issuer's key
// and says everything that a token has to say.
func FuzzVerify(f *testing.F) {
	p := inProcess(f)
	v := p.verifier(f)
	good := encode(f, p.good())
	h := encode(f, header())
	f.Add(sign(f, "RS256", rsaKeys().first, h, good), "", "")
	f.Add(sign(f, "RS256", rsaKeys().second, h, good), h, good)
	f.Add("a.b.c", `{"alg":"none"}`, good)
	f.Add("", `{"alg":"RS256","typ":"at+jwt","kid":"k1","crit":["x"]}`, `{"aud":["`+home+`"],"exp":1e3}`)
	f.Add("", h, strings.Replace(good, `"exp":`, `"exp":1,"exp":`, 1))
	f.Add("", strings.Replace(h, "RS256", "PS256", 1), good)
	f.Fuzz(func(t *testing.T, text, head, body string) {
		check(t, p, v, text)
		if len(head)+len(body) < 12<<10 {
			check(t, p, v, sign(t, "RS256", rsaKeys().first, head, body))
		}
	})
}

func check(t *testing.T, p *provider, v *Verifier, token string) {
	who, err := ask(v, home, token)
	again, err2 := ask(v, home, token)
	if (err == nil) != (err2 == nil) || err == nil && who.CacheKey() != again.CacheKey() {
		t.Fatalf("first %v, then %v", err, err2)
	}
	if err != nil {
		if who.Valid() {
			t.Fatal("a refusal with a principal")
		}
		return
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		t.Fatalf("accepted, and another reader cannot read it: %v", err)
	}
	payload, err := parsed.Verify(rsaKeys().first.Public())
	if err != nil {
		t.Fatalf("accepted without a signature: %v", err)
	}
	var c struct {
		Iss, Sub string
		Aud      any
		Exp, Iat float64
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatalf("accepted, and another reader cannot read it: %v", err)
	}
	now := float64(time.Now().Unix())
	if c.Iss != p.url || c.Sub == "" || c.Exp < now-61 || c.Exp-c.Iat > 5401 || c.Iat > now+61 {
		t.Fatalf("accepted: %s", payload)
	}
	id := who.Identity()
	if id.Subject != c.Sub || id.Issuer != c.Iss || id.Client == "" || id.Proof == "" || id.Expires == 0 || id.Kind != call.Person && id.Kind != call.Workload {
		t.Fatalf("%+v", id)
	}
}

// FuzzKeySet reads arbitrary key sets: what is used is a public key for
// signatures of a size that can be trusted.
func FuzzKeySet(f *testing.F) {
	p := inProcess(f)
	v := p.verifier(f)
	f.Add(encode(f, map[string]any{"keys": []any{jwk(f, "k1", rsaKeys().first.Public(), nil)}}))
	f.Add(`{"keys":[{"kty":"oct","k":"AA","kid":"k1"}]}`)
	f.Add(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		p.page("/fuzz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(doc)) })
		body, err := oauth.Fetch(t.Context(), v.issuers[p.url].keys.client, p.url+"/fuzz")
		if err != nil {
			return
		}
		list, _, err := v.issuers[p.url].readKeys(body)
		if err != nil && list != nil {
			t.Fatal("an error with keys")
		}
		for _, k := range list {
			fits := 0
			for _, alg := range allAlgorithms() {
				if k.fits(jose.SignatureAlgorithm(alg)) {
					fits++
				}
			}
			if r, ok := k.public.(*rsa.PublicKey); fits == 0 && k.alg == "" || fits > 6 || ok && r.N.BitLen() < minRSA {
				t.Fatalf("%T fits %d algorithms", k.public, fits)
			}
		}
	})
}

func BenchmarkCachedHit(b *testing.B) {
	p := inProcess(b)
	v := p.verifier(b)
	for _, others := range []int{0, 9_000} {
		for i := range others {
			var d [32]byte
			_, _ = rand.Read(d[:])
			v.cache.put(d, &entry{until: int64(1) << 40, size: i % 100}, 0)
		}
		b.Run(map[bool]string{true: "alone", false: "among 9000"}[others == 0], func(b *testing.B) {
			r := request(home, "Bearer "+p.token(b, nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authenticate(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkColdVerify(b *testing.B) {
	p := inProcess(b)
	v := p.verifier(b)
	token := p.token(b, nil)
	res := v.resources.Find(home)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.prove(b.Context(), time.Now(), res, "", token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefused(b *testing.B) {
	p := inProcess(b)
	v := p.verifier(b)
	token := p.token(b, nil)
	r := request(home, "Bearer "+token[:len(token)-2])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), r); err == nil {
			b.Fatal("accepted")
		}
	}
}
