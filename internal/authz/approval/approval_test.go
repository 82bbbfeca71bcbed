package approval

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys/file"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

const corp = "https://idp.example/corp"

// record keeps what was recorded, or refuses to.
type record struct {
	mu     sync.Mutex
	events []audit.Event
	broken bool
}

func (r *record) Record(_ context.Context, e *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return errors.New("the disk is full")
	}
	if err := e.Check(); err != nil {
		return err
	}
	r.events = append(r.events, *e)
	return nil
}

func (r *record) reasons(id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if e.ID == id {
			out = append(out, e.Effect+" "+e.Reason)
		}
	}
	return out
}

type desk struct {
	*Approvals
	record *record
	dir    string
	opts   Options
}

func open(t *testing.T, dir string) store.KV {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := db.Bucket("approval")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func newDesk(t *testing.T, change func(*Options)) *desk {
	t.Helper()
	d := &desk{record: &record{}, dir: t.TempDir()}
	ring, err := file.Open(file.Options{Dir: filepath.Join(d.dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	d.opts = Options{Store: open(t, d.dir), Keys: ring, Record: d.record, Page: func() string { return "https://gw.example" }, Wait: 10 * time.Minute, UseWithin: 5 * time.Minute,
		MostWaiting: 3, MostPerHour: 6, Strength: call.Requirement{MaxAge: 5 * time.Minute},
		Lists: map[string]List{"bosses": {Issuer: corp, Groups: []string{"bosses"}}, "pair": {Issuer: corp, Subjects: []string{"kim", "lee"}}, "solo": {Issuer: corp, Subjects: []string{"kim"}}}}
	if change != nil {
		change(&d.opts)
	}
	if d.Approvals, err = New(d.opts); err != nil {
		t.Fatal(err)
	}
	return d
}

func person(subject string, change ...func(*call.Identity)) call.Principal {
	id := call.Identity{Issuer: corp, Subject: subject, Kind: call.Person, Client: "agent", AuthTime: time.Now().Unix()}
	for _, f := range change {
		f(&id)
	}
	return call.NewPrincipal(id)
}

func in(groups ...string) func(*call.Identity) {
	return func(id *call.Identity) { id.Groups = groups }
}

func held(p call.Principal, change ...func(*authz.Held)) authz.Held {
	h := authz.Held{Call: call.NewID(), Principal: p, Target: call.Target{Server: "bank", Method: "tools/call", Name: "pay"}, Arguments: []byte(`{"amount":500,"to":"DE-1"}`),
		Definition: [32]byte{1}, Rules: "r1", Needs: call.Requirement{Approvers: []string{"bosses"}, Checks: []string{"policy/approval-needed"}}}
	for _, f := range change {
		f(&h)
	}
	return h
}

func (d *desk) ask(t *testing.T, h authz.Held) authz.Standing {
	t.Helper()
	s, err := d.Ask(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func boss() authz.Approver { return authz.Approver{Principal: person("boss", in("bosses"))} }

// TestOnce is the way that all is for: asked, approved, used, and waiting anew.
func TestOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	h := held(person("kim"))
	first := d.ask(t, h)
	if first.State != authz.Waiting || len(first.ID) != 32 || first.URL != "https://gw.example/approvals/open?id="+first.ID {
		t.Fatalf("%+v", first)
	}
	if again := d.ask(t, h); again.ID != first.ID {
		t.Error("the same call asks twice")
	}
	if ok, err := d.Use(t.Context(), h, first.ID); ok || err != nil {
		t.Fatal("used without a yes", err)
	}
	p, err := d.Pending(t.Context(), first.ID, boss())
	if err != nil || !p.Fresh || p.Subject != "kim" || p.Client != "agent" || string(p.Arguments) != `{"amount":500,"to":"DE-1"}` || p.Server != "bank" || p.Name != "pay" {
		t.Fatalf("%+v %v", p, err)
	}
	if err := d.Decide(t.Context(), first.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	if s := d.ask(t, h); s.State != authz.Approved || s.ID != first.ID {
		t.Fatalf("%+v", s)
	}
	if err := d.Decide(t.Context(), first.ID, boss(), false); !errors.Is(err, authz.ErrNoApproval) {
		t.Errorf("decided twice: %v", err)
	}
	if ok, err := d.Use(t.Context(), h, first.ID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := d.Use(t.Context(), h, first.ID); ok || err != nil {
		t.Fatal("used twice", err)
	}
	if s := d.ask(t, h); s.State != authz.Waiting || s.ID == first.ID {
		t.Errorf("after its use: %+v", s)
	}
	want := []string{"hold approval-requested", "allow approval-given", "allow approval-used"}
	if diff := cmp.Diff(want, d.record.reasons(first.ID)); diff != "" {
		t.Error(diff)
	}
}

// TestBoundToAll: an approval of one call is none of any other.
func TestBoundToAll(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *Options) { o.MostWaiting, o.MostPerHour = 100, 100 })
	h := held(person("kim"))
	s := d.ask(t, h)
	if err := d.Decide(t.Context(), s.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{s.ID: true}
	for name, other := range map[string]authz.Held{
		"another argument":       held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(`{"amount":501,"to":"DE-1"}`) }),
		"one argument more":      held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(`{"amount":500,"to":"DE-1","x":null}`) }),
		"a number in words":      held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(`{"amount":"500","to":"DE-1"}`) }),
		"no arguments":           held(person("kim"), func(h *authz.Held) { h.Arguments = nil }),
		"another principal":      held(person("lee")),
		"another issuer":         held(person("kim", func(id *call.Identity) { id.Issuer = "https://other.example" })),
		"another client":         held(person("kim", func(id *call.Identity) { id.Client = "other" })),
		"an actor":               held(person("kim", func(id *call.Identity) { id.Actors = []string{person("bot").Key()} })),
		"another server":         held(person("kim"), func(h *authz.Held) { h.Target.Server = "bank2" }),
		"another tool":           held(person("kim"), func(h *authz.Held) { h.Target.Name = "pay2" }),
		"another method":         held(person("kim"), func(h *authz.Held) { h.Target.Method = "prompts/get" }),
		"another definition":     held(person("kim"), func(h *authz.Held) { h.Definition[0] = 2 }),
		"other rules":            held(person("kim"), func(h *authz.Held) { h.Rules = "r2" }),
		"other approvers":        held(person("kim"), func(h *authz.Held) { h.Needs.Approvers = []string{"pair"} }),
		"held by something else": held(person("kim"), func(h *authz.Held) { h.Needs.Checks = []string{"flow/private-data"} }),
		"a boundary that moved":  held(person("kim"), func(h *authz.Held) { h.Target.Server, h.Target.Method = "ban", "ktools/call" }),
		"approvers become checks": held(person("kim"), func(h *authz.Held) {
			h.Needs.Approvers, h.Needs.Checks = nil, []string{"bosses", "policy/approval-needed"}
		}),
	} {
		if ok, err := d.Use(t.Context(), other, s.ID); ok || err != nil {
			t.Errorf("%s used it: %v", name, err)
		}
		if o := d.ask(t, other); o.State != authz.Waiting || seen[o.ID] {
			t.Errorf("%s: %+v", name, o)
		} else {
			seen[o.ID] = true
		}
	}
	same := held(person("kim", in("x"), func(id *call.Identity) { id.Proof = "another token" }), func(h *authz.Held) {
		h.Arguments = []byte(` { "to" : "\u0044E-1", "amount" : 500 } `)
	})
	if ok, err := d.Use(t.Context(), same, s.ID); !ok || err != nil {
		t.Errorf("the same call in another spelling: %v", err)
	}
}

