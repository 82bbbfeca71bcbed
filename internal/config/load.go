package config

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 16 << 20

// Build says what the program that reads the file can honour. A key that asks
// for more is an error, so that no file is believed to protect what this
// program cannot. The zero value can do nothing of the list.
type Build struct {
	// Identity, Policy and Sandbox are the parts of that name.
	Identity            bool
	AuthorizationServer bool
	Policy              bool
	Sandbox             bool
	// Guards are the names of the guards.
	Guards []string
	// Getenv finds the default folder for data; nil is os.Getenv.
	Getenv func(string) string
}

func (b Build) hasGuard(name string) bool { return slices.Contains(b.Guards, name) }

// Load reads a file for a build that has none of the parts of Build. Its
// error is *Errors.
func Load(path string) (*Config, error) { return Build{}.Load(path) }

// Load reads, judges and completes the file at path. Its error is *Errors
// with all that is wrong; it unwraps to the file system's error when the file
// could not be read.
func (b Build) Load(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, unread(path, err, "name the file by its full path")
	}
	content, p, err := readFile(abs)
	if err != nil {
		return nil, unread(abs, err, "check that the file exists and that you may read it")
	}
	if p != (complaint{}) {
		return nil, &Errors{List: []Problem{{File: abs, Message: p.message, Next: p.next}}}
	}
	return b.Parse(abs, content)
}

func unread(file string, err error, next string) *Errors {
	var pe *os.PathError
	text := err.Error()
	if errors.As(err, &pe) {
		text = pe.Err.Error()
	}
	return &Errors{List: []Problem{{File: file, Message: "cannot be read: " + Visible(text), Next: next}}, cause: err}
}

// readFile reads a regular file that nobody but its owner can write, of at
// most maxFile bytes.
func readFile(path string) ([]byte, complaint, error) {
	before, err := os.Stat(path)
	if err != nil {
		return nil, complaint{}, err
	}
	if !before.Mode().IsRegular() {
		return nil, complaint{"is not a regular file", "name the file itself"}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, complaint{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, complaint{}, err
	}
	if !os.SameFile(before, info) {
		return nil, complaint{"was exchanged while it was opened", "try again"}, nil
	}
	if c := writableByOthers(info); c != (complaint{}) {
		return nil, c, nil
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, complaint{}, err
	}
	if len(content) > maxFile {
		return nil, complaint{"is larger than " + formatSize(maxFile), "split its servers over several gateways"}, nil
	}
	return content, complaint{}, nil
}

// Parse judges the content of a file that lies at path, which must be
// absolute. Its error is *Errors.
func (b Build) Parse(path string, content []byte) (*Config, error) {
	s := &source{file: path, dir: filepath.Dir(path), at: map[string]position{}}
	clean := s.scan(content)
	r := &reading{Config: defaults(), build: b}
	r.File, r.Digest = path, sha256.Sum256(content)
	if root := s.document(clean); root != nil {
		s.lint(root, "", 0)
		readMapping(s, root, "", topFields(), r)
	}
	s.judge(r)
	inOrder(s.problems)
	inOrder(s.warnings)
	if len(s.problems) > 0 {
		return nil, &Errors{List: s.problems, Omitted: s.omitted}
	}
	r.at, r.Warnings = s.at, s.warnings
	return r.Config, nil
}

// scan finds what must not stand anywhere in a file, measures its lines, and
// returns the content with each such character replaced by a space, so that
// the rest can be judged too.
func (s *source) scan(content []byte) []byte {
	clean := content
	replaced := false
	blank := func(i, size int) {
		if !replaced {
			clean, replaced = bytes.Clone(content), true
		}
		for j := range size {
			clean[i+j] = ' '
		}
	}
	line, column := 1, 0
	type bad struct {
		at            position
		message, next string
	}
	var found []bad
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		column++
		switch {
		case r == '\n':
			s.ends = append(s.ends, column-1)
			line, column = line+1, 0
		case r == '\r' && i+1 < len(content) && content[i+1] == '\n':
			column--
		case r == utf8.RuneError && size <= 1:
			found = append(found, bad{position{line, column}, "is not UTF-8 here", "save the file as UTF-8"})
			blank(i, size)
		case r == 0xfeff && i == 0:
			column--
		case r != '\t' && mustNotStand(r):
			found = append(found, bad{position{line, column}, fmt.Sprintf("holds the character U+%04X, which does not show", r),
				fmt.Sprintf(`take it out, or write it as \U%08X in double quotation marks`, r)})
			blank(i, size)
		}
		i += size
	}
	s.ends = append(s.ends, column)
	for _, b := range found {
		s.add(s.problem(b.at, "", b.message, b.next))
	}
	return clean
}

// mustNotStand refuses control characters, what YAML takes for the end of a
// line and editors do not, and what turns the order of characters around.
func mustNotStand(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xfeff:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// document returns the root of the one document, or nil when there is none
// that can be walked.
func (s *source) document(content []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		s.syntax(content, err)
		return nil
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		s.fail(&second, "", "holds a second document", "keep one document: take out the line --- and what does not belong here")
	case !errors.Is(err, io.EOF):
		s.syntax(content, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" && root.Value == "" {
		return nil
	}
	return root
}

// What the YAML parser's messages begin with, and the one that says no line.
var (
	lineOfError   = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced$`)
)

// syntax reports what the YAML parser could not read. The parser says the
// line at best, and only in words.
func (s *source) syntax(content []byte, err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := lineOfError.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	if at, ok := tabNear(content, line); ok {
		s.add(s.problem(at, "", "has a tab before its first character", "indent with spaces: YAML refuses tabs"))
		return
	}
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		if before, _, ok := bytes.Cut(content, []byte("*"+m[1])); ok {
			start := bytes.LastIndexByte(before, '\n') + 1
			s.add(s.problem(position{bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1}, "",
				"is an alias (*"+short(m[1])+") to nothing", "write the value out here: anchors and aliases are refused"))
			return
		}
	}
	at := s.place(line, 1)
	lines := bytes.Split(content, []byte("\n"))
	if at.line <= len(lines) {
		l := lines[at.line-1]
		at.column = 1 + len(l) - len(bytes.TrimLeft(l, " "))
	}
	s.add(s.problem(at, "", "is not YAML: "+Visible(text), "mend this line or the one before it; text with : or # or a quotation mark in it needs quotation marks"))
}

// tabNear finds the first tab that indents a line within two of the given one.
func tabNear(content []byte, line int) (position, bool) {
	for i, l := range bytes.Split(content, []byte("\n")) {
		if i+1 < line-2 || i+1 > line+2 {
			continue
		}
		indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
		if at := bytes.IndexByte(indent, '\t'); at >= 0 && len(indent) < len(l) {
			return position{i + 1, at + 1}, true
		}
	}
	return position{}, false
}
