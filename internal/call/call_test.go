package call_test

import (
	"errors"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

func somebody() call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Operator, Client: "c"})
}

// judged returns a call that every required stage allowed, but for the
// stages named.
func judged(except ...call.Stage) *call.Call {
	c := call.New(time.Now())
	c.Principal = somebody()
	c.Target = call.Target{Server: "srv", Method: "tools/call", Name: "t"}
next:
	for s := call.Accept; s <= call.InspectRequest; s++ {
		for _, x := range except {
			if s == x {
				continue next
			}
		}
		c.Pass(s)
	}
	return c
}

func still() call.Generations { return call.Generations{} }

func TestAForgottenStageBlocks(t *testing.T) {
	t.Parallel()
	for s := call.Accept; s <= call.InspectRequest; s++ {
		if _, err := judged(s).Clear([]byte("{}"), still); !errors.Is(err, call.ErrNotCleared) {
			t.Errorf("without %v: %v", s, err)
		}
	}
	if _, err := judged().Clear([]byte("{}"), still); err != nil {
		t.Errorf("with every stage: %v", err)
	}
}

func TestADenyCannotBeTalkedOver(t *testing.T) {
	t.Parallel()
	c := judged(call.Authorize)
	c.Decide(call.Decision{Stage: call.Authorize, Reason: call.ReasonNotPermitted})
	c.Pass(call.Authorize)
	if _, err := c.Clear([]byte("{}"), still); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("cleared after a deny: %v", err)
	}
	if v := c.Verdict(); v.Reason != call.ReasonNotPermitted {
		t.Errorf("verdict: %+v", v)
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	t.Parallel()
	if (call.Principal{}).Valid() || call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s"}).Valid() {
		t.Error("a zero principal is valid")
	}
	var zero call.Decision
	if zero.Effect.Passes() || zero.Effect != call.Deny {
		t.Error("a zero decision passes")
	}
	if _, err := (&call.Clearance{}).Spend(); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("zero clearance: %v", err)
	}
	if _, err := (call.Release{}).Take(); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("zero release: %v", err)
	}
	var c call.Call
	if _, err := c.Clear(nil, still); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("zero call: %v", err)
	}
	anonymous := judged()
	anonymous.Principal = call.Principal{}
	if _, err := anonymous.Clear(nil, still); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("nobody was cleared: %v", err)
	}
}

func TestAClearanceIsSpentOnce(t *testing.T) {
	t.Parallel()
	cl, err := judged().Clear([]byte(`{"a":1}`), still)
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := cl.Spend(); err == nil {
				won.Add(1)
			} else if !errors.Is(err, call.ErrSpent) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("spent %d times", won.Load())
	}
}

