package cedar

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

// Bounds of what Load reads.
const (
	maxFile     = 1 << 20
	maxFiles    = 1000
	maxPolicies = 20_000
	maxProblems = 1000
	extension   = ".cedar"
)

// Errors is every problem of the policy files, in the order of files and
// places.
type Errors struct{ List []config.Problem }

// Error gives each problem on a line.
func (e *Errors) Error() string {
	lines := make([]string, len(e.List))
	for i, p := range e.List {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Policies is one snapshot of policy files. The zero value holds no policy,
// under which everything is denied.
type Policies struct {
	entries []*entry
	digest  string
}

// Len counts the policies.
func (p *Policies) Len() int {
	if p == nil {
		return 0
	}
	return len(p.entries)
}

// Digest is the SHA-256, in hexadecimal, of the names and texts of the files
// in their order. Names count from the folder that was loaded, so that two
// hosts with the same policies agree.
func (p *Policies) Digest() string {
	if p == nil || p.digest == "" {
		return digest(nil)
	}
	return p.digest
}

// file is one policy file to be read.
type file struct {
	path, name string // name: for the digest
	text       []byte
}

func digest(files []file) string {
	h := sha256.New()
	for _, f := range files {
		for _, part := range [][]byte{[]byte(f.name), f.text} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			h.Write(n[:])
			h.Write(part)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// loader gathers problems instead of stopping at the first.
type loader struct {
	files    []file
	seen     map[string]bool
	ids      map[string]string
	entries  []*entry
	problems []config.Problem
}

func (l *loader) bad(p config.Problem) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, p)
	}
}

// Load reads .cedar files and, in the order of their names, those in folders
// and their subfolders. Names that begin with a dot are passed over. Files and
// folders that group or others may write are refused (on Windows the access
// list decides). It reports every problem at once as *Errors; a snapshot is
// whole or it is not there.
func Load(paths []string) (*Policies, error) {
	l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
	for _, p := range paths {
		l.add(p)
	}
	for i := range l.files {
		f := &l.files[i]
		b, err := secret.ReadFile(f.path, maxFile, secret.OthersWrite)
		if err != nil {
			l.bad(config.Problem{File: f.path, Message: config.Visible(err.Error())})
			continue
		}
		f.text = b
		l.parse(*f)
	}
	if len(l.entries) > maxPolicies {
		l.bad(config.Problem{File: strings.Join(paths, ", "), Message: fmt.Sprintf("there are more than %d policies", maxPolicies), Next: "join those that differ in one name only"})
	}
	if len(l.problems) > 0 {
		return nil, &Errors{List: l.problems}
	}
	return &Policies{entries: l.entries, digest: digest(l.files)}, nil
}

// add takes a file or the files of a folder.
func (l *loader) add(path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		l.bad(config.Problem{File: path, Message: config.Visible(err.Error()), Next: "make the file or folder, or mend the path under policy"})
	case info.IsDir():
		l.folder(path, path)
	case filepath.Ext(path) != extension:
		l.bad(config.Problem{File: path, Message: "is not a " + extension + " file", Next: "name a " + extension + " file or a folder"})
	default:
		l.file(path, filepath.Base(path))
	}
}

func (l *loader) file(path, name string) {
	full, err := filepath.Abs(path)
	if err != nil {
		full = path
	}
	if l.seen[full] {
		return
	}
	l.seen[full] = true
	if len(l.files) == maxFiles {
		l.bad(config.Problem{File: path, Message: fmt.Sprintf("is one of more than %d policy files", maxFiles), Next: "join them"})
	}
	if len(l.files) < maxFiles {
		l.files = append(l.files, file{path: path, name: filepath.ToSlash(name)})
	}
}

func (l *loader) folder(root, path string) {
	info, err := os.Stat(path)
	if err == nil {
		err = ownFolder(path, info)
	}
	var list []fs.DirEntry
	if err == nil {
		list, err = os.ReadDir(path)
	}
	if err != nil {
		l.bad(config.Problem{File: path, Message: config.Visible(err.Error())})
		return
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		p := filepath.Join(path, e.Name())
		if e.IsDir() {
			l.folder(root, p)
			continue
		}
		info, err := os.Stat(p)
		switch {
		case err == nil && info.IsDir():
			l.bad(config.Problem{File: p, Message: "is a link to a folder, which is not followed", Next: "name that folder under policy"})
		case filepath.Ext(p) == extension:
			name, err := filepath.Rel(root, p)
			if err != nil {
				name = p
			}
			l.file(p, name)
		}
	}
}

