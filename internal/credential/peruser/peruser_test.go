package peruser

import (
	"context"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
)

// Two people, one of them with two clients, and two servers with one
// authorization server each: each grant serves whoever gave it, through the
// client that asked, at the server that it was given for.
func TestWhoseTokenGoesWhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p1, p2 := newProvider(w), newProvider(w)
	s1, s2 := newUpstream(w, "one", p1), newUpstream(w, "two", p2)
	g := w.build()
	ana, ana2, ben := person("ana", "editor"), person("ana", "agent"), person("ben", "editor")

	w.grant(g, "one", p1, ana)
	w.mustCall(g, "one", ana)
	w.asked(g, "one", ana2) // another client of the same person
	w.asked(g, "one", ben)  // another person with the same client
	w.asked(g, "two", ana)  // another server
	w.grant(g, "one", p1, ben)
	w.grant(g, "one", p1, ana2)
	w.grant(g, "two", p2, ana)
	for range 3 {
		w.mustCall(g, "one", ana)
		w.mustCall(g, "one", ana2)
		w.mustCall(g, "one", ben)
		w.mustCall(g, "two", ana)
	}
	w.asked(g, "two", ben)

	// The captures: every token that a server saw is of its own authorization
	// server, and the two clients of one person never share one.
	seen := map[string]map[string]bool{}
	for _, s := range []*upstream{s1, s2} {
		s.read(func() {
			for _, h := range s.requests {
				if tok := strings.TrimPrefix(h.Get("Authorization"), "Bearer "); tok != "" {
					if seen[tok] == nil {
						seen[tok] = map[string]bool{}
					}
					seen[tok][s.name] = true
					if !strings.Contains(tok, s.trusts[0].host()) {
						t.Errorf("the server %s got a token of another authorization server: %s", s.name, tok)
					}
				}
				if h.Get("Cookie") != "" || h.Get("Forwarded") != "" {
					t.Errorf("headers travel: %v", h)
				}
			}
		})
	}
	if len(seen) != 4 {
		t.Errorf("%d tokens went upstream for four grants", len(seen))
	}
	s1.read(func() {
		if slices.Contains(s1.who, "") || !slices.Contains(s1.who, "ben") {
			t.Error(s1.who)
		}
	})
	for _, who := range []call.Principal{ana, ana2} {
		list, err := g.Given(t.Context(), who)
		if err != nil || len(list) != 3 || list[0].Client != "agent" || list[1].Client != "editor" || list[2].Server != "two" {
			t.Errorf("what %s granted: %+v %v", who, list, err)
		}
	}
	if list, err := g.Given(t.Context(), ben); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestTheAuthorizationRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	p.set("scopes_supported", []string{"a", "offline_access"})
	p.set("authorization_endpoint", p.url+"/authorize?tenant=x&state=evil&scope=evil")
	s := newUpstream(w, "one", p)
	s.scope = "read write"
	g := w.build()
	ana := person("ana", "https://client.example/id")
	need := w.asked(g, "one", ana)
	asked, err := g.Pending(t.Context(), need.ID, person("ana", "browser"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (credential.Asked{ID: need.ID, Server: "one", ServerURL: s.url + "/mcp", Client: "https://client.example/id", Issuer: p.url,
		Scopes: []string{"read", "write", "offline_access"}, Expires: asked.Expires}); !cmp.Equal(asked, want) {
		t.Error(cmp.Diff(want, asked))
	}
	to, err := g.Start(t.Context(), need.ID, person("ana", "browser"))
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(to)
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "redirect_uri": "https://gateway.example/grants/callback",
		"code_challenge_method": "S256", "resource": s.url + "/mcp", "scope": "read write offline_access", "prompt": "consent", "tenant": "x"} {
		if len(q[name]) != 1 || q.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, q[name], want)
		}
	}
	if len(q["state"]) != 1 || len(q.Get("state")) < 26 || q.Get("state") == need.ID || len(q.Get("code_challenge")) != 43 {
		t.Errorf("%v", q)
	}
	given, err := g.Finish(t.Context(), p.visit(to, "ana"), person("ana", "browser"))
	if err != nil || given.Client != "https://client.example/id" || !given.Lasting {
		t.Fatalf("%+v %v", given, err)
	}
	if err := need.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	p.read(func() {
		f := p.forms[0]
		if f.Get("resource") != s.url+"/mcp" || f.Get("redirect_uri") != "https://gateway.example/grants/callback" || f.Get("client_secret") != "" ||
			!strings.HasPrefix(p.auths[0], "Basic ") {
			t.Errorf("%v %v", f, p.auths)
		}
	})
	w.mustCall(g, "one", ana)
}

