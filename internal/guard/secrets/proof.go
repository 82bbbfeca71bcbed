package secrets

import (
	"hash/crc32"
	"math"
	"strings"
)

// proof is what a checksum within a secret says.
type proof uint8

const (
	unproved proof = iota
	right
	wrong
)

// summed are the formats that carry a CRC-32 of what stands before it, in six
// digits to the base of 62, as GitHub's tokens and npm's do.
var summed = []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_"}

// proved checks the checksum of a secret, where its format has one.
func proved(secret []byte) proof {
	s := string(secret)
	for _, head := range summed {
		if body, ok := strings.CutPrefix(s, head); ok && len(body) == 36 {
			if base62(crc32.ChecksumIEEE([]byte(body[:30]))) == body[30:] {
				return right
			}
			return wrong
		}
	}
	return unproved
}

func base62(n uint32) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b [6]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n%62]
		n /= 62
	}
	return string(b[:])
}

// entropy is Shannon's, in bits for each byte.
func entropy(b []byte) float64 {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	var e float64
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(b))
			e -= p * math.Log2(p)
		}
	}
	return e
}
