package peruser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/credential"
)

// Metadata that must not be used. Nothing is asked of a person then.
func TestMetadataIsJudged(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(w *world, p *provider, s *upstream)
		says   string
	}{
		"resource of another":     {func(_ *world, _ *provider, s *upstream) { s.promise["resource"] = "https://evil.example/mcp" }, "another resource"},
		"resource of a neighbour": {func(_ *world, _ *provider, s *upstream) { s.promise["resource"] = s.url + "/mcp2" }, "another resource"},
		"resource above":          {func(_ *world, _ *provider, s *upstream) { s.promise["resource"] = s.url }, "another resource"},
		"resource below":          {func(_ *world, _ *provider, s *upstream) { s.promise["resource"] = s.url + "/mcp/x" }, "another resource"},
		"resource by plain http": {func(_ *world, _ *provider, s *upstream) {
			s.promise["resource"] = strings.Replace(s.url, "https:", "http:", 1) + "/mcp"
		}, "another resource"},
		"no resource":             {func(_ *world, _ *provider, s *upstream) { delete(s.promise, "resource") }, "another resource"},
		"no authorization server": {func(_ *world, _ *provider, s *upstream) { delete(s.promise, "authorization_servers") }, "names no authorization server"},
		"tokens in the body only": {func(_ *world, _ *provider, s *upstream) { s.promise["bearer_methods_supported"] = []string{"body"} }, "in the header"},
		"a private server": {func(_ *world, _ *provider, s *upstream) {
			s.promise["authorization_servers"] = []string{"https://169.254.169.254"}
		}, "public internet"},
		"plain http": {func(_ *world, _ *provider, s *upstream) {
			s.promise["authorization_servers"] = []string{"http://as.example"}
		}, "plain http"},
		"issuer with a query": {func(_ *world, p *provider, s *upstream) {
			s.promise["authorization_servers"] = []string{p.url + "?x=y"}
		}, "query"},
		"a secret in its name": {func(_ *world, p *provider, s *upstream) {
			s.promise["authorization_servers"] = []string{"https://user:pass@" + p.host()}
		}, "password"},
		"another issuer":        {func(_ *world, p *provider, _ *upstream) { p.set("issuer", "https://honest.example") }, "another issuer"},
		"issuer with a slash":   {func(_ *world, p *provider, _ *upstream) { p.set("issuer", p.url+"/") }, "another issuer"},
		"no issuer":             {func(_ *world, p *provider, _ *upstream) { p.set("issuer", nil) }, "another issuer"},
		"no PKCE":               {func(_ *world, p *provider, _ *upstream) { p.set("code_challenge_methods_supported", nil) }, "S256"},
		"plain PKCE":            {func(_ *world, p *provider, _ *upstream) { p.set("code_challenge_methods_supported", []string{"plain"}) }, "S256"},
		"no codes":              {func(_ *world, p *provider, _ *upstream) { p.set("response_types_supported", []string{"token"}) }, "codes"},
		"a script":              {func(_ *world, p *provider, _ *upstream) { p.set("authorization_endpoint", "javascript:alert(1)") }, "authorization_endpoint"},
		"authorize by http":     {func(_ *world, p *provider, _ *upstream) { p.set("authorization_endpoint", "http://as.example/a") }, "authorization_endpoint"},
		"authorize on loopback": {func(_ *world, p *provider, _ *upstream) { p.set("authorization_endpoint", "http://127.0.0.1:1/a") }, "authorization_endpoint"},
		"a fragment":            {func(_ *world, p *provider, _ *upstream) { p.set("authorization_endpoint", p.url+"/a#x") }, "authorization_endpoint"},
		"tokens by http":        {func(_ *world, p *provider, _ *upstream) { p.set("token_endpoint", "http://as.example/t") }, "token_endpoint"},
		"register by http":      {func(_ *world, p *provider, _ *upstream) { p.set("registration_endpoint", "http://as.example/r") }, "registration_endpoint"},
		"metadata elsewhere":    {func(_ *world, _ *provider, s *upstream) { s.inside = "https://10.0.0.1/prm" }, "public internet"},
		"metadata by http":      {func(_ *world, _ *provider, s *upstream) { s.inside = "http://prm.example/" }, "http"},
		"metadata of a file":    {func(_ *world, _ *provider, s *upstream) { s.inside = "file:///etc/passwd" }, "names no host"},
		"metadata that redirects inside": {func(w *world, _ *provider, s *upstream) {
			s.inside = w.serve(http.RedirectHandler("https://169.254.169.254/", http.StatusFound)) + "/prm"
			w.servers[0].PrivateHosts = append(w.servers[0].PrivateHosts, strings.TrimSuffix(strings.TrimPrefix(s.inside, "https://"), "/prm"))
		}, "redirect"},
		"metadata without end": {func(w *world, _ *provider, s *upstream) {
			s.inside = w.serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				for range 1 << 10 {
					if _, err := rw.Write([]byte(strings.Repeat(" ", 4<<10))); err != nil {
						return
					}
				}
			})) + "/prm"
			w.servers[0].PrivateHosts = append(w.servers[0].PrivateHosts, strings.TrimSuffix(strings.TrimPrefix(s.inside, "https://"), "/prm"))
		}, "larger than allowed"},
		"duplicate names": {func(w *world, p *provider, s *upstream) {
			s.inside = w.serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(rw, `{"resource":%q,"authorization_servers":["https://evil.example"],"authorization_servers":[%q]}`, s.url+"/mcp", p.url)
			})) + "/prm"
			w.servers[0].PrivateHosts = append(w.servers[0].PrivateHosts, strings.TrimSuffix(strings.TrimPrefix(s.inside, "https://"), "/prm"))
		}, "same name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := newProvider(w)
			s := newUpstream(w, "one", p)
			tt.change(w, p, s)
			g := w.build()
			_, err := w.call(g, "one", person("ana", "editor"))
			var need *credential.GrantNeeded
			if errors.As(err, &need) || !errors.Is(err, credential.ErrRefused) && !errors.Is(err, credential.ErrUnavailable) {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error does not say %q: %v", tt.says, err)
			}
			p.read(func() {
				if len(p.forms)+len(p.clients) != 0 {
					t.Errorf("%v %v", p.forms, p.clients)
				}
			})
		})
	}
}

