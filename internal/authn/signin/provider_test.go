package signin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
)

const here = "https://gw.example"

func ring(t *testing.T) *keys.Derived {
	t.Helper()
	root, err := keys.NewRoot([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := keys.NewDerived(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// memory is what was used, as the store keeps it.
type memory struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (m *memory) first(_ context.Context, key string, _ time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[key] {
		return false, nil
	}
	m.seen[key] = true
	return true, nil
}

// relying is a relying party of some providers, with real tokens and keys.
func relying(t *testing.T, ps ...*signintest.Provider) *signin.Providers {
	t.Helper()
	var rules egress.Rules
	o := signin.Options{Redirect: here + "/signin/callback", Ring: ring(t), Once: (&memory{seen: map[string]bool{}}).first}
	j := jwt.Options{Resources: map[string]authn.Resource{here + "/mcp": {}}, Revoked: func(string) bool { return false }}
	for _, p := range ps {
		rules.Allow = append(rules.Allow, strings.TrimPrefix(p.URL, "http://"))
		o.Clients = append(o.Clients, signin.Client{Issuer: p.URL, ID: signintest.ClientID, Secret: secret.New(signintest.ClientSecret)})
		j.Issuers = append(j.Issuers, jwt.Issuer{Issuer: p.URL})
	}
	client, err := egress.Client(rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	o.HTTP, j.Client = client, client
	v, err := jwt.New(j)
	if err != nil {
		t.Fatal(err)
	}
	o.Verify = func(ctx context.Context, idToken string, w signin.Want) (call.Principal, error) {
		return v.Person(ctx, idToken, jwt.SignIn{Issuer: w.Issuer, Client: w.Client, Nonce: w.Nonce, AccessToken: w.AccessToken})
	}
	rp, err := signin.NewProviders(o)
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

func begin(t *testing.T, rp *signin.Providers, p *signintest.Provider, browser string) string {
	t.Helper()
	at, err := rp.Begin(t.Context(), browser, p.URL, "/grants")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	p := signintest.New(t)
	rp := relying(t, p)
	at := begin(t, rp, p, "b1")
	q, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"response_type": "code", "client_id": signintest.ClientID, "redirect_uri": here + "/signin/callback", "scope": "openid", "code_challenge_method": "S256"} {
		if got := q.Query().Get(k); got != want {
			t.Errorf("%s is %q", k, got)
		}
	}
	who, to, err := rp.Finish(t.Context(), "b1", p.Follow(t, at))
	if err != nil || to != "/grants" || who.String() != "alice@"+p.URL || who.Identity().Kind != call.Person {
		t.Errorf("%v %q %v", who, to, err)
	}
}

// TestSignInRefuses is each way to bring an answer that this browser did not
// ask for, or that the provider did not give for it.
func TestSignInRefuses(t *testing.T) {
	t.Parallel()
	without := func(name string) func(url.Values) { return func(q url.Values) { q.Del(name) } }
	with := func(name string, v ...string) func(url.Values) { return func(q url.Values) { q[name] = v } }
	for _, c := range []struct {
		name    string
		browser string
		change  func(url.Values)
		setup   func(*signintest.Provider)
		want    error
	}{
		{name: "another browser", browser: "b2", want: authn.ErrNotBegun},
		{name: "a browser without a cookie", browser: "-", want: authn.ErrNotBegun},
		{name: "no state", change: without("state"), want: authn.ErrNotBegun},
		{name: "two states", change: func(q url.Values) { q.Add("state", q.Get("state")) }, want: authn.ErrNotBegun},
		{name: "an altered state", change: func(q url.Values) {
			s := []byte(q.Get("state"))
			s[len(s)/2] ^= 1
			q.Set("state", string(s))
		}, want: authn.ErrNotBegun},
		{name: "a state of our own making", change: with("state", base64.RawURLEncoding.EncodeToString([]byte(`{"i":"x"}`))), want: authn.ErrNotBegun},
		{name: "a huge state", change: with("state", strings.Repeat("A", 10_000)), want: authn.ErrNotBegun},
		{name: "no code", change: without("code"), want: authn.ErrNotBegun},
		{name: "two codes", change: func(q url.Values) { q.Add("code", "x") }, want: authn.ErrNotBegun},
		{name: "another's code", change: with("code", "stolen"), want: authn.ErrDenied},
		{name: "another issuer", change: with("iss", "https://evil.example"), want: authn.ErrOtherIssuer},
		{name: "issuer with a slash", change: func(q url.Values) { q.Set("iss", q.Get("iss")+"/") }, want: authn.ErrOtherIssuer},
		{name: "no issuer where it is promised", change: without("iss"), want: authn.ErrOtherIssuer},
		{name: "two issuers", change: func(q url.Values) { q.Add("iss", q.Get("iss")) }, want: authn.ErrOtherIssuer},
		{name: "an error of another issuer", change: func(q url.Values) { q.Set("iss", "https://evil.example"); q.Set("error", "access_denied") }, want: authn.ErrOtherIssuer},
		{name: "an error", change: with("error", "access_denied"), want: authn.ErrDenied},
		{name: "an error beside a code", change: with("error", ""), want: authn.ErrDenied},
		{name: "another nonce", setup: func(p *signintest.Provider) { p.Claims(map[string]any{"nonce": "old"}) }, want: authn.ErrIDToken},
		{name: "another audience", setup: func(p *signintest.Provider) { p.Claims(map[string]any{"aud": "other"}) }, want: authn.ErrIDToken},
		{name: "another issuer's token", setup: func(p *signintest.Provider) { p.Claims(map[string]any{"iss": "https://evil.example"}) }, want: authn.ErrIDToken},
		{name: "a token that was expired", setup: func(p *signintest.Provider) { p.Claims(map[string]any{"exp": 1}) }, want: authn.ErrIDToken},
		{name: "no ID token", setup: func(p *signintest.Provider) {
			p.Token(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"access_token":"x"}`)) })
		}, want: authn.ErrIDToken},
		{name: "no JSON", setup: func(p *signintest.Provider) {
			p.Token(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("id_token=x")) })
		}, want: authn.ErrUnavailable},
		{name: "JSON of two readings", setup: func(p *signintest.Provider) {
			p.Token(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`{"id_token":"a","id_token":"b"}`))
			})
		}, want: authn.ErrUnavailable},
		{name: "an answer without end", setup: func(p *signintest.Provider) {
			p.Token(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`{"x":"` + strings.Repeat("a", 2<<20)))
			})
		}, want: authn.ErrUnavailable},
		{name: "a token endpoint that sends the code on", setup: func(p *signintest.Provider) {
			p.Token(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/steal", http.StatusTemporaryRedirect)
			})
		}, want: authn.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := signintest.New(t)
			rp := relying(t, p)
			if c.setup != nil {
				c.setup(p)
			}
			q := p.Follow(t, begin(t, rp, p, "b1"))
			if c.change != nil {
				c.change(q)
			}
			browser := "b1"
			if c.browser != "" {
				browser = strings.Trim(c.browser, "-")
			}
			who, _, err := rp.Finish(t.Context(), browser, q)
			if !errors.Is(err, c.want) || who.Valid() {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestAnAnswerServesOnce(t *testing.T) {
	t.Parallel()
	p := signintest.New(t)
	rp := relying(t, p)
	q := p.Follow(t, begin(t, rp, p, "b1"))
	if _, _, err := rp.Finish(t.Context(), "b1", q); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rp.Finish(t.Context(), "b1", q); !errors.Is(err, authn.ErrReplayed) {
		t.Errorf("replayed: %v", err)
	}
	if n := p.Redeemed(); n != 1 {
		t.Errorf("%d codes went to the provider", n)
	}
	// One that was refused is spent too, so that nobody tries codes on it.
	q = p.Follow(t, begin(t, rp, p, "b1"))
	good := q.Get("code")
	q.Set("code", "guess")
	if _, _, err := rp.Finish(t.Context(), "b1", q); !errors.Is(err, authn.ErrDenied) {
		t.Errorf("%v", err)
	}
	q.Set("code", good)
	if _, _, err := rp.Finish(t.Context(), "b1", q); !errors.Is(err, authn.ErrReplayed) {
		t.Errorf("a spent state: %v", err)
	}
}

// TestACodeOfAnotherSignIn is code injection: the attacker's own code, in the
// victim's browser and state.
func TestACodeOfAnotherSignIn(t *testing.T) {
	t.Parallel()
	p := signintest.New(t)
	rp := relying(t, p)
	p.SignedIn("mallory")
	theirs := p.Follow(t, begin(t, rp, p, "attacker"))
	p.SignedIn("alice")
	q := p.Follow(t, begin(t, rp, p, "victim"))
	q.Set("code", theirs.Get("code"))
	if who, _, err := rp.Finish(t.Context(), "victim", q); !errors.Is(err, authn.ErrDenied) || who.Valid() {
		t.Errorf("%v %v", who, err)
	}
}

// TestMixUp: an answer of one provider is never taken for that of another.
func TestMixUp(t *testing.T) {
	t.Parallel()
	honest, evil := signintest.New(t), signintest.New(t)
	rp := relying(t, honest, evil)
	q := evil.Follow(t, strings.Replace(begin(t, rp, honest, "b1"), honest.URL, evil.URL, 1))
	if who, _, err := rp.Finish(t.Context(), "b1", q); !errors.Is(err, authn.ErrOtherIssuer) || who.Valid() {
		t.Errorf("%v %v", who, err)
	}
	if honest.Redeemed()+evil.Redeemed() != 0 {
		t.Error("a code went somewhere")
	}
}

func TestOldState(t *testing.T) {
	t.Parallel()
	p := signintest.New(t)
	rp := relying(t, p)
	q := p.Follow(t, begin(t, rp, p, "b1"))
	for ends, want := range map[int64]error{time.Now().Unix() - 1: authn.ErrNotBegun, time.Now().Unix() + 60: authn.ErrDenied} {
		b, err := json.Marshal(map[string]any{"i": p.URL, "n": "n", "v": "v", "t": "/grants", "x": ends})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := ring(t).Seal(signin.Purpose, b, []byte(signin.Digest("b1")))
		if err != nil {
			t.Fatal(err)
		}
		q.Set("state", base64.RawURLEncoding.EncodeToString(sealed))
		if _, _, err := rp.Finish(t.Context(), "b1", q); !errors.Is(err, want) {
			t.Errorf("ends in %d s: %v", ends-time.Now().Unix(), err)
		}
	}
}

func TestProvidersThatAreNotUsed(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]map[string]any{
		"another issuer":            {"issuer": "https://evil.example"},
		"no S256":                   {"code_challenge_methods_supported": []string{"plain"}},
		"no authorization endpoint": {"authorization_endpoint": nil},
		"a script for one":          {"authorization_endpoint": "javascript:alert(1)"},
		"plain http elsewhere":      {"authorization_endpoint": "http://login.example/authorize"},
		"a token endpoint inside":   {"token_endpoint": "file:///etc/passwd"},
	} {
		p := signintest.New(t)
		p.Metadata(m)
		if at, err := relying(t, p).Begin(t.Context(), "b1", p.URL, "/grants"); !errors.Is(err, authn.ErrUnavailable) || at != "" {
			t.Errorf("%s: %q %v", name, at, err)
		}
	}
	p := signintest.New(t)
	rp := relying(t, p)
	if _, err := rp.Begin(t.Context(), "b1", "https://unknown.example", "/grants"); !errors.Is(err, authn.ErrNotBegun) {
		t.Errorf("an issuer that is not configured: %v", err)
	}
	if _, err := rp.Begin(t.Context(), "", p.URL, "/grants"); err == nil {
		t.Error("a browser without a name began")
	}
	p.Close()
	if _, err := rp.Begin(t.Context(), "b1", p.URL, "/grants"); !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
}
