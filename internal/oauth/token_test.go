package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/oauth"
)

// endpoint is an authorization server with metadata; answer writes what its
// token endpoint says.
func endpoint(t testing.TB, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	var s *httptest.Server
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, s.URL, s.URL+"/token")
	})
	mux.HandleFunc("POST /token", answer)
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func reach(t testing.TB, s *httptest.Server) *http.Client {
	t.Helper()
	c, err := egress.Client(egress.Rules{Allow: []string{strings.TrimPrefix(s.URL, "http://")}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t testing.TB, s *httptest.Server, auth oauth.Authentication) *oauth.Server {
	t.Helper()
	if auth.Method == "" {
		auth = oauth.Authentication{Method: oauth.MethodNone}
	}
	srv, err := oauth.NewServer(reach(t, s), s.URL, "", auth)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		_, _ = io.WriteString(w, body)
	}
}

const hush = "hunter2-is-what-nobody-may-read"

// TestAnswers reads what token endpoints say, honest ones and others. Whatever
// an endpoint writes besides its token stays out of errors.
func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer http.HandlerFunc
		want   oauth.Ask
		token  string
		life   time.Duration
		refuse bool // for good
	}{
		"plain":              {answer: says(`{"access_token":"abc.DEF-_~+/=","token_type":"Bearer","expires_in":3600}`), token: "abc.DEF-_~+/=", life: time.Hour},
		"bearer in any case": {answer: says(`{"access_token":"abc","token_type":"bEARER","expires_in":60}`), token: "abc", life: time.Minute},
		"life as text":       {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":"3599"}`), token: "abc", life: 3599 * time.Second},
		"no life":            {answer: says(`{"access_token":"abc","token_type":"Bearer"}`), token: "abc", life: 5 * time.Minute},
		"for ever":           {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":1e300}`), token: "abc", life: 24 * time.Hour},
		"wanted kind":        {answer: says(`{"access_token":"abc","token_type":"N_A","issued_token_type":"` + oauth.TypeIDJAG + `","expires_in":60}`), want: oauth.Ask{Type: "N_A", Kind: oauth.TypeIDJAG}, token: "abc", life: time.Minute},
		"other kind":         {answer: says(`{"access_token":"abc","token_type":"Bearer","issued_token_type":"` + oauth.TypeRefresh + `"}`), want: oauth.Ask{Kind: oauth.TypeAccess}, refuse: true},
		"no kind":            {answer: says(`{"access_token":"abc","token_type":"Bearer"}`), want: oauth.Ask{Kind: oauth.TypeAccess}, refuse: true},
		"DPoP":               {answer: says(`{"access_token":"abc","token_type":"DPoP","expires_in":60}`), refuse: true},
		"no type":            {answer: says(`{"access_token":"abc","expires_in":60}`), refuse: true},
		"N_A as bearer":      {answer: says(`{"access_token":"abc","token_type":"N_A","expires_in":60}`), refuse: true},
		"bearer as N_A":      {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":60}`), want: oauth.Ask{Type: "N_A"}, refuse: true},
		"line break":         {answer: says(`{"access_token":"abc\r\nX-Evil: 1","token_type":"Bearer"}`), refuse: true},
		"space":              {answer: says(`{"access_token":"abc def","token_type":"Bearer"}`), refuse: true},
		"no token":           {answer: says(`{"token_type":"Bearer"}`), refuse: true},
		"token of 20 kB":     {answer: says(`{"access_token":"` + strings.Repeat("a", 20_000) + `","token_type":"Bearer"}`), refuse: true},
		"ended":              {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":0}`), refuse: true},
		"ended long ago":     {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":-5}`), refuse: true},
		"life is no number":  {answer: says(`{"access_token":"abc","token_type":"Bearer","expires_in":"NaN"}`), refuse: true},
		"two tokens":         {answer: says(`{"access_token":"abc","access_token":"def","token_type":"Bearer"}`)},
		"not JSON":           {answer: says(`access_token=` + hush)},
		"not said to be JSON": {answer: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"abc","token_type":"Bearer"}`)
		}},
		"list": {answer: says(`[{"access_token":"abc"}]`)},
		"refusal": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"`+hush+`","error_uri":"https://x.example/`+hush+`"}`)
		}, refuse: true},
		"refusal with a strange code": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"`+hush+`"}`)
		}, refuse: true},
		"page of errors": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
			_, _ = io.WriteString(w, "<h1>"+hush+"</h1>")
		}},
		"busy": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"temporarily_unavailable"}`)
		}},
		"too many": {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }},
		"100 MB": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"`)
			for range 100 {
				if _, err := io.WriteString(w, strings.Repeat("a", 1<<20)); err != nil {
					return
				}
			}
		}},
		"cut off": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"`+hush)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := at(t, endpoint(t, tt.answer), oauth.Authentication{})
			tok, err := s.Token(t.Context(), url.Values{"grant_type": {"x"}}, tt.want)
			if tt.token == "" {
				var no *oauth.Error
				good := errors.Is(err, oauth.ErrAnswer) || errors.As(err, &no) && !no.Temporary()
				if err == nil || good != tt.refuse {
					t.Errorf("refused for good: %v, want %v: %v", good, tt.refuse, err)
				}
				if strings.Contains(fmt.Sprint(err), "hunter2") || strings.Contains(fmt.Sprint(err), "Evil") {
					t.Errorf("the error has the server's words: %v", err)
				}
				return
			}
			if err != nil || tok.Access.Reveal() != tt.token {
				t.Fatalf("%v %v", tok, err)
			}
			if life := time.Until(tok.Expires); life > tt.life || life < tt.life-10*time.Second {
				t.Errorf("life %v, want %v", life, tt.life)
			}
		})
	}
}

