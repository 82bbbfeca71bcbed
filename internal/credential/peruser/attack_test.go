package peruser

import (
	"context"
	"errors"
	"fmt"
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
func begun(t *testing.T, w *world, g *Grants, p *provider, who call.Principal) (credential.GrantNeeded, url.Values) {
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
