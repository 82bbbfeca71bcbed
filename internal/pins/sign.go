package pins

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// signed is what a signature is over: a label, then each member with its
// length before it, so that no two pins give the same bytes.
func signed(identity string, p Pin) []byte {
	b := []byte("munjigi definition pin v1\x00")
	for _, part := range []string{identity, p.Server, p.Kind, p.Name, p.Digest, p.How, p.By, p.At.UTC().Format(time.RFC3339Nano)} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// sign gives a pin its signature.
func (p *Pins) sign(identity string, pin *Pin) error {
	id, seed, err := p.o.Ring.Subkey(Purpose)
	if err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	pin.Key = id
	pin.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, signed(identity, *pin)))
	return nil
}

// verify reports that a key of the ring signed the pin, and that its digest is
// that of its definition.
func (p *Pins) verify(identity string, pin Pin) bool {
	seed, err := p.o.Ring.SubkeyByID(Purpose, pin.Key)
	if err != nil {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(pin.Signature)
	if err != nil {
		return false
	}
	key, ok := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return ok && ed25519.Verify(key, signed(identity, pin), sig) && fits(pin)
}

// fits reports that the digest of a pin is that of its definition.
func fits(pin Pin) bool {
	d, ok := digestOf(pin.Kind, pin.Raw)
	return ok && hex.EncodeToString(d[:]) == pin.Digest
}
