package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Place is where a line of the record begins: Offset bytes into the file that follows the earlier file After, or
// into the oldest one where After is empty. Rotation does not change it.
type Place struct {
	After  string
	Offset int64
}

// String writes a place as one word and a number, for ParsePlace.
func (p Place) String() string {
	after := p.After
	if after == "" {
		after = "-"
	}
	return after + " " + strconv.FormatInt(p.Offset, 10)
}

// ParsePlace reads what String wrote.
func ParsePlace(s string) (Place, error) {
	after, offset, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(offset, 10, 64)
	if _, ok := stampOf(after, rotatedPrefix, rotatedSuffix); err != nil || n < 0 || !ok && after != "-" {
		return Place{}, fmt.Errorf("record: %q is not the place of a line", s)
	}
	if after == "-" {
		after = ""
	}
	return Place{after, n}, nil
}

// Lines gives every whole line of dir from the place from on, oldest first, as bytes that were synced to the disk and
// stay valid until f returns, until f returns false or there are no more. It reads what is there and does not wait.
func Lines(dir string, from Place, f func(at Place, line []byte) bool) error {
	for {
		file, rotated, err := following(dir, from.After)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		more, err := linesOf(file, from, f)
		if err := errors.Join(err, file.Close()); err != nil || !more || rotated == "" {
			return err
		}
		from = Place{After: rotated}
	}
}

// following opens the file after the one named after. rotated is its name, empty for the growing one.
func following(dir, after string) (f *os.File, rotated string, err error) {
	// The growing file is opened first: if it is rotated before the folder is listed, it is found under its new name.
	current, missing := os.OpenFile(filepath.Join(dir, currentName), os.O_RDWR, 0)
	names, err := rotatedNames(dir)
	if err != nil {
		return nil, "", errors.Join(err, closeIf(current))
	}
	for _, name := range names {
		if name > after {
			f, err := os.Open(filepath.Join(dir, name))
			return f, name, errors.Join(err, closeIf(current))
		}
	}
	return current, "", missing
}

func linesOf(file *os.File, from Place, f func(at Place, line []byte) bool) (more bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if from.Offset > info.Size() {
		return false, fmt.Errorf("record: %s ends before byte %d, where a line was: keep the folder and look for who cut it", file.Name(), from.Offset)
	}
	if file.Name() == filepath.Join(filepath.Dir(file.Name()), currentName) {
		if err := file.Sync(); err != nil {
			return false, err
		}
	}
	_, more, err = forward(file, from.Offset, info.Size(), func(offset int64, line []byte) bool {
		return f(Place{from.After, offset}, line)
	})
	return more, err
}

// LineAt returns the line that begins at p.
func LineAt(dir string, p Place) (line []byte, err error) {
	found := false
	err = Lines(dir, p, func(at Place, l []byte) bool {
		if at == p {
			line, found = append(line, l...), true
		}
		return false
	})
	if err == nil && !found {
		err = fmt.Errorf("record: there is no line at %s", p)
	}
	return line, err
}
