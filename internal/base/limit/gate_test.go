package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGateThatRefuses(t *testing.T) {
	t.Parallel()
	var none *Gate
	for name, g := range map[string]*Gate{
		"nil":           none,
		"zero value":    {},
		"none each":     NewGate(0, 1),
		"none in all":   NewGate(1, 0),
		"negative each": NewGate(-1, 1),
		"negative all":  NewGate(1, -1),
	} {
		release, ok := g.Acquire("a")
		if ok {
			t.Errorf("%s: let in", name)
		}
		release()
		if each, all := g.Inside("a"); each != 0 || all != 0 {
			t.Errorf("%s: %d, %d inside", name, each, all)
		}
	}
	g := NewGate(1, 1)
	if _, ok := g.Acquire(""); ok {
		t.Error("a caller without a key was let in")
	}
}

func TestGateKeysAreIndependent(t *testing.T) {
	t.Parallel()
	g := NewGate(2, 100)
	for n, want := range []bool{true, true, false, false} {
		if _, ok := g.Acquire("loud"); ok != want {
			t.Errorf("loud, call %d: %v", n, ok)
		}
	}
	for i := range 49 {
		key := fmt.Sprint("quiet", i)
		for n, want := range []bool{true, true, false} {
			if _, ok := g.Acquire(key); ok != want {
				t.Errorf("%s, call %d: %v", key, n, ok)
			}
		}
	}
	if _, ok := g.Acquire("late"); ok {
		t.Error("more inside than fit in all")
	}
	if _, all := g.Inside("late"); all != 100 || len(g.inside) != 50 {
		t.Errorf("%d inside under %d keys", all, len(g.inside))
	}
}

func TestGateRelease(t *testing.T) {
	t.Parallel()
	g := NewGate(2, 3)
	first, _ := g.Acquire("a")
	second, _ := g.Acquire("a")
	refused, ok := g.Acquire("a")
	if ok {
		t.Fatal("three inside for one key")
	}
	refused()
	if each, all := g.Inside("a"); each != 2 || all != 2 {
		t.Errorf("%d, %d inside after the release of a refusal", each, all)
	}
	// Released twice is released once, or a caller could make room for itself.
	first()
	first()
	first()
	if each, all := g.Inside("a"); each != 1 || all != 1 {
		t.Errorf("%d, %d inside after one was released thrice", each, all)
	}
	second()
	if len(g.inside) != 0 {
		t.Error("an empty key is still held")
	}
	// A release that comes late must not touch those who came after.
	third, _ := g.Acquire("a")
	first()
	second()
	if each, all := g.Inside("a"); each != 1 || all != 1 {
		t.Errorf("%d, %d inside after late releases", each, all)
	}
	third()
	if each, all := g.Inside("a"); each != 0 || all != 0 {
		t.Errorf("%d, %d inside at the end", each, all)
	}
}

// A refused stranger must leave nothing behind.
func TestGateHoldsOnlyKeysInside(t *testing.T) {
	t.Parallel()
	g := NewGate(1, 1)
	release, _ := g.Acquire("a")
	for i := range 1000 {
		g.Acquire(fmt.Sprint("stranger", i))
	}
	if len(g.inside) != 1 {
		t.Errorf("%d keys held", len(g.inside))
	}
	release()
	if len(g.inside) != 0 {
		t.Errorf("%d keys held", len(g.inside))
	}
}

func TestGateConcurrent(t *testing.T) {
	t.Parallel()
	const each, all, keys = 3, 7, 4
	g := NewGate(each, all)
	var inside [keys]atomic.Int64
	var total, admitted atomic.Int64
	var group sync.WaitGroup
	for c := range 16 {
		group.Go(func() {
			for i := range 500 {
				n := (c + i) % keys
				release, ok := g.Acquire(fmt.Sprint("key", n))
				if !ok {
					continue
				}
				admitted.Add(1)
				if got := inside[n].Add(1); got > each {
					t.Errorf("key %d: %d inside", n, got)
				}
				if got := total.Add(1); got > all {
					t.Errorf("%d inside in all", got)
				}
				total.Add(-1)
				inside[n].Add(-1)
				var twice sync.WaitGroup
				twice.Go(release)
				twice.Go(release)
				twice.Wait()
			}
		})
	}
	group.Wait()
	if admitted.Load() == 0 {
		t.Error("nobody was let in")
	}
	if _, total := g.Inside("key0"); total != 0 || len(g.inside) != 0 {
		t.Errorf("%d inside under %d keys at the end", total, len(g.inside))
	}
}

// FuzzGate holds Gate to a model: each byte acquires for a key, or releases
// what was acquired before, perhaps again.
func FuzzGate(f *testing.F) {
	f.Add(uint8(1), uint8(2), []byte{0, 1, 2, 128, 0, 128, 129, 3})
	f.Add(uint8(2), uint8(3), []byte{0, 0, 0, 1, 1, 128, 130, 130, 0, 0})
	f.Fuzz(func(t *testing.T, each, all uint8, steps []byte) {
		g := NewGate(int(each), int(all))
		type grant struct {
			key     string
			release func()
			ok      bool
		}
		var grants []grant
		inside, total := map[string]int{}, 0
		for _, s := range steps {
			if s < 128 {
				key := fmt.Sprint("key", s%8)
				want := inside[key] < int(each) && total < int(all)
				release, ok := g.Acquire(key)
				if ok != want {
					t.Fatalf("%s: %v, want %v", key, ok, want)
				}
				if ok {
					inside[key]++
					total++
				}
				grants = append(grants, grant{key, release, ok})
				continue
			}
			if len(grants) == 0 {
				continue
			}
			r := &grants[int(s-128)%len(grants)]
			r.release()
			if r.ok {
				r.ok = false
				inside[r.key]--
				total--
			}
			if each, all := g.Inside(r.key); each != inside[r.key] || all != total {
				t.Fatalf("%s: %d, %d inside, want %d, %d", r.key, each, all, inside[r.key], total)
			}
		}
	})
}

func BenchmarkAcquire(b *testing.B) {
	g := NewGate(10, 100)
	b.ReportAllocs()
	for b.Loop() {
		release, _ := g.Acquire("https://login.example.com alice")
		release()
	}
}