// ownFolder refuses a folder in which others could add or remove a file.
func ownFolder(path string, info fs.FileInfo) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	if info.Mode().Perm()&secret.OthersWrite != 0 {
		return fmt.Errorf("others may write %s (mode %04o): run chmod go-w on it and look for what they changed", path, info.Mode().Perm())
	}
	if uid, ok := secret.Owner(info); ok && uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who can change it: make it your own", path, uid)
	}
	return nil
}

// parse reads the policies of one file.
func (l *loader) parse(f file) {
	parts := statements(string(f.text))
	for _, s := range parts {
		if s.deep || s.size > maxStatement {
			l.bad(config.Problem{File: f.path, Line: s.line, Column: s.column,
				Message: fmt.Sprintf("this policy is too large: at most %d bytes and %d open brackets", maxStatement, maxBrackets), Next: "take it apart"})
			return
		}
	}
	list, err := parseCedar(f.path, f.text)
	if err == nil {
		for _, p := range list {
			l.policy(f.path, p)
		}
		return
	}
	before := len(l.problems)
	for _, s := range parts {
		if _, err := parseCedar(f.path, []byte(s.text)); err != nil {
			l.bad(syntax(f.path, err, s))
		}
	}
	if len(l.problems) == before {
		l.bad(syntax(f.path, err, statement{line: 1, column: 1}))
	}
}

// parseCedar turns a panic of the parser into an error.
func parseCedar(path string, text []byte) (list cedar.PolicyList, err error) {
	defer func() {
		if r := recover(); r != nil {
			list, err = nil, fmt.Errorf("the parser failed: %v", r)
		}
	}()
	return cedar.NewPolicyListFromBytes(path, text)
}

// syntax is the problem of a text that does not parse, moved to where its
// statement stands in the file.
func syntax(path string, err error, s statement) config.Problem {
	p := config.Problem{File: path, Line: s.line, Column: s.column, Next: "look at and just before this place"}
	text := strings.TrimPrefix(err.Error(), "parser error: ")
	if m := regexp.MustCompile(`<input>:(\d+):(\d+):?`).FindStringSubmatchIndex(text); m != nil {
		line, _ := strconv.Atoi(text[m[2]:m[3]])
		column, _ := strconv.Atoi(text[m[4]:m[5]])
		if line == 1 {
			column += s.column - 1
		}
		if line > 0 && column > 0 {
			p.Line, p.Column = line+s.line-1, column
		}
		text = strings.TrimPrefix(text[:m[0]]+strings.TrimPrefix(text[m[1]:], " "), "parse error at ")
	}
	p.Message = "does not parse: " + config.Visible(text)
	return p
}

// policy takes one parsed policy, if it can ever match.
func (l *loader) policy(path string, p *cedar.Policy) {
	at := p.Position()
	bad := func(message, next string) {
		l.bad(config.Problem{File: path, Line: at.Line, Column: at.Column, Message: config.Visible(message), Next: next})
	}
	place := fmt.Sprintf("%d:%d", at.Line, at.Column)
	e := &entry{name: cedar.PolicyID(path + ":" + place), policy: p}
	if id, named := p.Annotations()[annotationID]; named {
		if !isID(string(id)) {
			bad("@id is not a name", "use at most 64 letters, digits, dots, dashes and underscores")
		}
		if first, twice := l.ids[string(id)]; twice {
			bad(fmt.Sprintf("@id(%q) is taken by the policy at %s", string(id), first), "give each policy its own @id")
		}
		l.ids[string(id)] = path + ":" + place
		e.name = cedar.PolicyID(path + "#" + string(id))
	}
	e.needs = readNeeds(e, bad)
	problems := e.inspect()
	e.results = readResults(e, bad)
	sort.Strings(problems)
	for _, m := range problems {
		bad(m, "mend the name: a policy that can never match protects nothing")
	}
	e.needsOfCalls(bad)
	l.entries = append(l.entries, e)
}
