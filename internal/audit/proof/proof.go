// Package proof makes the record provable: a Merkle tree over its lines (RFC 9162, section 2.1), kept as tiles, and
// signed statements of how long the record was and what it held, called checkpoints.
//
// The threat: somebody who may write the folder of the record, and the record's owner above all, changes a line,
// takes one out, puts one in, turns two round, cuts the end off, or restores yesterday's copy, and the auditor cannot
// tell. The job: an outsider with nothing but a public key, and a checkpoint that was kept elsewhere, can.
//
// Guaranteed: a checkpoint is written only after all hashes that it covers are synced; the tree only ever grows, and
// opening it computes the signed root again from its right edge, so a tree that was changed meanwhile is not built
// on; a line that is not in the tree as it was signed is found, and named by its place.
//
// Not guaranteed: that the newest lines are covered (the tree follows behind the record); that a checkpoint was not
// made by who holds the signing key, which a checkpoint kept elsewhere shows; that what a line says is true.
//
// The folder holds origin, the log's name; checkpoint, the newest one; checkpoints, those that were kept, in their order; and
// tile/<level>/<number>[.p/<width>], the hashes, laid out as tlog-tiles does (c2sp.org/tlog-tiles). The lines are the
// log's entries; they stay in the files of the record.
package proof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/munjigi/munjigi/internal/base/durable"
)

// Hash is a node of the tree: SHA-256 of 0 and a line, or of 1 and two nodes.
type Hash = tlog.Hash

const (
	height = 8
	width  = 1 << height

	originName      = "origin"
	checkpointName  = "checkpoint"
	checkpointsName = "checkpoints"
)

// ErrAltered is returned when what is on the disk is not what was signed.
var ErrAltered = errors.New("the proof of the record does not match its own signature: keep the folder as it is and look for who changed it; munjigi audit verify says where")

// Leaf returns the hash under which line, without its line break, is in the tree.
func Leaf(line []byte) Hash { return tlog.RecordHash(line) }

// Tree is a tree that grows. One goroutine uses it at a time, and one process: the caller holds a lock.
type Tree struct {
	dir    string
	origin string
	signer note.Signer
	size   int64
	signed int64
	levels [][]Hash // of each level of tiles the hashes of its last tile, which is not full
	made   []string // folders that are there
	last   Checkpoint
	leaf   Hash // of the last line
}

// Open opens the tree in dir, or begins one. seed is the private key (RFC 8032) of this log's checkpoints; known are
// the public ones of checkpoints that earlier keys signed.
func Open(dir string, seed [ed25519.SeedSize]byte, known ...ed25519.PublicKey) (*Tree, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	origin, err := originOf(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{dir: dir, origin: origin}
	if t.signer, err = signerOf(origin, seed); err != nil {
		return nil, err
	}
	own, ok := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("proof: no public key: use a seed of Ed25519")
	}
	verifiers, err := Keys(origin, append([]ed25519.PublicKey{own}, known...)...)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	if t.last, err = ParseCheckpoint(text, verifiers); err != nil {
		return nil, err
	}
	t.size, t.signed = t.last.Size, t.last.Size
	if err := t.load(); err != nil {
		return nil, err
	}
	if root, err := t.root(); err != nil || root != t.last.Root {
		return nil, errors.Join(ErrAltered, err)
	}
	if t.size > 0 {
		l := leaves{dir: dir, size: t.size}
		if t.leaf = l.at(t.size - 1); l.err != nil {
			return nil, l.err
		}
	}
	return t, nil
}

// EndsWith reports whether line is the tree's last one.
func (t *Tree) EndsWith(line []byte) bool { return t.size > 0 && t.leaf == Leaf(line) }

