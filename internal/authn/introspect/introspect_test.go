package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/call"
)

const (
	home    = "https://gw.example/mcp/files"
	sibling = "https://gw.example/mcp/mail"
)

type m = map[string]any

// issuer answers questions about tokens from a table.
type issuer struct {
	url string

	mu     sync.Mutex
	tokens map[string]m
	pages  map[string]http.HandlerFunc
	asked  map[string]int
	all    int
	gate   chan struct{} // questions wait for it, if there is one
}

func newIssuer() *issuer {
	s := &issuer{url: "https://idp.example", tokens: map[string]m{}, pages: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	s.pages["/.well-known/oauth-authorization-server"] = func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(m{"issuer": s.url, "introspection_endpoint": s.url + "/ask"})
	}
	s.pages["/ask"] = s.ask
	return s
}

func (s *issuer) ask(w http.ResponseWriter, r *http.Request) {
	if id, password, _ := r.BasicAuth(); id != "gw" || password != "secret" || r.Method != http.MethodPost ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(b))
	token := form.Get("token")
	s.mu.Lock()
	s.asked[token]++
	s.all++
	claims, gate := s.tokens[token], s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if claims == nil {
		claims = m{"active": false}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(claims)
}

// RoundTrip lets an issuer stand in for the network.
func (s *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	page := s.pages[r.URL.Path]
	s.mu.Unlock()
	w := httptest.NewRecorder()
	if page == nil {
		page = http.NotFound
	}
	page(w, r)
	return w.Result(), nil
}

func (s *issuer) page(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = h
}

func (s *issuer) count(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[token]
}

