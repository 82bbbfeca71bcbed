package limit

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyedThatRefuses(t *testing.T) {
	t.Parallel()
	var none *Keyed
	for name, k := range map[string]*Keyed{
		"nil":              none,
		"zero value":       {},
		"no rate":          NewKeyed(0, 1, 1),
		"negative rate":    NewKeyed(-1, 1, 1),
		"rate is NaN":      NewKeyed(math.NaN(), 1, 1),
		"rate is infinite": NewKeyed(math.Inf(1), 1, 1),
		"rate is too high": NewKeyed(1e10, 1, 1),
		"rate is too low":  NewKeyed(1e-300, 1, 1),
		"never full":       NewKeyed(1, math.MaxInt, 1),
		"no burst":         NewKeyed(1, 0, 1),
		"negative burst":   NewKeyed(1, -1, 1),
		"no keys":          NewKeyed(1, 1, 0),
		"negative keys":    NewKeyed(1, 1, -1),
	} {
		if ok, wait := k.Allow("a"); ok || wait != 0 {
			t.Errorf("%s: %v, %v", name, ok, wait)
		}
		if n := k.Len(); n != 0 {
			t.Errorf("%s: %d keys", name, n)
		}
	}
	k := NewKeyed(1, 1, 1)
	if ok, _ := k.Allow(""); ok || k.Len() != 0 {
		t.Error("a caller without a key was let in")
	}
}

func TestKeyedBurstAndRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed(10, 3, 5)
		take := func(want bool, wantWait time.Duration) {
			t.Helper()
			if ok, wait := k.Allow("a"); ok != want || wait != wantWait {
				t.Errorf("%v, %v, want %v, %v", ok, wait, want, wantWait)
			}
		}
		for range 3 {
			take(true, 0)
		}
		take(false, 100*time.Millisecond)
		time.Sleep(99 * time.Millisecond)
		take(false, time.Millisecond)
		time.Sleep(time.Millisecond)
		take(true, 0)
		take(false, 100*time.Millisecond)
		time.Sleep(time.Hour)
		for range 3 {
			take(true, 0)
		}
		take(false, 100*time.Millisecond)
	})
}

// In another gateway all callers shared one bucket: whoever was loud locked
// the others out.
func TestKeyedKeysAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed(1, 2, 1000)
		for range 10_000 {
			k.Allow("loud")
		}
		for i := range 500 {
			key := fmt.Sprint("quiet", i)
			for n, want := range []bool{true, true, false} {
				if ok, _ := k.Allow(key); ok != want {
					t.Fatalf("%s, call %d: %v", key, n, ok)
				}
			}
		}
		time.Sleep(time.Second)
		for _, key := range []string{"loud", "quiet0", "quiet499"} {
			if ok, _ := k.Allow(key); !ok {
				t.Errorf("%s has no token after a second", key)
			}
			if ok, _ := k.Allow(key); ok {
				t.Errorf("%s has a second token after a second", key)
			}
		}
	})
}

func TestKeyedFullTableRefusesNewKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed(1, 2, 3)
		for i, key := range []string{"a", "b", "c"} {
			if ok, _ := k.Allow(key); !ok {
				t.Fatalf("key %d", i)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i := range 1000 {
			if ok, wait := k.Allow(fmt.Sprint("new", i)); ok || wait != 700*time.Millisecond {
				t.Fatalf("%v, %v", ok, wait)
			}
		}
		if n := k.Len(); n != 3 {
			t.Errorf("%d keys", n)
		}
		if ok, _ := k.Allow("a"); !ok {
			t.Error("a key in the table was refused because the table is full")
		}
		// b is the next to be full, a no longer is.
		if _, wait := k.Allow("new"); wait != 800*time.Millisecond {
			t.Errorf("wait %v", wait)
		}
		time.Sleep(800 * time.Millisecond)
		if ok, _ := k.Allow("new"); !ok {
			t.Error("a full bucket did not make room")
		}
		if ok, _ := k.Allow("newer"); ok {
			t.Error("two keys for one room")
		}
	})
}

