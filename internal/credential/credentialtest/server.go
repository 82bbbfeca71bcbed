// Package credentialtest is an authorization server in the test's process, for
// the tests of whoever asks one for tokens.
//
// It keeps what it was sent and mints what the test says. It verifies nothing:
// what a client sends is the test's to judge.
package credentialtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Server is an authorization server with metadata and a token endpoint.
type Server struct {
	*httptest.Server
	t testing.TB
	// Mint answers a token request: a status and a JSON object. The default is a
	// new opaque token of ten minutes. Set it before the first request.
	Mint func(form url.Values) (int, map[string]any)

	mu    sync.Mutex
	forms []url.Values
	n     int
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, s.URL, s.URL+"/token")
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		form := maps.Clone(r.PostForm)
		if u, p, ok := r.BasicAuth(); ok {
			form.Set("basic", u+":"+p)
		}
		s.mu.Lock()
		s.forms = append(s.forms, form)
		mint := s.Mint
		s.mu.Unlock()
		status, body := http.StatusOK, map[string]any(nil)
		if mint != nil {
			status, body = mint(form)
		} else {
			body = Answer(s.Fresh(), 600)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			t.Error(err)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// Fresh returns an opaque token that no other call returns.
func (s *Server) Fresh() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return fmt.Sprintf("token-%d-of-%s", s.n, strings.TrimPrefix(s.URL, "http://127.0.0.1:"))
}

// Answer is a good answer of a token endpoint.
func Answer(token string, seconds int) map[string]any {
	return map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": seconds, "issued_token_type": oauth.TypeAccess}
}

// Forms returns what the token endpoint was sent, with basic for the user and
// password of RFC 6749 2.3.1.
func (s *Server) Forms() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.forms)
}

// Host is what egress.allow names.
func (s *Server) Host() string { return strings.TrimPrefix(s.URL, "http://") }

// At returns the server as its client sees it.
func (s *Server) At(auth oauth.Authentication) *oauth.Server {
	s.t.Helper()
	c, err := egress.Client(egress.Rules{Allow: []string{s.Host()}, Timeout: 5 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	srv, err := oauth.NewServer(c, s.URL, "", auth)
	if err != nil {
		s.t.Fatal(err)
	}
	return srv
}

// JWT is a token with these claims and a signature that is none.
func JWT(typ string, claims map[string]any) string {
	body, err := json.Marshal(claims)
	if err != nil {
		return ""
	}
	head := `{"alg":"ES256","typ":"` + typ + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString(body) + ".c2lnbmF0dXJl"
}

// Subject is a person of an issuer with a token that ends at a Unix time.
func Subject(issuer, name, client, token string, expires int64) call.Subject {
	return call.Subject{Token: secret.New(token), Principal: call.NewPrincipal(call.Identity{Issuer: issuer, Subject: name, Kind: call.Person,
		Client: client, Proof: token, Expires: expires})}
}