// give makes a token active with changed claims; nil removes one.
func (s *issuer) give(token string, change m) string {
	now := time.Now().Unix()
	claims := m{"active": true, "iss": s.url, "sub": "alice", "aud": home, "client_id": "editor", "scope": "files:call files:list", "exp": now + 300, "iat": now}
	maps.Copy(claims, change)
	for k, v := range claims {
		if v == nil {
			delete(claims, k)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = claims
	return token
}

func (s *issuer) take(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

func basic(_ context.Context, _ url.Values, h http.Header) error {
	r := &http.Request{Header: h}
	r.SetBasicAuth("gw", "secret")
	return nil
}

func (s *issuer) options() Options {
	return Options{Issuer: s.url, Prove: basic, Client: &http.Client{Transport: s}, Identity: "one",
		Resources: map[string]authn.Resource{home: {Metadata: "https://gw.example/.well-known/oauth-protected-resource/mcp/files", Scope: "files:list"}, sibling: {}},
		Revoked:   func(string) bool { return false }}
}

func open(t testing.TB, o Options) *Introspector {
	t.Helper()
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func request(resource string, authorization ...string) authn.Request {
	h := http.Header{}
	if authorization != nil {
		h["Authorization"] = authorization
	}
	return authn.Request{Header: h, Resource: resource, Peer: "192.0.2.1"}
}

func try(i *Introspector, resource, token string) (call.Principal, error) {
	return i.Authenticate(context.Background(), request(resource, "Bearer "+token))
}

func TestAnActiveTokenProvesWhoCalls(t *testing.T) {
	t.Parallel()
	s := newIssuer()
	i := open(t, s.options())
	now := time.Now().Unix()
	s.give("opaque", m{"iat": now, "exp": now + 300, "nbf": now, "jti": "t1", "sid": "s1", "token_type": "Bearer", "acr": "gold", "amr": []string{"pwd"},
		"auth_time": now - 5, "groups": []string{"b", "a"}, "roles": "r", "aud": []string{"https://other.example", "HTTPS://GW.example/mcp/files"},
		"act": m{"sub": "agent"}, "username": "Alice"})
	for range 3 {
		p, err := try(i, home, "opaque")
		if err != nil {
			t.Fatal(err)
		}
		id := p.Identity()
		if !json.Valid(id.Claims) {
			t.Errorf("%s", id.Claims)
		}
		id.Claims = nil
		want := call.Identity{Issuer: s.url, Subject: "alice", Kind: call.Person, Client: "editor", Scopes: []string{"files:call", "files:list"},
			Actors: []string{authn.Pair(s.url, "agent")}, Proof: authn.Pair(s.url, "t1"), Expires: now + 360, Issued: now, Asked: true,
			Session: "s1", Groups: []string{"a", "b"}, Roles: []string{"r"}, ACR: "gold", AMR: []string{"pwd"}, AuthTime: now - 5}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if !i.Current(p) {
			t.Error("not current")
		}
	}
	if n := s.count("opaque"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// An issuer that has no subject to name leaves it out for a client that acts
	// for itself.
	s.give("machine", m{"sub": "editor", "exp": nil, "iat": nil})
	s.give("nameless", m{"sub": nil, "exp": nil, "iat": nil})
	for _, token := range []string{"machine", "nameless"} {
		p, err := try(i, home, token)
		if id := p.Identity(); err != nil || id.Kind != call.Workload || id.Subject != "editor" || !strings.HasPrefix(id.Proof, "sha256:") || id.Expires != 0 {
			t.Errorf("%s: %v %+v", token, err, id)
		}
	}
}

// TestAttacks: no answer but a whole one for this resource lets anybody in.
func TestAttacks(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	for _, tt := range []struct {
		name   string
		change m
		want   error
	}{
		{"not active", m{"active": false}, ErrInactive},
		{"no audience", m{"aud": nil}, ErrAudience},
		{"empty audience", m{"aud": []string{}}, ErrAudience},
		{"sibling resource", m{"aud": sibling}, ErrAudience},
		{"the origin", m{"aud": "https://gw.example"}, ErrAudience},
		{"trailing slash", m{"aud": home + "/"}, ErrAudience},
		{"the client as audience", m{"aud": "editor"}, ErrAudience},
		{"audience with a number", m{"aud": []any{home, 1}}, ErrAudience},
		{"another issuer", m{"iss": "https://evil.example"}, ErrIssuer},
		{"issuer with a slash", m{"iss": "https://idp.example/"}, ErrIssuer},
		{"issuer is a list", m{"iss": []string{"https://idp.example"}}, ErrIssuer},
		{"no issuer", m{"iss": nil}, nil},
		{"expired", m{"iat": now - 1000, "exp": now - 61}, ErrExpired},
		{"not yet", m{"nbf": now + 3600}, ErrNotYet},
		{"made in the future", m{"iat": now + 3600, "exp": now + 3700}, ErrNotYet},
		{"exp before iat", m{"iat": now, "exp": now - 1}, ErrClaims},
		{"exp as text", m{"exp": "soon"}, ErrClaims},
		{"exp in milliseconds", m{"exp": (now + 300) * 1000}, ErrClaims},
		{"lives too long", m{"exp": now + 7201}, ErrLifetime},
		{"refresh token by token_type", m{"token_type": "refresh_token"}, ErrType},
		{"refresh token by typ", m{"typ": "Refresh"}, ErrType},
		{"ID token by typ", m{"typ": "ID"}, ErrType},
		{"ID token by nonce", m{"nonce": "n"}, ErrType},
		{"token_type is a number", m{"token_type": 1}, ErrClaims},
		{"no subject and no client", m{"sub": nil, "client_id": nil}, ErrClaims},
		{"a subject of nothing", m{"sub": ""}, ErrClaims},
		{"a session without a subject", m{"sub": nil, "sid": "s1"}, ErrClaims},
		{"a sign-in without a subject", m{"sub": nil, "auth_time": now}, ErrClaims},
		{"an actor without a subject", m{"sub": nil, "act": m{"sub": "agent"}}, ErrClaims},
		{"a user name in its place", m{"sub": nil, "username": "alice"}, ErrClaims},
		{"subject is a number", m{"sub": 7}, ErrClaims},
		{"no client", m{"client_id": nil}, ErrClaims},
		{"scope with a quotation mark", m{"scope": `a"b`}, ErrClaims},
		{"groups are an object", m{"groups": m{}}, ErrClaims},
		{"jti is a number", m{"jti": 1}, ErrClaims},
		{"actor without a name", m{"act": m{}}, ErrClaims},
		{"bound to a DPoP key", m{"cnf": m{"jkt": strings.Repeat("A", 43)}}, ErrBound},
		{"bound to something unknown", m{"cnf": m{"x": "y"}}, ErrBound},
		{"revoked", m{"jti": "gone"}, ErrRevoked},
		{"signed out", m{"sub": "left"}, ErrRevoked},
	} {
		s := newIssuer()
		o := s.options()
		o.MaxLifetime = 2 * time.Hour
		o.Revoked = func(proof string) bool { return proof == authn.Pair(s.url, "gone") }
		o.Ended = func(id call.Identity) bool { return id.Subject == "left" }
		i := open(t, o)
		token := s.give("0123456789abcdefghij", tt.change)
		for range 2 {
			p, err := try(i, home, token)
			if !errors.Is(err, tt.want) || tt.want != nil && p.Valid() {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
				continue
			}
			if tt.want == nil {
				continue
			}
			var no *authn.Refusal
			want := `Bearer error="invalid_token", error_description="` + tt.want.Error() +
				`", resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp/files", scope="files:list"`
			if !errors.As(err, &no) || no.Challenge != want || strings.Contains(no.Text+no.Challenge, token[:16]) {
				t.Errorf("%s: %+v", tt.name, no)
			}
		}
		if n := s.count(token); n != 1 {
			t.Errorf("%s: asked %d times", tt.name, n)
		}
	}
}

// TestOneAnswerServesEachResource: the audience is judged for each resource
// although the issuer was asked once.
func TestOneAnswerServesEachResource(t *testing.T) {
	t.Parallel()
	s := newIssuer()
	i := open(t, s.options())
	s.give("t", nil)
	if _, err := try(i, home, "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := try(i, sibling, "t"); !errors.Is(err, ErrAudience) {
		t.Errorf("the sibling: %v", err)
	}
	if _, err := try(i, "https://gw.example/mcp/nothing", "t"); !errors.Is(err, ErrResource) {
		t.Errorf("nothing: %v", err)
	}
	if s.count("t") != 1 {
		t.Error("asked again")
	}
}

func TestHeadersThatAreNone(t *testing.T) {
	t.Parallel()
	s := newIssuer()
	i := open(t, s.options())
	for _, tt := range []struct {
		headers []string
		want    error
	}{
		{nil, ErrMissing},
		{[]string{"Bearer a", "Bearer a"}, ErrHeader},
		{[]string{"Basic a"}, ErrHeader},
		{[]string{"Bearer"}, ErrHeader},
		{[]string{"DPoP a"}, ErrHeader},
		{[]string{"Bearer "}, ErrMalformed},
		{[]string{"Bearer  a"}, ErrMalformed},
		{[]string{"Bearer a b"}, ErrMalformed},
		{[]string{"Bearer a&token=b"}, ErrMalformed},
		{[]string{"Bearer a\r\nx"}, ErrMalformed},
		{[]string{"Bearer =a"}, ErrMalformed},
		{[]string{"Bearer ä"}, ErrMalformed},
		{[]string{"Bearer " + strings.Repeat("a", maxToken+1)}, ErrMalformed},
	} {
		if _, err := i.Authenticate(t.Context(), request(home, tt.headers...)); !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.headers, err, tt.want)
		}
	}
	if s.all != 0 {
		t.Errorf("the issuer was asked %d times", s.all)
	}
	var zero Introspector
	if _, err := try(&zero, home, "a"); err == nil || zero.Current(call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person})) {
		t.Error("the zero value lets somebody in")
	}
}

// TestBrokenAnswers: what cannot be believed is no answer, and nobody gets in.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, text)
		}
	}
	good := `"iss":"https://idp.example","sub":"a","aud":"` + home + `","client_id":"c"`
	log := &strings.Builder{}
	for name, page := range map[string]http.HandlerFunc{
		"500":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"401":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"204":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"redirect":        http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP,
		"a page":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"active":true,`+good+`}`) },
		"no active":       body(`{` + good + `}`),
		"active as text":  body(`{"active":"true",` + good + `}`),
		"active as 1":     body(`{"active":1,` + good + `}`),
		"active twice":    body(`{"active":true,"active":false,` + good + `}`),
		"an array":        body(`[{"active":true}]`),
		"cut off":         body(`{"active":true,` + good),
		"more behind":     body(`{"active":true,` + good + `}{}`),
		"very deep":       body(`{"active":true,` + good + `,"x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`),
		"100 KB":          body(`{"active":true,` + good + `,"x":"` + strings.Repeat("x", 100<<10) + `"}`),
		"bad UTF-8":       body("{\"active\":true," + good + ",\"x\":\"\xff\"}"),
		"nothing":         body(""),
		"no announcement": nil,
	} {
		s := newIssuer()
		o := s.options()
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		if name == "redirect" {
			o.Client = &http.Client{Transport: s, CheckRedirect: func(*http.Request, []*http.Request) error { return egress.ErrRedirect }}
		}
		if page == nil {
			s.page("/.well-known/oauth-authorization-server", http.NotFound)
		} else {
			s.page("/ask", page)
		}
		_, err := try(open(t, o), home, "0123456789abcdefghij")
		if !errors.Is(err, ErrProvider) || !errors.Is(err, authn.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if strings.Contains(log.String(), "0123456789abcdef") || !strings.Contains(log.String(), "status 500") {
		t.Errorf("the log: %s", log)
	}
}

// TestWhatIsTakenBackEnds follows one token through time: used from memory for
// as long as an answer holds, asked anew after that, refused once it is taken
// back, and never used past its end.
func TestWhatIsTakenBackEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		i := open(t, s.options())
		now := time.Now().Unix()
		s.give("t", m{"iat": now, "exp": now + 3600})
		p, err := try(i, home, "t")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultCache - time.Second)
		if _, err := try(i, home, "t"); err != nil || s.count("t") != 1 {
			t.Fatalf("%v, asked %d times", err, s.count("t"))
		}
		time.Sleep(2 * time.Second)
		if _, err := try(i, home, "t"); err != nil || s.count("t") != 2 {
			t.Fatalf("%v, asked %d times", err, s.count("t"))
		}
		s.take("t")
		time.Sleep(DefaultCache + time.Second)
		if !i.Current(p) {
			t.Error("a stream ends before the issuer was asked")
		}
		synctest.Wait()
		if i.Current(p) {
			t.Error("a stream outlives its token")
		}
		if _, err := try(i, home, "t"); !errors.Is(err, ErrInactive) {
			t.Error(err)
		}
		asked := s.count("t")
		if _, err := try(i, home, "t"); !errors.Is(err, ErrInactive) || s.count("t") != asked {
			t.Error("a no is not remembered", err)
		}
		s.give("t", nil)
		time.Sleep(NegativeCache + time.Second)
		if _, err := try(i, home, "t"); err != nil {
			t.Error("a no is remembered for ever:", err)
		}

		s.give("short", m{"iat": now, "exp": time.Now().Unix() + 5})
		if _, err := try(i, home, "short"); err != nil {
			t.Error(err)
		}
		time.Sleep(4*time.Second + time.Duration(i.skew)*time.Second)
		if _, err := try(i, home, "short"); err != nil {
			t.Error("before its end:", err)
		}
		s.mu.Lock()
		s.tokens["short"]["exp"] = time.Now().Unix() + 3600 // the issuer never shortens what was said
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		before := s.count("short")
		if _, err := try(i, home, "short"); err != nil || s.count("short") != before+1 {
			t.Errorf("past its end it was not asked about anew: %v", err)
		}
	})
}

