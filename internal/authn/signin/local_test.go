package signin_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

func bucket(t *testing.T) store.KV {
	t.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := db.Bucket("browser-session")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestPairing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var shown []string
		p := signin.NewPairing(local.Attached("browser"), func(c string) { shown = append(shown, c) })
		show := func(browser string) string {
			t.Helper()
			time.Sleep(time.Minute) // in the bubble's clock; lets the limit refill
			if err := p.Show(browser); err != nil {
				t.Fatal(err)
			}
			return shown[len(shown)-1]
		}
		good := func(browser, code string) bool {
			who, err := p.Enter(browser, code)
			if (err == nil) != who.Valid() || err != nil && !errors.Is(err, authn.ErrCode) {
				t.Fatalf("%v %v", who, err)
			}
			return err == nil
		}
		c := show("b1")
		if len(c) != 9 || good("b2", c) || good("", c) || good("b1", "") || !good("b1", strings.ToLower(" "+c+" ")) {
			t.Errorf("the code %q", c)
		}
		if good("b1", c) {
			t.Error("a code served twice")
		}
		c = show("b1")
		for range signin.CodeGuesses {
			if good("b1", "AAAA-AAAA") {
				t.Fatal("guessed")
			}
		}
		if good("b1", c) {
			t.Error("a code outlived its guesses")
		}
		c = show("b1")
		time.Sleep(signin.CodeLife)
		if good("b1", c) {
			t.Error("a code outlived its time")
		}
		old := show("b1")
		c = show("b1")
		if good("b1", old) || !good("b1", c) {
			t.Error("a new code does not void the old one")
		}
		refused := 0
		for range 20 {
			if p.Show("flood") != nil {
				refused++
			}
		}
		if refused < 14 {
			t.Errorf("%d of 20 were refused", refused)
		}
	})
}

// TestCodesAreNotAlike: no letter that looks like another, and all positions
// used.
func TestCodesAreNotAlike(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]bool{}
		letters := map[rune]bool{}
		p := signin.NewPairing(local.Attached("browser"), func(c string) {
			seen[c] = true
			for _, r := range strings.ReplaceAll(c, "-", "") {
				letters[r] = true
			}
		})
		for range 400 {
			time.Sleep(time.Minute)
			if err := p.Show("b1"); err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) != 400 || len(letters) != 32 || letters['0'] || letters['O'] || letters['1'] || letters['I'] {
			t.Errorf("%d codes of %d letters", len(seen), len(letters))
		}
	})
}

func TestZeroPairingRefuses(t *testing.T) {
	t.Parallel()
	var none *signin.Pairing
	if none.Show("b") == nil || new(signin.Pairing).Show("b") == nil {
		t.Error("shown")
	}
	if _, err := new(signin.Pairing).Enter("b", ""); err == nil {
		t.Error("entered")
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		out := map[string]bool{}
		s := signin.NewSessions(bucket(t), func(id call.Identity) bool { return out[id.Issuer] })
		who := local.Attached("browser")
		start := func() string {
			t.Helper()
			id, err := s.Start(ctx, who)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		alive := func(id string) bool {
			t.Helper()
			p, err := s.Find(ctx, id)
			if err != nil && !errors.Is(err, authn.ErrNoSession) || err == nil && p.Key() != who.Key() {
				t.Fatalf("%v %v", p, err)
			}
			return err == nil
		}
		a, b := start(), start()
		if a == b || len(a) < 26 || !alive(a) || alive("") || alive(strings.ToLower(a)) || alive(a+"A") || alive(strings.Repeat("A", 1000)) {
			t.Errorf("%q %q", a, b)
		}
		time.Sleep(signin.SessionIdle - time.Second)
		if !alive(a) {
			t.Error("a session ended early")
		}
		time.Sleep(2 * time.Second)
		if alive(b) {
			t.Error("a session outlived its idle time")
		}
		for range 10 {
			time.Sleep(signin.SessionIdle / 3)
			alive(a)
		}
		time.Sleep(signin.SessionIdle / 3)
		if alive(a) {
			t.Error("a session that was used outlived its absolute time")
		}
		a, b = start(), start()
		list, err := s.List(ctx)
		if err != nil || len(list) != 2 || list[0].Name != audit.ShortDigest(a) && list[1].Name != audit.ShortDigest(a) {
			t.Errorf("%v %v", list, err)
		}
		if err := s.End(ctx, a); err != nil || alive(a) || !alive(b) {
			t.Errorf("ending one: %v", err)
		}
		if n, err := s.EndAll(ctx, func(x signin.Session) bool { return x.Principal.Key() == who.Key() }); err != nil || n != 1 || alive(b) {
			t.Errorf("ending all: %d %v", n, err)
		}
		a = start()
		out[local.Issuer] = true
		if alive(a) {
			t.Error("a session outlived what it rests on")
		}
		out[local.Issuer] = false
		if alive(a) {
			t.Error("a session came back")
		}
		if _, err := s.Start(ctx, call.Principal{}); err == nil {
			t.Error("nobody has a session")
		}
	})
}
