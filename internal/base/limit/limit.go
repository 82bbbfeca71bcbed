// Package limit decides who may be let in now: Keyed bounds how often, Gate
// how many at the same time, both separately for each key.
//
// The threats are a caller who takes what is meant for all, and a limiter that
// helps to do that: one bucket that all callers share, so that one of them
// locks the others out; a table that grows with every new name a stranger
// invents; a limiter that, when it is full, broken or not configured, lets
// everybody in; keys built from parts so that two callers get the same one.
//
// What it guarantees: keys are independent of each other until a table is
// full. Memory is bounded by the number of keys, and long keys are kept as
// digests. A zero value, a configuration that makes no sense, an empty key and
// a full table refuse. Refusing costs no more than admitting. Time is the
// monotonic clock, so that setting the wall clock neither opens nor closes
// anything.
//
// What it does not do: it holds for one process, not for several replicas. It
// does not make keys expensive: whoever can invent keys without end can fill
// the table and keep new keys out, though not those that are in it. So keys
// should be what an authenticator vouches for, and for callers nobody knows
// yet something that is scarce, such as the prefix of a network address.
package limit

import (
	"crypto/sha256"
	"strconv"
	"strings"
)

// longest is the length in bytes beyond which a key is kept as its digest.
const longest = 128

// id is a key as a table holds it. The digest of a long key can never equal a
// short key that somebody chose to look like it.
type id struct {
	text   string
	digest bool
}

func idOf(key string) id {
	if len(key) <= longest {
		return id{text: key}
	}
	sum := sha256.Sum256([]byte(key))
	return id{text: string(sum[:]), digest: true}
}

// keep returns k with memory of its own, so that a key cut from a request does
// not keep the whole request alive.
func (k id) keep() id {
	k.text = strings.Clone(k.text)
	return k
}

// Key joins parts to one key, such as issuer, subject and server. Different
// lists of parts give different keys, whatever bytes the parts hold; no parts,
// or a part that is empty, give the empty key, which every limit refuses.
func Key(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			return ""
		}
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	return b.String()
}
