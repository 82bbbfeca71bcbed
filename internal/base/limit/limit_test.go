package limit

import (
	"crypto/sha256"
	"strings"
	"testing"
	"unsafe"
)

func TestKeyIsInjective(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, parts := range [][]string{
		{"a"}, {"a", "b"}, {"ab"}, {"a", "bc"}, {"ab", "c"}, {"abc"}, {"a", "b", "c"},
		{"1:a"}, {"1:a1:b"}, {"1", "a"}, {":"}, {":", ":"}, {"a:", "b"}, {"a", ":b"}, {"a\x00", "b"}, {"a", "\x00b"},
		{"2:ab"}, {"\xff"}, {"https://a", "b"}, {"https://a/b"}, {strings.Repeat("1:a", 50)},
	} {
		key := Key(parts...)
		if key == "" {
			t.Errorf("%q: empty key", parts)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q give the same key", parts, other)
		}
		seen[key] = parts
	}
}

func TestKeyOfNothingIsEmpty(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]string{nil, {""}, {"", "a"}, {"a", ""}, {"a", "", "b"}} {
		if key := Key(parts...); key != "" {
			t.Errorf("%q: %q, want the empty key", parts, key)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a", "bc", "ab", "c")
	f.Add("1:a", "b", "1", ":ab")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		if a == "" || b == "" || c == "" || d == "" {
			return
		}
		if same := Key(a, b) == Key(c, d); same != (a == c && b == d) {
			t.Fatalf("%q, %q and %q, %q: %v", a, b, c, d, same)
		}
		if Key(a, b) == Key(c) || Key(a, b) == Key(a, b, c) {
			t.Fatalf("%q, %q and %q collide", a, b, c)
		}
	})
}

// A key made to look like the digest under which a long key is kept must not
// share its bucket.
func TestLongKeysStayApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", longest+1)
	sum := sha256.Sum256([]byte(long))
	keys := []string{long, string(sum[:]), long + "k", long[:longest], strings.Repeat("k", longest-1) + "j"}
	k := NewKeyed(1, 1, len(keys))
	g := NewGate(1, len(keys))
	for i, key := range keys {
		if ok, _ := k.Allow(key); !ok {
			t.Errorf("key %d shares a bucket", i)
		}
		if _, ok := g.Acquire(key); !ok {
			t.Errorf("key %d shares a place", i)
		}
	}
	if ok, _ := k.Allow(long); ok {
		t.Error("a long key is not limited")
	}
	if _, ok := g.Acquire(long); ok {
		t.Error("a long key has no gate")
	}
}

// A table must not keep a request alive, nor a megabyte, for the sake of a key.
func TestTablesKeepOnlyTheKey(t *testing.T) {
	t.Parallel()
	request := strings.Repeat("r", 1<<20)
	within := func(text string) bool {
		from, at := uintptr(unsafe.Pointer(unsafe.StringData(request))), uintptr(unsafe.Pointer(unsafe.StringData(text)))
		return at >= from && at < from+uintptr(len(request))
	}
	k, g := NewKeyed(1, 5, 10), NewGate(5, 10)
	for range 3 {
		for _, key := range []string{request, request[:10]} {
			k.Allow(key)
			g.Acquire(key)
		}
	}
	for key, b := range k.buckets {
		if within(key.text) || within(b.key.text) || len(key.text) > longest {
			t.Error("Keyed keeps the caller's memory")
		}
	}
	for key, r := range g.inside {
		if within(key.text) || within(r.key.text) || len(key.text) > longest {
			t.Error("Gate keeps the caller's memory")
		}
	}
	if len(k.buckets) != 2 || len(g.inside) != 2 {
		t.Errorf("%d and %d keys, want 2", len(k.buckets), len(g.inside))
	}
}
