package peruser

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// world is a gateway's grants with the servers and authorization servers that
// they meet, which speak real HTTP over TLS on loopback.
type world struct {
	t       *testing.T
	path    string // of the store
	ring    *keys.Derived
	db      store.Store
	roots   *x509.CertPool
	servers []Server
	grants  *Grants

	mu     sync.Mutex
	events []Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ring, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, path: filepath.Join(t.TempDir(), "store.db"), ring: ring, roots: x509.NewCertPool()}
	w.db = w.openStore()
	return w
}

func (w *world) openStore() store.Store {
	w.t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: w.path})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (w *world) options() Options {
	return Options{Store: w.db, Keys: w.ring, BaseURL: "https://gateway.example", Name: "Munjigi", Servers: w.servers, Roots: w.roots,
		Record: func(_ context.Context, e Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
			return nil
		}}
}

// build makes the grants of the config as it is now, as a start or another
// process does: nothing in memory is handed on.
func (w *world) build() *Grants {
	w.t.Helper()
	g, err := New(w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	w.grants = g
	return g
}

func (w *world) reasons() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		out = append(out, e.Reason)
	}
	return out
}

func (w *world) serve(h http.Handler) string {
	s := httptest.NewTLSServer(h)
	w.t.Cleanup(s.Close)
	w.roots.AddCert(s.Certificate())
	return s.URL
}

// provider is an authorization server.
type provider struct {
	w   *world
	url string

	mu       sync.Mutex
	meta     map[string]any    // changes to its metadata; nil leaves a member out
	clients  map[string]string // secrets by ID
	methods  map[string]string
	codes    map[string]url.Values // authorization requests by code
	tokens   map[string]string     // who an access token is for
	scopes   map[string]string     // of an access token
	refresh  map[string]string     // who a live refresh token is for
	used     int                   // how often a refresh token was used after its time
	lifetime int
	rotate   bool
	lasting  bool
	down     bool
	slow     chan struct{} // a refresh waits for it
	reached  chan struct{} // closed when one does
	lose     int           // how many answers of the token endpoint are cut off after the fact
	serial   int
	forms    []url.Values // what reached the token endpoint
	auths    []string     // with these Authorization headers
	started  []url.Values
	revoked  []string
	answer   func(map[string]any)
	proofs   *checker          // nil gives bearer tokens
	bound    map[string]string // the key of an access token
	keys     map[string]string // of a refresh token
}

func newProvider(w *world) *provider {
	p := &provider{w: w, clients: map[string]string{}, methods: map[string]string{}, codes: map[string]url.Values{}, tokens: map[string]string{},
		scopes: map[string]string{}, refresh: map[string]string{}, bound: map[string]string{}, keys: map[string]string{}, meta: map[string]any{}, lifetime: 3600, rotate: true, lasting: true}
	p.url = w.serve(p)
	return p
}

func (p *provider) host() string { return strings.TrimPrefix(p.url, "https://") }

func (p *provider) set(name string, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meta[name] = v
}

func (p *provider) metadata() map[string]any {
	m := map[string]any{
		"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token",
		"registration_endpoint": p.url + "/register", "revocation_endpoint": p.url + "/revoke",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "none"},
	}
	maps.Copy(m, p.meta)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func (p *provider) next(kind string) string {
	p.serial++
	return fmt.Sprintf("%s-%d-of-%s-%s", kind, p.serial, p.host(), strings.Repeat("s", 16))
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	if p.down {
		reply(http.StatusServiceUnavailable, map[string]any{"error": "temporarily_unavailable"})
		return
	}
	_ = r.ParseForm()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		reply(http.StatusOK, p.metadata())
	case "/register":
		var doc map[string]any
		_ = json.NewDecoder(r.Body).Decode(&doc)
		id, secret := p.next("client"), p.next("secret")
		out := map[string]any{"client_id": id, "redirect_uris": doc["redirect_uris"], "token_endpoint_auth_method": doc["token_endpoint_auth_method"]}
		if doc["token_endpoint_auth_method"] != "none" {
			p.clients[id], out["client_secret"] = secret, secret
		} else {
			p.clients[id] = ""
		}
		reply(http.StatusCreated, out)
	case "/token":
		p.token(w, r, reply)
	case "/revoke":
		p.revoked = append(p.revoked, r.PostForm.Get("token"))
		delete(p.refresh, r.PostForm.Get("token"))
		w.WriteHeader(http.StatusOK)
	default:
		reply(http.StatusNotFound, map[string]any{"error": "not_found"})
	}
}

