package consent_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/consent"
	"github.com/munjigi/munjigi/internal/oauthserver/oauthservertest"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

type place struct {
	*consent.Consent
	flow      oauthservertest.Flow
	decisions *consent.Decisions
	used      []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	open := func(name string) store.KV {
		kv, err := db.Bucket(name)
		if err != nil {
			t.Fatal(err)
		}
		return kv
	}
	p := &place{decisions: consent.NewDecisions(open("oauth-consent"))}
	p.Consent, err = consent.New(consent.Options{Decisions: p.decisions, Steps: open("oauth-step"), Flow: &p.flow,
		Used: func(_ context.Context, id string) error { p.used = append(p.used, id); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func who(subject string) call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: subject, Kind: call.Person, Proof: "x"})
}

var editor = oauthserver.Client{ID: "https://app.example/c.json", Kind: oauthserver.Document, Name: "Editor", Host: "app.example", Auth: oauthserver.AuthNone, Digest: "d1"}

func asking(id string, c oauthserver.Client, scopes ...string) oauthserver.Asking {
	return oauthserver.Asking{ID: id, Client: c, Redirect: "http://127.0.0.1:5000/cb", Resource: "https://gate.example/mcp/files", Scopes: scopes, Until: time.Now().Add(oauthserver.AskingLife)}
}

func granted(subject string, c oauthserver.Client, scopes ...string) oauthserver.Granted {
	return oauthserver.Granted{Issuer: "https://idp.example", Subject: subject, Client: c, Resource: "https://gate.example/mcp/files", Scopes: scopes}
}

var nobody call.Principal

func (p *place) open(t *testing.T, id, browser string, who call.Principal) oauthserver.Question {
	t.Helper()
	q, err := p.Open(t.Context(), id, browser, who)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestBeforeTheProvider is the whole way: the browser says yes, somebody signs
// in, the decision is theirs, and only then there is a code.
func TestBeforeTheProvider(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.flow.Add(asking("a", editor, "files:list", "files:call"))
	if q := p.open(t, "a", "b1", nobody); q.Approved != nil || q.Before != nil {
		t.Errorf("%+v", q)
	}
	to, err := p.Approve(t.Context(), "a", "b1", nobody, []string{"files:call"})
	if err != nil || to != "" || len(p.flow.Codes()) != 0 {
		t.Fatalf("%q %v", to, err)
	}
	if another, err := p.SignedIn(t.Context(), "a", "b1", "b2", who("kim")); err != nil || another {
		t.Fatal(another, err)
	}
	q := p.open(t, "a", "b2", who("kim"))
	if d := cmp.Diff([]string{"files:call"}, q.Approved); d != "" {
		t.Fatal(d)
	}
	if _, err = p.Approve(t.Context(), "a", "b2", who("kim"), q.Approved); err != nil {
		t.Fatal(err)
	}
	codes := p.flow.Codes()
	if len(codes) != 1 || codes[0].Who.Identity().Subject != "kim" || !cmp.Equal(codes[0].Scopes, []string{"files:call"}) {
		t.Errorf("%+v", codes)
	}
	if err := p.decisions.Stands(t.Context(), granted("kim", editor, "files:call")); err != nil {
		t.Error(err)
	}
	for name, g := range map[string]oauthserver.Granted{
		"a scope that was unticked": granted("kim", editor, "files:list"),
		"more scopes":               granted("kim", editor, "files:call", "files:list"),
		"no scopes":                 granted("kim", editor),
		"somebody else":             granted("lee", editor, "files:call"),
		"another client":            granted("kim", oauthserver.Client{ID: "other", Kind: oauthserver.Document, Digest: "d1"}, "files:call"),
		"another kind":              granted("kim", oauthserver.Client{ID: editor.ID, Kind: oauthserver.Registered, Digest: "d1"}, "files:call"),
		"a changed client":          granted("kim", oauthserver.Client{ID: editor.ID, Kind: oauthserver.Document, Digest: "d2"}, "files:call"),
		"a client without digest":   granted("kim", oauthserver.Client{ID: editor.ID, Kind: oauthserver.Document}, "files:call"),
		"another resource":          {Issuer: "https://idp.example", Subject: "kim", Client: editor, Resource: "https://gate.example/mcp/mail", Scopes: []string{"files:call"}},
		"another issuer":            {Issuer: "https://other.example", Subject: "kim", Client: editor, Resource: "https://gate.example/mcp/files", Scopes: []string{"files:call"}},
		"nobody":                    {},
	} {
		if err := p.decisions.Stands(t.Context(), g); !errors.Is(err, oauthserver.ErrNoConsent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A request serves once.
	if _, err := p.Approve(t.Context(), "a", "b2", who("kim"), []string{"files:call"}); !errors.Is(err, oauthserver.ErrNoAsking) {
		t.Error(err)
	}
}

// TestAttacks holds each step of the confused deputy: in none of them there is a
// code.
func TestAttacks(t *testing.T) {
	t.Parallel()
	yes := []string{"files:list"}
	for name, attack := range map[string]func(*testing.T, *place) error{
		"the provider remembers, nobody was asked": func(t *testing.T, p *place) error {
			// Somebody who is signed in already opens the link: they are asked.
			if _, err := p.SignedIn(t.Context(), "", "b0", "b1", who("kim")); err != nil {
				t.Error(err)
			}
			q, err := p.Open(t.Context(), "a", "b1", who("kim"))
			if q.Approved != nil {
				t.Error("approved by nobody")
			}
			return err
		},
		"signing in comes before the yes": func(t *testing.T, p *place) error {
			p.open(t, "a", "b1", nobody)
			if _, err := p.SignedIn(t.Context(), "a", "b1", "b2", who("kim")); err != nil {
				t.Error(err)
			}
			q, err := p.Open(t.Context(), "a", "b2", who("kim"))
			if q.Approved != nil {
				t.Error("approved by signing in")
			}
			return err
		},
		"one browser approves, another signs in": func(t *testing.T, p *place) error {
			p.open(t, "a", "evil", nobody)
			if _, err := p.Approve(t.Context(), "a", "evil", nobody, yes); err != nil {
				t.Error(err)
			}
			if _, err := p.SignedIn(t.Context(), "a", "victim", "victim2", who("kim")); err != nil {
				t.Error(err)
			}
			_, err := p.Open(t.Context(), "a", "victim2", who("kim"))
			if !errors.Is(err, oauthserver.ErrOtherBrowser) {
				t.Error(err)
			}
			_, err = p.Approve(t.Context(), "a", "victim2", who("kim"), yes)
			return err
		},
		"the browser that began takes the session of another": func(t *testing.T, p *place) error {
			p.open(t, "a", "b1", nobody)
			if _, err := p.Approve(t.Context(), "a", "b1", nobody, yes); err != nil {
				t.Error(err)
			}
			// kim signed in at the same browser, but not through this request.
			q, err := p.Open(t.Context(), "a", "b1", who("kim"))
			if q.Approved != nil {
				t.Error("an approval that waited became whoever's")
			}
			return err
		},
		"nobody saw the page": func(t *testing.T, p *place) error {
			_, err := p.Approve(t.Context(), "a", "b1", who("kim"), yes)
			if !errors.Is(err, oauthserver.ErrNoAsking) {
				t.Error(err)
			}
			return err
		},
		"more than was asked": func(t *testing.T, p *place) error {
			p.open(t, "a", "b1", who("kim"))
			_, err := p.Approve(t.Context(), "a", "b1", who("kim"), []string{"files:list", "mail:call"})
			if !errors.Is(err, oauthserver.ErrWider) {
				t.Error(err)
			}
			return err
		},
		"nothing ticked": func(t *testing.T, p *place) error {
			p.open(t, "a", "b1", who("kim"))
			_, err := p.Approve(t.Context(), "a", "b1", who("kim"), nil)
			if !errors.Is(err, oauthserver.ErrNothing) {
				t.Error(err)
			}
			return err
		},
		"a request that never was": func(t *testing.T, p *place) error {
			_, err := p.Open(t.Context(), "z", "b1", who("kim"))
			if !errors.Is(err, oauthserver.ErrNoAsking) {
				t.Error(err)
			}
			return err
		},
		"no browser": func(t *testing.T, p *place) error {
			_, err := p.Open(t.Context(), "a", "", who("kim"))
			if !errors.Is(err, oauthserver.ErrNoAsking) {
				t.Error(err)
			}
			return err
		},
		"refused": func(t *testing.T, p *place) error {
			p.open(t, "a", "b1", who("kim"))
			if _, err := p.Refuse(t.Context(), "a", "evil"); !errors.Is(err, oauthserver.ErrOtherBrowser) {
				t.Error(err)
			}
			if _, err := p.Refuse(t.Context(), "a", "b1"); err != nil {
				t.Error(err)
			}
			_, err := p.Approve(t.Context(), "a", "b1", who("kim"), yes)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.flow.Add(asking("a", editor, "files:list", "files:call"))
			err := attack(t, p)
			if n := len(p.flow.Codes()); n != 0 {
				t.Errorf("%d codes, %v", n, err)
			}
			if list, err := p.Given(t.Context(), who("kim")); err != nil || len(list) != 0 {
				t.Errorf("%v %v", list, err)
			}
		})
	}
}

// TestAnotherPerson: the browser was kim's when it approved, and lee signs in.
func TestAnotherPerson(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	ctx := t.Context()
	if _, err := p.SignedIn(ctx, "", "b0", "b1", who("kim")); err != nil {
		t.Fatal(err)
	}
	p.flow.Add(asking("a", editor, "files:list"))
	p.open(t, "a", "b1", nobody)
	if _, err := p.Approve(ctx, "a", "b1", nobody, []string{"files:list"}); err != nil {
		t.Fatal(err)
	}
	another, err := p.SignedIn(ctx, "a", "b1", "b2", who("lee"))
	if err != nil || !another {
		t.Fatal(another, err)
	}
	q := p.open(t, "a", "b2", who("lee"))
	if q.Approved != nil || !q.Another || len(p.flow.Codes()) != 0 {
		t.Fatalf("%+v", q)
	}
	if _, err := p.Approve(ctx, "a", "b2", who("lee"), []string{"files:list"}); err != nil {
		t.Fatal(err)
	}
	if codes := p.flow.Codes(); len(codes) != 1 || codes[0].Who.Identity().Subject != "lee" {
		t.Errorf("%+v", codes)
	}
	if err := p.decisions.Stands(ctx, granted("kim", editor, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
		t.Error("kim's, who never decided")
	}
}

// TestSamePersonAgain: the browser was kim's and kim comes back.
func TestSamePersonAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := p.SignedIn(t.Context(), "", "b0", "b1", who("kim")); err != nil {
		t.Fatal(err)
	}
	p.flow.Add(asking("a", editor, "files:list"))
	p.open(t, "a", "b1", nobody)
	if _, err := p.Approve(t.Context(), "a", "b1", nobody, []string{"files:list"}); err != nil {
		t.Fatal(err)
	}
	if another, err := p.SignedIn(t.Context(), "a", "b1", "b2", who("kim")); err != nil || another {
		t.Fatal(another, err)
	}
	if q := p.open(t, "a", "b2", who("kim")); q.Approved == nil {
		t.Error("asked again for nothing")
	}
}

// give lets a client in the short way.
func (p *place) give(t *testing.T, subject string, a oauthserver.Asking, scopes ...string) {
	t.Helper()
	p.flow.Add(a)
	p.open(t, a.ID, "b"+subject, who(subject))
	if _, err := p.Approve(t.Context(), a.ID, "b"+subject, who(subject), scopes); err != nil {
		t.Fatal(err)
	}
}

func TestWidens(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.give(t, "kim", asking("a", editor, "files:list"), "files:list")
	changed := editor
	changed.Digest = "d2"
	wide := asking("b", changed, "files:list", "files:call")
	wide.Redirect = "https://evil.example/cb"
	p.flow.Add(wide)
	q := p.open(t, "b", "bkim", who("kim"))
	if q.Before == nil || !q.Changed || !q.NewRedirect || !cmp.Equal(q.Wider, []string{"files:call"}) {
		t.Errorf("%+v", q)
	}
	// What stands is not what the changed client rests on.
	if err := p.decisions.Stands(t.Context(), granted("kim", changed, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
		t.Error(err)
	}
	// Nor does anybody else learn what kim decided.
	if q := p.open(t, "b", "bkim", who("lee")); q.Before != nil {
		t.Errorf("%+v", q.Before)
	}
	p.give(t, "kim", asking("c", editor, "files:read"), "files:read")
	if err := p.decisions.Stands(t.Context(), granted("kim", editor, "files:list", "files:read")); err != nil {
		t.Errorf("what stood before is gone: %v", err)
	}
	p.give(t, "kim", asking("d", editor, "files:list", "files:read"), "files:read")
	if err := p.decisions.Stands(t.Context(), granted("kim", editor, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
		t.Error("what was unticked stands")
	}
}

func TestWithdraw(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.give(t, "kim", asking("a", editor, "files:list"), "files:list")
	p.give(t, "lee", asking("b", editor, "files:list"), "files:list")
	if there, err := p.Withdraw(t.Context(), who("kim"), "other"); err != nil || there {
		t.Error(there, err)
	}
	if there, err := p.Withdraw(t.Context(), who("kim"), editor.ID); err != nil || !there {
		t.Error(there, err)
	}
	if err := p.decisions.Stands(t.Context(), granted("kim", editor, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
		t.Error(err)
	}
	if err := p.decisions.Stands(t.Context(), granted("lee", editor, "files:list")); err != nil {
		t.Error("lee's went with it")
	}
	if d := cmp.Diff([]string{"other", editor.ID}, p.flow.Withdrawn()); d != "" {
		t.Error(d)
	}
}

func TestUsed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.give(t, "kim", asking("a", editor, "files:list"), "files:list")
	own := editor
	own.ID, own.Kind = "reg_A", oauthserver.Registered
	p.give(t, "kim", asking("b", own, "files:list"), "files:list")
	if d := cmp.Diff([]string{"reg_A"}, p.used); d != "" {
		t.Error(d)
	}
}

// TestAtOnce: of many windows that say yes at once, one gets the code.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.flow.Add(asking("a", editor, "files:list"))
	p.open(t, "a", "b1", who("kim"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = p.Approve(t.Context(), "a", "b1", who("kim"), []string{"files:list"}) })
	}
	wg.Wait()
	if n := len(p.flow.Codes()); n != 1 {
		t.Errorf("%d codes", n)
	}
}

// TestNinetyDays: a decision ends by itself.
func TestNinetyDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := newMemory()
		d := consent.NewDecisions(kv)
		var flow oauthservertest.Flow
		c, err := consent.New(consent.Options{Decisions: d, Steps: newMemory(), Flow: &flow})
		if err != nil {
			t.Fatal(err)
		}
		flow.Add(asking("a", editor, "files:list"))
		if _, err := c.Open(t.Context(), "a", "b", who("kim")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Approve(t.Context(), "a", "b", who("kim"), []string{"files:list"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(oauthserver.ConsentLife - time.Second)
		if err := d.Stands(t.Context(), granted("kim", editor, "files:list")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := d.Stands(t.Context(), granted("kim", editor, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
			t.Error(err)
		}
	})
}

func TestZero(t *testing.T) {
	t.Parallel()
	if _, err := consent.New(consent.Options{}); err == nil {
		t.Error("made of nothing")
	}
	var none *consent.Consent
	if _, err := none.Open(t.Context(), "a", "b", who("kim")); !errors.Is(err, oauthserver.ErrNoAsking) {
		t.Error(err)
	}
	if err := (&consent.Decisions{}).Stands(t.Context(), granted("kim", editor, "files:list")); !errors.Is(err, oauthserver.ErrNoConsent) {
		t.Error(err)
	}
}
