package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrExists is the refusal to write over a file.
var ErrExists = errors.New("the file exists already: name another with -o, or write over it with --force")

// WriteFile writes a file that only its owner can read and write (0600). It
// never writes over one that exists, and never through a link, unless force is
// set: then it puts a new file in its place, whole or not at all.
func WriteFile(path string, content []byte, force bool) error {
	if !force {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", path, ErrExists)
		}
		if err != nil {
			return err
		}
		return finish(f, content)
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder: name a file with -o", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".munjigi-import-*")
	if err != nil {
		return err
	}
	err = finish(f, content)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// finish writes the content, makes sure that it is on disk, and closes.
func finish(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
