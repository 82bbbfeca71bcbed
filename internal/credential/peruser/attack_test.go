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
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/store"
)

// begun is a flow that a person began: the answer that the browser brings.
func begun(t *testing.T, w *world, g *Grants, p *provider, who call.Principal) (*credential.GrantNeeded, url.Values) {
	t.Helper()
	need := w.asked(g, "one", who)
	to, err := g.Start(t.Context(), need.ID, who)
	if err != nil {
		t.Fatal(err)
	}
	return need, p.visit(to, who.Identity().Subject)
}

// The table of RFC 9207 as the specification has it, for codes and for errors.
func TestWhoAnswered(t *testing.T) {
	t.Parallel()
	const right = "right"
	for _, tt := range []struct {
		says bool // authorization_response_iss_parameter_supported
		iss  []string
		ok   bool
	}{
		{true, []string{right}, true}, {true, nil, false}, {true, []string{"https://evil.example"}, false},
		{true, []string{right + "/"}, false}, {true, []string{""}, false}, {true, []string{right, right}, false},
		{true, []string{"upper"}, false}, {true, []string{"port"}, false},
		{false, nil, true}, {false, []string{right}, true}, {false, []string{"https://evil.example"}, false}, {false, []string{right + "/"}, false},
		{false, []string{""}, false},
	} {
		for _, failed := range []bool{false, true} {
			name := fmt.Sprintf("%v %v %v", tt.says, tt.iss, failed)
			w := newWorld(t)
			p := newProvider(w)
			if !tt.says {
				p.set("authorization_response_iss_parameter_supported", nil)
			}
			newUpstream(w, "one", p)
			g := w.build()
			ana := person("ana", "editor")
			need, q := begun(t, w, g, p, ana)
			q.Del("iss")
			for _, iss := range tt.iss {
				iss = strings.Replace(iss, right, p.url, 1)
				switch iss {
				case "upper":
					iss = "HTTPS://" + p.host()
				case "port":
					iss = strings.Replace(p.url, "127.0.0.1", "127.0.0.1.", 1)
				}
				q.Add("iss", iss)
			}
			if failed {
				q.Del("code")
				q.Set("error", "access_denied")
				q.Set("error_description", "<script>")
			}
			_, err := g.Finish(t.Context(), q, ana)
			var no *credential.Declined
			switch {
			case !tt.ok && !errors.Is(err, credential.ErrMixedUp):
				t.Errorf("%s: %v", name, err)
			case !tt.ok && (errors.As(err, &no) || strings.Contains(err.Error(), "denied")):
				t.Errorf("%s: the error of an unproven sender is shown: %v", name, err)
			case tt.ok && failed && (!errors.As(err, &no) || no.Code != "access_denied" || strings.Contains(err.Error(), "script")):
				t.Errorf("%s: %v", name, err)
			case tt.ok && !failed && err != nil:
				t.Errorf("%s: %v", name, err)
			}
			sent := 0
			p.read(func() { sent = len(p.forms) })
			if want := tt.ok && !failed; (sent == 1) != want {
				t.Errorf("%s: %d requests at the token endpoint", name, sent)
			}
			if err := need.Wait(t.Context()); (err == nil) != (tt.ok && !failed) {
				t.Errorf("%s: who waited heard %v", name, err)
			}
		}
	}
}

// A second authorization server that wants the code of the first does not get
// it: the code goes to the token endpoint that was recorded with the state.
func TestMixUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	honest, evil := newProvider(w), newProvider(w)
	newUpstream(w, "one", honest)
	newUpstream(w, "two", evil)
	g := w.build()
	ana := person("ana", "editor")
	_, q := begun(t, w, g, honest, ana)
	to, err := g.Start(t.Context(), w.asked(g, "two", ana).ID, ana)
	if err != nil {
		t.Fatal(err)
	}
	// The evil one sends the browser on to the honest one under its own state,
	// and the answer of the honest one comes back under it.
	own, _ := url.Parse(to)
	mixed := url.Values{"code": q["code"], "iss": {honest.url}, "state": {own.Query().Get("state")}}
	if _, err := g.Finish(t.Context(), mixed, ana); !errors.Is(err, credential.ErrMixedUp) {
		t.Errorf("%v", err)
	}
	evil.read(func() {
		if len(evil.forms) != 0 {
			t.Errorf("the other authorization server got %v", evil.forms)
		}
	})
	if !slices.Contains(w.reasons(), ReasonMixedUp) {
		t.Error(w.reasons())
	}
	if _, err := g.Finish(t.Context(), q, ana); err != nil {
		t.Errorf("the honest flow suffered: %v", err)
	}
}

