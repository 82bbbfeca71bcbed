package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tree is what the rules look at: every package of the module, and every text
// that is or would be committed.
type tree struct {
	module   string
	packages []pkg
	texts    map[string][]byte
}

type pkg struct {
	path  string // in the module, "internal/mcp"
	name  string
	files []source
}

type source struct {
	path  string // in the module, "internal/mcp/mcp.go"
	test  bool
	lines int
	file  *ast.File
	set   *token.FileSet
}

// at names a place in the file for a message.
func (s source) at(p token.Pos) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(p).Line)
}

// imports returns the import paths of the file.
func (s source) imports() []string {
	var out []string
	for _, spec := range s.file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// alias returns the name by which the file calls an imported package, "" when
// it does not import it.
func (s source) alias(imported string) string {
	for _, spec := range s.file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p != imported {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		base := path.Base(imported)
		if strings.HasPrefix(base, "v") && strings.Trim(base[1:], "0123456789") == "" {
			base = path.Base(path.Dir(imported))
		}
		return base
	}
	return ""
}

// functions returns the names of the file's functions.
func (s source) functions() []string {
	var out []string
	for _, d := range s.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			out = append(out, fn.Name.Name)
		}
	}
	return out
}

// product returns every file that is not a test.
func (t tree) product() []source {
	var out []source
	for _, p := range t.packages {
		for _, f := range p.files {
			if !f.test {
				out = append(out, f)
			}
		}
	}
	return out
}

// add parses one Go file into its package.
func (t *tree) add(file string, src []byte) error {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(file)
	i := slices.IndexFunc(t.packages, func(p pkg) bool { return p.path == dir })
	if i < 0 {
		t.packages = append(t.packages, pkg{path: dir})
		i = len(t.packages) - 1
	}
	test := strings.HasSuffix(file, "_test.go")
	if p := &t.packages[i]; p.name == "" || !test {
		p.name = strings.TrimSuffix(parsed.Name.Name, "_test")
	}
	t.packages[i].files = append(t.packages[i].files, source{
		path: file, test: test, lines: bytes.Count(src, []byte("\n")), file: parsed, set: set,
	})
	return nil
}

// listed is the part of go list's answer that is needed.
type listed struct {
	ImportPath, Dir                                              string
	GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
	Module                                                       *struct{ Path, Dir string }
}

// load reads the module around this folder with go list. Files that another
// system's build tags leave out here are read too.
func load() (tree, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Module,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return tree{}, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	var t tree
	var root string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return tree{}, err
		}
		if l.Module == nil {
			return tree{}, fmt.Errorf("go list: %s belongs to no module", l.ImportPath)
		}
		t.module, root = l.Module.Path, l.Module.Dir
		dir := strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, t.module), "/")
		for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles) {
			src, err := os.ReadFile(filepath.Join(l.Dir, name))
			if err != nil {
				return tree{}, err
			}
			if err := t.add(path.Join(dir, name), src); err != nil {
				return tree{}, err
			}
		}
	}
	if root == "" {
		return t, nil
	}
	if t.texts, err = texts(root); err != nil {
		return tree{}, err
	}
	return t, t.tagged()
}

// tagged adds the Go files that go list leaves out because build tags exclude
// all of their package here. Test data and other modules stay out.
func (t *tree) tagged() error {
	known := map[string]bool{}
	for _, p := range t.packages {
		for _, f := range p.files {
			known[f.path] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.texts)) {
		if path.Ext(name) != ".go" || known[name] || t.elsewhere(path.Dir(name)) {
			continue
		}
		if err := t.add(name, t.texts[name]); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere reports a folder that the go command does not look into.
func (t *tree) elsewhere(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		base := path.Base(dir)
		if _, module := t.texts[dir+"/go.mod"]; module || base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return true
		}
	}
	return false
}

// texts reads what is committed or would be; without git, every file.
func texts(root string) (map[string][]byte, error) {
	var names []string
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		names = strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	} else if err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && p != root {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, p)
		names = append(names, filepath.ToSlash(rel))
		return err
	}); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(n)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			if info, serr := os.Stat(filepath.Join(root, filepath.FromSlash(n))); serr == nil && info.IsDir() {
				continue
			}
			return nil, err
		}
		out[n] = b
	}
	return out, nil
}
