package clients_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/clients"
)

// site is a host of documents on loopback that is called example.com.
type site struct {
	*httptest.Server
	at     string // https://example.com:port
	client *http.Client
	asked  atomic.Int32

	mu    sync.Mutex
	serve http.HandlerFunc
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		h := s.serve
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.at = "https://example.com:" + u.Port()
	s.client = s.through(t, map[string]string{"example.com": "127.0.0.1"}, "example.com:"+u.Port())
	return s
}

// through makes the client that the gateway would, with a resolver of its own.
func (s *site) through(t *testing.T, names map[string]string, allow ...string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c, err := egress.Client(egress.Rules{Allow: allow, Timeout: clients.FetchTime, MaxBytes: clients.MaxBytes, Roots: roots,
		Resolver: func(_ context.Context, host string) ([]netip.Addr, error) {
			if a, ok := names[host]; ok {
				return []netip.Addr{netip.MustParseAddr(a)}, nil
			}
			return nil, errors.New("no such name")
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (s *site) says(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = f
}

func (s *site) json(text string) {
	s.says(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.ReplaceAll(text, "AT", s.at)))
	})
}

func (s *site) documents(t *testing.T, entries ...string) *clients.Documents {
	t.Helper()
	if entries == nil {
		entries = []string{strings.TrimPrefix(s.at, "https://")}
	}
	trust, err := clients.NewTrust(entries, false)
	if err != nil {
		t.Fatal(err)
	}
	d, err := clients.NewDocuments(trust, s.client, "gate.example")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	plain = `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":["http://127.0.0.1/cb","https://app.example/cb"]}`
	ecKey = `{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
)

func TestDocument(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.json(plain)
	d := s.documents(t)
	got, err := d.Client(t.Context(), s.at+"/c.json")
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest == "" {
		t.Error("no digest")
	}
	got.Digest = ""
	want := oauthserver.Client{ID: s.at + "/c.json", Kind: oauthserver.Document, Name: "Editor", Host: strings.TrimPrefix(s.at, "https://"),
		RedirectURIs: []string{"http://127.0.0.1/cb", "https://app.example/cb"}, Auth: oauthserver.AuthNone}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got.RedirectURIs[0] = "https://evil.example/"
	again, err := d.Client(t.Context(), s.at+"/c.json")
	if err != nil || again.RedirectURIs[0] != "http://127.0.0.1/cb" || s.asked.Load() != 1 {
		t.Errorf("%v %v, asked %d times", again.RedirectURIs, err, s.asked.Load())
	}
}

// TestDocumentRefused has one hostile or broken document each.
func TestDocumentRefused(t *testing.T) {
	t.Parallel()
	with := func(more string) string {
		return `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":["https://app.example/cb"],` + more + `}`
	}
	redirect := func(uri string) string {
		return `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":["https://app.example/cb","` + uri + `"]}`
	}
	for name, text := range map[string]string{
		"another client_id":      `{"client_id":"AT/other.json","client_name":"Editor","redirect_uris":["https://app.example/cb"]}`,
		"a longer client_id":     `{"client_id":"AT/c.json/","client_name":"Editor","redirect_uris":["https://app.example/cb"]}`,
		"no client_id":           `{"client_name":"Editor","redirect_uris":["https://app.example/cb"]}`,
		"two client_ids":         `{"client_id":"AT/c.json","client_id":"AT/c.json","client_name":"Editor","redirect_uris":["https://app.example/cb"]}`,
		"a client_id in capital": `{"client_id":"AT/c.json","Client_Id":"AT/d.json","client_name":"Editor","redirect_uris":["https://app.example/cb"]}`,
		"no name":                `{"client_id":"AT/c.json","redirect_uris":["https://app.example/cb"]}`,
		"a name of spaces":       `{"client_id":"AT/c.json","client_name":"  ","redirect_uris":["https://app.example/cb"]}`,
		"a name without end":     `{"client_id":"AT/c.json","client_name":"` + strings.Repeat("e", 121) + `","redirect_uris":["https://app.example/cb"]}`,
		"no redirects":           `{"client_id":"AT/c.json","client_name":"Editor"}`,
		"empty redirects":        `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":[]}`,
		"redirects as text":      `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":"https://app.example/cb"}`,
		"a number as redirect":   `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":[1]}`,
		"seventeen redirects":    `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":[` + strings.TrimSuffix(strings.Repeat(`"https://app.example/cb",`, 17), ",") + `]}`,
		"javascript redirect":    redirect("javascript:alert(1)"),
		"javascript in capitals": redirect("JaVaScRiPt:alert(1)"),
		"data redirect":          redirect("data:text/html,hi"),
		"custom scheme":          redirect("cursor://oauth/cb"),
		"reverse domain scheme":  redirect("com.example.app:/cb"),
		"file redirect":          redirect("file:///etc/passwd"),
		"plain http redirect":    redirect("http://app.example/cb"),
		"another loopback":       redirect("http://127.0.0.2/cb"),
		"unspecified address":    redirect("http://0.0.0.0/cb"),
		"user in redirect":       redirect("https://app.example@evil.example/cb"),
		"fragment in redirect":   redirect("https://app.example/cb#x"),
		"dots in redirect":       redirect("https://app.example/cb/../x"),
		"coded dots in redirect": redirect("https://app.example/cb/%2e%2e/x"),
		"code in redirect":       redirect("https://app.example/cb?code=1"),
		"state in redirect":      redirect("https://app.example/cb?a=b&state=1"),
		"redirect to ourselves":  redirect("https://gate.example/signin/callback"),
		"ourselves with a port":  redirect("https://gate.example:443/x"),
		"redirect in capitals":   redirect("https://App.example/cb"),
		"backslash in redirect":  redirect(`https://app.example\\@evil.example/`),
		"bidi in redirect":       redirect(`https://app.example/\u202e`),
		"javascript logo":        with(`"logo_uri":"javascript:alert(1)"`),
		"data logo":              with(`"logo_uri":"data:image/svg+xml,<svg/onload=alert(1)>"`),
		"plain http logo":        with(`"logo_uri":"http://app.example/logo.png"`),
		"javascript client_uri":  with(`"client_uri":"javascript:alert(1)"`),
		"javascript policy":      with(`"policy_uri":"javascript:alert(1)"`),
		"javascript terms":       with(`"tos_uri":"vbscript:x"`),
		"a secret":               with(`"client_secret":"hunter2"`),
		"a secret's end":         with(`"client_secret_expires_at":0`),
		"client_secret_basic":    with(`"token_endpoint_auth_method":"client_secret_basic"`),
		"client_secret_post":     with(`"token_endpoint_auth_method":"client_secret_post"`),
		"client_secret_jwt":      with(`"token_endpoint_auth_method":"client_secret_jwt"`),
		"another method":         with(`"token_endpoint_auth_method":"tls_client_auth"`),
		"grants without code":    with(`"grant_types":["client_credentials"]`),
		"implicit":               with(`"response_types":["token"]`),
		"keys and no method":     with(`"jwks":{"keys":[` + ecKey + `]}`),
		"a method and no keys":   with(`"token_endpoint_auth_method":"private_key_jwt"`),
		"keys twice":             with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` + ecKey + `]},"jwks_uri":"AT/keys.json"`),
		"a shared key":           with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"oct","k":"aGVsbG8"}]}`),
		"a private key": with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` +
			strings.Replace(ecKey, `"kid"`, `"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI","kid"`, 1) + `]}`),
		"two keys of one kid":      with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` + ecKey + `,` + ecKey + `]}`),
		"a key to encrypt":         with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` + strings.Replace(ecKey, `"kid"`, `"use":"enc","kid"`, 1) + `]}`),
		"no keys in the set":       with(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}`),
		"keys on another host":     with(`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://evil.example/keys.json"`),
		"keys on a metadata host":  with(`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://169.254.169.254/keys"`),
		"keys over plain http":     with(`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://example.com/keys"`),
		"the keys are no key set":  with(`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"AT/c.json"`),
		"dpop as text":             with(`"dpop_bound_access_tokens":"yes"`),
		"no JSON":                  `<html>`,
		"an array":                 `[]`,
		"JSON and more":            plain + plain,
		"too deep":                 with(`"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20)),
		"longer than is read here": with(`"x":"` + strings.Repeat("x", clients.MaxBytes) + `"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.json(text)
			_, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
			if !errors.Is(err, clients.ErrDocument) && !errors.Is(err, egress.ErrTooLarge) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestDocumentElsewhere holds that nothing leads a fetch to where the client
// chooses.
func TestDocumentElsewhere(t *testing.T) {
	t.Parallel()
	t.Run("redirect to the metadata address", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.says(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		})
		_, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
		if !errors.Is(err, egress.ErrRedirect) || s.asked.Load() != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("redirect on the same host", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.says(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, s.at+"/c.json", http.StatusMovedPermanently)
		})
		_, err := s.documents(t).Client(t.Context(), s.at+"/old.json")
		if !errors.Is(err, clients.ErrUnavailable) || s.asked.Load() != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("a name that leads inside", func(t *testing.T) {
		t.Parallel()
		for _, addr := range []string{"169.254.169.254", "127.0.0.1", "10.0.0.1", "::1", "fd00::1", "::ffff:169.254.169.254"} {
			s := newSite(t)
			s.json(plain)
			s.client = s.through(t, map[string]string{"inside.example": addr})
			_, err := s.documents(t, "inside.example").Client(t.Context(), "https://inside.example/c.json")
			if !errors.Is(err, egress.ErrAddress) || s.asked.Load() != 0 {
				t.Errorf("%s: %v", addr, err)
			}
		}
	})
	t.Run("hosts that nobody named", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.json(plain)
		for _, entries := range [][]string{{}, {"example.org"}, {"*.example.com"}, {"example.com"}, {s.at + "/d.json"}} {
			_, err := s.documents(t, entries...).Client(t.Context(), s.at+"/c.json")
			if !errors.Is(err, clients.ErrUnknown) || s.asked.Load() != 0 {
				t.Errorf("%q: %v", entries, err)
			}
		}
	})
	t.Run("one document that was named", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.json(plain)
		if _, err := s.documents(t, s.at+"/c.json").Client(t.Context(), s.at+"/c.json"); err != nil {
			t.Error(err)
		}
	})
}

