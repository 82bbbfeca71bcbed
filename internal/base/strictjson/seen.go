package strictjson

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// few is how many names of one object are compared one by one; with more the
// object gets a hash table.
const few = 32

// name is a member name of an open object. Its bytes are in the input, or, if
// it had escapes, unescaped in seen.scratch. The names of all open objects lie
// in one slice, those of the innermost last.
type name struct {
	mark       uint64 // few names: cheap fingerprint; else the seeded hash
	start, end uint32 // inScratch is set in start if the bytes are in scratch
}

const inScratch = 1 << 31

// seen finds names that an object already has. The slice of names is passed
// to its methods, and not a field, so that it can start on the stack.
type seen struct {
	scratch []byte
	tables  [][]uint32 // open addressing, index in names + 1; 0 is free
	inUse   int        // tables of open objects; those beyond are spare
	seed    maphash.Seed
	steps   int // comparisons, slots visited, slots cleared
}

// add appends the name b[start:end] of the object f and reports whether the
// object already had it.
func (d *seen) add(names []name, f *frame, b []byte, start, end int, escaped bool) ([]name, bool) {
	n := name{start: uint32(start), end: uint32(end)}
	text := b
	if escaped {
		from := len(d.scratch)
		d.scratch = appendUnescaped(d.scratch, b[start:end])
		n.start, n.end = uint32(from), uint32(len(d.scratch))
		text = d.scratch
	}
	if f.table != 0 {
		n.mark = maphash.Bytes(d.seed, text[n.start:n.end])
	} else {
		n.mark = fingerprint(text, int(n.start), int(n.end))
	}
	if escaped {
		n.start |= inScratch
	}
	if f.table != 0 {
		return d.insert(names, f, b, n)
	}
	object := names[f.base:]
	d.steps += len(object) + 1
	for _, o := range object {
		if o.mark == n.mark && d.equal(b, o, n) {
			return names, true
		}
	}
	names = append(names, n)
	if len(object) == few {
		d.spread(names, f, b)
	}
	return names, false
}

// close forgets the object f, which is the innermost.
func (d *seen) close(names []name, f frame) []name {
	if f.table != 0 {
		d.inUse--
	}
	return names[:f.base]
}

func (d *seen) bytes(b []byte, n name) []byte {
	if n.start&inScratch != 0 {
		return d.scratch[n.start&^inScratch : n.end]
	}
	return b[n.start:n.end]
}

func (d *seen) equal(b []byte, x, y name) bool {
	p, q := d.bytes(b, x), d.bytes(b, y)
	d.steps += min(len(p), len(q)) / 8
	return bytes.Equal(p, q)
}

// fingerprint mixes length, first and last bytes of b[start:end]. It only
// saves comparisons: whoever engineers equal ones wins at most few of them for
// each name.
func fingerprint(b []byte, start, end int) uint64 {
	n := end - start
	if n >= 8 {
		first := binary.LittleEndian.Uint64(b[start:])
		last := binary.LittleEndian.Uint64(b[end-8:])
		return (first*0x9E3779B97F4A7C15 ^ last) + uint64(n)
	}
	var w uint64
	if start+8 <= len(b) {
		w = binary.LittleEndian.Uint64(b[start:]) & (1<<(8*n) - 1)
	} else {
		for i := end - 1; i >= start; i-- {
			w = w<<8 | uint64(b[i])
		}
	}
	return w ^ uint64(n)<<60
}

// spread moves the names of f, which are distinct, into a hash table.
func (d *seen) spread(names []name, f *frame, b []byte) {
	if d.inUse == 0 && len(d.tables) == 0 {
		d.seed = maphash.MakeSeed()
	}
	if d.inUse == len(d.tables) {
		d.tables = append(d.tables, nil)
	}
	d.inUse++
	f.table = int32(d.inUse)
	for i := int(f.base); i < len(names); i++ {
		names[i].mark = maphash.Bytes(d.seed, d.bytes(b, names[i]))
	}
	d.rebuild(names, f, 4*few)
}

// rebuild makes the table of f anew with size slots, a power of two.
func (d *seen) rebuild(names []name, f *frame, size int) {
	slots := d.tables[f.table-1]
	if cap(slots) < size {
		slots = make([]uint32, size)
	} else {
		slots = slots[:size]
		clear(slots)
	}
	d.steps += size
	mask := uint64(size - 1)
	for i := int(f.base); i < len(names); i++ {
		at := names[i].mark & mask
		for slots[at] != 0 {
			d.steps++
			at = (at + 1) & mask
		}
		d.steps++
		slots[at] = uint32(i + 1)
	}
	d.tables[f.table-1] = slots
}

// insert is add for an object with a table.
func (d *seen) insert(names []name, f *frame, b []byte, n name) ([]name, bool) {
	slots := d.tables[f.table-1]
	mask := uint64(len(slots) - 1)
	at := n.mark & mask
	for slots[at] != 0 {
		d.steps++
		o := names[slots[at]-1]
		if o.mark == n.mark && d.equal(b, o, n) {
			return names, true
		}
		at = (at + 1) & mask
	}
	d.steps++
	names = append(names, n)
	slots[at] = uint32(len(names))
	if members := len(names) - int(f.base); 2*members > len(slots) {
		d.rebuild(names, f, 2*len(slots))
	}
	return names, false
}
