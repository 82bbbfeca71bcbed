package jwt

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

func name(n int) (d [32]byte) {
	binary.BigEndian.PutUint64(d[:], uint64(n))
	return d
}

func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	byNumber := newCache(100, 0)
	for n := range 10_000 {
		byNumber.put(name(n), &entry{until: now + 100, size: 10}, now)
		if byNumber.get(name(n)) == nil {
			t.Fatal("what was just put is gone")
		}
	}
	if len(byNumber.by) != 100 || byNumber.size != 100*(10+entryCost) {
		t.Errorf("%d entries, %d bytes", len(byNumber.by), byNumber.size)
	}
	bySize := newCache(1000, 20*entryCost)
	for n := range 1000 {
		bySize.put(name(n), &entry{until: now + 100, size: entryCost}, now)
	}
	if len(bySize.by) != 10 {
		t.Errorf("%d entries of 2 KiB in 20", len(bySize.by))
	}
	for n := range 1000 {
		bySize.drop(name(n))
		bySize.drop(name(n))
	}
	if len(bySize.by) != 0 || bySize.size != 0 {
		t.Errorf("%d entries, %d bytes are left", len(bySize.by), bySize.size)
	}
}

func TestExpiredEntriesLeaveFirst(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	c := newCache(8, 0)
	for n := range 8 {
		until := now + 100
		if n == 5 {
			until = now
		}
		c.put(name(n), &entry{until: until}, now)
	}
	c.put(name(8), &entry{until: now + 100}, now)
	if c.get(name(5)) != nil || len(c.by) != 8 {
		t.Error("a live entry left before the expired one")
	}
}

func TestADigestNamesTokenAndResource(t *testing.T) {
	t.Parallel()
	if digest("ab", "c") == digest("a", "bc") || digest("a", "x") == digest("b", "x") {
		t.Error("resource and token run together")
	}
}

// Nothing that the verifier keeps holds the text of a token.
func TestTheTokenIsNotKept(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	v := p.verifier(t)
	token := p.token(t, nil)
	who, err := ask(v, home, token)
	if err != nil {
		t.Fatal(err)
	}
	for d, e := range v.cache.by {
		text := fmt.Sprintf("%s %+v %s %s", d, e.principal.Identity(), e.principal.CacheKey(), e.proof)
		if leaks(token, text) {
			t.Error("a piece of the token is kept")
		}
	}
	if strings.Contains(who.String(), token) || leaks(token, string(who.Identity().Claims)) {
		t.Error("a piece of the token is in its principal")
	}
}