// What is kept on disk is sealed: neither refresh nor access token, nor the
// secret of a registered client, nor a verifier is among the bytes of the store.
func TestNothingSecretIsAtRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	need := w.asked(g, "one", person("ben", "editor"))
	to, err := g.Start(t.Context(), need.ID, person("ben", ""))
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(to)
	_ = w.db.Close()
	var all []byte
	for _, name := range []string{w.path, w.path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	secrets := []string{u.Query().Get("state"), need.ID, "ana"}
	p.read(func() {
		for tok := range p.tokens {
			secrets = append(secrets, tok)
		}
		for tok := range p.refresh {
			secrets = append(secrets, tok)
		}
		for id, s := range p.clients {
			secrets = append(secrets, id, s)
		}
		secrets = append(secrets, p.forms[0].Get("code_verifier"))
	})
	if len(all) == 0 || len(secrets) < 8 {
		t.Fatal("nothing was looked at")
	}
	for _, s := range secrets {
		if strings.Contains(string(all), s) {
			t.Errorf("%q stands in the store", s)
		}
	}
}

// A restart in mid-flow goes on: the link is opened, and the answer redeemed,
// by another process than the one that made them.
func TestRestartInMidFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	ana := person("ana", "editor")
	need := w.asked(w.build(), "one", ana)
	w.db = w.openStore()
	to, err := w.build().Start(t.Context(), need.ID, ana)
	if err != nil {
		t.Fatal(err)
	}
	back := p.visit(to, "ana")
	if _, err := w.build().Finish(t.Context(), back, ana); err != nil {
		t.Fatal(err)
	}
	// One that has never heard of the access token gets one by the refresh token.
	g := w.build()
	w.mustCall(g, "one", ana)
	if err := need.Wait(t.Context()); err != nil {
		t.Errorf("who waited before the restart: %v", err)
	}
	if _, err := g.Finish(t.Context(), back, ana); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("the answer counted twice: %v", err)
	}
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	s := newUpstream(w, "one", p)
	s.scope = "read"
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	w.mustCall(g, "one", ana)
	s.read(func() { s.need = "write" })
	need := w.asked(g, "one", ana)
	if again := w.asked(g, "one", ana); again.ID != need.ID {
		t.Error("each call makes another link")
	}
	asked, err := g.Pending(t.Context(), need.ID, ana)
	if err != nil || !slices.Equal(asked.Scopes, []string{"read", "write"}) || !slices.Equal(asked.Widens, []string{"write"}) {
		t.Errorf("%+v %v", asked, err)
	}
	w.grant(g, "one", p, ana)
	w.mustCall(g, "one", ana)
	// A server that refuses what it asked for is not asked about again.
	p.read(func() { clear(p.scopes) })
	if _, err := w.call(g, "one", ana); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("a scope that never suffices: %v", err)
	}
	// One that wants another scope each time comes to an end.
	n := 0
	for ; n < 50; n++ {
		s.read(func() { s.need = "more-" + strings.Repeat("x", n+1) })
		if _, err := w.call(g, "one", ana); errors.Is(err, credential.ErrRefused) {
			break
		}
		w.grant(g, "one", p, ana)
	}
	if n > maxSteps {
		t.Errorf("a person was asked %d times", n)
	}
}

func TestOnlyPeopleAreAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	for _, id := range []call.Identity{{}, {Issuer: "i", Subject: "robot", Kind: call.Workload}, {Issuer: "i", Subject: "x", Kind: call.Anonymous}} {
		if _, err := w.call(g, "one", call.NewPrincipal(id)); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%v: %v", id.Kind, err)
		}
	}
	if len(w.reasons()) != 0 {
		t.Error(w.reasons())
	}
}

// A reload hands on what is in memory.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	p.lasting = false
	w.grant(g, "one", p, ana)
	if _, err := w.call(w.build(), "one", ana); err == nil {
		t.Error("a token that was in memory only outlived its process")
	}
	o := w.options()
	o.Keep = g
	next, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.mustCall(next, "one", ana)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := next.Close(ctx); err != nil {
		t.Error(err)
	}
}
