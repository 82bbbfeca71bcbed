package log

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
)

const pollEvery = 200 * time.Millisecond

// Tail gives the events of dir whose time is not before from to f, oldest first, then each new one as it is written,
// until f returns false (nil) or ctx ends (its error). It follows rotation. Lines that are not events are skipped and
// counted in a *CorruptError joined to the result.
func Tail(ctx context.Context, dir string, from time.Time, f func(audit.Event) bool) error {
	if _, err := os.Stat(dir); err != nil {
		return errors.Join(errors.New("record: check that this is the gateway's data folder"), err)
	}
	t := tail{dir: dir, list: rotatedNames}
	var bad *CorruptError
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for ctx.Err() == nil {
		again, more, err := t.step(func(path string, offset int64, line []byte) bool {
			e, err := audit.Parse(line)
			if err != nil {
				bad = bad.add(path, offset)
				return true
			}
			return e.Time.Before(from) || ctx.Err() == nil && f(e)
		})
		if err != nil {
			return errors.Join(err, bad.orNil())
		}
		if !more {
			break
		}
		if again {
			continue
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
	}
	return errors.Join(ctx.Err(), bad.orNil())
}

// tail remembers what it has read: all earlier files up to a name, and the growing file, which it knows by identity
// because its name changes when it is rotated, up to an offset.
type tail struct {
	dir     string
	list    lister
	done    string
	growing fs.FileInfo
	offset  int64
}

// step reads one file on. again says that there may be a next one already.
func (t *tail) step(v visit) (again, more bool, err error) {
	f, rotated, err := t.open()
	if errors.Is(err, fs.ErrNotExist) {
		return rotated != "", true, nil
	}
	if err != nil {
		return false, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return false, false, err
	}
	if rotated == "" && (t.growing == nil || !os.SameFile(info, t.growing)) {
		// A rotation since the folder was listed would leave a file between the last one read and this one.
		if names, err := t.undone(); err != nil || len(names) > 0 {
			return true, true, err
		}
	}
	from := int64(0)
	if t.growing != nil && os.SameFile(info, t.growing) && t.offset <= info.Size() {
		from = t.offset
	}
	end, more, err := forward(f, from, info.Size(), func(offset int64, line []byte) bool { return v(f.Name(), offset, line) })
	if rotated != "" {
		t.done, t.growing, t.offset = rotated, nil, 0
		return true, more, err
	}
	t.growing, t.offset = info, end
	return false, more, err
}

// open opens the oldest file that was not read to its end: an earlier one, whose name it returns, or the growing one.
func (t *tail) open() (f *os.File, rotated string, err error) {
	path := filepath.Join(t.dir, currentName)
	info, err := os.Stat(path)
	if err != nil || t.growing == nil || !os.SameFile(info, t.growing) {
		names, err := t.undone()
		if err != nil {
			return nil, "", err
		}
		if len(names) > 0 {
			rotated = names[0]
			path = filepath.Join(t.dir, rotated)
		}
	}
	f, err = os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && rotated != "" {
		t.done = rotated
	}
	return f, rotated, err
}

func (t *tail) undone() ([]string, error) {
	names, err := t.list(t.dir)
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearch(names, t.done)
	if found {
		i++
	}
	return names[i:], nil
}
