package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/oauth"
)

// mint counts and numbers the tokens that it gives, each after a second.
type mint struct {
	n    atomic.Int64
	life time.Duration
	last bool
	fail atomic.Pointer[error]
}

func (m *mint) fetch(ctx context.Context) (oauth.Token, error) {
	n := m.n.Add(1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return oauth.Token{}, ctx.Err()
	}
	if err := m.fail.Load(); err != nil {
		return oauth.Token{}, *err
	}
	return oauth.Token{Access: secret.New(fmt.Sprintf("t%d", n)), Expires: time.Now().Add(m.life), Last: m.last}, nil
}

var errDown = errors.New("down")

func get(t *testing.T, c *oauth.Cache, k oauth.Key, m *mint) string {
	t.Helper()
	tok, err := c.Get(t.Context(), k, m.fetch)
	if err != nil {
		return "error: " + err.Error()
	}
	if !time.Now().Before(tok.Expires) {
		t.Errorf("a token was given out after its end")
	}
	return tok.Access.Reveal()
}

// TestStampede lets a crowd ask at every moment at which a token is missing, and
// counts what the endpoint sees.
func TestStampede(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m := oauth.NewCache(10), &mint{life: time.Hour}
		crowd := func() {
			var wg sync.WaitGroup
			for range 500 {
				wg.Go(func() {
					if got := get(t, c, oauth.Key{}, m); got == "" || got[0] != 't' {
						t.Errorf("got %q", got)
					}
				})
			}
			wg.Wait()
		}
		crowd()
		if n := m.n.Load(); n != 1 {
			t.Fatalf("first: %d fetches", n)
		}
		time.Sleep(59 * time.Minute) // ahead of the end: nobody waits, one fetches
		began := time.Now()
		crowd()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("callers waited %v for a token that was not needed yet", waited)
		}
		time.Sleep(2 * time.Second)
		crowd()
		if n := m.n.Load(); n != 2 {
			t.Errorf("ahead: %d fetches", n)
		}
		time.Sleep(2 * time.Hour) // nobody came before the end
		crowd()
		if n := m.n.Load(); n != 3 {
			t.Errorf("at the end: %d fetches", n)
		}
		synctest.Wait()
	})
}

// TestProviderDown: the token that is there is used to its end and no longer;
// then callers are refused, and the endpoint is not asked by each of them.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m := oauth.NewCache(10), &mint{life: 10 * time.Minute}
		if got := get(t, c, oauth.Key{}, m); got != "t1" {
			t.Fatal(got)
		}
		down := errDown
		m.fail.Store(&down)
		ended := time.Time{}
		began := time.Now()
		for range 20 * 60 { // for 20 minutes, once a second
			if got := get(t, c, oauth.Key{}, m); got == "t1" {
				if !ended.IsZero() {
					t.Fatal("a token came back after its end")
				}
			} else if ended.IsZero() {
				ended = time.Now()
			}
			time.Sleep(time.Second)
		}
		if life := ended.Sub(began); life < 9*time.Minute || life > 10*time.Minute {
			t.Errorf("the token was used for %v", life)
		}
		if n := m.n.Load(); n > 60 {
			t.Errorf("the endpoint was asked %d times in twenty minutes", n)
		}
		m.fail.Store(nil)
		time.Sleep(time.Minute)
		if got := get(t, c, oauth.Key{}, m); got[0] != 't' {
			t.Errorf("after it came back: %s", got)
		}
		synctest.Wait()
	})
}

// TestLeavingCaller: who asked first may go; the others get their token.
func TestLeavingCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m := oauth.NewCache(10), &mint{life: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(ctx, oauth.Key{}, m.fetch); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if got := get(t, c, oauth.Key{}, m); got != "t1" {
				t.Errorf("got %q", got)
			}
		})
		wg.Wait()
		if m.n.Load() != 1 {
			t.Error("more than one fetch")
		}
	})
}

// TestRefused replaces a refused token once in ten seconds, whoever refuses how
// often; what came since is no reason to fetch.
func TestRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m := oauth.NewCache(10), &mint{life: time.Hour}
		var k oauth.Key
		one := secret.New(get(t, c, k, m))
		for range 2 { // both who were refused may try again
			if !c.Refused(k, one) {
				t.Error("no second try after a refusal")
			}
		}
		two := secret.New(get(t, c, k, m))
		if two.Reveal() != "t2" || !c.Refused(k, one) || get(t, c, k, m) != "t2" {
			t.Error("a late refusal of an old token took the new one away")
		}
		for range 100 {
			if c.Refused(k, two) {
				t.Fatal("a server that refuses every token makes us fetch without end")
			}
		}
		time.Sleep(11 * time.Second)
		if !c.Refused(k, two) || get(t, c, k, m) != "t3" {
			t.Error("no fresh token after a while")
		}
	})
}

// TestBounds keeps no more tokens than it may, and each under its own key.
func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := oauth.NewCache(8)
		own := map[oauth.Key]*mint{}
		for i := range 100 {
			k := oauth.Key{byte(i)}
			own[k] = &mint{life: time.Hour}
			own[k].n.Store(int64(i) * 1000)
			if got, want := get(t, c, k, own[k]), fmt.Sprintf("t%d", i*1000+1); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			if c.Len() > 8 {
				t.Fatalf("%d keys", c.Len())
			}
		}
		if got := get(t, c, oauth.Key{99}, own[oauth.Key{99}]); got != "t99001" {
			t.Errorf("the newest was dropped: %s", got)
		}
		c.Forget(oauth.Key{99})
		if got := get(t, c, oauth.Key{99}, own[oauth.Key{99}]); got != "t99002" {
			t.Errorf("what was forgotten came back: %s", got)
		}
		// What has ended leaves by itself.
		time.Sleep(3 * time.Hour)
		for range 8 {
			get(t, c, oauth.Key{200}, &mint{life: time.Hour})
		}
		if c.Len() > 2 {
			t.Errorf("%d keys, of which one is in use", c.Len())
		}
	})
}

// TestLast: a token that cannot be outlived is not fetched ahead of its end.
func TestLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, m := oauth.NewCache(1), &mint{life: time.Hour, last: true}
		get(t, c, oauth.Key{}, m)
		time.Sleep(time.Hour - 20*time.Second)
		if got := get(t, c, oauth.Key{}, m); got != "t1" || m.n.Load() != 1 {
			t.Errorf("%s after %d fetches", got, m.n.Load())
		}
		synctest.Wait()
	})
}
