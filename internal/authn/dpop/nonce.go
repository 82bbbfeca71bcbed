package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/keys"
)

// DefaultTurn is how long a nonce is the newest one.
const DefaultTurn = 2 * time.Minute

// Nonces are made of the time and a key that all processes of a gateway share,
// so that none is stored and each process accepts those of the others. A nonce
// is accepted while it is the newest one and for one turn after.
type Nonces struct {
	ring keys.Ring
	turn int64 // seconds
}

// NewNonces returns the nonces of a key ring; a turn of 0 means DefaultTurn.
func NewNonces(ring keys.Ring, turn time.Duration) (*Nonces, error) {
	if turn == 0 {
		turn = DefaultTurn
	}
	if ring == nil || turn < time.Second {
		return nil, errors.New("nonces need a key ring and a turn of a second or more")
	}
	return &Nonces{ring: ring, turn: int64(turn / time.Second)}, nil
}

// Next is the nonce of the turn that now lies in: visible ASCII without
// quotation mark and backslash (RFC 9449 8.1).
func (n *Nonces) Next(now time.Time) (string, error) {
	id, key, err := n.ring.Subkey(NonceFrom)
	if err != nil {
		return "", err
	}
	return id + "." + text(key, now.Unix()/n.turn), nil
}

func text(key [32]byte, turn int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(turn))
	m := hmac.New(sha256.New, key[:])
	m.Write(b)
	return base64.RawURLEncoding.EncodeToString(m.Sum(b)[:8+16])
}

// check reports that a nonce is one of ours that has not ended, and that it is
// the newest.
func (n *Nonces) check(nonce string, now time.Time) (good, newest bool) {
	id, rest, ok := strings.Cut(nonce, ".")
	if !ok || len(nonce) > 256 {
		return false, false
	}
	key, err := n.ring.SubkeyByID(NonceFrom, id)
	if err != nil {
		return false, false
	}
	turn := now.Unix() / n.turn
	for back := range int64(2) {
		if hmac.Equal([]byte(text(key, turn-back)), []byte(rest)) {
			return true, back == 0
		}
	}
	return false, false
}