// TestNoWayAround: a token endpoint that redirects, or lies inside, is shown
// nothing.
func TestNoWayAround(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	t.Cleanup(inside.Close)
	for _, code := range []int{301, 302, 303, 307, 308} {
		as := endpoint(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL+"/token", code) })
		if _, err := at(t, as, oauth.Authentication{}).Token(t.Context(), url.Values{"subject_token": {"x"}}, oauth.Ask{}); err == nil {
			t.Errorf("%d was followed", code)
		}
	}
	var again atomic.Int64
	as := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if again.Add(1) == 1 {
			http.Redirect(w, r, "/token?once-more", http.StatusTemporaryRedirect)
			return
		}
		says(`{"access_token":"abc","token_type":"Bearer"}`)(w, r)
	})
	if _, err := at(t, as, oauth.Authentication{}).Token(t.Context(), url.Values{"subject_token": {"x"}}, oauth.Ask{}); err == nil || again.Load() != 1 {
		t.Errorf("a redirect within the host was followed: %v", err)
	}
	for _, to := range []string{inside.URL + "/token", "http://169.254.169.254/token", "ftp://x.example/", "https://user:pw@x.example/", "file:///etc/passwd", "https://x.example/#f"} {
		var as *httptest.Server
		as = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, as.URL, to)
		}))
		t.Cleanup(as.Close)
		if _, err := at(t, as, oauth.Authentication{}).Token(t.Context(), url.Values{}, oauth.Ask{}); err == nil {
			t.Errorf("%s was asked", to)
		}
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the inside was reached %d times", n)
	}
	for _, bad := range [][2]string{{"", ""}, {"http://x.example", ""}, {"", "http://x.example/t"}, {"https://u:p@x.example", ""}} {
		if _, err := oauth.NewServer(http.DefaultClient, bad[0], bad[1], oauth.Authentication{Method: oauth.MethodNone}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func keyText(t *testing.T, k any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func fixed(s string) func(context.Context) (secret.Value, error) {
	return func(context.Context) (secret.Value, error) { return secret.New(s), nil }
}

// TestClientProof looks at what each way to authenticate sends.
func TestClientProof(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it must be refused
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := (&jose.JSONWebKey{Key: ec, KeyID: "mine"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	public, err := (&jose.JSONWebKey{Key: ec.Public(), KeyID: "mine"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		auth oauth.Authentication
		want map[string]string // of the form and, as "basic", the header
		alg  string
		kid  string
		key  crypto.Signer
		bad  bool
	}{
		"none":   {auth: oauth.Authentication{Method: oauth.MethodNone, ClientID: "gw"}, want: map[string]string{"client_id": "gw"}},
		"nobody": {auth: oauth.Authentication{Method: oauth.MethodNone}, want: map[string]string{}},
		"basic": {auth: oauth.Authentication{Method: oauth.MethodBasic, ClientID: "g:w", Secret: fixed("p w%:")},
			want: map[string]string{"basic": "g%3Aw p+w%25%3A"}},
		"post": {auth: oauth.Authentication{Method: oauth.MethodPost, ClientID: "gw", Secret: fixed("p&w")}, want: map[string]string{"client_id": "gw", "client_secret": "p&w"}},
		"assertion": {auth: oauth.Authentication{Method: oauth.MethodAssertion, ClientID: "gw", Secret: fixed("a.b.c\n")},
			want: map[string]string{"client_id": "gw", "client_assertion": "a.b.c", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}},
		"assertion that is none": {auth: oauth.Authentication{Method: oauth.MethodAssertion, Secret: fixed("a b")}, bad: true},
		"RSA":                    {auth: oauth.Authentication{Secret: fixed(keyText(t, rsaKey))}, alg: "RS256", key: rsaKey},
		"RSA-PSS":                {auth: oauth.Authentication{Secret: fixed(keyText(t, rsaKey)), Algorithm: "PS256", KeyID: "k9"}, alg: "PS256", key: rsaKey, kid: "k9"},
		"EC":                     {auth: oauth.Authentication{Secret: fixed(keyText(t, ec))}, alg: "ES256", key: ec},
		"Ed25519":                {auth: oauth.Authentication{Secret: fixed(keyText(t, ed))}, alg: "EdDSA", key: ed},
		"JWK":                    {auth: oauth.Authentication{Secret: fixed(string(jwk))}, alg: "ES256", key: ec, kid: "mine"},
		"wrong algorithm":        {auth: oauth.Authentication{Secret: fixed(keyText(t, ec)), Algorithm: "RS256"}, bad: true},
		"HMAC":                   {auth: oauth.Authentication{Secret: fixed(keyText(t, ec)), Algorithm: "HS256"}, bad: true},
		"none as algorithm":      {auth: oauth.Authentication{Secret: fixed(keyText(t, ec)), Algorithm: "none"}, bad: true},
		"short RSA":              {auth: oauth.Authentication{Secret: fixed(keyText(t, small))}, bad: true},
		"public key":             {auth: oauth.Authentication{Secret: fixed(string(public))}, bad: true},
		"no key":                 {auth: oauth.Authentication{Secret: fixed(hush)}, bad: true},
		"symmetric JWK":          {auth: oauth.Authentication{Secret: fixed(`{"kty":"oct","k":"aHVudGVyMi1pcy13aGF0LW5vYm9keS1tYXktcmVhZA"}`)}, bad: true},
		"no secret":              {auth: oauth.Authentication{Method: oauth.MethodBasic, ClientID: "gw", Secret: func(context.Context) (secret.Value, error) { return secret.Value{}, errDown }}, bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{}
			asked := false
			as := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
				asked = true
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				for k := range r.PostForm {
					if k != "grant_type" {
						got[k] = r.PostForm.Get(k)
					}
				}
				if u, p, ok := r.BasicAuth(); ok {
					got["basic"] = u + " " + p
				}
				says(`{"access_token":"abc","token_type":"Bearer"}`)(w, r)
			})
			if tt.key != nil || tt.auth.Method == "" {
				tt.auth.Method, tt.auth.ClientID = oauth.MethodPrivateKey, "gw"
			}
			_, err := at(t, as, tt.auth).Token(t.Context(), url.Values{"grant_type": {"x"}}, oauth.Ask{})
			if tt.bad {
				if err == nil || asked {
					t.Errorf("it was sent: %v", got)
				}
				if strings.Contains(fmt.Sprint(err), "hunter2") {
					t.Errorf("the error shows the secret: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.key == nil {
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				return
			}
			jws, err := jose.ParseSignedCompact(got["client_assertion"], []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.alg)})
			if err != nil {
				t.Fatal(err)
			}
			body, err := jws.Verify(tt.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Iss, Sub, Jti string
				Aud           string // one text, not a list
				Iat, Exp      int64
			}
			if err := json.Unmarshal(body, &c); err != nil {
				t.Fatal(err)
			}
			h := jws.Signatures[0].Header
			if c.Iss != "gw" || c.Sub != "gw" || c.Aud != as.URL || len(c.Jti) < 20 || c.Exp-c.Iat != 60 || h.ExtraHeaders["typ"] != "client-authentication+jwt" {
				t.Errorf("%+v %+v", c, h)
			}
			if h.KeyID == "" || tt.kid != "" && h.KeyID != tt.kid {
				t.Errorf("kid %q", h.KeyID)
			}
		})
	}
}

// FuzzAnswer holds that only a token that can be sent comes out.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"access_token":"abc","token_type":"Bearer","expires_in":3600}`)
	f.Add(`{"access_token":"a\u0000b","token_type":"bearer","expires_in":"1"}`)
	f.Add(`{"access_token":"abc","token_type":"Bearer","expires_in":1e400}`)
	f.Add(`{"access_token":"abc","token_type":"Bearer","expires_in":0.0000001}`)
	var body atomic.Value
	body.Store("")
	s := endpoint(f, func(w http.ResponseWriter, r *http.Request) { says(body.Load().(string))(w, r) })
	srv := at(f, s, oauth.Authentication{})
	f.Fuzz(func(t *testing.T, text string) {
		body.Store(text)
		tok, err := srv.Token(t.Context(), url.Values{}, oauth.Ask{})
		if err != nil {
			return
		}
		v := tok.Access.Reveal()
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) || tok.Type != "bearer" || time.Until(tok.Expires) > 24*time.Hour {
			t.Fatalf("%q gave %q %v", text, v, tok)
		}
	})
}

// FuzzPeek holds that reading a token never fails in another way than by saying
// no, and finds what is there.
func FuzzPeek(f *testing.F) {
	f.Add("eyJ0eXAiOiJKV1QifQ.eyJhdWQiOlsiYSIsImIiXSwiaXNzIjoieCJ9.c2ln")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		c, ok := oauth.Peek(token)
		if !ok {
			return
		}
		if strings.Count(token, ".") != 2 {
			t.Fatalf("%q is no compact JWS", token)
		}
		if _, ok := c.Texts("aud"); ok && !strings.Contains(token, ".") {
			t.Fatal("claims from nowhere")
		}
	})
}