// TestOneApprovalManyCallers: whoever is first.
func TestOneApprovalManyCallers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	h := held(person("kim"))
	ids := sync.Map{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			s, err := d.Ask(t.Context(), h)
			if err != nil {
				t.Error(err)
			}
			ids.Store(s.ID, true)
		})
	}
	wg.Wait()
	n, id := 0, ""
	ids.Range(func(k, _ any) bool { n++; id, _ = k.(string); return true })
	if n != 1 {
		t.Fatalf("%d requests for one call", n)
	}
	var yes, no, used atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			err := d.Decide(t.Context(), id, boss(), i%2 == 0)
			switch {
			case err == nil && i%2 == 0:
				yes.Add(1)
			case err == nil:
				no.Add(1)
			case !errors.Is(err, authz.ErrNoApproval):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if yes.Load()+no.Load() != 1 {
		t.Fatalf("%d yes and %d no", yes.Load(), no.Load())
	}
	for range 16 {
		wg.Go(func() {
			ok, err := d.Use(t.Context(), h, id)
			if err != nil {
				t.Error(err)
			}
			if ok {
				used.Add(1)
			}
		})
	}
	wg.Wait()
	if used.Load() != yes.Load() {
		t.Errorf("used %d times after %d yes", used.Load(), yes.Load())
	}
}

