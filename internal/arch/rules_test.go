package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	linesRefused   = 1000
	linesWarned    = 500
	commentLetters = 140
	methodsAllowed = 5
)

// rule is one check over the whole tree; it returns one line per violation,
// each beginning with a path.
type rule struct {
	name  string
	check func(tree) []string
}

func rules() []rule {
	return []rule{
		{"floors", checkFloors},
		{"test-only modules", checkOutside},
		{"package comments", checkComments},
		{"file sizes", checkSizes},
		{"interface sizes", checkInterfaces},
		{"no init", checkInit},
		{"no package state", checkState},
		{"names", checkNames},
		{"principals", checkPrincipals},
		{"http clients", checkClients},
		{"ways out", checkWaysOut},
		{"randomness", checkRandom},
		{"machine paths", checkPaths},
		{"links", checkLinks},
		{"named tests", checkNamedTests},
	}
}

// check runs a rule and refuses to be content with nothing.
func (r rule) run(t tree) []string {
	if len(t.product()) == 0 {
		return []string{"the tree: no packages were seen, so nothing was checked"}
	}
	return r.check(t)
}

// checkComments holds that each package says what it is for.
func checkComments(t tree) []string {
	var bad []string
	for _, p := range t.packages {
		var doc strings.Builder
		for _, f := range p.files {
			if f.file.Doc != nil && (!f.test || len(p.product()) == 0) {
				doc.WriteString(f.file.Doc.Text())
			}
		}
		text := doc.String()
		letters := 0
		for _, r := range text {
			if unicode.IsLetter(r) {
				letters++
			}
		}
		switch first, _, _ := strings.Cut(text, " "); {
		case text == "":
			bad = append(bad, p.path+": no package comment")
		case letters < commentLetters:
			bad = append(bad, fmt.Sprintf("%s: the package comment has %d letters: say what threat or job it is for, what it guarantees and what not", p.path, letters))
		case p.name != "main" && !strings.HasPrefix(text, "Package "+p.name):
			bad = append(bad, fmt.Sprintf("%s: the package comment begins with %q, not with %q", p.path, first, "Package "+p.name))
		}
	}
	return bad
}

// product returns the package's files that are no tests.
func (p pkg) product() []source {
	return slices.DeleteFunc(slices.Clone(p.files), func(s source) bool { return s.test })
}

func checkSizes(t tree) []string {
	var bad []string
	for _, f := range t.product() {
		if f.lines > linesRefused {
			bad = append(bad, fmt.Sprintf("%s: %d lines, at most %d: split it by subject", f.path, f.lines, linesRefused))
		}
	}
	return bad
}

func warnSizes(t tree) []string {
	var out []string
	for _, f := range t.product() {
		if f.lines > linesWarned && f.lines <= linesRefused {
			out = append(out, fmt.Sprintf("%s: %d lines, better below %d", f.path, f.lines, linesWarned))
		}
	}
	return out
}

func checkInit(t tree) []string {
	var bad []string
	for _, f := range t.product() {
		for _, d := range f.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				bad = append(bad, f.at(d.Pos())+": func init runs before anyone asked: build it where it is used")
			}
		}
	}
	return bad
}

// forbidden are names that say nothing about what a thing does.
func forbidden() []string {
	return []string{"util", "common", "helper", "manager", "middleware", "plugin", "service", "processor"}
}

func checkNames(t tree) []string {
	var bad []string
	split := regexp.MustCompile(`[^a-z0-9]+`)
	for _, p := range t.packages {
		for _, word := range forbidden() {
			if strings.Contains(strings.ToLower(p.name), word) {
				bad = append(bad, fmt.Sprintf("%s: package %s: %q says nothing: name it by its job", p.path, p.name, word))
			}
			for _, part := range split.Split(strings.ToLower(p.path), -1) {
				if part == word || part == word+"s" {
					bad = append(bad, fmt.Sprintf("%s: a folder is called %q: name it by its job", p.path, part))
				}
			}
			for _, f := range p.files {
				for _, part := range split.Split(strings.ToLower(path.Base(f.path)), -1) {
					if part == word || part == word+"s" {
						bad = append(bad, fmt.Sprintf("%s: a file is called %q: name it by its job", f.path, part))
					}
				}
			}
		}
	}
	return bad
}

