package store

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChecks(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a": true, "approvals-2": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "1a": false, "-a": false, "a_b": false, "a b": false, "a\x00": false, "é": false, strings.Repeat("a", 64): false,
	} {
		if err := CheckBucket(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	now := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		key    string
		size   int
		expiry time.Time
		ok     bool
	}{
		"least":            {"k", 0, time.Time{}, true},
		"most":             {strings.Repeat("k", MostKeyBytes), MostValueBytes, now.Add(1), true},
		"no key":           {"", 0, time.Time{}, false},
		"long key":         {strings.Repeat("k", MostKeyBytes+1), 0, time.Time{}, false},
		"large value":      {"k", MostValueBytes + 1, time.Time{}, false},
		"expires now":      {"k", 0, now, false},
		"expired long ago": {"k", 0, time.Unix(1, 0), false},
	} {
		if err := CheckEntry(c.key, make([]byte, c.size), c.expiry, now); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Different parts give different keys, and a key is a prefix of another exactly when its parts begin the other's.
func FuzzKey(f *testing.F) {
	f.Add("a", "b", "ab", "", "c")
	f.Add("a\x00", "", "a", "\x00", "\x01")
	f.Add("\x01\x01", "x", "\x00", "x", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) {
		lists := [][]string{{a}, {a, b}, {a, b, e}, {c}, {c, d}, {c, d, e}, {a + b}, {a, b + e}, {}}
		for _, x := range lists {
			for _, y := range lists {
				begins := len(x) <= len(y) && slices.Equal(x, y[:len(x)])
				if strings.HasPrefix(Key(y...), Key(x...)) != begins {
					t.Errorf("%q and %q: %q and %q", x, y, Key(x...), Key(y...))
				}
			}
		}
	})
}
