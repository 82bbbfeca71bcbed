package gateway

import (
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// used remembers which request IDs a legacy session has used ("The request ID
// MUST NOT have been previously used by the requestor within the same
// session"), so that a request which something on the way repeats is not
// executed twice. Its memory is bounded: integers that follow each other, which
// is what clients send, are remembered for ever; of others only the latest. The
// zero value has seen none.
type used struct {
	spans  []span // of integers, in order, not touching
	seed   maphash.Seed
	hashes []uint64 // of other IDs; a ring once it is full
	oldest int
}

// span is the integers from low to high.
type span struct{ low, high int64 }

const (
	maxSpans  = 64
	maxHashes = 256
)

// idKey is equal for IDs that are equal, however they are written.
func idKey(raw string) string {
	if len(raw) > 0 && raw[0] == '"' {
		if s, err := strictjson.String([]byte(raw)); err == nil {
			return `"` + s
		}
	}
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	return raw
}

// add notes the key of an ID and reports whether it is new.
func (u *used) add(key string) bool {
	if n, err := strconv.ParseInt(key, 10, 64); err == nil {
		return u.addInt(n)
	}
	if u.hashes == nil {
		u.seed = maphash.MakeSeed()
	}
	h := maphash.String(u.seed, key)
	if slices.Contains(u.hashes, h) {
		return false
	}
	if len(u.hashes) < maxHashes {
		u.hashes = append(u.hashes, h)
		return true
	}
	u.hashes[u.oldest] = h
	u.oldest = (u.oldest + 1) % maxHashes
	return true
}

func (u *used) addInt(n int64) bool {
	// i is the first span that ends at n or behind it.
	i, _ := slices.BinarySearchFunc(u.spans, n, func(s span, n int64) int {
		if s.high < n {
			return -1
		}
		return 1
	})
	after := i < len(u.spans)
	if after && u.spans[i].low <= n {
		return false
	}
	joinsLeft := i > 0 && u.spans[i-1].high+1 == n
	joinsRight := after && u.spans[i].low-1 == n
	switch {
	case joinsLeft && joinsRight:
		u.spans[i-1].high = u.spans[i].high
		u.spans = slices.Delete(u.spans, i, i+1)
	case joinsLeft:
		u.spans[i-1].high = n
	case joinsRight:
		u.spans[i].low = n
	default:
		u.spans = slices.Insert(u.spans, i, span{n, n})
		if len(u.spans) > maxSpans {
			u.spans = slices.Delete(u.spans, 0, 1)
		}
	}
	return true
}
