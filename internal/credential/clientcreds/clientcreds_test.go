package clientcreds_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/clientcreds"
	"github.com/munjigi/munjigi/internal/credential/credentialtest"
	"github.com/munjigi/munjigi/internal/oauth"
)

const resource = "https://mcp.example/mcp"

func basic() oauth.Authentication {
	return oauth.Authentication{Method: oauth.MethodBasic, ClientID: "gw", Secret: func(context.Context) (secret.Value, error) { return secret.New("pw"), nil }}
}

func source(t *testing.T, o clientcreds.Options) *clientcreds.Source {
	t.Helper()
	s, err := clientcreds.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func auth(t *testing.T, s *clientcreds.Source) string {
	t.Helper()
	h, err := s.Headers(t.Context(), credential.Subject{})
	if err != nil {
		t.Fatal(err)
	}
	return h.Get("Authorization")
}

// TestRequest asks once for all callers, with the resource.
func TestRequest(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	s := source(t, clientcreds.Options{Server: as.At(basic()), Scopes: []string{"a", "b"}, Resource: resource, Audience: "x"})
	first := auth(t, s)
	if first != auth(t, s) || !strings.HasPrefix(first, "Bearer token-1-") {
		t.Errorf("got %q", first)
	}
	want := []url.Values{{"grant_type": {"client_credentials"}, "scope": {"a b"}, "resource": {resource}, "audience": {"x"}, "basic": {"gw:pw"}}}
	if d := cmp.Diff(want, as.Forms()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestAssertion presents what the platform wrote last, as a grant and as the
// client's proof.
func TestAssertion(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(v string) {
		if err := os.WriteFile(file, []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := secret.ParseRef("file:" + file)
	if err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context) (secret.Value, error) { return secret.Files{}.Resolve(ctx, ref) }
	as := credentialtest.New(t)
	for name, tt := range map[string]struct {
		o     clientcreds.Options
		param string
	}{
		"grant": {clientcreds.Options{Server: as.At(oauth.Authentication{Method: oauth.MethodNone}), Assertion: read}, "assertion"},
		"proof": {clientcreds.Options{Server: as.At(oauth.Authentication{Method: oauth.MethodAssertion, ClientID: "gw", Secret: read})}, "client_assertion"},
	} {
		s := source(t, tt.o)
		for _, v := range []string{"a.b.first", "a.b.second"} {
			write(v)
			sent := auth(t, s)
			forms := as.Forms()
			last := forms[len(forms)-1]
			if got := last.Get(tt.param); got != v {
				t.Errorf("%s: %q was presented, want %q", name, got, v)
			}
			if last.Get("resource") != "" || last.Get("scope") != "" {
				t.Errorf("%s: %v", name, last)
			}
			// The server refuses, so that the next one is fetched.
			if err := s.Rejected(t.Context(), credential.Subject{}, credential.Rejection{Status: 401, Sent: http.Header{"Authorization": {sent}}}); v == "a.b.first" && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	s := source(t, clientcreds.Options{Server: as.At(oauth.Authentication{Method: oauth.MethodNone}), Assertion: read})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Headers(t.Context(), credential.Subject{}); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("without its file: %v", err)
	}
}

// TestOtherAudience: a token that says it is for another server is not sent.
func TestOtherAudience(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		token string
		want  error
	}{
		"this":             {credentialtest.JWT("at+jwt", map[string]any{"aud": resource}), nil},
		"this among":       {credentialtest.JWT("at+jwt", map[string]any{"aud": []string{"https://other.example", resource}}), nil},
		"configured":       {credentialtest.JWT("JWT", map[string]any{"aud": "api://files"}), nil},
		"opaque":           {"opaque", nil},
		"another":          {credentialtest.JWT("at+jwt", map[string]any{"aud": "https://other.example"}), credential.ErrRefused},
		"almost":           {credentialtest.JWT("at+jwt", map[string]any{"aud": resource + "/"}), credential.ErrRefused},
		"nobody":           {credentialtest.JWT("at+jwt", map[string]any{"sub": "gw"}), credential.ErrRefused},
		"not a name":       {credentialtest.JWT("at+jwt", map[string]any{"aud": map[string]any{"x": resource}}), credential.ErrRefused},
		"a number among":   {credentialtest.JWT("at+jwt", map[string]any{"aud": []any{7, resource}}), credential.ErrRefused},
		"three odd pieces": {"a.b.c", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := credentialtest.New(t)
			as.Mint = func(url.Values) (int, map[string]any) { return 200, credentialtest.Answer(tt.token, 600) }
			s := source(t, clientcreds.Options{Server: as.At(basic()), Resource: resource, Audiences: []string{resource, "api://files"}})
			h, err := s.Headers(t.Context(), credential.Subject{})
			if !errors.Is(err, tt.want) || tt.want != nil && h != nil {
				t.Errorf("got %v %v", h, err)
			}
		})
	}
}

// TestRefusals: a refused token is replaced once by all who were refused
// together, and a server that refuses everything gets no stream of new ones.
func TestRefusals(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	s := source(t, clientcreds.Options{Server: as.At(basic())})
	old := auth(t, s)
	sent := http.Header{"Authorization": {old}}
	var wg sync.WaitGroup
	var second atomic.Value
	for range 50 {
		wg.Go(func() {
			if err := s.Rejected(t.Context(), credential.Subject{}, credential.Rejection{Status: 401, Sent: sent}); err != nil {
				t.Error(err)
			}
			h, err := s.Headers(t.Context(), credential.Subject{})
			if err != nil || h.Get("Authorization") == old {
				t.Errorf("%v %v", h, err)
			}
			second.Store(h.Get("Authorization"))
		})
	}
	wg.Wait()
	if n := len(as.Forms()); n != 2 {
		t.Errorf("%d token requests", n)
	}
	now := http.Header{"Authorization": {second.Load().(string)}}
	for _, r := range []credential.Rejection{{Status: 401, Sent: now}, {Status: 401, Sent: now, Again: true}, {Status: 403, Sent: now}} {
		if err := s.Rejected(t.Context(), credential.Subject{}, r); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if n := len(as.Forms()); n != 2 {
		t.Errorf("%d token requests", n)
	}
}

// TestDown fails closed, and tells what will pass from what will not.
func TestDown(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	as.Mint = func(url.Values) (int, map[string]any) { return 401, map[string]any{"error": "invalid_client"} }
	if _, err := source(t, clientcreds.Options{Server: as.At(basic())}).Headers(t.Context(), credential.Subject{}); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("wrong secret: %v", err)
	}
	as.Mint = func(url.Values) (int, map[string]any) { return 503, map[string]any{"error": "server_error"} }
	if _, err := source(t, clientcreds.Options{Server: as.At(basic())}).Headers(t.Context(), credential.Subject{}); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
	server := as.At(basic())
	as.Close()
	if h, err := source(t, clientcreds.Options{Server: server}).Headers(t.Context(), credential.Subject{}); !errors.Is(err, credential.ErrUnavailable) || h != nil {
		t.Errorf("gone: %v", err)
	}
	var zero clientcreds.Source
	if _, err := zero.Headers(t.Context(), credential.Subject{}); err == nil {
		t.Error("the zero source gave something")
	}
	if err := zero.Rejected(t.Context(), credential.Subject{}, credential.Rejection{}); err == nil {
		t.Error("the zero source wants another try")
	}
}