// TestDocumentAnswers holds answers that are no document.
func TestDocumentAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"not found": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"created":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) },
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(plain))
		},
		"text": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte(plain))
		},
		"a script's JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/json+json")
			_, _ = w.Write([]byte(plain))
		},
		"grows after its length was said": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for range 64 {
				_, _ = w.Write([]byte(strings.Repeat(" ", 1024)))
				_ = http.NewResponseController(w).Flush()
			}
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.says(answer)
			d := s.documents(t)
			_, err := d.Client(t.Context(), s.at+"/c.json")
			if !errors.Is(err, clients.ErrUnavailable) && !errors.Is(err, clients.ErrDocument) {
				t.Errorf("%v", err)
			}
			// Nothing of it is kept: the next good answer counts at once.
			s.json(plain)
			if _, err := d.Client(t.Context(), s.at+"/c.json"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestDocumentKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	doc := `{"client_id":"AT/c.json","client_name":"Editor","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt",KEYS}`
	s.json(strings.Replace(doc, "KEYS", `"jwks":{"keys":[`+ecKey+`]}`, 1))
	inline, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
	if err != nil || inline.Auth != oauthserver.AuthPrivateKeyJWT || !strings.Contains(string(inline.JWKS), `"P-256"`) {
		t.Fatalf("%+v %v", inline, err)
	}
	s.says(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		text := `{"keys":[` + ecKey + `]}`
		if r.URL.Path == "/c.json" {
			text = strings.Replace(doc, "KEYS", `"jwks_uri":"AT/keys.json"`, 1)
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(text, "AT", s.at)))
	})
	fetched, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
	if err != nil || !strings.Contains(string(fetched.JWKS), `"P-256"`) {
		t.Fatalf("%+v %v", fetched, err)
	}
	if inline.Digest == fetched.Digest {
		t.Error("keys from elsewhere are the same client")
	}
}

