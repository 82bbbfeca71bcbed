package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// What ReadFile refuses of a file's mode.
const (
	OthersWrite fs.FileMode = 0o022 // group or others may write it
	OthersUse   fs.FileMode = 0o077 // group or others may do anything with it
)

// ReadFile reads a regular file of at most most bytes that belongs to this user or to root, and of which no mode bit in
// refuse is set. Windows has neither: there the folder's access list decides. Errors name the file, never what is in it.
func ReadFile(path string, most int64, refuse fs.FileMode) (_ []byte, err error) {
	// Looked at before it is opened, because opening a named pipe waits for somebody to write to it.
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: make the file, or mend the path", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: name one", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(path, info, refuse); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes: name the right file", path, most)
	}
	return b, nil
}

// CheckFile says why ReadFile would refuse a file for what it is, whose it is or who may use it.
func CheckFile(path string, refuse fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return check(path, info, refuse)
}

func check(path string, info fs.FileInfo, refuse fs.FileMode) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: name one", path)
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	if bad := info.Mode().Perm() & refuse; bad != 0 {
		if bad&OthersWrite != 0 {
			return fmt.Errorf("others may write %s (mode %04o): run chmod go-w on it and look for what they changed", path, info.Mode().Perm())
		}
		return fmt.Errorf("others may read %s (mode %04o): run chmod 600 on it and replace what is in it if they did", path, info.Mode().Perm())
	}
	if uid, ok := Owner(info); ok && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who can change it: make it your own", path, uid)
	}
	return nil
}
