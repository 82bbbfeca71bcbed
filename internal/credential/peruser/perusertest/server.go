// Package perusertest is an MCP server with its authorization server, for
// tests of credentials that people grant. The server answers 401 until a
// request carries a token that its authorization server gave, and says which
// request carried which; the authorization server shows a page of its own and
// holds clients to PKCE, the redirect URI and the resource. Both are on loopback
// by plain http. It guarantees nothing to anybody else: never use it outside
// tests.
package perusertest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// ClientID is the public client that is registered.
const ClientID = "munjigi-grants"

// Server is an MCP server (2026-07-28) at Server.URL + "/mcp" and its
// authorization server at Server.URL.
type Server struct {
	*httptest.Server

	mu     sync.Mutex
	codes  map[string]url.Values
	tokens map[string]bool
	heard  []string // values of Authorization that came to the server
}

// New starts one.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{codes: map[string]url.Values{}, tokens: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"resource": s.URL + "/mcp", "authorization_servers": []string{s.URL}, "scopes_supported": []string{"files.read"}})
	})
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token", "revocation_endpoint": s.URL + "/revoke",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
			"authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": []string{"none"}})
	})
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /revoke", s.revoke)
	mux.HandleFunc("POST /mcp", s.mcp)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// Heard lists the values of Authorization that came to the MCP server.
func (s *Server) Heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.heard...)
}

// Tokens is how many access tokens are in force.
func (s *Server) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// authorize shows who asks; its link #go is the consent.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("state") == "" || q.Get("resource") != s.URL+"/mcp" {
		http.Error(w, "bad request: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	code := rand.Text()
	s.mu.Lock()
	s.codes[code] = q
	s.mu.Unlock()
	to.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {s.URL}}.Encode()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Consent</title><h1>May %s use your files?</h1><a id="go" href="%s">Yes</a>`,
		html.EscapeString(q.Get("client_id")), html.EscapeString(to.String()))
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		http.Error(w, "no form", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := s.codes[r.PostForm.Get("code")]
	delete(s.codes, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || r.PostForm.Get("redirect_uri") != q.Get("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") || r.PostForm.Get("resource") != s.URL+"/mcp" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	t := rand.Text()
	s.tokens[t] = true
	reply(w, map[string]any{"access_token": t, "token_type": "Bearer", "expires_in": 600, "scope": q.Get("scope"), "refresh_token": rand.Text()})
}

// revoke takes everything back, whichever token is named.
func (s *Server) revoke(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) mcp(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	auth := r.Header.Get("Authorization")
	ok := s.tokens[strings.TrimPrefix(auth, "Bearer ")]
	s.heard = append(s.heard, auth)
	s.mu.Unlock()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+s.URL+`/.well-known/oauth-protected-resource/mcp", scope="files.read"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
	}
	if json.NewDecoder(r.Body).Decode(&m) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	result := `{"resultType":"complete","tools":[{"name":"look","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}`
	switch m.Method {
	case "server/discover":
		result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}`
	case "tools/call":
		result = `{"resultType":"complete","content":[{"type":"text","text":"the files of a person"}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":` + result + `}`))
}
