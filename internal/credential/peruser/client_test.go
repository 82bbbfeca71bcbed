package peruser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
)

// Who the gateway is for an authorization server, in the specification's order,
// and how it proves that.
func TestClients(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	const document = "https://gateway.example/grants/client.json"
	const keyed = "https://gateway.example/grants/client-keyed.json"
	for name, tt := range map[string]struct {
		methods []string
		config  func(*Server)
		known   map[string]string // clients that the provider knows beforehand
		meta    map[string]any
		id, how string
	}{
		"registered without a secret": {[]string{"none"}, nil, nil, nil, "client-", "none"},
		"registered, basic":           {[]string{"client_secret_post", "client_secret_basic"}, nil, nil, nil, "client-", "basic"},
		"registered, post":            {[]string{"client_secret_post"}, nil, nil, nil, "client-", "post"},
		"registered, nothing said":    {nil, nil, nil, nil, "client-", "basic"},
		"by document":                 {[]string{"none"}, nil, map[string]string{document: ""}, map[string]any{"client_id_metadata_document_supported": true}, document, "none"},
		"by document and key": {[]string{"none", "private_key_jwt"}, nil, map[string]string{keyed: "jwt"},
			map[string]any{"client_id_metadata_document_supported": true, "token_endpoint_auth_signing_alg_values_supported": []string{"ES256"}}, keyed, "key"},
		"by document, key of another kind": {[]string{"none", "private_key_jwt"}, nil, map[string]string{document: ""},
			map[string]any{"client_id_metadata_document_supported": true, "token_endpoint_auth_signing_alg_values_supported": []string{"RS256"}}, document, "none"},
		"by the operator's document": {[]string{"none"}, func(s *Server) { s.ClientDocument = "https://example.org/client.json" },
			map[string]string{"https://example.org/client.json": ""}, map[string]any{"client_id_metadata_document_supported": true}, "https://example.org/client.json", "none"},
		"by configuration, before all others": {[]string{"client_secret_basic"}, func(s *Server) { s.ClientID, s.ClientSecret = "ours: é", secret.New("s+ %/") },
			map[string]string{"ours: é": "s+ %/"}, map[string]any{"client_id_metadata_document_supported": true}, "ours: é", "basic"},
		"by configuration, post": {[]string{"client_secret_post"}, func(s *Server) { s.ClientID, s.ClientSecret = "ours", secret.New("s") },
			map[string]string{"ours": "s"}, nil, "ours", "post"},
		"by configuration, public": {[]string{"none"}, func(s *Server) { s.ClientID = "ours" }, map[string]string{"ours": ""}, nil, "ours", "none"},
		"by configuration, key": {[]string{"private_key_jwt"}, func(s *Server) { s.ClientID, s.ClientKey = "ours", secret.New(text) },
			map[string]string{"ours": "jwt"}, nil, "ours", "key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := newProvider(w)
			p.set("token_endpoint_auth_methods_supported", nil)
			if tt.methods != nil {
				p.set("token_endpoint_auth_methods_supported", tt.methods)
			}
			for k, v := range tt.meta {
				p.set(k, v)
			}
			for k, v := range tt.known {
				p.clients[k] = v
			}
			newUpstream(w, "one", p)
			if tt.config != nil {
				w.servers[0].AuthorizationServer = p.url
				tt.config(&w.servers[0])
			}
			g := w.build()
			ana := person("ana", "editor")
			w.grant(g, "one", p, ana)
			w.mustCall(g, "one", ana)
			w.mustCall(w.build(), "one", ana) // a refresh, by the same client
			w.grant(g, "one", p, person("ben", "editor"))
			p.read(func() {
				if want := 1 + len(tt.known); tt.id == "client-" && len(p.clients) != 1 || tt.id != "client-" && len(p.clients) != want-1 {
					t.Errorf("%d clients", len(p.clients))
				}
				for i, f := range p.forms {
					how := "none"
					switch {
					case p.auths[i] != "":
						how = "basic"
					case f.Get("client_secret") != "":
						how = "post"
					case f.Get("client_assertion") != "":
						how = "key"
						checkAssertion(t, g, key, f.Get("client_assertion"), tt.id, p.url)
					}
					if how != tt.how || how != "basic" && !strings.HasPrefix(f.Get("client_id"), tt.id) {
						t.Errorf("request %d as %q by %s, want %s by %s", i, f.Get("client_id"), how, tt.id, tt.how)
					}
				}
				if !strings.HasPrefix(p.started[0].Get("client_id"), tt.id) {
					t.Error(p.started[0])
				}
			})
		})
	}
}

func checkAssertion(t *testing.T, g *Grants, own *ecdsa.PrivateKey, text, id, issuer string) {
	t.Helper()
	o, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256, jose.ES384})
	if err != nil {
		t.Fatal(err)
	}
	var public any = &own.PublicKey
	if id != "ours" {
		var set jose.JSONWebKeySet
		b, err := g.PublicKeys()
		if err != nil || json.Unmarshal(b, &set) != nil || len(set.Keys) != 1 || strings.Contains(string(b), `"d"`) {
			t.Fatalf("%s %v", b, err)
		}
		public = set.Key(o.Signatures[0].Header.KeyID)[0]
	}
	b, err := o.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Iss, Sub, Aud, Jti string
		Exp, Iat           int64
	}
	if json.Unmarshal(b, &c) != nil || c.Iss != id || c.Sub != id || c.Aud != issuer || c.Jti == "" || c.Exp-c.Iat != 60 {
		t.Errorf("%s", b)
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.build()
	for _, keyed := range []bool{false, true} {
		b, err := g.Document(keyed)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"client_id": "https://gateway.example/grants/client.json", "client_name": "Munjigi", "client_uri": "https://gateway.example",
			"redirect_uris": []any{"https://gateway.example/grants/callback"}, "grant_types": []any{"authorization_code", "refresh_token"},
			"response_types": []any{"code"}, "application_type": "web", "token_endpoint_auth_method": "none"}
		if keyed {
			want["client_id"], want["token_endpoint_auth_method"] = "https://gateway.example/grants/client-keyed.json", "private_key_jwt"
			want["jwks_uri"], want["token_endpoint_auth_signing_alg"] = "https://gateway.example/grants/keys.json", "ES256"
		}
		if !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
	}
	// The key outlives a restart: it is derived.
	a, _ := g.PublicKeys()
	b, _ := w.build().PublicKeys()
	if string(a) != string(b) {
		t.Errorf("%s became %s", a, b)
	}
}