// Being forgotten must give nobody more tokens than being remembered.
func TestKeyedEvictionIsNoEscape(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed(1, 5, 4)
		granted := 0
		for step := range 1000 {
			if ok, _ := k.Allow("greedy"); ok {
				granted++
			}
			k.Allow(fmt.Sprint("other", step))
			time.Sleep(100 * time.Millisecond)
		}
		if most := 5 + 100; granted > most {
			t.Errorf("%d tokens in 100 seconds, at most %d", granted, most)
		}
	})
}

func TestKeyedTableShrinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyed(1, 1, 1000)
		for i := range 1000 {
			k.Allow(fmt.Sprint("flood", i))
		}
		time.Sleep(time.Minute)
		for i := range 999 {
			if ok, _ := k.Allow(fmt.Sprint("later", i)); !ok {
				t.Fatalf("call %d refused", i)
			}
			time.Sleep(time.Second)
		}
		if n := k.Len(); n > 2 {
			t.Errorf("%d keys are still held", n)
		}
	})
}

func TestKeyedConcurrent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const callers, calls, burst, keys = 16, 300, 7, 5
		k := NewKeyed(1, burst, keys)
		var granted [keys]atomic.Int64
		var group sync.WaitGroup
		for c := range callers {
			group.Go(func() {
				for i := range calls {
					n := (c + i) % keys
					if ok, _ := k.Allow(fmt.Sprint("key", n)); ok {
						granted[n].Add(1)
					}
				}
			})
		}
		group.Wait()
		for n := range granted {
			if got := granted[n].Load(); got != burst {
				t.Errorf("key %d: %d tokens, want %d", n, got, burst)
			}
		}
	})
}

// FuzzKeyed holds Keyed to a model that keeps every key for ever and counts
// which of them are not full.
func FuzzKeyed(f *testing.F) {
	f.Add(uint8(3), uint8(2), uint8(2), []byte{0, 0, 0, 1, 2, 200, 0, 1, 2, 255, 2})
	f.Add(uint8(1), uint8(1), uint8(1), []byte{0, 1, 128, 1, 0, 240, 0})
	f.Add(uint8(100), uint8(5), uint8(4), []byte{0, 1, 2, 3, 4, 130, 4, 3, 2, 1, 0, 5, 6, 7, 250, 8, 9, 10})
	f.Fuzz(func(t *testing.T, rate, burst, keys uint8, steps []byte) {
		if rate == 0 || burst == 0 || keys == 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			k := NewKeyed(float64(rate), int(burst), int(keys))
			interval := time.Duration(math.Ceil(float64(time.Second) / float64(rate)))
			room := interval * time.Duration(burst)
			missing := map[string]time.Duration{} // until full
			for _, s := range steps {
				if s >= 128 {
					d := time.Duration(s-127) * interval / 16
					time.Sleep(d)
					for key, m := range missing {
						if missing[key] = m - d; m <= d {
							delete(missing, key)
						}
					}
					continue
				}
				key := fmt.Sprint("key", s%16)
				m, known := missing[key]
				want, wantWait := m+interval <= room, max(0, m+interval-room)
				if !known && len(missing) >= int(keys) {
					want, wantWait = false, math.MaxInt64
					for _, other := range missing {
						wantWait = min(wantWait, other)
					}
				}
				ok, wait := k.Allow(key)
				if ok != want || wait != wantWait {
					t.Fatalf("%s: %v, %v, want %v, %v", key, ok, wait, want, wantWait)
				}
				if ok {
					missing[key] = m + interval
				}
				if n := k.Len(); n > int(keys) || n < len(missing) {
					t.Fatalf("%d keys, %d of them not full, at most %d", n, len(missing), keys)
				}
				for i, b := range k.queue {
					if b.at != i || k.buckets[b.key] != b || i > 0 && k.queue[(i-1)/2].full > b.full {
						t.Fatalf("the heap is broken at %d", i)
					}
				}
			}
		})
	})
}

func BenchmarkAllow(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		k := NewKeyed(1e6, 1000, n)
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprint("https://login.example.com", i)
		}
		b.Run(fmt.Sprintf("%dkeys", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k.Allow(keys[i%n])
			}
		})
	}
}
