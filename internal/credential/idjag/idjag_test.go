package idjag_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/credentialtest"
	"github.com/munjigi/munjigi/internal/credential/idjag"
	"github.com/munjigi/munjigi/internal/oauth"
)

const resource = "https://mcp.example/mcp"

// rig is an enterprise's provider, a server's authorization server, and the
// source between them.
type rig struct {
	idp, as *credentialtest.Server
	*idjag.Source
}

func secretOf(s string) func(context.Context) (secret.Value, error) {
	return func(context.Context) (secret.Value, error) { return secret.New(s), nil }
}

func newRig(t *testing.T, mint func(r *rig, claims map[string]any) (typ string, answer map[string]any)) *rig {
	t.Helper()
	r := &rig{idp: credentialtest.New(t), as: credentialtest.New(t)}
	r.idp.Mint = func(url.Values) (int, map[string]any) {
		claims := map[string]any{"iss": r.idp.URL, "aud": r.as.URL, "sub": "kim", "client_id": "gw-there", "resource": resource,
			"jti": r.idp.Fresh(), "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
		typ, answer := "oauth-id-jag+jwt", map[string]any{"token_type": "N_A", "issued_token_type": oauth.TypeIDJAG, "expires_in": 300}
		if mint != nil {
			t, a := mint(r, claims)
			if t != "" {
				typ = t
			}
			for k, v := range a {
				answer[k] = v
			}
		}
		if answer["access_token"] == nil {
			answer["access_token"] = credentialtest.JWT(typ, claims)
		}
		return 200, answer
	}
	var err error
	r.Source, err = idjag.New(idjag.Options{
		Provider: r.idp.At(oauth.Authentication{Method: oauth.MethodBasic, ClientID: "gw-here", Secret: secretOf("pw-here")}),
		Server:   r.as.At(oauth.Authentication{Method: oauth.MethodBasic, ClientID: "gw-there", Secret: secretOf("pw-there")}),
		ClientID: "gw-there", Resource: resource, Scopes: []string{"files.read"}, Audiences: []string{resource},
		Current: func(call.Principal) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) kim() credential.Subject {
	return credentialtest.Subject(r.idp.URL, "kim", "agent", "tok.kim", time.Now().Add(time.Hour).Unix())
}

// TestFlow makes both requests, each with what it needs and no more: the
// caller's token to the provider only, the assertion to its authorization server
// only.
func TestFlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for range 3 {
		h, err := r.Headers(t.Context(), r.kim())
		if err != nil || !strings.HasPrefix(h.Get("Authorization"), "Bearer token-1-") {
			t.Fatalf("%v %v", h, err)
		}
	}
	idp, as := r.idp.Forms(), r.as.Forms()
	want := []url.Values{{"grant_type": {oauth.GrantExchange}, "requested_token_type": {oauth.TypeIDJAG}, "audience": {r.as.URL}, "resource": {resource},
		"subject_token": {"tok.kim"}, "subject_token_type": {oauth.TypeAccess}, "scope": {"files.read"}, "basic": {"gw-here:pw-here"}}}
	if d := cmp.Diff(want, idp); d != "" {
		t.Errorf("provider (-want +got):\n%s", d)
	}
	if len(as) != 1 {
		t.Fatalf("%d requests at the authorization server", len(as))
	}
	c, ok := oauth.Peek(as[0].Get("assertion"))
	if !ok || c.Text("client_id") != "gw-there" {
		t.Error("no assertion was shown")
	}
	as[0].Del("assertion")
	if d := cmp.Diff(url.Values{"grant_type": {oauth.GrantJWTBearer}, "scope": {"files.read"}, "basic": {"gw-there:pw-there"}}, as[0]); d != "" {
		t.Errorf("authorization server (-want +got):\n%s", d)
	}
	// A refused token takes a new assertion.
	sent := http.Header{"Authorization": {"Bearer " + strings.TrimPrefix(bearer(t, r), "Bearer ")}}
	if err := r.Rejected(t.Context(), r.kim(), credential.Rejection{Status: 401, Sent: sent}); err != nil {
		t.Fatal(err)
	}
	bearer(t, r)
	if len(r.idp.Forms()) != 2 || len(r.as.Forms()) != 2 {
		t.Error("an assertion was used twice")
	}
}

func bearer(t *testing.T, r *rig) string {
	t.Helper()
	h, err := r.Headers(t.Context(), r.kim())
	if err != nil {
		t.Fatal(err)
	}
	return h.Get("Authorization")
}

// TestWrongAssertions are shown to nobody.
func TestWrongAssertions(t *testing.T) {
	t.Parallel()
	set := func(name string, v any) func(*rig, map[string]any) (string, map[string]any) {
		return func(_ *rig, c map[string]any) (string, map[string]any) { c[name] = v; return "", nil }
	}
	for name, mint := range map[string]func(*rig, map[string]any) (string, map[string]any){
		"another issuer":   set("iss", "https://evil.example"),
		"another audience": set("aud", "https://evil.example"),
		"two audiences": func(r *rig, c map[string]any) (string, map[string]any) {
			c["aud"] = []string{r.as.URL, "https://evil.example"}
			return "", nil
		},
		"the token endpoint": func(r *rig, c map[string]any) (string, map[string]any) {
			c["aud"] = r.as.URL + "/token"
			return "", nil
		},
		"no audience":         func(_ *rig, c map[string]any) (string, map[string]any) { delete(c, "aud"); return "", nil },
		"another client":      set("client_id", "somebody"),
		"another resource":    set("resource", "https://bank.example/mcp"),
		"unreadable resource": set("resource", map[string]any{"x": resource}),
		"nobody":              set("sub", ""),
		"ended":               set("exp", time.Now().Add(-time.Hour).Unix()),
		"no end":              func(_ *rig, c map[string]any) (string, map[string]any) { delete(c, "exp"); return "", nil },
		"end that is none":    set("exp", "NaN"),
		"an ID token":         func(*rig, map[string]any) (string, map[string]any) { return "JWT", nil },
		"an access token":     func(*rig, map[string]any) (string, map[string]any) { return "at+jwt", nil },
		"said to be bearer":   func(*rig, map[string]any) (string, map[string]any) { return "", map[string]any{"token_type": "Bearer"} },
		"said to be another": func(*rig, map[string]any) (string, map[string]any) {
			return "", map[string]any{"issued_token_type": oauth.TypeAccess}
		},
		"opaque": func(*rig, map[string]any) (string, map[string]any) {
			return "", map[string]any{"access_token": "opaque"}
		},
		"the caller's own": func(*rig, map[string]any) (string, map[string]any) {
			return "", map[string]any{"access_token": "tok.kim"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mint)
			h, err := r.Headers(t.Context(), r.kim())
			if !errors.Is(err, credential.ErrRefused) || h != nil {
				t.Errorf("%v %v", h, err)
			}
			if n := len(r.as.Forms()); n != 0 {
				t.Error("it was shown to the authorization server")
			}
			if strings.Contains(fmt.Sprint(err), "tok.kim") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// TestLastStep refuses what the authorization server gives instead of a token
// for the server.
func TestLastStep(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		mint func(form url.Values) (int, map[string]any)
		want error
	}{
		"the assertion itself": {func(f url.Values) (int, map[string]any) { return 200, credentialtest.Answer(f.Get("assertion"), 60) }, credential.ErrRefused},
		"for another resource": {func(url.Values) (int, map[string]any) {
			return 200, credentialtest.Answer(credentialtest.JWT("at+jwt", map[string]any{"aud": "https://bank.example"}), 60)
		}, credential.ErrRefused},
		"refused": {func(url.Values) (int, map[string]any) { return 400, map[string]any{"error": "invalid_grant"} }, credential.ErrRefused},
		"down":    {func(url.Values) (int, map[string]any) { return 503, nil }, credential.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.as.Mint = tt.mint
			if h, err := r.Headers(t.Context(), r.kim()); !errors.Is(err, tt.want) || h != nil {
				t.Errorf("%v %v", h, err)
			}
		})
	}
}

// TestIncomplete: both issuers, the client's name and the resource are part of
// what is checked, so none may be missing; and only the provider's own callers
// are shown to it.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	full := idjag.Options{Provider: r.idp.At(oauth.Authentication{Method: oauth.MethodNone}), Server: r.as.At(oauth.Authentication{Method: oauth.MethodNone}),
		ClientID: "gw", Resource: resource, Current: func(call.Principal) bool { return true }}
	pinned, err := oauth.NewServer(http.DefaultClient, "", "https://as.example/token", oauth.Authentication{Method: oauth.MethodNone})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*idjag.Options){
		"provider": func(o *idjag.Options) { o.Provider = nil }, "server": func(o *idjag.Options) { o.Server = nil },
		"provider's issuer": func(o *idjag.Options) { o.Provider = pinned }, "server's issuer": func(o *idjag.Options) { o.Server = pinned },
		"client": func(o *idjag.Options) { o.ClientID = "" }, "resource": func(o *idjag.Options) { o.Resource = "" }, "proofs": func(o *idjag.Options) { o.Current = nil },
	} {
		o := full
		change(&o)
		if _, err := idjag.New(o); err == nil {
			t.Errorf("without %s", name)
		}
	}
	stranger := credentialtest.Subject("https://other.example", "kim", "agent", "tok.kim", time.Now().Add(time.Hour).Unix())
	if _, err := r.Headers(t.Context(), stranger); !errors.Is(err, credential.ErrRefused) || len(r.idp.Forms()) != 0 {
		t.Errorf("a stranger's token was shown: %v", err)
	}
	var zero idjag.Source
	if _, err := zero.Headers(t.Context(), r.kim()); err == nil {
		t.Error("the zero source gave something")
	}
}