// A gateway on loopback registers as a native application; nobody can fetch its
// document.
func TestOnLoopback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	p.set("client_id_metadata_document_supported", true)
	newUpstream(w, "one", p)
	o := w.options()
	o.BaseURL = "http://127.0.0.1:8931"
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ana := person("ana", "editor")
	_, err = w.call(g, "one", ana)
	var need *credential.GrantNeeded
	if !errors.As(err, &need) {
		t.Fatal(err)
	}
	to, err := g.Start(t.Context(), need.ID, ana)
	if err != nil || !strings.Contains(to, "redirect_uri=http%3A%2F%2F127.0.0.1%3A8931%2Fgrants%2Fcallback") || !strings.Contains(to, "client_id=client-") {
		t.Errorf("%s %v", to, err)
	}
	if d := g.describe(); d["application_type"] != "native" {
		t.Error(d)
	}
}

func TestNobodyToBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	p.set("registration_endpoint", nil)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	need := w.asked(g, "one", ana)
	_, err := g.Start(t.Context(), need.ID, ana)
	if !errors.Is(err, credential.ErrRefused) || !strings.Contains(err.Error(), "https://gateway.example/grants/callback") {
		t.Errorf("%v", err)
	}
	// The link is still good once the operator registered the gateway.
	w.servers[0].ClientID, w.servers[0].AuthorizationServer = "ours", p.url
	p.clients["ours"] = ""
	if _, err := w.build().Start(t.Context(), need.ID, ana); err != nil {
		t.Error(err)
	}
}

// A registration that the authorization server forgot, or whose secret ended,
// is made again.
func TestForgottenRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	p.read(func() { clear(p.clients); clear(p.tokens) })
	w.asked(g, "one", ana) // the refresh ended with invalid_client
	w.grant(g, "one", p, ana)
	w.mustCall(g, "one", ana)
	key := store1(t, g)
	var c client
	version, err := g.clients.get(t.Context(), key, &c)
	if err != nil {
		t.Fatal(err)
	}
	c.Expires = time.Now().Add(time.Minute)
	if _, err := g.clients.swap(t.Context(), key, version, c, time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.grant(g, "one", p, person("ben", "editor"))
	p.read(func() {
		if len(p.clients) != 2 {
			t.Errorf("%d clients", len(p.clients))
		}
	})
	// A secret of the config that is refused ends nothing: the operator mends it.
	w.servers[0].ClientID, w.servers[0].ClientSecret, w.servers[0].AuthorizationServer = "ours", secret.New("right"), p.url
	p.read(func() { p.clients["ours"] = "right" })
	g = w.build()
	w.grant(g, "one", p, ana)
	w.servers[0].ClientSecret = secret.New("wrong")
	if _, err := w.call(w.build(), "one", ana); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	w.servers[0].ClientSecret = secret.New("right")
	w.mustCall(w.build(), "one", ana)
}

// store1 finds the one registration that there is.
func store1(t *testing.T, g *Grants) string {
	t.Helper()
	keys := entriesOf(t, g.clients)
	if len(keys) != 1 {
		t.Fatal(keys)
	}
	return keys[0]
}

// Token endpoints that answer what cannot be used.
func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"no type":           func(m map[string]any) { delete(m, "token_type") },
		"another type":      func(m map[string]any) { m["token_type"] = "MAC" },
		"DPoP":              func(m map[string]any) { m["token_type"] = "DPoP" },
		"no token":          func(m map[string]any) { delete(m, "access_token") },
		"an empty token":    func(m map[string]any) { m["access_token"] = "" },
		"a header":          func(m map[string]any) { m["access_token"] = "x\r\nX-Evil: 1" },
		"a space":           func(m map[string]any) { m["access_token"] = "x y" },
		"a huge token":      func(m map[string]any) { m["access_token"] = strings.Repeat("x", maxToken+1) },
		"a number":          func(m map[string]any) { m["access_token"] = 7 },
		"an error with 200": func(m map[string]any) { m["error"] = "invalid_grant" },
		"over already, no refresh": func(m map[string]any) {
			m["expires_in"] = 0
			delete(m, "refresh_token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := newProvider(w)
			newUpstream(w, "one", p)
			g := w.build()
			p.answer = change
			ana := person("ana", "editor")
			_, q := begun(t, w, g, p, ana)
			if given, err := g.Finish(t.Context(), q, ana); err == nil {
				t.Errorf("%+v", given)
			}
			p.read(func() { p.answer = nil })
			w.asked(g, "one", ana)
			if list, err := g.Given(t.Context(), ana); err != nil || len(list) != 0 || slices.Contains(w.reasons(), ReasonGiven) {
				t.Errorf("%v %v %v", list, err, w.reasons())
			}
		})
	}
}