// TestSilenceIsNo: what nobody answers ends, and an answer that comes late does
// nothing; so does a yes that nobody uses.
func TestSilenceIsNo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		h := held(person("kim"))
		s := d.ask(t, h)
		time.Sleep(10*time.Minute - time.Second)
		if got := d.ask(t, h); got.ID != s.ID || got.State != authz.Waiting {
			t.Errorf("early: %+v", got)
		}
		time.Sleep(2 * time.Second)
		if err := d.Decide(t.Context(), s.ID, boss(), true); !errors.Is(err, authz.ErrNoApproval) {
			t.Errorf("late: %v", err)
		}
		if err := d.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.record.reasons(s.ID); got[len(got)-1] != "deny approval-expired" {
			t.Errorf("%v", got)
		}
		if err := d.Sweep(t.Context()); err != nil || len(d.record.reasons(s.ID)) != 2 {
			t.Errorf("ended twice: %v", err)
		}
		s2 := d.ask(t, h)
		if s2.ID == s.ID {
			t.Fatal("it rose again")
		}
		if err := d.Decide(t.Context(), s2.ID, boss(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute + time.Second)
		if ok, err := d.Use(t.Context(), h, s2.ID); ok || err != nil {
			t.Errorf("an old yes was used: %v", err)
		}
		if s3 := d.ask(t, h); s3.State != authz.Waiting || s3.ID == s2.ID {
			t.Errorf("%+v", s3)
		}
		if got := d.record.reasons(s2.ID); got[len(got)-1] != "deny approval-expired" {
			t.Errorf("%v", got)
		}
	})
}

// TestANoHolds for as long as a request waits.
func TestANoHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		h := held(person("kim"))
		s := d.ask(t, h)
		if err := d.Decide(t.Context(), s.ID, boss(), false); err != nil {
			t.Fatal(err)
		}
		if got := d.ask(t, h); got.State != authz.Denied {
			t.Errorf("%+v", got)
		}
		if ok, _ := d.Use(t.Context(), h, s.ID); ok {
			t.Error("a no was used")
		}
		time.Sleep(10*time.Minute + time.Second)
		if got := d.ask(t, h); got.State != authz.Waiting || got.ID == s.ID {
			t.Errorf("%+v", got)
		}
	})
}

// TestWhoDecides is each person who may not, and each who may.
func TestWhoDecides(t *testing.T) {
	t.Parallel()
	old := func(id *call.Identity) { id.AuthTime -= 301 }
	never := func(id *call.Identity) { id.AuthTime = 0 }
	operator := func(ago time.Duration) call.Principal {
		id := local.Attached("browser").Identity()
		id.AuthTime = time.Now().Add(-ago).Unix()
		return call.NewPrincipal(id)
	}
	for _, c := range []struct {
		name      string
		caller    call.Principal
		approvers []string
		who       authz.Approver
		want      error
	}{
		{"a boss", person("kim"), []string{"bosses"}, boss(), nil},
		{"nobody", person("kim"), []string{"bosses"}, authz.Approver{}, authz.ErrNoApproval},
		{"somebody of no list", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("mallory")}, authz.ErrNoApproval},
		{"the group of another issuer", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("boss", in("bosses"), func(id *call.Identity) { id.Issuer = "https://evil.example" })}, authz.ErrNoApproval},
		{"a machine in the group", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("ci", in("bosses"), func(id *call.Identity) { id.Kind = call.Workload })}, authz.ErrNoApproval},
		{"the caller, who is a boss", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("kim", in("bosses"))}, authz.ErrOwnCall},
		{"the caller, who is none", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("kim")}, authz.ErrOwnCall},
		{"the caller in a browser, one of two", person("kim"), []string{"pair"}, authz.Approver{Principal: person("kim", func(id *call.Identity) { id.Client = "browser" })}, authz.ErrOwnCall},
		{"the other of two", person("kim"), []string{"pair"}, authz.Approver{Principal: person("lee")}, nil},
		{"the caller, the only one there is", person("kim"), []string{"solo"}, authz.Approver{Principal: person("kim")}, nil},
		{"the caller, alone in one of two lists", person("kim"), []string{"bosses", "solo"}, authz.Approver{Principal: person("kim")}, authz.ErrOwnCall},
		{"who acts for the caller", person("kim", func(id *call.Identity) { id.Actors = []string{person("boss").Key()} }), []string{"bosses"}, boss(), authz.ErrOwnCall},
		{"an old sign-in", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("boss", in("bosses"), old)}, authz.ErrSignInAgain},
		{"a sign-in of no time", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("boss", in("bosses"), never)}, authz.ErrSignInAgain},
		{"the operator of the page, not asked", person("kim"), []string{"bosses"}, authz.Approver{Principal: operator(0)}, authz.ErrNoApproval},
		{"the operator at the terminal", person("kim"), []string{"bosses"}, authz.Approver{Principal: local.Attached("terminal"), Terminal: true}, nil},
		{"a person who says that they are the terminal", person("kim"), []string{"bosses"}, authz.Approver{Principal: person("mallory"), Terminal: true}, authz.ErrNoApproval},
		{"the lone operator, by code", local.Attached("cursor"), []string{"operator"}, authz.Approver{Principal: operator(time.Minute)}, nil},
		{"the lone operator, long ago", local.Attached("cursor"), []string{"operator"}, authz.Approver{Principal: operator(6 * time.Minute)}, authz.ErrSignInAgain},
		{"the operator's own token", local.Attached("cursor"), []string{"operator"}, authz.Approver{Principal: local.Attached("")}, authz.ErrSignInAgain},
		{"no list says the operator", local.Attached("cursor"), nil, authz.Approver{Principal: operator(0)}, nil},
		{"a list that is not there", person("kim"), []string{"gone"}, boss(), authz.ErrNoApproval},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, nil)
			h := held(c.caller, func(h *authz.Held) { h.Needs.Approvers = c.approvers })
			s := d.ask(t, h)
			if err := d.Decide(t.Context(), s.ID, c.who, true); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v", err)
			}
			want := authz.Waiting
			if c.want == nil {
				want = authz.Approved
			}
			if got := d.ask(t, h); got.State != want {
				t.Errorf("then it is %v", got.State)
			}
		})
	}
}

