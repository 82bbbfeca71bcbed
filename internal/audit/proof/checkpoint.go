package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says how long the record was and what it held (c2sp.org/tlog-checkpoint), with one extension line of
// ours: "at" and the place of the last line.
type Checkpoint struct {
	Origin string
	Size   int64 // in lines
	Root   Hash
	At     string
	Text   []byte // the signed note
}

// ErrNoSignature is returned for a checkpoint that no known key signed.
var ErrNoSignature = errors.New("the checkpoint is not signed by a key of this log: ask its owner for the public key (munjigi audit key) and pass it with --key")

func (c Checkpoint) sign(s note.Signer) ([]byte, error) {
	if strings.ContainsAny(c.At, "\r\n") {
		return nil, errors.New("proof: the place of a line is one line: mend it")
	}
	text := fmt.Sprintf("%s\n%d\n%s\nat %s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]), c.At)
	return note.Sign(&note.Note{Text: text}, s)
}

// ParseCheckpoint reads a signed checkpoint. Its origin is the name of the key that signed it.
func ParseCheckpoint(text []byte, known note.Verifiers) (Checkpoint, error) {
	n, err := note.Open(text, known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w (%w)", ErrNoSignature, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 {
		return Checkpoint{}, errors.New("proof: not a checkpoint: it has fewer than three lines")
	}
	c := Checkpoint{Origin: lines[0], Text: bytes.Clone(text)}
	if c.Origin != n.Sigs[0].Name {
		return Checkpoint{}, errors.New("proof: the checkpoint is of one log and its signature of another")
	}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return Checkpoint{}, errors.New("proof: not a checkpoint: its size is no number")
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("proof: not a checkpoint: %w", err)
	}
	for _, l := range lines[3:] {
		if at, ok := strings.CutPrefix(l, "at "); ok {
			c.At = at
		}
	}
	return c, nil
}

// Keys are the verifiers of a log's checkpoints.
func Keys(origin string, keys ...ed25519.PublicKey) (note.Verifiers, error) {
	var vs []note.Verifier
	seen := map[uint32]bool{}
	for _, k := range keys {
		text, err := note.NewEd25519VerifierKey(origin, k)
		if err != nil {
			return nil, fmt.Errorf("proof: %w", err)
		}
		v, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("proof: %w", err)
		}
		if !seen[v.KeyHash()] {
			seen[v.KeyHash()] = true
			vs = append(vs, v)
		}
	}
	return note.VerifierList(vs...), nil
}

// KeyText is the public key as auditors pass it on: name, short hash and key, joined by + (c2sp.org/signed-note).
func KeyText(origin string, key ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(origin, key)
}

// ParseKeys reads what KeyText wrote.
func ParseKeys(texts ...string) (note.Verifiers, error) {
	var vs []note.Verifier
	for _, t := range texts {
		v, err := note.NewVerifier(strings.TrimSpace(t))
		if err != nil {
			return nil, fmt.Errorf("not the public key of a log, as in munjigi/name+hash+key: %w", err)
		}
		vs = append(vs, v)
	}
	return note.VerifierList(vs...), nil
}

func signerOf(origin string, seed [ed25519.SeedSize]byte) (note.Signer, error) {
	pub, ok := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("proof: no public key")
	}
	text, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	parts := strings.SplitN(text, "+", 3)
	const algEd25519 = 1 // c2sp.org/signed-note, "Signatures"
	private := base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, seed[:]...))
	return note.NewSigner("PRIVATE+KEY+" + origin + "+" + parts[1] + "+" + private)
}
