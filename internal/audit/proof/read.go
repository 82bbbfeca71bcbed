package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Newest returns the newest checkpoint in dir.
func Newest(dir string, known note.Verifiers) (Checkpoint, error) {
	text, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if errors.Is(err, os.ErrNotExist) {
		return Checkpoint{}, fmt.Errorf("there is no checkpoint in %s yet: the gateway signs the first within seconds of its first entry: %w", dir, err)
	}
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(text, known)
}

// Origin returns the name of the log in dir.
func Origin(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, originName))
	return strings.TrimSuffix(string(b), "\n"), err
}

// Proof shows an outsider that one line was in the record when a checkpoint was signed.
type Proof struct {
	Index      int64
	Line       []byte
	Hashes     []Hash
	Checkpoint Checkpoint
}

// Prove makes the proof for the line at index, under the checkpoint c of the log in dir.
func Prove(dir string, c Checkpoint, index int64, line []byte) (Proof, error) {
	if index < 0 || index >= c.Size {
		return Proof{}, fmt.Errorf("line %d is newer than the newest checkpoint, which has %d lines: try again in a few seconds", index, c.Size)
	}
	hashes, err := tlog.ProveRecord(c.Size, index, tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, tiles{dir}))
	if err != nil {
		return Proof{}, fmt.Errorf("%w (%w)", ErrAltered, err)
	}
	p := Proof{Index: index, Line: line, Hashes: hashes, Checkpoint: c}
	return p, p.Check()
}

// Check says why the proof does not hold, or returns nil. The checkpoint's signature was checked when it was read.
func (p Proof) Check() error {
	if p.Index < 0 || p.Index >= p.Checkpoint.Size {
		return errors.New("the proof names a line that its checkpoint does not cover")
	}
	if err := tlog.CheckRecord(p.Hashes, p.Checkpoint.Size, p.Checkpoint.Root, p.Index, Leaf(p.Line)); err != nil {
		return fmt.Errorf("the line is not what was signed at that place: %w", err)
	}
	return nil
}

const proofHead = "c2sp.org/tlog-proof@v1"

// Append writes the proof as text (c2sp.org/tlog-proof), the line in its extra data.
func (p Proof) Append(dst []byte) []byte {
	b64 := base64.StdEncoding
	dst = append(dst, proofHead+"\nextra "...)
	dst = b64.AppendEncode(dst, p.Line)
	dst = fmt.Appendf(dst, "\nindex %d\n", p.Index)
	for _, h := range p.Hashes {
		dst = append(b64.AppendEncode(dst, h[:]), '\n')
	}
	dst = append(dst, '\n')
	return append(dst, p.Checkpoint.Text...)
}

// ParseProof reads what Append wrote and checks all of it.
func ParseProof(text []byte, known note.Verifiers) (Proof, error) {
	bad := func(what string) (Proof, error) {
		return Proof{}, fmt.Errorf("not a proof of one record (%s): it begins with %q and is made by munjigi audit verify ID --proof FILE", what, proofHead)
	}
	head, signed, ok := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 3 || lines[0] != proofHead {
		return bad("its parts are missing")
	}
	var p Proof
	extra, ok := strings.CutPrefix(lines[1], "extra ")
	if !ok {
		return bad("the line is missing")
	}
	var err error
	if p.Line, err = base64.StdEncoding.DecodeString(extra); err != nil {
		return bad("the line is not base64")
	}
	index, ok := strings.CutPrefix(lines[2], "index ")
	if p.Index, err = strconv.ParseInt(index, 10, 64); err != nil || !ok {
		return bad("its index is no number")
	}
	for _, l := range lines[3:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return bad("a hash is not base64")
		}
		p.Hashes = append(p.Hashes, h)
	}
	if p.Checkpoint, err = ParseCheckpoint(signed, known); err != nil {
		return Proof{}, err
	}
	return p, p.Check()
}

// Later shows that the log in dir only grew from the older checkpoint to the newer one.
func Later(dir string, older, newer Checkpoint) error {
	switch {
	case older.Origin != newer.Origin:
		return fmt.Errorf("the checkpoint is of the log %s and this is %s: compare what belongs together", older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return fmt.Errorf("the record was rolled back: it had %d lines when the other checkpoint was signed and has %d now", older.Size, newer.Size)
	case newer.Size == older.Size && newer.Root != older.Root:
		return fmt.Errorf("the record was forked: two checkpoints of %d lines differ", newer.Size)
	case newer.Size == older.Size || older.Size == 0:
		return nil
	}
	h := tlog.TileHashReader(tlog.Tree{N: newer.Size, Hash: newer.Root}, tiles{dir})
	p, err := tlog.ProveTree(newer.Size, older.Size, h)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAltered, err)
	}
	if err := tlog.CheckTree(p, newer.Size, newer.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("the record was changed: its first %d lines are not those that the other checkpoint signed (%w)", older.Size, err)
	}
	return nil
}

// tiles reads tiles for the library, which checks each against the signed root.
type tiles struct{ dir string }

func (tiles) Height() int { return height }

func (t tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, tile := range want {
		hashes, err := readTile(t.dir, tile)
		if err != nil {
			return nil, err
		}
		for _, h := range hashes {
			out[i] = append(out[i], h[:]...)
		}
	}
	return out, nil
}

func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
