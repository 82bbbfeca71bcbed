package peruser

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/credential"
)

// checker judges proofs as RFC 9449 4.3 says.
type checker struct {
	nonce string // wanted; empty wants none
	seen  map[string]bool
	asked int // how often a nonce was asked for
}

// judge returns the thumbprint of the key, or why the proof is none.
func (c *checker) judge(h http.Header, method, at, token string) (jkt, why string) {
	if len(h.Values("DPoP")) != 1 {
		return "", "not one proof"
	}
	o, err := jose.ParseSignedCompact(h.Get("DPoP"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err.Error()
	}
	p := o.Signatures[0].Protected
	if p.ExtraHeaders["typ"] != "dpop+jwt" || p.JSONWebKey == nil || !p.JSONWebKey.IsPublic() {
		return "", "header"
	}
	b, err := o.Verify(p.JSONWebKey)
	if err != nil {
		return "", err.Error()
	}
	var m struct{ Jti, Htm, Htu, Ath, Nonce string }
	if err := json.Unmarshal(b, &m); err != nil {
		return "", err.Error()
	}
	sum := sha256.Sum256([]byte(token))
	switch {
	case m.Htm != method || m.Htu != at:
		return "", "for " + m.Htm + " " + m.Htu
	case token != "" && m.Ath != base64.RawURLEncoding.EncodeToString(sum[:]), token == "" && m.Ath != "":
		return "", "for another token"
	case m.Jti == "" || c.seen[m.Jti]:
		return "", "replayed"
	case c.nonce != "" && m.Nonce != c.nonce:
		c.asked++
		return "", "use_dpop_nonce"
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[m.Jti] = true
	thumb, err := p.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err.Error()
	}
	return base64.RawURLEncoding.EncodeToString(thumb), ""
}

// Tokens of an authorization server that binds them are sent with a proof for
// each request, by a key of one grant only, through nonces, refreshes and
// restarts.
func TestBoundTokens(t *testing.T) {
	t.Parallel()
	for _, nonces := range []bool{false, true} {
		w := newWorld(t)
		p := newProvider(w)
		p.set("dpop_signing_alg_values_supported", []string{"RS256", "ES256"})
		p.proofs = &checker{}
		s := newUpstream(w, "one", p)
		s.proofs = &checker{}
		if nonces {
			p.proofs.nonce, s.proofs.nonce = "of-the-provider", "of-the-server"
		}
		g := w.build()
		ana, ben := person("ana", "editor"), person("ben", "editor")
		w.grant(g, "one", p, ana)
		w.grant(g, "one", p, ben)
		for range 3 {
			w.mustCall(g, "one", ana)
			w.mustCall(g, "one", ben)
		}
		w.mustCall(w.build(), "one", ana) // by the refresh token, with the same key
		keys := map[string]bool{}
		p.read(func() {
			for tok, jkt := range p.bound {
				if !strings.Contains(tok, "access") || jkt == "" {
					t.Errorf("%s is bound to %q", tok, jkt)
				}
				keys[jkt] = true
			}
			for _, q := range p.started {
				if !keys[q.Get("dpop_jkt")] {
					t.Errorf("a code was asked for without its key: %v", q)
				}
			}
		})
		if len(keys) != 2 {
			t.Errorf("%d keys for two grants", len(keys))
		}
		if nonces && (p.proofs.asked == 0 || p.proofs.asked > 2 || s.proofs.asked == 0 || s.proofs.asked > 2) {
			t.Errorf("nonces were asked for %d and %d times", p.proofs.asked, s.proofs.asked)
		}
		s.read(func() {
			for _, h := range s.requests {
				if a := h.Get("Authorization"); a != "" && !strings.HasPrefix(a, "DPoP ") || a == "" && h.Get("DPoP") != "" {
					t.Errorf("%v", h)
				}
			}
		})
		// A new nonce is taken up at the next refusal.
		s.read(func() { s.proofs.nonce = "of-the-server-2" })
		w.mustCall(g, "one", ana)
	}
}

// A proof is made for what Headers gave, and for nobody else's.
func TestProofsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	p.set("dpop_signing_alg_values_supported", []string{"ES256"})
	p.proofs = &checker{}
	newUpstream(w, "one", p).proofs = &checker{}
	g := w.build()
	ana, ben := person("ana", "editor"), person("ben", "editor")
	w.grant(g, "one", p, ana)
	w.grant(g, "one", p, ben)
	src, err := g.Source("one")
	if err != nil {
		t.Fatal(err)
	}
	h, err := src.Headers(t.Context(), credential.Subject{Principal: ana})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Prove(t.Context(), credential.Subject{Principal: ben}, http.MethodPost, h); err == nil || h.Get("DPoP") != "" {
		t.Errorf("ben proved ana's token: %v", h)
	}
	plain := http.Header{"Authorization": {"Bearer x"}}
	if err := src.Prove(t.Context(), credential.Subject{Principal: ana}, http.MethodPost, plain); err != nil || plain.Get("DPoP") != "" {
		t.Errorf("%v %v", plain, err)
	}
}

func TestNonces(t *testing.T) {
	t.Parallel()
	n := nonces{of: map[string]string{}}
	for _, bad := range []string{"", "a b", "a\r\nX: y", `a"b`, "é", strings.Repeat("x", maxNonce+1)} {
		if n.put("s", bad) || n.get("s") != "" {
			t.Errorf("%q was taken", bad)
		}
	}
	if !n.put("s", "a") || n.put("s", "a") || !n.put("s", "b") || n.get("s") != "b" || n.get("t") != "" {
		t.Error(n.of)
	}
	at, _ := url.Parse("https://as.example/token?tenant=x#y")
	k, err := newProofKey()
	if err != nil {
		t.Fatal(err)
	}
	proof, err := k.proof(http.MethodPost, at, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, why := (&checker{}).judge(http.Header{"Dpop": {proof}}, http.MethodPost, "https://as.example/token", ""); why != "" {
		t.Error(why)
	}
	same, err := readProofKey(k.raw)
	if err != nil || same.thumb != k.thumb {
		t.Errorf("the key became another: %v", err)
	}
}