// A server on the inside that a stranger names is never reached, whatever
// egress.allow opens for the operator's own issuers.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	var hits sync.Map
	inside := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hits.Store(r.URL.Path, true) }))
	t.Cleanup(inside.Close)
	host := strings.TrimPrefix(inside.URL, "https://")
	_, port, _ := net.SplitHostPort(host)
	for _, where := range []string{inside.URL, "https://localhost:" + port, "https://inside.example:" + port, "https://[::ffff:127.0.0.1]:" + port} {
		w := newWorld(t)
		w.roots.AddCert(inside.Certificate())
		p := newProvider(w)
		s := newUpstream(w, "one", p)
		s.promise["authorization_servers"] = []string{where}
		w.servers[0].Allow = []string{host, "127.0.0.1", "localhost", "inside.example"}
		w.servers[0].PrivateHosts = nil
		o := w.options()
		o.Resolver = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		g, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.call(g, "one", person("ana", "editor")); err == nil || !strings.Contains(err.Error(), "public internet") {
			t.Errorf("%s: %v", where, err)
		}
		s.bare, s.inside = false, where+"/prm"
		if g, err = New(o); err != nil {
			t.Fatal(err)
		}
		if _, err := w.call(g, "one", person("ana", "editor")); err == nil || !strings.Contains(err.Error(), "public internet") {
			t.Errorf("%s in a challenge: %v", where, err)
		}
	}
	hits.Range(func(path, _ any) bool { t.Errorf("the inside was asked for %s", path); return true })
}

// egress.allow opens the host of an issuer that the operator wrote, and that
// one only.
func TestTheOperatorsOwnIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := newProvider(w), newProvider(w)
	s := newUpstream(w, "one", p)
	w.servers[0].PrivateHosts, w.servers[0].Allow, w.servers[0].AuthorizationServer = nil, []string{p.host(), other.host()}, p.url
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	w.mustCall(g, "one", ana)
	s.read(func() { s.promise["authorization_servers"] = []string{other.url} })
	_, err := w.call(w.build(), "one", person("ben", "editor"))
	if !errors.Is(err, credential.ErrRefused) || !strings.Contains(err.Error(), "credential.issuer") {
		t.Errorf("%v", err)
	}
	if ok, err := g.Approve(t.Context(), "one"); ok || err != nil {
		t.Errorf("a name of the config was approved away: %v %v", ok, err)
	}
}

// A server that names another authorization server is held until somebody
// approves, and takes nothing of the earlier one along.
func TestMovedAuthorizationServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := newProvider(w), newProvider(w)
	s := newUpstream(w, "one", first, second)
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", first, ana)
	w.mustCall(g, "one", ana)
	s.read(func() { s.trusts, s.promise["authorization_servers"] = []*provider{second}, []string{second.url} })
	for range 2 {
		_, err := w.call(g, "one", ana)
		var need *credential.GrantNeeded
		if errors.As(err, &need) || !errors.Is(err, credential.ErrRefused) || !strings.Contains(err.Error(), "servers approve one") {
			t.Fatalf("%v", err)
		}
	}
	second.read(func() {
		if len(second.clients)+len(second.forms) != 0 {
			t.Errorf("the new one was talked to before anybody approved it: %v %v", second.clients, second.forms)
		}
	})
	if n := strings.Count(strings.Join(w.reasons(), " "), ReasonMoved); n != 1 {
		t.Errorf("the change is %d times on the record", n)
	}
	if ok, err := g.Approve(t.Context(), "one"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	w.grant(g, "one", second, ana)
	w.mustCall(g, "one", ana)
	leaked := map[string]bool{}
	first.read(func() {
		for id, secret := range first.clients {
			leaked[id], leaked[secret] = true, true
		}
		for tok := range first.refresh {
			leaked[tok] = true
		}
	})
	second.read(func() {
		all, _ := json.Marshal([]any{second.forms, second.auths, second.started})
		for text := range leaked {
			if text != "" && strings.Contains(string(all), text) {
				t.Errorf("the second got %q of the first", text)
			}
		}
	})
	// Two at once: the pin is of the first grant.
	if ok, err := g.Approve(t.Context(), "one"); ok || err != nil {
		t.Error(ok, err)
	}
}

// A grant that was begun at one authorization server cannot end at a server
// that was tied to another meanwhile.
func TestTiedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := newProvider(w), newProvider(w)
	s := newUpstream(w, "one", first, second)
	g := w.build()
	ana, ben := person("ana", "editor"), person("ben", "editor")
	_, q := begun(t, w, g, first, ana)
	s.read(func() { s.promise["authorization_servers"] = []string{second.url} })
	other := w.build()
	w.grant(other, "one", second, ben)
	if _, err := g.Finish(t.Context(), q, ana); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("%v", err)
	}
	w.mustCall(other, "one", ben)
}