// originOf reads the log's name, or gives it one.
func originOf(dir string) (string, error) {
	path := filepath.Join(dir, originName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, checkpointName)); err == nil {
			return "", fmt.Errorf("proof: %s is missing beside a checkpoint: %w", path, ErrAltered)
		}
		name := "munjigi/" + strings.ToLower(rand.Text())
		return name, durable.Replace(path, []byte(name+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// load reads the right edge: the tile of each level that is not full.
func (t *Tree) load() error {
	for l, n := 0, t.size; n > 0; l, n = l+1, n>>height {
		var edge []Hash
		if w := int(n % width); w > 0 {
			var err error
			if edge, err = readTile(t.dir, tlog.Tile{H: height, L: l, N: n >> height, W: w}); err != nil {
				return errors.Join(ErrAltered, err)
			}
		}
		t.levels = append(t.levels, edge)
	}
	return nil
}

// Size is how many lines the tree has.
func (t *Tree) Size() int64 { return t.size }

// Last is the newest checkpoint; its Size is 0 where there is none.
func (t *Tree) Last() Checkpoint { return t.last }

// Add appends a line. A full tile goes to the disk at once, everything else with the next checkpoint.
func (t *Tree) Add(line []byte) error {
	h := Leaf(line)
	t.leaf = h
	for l := 0; ; l++ {
		if l == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[l] = append(t.levels[l], h)
		if len(t.levels[l]) < width {
			break
		}
		n := t.size >> (height * (l + 1))
		if err := t.write(tlog.Tile{H: height, L: l, N: n, W: width}, t.levels[l]); err != nil {
			return err
		}
		h = rootOf(t.levels[l])
		t.levels[l] = t.levels[l][:0]
	}
	t.size++
	return nil
}

// Sign makes what was added durable and signs a checkpoint of it. at goes into it as it is: one line that says where
// in the files of the record the last line stands. A checkpoint that is kept stays in the folder beside later ones.
func (t *Tree) Sign(at string, keep bool) (Checkpoint, error) {
	if t.size == t.signed {
		return t.last, nil
	}
	for l, n := 0, t.size; n > 0; l, n = l+1, n>>height {
		if len(t.levels[l]) == 0 {
			continue
		}
		if err := t.write(tlog.Tile{H: height, L: l, N: n >> height, W: len(t.levels[l])}, t.levels[l]); err != nil {
			return Checkpoint{}, err
		}
	}
	root, err := t.root()
	if err != nil {
		return Checkpoint{}, err
	}
	c := Checkpoint{Origin: t.origin, Size: t.size, Root: root, At: at}
	if c.Text, err = c.sign(t.signer); err != nil {
		return Checkpoint{}, err
	}
	if keep {
		if err := appendSynced(filepath.Join(t.dir, checkpointsName), append(bytes.Clone(c.Text), '\n')); err != nil {
			return Checkpoint{}, err
		}
	}
	if err := durable.Replace(filepath.Join(t.dir, checkpointName), c.Text); err != nil {
		return Checkpoint{}, err
	}
	before := t.signed
	t.signed, t.last = t.size, c
	return c, t.clean(before)
}

// clean removes the partial tiles of an earlier size: larger ones hold what they held.
func (t *Tree) clean(before int64) error {
	for l := 0; before>>(height*l) > 0; l++ {
		n := before >> (height * l)
		w := int(n % width)
		now := tlog.Tile{H: height, L: l, N: n >> height, W: w}
		if w == 0 || t.size>>(height*l) == n {
			continue
		}
		if err := os.Remove(filepath.Join(t.dir, tilePath(now))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("proof: %w", err)
		}
	}
	return nil
}

func (t *Tree) write(tile tlog.Tile, hashes []Hash) error {
	path := filepath.Join(t.dir, tilePath(tile))
	if dir := filepath.Dir(path); !t.has(dir) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("proof: %w", err)
		}
		t.made = append(t.made, dir)
		if len(t.made) > 2*width {
			t.made = t.made[width:]
		}
	}
	var b bytes.Buffer
	for _, h := range hashes {
		b.Write(h[:])
	}
	return durable.Replace(path, b.Bytes())
}

func (t *Tree) has(dir string) bool {
	for _, d := range t.made {
		if d == dir {
			return true
		}
	}
	return false
}

// root folds the right edge.
func (t *Tree) root() (Hash, error) {
	var acc Hash
	have := false
	for _, edge := range t.levels {
		if len(edge) == 0 {
			continue
		}
		h := rootOf(edge)
		if have {
			h = joined(edge, acc)
		}
		acc, have = h, true
	}
	if !have {
		return tlog.TreeHash(0, tlog.HashReaderFunc(func([]int64) ([]Hash, error) { return nil, nil }))
	}
	return acc, nil
}

// rootOf is the root of a tree of the given leaves or, what is the same, complete subtrees.
func rootOf(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	return tlog.NodeHash(rootOf(hashes[:k]), rootOf(hashes[k:]))
}

// joined is the root over complete subtrees of one size followed by one that is smaller.
func joined(full []Hash, rest Hash) Hash { return rootOf(append(append([]Hash(nil), full...), rest)) }
