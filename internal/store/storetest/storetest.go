// Package storetest holds every implementation of the store to its contract. What it cannot show is that a write
// survives a crash; each implementation tests that for itself.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/store"
)

// Subject is an empty store under test.
type Subject struct {
	Store   store.Store
	Now     func() time.Time    // the store's clock
	Advance func(time.Duration) // moves the store's clock on, or waits until it has
}

// Run holds the store that open makes to the contract. It opens one for each test; open closes it at the end of t.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"Entries":          entries,
		"Compare and swap": compareAndSwap,
		"Delete":           remove,
		"Expiry":           expiry,
		"Buckets":          buckets,
		"Scan":             scan,
		"Scan pages":       scanPages,
		"Bounds":           bounds,
		"Ended context":    endedContext,
		"Close":            closed,
		"One of many":      oneOfMany,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

var never time.Time

func bucket(t *testing.T, s store.Store, name string) store.KV {
	t.Helper()
	kv, err := s.Bucket(name)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, kv store.KV, key, value string, expiry time.Time, want bool) {
	t.Helper()
	if ok, err := kv.PutIfAbsent(t.Context(), key, []byte(value), expiry); err != nil || ok != want {
		t.Fatalf("put %q: %v %v", key, ok, err)
	}
}

func get(t *testing.T, kv store.KV, key, want string) store.Entry {
	t.Helper()
	e, err := kv.Get(t.Context(), key)
	if err != nil || e.Key != key || string(e.Value) != want || e.Version == 0 {
		t.Fatalf("get %q: %+v %v", key, e, err)
	}
	return e
}

func absent(t *testing.T, kv store.KV, key string) {
	t.Helper()
	if e, err := kv.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) || e.Value != nil || e.Version != 0 {
		t.Fatalf("%q is there: %+v %v", key, e, err)
	}
}

func swap(t *testing.T, kv store.KV, key string, old store.Version, value string, expiry time.Time, want bool) {
	t.Helper()
	if ok, err := kv.CompareAndSwap(t.Context(), key, old, []byte(value), expiry); err != nil || ok != want {
		t.Fatalf("swap %q: %v %v", key, ok, err)
	}
}

func keys(t *testing.T, kv store.KV, prefix string) []string {
	t.Helper()
	got := []string{}
	if err := kv.Scan(t.Context(), prefix, func(e store.Entry) bool { got = append(got, e.Key); return true }); err != nil {
		t.Fatal(err)
	}
	return got
}

func entries(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	absent(t, kv, "k")
	put(t, kv, "k", "first", never, true)
	put(t, kv, "k", "second", never, false)
	if e := get(t, kv, "k", "first"); !e.Expiry.IsZero() {
		t.Errorf("expires at %v", e.Expiry)
	}
	for _, text := range []string{"\x00", "\xff\xfe", "%", "_", `\`, "'", `"`, "k\x00", "K", "ключ", "\n", " "} {
		put(t, kv, text, text, never, true)
	}
	for _, text := range []string{"\x00", "\xff\xfe", "%", "_", `\`, "'", `"`, "k\x00", "K", "ключ", "\n", " "} {
		get(t, kv, text, text)
	}
	put(t, kv, "nothing", "", never, true)
	if e := get(t, kv, "nothing", ""); len(e.Value) != 0 {
		t.Errorf("%q", e.Value)
	}
	if ok, err := kv.PutIfAbsent(t.Context(), "nil", nil, never); err != nil || !ok {
		t.Errorf("no value: %v %v", ok, err)
	}
	mine := []byte("mine")
	if _, err := kv.PutIfAbsent(t.Context(), "copy", mine, never); err != nil {
		t.Fatal(err)
	}
	copy(mine, "evil")
	copy(get(t, kv, "copy", "mine").Value, "evil")
	get(t, kv, "copy", "mine")
}

