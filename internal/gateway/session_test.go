package gateway

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

// judgeRandom holds IDs to what 128 random bits look like. A correct generator
// fails one of these with a probability below one in a billion.
func judgeRandom(ids []string) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	var bits []byte
	var counts [16][256]int
	for _, id := range ids {
		if seen[id] {
			say("%s twice", id)
		}
		seen[id] = true
		b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(id)
		if err != nil || len(b) < 16 {
			say("%q is no 128 bits: %v", id, err)
			return problems
		}
		for i, v := range b[:16] {
			counts[i][v]++
			for k := range 8 {
				bits = append(bits, v>>k&1)
			}
		}
	}
	n := float64(len(bits))
	ones, runs := 0.0, 1.0
	for i, b := range bits {
		ones += float64(b)
		if i > 0 && b != bits[i-1] {
			runs++
		}
	}
	// NIST SP 800-22, sections 2.1 and 2.3, as standard deviations.
	if z := math.Abs(2*ones-n) / math.Sqrt(n); z > 6.7 {
		say("monobit: %.1f", z)
	}
	p := ones / n
	if z := math.Abs(runs-2*n*p*(1-p)) / (2 * math.Sqrt(n) * p * (1 - p)); !(z <= 6.7) {
		say("runs: %.1f", z)
	}
	// 255 degrees of freedom: 445 is beyond 6.8 standard deviations.
	each := float64(len(ids)) / 256
	for i := range counts {
		chi := 0.0
		for _, c := range counts[i] {
			chi += (float64(c) - each) * (float64(c) - each) / each
		}
		if chi > 445 {
			say("byte %d: chi-square %.0f", i, chi)
		}
	}
	return problems
}

const manyIDs = 10_000

func TestSessionIDsAreRandom(t *testing.T) {
	t.Parallel()
	l := DefaultLimits()
	table := NewSessions(l, nil)
	p := call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person}) // a test may make one
	ids := make([]string, manyIDs)
	for i := range ids {
		s, ok := table.open(p, "/mcp/s")
		if !ok {
			t.Fatal("no session")
		}
		ids[i] = s.ID()
		if s.key != p.Key()+":"+s.id {
			t.Errorf("stored as %q", s.key)
		}
		table.close(s)
	}
	for _, problem := range judgeRandom(ids) {
		t.Error(problem)
	}
}

// The tests above find generators that are not good enough.
func TestRandomnessTestsFindBadGenerators(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(i int, b []byte){
		"counter":             func(i int, b []byte) { clear(b[:8]); binary.BigEndian.PutUint64(b[8:], uint64(i)) },
		"time":                func(i int, b []byte) { binary.BigEndian.PutUint64(b, uint64(1_700_000_000_000_000_000+i*1000)) },
		"a bit that is set":   func(_ int, b []byte) { b[9] |= 4 },
		"a bias of 1 percent": func(i int, b []byte) { b[i%16] |= byte(i) },
		"the same again":      func(i int, b []byte) { binary.BigEndian.PutUint64(b, uint64(i%2)); clear(b[8:]) },
		"a UUID's version":    func(_ int, b []byte) { b[6] = b[6]&0x0f | 0x40 },
	} {
		ids := make([]string, manyIDs)
		for i := range ids {
			b := make([]byte, 17)
			_, _ = rand.Read(b)
			bad(i, b[:16])
			ids[i] = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
		}
		if len(judgeRandom(ids)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

// A session ends when nobody used it, and at its end however much it is used.
func TestSessionLimits(t *testing.T) {
	t.Parallel()
	p := call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person})
	l := DefaultLimits()
	ended := 0
	table := NewSessions(l, func(string) { ended++ })
	s, _ := table.open(p, "/mcp/s")
	now := time.Now()
	for name, tt := range map[string]struct {
		used, made time.Duration // before now
		stale      bool
	}{
		"used a moment ago":             {0, time.Hour, false},
		"idle, almost too long":         {l.SessionIdle - time.Second, time.Hour, false},
		"idle":                          {l.SessionIdle + time.Second, time.Hour, true},
		"busy, almost at its end":       {0, l.SessionLife - time.Second, false},
		"busy beyond its absolute life": {0, l.SessionLife + time.Second, true},
	} {
		s.used.Store(now.Add(-tt.used).UnixNano())
		s.created = now.Add(-tt.made)
		if got := table.stale(s, now); got != tt.stale {
			t.Errorf("%s: %t", name, got)
		}
	}
	if n := table.EndOf(func(o call.Principal) bool { return o.Key() == p.Key() }); n != 1 || ended != 1 || len(table.List()) != 0 {
		t.Errorf("%d were ended, %d told, %d are left", n, ended, len(table.List()))
	}
}