// TestIssuerDown: nobody gets in on an old answer, requests do not queue up at
// an issuer that does not answer, and streams end after a bounded time.
func TestIssuerDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		i := open(t, s.options())
		s.give("t", m{"exp": time.Now().Unix() + 3600})
		p, err := try(i, home, "t")
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		s.page("/ask", func(w http.ResponseWriter, _ *http.Request) { failed++; w.WriteHeader(503) })
		if _, err := try(i, home, "t"); err != nil {
			t.Error("an answer that holds:", err)
		}
		time.Sleep(DefaultCache + time.Second)
		for range 50 {
			if _, err := try(i, home, "t"); !errors.Is(err, ErrProvider) {
				t.Error(err)
			}
		}
		if failed != 1 {
			t.Errorf("asked %d times within a second", failed)
		}
		for held := time.Duration(0); i.Current(p); held += time.Second {
			if held > DefaultCache {
				t.Fatal("a stream goes on without an answer")
			}
			time.Sleep(time.Second)
		}
		s.page("/ask", s.ask)
		time.Sleep(2 * time.Second)
		if _, err := try(i, home, "t"); err != nil {
			t.Error("after it came back:", err)
		}
	})
}

// TestManyAskOnce: however many requests carry a token, one question is asked.
func TestManyAskOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		s.gate = make(chan struct{})
		i := open(t, s.options())
		s.give("t", nil)
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if _, err := try(i, home, "t"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := i.Authenticate(gone, request(home, "Bearer t")); !errors.Is(err, ErrProvider) {
			t.Errorf("who went away: %v", err)
		}
		close(s.gate)
		wg.Wait()
		if s.count("t") != 1 {
			t.Errorf("asked %d times", s.count("t"))
		}
	})
}