func compareAndSwap(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	swap(t, kv, "k", 0, "x", never, false)
	swap(t, kv, "k", 1, "x", never, false)
	absent(t, kv, "k")
	put(t, kv, "k", "1", never, true)
	first := get(t, kv, "k", "1")
	swap(t, kv, "k", 0, "x", never, false)
	swap(t, kv, "k", first.Version+1, "x", never, false)
	swap(t, kv, "k", -first.Version, "x", never, false)
	expiry := s.Now().Add(time.Hour).Truncate(time.Millisecond)
	swap(t, kv, "k", first.Version, "2", expiry, true)
	second := get(t, kv, "k", "2")
	if second.Version == first.Version || !second.Expiry.Equal(expiry) {
		t.Errorf("%+v after %+v", second, first)
	}
	swap(t, kv, "k", first.Version, "x", never, false)
	swap(t, kv, "k", second.Version, "2", never, true)
	third := get(t, kv, "k", "2")
	if third.Version == second.Version || !third.Expiry.IsZero() {
		t.Errorf("%+v after %+v", third, second)
	}
	if ok, err := kv.Delete(t.Context(), "k"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	put(t, kv, "k", "2", never, true)
	for _, old := range []store.Entry{first, second, third} {
		swap(t, kv, "k", old.Version, "x", never, false)
	}
	get(t, kv, "k", "2")
}

func remove(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	for _, want := range []bool{false, true, false} {
		if ok, err := kv.Delete(t.Context(), "k"); err != nil || ok != want {
			t.Fatalf("%v %v", ok, err)
		}
		absent(t, kv, "k")
		if !want {
			put(t, kv, "k", "v", never, true)
		}
	}
	get(t, kv, "k", "v")
	put(t, kv, "kk", "v", never, true)
	if ok, err := kv.Delete(t.Context(), "k"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	get(t, kv, "kk", "v")
}

func expiry(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	at := s.Now().Add(10 * time.Second)
	put(t, kv, "k", "v", at, true)
	put(t, kv, "later", "v", at.Add(time.Hour), true)
	put(t, kv, "stays", "v", never, true)
	e := get(t, kv, "k", "v")
	if d := e.Expiry.Sub(at); d < 0 || d > time.Millisecond {
		t.Errorf("expires %v after its time", d)
	}
	s.Advance(9 * time.Second)
	put(t, kv, "k", "x", never, false)
	s.Advance(2 * time.Second)
	absent(t, kv, "k")
	if diff := cmp.Diff([]string{"later", "stays"}, keys(t, kv, "")); diff != "" {
		t.Error(diff)
	}
	swap(t, kv, "k", e.Version, "x", never, false)
	if ok, err := kv.Delete(t.Context(), "k"); err != nil || ok {
		t.Errorf("an expired entry was deleted as if it were there: %v %v", ok, err)
	}
	put(t, kv, "k", "again", s.Now().Add(time.Minute), true)
	if again := get(t, kv, "k", "again"); again.Version == e.Version {
		t.Error("an earlier version came back")
	}
	for _, past := range []time.Time{s.Now(), s.Now().Add(-time.Second), time.Unix(0, 0), time.Unix(-1, 0)} {
		if ok, err := kv.PutIfAbsent(t.Context(), "past", nil, past); err == nil || ok {
			t.Errorf("put what expired at %v: %v", past, ok)
		}
		if ok, err := kv.CompareAndSwap(t.Context(), "k", get(t, kv, "k", "again").Version, nil, past); err == nil || ok {
			t.Errorf("swapped what expired at %v: %v", past, ok)
		}
	}
	get(t, kv, "k", "again")
	absent(t, kv, "past")
}

func buckets(t *testing.T, s Subject) {
	names := []string{"a", "a-b", "ab", "b"}
	for _, name := range names {
		put(t, bucket(t, s.Store, name), "k", name, never, true)
		put(t, bucket(t, s.Store, name), "b", name, never, true)
	}
	for _, name := range names {
		get(t, bucket(t, s.Store, name), "k", name)
		if got := keys(t, bucket(t, s.Store, name), ""); !slices.Equal(got, []string{"b", "k"}) {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if ok, err := bucket(t, s.Store, "a").Delete(t.Context(), "k"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	get(t, bucket(t, s.Store, "ab"), "k", "ab")
	for _, name := range []string{"", "A", "a b", "a%", "a_b", "a'b", "a\x00", "1", strings.Repeat("a", 64)} {
		if kv, err := s.Store.Bucket(name); err == nil || kv != nil {
			t.Errorf("there is a bucket %q", name)
		}
	}
}

func scan(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	all := []string{
		"a", "a%", "a%b", "a_", "a_b", "ab", "axb", "A", "AB", "a\x00", "a\x00b", "a\xff", "a\xff\xff", "a\xff\xffb", "b", `a\`, `a\%`,
		"\xff", "\xff\xff", "\xff\xff\xff", "\x00", "\x00\x00", "é", "a/b/c", "a/b", "a/", "a*", "a?", "[a]",
	}
	for _, key := range all {
		put(t, kv, key, "v"+key, never, true)
	}
	put(t, bucket(t, s.Store, "c"), "a%", "other", never, true)
	slices.Sort(all)
	for _, prefix := range append([]string{"", "none", "a%%", "\x00\x00\x00", "\xff\xff\xff\xff", "a/b/"}, all...) {
		want := []string{}
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if diff := cmp.Diff(want, keys(t, kv, prefix)); diff != "" {
			t.Errorf("prefix %q: %s", prefix, diff)
		}
	}
	if err := kv.Scan(t.Context(), "a", func(e store.Entry) bool {
		if string(e.Value) != "v"+e.Key || e.Version == 0 || !e.Expiry.IsZero() {
			t.Errorf("%+v", e)
		}
		return true
	}); err != nil {
		t.Error(err)
	}
	seen := 0
	if err := kv.Scan(t.Context(), "", func(store.Entry) bool { seen++; return seen < 3 }); err != nil || seen != 3 {
		t.Errorf("did not stop: %d %v", seen, err)
	}
}

func scanPages(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	want := []string{}
	big := strings.Repeat("v", store.MostValueBytes/2)
	for i := range 300 {
		key := fmt.Sprintf("k%04d", i)
		value := "v"
		if i%30 == 0 {
			value = big
		}
		want = append(want, key)
		put(t, kv, key, value, never, true)
	}
	if diff := cmp.Diff(want, keys(t, kv, "k")); diff != "" {
		t.Fatal(diff)
	}
	if err := kv.Scan(t.Context(), "k", func(e store.Entry) bool {
		put(t, kv, "new"+e.Key, "v", never, true)
		ok, err := kv.Delete(t.Context(), e.Key)
		if err != nil || !ok {
			t.Errorf("%s: %v %v", e.Key, ok, err)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, kv, ""); len(got) != 300 || got[0] != "newk0000" {
		t.Errorf("%d entries", len(got))
	}
}

func bounds(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	key, value := strings.Repeat("k", store.MostKeyBytes), bytes.Repeat([]byte{0xff}, store.MostValueBytes)
	if ok, err := kv.PutIfAbsent(t.Context(), key, value, never); err != nil || !ok {
		t.Fatal(ok, err)
	}
	e := get(t, kv, key, string(value))
	if got := keys(t, kv, key); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
	for _, bad := range []string{"", key + "k"} {
		_, err1 := kv.Get(t.Context(), bad)
		_, err2 := kv.PutIfAbsent(t.Context(), bad, nil, never)
		_, err3 := kv.CompareAndSwap(t.Context(), bad, 1, nil, never)
		_, err4 := kv.Delete(t.Context(), bad)
		if err1 == nil || errors.Is(err1, store.ErrNotFound) || err2 == nil || err3 == nil || err4 == nil {
			t.Errorf("a key of %d bytes: %v, %v, %v, %v", len(bad), err1, err2, err3, err4)
		}
	}
	if err := kv.Scan(t.Context(), key+"k", func(store.Entry) bool { return true }); err == nil {
		t.Error("scanned by a prefix that is too long")
	}
	if _, err := kv.PutIfAbsent(t.Context(), "k", append(value, 0), never); err == nil {
		t.Error("put a value that is too long")
	}
	if _, err := kv.CompareAndSwap(t.Context(), key, e.Version, append(value, 0), never); err == nil {
		t.Error("swapped a value that is too long")
	}
}

func endedContext(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	put(t, kv, "k", "v", never, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := kv.Get(ctx, "k")
	ok2, err2 := kv.PutIfAbsent(ctx, "new", nil, never)
	ok3, err3 := kv.CompareAndSwap(ctx, "k", get(t, kv, "k", "v").Version, nil, never)
	ok4, err4 := kv.Delete(ctx, "k")
	err5 := kv.Scan(ctx, "", func(store.Entry) bool { return true })
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if ok2 || ok3 || ok4 {
		t.Error(ok2, ok3, ok4)
	}
	get(t, kv, "k", "v")
	absent(t, kv, "new")
}

func closed(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	put(t, kv, "k", "v", never, true)
	if err := s.Store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	_, err0 := s.Store.Bucket("b")
	_, err1 := kv.Get(t.Context(), "k")
	_, err2 := kv.PutIfAbsent(t.Context(), "k", nil, never)
	_, err3 := kv.CompareAndSwap(t.Context(), "k", 1, nil, never)
	_, err4 := kv.Delete(t.Context(), "k")
	err5 := kv.Scan(t.Context(), "", func(store.Entry) bool { return true })
	for i, err := range []error{err0, err1, err2, err3, err4, err5} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func oneOfMany(t *testing.T, s Subject) {
	kv := bucket(t, s.Store, "b")
	put(t, kv, "expired", "old", s.Now().Add(time.Second), true)
	s.Advance(2 * time.Second)
	put(t, kv, "swapped", "old", never, true)
	put(t, kv, "deleted", "old", never, true)
	version := get(t, kv, "swapped", "old").Version
	const many = 100
	for name, try := range map[string]func(value []byte) (bool, error){
		"new":     func(v []byte) (bool, error) { return kv.PutIfAbsent(t.Context(), "new", v, s.Now().Add(time.Hour)) },
		"expired": func(v []byte) (bool, error) { return kv.PutIfAbsent(t.Context(), "expired", v, never) },
		"swapped": func(v []byte) (bool, error) { return kv.CompareAndSwap(t.Context(), "swapped", version, v, never) },
		"deleted": func([]byte) (bool, error) { return kv.Delete(t.Context(), "deleted") },
	} {
		var wg sync.WaitGroup
		var won atomic.Int32
		var winner atomic.Value
		start := make(chan struct{})
		for i := range many {
			wg.Go(func() {
				<-start
				value := fmt.Sprint(i)
				ok, err := try([]byte(value))
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if ok {
					won.Add(1)
					winner.Store(value)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d of %d won", name, won.Load(), many)
			continue
		}
		if name != "deleted" {
			get(t, kv, name, winner.Load().(string))
		}
	}
	count := 0
	put(t, kv, "count", "0", never, true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				for {
					e, err := kv.Get(t.Context(), "count")
					if err != nil {
						t.Error(err)
						return
					}
					var n int
					if _, err := fmt.Sscan(string(e.Value), &n); err != nil {
						t.Error(err)
						return
					}
					ok, err := kv.CompareAndSwap(t.Context(), "count", e.Version, fmt.Append(nil, n+1), never)
					if err != nil {
						t.Error(err)
						return
					}
					if ok {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	if _, err := fmt.Sscan(string(get(t, kv, "count", "80").Value), &count); err != nil || count != 80 {
		t.Errorf("80 additions made %d: %v", count, err)
	}
}

// Keys returns n keys that are hard to scan by prefix, for tests of one's own.
func Keys(n int, seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, seed))
	const letters = "\x00\x01%_\\aAb\xfe\xff"
	set := map[string]bool{}
	for len(set) < n {
		b := make([]byte, 1+r.IntN(6))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		set[string(b)] = true
	}
	var all []string
	for key := range set {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}