func (p *provider) token(w http.ResponseWriter, r *http.Request, reply func(int, any)) {
	form := maps.Clone(r.PostForm)
	p.forms, p.auths = append(p.forms, form), append(p.auths, r.Header.Get("Authorization"))
	no := func(code string) {
		reply(http.StatusBadRequest, map[string]any{"error": code, "error_description": "<b>never shown</b>"})
	}
	id, secret, basic := r.BasicAuth()
	id, _ = url.QueryUnescape(id) // RFC 6749 2.3.1
	secret, _ = url.QueryUnescape(secret)
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	if want, known := p.clients[id]; !known || want != secret && want != "jwt" {
		no("invalid_client")
		return
	}
	who, scope, jkt := "", "", ""
	if p.proofs != nil {
		var why string
		if jkt, why = p.proofs.judge(r.Header, http.MethodPost, p.url+"/token", ""); why != "" {
			w.Header().Set("DPoP-Nonce", p.proofs.nonce)
			no(why)
			return
		}
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		q, ok := p.codes[form.Get("code")]
		delete(p.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || q.Get("redirect_uri") != form.Get("redirect_uri") ||
			q.Get("client_id") != id || q.Get("dpop_jkt") != jkt || q.Get("resource") != form.Get("resource") {
			no("invalid_grant")
			return
		}
		who, scope = q.Get("user"), q.Get("scope")
	case "refresh_token":
		old := form.Get("refresh_token")
		who = p.refresh[old]
		if who == "" || p.keys[old] != jkt {
			p.used++
			no("invalid_grant")
			return
		}
		if p.rotate && p.lose == 0 {
			delete(p.refresh, old)
		}
		if p.slow != nil {
			wait := p.slow
			if p.reached != nil {
				close(p.reached)
				p.reached = nil
			}
			p.mu.Unlock()
			<-wait
			p.mu.Lock()
		}
	default:
		no("unsupported_grant_type")
		return
	}
	access := p.next("access")
	p.tokens[access], p.scopes[access] = who, scope
	out := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": p.lifetime}
	if p.lasting && (p.rotate || form.Get("grant_type") != "refresh_token") {
		refresh := p.next("refresh")
		p.refresh[refresh], out["refresh_token"] = who, refresh
	}
	if p.proofs != nil {
		out["token_type"], p.bound[access] = "DPoP", jkt
	}
	if refresh, ok := out["refresh_token"].(string); ok {
		p.keys[refresh] = jkt
	}
	if p.answer != nil {
		p.answer(out)
	}
	if p.lose > 0 {
		p.lose--
		panic(http.ErrAbortHandler)
	}
	reply(http.StatusOK, out)
}

// visit is a person's browser at the authorization server: it agrees, and gives
// back the query that comes to our redirect URI.
func (p *provider) visit(authorize, user string) url.Values {
	p.w.t.Helper()
	u, err := url.Parse(authorize)
	if err != nil || !strings.HasPrefix(authorize, p.url+"/authorize?") {
		p.w.t.Fatalf("a browser was sent to %s", authorize)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q := u.Query()
	p.started = append(p.started, maps.Clone(q))
	state := q.Get("state")
	q.Set("user", user)
	code := p.next("code")
	p.codes[code] = q
	out := url.Values{"state": {state}, "code": {code}}
	if p.metadata()["authorization_response_iss_parameter_supported"] == true {
		out.Set("iss", p.url)
	}
	return out
}

func (p *provider) read(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// upstream is an MCP server as far as its door goes. It notes whose token came
// with each request.
type upstream struct {
	w    *world
	name string
	url  string

	mu       sync.Mutex
	promise  map[string]any
	scope    string // in its challenge
	inside   string // resource_metadata of its challenge, where it is not the usual
	bare     bool   // no resource_metadata
	trusts   []*provider
	need     string // a scope without which it answers 403
	requests []http.Header
	who      []string
	proofs   *checker
}

func newUpstream(w *world, name string, trusts ...*provider) *upstream {
	s := &upstream{w: w, name: name, trusts: trusts}
	s.url = w.serve(s)
	s.promise = map[string]any{"resource": s.url + "/mcp", "authorization_servers": []string{trusts[0].url}, "scopes_supported": []string{"a", "b"}}
	srv := Server{Name: name, URL: s.url + "/mcp"}
	for _, p := range trusts {
		srv.PrivateHosts = append(srv.PrivateHosts, p.host())
	}
	w.servers = append(w.servers, srv)
	return s
}

func (s *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == prmPath+"/mcp" {
		_ = json.NewEncoder(w).Encode(s.promise)
		return
	}
	if r.URL.Path != "/mcp" {
		http.NotFound(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	s.requests = append(s.requests, r.Header.Clone())
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	who, scopes, code := "", "", ""
	for _, p := range s.trusts {
		p.read(func() {
			if p.tokens[token] != "" {
				who, scopes = p.tokens[token], p.scopes[token]
			}
		})
	}
	if s.proofs != nil && who != "" {
		jkt, why := s.proofs.judge(r.Header, r.Method, s.url+"/mcp", token)
		s.trusts[0].read(func() {
			if why != "" || s.trusts[0].bound[token] != jkt {
				who, code = "", why
			}
		})
		w.Header().Set("DPoP-Nonce", s.proofs.nonce)
	}
	challenge := "Bearer"
	sep := " "
	add := func(name, value string) {
		challenge += sep + name + `="` + value + `"`
		sep = ", "
	}
	at := s.url + prmPath + "/mcp"
	if s.inside != "" {
		at = s.inside
	}
	if !s.bare {
		add("resource_metadata", at)
	}
	switch {
	case who == "":
		if code != "" {
			add("error", code)
		}
		if s.scope != "" {
			add("scope", s.scope)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	case s.need != "" && !strings.Contains(" "+scopes+" ", " "+s.need+" "):
		add("error", "insufficient_scope")
		add("scope", s.need)
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusForbidden)
	default:
		s.who = append(s.who, who)
		_, _ = io.WriteString(w, who)
	}
}

func (s *upstream) read(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// call sends one request through a source as the transport does, and returns
// who the server took the caller for.
func (w *world) call(g *Grants, server string, p call.Principal) (string, error) {
	w.t.Helper()
	src, err := g.Source(server)
	if err != nil {
		w.t.Fatal(err)
	}
	var at string
	for _, s := range w.servers {
		if s.Name == server {
			at = s.URL
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig(w.roots), DisableKeepAlives: true}}
	ctx, sub := context.Background(), credential.Subject{Principal: p}
	for again := false; ; again = true {
		h, err := src.Headers(ctx, sub)
		if err != nil {
			return "", err
		}
		if err := src.Prove(ctx, sub, http.MethodPost, h); err != nil {
			return "", err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader("{}"))
		if err != nil {
			w.t.Fatal(err)
		}
		maps.Copy(r.Header, h)
		res, err := client.Do(r)
		if err != nil {
			return "", err
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return string(body), nil
		}
		rej := credential.Rejection{Status: res.StatusCode, Challenges: res.Header.Values("WWW-Authenticate"), Sent: h,
			Nonce: res.Header.Get("DPoP-Nonce"), Again: again}
		if err := src.Rejected(ctx, sub, rej); err != nil {
			return "", err
		}
		if again {
			return "", credential.ErrRefused
		}
	}
}

// asked makes a call that must need a grant, and returns what is needed.
func (w *world) asked(g *Grants, server string, p call.Principal) credential.GrantNeeded {
	w.t.Helper()
	who, err := w.call(g, server, p)
	var need *credential.GrantNeeded
	if !errors.As(err, &need) {
		w.t.Fatalf("a call of %s at %s should need a grant: %q %v", p, server, who, err)
	}
	if need.Server != server || need.URL != "https://gateway.example"+credential.GrantPage+"?id="+need.ID || len(need.ID) < 26 {
		w.t.Fatalf("%+v", need)
	}
	return *need
}

// grant has a person go the whole way for one server.
func (w *world) grant(g *Grants, server string, at *provider, p call.Principal) credential.Given {
	w.t.Helper()
	need := w.asked(g, server, p)
	to, err := g.Start(context.Background(), need.ID, p)
	if err != nil {
		w.t.Fatal(err)
	}
	given, err := g.Finish(context.Background(), at.visit(to, p.Identity().Subject), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return given
}

// mustCall makes a call that must be taken for p's.
func (w *world) mustCall(g *Grants, server string, p call.Principal) {
	w.t.Helper()
	if who, err := w.call(g, server, p); err != nil || who != p.Identity().Subject {
		w.t.Fatalf("the call of %s at %s was taken for %q: %v", p, server, who, err)
	}
}

func person(subject, client string) call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "https://login.example", Subject: subject, Client: client, Kind: call.Person})
}