// TestStrangersFlood: one address that sends tokens without end neither floods
// the issuer nor keeps others out.
func TestStrangersFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		i := open(t, s.options())
		s.give("known", m{"exp": time.Now().Unix() + 3600})
		if _, err := try(i, home, "known"); err != nil {
			t.Fatal(err)
		}
		busy := 0
		for n := range 5000 {
			r := request(home, fmt.Sprintf("Bearer guess-%d", n))
			r.Peer = fmt.Sprintf("2001:db8::%x", n) // all of one network
			var no *authn.Refusal
			if _, err := i.Authenticate(t.Context(), r); errors.Is(err, ErrBusy) {
				busy++
				if !errors.As(err, &no) || no.Reason != call.ReasonTooMany || no.Challenge != "" {
					t.Fatalf("%+v", no)
				}
			} else if !errors.Is(err, ErrInactive) {
				t.Fatal(err)
			}
		}
		if s.all > newAtOnce+1 || busy != 5000-newAtOnce {
			t.Errorf("the issuer was asked %d times, %d were turned away", s.all, busy)
		}
		s.give("new", nil)
		if _, err := try(i, home, "new"); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(DefaultCache + time.Second)
		from := func(token string) authn.Request {
			r := request(home, "Bearer "+token)
			r.Peer = "2001:db8::1"
			return r
		}
		var last error
		for n := range newAtOnce + 10 {
			_, last = i.Authenticate(t.Context(), from(fmt.Sprintf("more-%d", n)))
		}
		if !errors.Is(last, ErrBusy) {
			t.Error("the flood was not stopped:", last)
		}
		if _, err := i.Authenticate(t.Context(), from("known")); err != nil {
			t.Errorf("a token that is known, from an address that floods: %v", err)
		}
	})
}

