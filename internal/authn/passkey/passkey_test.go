package passkey_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/passkey"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

const origin = "http://localhost:8931"

// ring is one that a test can have without a folder.
func ring(t *testing.T) keys.Ring {
	t.Helper()
	r, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newKeys(t *testing.T) *passkey.Passkeys {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	kv, err := db.Bucket("passkey")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	p, err := passkey.New(t.Context(), passkey.Options{Origin: origin, Who: local.Attached("browser"), KV: kv, Ring: ring(t),
		Once: func(_ context.Context, key string, _ time.Time) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			first := !seen[key]
			seen[key] = true
			return first, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// operator signed in ago.
func operator(ago time.Duration) call.Principal {
	id := local.Attached("browser").Identity()
	id.AuthTime = time.Now().Add(-ago).Unix()
	return call.NewPrincipal(id)
}

func register(t *testing.T, p *passkey.Passkeys, d *device) {
	t.Helper()
	options, state, err := p.BeginRegister(t.Context(), "b1", operator(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.FinishRegister(t.Context(), "b1", operator(0), state, d.create(options), "laptop"); err != nil {
		t.Fatal(err)
	}
}

func TestPasskey(t *testing.T) {
	t.Parallel()
	p, d := newKeys(t), newDevice(t)
	if some, err := p.Any(t.Context()); err != nil || some {
		t.Error(some, err)
	}
	register(t, p, d)
	for range 2 {
		options, state, err := p.BeginSignIn("b2")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(options, b64(d.id)) {
			t.Error("the page tells strangers which keys there are")
		}
		who, err := p.FinishSignIn(t.Context(), "b2", state, d.get(options))
		if err != nil {
			t.Fatal(err)
		}
		id := who.Identity()
		if who.Key() != local.Attached("browser").Key() || !cmp.Equal(id.AMR, []string{"pop", "user", "mfa"}) || time.Since(time.Unix(id.AuthTime, 0)) > time.Minute {
			t.Errorf("%+v", id)
		}
	}
	list, err := p.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "laptop" || list[0].Used.IsZero() {
		t.Fatalf("%+v %v", list, err)
	}
	if _, err := p.Remove(t.Context(), operator(time.Hour), list[0].ID); !errors.Is(err, authn.ErrStale) {
		t.Error(err)
	}
	if there, err := p.Remove(t.Context(), operator(0), list[0].ID); err != nil || !there {
		t.Error(there, err)
	}
	options, state, err := p.BeginSignIn("b2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.FinishSignIn(t.Context(), "b2", state, d.get(options)); !errors.Is(err, authn.ErrPasskey) {
		t.Errorf("a removed key signs in: %v", err)
	}
}

// TestSignInAttacks has one hostile answer each.
func TestSignInAttacks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*device)
		browser string
		answer  func(string) string
		state   func(string) string
		want    error
	}{
		"another origin":        {change: func(d *device) { d.origin = "http://localhost:3000" }, want: authn.ErrPasskey},
		"another site":          {change: func(d *device) { d.origin = "https://evil.example" }, want: authn.ErrPasskey},
		"by https":              {change: func(d *device) { d.origin = "https://localhost:8931" }, want: authn.ErrPasskey},
		"another relying":       {change: func(d *device) { d.rp = "evil.example" }, want: authn.ErrPasskey},
		"nobody verified":       {change: func(d *device) { d.flags = present }, want: authn.ErrPasskey},
		"nobody present":        {change: func(d *device) { d.flags = verified }, want: authn.ErrPasskey},
		"made for creation":     {change: func(d *device) { d.kind = "webauthn.create" }, want: authn.ErrPasskey},
		"in a foreign frame":    {change: func(d *device) { d.crossing = true }, want: authn.ErrPasskey},
		"a counter that stays":  {change: func(d *device) { d.counter-- }, want: authn.ErrPasskey},
		"another key":           {change: func(d *device) { d.key = newDevice(d.t).key }, want: authn.ErrPasskey},
		"another id":            {change: func(d *device) { d.id = newDevice(d.t).id }, want: authn.ErrPasskey},
		"another user":          {change: func(d *device) { d.handle = []byte("evil") }, want: authn.ErrPasskey},
		"no user":               {change: func(d *device) { d.handle = nil }, want: authn.ErrPasskey},
		"another browser":       {browser: "b9", want: authn.ErrNotBegun},
		"no browser":            {browser: "-", want: authn.ErrNotBegun},
		"no state":              {state: func(string) string { return "" }, want: authn.ErrNotBegun},
		"a made-up state":       {state: func(string) string { return "AAAA" }, want: authn.ErrNotBegun},
		"a changed state":       {state: func(s string) string { return s[:len(s)-4] + "AAAA" }, want: authn.ErrNotBegun},
		"no answer":             {answer: func(string) string { return "" }, want: authn.ErrPasskey},
		"no JSON":               {answer: func(string) string { return "<x>" }, want: authn.ErrPasskey},
		"an answer without end": {answer: func(s string) string { return s + strings.Repeat(" ", 1<<20) }, want: authn.ErrPasskey},
		"null":                  {answer: func(string) string { return "null" }, want: authn.ErrPasskey},
		"an empty object":       {answer: func(string) string { return "{}" }, want: authn.ErrPasskey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, d := newKeys(t), newDevice(t)
			register(t, p, d)
			options, state, err := p.BeginSignIn("b2")
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(d)
			}
			answer, browser := d.get(options), "b2"
			if c.answer != nil {
				answer = c.answer(answer)
			}
			if c.state != nil {
				state = c.state(state)
			}
			if c.browser != "" {
				browser = strings.TrimPrefix(c.browser, "-")
			}
			who, err := p.FinishSignIn(t.Context(), browser, state, answer)
			if !errors.Is(err, c.want) || who.Valid() {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestReplay: an answer serves once, and so does a challenge.
func TestReplay(t *testing.T) {
	t.Parallel()
	p, d := newKeys(t), newDevice(t)
	register(t, p, d)
	options, state, err := p.BeginSignIn("b2")
	if err != nil {
		t.Fatal(err)
	}
	answer := d.get(options)
	if _, err := p.FinishSignIn(t.Context(), "b2", state, answer); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{answer, d.get(options)} {
		if _, err := p.FinishSignIn(t.Context(), "b2", state, a); !errors.Is(err, authn.ErrReplayed) {
			t.Error(err)
		}
	}
	_, other, err := p.BeginSignIn("b2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.FinishSignIn(t.Context(), "b2", other, d.get(options)); !errors.Is(err, authn.ErrPasskey) {
		t.Errorf("an answer to another challenge: %v", err)
	}
}

// TestRegisterAttacks: who may add a key, and which.
func TestRegisterAttacks(t *testing.T) {
	t.Parallel()
	p := newKeys(t)
	other := call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: "operator", Kind: call.Person, AuthTime: time.Now().Unix()})
	for name, who := range map[string]call.Principal{"nobody": {}, "somebody else": other, "an old session": operator(11 * time.Minute), "no time": local.Attached("browser"),
		"from the future": operator(-time.Hour)} {
		if _, _, err := p.BeginRegister(t.Context(), "b1", who); !errors.Is(err, authn.ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.FinishRegister(t.Context(), "b1", who, "", "", ""); !errors.Is(err, authn.ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*device){
		"another origin":  func(d *device) { d.origin = "https://evil.example" },
		"another site":    func(d *device) { d.rp = "evil.example" },
		"nobody verified": func(d *device) { d.flags = present },
		"made to sign in": func(d *device) { d.kind = "webauthn.get" },
	} {
		d := newDevice(t)
		change(d)
		options, state, err := p.BeginRegister(t.Context(), "b1", operator(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.FinishRegister(t.Context(), "b1", operator(0), state, d.create(options), "x"); !errors.Is(err, authn.ErrPasskey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A state to sign in does not register, nor the other way round.
	d := newDevice(t)
	options, _, err := p.BeginRegister(t.Context(), "b1", operator(0))
	if err != nil {
		t.Fatal(err)
	}
	_, state, err := p.BeginSignIn("b1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.FinishRegister(t.Context(), "b1", operator(0), state, d.create(options), "x"); !errors.Is(err, authn.ErrNotBegun) {
		t.Error(err)
	}
	if list, err := p.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	for range passkey.MostKeys {
		register(t, p, newDevice(t))
	}
	if _, _, err := p.BeginRegister(t.Context(), "b1", operator(0)); !errors.Is(err, authn.ErrTooMany) {
		t.Error(err)
	}
}

func TestPossible(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]bool{"http://localhost:8931": true, "https://mcp.example.com": true, "http://127.0.0.1:8931": false, "https://10.0.0.1": false,
		"http://[::1]:1": false, "http://mcp.example.com": false, "": false} {
		if got := passkey.Possible(at); got != want {
			t.Errorf("%q: %v", at, got)
		}
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	if _, err := passkey.New(t.Context(), passkey.Options{}); err == nil {
		t.Error("made of nothing")
	}
	var none *passkey.Passkeys
	for _, p := range []*passkey.Passkeys{none, {}} {
		if some, err := p.Any(t.Context()); some || err != nil {
			t.Error(some, err)
		}
		if _, _, err := p.BeginSignIn("b"); err == nil {
			t.Error("begins")
		}
		if _, err := p.FinishSignIn(t.Context(), "b", "", ""); err == nil {
			t.Error("finishes")
		}
		if _, _, err := p.BeginRegister(t.Context(), "b", operator(0)); err == nil {
			t.Error("registers")
		}
	}
}
