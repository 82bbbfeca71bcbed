package log

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/munjigi/munjigi/internal/audit"
)

// ErrNotFound is returned by Find for an ID that the record does not hold.
var ErrNotFound = errors.New("no such ID in the record: copy it whole from the refusal, and check that this is the gateway's data folder")

// Order is the order in which events are read.
type Order int

// The orders of Read.
const (
	OldestFirst Order = iota
	NewestFirst
)

// CorruptError says that lines of the record could not be read as events. Everything else was read.
type CorruptError struct {
	File   string // of the first such line
	Offset int64  // where that line begins, in bytes
	Lines  int    // how many there were
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%d lines of the record are not events, the first at byte %d of %s: keep the file and look for who changed it", e.Lines, e.Offset, e.File)
}

// Read gives every event that was in the record of dir when Read began to f, until f returns false. It may run
// beside a gateway that writes and rotates. A line still being written is not given. The error is a *CorruptError
// when lines had to be skipped.
func Read(dir string, order Order, f func(audit.Event) bool) error {
	var bad *CorruptError
	err := scan(dir, order, rotatedNames, func(path string, offset int64, line []byte) bool {
		e, err := audit.Parse(line)
		if err != nil {
			bad = bad.add(path, offset)
			return true
		}
		return f(e)
	})
	return errors.Join(err, bad.orNil())
}

// Find returns the intent and the outcome recorded under id, for an explanation of one call; either is nil when it
// is not there. An event of another kind is returned as the outcome. Nothing under that ID is ErrNotFound.
func Find(dir, id string) (intent, outcome *audit.Event, err error) {
	if !audit.ValidID(id) {
		return nil, nil, ErrNotFound
	}
	head := []byte(`{"id":"` + id + `",`)
	var bad *CorruptError
	err = scan(dir, NewestFirst, rotatedNames, func(path string, offset int64, line []byte) bool {
		if !bytes.HasPrefix(line, head) {
			return true
		}
		e, err := audit.Parse(line)
		switch {
		case err != nil:
			bad = bad.add(path, offset)
		case e.Kind == audit.KindIntent:
			intent = &e
			return false
		case outcome == nil || e.Kind == audit.KindOutcome:
			outcome = &e
		}
		return true
	})
	if err == nil && intent == nil && outcome == nil {
		err = ErrNotFound
	}
	return intent, outcome, errors.Join(err, bad.orNil())
}

func (e *CorruptError) add(path string, offset int64) *CorruptError {
	if e == nil {
		e = &CorruptError{File: path, Offset: offset}
	}
	e.Lines++
	return e
}

func (e *CorruptError) orNil() error {
	if e == nil {
		return nil
	}
	return e
}

type (
	lister func(dir string) (rotated []string, err error)
	visit  func(path string, offset int64, line []byte) bool
	reader func(r io.ReaderAt, from, to int64, v func(offset int64, line []byte) bool) (end int64, more bool, err error)
)

// scan visits the lines of all files. The growing file is opened before the folder is listed, so a rotation between
// the two shows as one file under its new name and neither hides nor doubles a line.
func scan(dir string, order Order, list lister, v visit) (err error) {
	current, err := os.Open(filepath.Join(dir, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("record: %w: check that this is the gateway's data folder", err)
		}
	} else if err != nil {
		return err
	}
	names, err := list(dir)
	if err != nil {
		return errors.Join(err, closeIf(current))
	}
	defer func() { err = errors.Join(err, closeIf(current)) }()
	if current != nil {
		info, err := current.Stat()
		if err != nil {
			return err
		}
		if i, ok := indexOf(dir, names, info); ok {
			names = names[:i]
		}
	}
	readFile := reader(forward)
	var more bool
	if order == NewestFirst {
		readFile = backward
		if more, err = visitFile(current, readFile, v); !more || err != nil {
			return err
		}
	}
	for i := range names {
		if order == NewestFirst {
			i = len(names) - 1 - i
		}
		f, err := os.Open(filepath.Join(dir, names[i]))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		more, err = visitFile(f, readFile, v)
		if err := errors.Join(err, f.Close()); !more || err != nil {
			return err
		}
	}
	if order != NewestFirst {
		_, err = visitFile(current, readFile, v)
	}
	return err
}

func closeIf(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func indexOf(dir string, names []string, info fs.FileInfo) (int, bool) {
	for i := len(names) - 1; i >= 0; i-- {
		if other, err := os.Stat(filepath.Join(dir, names[i])); err == nil && os.SameFile(info, other) {
			return i, true
		}
	}
	return 0, false
}

func visitFile(f *os.File, read reader, v visit) (bool, error) {
	if f == nil {
		return true, nil
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	_, more, err := read(f, 0, info.Size(), func(offset int64, line []byte) bool { return v(f.Name(), offset, line) })
	return more, err
}

// forward visits the whole lines of r between two offsets, without their line breaks, and returns where the last one
// ended. A line too long to be an event is visited by its beginning.
func forward(r io.ReaderAt, from, to int64, v func(offset int64, line []byte) bool) (end int64, more bool, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, from, to-from), audit.MaxLine+2)
	end = from
	for {
		line, err := in.ReadSlice('\n')
		size := int64(len(line))
		if err == bufio.ErrBufferFull {
			line = bytes.Clone(line)
		}
		for err == bufio.ErrBufferFull {
			var rest []byte
			rest, err = in.ReadSlice('\n')
			size += int64(len(rest))
		}
		if err == io.EOF {
			return end, true, nil
		}
		if err != nil {
			return end, false, err
		}
		offset := end
		end += size
		if !v(offset, bytes.TrimSuffix(line, []byte{'\n'})) {
			return end, false, nil
		}
	}
}

// backward visits the same lines as forward, the last first, and returns from. A line too long to be an event is
// visited by its end.
func backward(r io.ReaderAt, from, to int64, v func(offset int64, line []byte) bool) (end int64, more bool, err error) {
	const chunk = 256 << 10
	buf := make([]byte, chunk+audit.MaxLine+2)
	var held []byte // what is known of the line that ends at the last break seen
	inLine := false // a break was seen, so held is the end of a line
	for at := to; at > from; {
		n := min(at-from, chunk)
		at -= n
		held = buf[n : int(n)+copy(buf[n:], held)]
		if _, err := r.ReadAt(buf[:n], at); err != nil {
			return from, false, err
		}
		data := buf[:int(n)+len(held)]
		for {
			i := bytes.LastIndexByte(data[:min(len(data), int(n))], '\n')
			if i < 0 {
				break
			}
			if inLine && !v(at+int64(i)+1, data[i+1:]) {
				return from, false, nil
			}
			inLine = true
			data = data[:i]
		}
		held = data
		if !inLine {
			held = nil
		}
		if len(held) > audit.MaxLine+2 {
			held = held[len(held)-audit.MaxLine-2:]
		}
	}
	if inLine && !v(from, held) {
		return from, false, nil
	}
	return from, true, nil
}