func TestTablesAreBounded(t *testing.T) {
	t.Parallel()
	c := newCache(100, 1<<20)
	now := time.Now()
	for n := range 30_000 {
		d := digest(fmt.Sprint(n))
		c.refuse(d, now.Add(NegativeCache))
		c.put(&answer{digest: digest(fmt.Sprint("a", n)), proof: fmt.Sprint(n), size: 5000, good: now.Add(time.Second)}, now)
	}
	if len(c.no) > mostRefused || len(c.by) > 100 || c.size > 1<<20+7000 || len(c.proof) != len(c.by) {
		t.Errorf("%d refused, %d answers, %d bytes, %d proofs", len(c.no), len(c.by), c.size, len(c.proof))
	}
	later := now.Add(time.Minute)
	for n := range 200 {
		c.refuse(digest(fmt.Sprint("later", n)), later)
	}
	c.forget(func(call.Identity) bool { return true })
	if len(c.by) != 0 || len(c.proof) != 0 || c.size != 0 {
		t.Errorf("%d answers, %d proofs, %d bytes are left", len(c.by), len(c.proof), c.size)
	}
}

// TestJWTsAreAskedAbout: what another authenticator verified is refused as soon
// as the issuer says so.
func TestJWTsAreAskedAbout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		i := open(t, s.options())
		p := call.NewPrincipal(call.Identity{Issuer: s.url, Subject: "alice", Kind: call.Person, Proof: "p"})
		s.give("a.b.c", m{"aud": nil, "sub": nil, "client_id": nil})
		if i.Current(p) {
			t.Error("current before anybody asked")
		}
		if err := i.Confirms(t.Context(), request(home), "a.b.c", p); err != nil || !i.Current(p) {
			t.Error(err)
		}
		s.take("a.b.c")
		time.Sleep(DefaultCache + time.Second)
		if err := i.Confirms(t.Context(), request(home), "a.b.c", p); !errors.Is(err, ErrInactive) || i.Current(p) {
			t.Error(err)
		}
		s.give("d.e.f", m{"iss": "https://evil.example"})
		if err := i.Confirms(t.Context(), request(home), "d.e.f", p); !errors.Is(err, ErrIssuer) {
			t.Error(err)
		}
		if err := i.Confirms(t.Context(), request(home), "d.e.f", call.Principal{}); err == nil {
			t.Error("nobody was confirmed")
		}
	})
}

