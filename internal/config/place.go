package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// defaultData is the folder for data where the file names none: that of the
// XDG Base Directory Specification for state, and on Windows the local one of
// the user.
func defaultData(getenv func(string) string) (string, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	if runtime.GOOS == "windows" {
		if base := getenv("LocalAppData"); filepath.IsAbs(base) {
			return filepath.Join(base, "munjigi"), nil
		}
		return "", errors.New("the environment has no LocalAppData")
	}
	if base := getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "munjigi"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "munjigi"), nil
	}
	return "", errors.New("the environment has neither XDG_STATE_HOME nor HOME")
}

// workingTree returns the nearest folder at or above dir that a version
// control system works in, or nothing.
func workingTree(dir string) string {
	for {
		for _, mark := range []string{".git", ".hg", ".jj", ".svn"} {
			if _, err := os.Lstat(filepath.Join(dir, mark)); err == nil {
				return dir
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// location is a folder, existing or not, with all the folders above it: as
// its path names them, and as they are once links are followed.
type location struct {
	paths map[string]bool
	infos []os.FileInfo
}

func newLocation(path string) location {
	l := location{paths: map[string]bool{}}
	for _, p := range []string{filepath.Clean(path), followed(path)} {
		for {
			if !l.paths[p] {
				l.paths[p] = true
				if info, err := os.Stat(p); err == nil {
					l.infos = append(l.infos, info)
				}
			}
			up := filepath.Dir(p)
			if up == p {
				break
			}
			p = up
		}
	}
	return l
}

// inside reports whether the location is dir or lies below it, by name or by
// being the same folder on disk.
func (l location) inside(dir string) bool {
	if l.paths[filepath.Clean(dir)] {
		return true
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	for _, above := range l.infos {
		if os.SameFile(above, info) {
			return true
		}
	}
	return false
}

// followed resolves the links in the part of a path that exists.
func followed(path string) string {
	rest := ""
	for p := filepath.Clean(path); ; {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		up := filepath.Dir(p)
		if up == p {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(p), rest)
		p = up
	}
}

// folders returns what an argument may name as folders: itself, and the parts
// of forms such as --root=DIR, HOST:CONTAINER, src=DIR,dst=DIR and file://DIR.
func folders(arg, cwd string) []string {
	parts := append([]string{arg}, strings.FieldsFunc(arg, func(r rune) bool { return strings.ContainsRune("=:,;", r) })...)
	var found []string
	for _, p := range parts {
		if p == "" || strings.ContainsRune(p, 0) || len(p) > 4096 {
			continue
		}
		if !filepath.IsAbs(p) {
			if cwd == "" {
				continue
			}
			p = filepath.Join(cwd, p)
		}
		found = append(found, filepath.Clean(p))
	}
	return found
}
