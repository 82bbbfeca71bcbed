// Package durable is for files that outlive a crash and that one process at a time may use.
//
// The threat: a file that is half there after the machine stopped, a rename that the disk forgot, and two processes
// that each believe a file is theirs.
//
// Guaranteed: what Replace returned nil for is on the disk whole, under its name; a lock is held by one open file and
// ends with it, also when its process is killed. Not guaranteed: locks bind only those who ask for them.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes a file of mode 0600 that is there whole or not at all.
func Replace(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}