// Links and states of another, of nobody, used, run out, doubled or made up.
func TestLinksAndStates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana, eve := person("ana", "editor"), person("eve", "editor")
	elsewhere := call.NewPrincipal(call.Identity{Issuer: "https://other.example", Subject: "ana", Client: "editor", Kind: call.Person})
	need := w.asked(g, "one", ana)
	strangers := []call.Principal{eve, elsewhere, {}}
	for _, who := range strangers {
		if _, err := g.Pending(t.Context(), need.ID, who); !errors.Is(err, credential.ErrNoGrant) {
			t.Errorf("%v sees the link: %v", who, err)
		}
		if _, err := g.Start(t.Context(), need.ID, who); !errors.Is(err, credential.ErrNoGrant) {
			t.Errorf("%v starts it: %v", who, err)
		}
	}
	for _, id := range []string{"", "x", need.ID + "x", strings.ToLower(need.ID), strings.Repeat("A", 26), need.ID[:25] + "\x00"} {
		if _, err := g.Pending(t.Context(), id, ana); !errors.Is(err, credential.ErrNoGrant) {
			t.Errorf("%q: %v", id, err)
		}
	}
	to, err := g.Start(t.Context(), need.ID, ana)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Start(t.Context(), need.ID, ana); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("a link was started twice: %v", err)
	}
	if _, err := g.Pending(t.Context(), need.ID, ana); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("a started link is shown: %v", err)
	}
	q := p.visit(to, "ana")
	for _, who := range strangers {
		if _, err := g.Finish(t.Context(), q, who); !errors.Is(err, credential.ErrNoGrant) {
			t.Errorf("%v finishes what ana began: %v", who, err)
		}
	}
	twice := func(name string) url.Values {
		out := url.Values{}
		for k, v := range q {
			out[k] = slices.Clone(v)
		}
		out.Add(name, q.Get(name))
		return out
	}
	for _, bad := range []url.Values{nil, {}, {"state": {""}}, {"state": {"x"}, "code": q["code"]}, twice("state"), {"state": {need.ID}, "code": q["code"]}} {
		if _, err := g.Finish(t.Context(), bad, ana); !errors.Is(err, credential.ErrNoGrant) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	p.read(func() {
		if len(p.forms) != 0 {
			t.Fatalf("codes went out: %v", p.forms)
		}
	})
	// Strangers did not end it. Of many that bring the answer, one is heard.
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wg.Go(func() {
			if _, err := g.Finish(context.Background(), q, ana); err == nil {
				mu.Lock()
				good++
				mu.Unlock()
			} else if !errors.Is(err, credential.ErrNoGrant) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("one answer counted %d times", good)
	}
	if n := strings.Count(strings.Join(w.reasons(), " "), ReasonMisused); n != 6 {
		t.Errorf("%d misuses on the record of 6: %v", n, w.reasons())
	}
	// A code that is used again under a new state is the authorization server's
	// to refuse; nothing is granted by it.
	s2 := person("ana", "agent")
	_, q2 := begun(t, w, g, p, s2)
	q2["code"] = q["code"]
	var no *credential.Declined
	if _, err := g.Finish(t.Context(), q2, s2); !errors.As(err, &no) || no.Code != "invalid_grant" {
		t.Errorf("a code was used twice: %v", err)
	}
	w.asked(g, "one", s2)
}

func TestCodesOfAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	for _, change := range []func(url.Values){
		func(q url.Values) { q.Del("code") },
		func(q url.Values) { q.Set("code", "") },
		func(q url.Values) { q.Add("code", "x") },
		func(q url.Values) { q.Set("code", strings.Repeat("x", maxToken+1)) },
		func(q url.Values) { q.Set("error", "access_denied") },
		func(q url.Values) { q["error"] = []string{"a", "b"} },
		func(q url.Values) { q.Set("error", "<script>alert(1)</script>") },
	} {
		_, q := begun(t, w, g, p, ana)
		change(q)
		_, err := g.Finish(t.Context(), q, ana)
		if err == nil || strings.Contains(err.Error(), "script") {
			t.Errorf("%v: %v", q, err)
		}
	}
	p.read(func() {
		if len(p.forms) != 0 {
			t.Error(p.forms)
		}
	})
}

