package arch

import (
	"fmt"
	"go/ast"
	"go/build"
	"os"
	"path/filepath"
	"strings"
)

// checkInterfaces holds that an interface asks for little. Embedded ones count
// with all they bring, also from the standard library.
func checkInterfaces(t tree) []string {
	w := &interfaces{tree: t, types: map[string]ifaceType{}, seen: map[string]bool{}}
	for _, p := range t.packages {
		for _, f := range p.product() {
			w.collect(p.path, t.module, f)
		}
	}
	var bad []string
	for _, p := range t.packages {
		for _, f := range p.product() {
			ast.Inspect(f.file, func(n ast.Node) bool {
				it, ok := n.(*ast.InterfaceType)
				if !ok {
					return true
				}
				if m := w.methods(ifaceType{it, f, t.module + "/" + p.path}, 0); m > methodsAllowed {
					bad = append(bad, fmt.Sprintf("%s: an interface with %d methods, at most %d: ask for less, or split it", f.at(it.Pos()), m, methodsAllowed))
				}
				return true
			})
		}
	}
	return bad
}

type ifaceType struct {
	typ  *ast.InterfaceType
	file source
	pkg  string
}

type interfaces struct {
	tree  tree
	types map[string]ifaceType // by import path, dot, name
	seen  map[string]bool      // packages outside the module that were read
}

func (w *interfaces) collect(dir, module string, f source) {
	pkg := dir
	if module != "" {
		pkg = module + "/" + dir
	}
	for _, d := range f.file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			if ts, ok := s.(*ast.TypeSpec); ok {
				if it, ok := ts.Type.(*ast.InterfaceType); ok {
					w.types[pkg+"."+ts.Name.Name] = ifaceType{it, f, pkg}
				}
			}
		}
	}
}

// methods counts what an interface asks for. An embedded type that cannot be
// found counts as one method.
func (w *interfaces) methods(it ifaceType, depth int) int {
	if depth > 16 {
		return 0
	}
	n := 0
	for _, field := range it.typ.Methods.List {
		if len(field.Names) > 0 {
			n += len(field.Names)
			continue
		}
		switch e := field.Type.(type) {
		case *ast.Ident:
			if in, ok := w.types[it.pkg+"."+e.Name]; ok {
				n += w.methods(in, depth+1)
			} else if e.Name == "error" {
				n++
			}
		case *ast.SelectorExpr:
			x, _ := e.X.(*ast.Ident)
			if x == nil {
				n++
				continue
			}
			n += w.outside(it.file, x.Name, e.Sel.Name, depth)
		}
	}
	return n
}

func (w *interfaces) outside(f source, alias, name string, depth int) int {
	for _, imported := range f.imports() {
		if f.alias(imported) != alias {
			continue
		}
		w.read(imported)
		if in, ok := w.types[imported+"."+name]; ok {
			return w.methods(in, depth+1)
		}
	}
	return 1
}

// read parses a package of the standard library for its interfaces.
func (w *interfaces) read(imported string) {
	if w.seen[imported] || strings.HasPrefix(imported, w.tree.module) {
		return
	}
	w.seen[imported] = true
	found, err := build.Default.Import(imported, "", build.FindOnly)
	if err != nil {
		return
	}
	files, _ := filepath.Glob(filepath.Join(found.Dir, "*.go"))
	var t tree
	for _, file := range files {
		if src, err := os.ReadFile(file); err == nil && !strings.HasSuffix(file, "_test.go") {
			_ = t.add(imported+"/"+filepath.Base(file), src)
		}
	}
	for _, f := range t.product() {
		w.collect(imported, "", f)
	}
}