// TestStrength: what the operator asks of approvers holds.
func TestStrength(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *Options) {
		o.Strength = call.Requirement{MaxAge: time.Minute, ACR: []string{"mfa"}, AMR: []string{"hwk"}}
	})
	s := d.ask(t, held(person("kim")))
	as := func(acr string, amr ...string) authz.Approver {
		return authz.Approver{Principal: person("boss", in("bosses"), func(id *call.Identity) { id.ACR, id.AMR = acr, amr })}
	}
	for _, weak := range []authz.Approver{as(""), as("mfa"), as("pwd", "hwk"), as("", "hwk")} {
		if err := d.Decide(t.Context(), s.ID, weak, true); !errors.Is(err, authz.ErrSignInAgain) {
			t.Errorf("%v", err)
		}
		if p, err := d.Pending(t.Context(), s.ID, weak); err != nil || p.Fresh {
			t.Errorf("%+v %v", p, err)
		}
	}
	if err := d.Decide(t.Context(), s.ID, as("mfa", "pwd", "hwk"), true); err != nil {
		t.Error(err)
	}
}

// TestFatigue: a person is not asked more than they can read.
func TestFatigue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		try := func(p call.Principal, server string, n int) error {
			_, err := d.Ask(t.Context(), held(p, func(h *authz.Held) {
				h.Target.Server, h.Arguments = server, fmt.Appendf(nil, `{"n":%d}`, n)
			}))
			return err
		}
		for n := range 3 {
			if err := try(person("kim"), "bank", n); err != nil {
				t.Fatal(err)
			}
		}
		if err := try(person("kim"), "bank", 3); !errors.Is(err, authz.ErrManyWaiting) {
			t.Errorf("a fourth: %v", err)
		}
		if err := try(person("kim", func(id *call.Identity) { id.Client = "other" }), "bank", 3); !errors.Is(err, authz.ErrManyWaiting) {
			t.Errorf("by another client: %v", err)
		}
		if err := try(person("kim"), "bank", 0); err != nil {
			t.Errorf("one that waits: %v", err)
		}
		if try(person("kim"), "files", 0) != nil || try(person("lee"), "bank", 0) != nil {
			t.Error("another server or principal pays for it")
		}
		time.Sleep(11 * time.Minute)
		for n := range 3 {
			if err := try(person("kim"), "bank", n); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Minute)
		if err := try(person("kim"), "bank", 9); !errors.Is(err, authz.ErrManyWaiting) {
			t.Errorf("a seventh within the hour: %v", err)
		}
		time.Sleep(40 * time.Minute)
		if err := try(person("kim"), "bank", 9); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// TestRestart: what waits and what was approved is there again, for once.
func TestRestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	h := held(person("kim"))
	s := d.ask(t, h)
	again := d.opts
	again.Store = open(t, d.dir)
	b, err := New(again)
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.Waiting(t.Context(), boss())
	if err != nil || len(list) != 1 || list[0].ID != s.ID {
		t.Fatalf("%v %v", list, err)
	}
	if list, err := b.Waiting(t.Context(), authz.Approver{Principal: person("mallory")}); err != nil || len(list) != 0 {
		t.Errorf("mallory sees %v %v", list, err)
	}
	if err := b.Decide(t.Context(), s.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	one, err1 := d.Use(t.Context(), h, s.ID)
	two, err2 := b.Use(t.Context(), h, s.ID)
	if !one || two || err1 != nil || err2 != nil {
		t.Errorf("%v %v %v %v", one, two, err1, err2)
	}
}

// TestNoEntryNothing: what cannot be recorded does not happen.
func TestNoEntryNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	h := held(person("kim"))
	d.record.broken = true
	if _, err := d.Ask(t.Context(), h); err == nil {
		t.Error("asked")
	}
	d.record.broken = false
	s := d.ask(t, h)
	d.record.broken = true
	if d.Decide(t.Context(), s.ID, boss(), true) == nil {
		t.Error("approved")
	}
	d.record.broken = false
	if err := d.Decide(t.Context(), s.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	d.record.broken = true
	if ok, err := d.Use(t.Context(), h, s.ID); ok || err == nil {
		t.Error("used")
	}
	d.record.broken = false
	if ok, _ := d.Use(t.Context(), h, s.ID); ok {
		t.Error("used after all")
	}
}

// TestTheStoreHoldsNoArguments in the clear, nor after they were judged.
func TestTheStoreHoldsNoArguments(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	h := held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(`{"password":"hunter2"}`) })
	s := d.ask(t, h)
	all := func() string {
		var b strings.Builder
		if err := d.opts.Store.Scan(t.Context(), "", func(e store.Entry) bool { b.WriteString(e.Key); b.Write(e.Value); return true }); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if x := all(); strings.Contains(x, "hunter2") || strings.Contains(x, "kim") {
		t.Errorf("%q", x)
	}
	if err := d.Decide(t.Context(), s.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	r, err := d.find(t.Context(), s.ID)
	if err != nil || len(r.Arguments) != 0 {
		t.Errorf("%s %v", r.Arguments, err)
	}
	for _, e := range d.record.events {
		if strings.Contains(fmt.Sprint(e), "hunter2") {
			t.Errorf("%+v", e)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	_, err := d.Ask(t.Context(), held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(`{"x":"` + strings.Repeat("a", MaxArguments) + `"}`) }))
	if !errors.Is(err, authz.ErrUnreadable) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{`{"a":1,"a":2}`, `[`, ``} {
		if _, err := d.Ask(t.Context(), held(person("kim"), func(h *authz.Held) { h.Arguments = []byte(bad) })); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := d.Ask(t.Context(), held(call.Principal{})); err == nil {
		t.Error("nobody asked")
	}
}

// TestWaitIsTold when a person decided, and ends with its context.
func TestWaitIsTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	s := d.ask(t, held(person("kim")))
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Wait(t.Context(), s.ID)
	}()
	if err := d.Decide(t.Context(), s.ID, boss(), true); err != nil {
		t.Fatal(err)
	}
	<-done
	d.Wait(t.Context(), s.ID)
	d.Wait(t.Context(), "nothing")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.Wait(ctx, d.ask(t, held(person("lee"))).ID)
}

func TestZeroRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("made of nothing")
	}
	var a *Approvals
	if _, err := a.find(t.Context(), strings.Repeat("a", 32)); !errors.Is(err, authz.ErrNoApproval) {
		t.Errorf("%v", err)
	}
	d := newDesk(t, nil)
	for _, o := range []func(*Options){
		func(o *Options) { o.Lists = map[string]List{"operator": {Issuer: corp, Subjects: []string{"kim"}}} },
		func(o *Options) { o.Lists = map[string]List{"x": {Issuer: corp}} },
		func(o *Options) { o.Wait = 0 },
		func(o *Options) { o.MostPerHour = 0 },
	} {
		bad := d.opts
		o(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%+v", bad)
		}
	}
}
