package peruser

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
)

// Many callers at the end of a token's life make one refresh, in one process
// and in several, and each caller gets its own person's.
func TestSimultaneousExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	newUpstream(w, "two", p)
	g := w.build()
	ana, ben := person("ana", "editor"), person("ben", "editor")
	people := []call.Principal{ana, ben}
	for _, who := range people {
		w.grant(g, "one", p, who)
		w.grant(g, "two", p, who)
	}
	procs := []*Grants{w.build(), w.build(), w.build()} // none of them has a token in memory
	before := 0
	p.read(func() { before = len(p.forms) })
	var wg sync.WaitGroup
	for range 8 {
		for _, g := range procs {
			for _, who := range people {
				for _, server := range []string{"one", "two"} {
					wg.Go(func() {
						if got, err := w.call(g, server, who); err != nil || got != who.Identity().Subject {
							t.Errorf("the call of %s was taken for %q: %v", who, got, err)
						}
					})
				}
			}
		}
	}
	wg.Wait()
	p.read(func() {
		if n := len(p.forms) - before; n != len(procs)*4 {
			t.Errorf("%d refreshes for %d grants in %d processes", n, 4, len(procs))
		}
		if p.used != 0 {
			t.Errorf("a refresh token was used twice, %d times", p.used)
		}
	})
}

// A refresh ahead of expiry makes nobody wait, and is one.
func TestRefreshAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	e := g.shared.entry(grantKey(ownerOf(ana), "one"))
	e.mu.Lock()
	e.fresh = time.Now().Add(-time.Second) // its last fifth has begun
	old := e.token
	e.mu.Unlock()
	gate := make(chan struct{})
	p.read(func() { p.slow = gate })
	for range 20 {
		w.mustCall(g, "one", ana) // while the refresh hangs
	}
	close(gate)
	g.shared.flights.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.token.Equal(old) || e.grant == "" {
		t.Error("the token was not renewed")
	}
	p.read(func() {
		if len(p.forms) != 2 {
			t.Errorf("%d requests for one grant and one refresh", len(p.forms))
		}
	})
}

func TestRevokedRefreshTokenAsksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana, ben := person("ana", "editor"), person("ben", "editor")
	w.grant(g, "one", p, ana)
	w.grant(g, "one", p, ben)
	p.read(func() {
		for tok, who := range p.refresh {
			if who == "ana" {
				delete(p.refresh, tok)
			}
		}
		for tok, who := range p.tokens {
			if who == "ana" {
				delete(p.tokens, tok)
			}
		}
	})
	w.asked(g, "one", ana)
	w.mustCall(g, "one", ben)
	if list, err := g.Given(t.Context(), ana); err != nil || len(list) != 0 {
		t.Errorf("an ended grant is listed: %+v %v", list, err)
	}
	if !slices.Contains(w.reasons(), ReasonEnded) {
		t.Error(w.reasons())
	}
	w.grant(g, "one", p, ana)
	w.mustCall(g, "one", ana)
}

// A provider that is down ends nothing: a token in force serves on, and
// afterwards the grant is still there.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana := person("ana", "editor")
	w.grant(g, "one", p, ana)
	p.read(func() { p.down = true })
	e := g.shared.entry(grantKey(ownerOf(ana), "one"))
	e.mu.Lock()
	e.fresh = time.Now().Add(-time.Second)
	e.mu.Unlock()
	w.mustCall(g, "one", ana)
	g.shared.flights.Wait()
	w.mustCall(g, "one", ana)

	other := w.build() // has no token in memory
	if _, err := w.call(other, "one", ana); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("without a token and a provider: %v", err)
	}
	if _, err := w.call(other, "one", person("ben", "editor")); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("a first call: %v", err)
	}
	p.read(func() { p.down = false })
	again := w.build()
	w.mustCall(again, "one", ana)
	if list, err := again.Given(t.Context(), ana); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
}

// An answer of the token endpoint that never came does not lose the grant.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, lost := range []int{1, 2} {
		w := newWorld(t)
		p := newProvider(w)
		newUpstream(w, "one", p)
		ana := person("ana", "editor")
		w.grant(w.build(), "one", p, ana)
		p.read(func() { p.lose = lost })
		g := w.build()
		_, err := w.call(g, "one", ana)
		if lost == 1 && err != nil {
			t.Errorf("one lost answer: %v", err)
		}
		if lost == 2 && !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("two lost answers: %v", err)
		}
		w.mustCall(w.build(), "one", ana)
	}
}

func TestWithdraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	g := w.build()
	ana, ana2, ben := person("ana", "editor"), person("ana", "agent"), person("ben", "editor")
	for _, who := range []call.Principal{ana, ana2, ben} {
		w.grant(g, "one", p, who)
	}
	if _, err := g.Withdraw(t.Context(), person("eve", "editor"), "editor", "one"); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("a stranger: %v", err)
	}
	revoked, err := g.Withdraw(t.Context(), person("ana", "browser"), "editor", "one")
	if err != nil || !revoked {
		t.Fatalf("%v %v", revoked, err)
	}
	if _, err := g.Withdraw(t.Context(), ana, "editor", "one"); !errors.Is(err, credential.ErrNoGrant) {
		t.Errorf("twice: %v", err)
	}
	w.asked(g, "one", ana)
	w.mustCall(g, "one", ana2)
	w.mustCall(g, "one", ben)
	p.read(func() {
		if len(p.revoked) != 1 || !strings.HasPrefix(p.revoked[0], "refresh-") {
			t.Error(p.revoked)
		}
		p.down = true
	})
	if revoked, err := g.Withdraw(t.Context(), ben, "editor", "one"); err != nil || revoked {
		t.Errorf("with the provider down: %v %v", revoked, err)
	}
	p.read(func() { p.down = false })
	w.asked(g, "one", ben)
}

// What was withdrawn while it was being refreshed does not come back.
func TestWithdrawDuringRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(w)
	newUpstream(w, "one", p)
	ana := person("ana", "editor")
	w.grant(w.build(), "one", p, ana)
	gate, reached := make(chan struct{}), make(chan struct{})
	p.read(func() { p.slow, p.reached = gate, reached })
	g := w.build()
	done := make(chan error)
	go func() {
		_, err := w.call(g, "one", ana)
		done <- err
	}()
	<-reached
	if _, err := w.build().Withdraw(t.Context(), ana, "editor", "one"); err != nil {
		t.Fatal(err)
	}
	close(gate)
	var need *credential.GrantNeeded
	if err := <-done; !errors.As(err, &need) {
		t.Errorf("the call went on: %v", err)
	}
	p.read(func() {
		if len(p.refresh) != 0 {
			t.Errorf("the refresh tokens %v live on at the authorization server", p.refresh)
		}
	})
}