// uses returns every place where a file names pkg.name, for an imported pkg.
func (s source) uses(imported string, names ...string) []string {
	alias := s.alias(imported)
	if alias == "" {
		return nil
	}
	var out []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains(names, sel.Sel.Name) {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == alias {
			out = append(out, s.at(sel.Pos())+": "+path.Base(imported)+"."+sel.Sel.Name)
		}
		return true
	})
	return out
}

// checkPrincipals holds that only authenticators make principals.
func checkPrincipals(t tree) []string {
	// Tables of wanted decisions and explanations ask policy about callers that
	// they make up. Nothing there can send.
	const imagined = "internal/authz/cedar/table.go"
	var bad []string
	for _, f := range t.product() {
		if dir := path.Dir(f.path); f.path == imagined || dir == "internal/authn" || strings.HasPrefix(dir, "internal/authn/") || forTests(dir) {
			continue
		}
		if f.alias(t.module+"/internal/call") == "." {
			bad = append(bad, f.path+": imports internal/call by dot, which hides who makes principals")
		}
		for _, use := range f.uses(t.module+"/internal/call", "NewPrincipal") {
			bad = append(bad, use+": only an authenticator in internal/authn makes a principal")
		}
	}
	return bad
}

// checkClients holds that no fetch goes through a client without rules: the
// default client follows redirects anywhere, has no deadline and obeys the
// environment's proxy.
func checkClients(t tree) []string {
	var bad []string
	for _, f := range t.product() {
		if forTests(path.Dir(f.path)) {
			continue
		}
		for _, use := range f.uses("net/http", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm", "DefaultServeMux", "HandleFunc", "Handle") {
			bad = append(bad, use+" is shared by the whole process: make one with limits")
		}
		alias := f.alias("net/http")
		if alias == "" {
			continue
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			sel, ok := lit.Type.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Client" {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == alias && !hasKey(lit, "Transport") {
				bad = append(bad, f.at(lit.Pos())+": an http.Client without a Transport uses the default one: name one")
			}
			return true
		})
	}
	return bad
}

func hasKey(lit *ast.CompositeLit, key string) bool {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok && id.Name == key {
				return true
			}
		}
	}
	return false
}

// checkRandom holds that nothing an attacker could guess is drawn.
func checkRandom(t tree) []string {
	var bad []string
	for _, f := range t.product() {
		if forTests(path.Dir(f.path)) {
			continue
		}
		for _, imported := range f.imports() {
			if imported == "math/rand" || imported == "math/rand/v2" {
				bad = append(bad, f.path+": imports "+imported+", which can be guessed: use crypto/rand")
			}
		}
	}
	return bad
}

// checkPaths holds that no text names a place on the machine it was written
// on. A path after a letter, a digit, a dot or a dash is relative, so it may stay.
func checkPaths(t tree) []string {
	place := regexp.MustCompile(`(?:^|[^A-Za-z0-9._/\-])/(?:work|farm|root/go|tmp/ref)(?:/|\b)`)
	var bad []string
	for name, b := range t.texts {
		if bytes.IndexByte(b, 0) >= 0 {
			continue
		}
		for i, line := range bytes.Split(b, []byte("\n")) {
			if m := place.Find(line); m != nil {
				bad = append(bad, fmt.Sprintf("%s:%d: names a place on one machine: %s", name, i+1, bytes.TrimSpace(m)))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// checkLinks holds that the pages link to what exists.
func checkLinks(t tree) []string {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	var bad []string
	for name, b := range t.texts {
		if path.Ext(name) != ".md" {
			continue
		}
		for i, line := range bytes.Split(b, []byte("\n")) {
			for _, m := range link.FindAllSubmatch(line, -1) {
				to, _, _ := strings.Cut(string(m[1])+string(m[2]), "#")
				if to == "" || strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
					continue
				}
				if p := path.Join(path.Dir(name), to); !t.has(p) {
					bad = append(bad, fmt.Sprintf("%s:%d: links to %s, which is not there", name, i+1, p))
				}
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// has reports a file, or a folder with a file in it.
func (t tree) has(p string) bool {
	if _, ok := t.texts[p]; ok || p == "." {
		return true
	}
	for name := range t.texts {
		if strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}
