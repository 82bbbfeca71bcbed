package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
	principals "github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
)

// consenting is an authorization server whose people always agree. The tokens
// that it gives name whom they are for.
type consenting struct {
	*httptest.Server
	mu    sync.Mutex
	forms []url.Values
	n     int
}

func newConsenting(t *testing.T) *consenting {
	t.Helper()
	s := &consenting{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"registration_endpoint":%q,"code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["none"]}`,
			s.URL, s.URL+"/authorize", s.URL+"/token", s.URL+"/register")
	})
	mux.HandleFunc("GET /prm/{server}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q]}`, r.URL.Query().Get("of"), s.URL)
	})
	mux.HandleFunc("POST /register", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"client_id":"gw","token_endpoint_auth_method":"none"}`)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forms = append(s.forms, maps.Clone(r.PostForm))
		s.n++
		who := strings.TrimPrefix(r.PostForm.Get("code")+r.PostForm.Get("refresh_token"), "of-")
		who, _, _ = strings.Cut(who, "-")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("for-%s-%d", who, s.n), "token_type": "Bearer", "expires_in": 600,
			"refresh_token": fmt.Sprintf("of-%s-%d", who, s.n)})
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *consenting) host() string { return strings.TrimPrefix(s.URL, "http://") }

// allow has a person grant a server to a client, as their browser would.
func (s *consenting) allow(t *testing.T, a *app.App, server, at string, p principals.Principal) {
	t.Helper()
	grants := app.Grants(a)
	src, err := grants.Source(server)
	if err != nil {
		t.Fatal(err)
	}
	var need *credential.GrantNeeded
	err = src.Rejected(t.Context(), credential.Subject{Principal: p}, credential.Rejection{Status: http.StatusUnauthorized,
		Challenges: []string{`Bearer resource_metadata="` + s.URL + "/prm/" + server + "?of=" + url.QueryEscape(at) + `"`}})
	if !errors.As(err, &need) {
		t.Fatal(err)
	}
	to, err := grants.Start(t.Context(), need.ID, p)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != s.host() {
		t.Fatalf("%s %v", to, err)
	}
	if _, err := grants.Finish(t.Context(), url.Values{"state": {u.Query().Get("state")}, "code": {"of-" + p.Identity().Subject + "-x"}}, p); err != nil {
		t.Fatal(err)
	}
}

// TestGrantsGoToTheirServers captures every byte that two servers of both eras
// and their authorization server receive, while two users with clients of both
// eras make every kind of request: each request carries a token of its own user
// for its server, and nothing of the client's token is in it.
func TestGrantsGoToTheirServers(t *testing.T) {
	t.Parallel()
	idp, as := newProvider(t), newConsenting(t)
	servers := map[string]*captive{"m": newCaptive(t, false), "l": newCaptive(t, true)}
	credential := ", credential: { type: per_user, insecure_private_hosts: [\"" + as.host() + "\"] } }\n"
	a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\", signin: { client_id: pages } }] }\negress: { allow: [\""+
		strings.TrimPrefix(idp.URL, "http://")+"\"] }\nservers:\n"+
		"  m: { url: \""+servers["m"].URL+"/mcp\""+credential+"  l: { url: \""+servers["l"].URL+"/mcp\""+credential)
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	var tokens []string
	var wg sync.WaitGroup
	for _, who := range []string{"kim", "lee"} {
		for name, c := range servers {
			token := idp.token(t, public+"/mcp/"+name, name+":list "+name+":read "+name+":call", func(m map[string]any) { m["sub"], m["client_id"] = who, "editor" })
			tokens = append(tokens, token)
			as.allow(t, a, name, c.URL+"/mcp", principals.NewPrincipal(principals.Identity{Issuer: idp.URL, Subject: who, Client: "editor", Kind: principals.Person}))
			p := person{t: t, srv: srv, who: who, path: "/mcp/" + name, token: token}
			q := p
			wg.Go(func() {
				p.useModern(c, true)
				q.useLegacy(c, true)
			})
		}
	}
	wg.Wait()
	for name, c := range servers {
		judgeCapture(t, name, c, tokens, func(h heard) string { return "Bearer for-" + h.who + "-" })
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	for _, form := range as.forms {
		for _, token := range tokens {
			form := maps.Clone(form)
			form.Del("redirect_uri") // the address that the token is for is public
			search(t, "the authorization server", []byte(form.Encode()), windows(token))
		}
		if !strings.HasSuffix(form.Get("resource"), "/mcp") {
			t.Errorf("%v", form)
		}
	}
	if n := len(as.forms); n < 4 || n > 12 {
		t.Errorf("%d token requests", n)
	}
}

// TestPublishedAsAClient reads what authorization servers fetch of the gateway.
func TestPublishedAsAClient(t *testing.T) {
	t.Parallel()
	as := newConsenting(t)
	a := opened(t, "listen: 127.0.0.1:8931\npublic_url: "+public+"\nservers: { m: { url: \"https://m.example/mcp\", credential: { type: per_user, insecure_private_hosts: [\""+as.host()+"\"] } } }\n")
	plain := opened(t, "listen: 127.0.0.1:8931\npublic_url: "+public+"\nservers: { m: { url: \"https://m.example/mcp\" } }\n")
	get := func(a *app.App, method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.Background(), method, public+path, nil)
		a.ServeHTTP(w, r)
		return w
	}
	for path, piece := range map[string]string{credential.GrantClient: `"client_id":"` + public + credential.GrantClient + `"`,
		credential.GrantClientKeyed: `"jwks_uri":"` + public + credential.GrantKeys + `"`, credential.GrantKeys: `"kty":"EC"`} {
		w := get(a, http.MethodGet, path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" || !strings.Contains(w.Body.String(), piece) ||
			strings.Contains(w.Body.String(), `"d":`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if w := get(a, http.MethodPost, path); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
		if w := get(plain, http.MethodGet, path); w.Code == http.StatusOK {
			t.Errorf("%s is there where nobody grants anything", path)
		}
	}
}
