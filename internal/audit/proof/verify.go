package proof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// What Verify finds.
const (
	// Changed: the line at Index is another than was signed.
	Changed = "changed"
	// Missing: Count lines from Index on are not there.
	Missing = "missing"
	// Inserted: Count lines stand before the one at Index that were never signed.
	Inserted = "inserted"
	// Rehashed: the stored hashes are not those that the checkpoint signed.
	Rehashed = "hashes-changed"
	// Forked: a checkpoint of this log disagrees with the hashes.
	Forked = "checkpoint-disagrees"
)

// Finding is one way in which the record is not what was signed.
type Finding struct {
	What  string `json:"what"`
	Index int64  `json:"index"`           // of a line, from 0; for checkpoints, their size
	Count int64  `json:"count,omitempty"` // of lines
	Place string `json:"place,omitempty"` // where in the files
}

// Report is what Verify saw.
type Report struct {
	Checkpoint  Checkpoint
	Checkpoints int       // earlier ones that were checked too
	Lines       int64     // in the files
	Covered     int64     // of them under the checkpoint and as signed
	Newer       int64     // of them not yet under a checkpoint
	Findings    []Finding // the first maxFindings
	More        int       // findings left out
}

const (
	maxFindings = 100
	// window is how many lines Verify looks ahead to tell a line that was changed from lines that are gone or new.
	window = 4096
)

// Lines gives every line of the record, oldest first, with its place, until yield returns false.
type Lines func(yield func(place string, line []byte) bool) error

// Verify compares the lines with the tree in dir under its newest checkpoint, and that with every earlier checkpoint
// in dir and with those in against. progress, which may be nil, is told the index of a line now and then.
func Verify(dir string, known note.Verifiers, lines Lines, against []Checkpoint, progress func(done, of int64)) (*Report, error) {
	c, err := Newest(dir, known)
	if err != nil {
		return nil, err
	}
	history, err := earlier(dir, known)
	if err != nil {
		return nil, err
	}
	v := &verifier{
		r: &Report{Checkpoint: c, Checkpoints: len(history)}, leaves: &leaves{dir: dir, size: c.Size},
		due: append(history, against...), progress: progress,
	}
	for _, a := range against {
		if err := Later(dir, a, c); err != nil {
			v.find(Finding{What: Forked, Index: a.Size, Place: err.Error()})
		}
	}
	if err := lines(v.line); err != nil {
		return nil, err
	}
	v.end()
	return v.r, errors.Join(v.err, v.leaves.err)
}

// earlier reads the checkpoints that were signed before.
func earlier(dir string, known note.Verifiers) ([]Checkpoint, error) {
	b, err := os.ReadFile(filepath.Join(dir, checkpointsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the earlier checkpoints cannot be read: %w", err)
	}
	var out []Checkpoint
	in := bufio.NewReader(bytes.NewReader(b))
	var text []byte
	blank := 0
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return out, nil // a cut-off last one was never the newest
		}
		if err != nil {
			return nil, err
		}
		// A note is text, a blank line, signatures; another blank line ends it.
		if len(line) == 1 {
			if blank++; blank == 2 {
				c, err := ParseCheckpoint(text, known)
				if err != nil {
					return nil, err
				}
				out, text, blank = append(out, c), nil, 0
				continue
			}
		}
		text = append(text, line...)
	}
}

type verifier struct {
	r        *Report
	leaves   *leaves
	edge     edge
	due      []Checkpoint
	progress func(done, of int64)
	next     int64      // the index of the leaf that the next line should be
	held     []heldLine // lines that did not fit, newest last
	err      error
}

type heldLine struct {
	hash  Hash
	place string
}

func (v *verifier) find(f Finding) {
	if len(v.r.Findings) == maxFindings {
		v.r.More++
		return
	}
	v.r.Findings = append(v.r.Findings, f)
}

// line takes the next line of the files.
func (v *verifier) line(place string, line []byte) bool {
	v.r.Lines++
	if v.progress != nil && v.r.Lines%10_000 == 0 {
		v.progress(v.next, v.r.Checkpoint.Size)
	}
	h := Leaf(line)
	if len(v.held) == 0 && v.next < v.r.Checkpoint.Size && v.leaves.at(v.next) == h {
		v.next++
		v.r.Covered++
		return v.leaves.err == nil
	}
	if len(v.held) == 0 && v.next == v.r.Checkpoint.Size {
		v.r.Newer++
		return true
	}
	v.held = append(v.held, heldLine{h, place})
	if len(v.held) >= window {
		v.settle(false)
	}
	return v.leaves.err == nil
}

// settle tells what became of the lines that are held: it looks for the nearest place where held lines and signed
// ones run alike again.
func (v *verifier) settle(last bool) {
	for len(v.held) > 0 && v.leaves.err == nil {
		skipLines, skipLeaves, ok := v.meet()
		if !ok {
			skipLines, skipLeaves = len(v.held), 0
			if last {
				// As many as were signed are others now; what follows them is new.
				skipLeaves = v.r.Checkpoint.Size - v.next
				skipLines = int(min(int64(len(v.held)), skipLeaves))
			}
		}
		v.tell(int64(skipLines), skipLeaves)
		v.next += skipLeaves
		v.held = v.held[skipLines:]
		for len(v.held) > 0 && v.next < v.r.Checkpoint.Size && v.leaves.at(v.next) == v.held[0].hash {
			v.held, v.next = v.held[1:], v.next+1
			v.r.Covered++
		}
		if v.next == v.r.Checkpoint.Size {
			v.r.Newer += int64(len(v.held))
			v.held = nil
		}
		if !last && len(v.held) < window/2 {
			return
		}
	}
}