func TestWhatChangedAfterJudgementIsNotSent(t *testing.T) {
	t.Parallel()
	body := []byte(`{"path":"/srv/a"}`)
	cl, err := judged().Clear(body, still)
	if err != nil {
		t.Fatal(err)
	}
	body[14] = 'b'
	if _, err := cl.Spend(); !errors.Is(err, call.ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func TestAChangedGenerationVoidsAClearance(t *testing.T) {
	t.Parallel()
	for _, move := range []func(*call.Generations){
		func(g *call.Generations) { g.Policy++ },
		func(g *call.Generations) { g.Pins++ },
		func(g *call.Generations) { g.Revocation++ },
	} {
		var g call.Generations
		cl, err := judged().Clear([]byte("{}"), func() call.Generations { return g })
		if err != nil {
			t.Fatal(err)
		}
		move(&g)
		if cl.Current() {
			t.Error("still current")
		}
		if _, err := cl.Spend(); !errors.Is(err, call.ErrStale) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAForkInheritsNoPermission(t *testing.T) {
	t.Parallel()
	f := judged().Fork(call.Target{Server: "other", Method: "tools/list"})
	if _, err := f.Clear([]byte("{}"), still); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("got %v", err)
	}
}

func TestAReleaseNeedsTheResultInspection(t *testing.T) {
	t.Parallel()
	c := judged()
	if _, err := c.Release([]byte("{}")); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("released without inspection: %v", err)
	}
	c.Pass(call.Minimize)
	if _, err := c.Release([]byte("{}")); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("released without inspection: %v", err)
	}
	c.Pass(call.InspectResult)
	r, err := c.Release([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.Take(); err != nil || len(b) != 1 || string(b[0]) != "{}" {
		t.Errorf("%s %v", b, err)
	}
	if _, err := r.Take(); !errors.Is(err, call.ErrSpent) {
		t.Errorf("taken twice: %v", err)
	}
	if _, err := c.Message(nil, call.Decision{}); !errors.Is(err, call.ErrNotCleared) {
		t.Errorf("a message without a verdict: %v", err)
	}
}

func TestKeysAreInjective(t *testing.T) {
	t.Parallel()
	p := func(i, s, c string) call.Principal {
		return call.NewPrincipal(call.Identity{Issuer: i, Subject: s, Client: c, Kind: call.Person})
	}
	if p("a|b", "c", "").Key() == p("a", "b|c", "").Key() {
		t.Error("issuer and subject run together")
	}
	if p("a", "b|c", "d").ClientKey() == p("a", "b", "c|d").ClientKey() {
		t.Error("subject and client run together")
	}
}

func TestRightsHaveTheirOwnCacheKey(t *testing.T) {
	t.Parallel()
	base := call.Identity{Issuer: "i", Subject: "s", Client: "c", Kind: call.Person}
	seen := map[string]int{}
	for i, change := range []func(*call.Identity){
		func(*call.Identity) {},
		func(d *call.Identity) { d.Scopes = []string{"a"} },
		func(d *call.Identity) { d.Scopes = []string{"a", "b"} },
		func(d *call.Identity) { d.Scopes = []string{"a|1:b"} },
		func(d *call.Identity) { d.Scopes, d.Roles = []string{"a"}, []string{"b"} },
		func(d *call.Identity) { d.Roles = []string{"a"} },
		func(d *call.Identity) { d.Groups = []string{"a"} },
		func(d *call.Identity) { d.Actors = []string{"a"} },
		func(d *call.Identity) { d.AMR = []string{"a"} },
		func(d *call.Identity) { d.Tenant = "a" },
		func(d *call.Identity) { d.ACR = "a" },
		func(d *call.Identity) { d.GroupsUnknown = true },
	} {
		id := base
		change(&id)
		p := call.NewPrincipal(id)
		if other, ok := seen[p.CacheKey()]; ok {
			t.Errorf("%d and %d share %q", i, other, p.CacheKey())
		}
		seen[p.CacheKey()] = i
		if p.Key() != call.NewPrincipal(base).Key() || p.ClientKey() != call.NewPrincipal(base).ClientKey() {
			t.Errorf("%d is another principal", i)
		}
	}
}

func FuzzPrincipalKey(f *testing.F) {
	f.Add("a", "b", "c", "d")
	f.Add("1:a|b", "c", "1:a", "b|c")
	f.Fuzz(func(t *testing.T, i1, s1, i2, s2 string) {
		a := call.NewPrincipal(call.Identity{Issuer: i1, Subject: s1, Kind: call.Person})
		b := call.NewPrincipal(call.Identity{Issuer: i2, Subject: s2, Kind: call.Person})
		if a.Valid() && b.Valid() && (a.Key() == b.Key()) != (i1 == i2 && s1 == s2) {
			t.Errorf("%q %q and %q %q share %q", i1, s1, i2, s2, a.Key())
		}
	})
}

func TestIDsHaveTheirLength(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := map[call.ID]bool{}
	for range 10_000 {
		id := call.NewID()
		if seen[id] || !form.MatchString(string(id)) {
			t.Fatalf("%s", id)
		}
		seen[id] = true
	}
}

// TestKeysComeApart: a key is read back as it was made, and nothing else is one.
func TestKeysComeApart(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"https://a.example", "kim"}, {"a|b", "c|d"}, {"3:x", "|"}, {"i", "12:x|y"}} {
		key := call.NewPrincipal(call.Identity{Issuer: pair[0], Subject: pair[1], Kind: call.Person}).Key()
		if i, s, ok := call.SplitKey(key); !ok || i != pair[0] || s != pair[1] {
			t.Errorf("%q: %q %q %v", key, i, s, ok)
		}
	}
	for _, key := range []string{"", "kim", "3:ab|c", "03:abc|d", "+3:abc|d", "-1:|x", "3:abcd", "9:abc|d", "3:abc"} {
		if i, s, ok := call.SplitKey(key); ok {
			t.Errorf("%q: %q %q", key, i, s)
		}
	}
}
