package gateway

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// An ID is new once, as long as it is remembered, whatever the order; the
// memory never grows past its bound.
func TestUsedIDs(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(i int) string{
		"one after another": func(i int) string { return strconv.Itoa(i) },
		"downwards":         func(i int) string { return strconv.Itoa(-i) },
		"the edges":         func(i int) string { return strconv.FormatInt([]int64{math.MaxInt64, math.MinInt64, 0}[i%3], 10) },
		"in pairs":          func(i int) string { return strconv.Itoa(i ^ 1) },
		"text":              func(i int) string { return `"` + strconv.Itoa(i) },
		"beyond 64 bits":    func(i int) string { return "99999999999999999999" + strconv.Itoa(i) },
	} {
		var u used
		for i := range 100 {
			key, edge := next(i), name == "the edges"
			if fresh := u.add(key); fresh != (!edge || i < 3) {
				t.Errorf("%s: %s is new: %t", name, key, fresh)
			}
			if u.add(key) {
				t.Errorf("%s: %s is new twice", name, key)
			}
		}
	}
}

// Against a set without bounds: what is called used was used.
func TestUsedIDsAreNeverMistaken(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	for range 200 {
		var u used
		all := map[string]bool{}
		wide := 1 + r.Int64N(5000)
		for range 1000 {
			key := strconv.FormatInt(r.Int64N(wide)-wide/2, 10)
			if r.IntN(4) == 0 {
				key = `"` + key
			}
			if fresh := u.add(key); !fresh && !all[key] {
				t.Fatalf("%s was never used", key)
			}
			all[key] = true
			if len(u.spans) > maxSpans || len(u.hashes) > maxHashes {
				t.Fatalf("%d spans, %d others", len(u.spans), len(u.hashes))
			}
			for i := 1; i < len(u.spans); i++ {
				if u.spans[i-1].high+1 >= u.spans[i].low {
					t.Fatalf("spans are not in order: %v", u.spans)
				}
			}
		}
	}
}

func TestIDKeys(t *testing.T) {
	t.Parallel()
	for a, b := range map[string]string{`"a"`: `"\u0061"`, `0`: `-0`, `7`: `7`} {
		if idKey(a) != idKey(b) {
			t.Errorf("%s and %s are one ID", a, b)
		}
	}
	if idKey(`"1"`) == idKey(`1`) {
		t.Error("a text is not a number")
	}
}