// meet finds the fewest lines and leaves to pass over until they agree. Where no held line is near, the first one
// is looked for among all signed ones: a file of the record may be gone.
func (v *verifier) meet() (lines int, leaves int64, ok bool) {
	at := map[Hash]int{}
	for i := len(v.held) - 1; i >= 0; i-- {
		at[v.held[i].hash] = i
	}
	for leaves = 0; v.next+leaves < v.r.Checkpoint.Size && v.leaves.err == nil; leaves++ {
		if i, found := at[v.leaves.at(v.next+leaves)]; found {
			return i, leaves, true
		}
	}
	return 0, 0, false
}

// tell says what lines that nobody signed and leaves that no line has mean.
func (v *verifier) tell(lines, leaves int64) {
	both := min(lines, leaves)
	for i := range both {
		v.find(Finding{What: Changed, Index: v.next + i, Place: v.held[i].place})
	}
	if leaves > both {
		v.find(Finding{What: Missing, Index: v.next + both, Count: leaves - both, Place: v.place(both)})
	}
	if lines > both {
		v.find(Finding{What: Inserted, Index: v.next + both, Count: lines - both, Place: v.held[both].place})
	}
}

func (v *verifier) place(i int64) string {
	if i < int64(len(v.held)) {
		return v.held[i].place
	}
	return "the end of the files"
}

// end settles what is left and checks the hashes themselves.
func (v *verifier) end() {
	v.settle(true)
	if left := v.r.Checkpoint.Size - v.next; left > 0 && v.leaves.err == nil {
		v.find(Finding{What: Missing, Index: v.next, Count: left, Place: "the end of the files"})
	}
	due := map[int64][]Checkpoint{}
	for _, c := range v.due {
		due[c.Size] = append(due[c.Size], c)
	}
	up := &upper{dir: v.leaves.dir, size: v.r.Checkpoint.Size}
	for i := range v.r.Checkpoint.Size {
		h := v.leaves.at(i)
		if v.leaves.err != nil {
			return
		}
		v.edge.add(h)
		if !up.add(0, i, h) {
			v.find(Finding{What: Rehashed, Index: i / width * width, Count: width})
		}
		for _, c := range due[i+1] {
			if v.edge.root() != c.Root {
				v.find(Finding{What: Forked, Index: c.Size, Place: "checkpoint of " + fmt.Sprint(c.Size) + " lines"})
			}
		}
	}
	if v.r.Checkpoint.Size > 0 && v.edge.root() != v.r.Checkpoint.Root {
		v.find(Finding{What: Rehashed, Index: 0, Count: v.r.Checkpoint.Size})
	}
}

// upper compares the tiles above the leaves with what is below them.
type upper struct {
	dir    string
	size   int64
	below  [][]Hash
	levels []*leaves
}

// add takes the hash at place i of a level and reports whether what it completes is stored as it should be.
func (u *upper) add(level int, i int64, h Hash) bool {
	if level == len(u.below) {
		u.below = append(u.below, nil)
		u.levels = append(u.levels, &leaves{dir: u.dir, level: level + 1, size: u.size >> (height * (level + 1))})
	}
	u.below[level] = append(u.below[level], h)
	if len(u.below[level]) < width {
		return true
	}
	root := rootOf(u.below[level])
	u.below[level] = u.below[level][:0]
	stored := u.levels[level].at(i / width)
	return u.add(level+1, i/width, root) && stored == root && u.levels[level].err == nil
}

// leaves reads the hashes of one level of tiles, 0 being the leaves, a tile at a time; the last two tiles stay.
type leaves struct {
	dir   string
	level int
	size  int64
	tiles [2]struct {
		n    int64
		have []Hash
	}
	turn int
	err  error
}

func (l *leaves) at(i int64) Hash {
	n := i / width
	for k := range l.tiles {
		if t := &l.tiles[k]; t.have != nil && t.n == n {
			return t.have[i%width]
		}
	}
	w := int(min(width, l.size-n*width))
	have, err := readTile(l.dir, tlog.Tile{H: height, L: l.level, N: n, W: w})
	if err != nil {
		l.err = errors.Join(ErrAltered, err)
		return Hash{}
	}
	l.turn = 1 - l.turn
	l.tiles[l.turn].n, l.tiles[l.turn].have = n, have
	return have[i%width]
}

// edge is the right edge of a tree that grows: the roots of its complete subtrees, the largest first.
type edge struct {
	size  int64
	roots []Hash
}

func (e *edge) add(h Hash) {
	for n := e.size; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(e.roots[len(e.roots)-1], h)
		e.roots = e.roots[:len(e.roots)-1]
	}
	e.roots = append(e.roots, h)
	e.size++
}

func (e *edge) root() Hash {
	h := e.roots[len(e.roots)-1]
	for i := len(e.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.roots[i], h)
	}
	return h
}