// TestDigest holds what makes another client of a document, and what does not.
func TestDigest(t *testing.T) {
	t.Parallel()
	of := func(text string) string {
		s := newSite(t)
		s.json(text)
		c, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
		if err != nil {
			t.Fatal(err)
		}
		// Each site has a port of its own, which the ID and so the digest hold.
		return strings.ReplaceAll(fmt.Sprintf("%q %q %q %s %v", c.Name, c.RedirectURIs, c.Scopes, c.Auth, c.DPoP), s.at, "AT")
	}
	base := of(plain)
	for name, text := range map[string]string{
		"a logo":        strings.Replace(plain, `"client_name"`, `"logo_uri":"https://a.example/x.png","client_name"`, 1),
		"grants":        strings.Replace(plain, `"client_name"`, `"grant_types":["authorization_code","client_credentials","password"],"client_name"`, 1),
		"others' scope": strings.Replace(plain, `"client_name"`, `"scope":"openid mail offline_access","client_name"`, 1),
	} {
		if got := of(text); got != base {
			t.Errorf("%s: %s", name, got)
		}
	}
	s := newSite(t)
	digests := map[string]bool{}
	texts := []string{plain, strings.Replace(plain, "Editor", "Editor ", 1), strings.Replace(plain, `["http`, `["https://evil.example/","http`, 1),
		strings.Replace(plain, `"client_name"`, `"scope":"files:call","client_name"`, 1), strings.Replace(plain, `"client_name"`, `"dpop_bound_access_tokens":true,"client_name"`, 1)}
	for _, text := range texts {
		s.json(text)
		c, err := s.documents(t).Client(t.Context(), s.at+"/c.json")
		if err != nil {
			t.Fatal(err)
		}
		digests[c.Digest] = true
	}
	if len(digests) != len(texts) {
		t.Errorf("%d digests of %d documents", len(digests), len(texts))
	}
}

func TestDocumentsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hold := make(chan struct{})
	s.says(func(w http.ResponseWriter, _ *http.Request) {
		<-hold
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.ReplaceAll(plain, "AT", s.at)))
	})
	d := s.documents(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := d.Client(t.Context(), s.at+"/c.json"); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// TestDocumentFlood holds that one host's bucket bounds what strangers can make
// us fetch from it.
func TestDocumentFlood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	d := s.documents(t)
	many := 0
	for i := range 40 {
		if _, err := d.Client(t.Context(), fmt.Sprintf("%s/c%d.json", s.at, i)); errors.Is(err, clients.ErrTooMany) {
			many++
		}
	}
	if n := s.asked.Load(); n > 20 || many == 0 {
		t.Errorf("fetched %d times, refused %d", n, many)
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"https://app.example/c.json":           true,
		"https://app.example:8443/a/b":         true,
		"https://xn--80ak6aa92e.example/c":     true,
		"https://app.example":                  false,
		"https://app.example/":                 false,
		"http://app.example/c.json":            false,
		"HTTPS://app.example/c.json":           false,
		"https://App.example/c.json":           false,
		"https://app.example:443/c.json":       false,
		"https://app.example./c.json":          false,
		"https://a@app.example/c.json":         false,
		"https://app.example/c.json?x":         false,
		"https://app.example/c.json?":          false,
		"https://app.example/c.json#x":         false,
		"https://app.example/a/../c.json":      false,
		"https://app.example/a/./c.json":       false,
		"https://app.example/a/%2e%2e/c":       false,
		"https://app.example/a%2fb":            false,
		"https://app.example/%41":              true, // another ID than /A, and never the same client
		"https://аpp.example/c.json":           false,
		"https://app.example\\c.json":          false,
		"https://0x7f.1/c.json":                false,
		"https://app.example/" + long():        false,
		"javascript://app.example/%0aalert(1)": false,
		"":                                     false,
	} {
		if _, err := clients.CheckID(id); (err == nil) != want {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func long() string { return strings.Repeat("a", 600) }

func TestTrust(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "*", "*.", "*.com", "Example.com", "example.com/", "https://example.com", "http://example.com/c.json", "example.com.", "a*.example.com", "exa mple.com"} {
		if _, err := clients.NewTrust([]string{bad}, false); err == nil {
			t.Errorf("%q is believed", bad)
		}
	}
	if (clients.Trust{}).Any() {
		t.Error("the zero value believes somebody")
	}
	s := newSite(t)
	s.json(plain)
	all, err := clients.NewTrust(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	d, err := clients.NewDocuments(all, s.client, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Client(t.Context(), s.at+"/c.json")
	if err != nil || !c.Unvouched {
		t.Errorf("%+v %v", c, err)
	}
	if c, err := s.documents(t).Client(t.Context(), s.at+"/c.json"); err != nil || c.Unvouched {
		t.Errorf("%+v %v", c, err)
	}
}

func TestZeroDocuments(t *testing.T) {
	t.Parallel()
	var none *clients.Documents
	for _, d := range []*clients.Documents{none, {}} {
		if _, err := d.Client(t.Context(), "https://app.example/c.json"); !errors.Is(err, clients.ErrUnknown) {
			t.Error(err)
		}
	}
	if _, err := clients.NewDocuments(clients.Trust{}, http.DefaultClient, ""); err == nil {
		t.Error("a client without the egress rule serves")
	}
}

// TestFreshness holds how long a document is believed without another look.
func TestFreshness(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header http.Header
		want   time.Duration
	}{
		{nil, clients.DefaultLife},
		{http.Header{"Cache-Control": {"max-age=600"}}, 10 * time.Minute},
		{http.Header{"Cache-Control": {"public, max-age=600, max-age=300"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=600"}, "Age": {"300"}}, 5 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=600"}, "Age": {"900"}}, clients.ShortestLife},
		{http.Header{"Cache-Control": {"max-age=999999999"}}, clients.LongestLife},
		{http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, clients.ShortestLife},
		{http.Header{"Cache-Control": {"max-age=600, no-store"}}, clients.ShortestLife},
		{http.Header{"Cache-Control": {"No-Cache"}}, clients.ShortestLife},
		{http.Header{"Cache-Control": {"max-age=0"}}, clients.ShortestLife},
		{http.Header{"Expires": {now.Add(time.Hour).Format(http.TimeFormat)}}, time.Hour},
		{http.Header{"Expires": {"0"}}, clients.ShortestLife},
	} {
		if got := clients.Freshness(c.header, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}

// FuzzDocument holds that whatever is accepted keeps the rules: its redirects go
// to https or loopback, and no key of it is private.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{plain, strings.Replace(plain, "https://app.example/cb", "javascript:x", 1), `{"jwks":{"keys":[` + ecKey + `]}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := clients.Read(body)
		if err != nil {
			if !errors.Is(err, clients.ErrDocument) {
				t.Errorf("%v", err)
			}
			return
		}
		if len(c.RedirectURIs) == 0 || strings.TrimSpace(c.Name) == "" {
			t.Errorf("%+v", c)
		}
		for _, r := range c.RedirectURIs {
			u, err := url.Parse(r)
			if err != nil || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1")) {
				t.Errorf("%q", r)
			}
		}
	})
}