// Ten minutes after it was made a link opens nothing, nor does an answer count.
// The store's clock is the real one, so the entries are put as old as needed.
func TestLinksRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	need := w.asked(g, "one", ana)
	asked, err := g.Pending(t.Context(), need.ID, ana)
	if err != nil || time.Until(asked.Expires) > LinkTime || time.Until(asked.Expires) < LinkTime-time.Minute {
		t.Fatalf("%+v %v", asked, err)
	}
	var l link
	version, err := g.links.get(t.Context(), linkKey(need.ID), &l)
	if err != nil {
		t.Fatal(err)
	}
	l.Expires = time.Now().Add(-time.Millisecond)
	if _, err := g.links.swap(t.Context(), linkKey(need.ID), version, l, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Start(t.Context(), need.ID, ana); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("an old link: %v", err)
	}
	_, q := begun(t, w, g, p, person("ben", "editor"))
	var f flow
	version, err = g.links.get(t.Context(), stateKey(q.Get("state")), &f)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := g.links.kv.Get(t.Context(), stateKey(q.Get("state"))); err != nil || time.Until(e.Expiry) > LinkTime {
		t.Errorf("the state is kept until %v: %v", e.Expiry, err)
	}
	f.Expires = time.Now().Add(-time.Millisecond)
	if _, err := g.links.swap(t.Context(), stateKey(q.Get("state")), version, f, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Finish(t.Context(), q, person("ben", "editor")); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("an old answer: %v", err)
	}
}

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

// What is sealed in one place opens in no other, and a grant that was altered
// or moved to another's key is nobody's.
func TestStoredGrantsCannotBeMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana, eve := person("ana", "editor"), person("eve", "editor")
	w.grant(g, "one", p, ana)
	kv, err := w.db.Bucket("grants")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), grantKey(ownerOf(ana), "one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutIfAbsent(t.Context(), grantKey(ownerOf(eve), "one"), e.Value, e.Expiry); err != nil {
		t.Fatal(err)
	}
	if who, err := w.call(w.build(), "one", eve); err == nil || who != "" {
		t.Errorf("eve calls as %q", who)
	}
	if _, err := g.Given(t.Context(), eve); err == nil {
		t.Error("eve sees a grant that opens for nobody")
	}
}

// Names that could run into each other do not.
func TestKeysAreInjective(t *testing.T) {
	t.Parallel()
	seen := map[string]owner{}
	parts := []string{"", "a", "b", "ab", "a|b", "1:a", "a\x00", "\x00a", "a\x01\x01"}
	for _, i := range parts {
		for _, s := range parts {
			for _, c := range parts {
				for _, server := range []string{"x", "y"} {
					k := grantKey(owner{Issuer: i, Subject: s, Client: c}, server)
					if o, twice := seen[k]; twice {
						t.Fatalf("%q %q %q is %+v too", i, s, c, o)
					}
					if len(k) > store.MostKeyBytes {
						t.Fatal(len(k))
					}
					seen[k] = owner{Issuer: i, Subject: s, Client: c}
				}
			}
		}
	}
}

func TestOptionsAreJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := func() Options {
		o := w.options()
		o.Servers = []Server{{Name: "one", URL: "https://mcp.example/mcp"}}
		return o
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no store":         func(o *Options) { o.Store = nil },
		"no keys":          func(o *Options) { o.Keys = nil },
		"no URL":           func(o *Options) { o.BaseURL = "" },
		"plain URL":        func(o *Options) { o.BaseURL = "http://gateway.example" },
		"URL with a path":  func(o *Options) { o.BaseURL = "https://gateway.example/x" },
		"twice":            func(o *Options) { o.Servers = append(o.Servers, o.Servers[0]) },
		"plain server":     func(o *Options) { o.Servers[0].URL = "http://mcp.example/mcp" },
		"metadata host":    func(o *Options) { o.Servers[0].PrivateHosts = []string{"169.254.169.254"} },
		"wild host":        func(o *Options) { o.Servers[0].PrivateHosts = []string{"*"} },
		"client of nobody": func(o *Options) { o.Servers[0].ClientID = "x" },
		"document by http": func(o *Options) { o.Servers[0].ClientDocument = "http://x.example/y" },
		"document at root": func(o *Options) { o.Servers[0].ClientDocument = "https://x.example/" },
		"scope with quote": func(o *Options) { o.Servers[0].Scopes = []string{`a"b`} },
	} {
		o := good()
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	g, err := New(good())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Source("two"); !errors.Is(err, credential.ErrNone) {
		t.Errorf("%v", err)
	}
}
