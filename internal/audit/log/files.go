package log

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/base/durable"
)

const (
	currentName   = "audit.jsonl"
	lockName      = "audit.lock"
	rotatedPrefix = "audit-"
	rotatedSuffix = ".jsonl"
	tornPrefix    = "audit.torn-"
	stampLayout   = "20060102T150405.000000Z"
)

type file interface {
	io.WriteCloser
	Sync() error
	Stat() (fs.FileInfo, error)
}

func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil && runtime.GOOS != "windows" {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// files is the folder of the record. Only one goroutine uses it; audit.lock keeps other processes out meanwhile.
type files struct {
	options    Options
	opener     func(path string) (file, error)
	rename     func(from, to string) error
	lock       *os.File
	cur        file
	info       fs.FileInfo // of cur when it was opened
	size       int64       // of cur after the last write; -1 when its end was not looked at yet
	notes      []byte      // lines of our own, written before the next batch
	noRotation bool        // the last rotation failed and the record says so
}

func openFiles(o Options, opener func(path string) (file, error)) (*files, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w: make the folder or choose another", err)
	}
	info, err := os.Stat(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("record: others may write %s: run chmod 700 on it and look for what they changed", o.Dir)
	}
	lock, err := os.OpenFile(filepath.Join(o.Dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	f := &files{options: o, opener: opener, rename: os.Rename, lock: lock, size: -1}
	if err := f.write(nil); err != nil {
		return nil, errors.Join(fmt.Errorf("record: %w", err), f.close())
	}
	return f, nil
}

func (f *files) path(name string) string { return filepath.Join(f.options.Dir, name) }

func (f *files) close() error {
	var err error
	if f.cur != nil {
		err = f.cur.Close()
	}
	return errors.Join(err, f.lock.Close())
}

// write appends whole lines to the current file and syncs it. No lines at all still make the folder ready.
func (f *files) write(lines []byte) (err error) {
	if err := durable.Lock(f.lock); err != nil {
		return fmt.Errorf("lock %s: %w", f.lock.Name(), err)
	}
	defer func() { err = errors.Join(err, durable.Unlock(f.lock)) }()
	if err := f.settle(); err != nil {
		return err
	}
	if f.size > 0 && f.size+int64(len(lines)) > f.options.RotateBytes {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	if len(f.notes) > 0 {
		lines = append(f.notes, lines...)
		f.notes = nil
	}
	if len(lines) == 0 {
		return nil
	}
	n, err := f.cur.Write(lines)
	f.size += int64(n)
	if err != nil {
		return err
	}
	if n < len(lines) {
		return io.ErrShortWrite
	}
	return f.cur.Sync()
}

// settle makes cur the file that the folder calls current, ending in a whole line: another process may have
// rotated it, appended to it, or died while it wrote.
func (f *files) settle() error {
	path := f.path(currentName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file: move it away", path)
	}
	if f.cur != nil && info == nil {
		f.note("file-vanished", currentName, nil)
	}
	if f.cur == nil || info == nil || !os.SameFile(info, f.info) {
		if err := f.reopen(); err != nil {
			return err
		}
		info = f.info
	}
	if info.Size() == f.size {
		return nil
	}
	f.size = info.Size()
	return f.moveTorn()
}

func (f *files) reopen() error {
	if f.cur != nil {
		if err := f.cur.Close(); err != nil {
			return err
		}
		f.cur = nil
	}
	cur, err := f.opener(f.path(currentName))
	if err != nil {
		return err
	}
	info, err := cur.Stat()
	if err != nil {
		return errors.Join(err, cur.Close())
	}
	f.cur, f.info, f.size = cur, info, -1
	return durable.SyncDir(f.options.Dir)
}

// moveTorn takes what follows the last line break of the current file out of it.
func (f *files) moveTorn() (err error) {
	path := f.path(currentName)
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	end, err := lastLineEnd(r, f.size)
	if err != nil || end == f.size {
		return err
	}
	name, err := f.freeName(tornPrefix, "")
	if err != nil {
		return err
	}
	aside, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(aside, io.NewSectionReader(r, end, f.size-end))
	if err := errors.Join(err, aside.Sync(), aside.Close(), durable.SyncDir(f.options.Dir)); err != nil {
		return err
	}
	if err := os.Truncate(path, end); err != nil {
		return err
	}
	f.note("torn-line-moved", name, map[string]string{"bytes": strconv.FormatInt(f.size-end, 10)})
	f.size = end
	return nil
}

func lastLineEnd(r io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := r.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// rotate renames the current file and opens a new one. A rename that fails loses nothing: the file goes on growing,
// the record says so once, and the next write tries again.
func (f *files) rotate() error {
	name, err := f.freeName(rotatedPrefix, rotatedSuffix)
	if err != nil {
		return err
	}
	size := f.size
	if err := f.cur.Close(); err != nil {
		return err
	}
	f.cur = nil
	failed := f.rename(f.path(currentName), f.path(name))
	if err := f.reopen(); err != nil {
		return err
	}
	if failed != nil {
		if !f.noRotation {
			f.note("rotation-failed", currentName, map[string]string{"error": failed.Error()})
		}
		f.noRotation, f.size = true, size
		return nil
	}
	f.noRotation, f.size = false, 0
	return f.prune()
}

func (f *files) prune() error {
	if f.options.Keep == 0 {
		return nil
	}
	names, err := rotatedNames(f.options.Dir)
	if err != nil {
		return err
	}
	for len(names) > f.options.Keep {
		if err := os.Remove(f.path(names[0])); err != nil {
			f.note("removal-failed", names[0], map[string]string{"error": err.Error()})
			return nil
		}
		f.note("file-removed", names[0], nil)
		names = names[1:]
	}
	return nil
}

func (f *files) note(reason, target string, detail map[string]string) {
	e := audit.Event{
		ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent,
		Stage: "record", Effect: "annotate", Reason: reason, Target: target, Detail: detail,
	}
	f.notes = append(e.Append(f.notes), '\n')
}

// freeName makes a name with the time in it that sorts after all of its sort, even when the clock went back.
func (f *files) freeName(prefix, suffix string) (string, error) {
	names, err := namesWith(f.options.Dir, prefix, suffix)
	if err != nil {
		return "", err
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	if len(names) > 0 {
		last, _ := stampOf(names[len(names)-1], prefix, suffix)
		if !at.After(last) {
			at = last.Add(time.Microsecond)
		}
	}
	return prefix + at.Format(stampLayout) + suffix, nil
}

func rotatedNames(dir string) ([]string, error) { return namesWith(dir, rotatedPrefix, rotatedSuffix) }

func namesWith(dir, prefix, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, ok := stampOf(e.Name(), prefix, suffix); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func stampOf(name, prefix, suffix string) (time.Time, bool) {
	stamp, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return time.Time{}, false
	}
	if stamp, ok = strings.CutSuffix(stamp, suffix); !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(stampLayout, stamp)
	return at, err == nil
}