func TestBoundTokensAndReload(t *testing.T) {
	t.Parallel()
	s := newIssuer()
	o := s.options()
	confirmed := 0
	o.Confirm = func(_ context.Context, _ authn.Request, scheme, token string, p call.Principal) error {
		confirmed++
		if scheme != "DPoP" || token != "t" || p.Identity().Confirmation.JKT == "" {
			return &authn.Refusal{Reason: call.ReasonUnauthenticated, Cause: ErrBound}
		}
		return nil
	}
	first := open(t, o)
	s.give("t", m{"cnf": m{"jkt": strings.Repeat("A", 43)}})
	if _, err := first.Authenticate(t.Context(), request(home, "DPoP t")); err != nil {
		t.Error(err)
	}
	if _, err := try(first, home, "t"); !errors.Is(err, ErrBound) || confirmed != 2 {
		t.Errorf("%v, %d", err, confirmed)
	}
	o.Keep = first
	second := open(t, o)
	if _, err := second.Authenticate(t.Context(), request(home, "DPoP t")); err != nil || s.count("t") != 1 {
		t.Errorf("after a reload: %v, asked %d times", err, s.count("t"))
	}
	o.Identity = "another client"
	if _, err := open(t, o).Authenticate(t.Context(), request(home, "DPoP t")); err != nil || s.count("t") != 2 {
		t.Errorf("as another client: %v, asked %d times", err, s.count("t"))
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no issuer":       func(o *Options) { o.Issuer = "" },
		"plain issuer":    func(o *Options) { o.Issuer = "http://idp.example" },
		"a query":         func(o *Options) { o.Issuer += "?a=b" },
		"plain endpoint":  func(o *Options) { o.Endpoint = "http://idp.example/ask" },
		"no client":       func(o *Options) { o.Client = nil },
		"no proof":        func(o *Options) { o.Prove = nil },
		"nobody revokes":  func(o *Options) { o.Revoked = nil },
		"no resource":     func(o *Options) { o.Resources = nil },
		"an hour":         func(o *Options) { o.Cache = time.Hour },
		"negative":        func(o *Options) { o.Cache = -1 },
		"clocks far away": func(o *Options) { o.ClockSkew = time.Hour },
	} {
		o := newIssuer().options()
		change(&o)
		if i, err := New(o); err == nil || i != nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// FuzzAnswer: no answer makes a principal of another issuer, for another
// audience, without being active.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"active":true,"iss":"https://idp.example","sub":"a","aud":"` + home + `","client_id":"c","exp":4102444800}`)
	f.Add(`{"active":true,"sub":"a","aud":["` + home + `"],"client_id":"a","scope":["x"],"cnf":{"jkt":"x"}}`)
	f.Add(`{"active":false}`)
	f.Add(`{"active":true,"active":true}`)
	s := newIssuer()
	i, err := New(s.options())
	if err != nil {
		f.Fatal(err)
	}
	res := i.resources.Find(home)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := i.read([]byte(text), "t", 1_800_000_000)
		if err != nil || a == nil {
			return
		}
		p, err := i.accept(a, res)
		if err != nil {
			return
		}
		var got struct {
			Active bool
			Aud    any
			Iss    *string
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Active || got.Aud == nil || got.Iss != nil && *got.Iss != s.url && *got.Iss != "" {
			t.Fatalf("%s makes %v (%v)", text, p, err)
		}
		if id := p.Identity(); id.Issuer != s.url || id.Subject == "" || id.Client == "" || id.Proof == "" || !strings.Contains(strings.ToLower(fmt.Sprint(got.Aud)), "gw.example") {
			t.Fatalf("%s makes %+v", text, id)
		}
	})
}
