package arch

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// checkState holds that a package has no variable that could change. What may
// stand at package level:
//
//   - an error value: errors.New, fmt.Errorf, or what a literal or a
//     constructor gives to a variable whose name begins with err or Err;
//   - what the standard library makes once and never changes: a compiled
//     expression, a parsed address, a replacer;
//   - an embedded file;
//   - a zero time;
//   - a table: an unexported array, slice or map literal that holds no lock,
//     no atomic and no function, and that nothing in the package assigns to,
//     takes the address of, sorts, clears or deletes from;
//   - the blank name, as in an assertion that a type fits an interface.
func checkState(t tree) []string {
	var bad []string
	for _, p := range t.packages {
		for _, f := range p.product() {
			for _, d := range f.file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for i, name := range v.Names {
						if why := p.mutable(g, v, i); why != "" {
							bad = append(bad, f.at(name.Pos())+": package variable "+name.Name+": "+why)
						}
					}
				}
			}
		}
	}
	return bad
}

// mutable says why a package-level variable is state, "" when it is not.
func (p pkg) mutable(g *ast.GenDecl, v *ast.ValueSpec, i int) string {
	name := v.Names[i].Name
	if name == "_" || embeds(g.Doc) || embeds(v.Doc) {
		return ""
	}
	if len(v.Values) <= i {
		if sel, ok := v.Type.(*ast.SelectorExpr); ok && root(sel) == "time" && sel.Sel.Name == "Time" && p.written(name) == "" {
			return ""
		}
		return "it starts empty, so something fills it later: pass it instead"
	}
	isError := strings.HasPrefix(strings.ToLower(name), "err")
	switch x := v.Values[i].(type) {
	case *ast.CallExpr:
		if fixed(x) || isError {
			break
		}
		if _, conversion := x.Fun.(*ast.ArrayType); conversion {
			if ast.IsExported(name) {
				return "others could change an exported slice: make it a function"
			}
			break
		}
		return "only error values, compiled expressions and parsed addresses are made at package level"
	case *ast.CompositeLit:
		if isError {
			break
		}
		switch x.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
		default:
			return "a struct at package level is state: make it a function"
		}
		if ast.IsExported(name) {
			return "others could change an exported table: make it a function"
		}
		if holdsState(x) {
			return "a table holds values, not functions, locks or atomics"
		}
	case *ast.UnaryExpr:
		if _, ok := x.X.(*ast.CompositeLit); !ok || !isError || x.Op != token.AND {
			return "a pointer at package level is shared state: pass it instead"
		}
	default:
		return "make it a constant or a function"
	}
	if at := p.written(name); at != "" {
		return "it is changed at " + at
	}
	return ""
}

func embeds(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	return slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// fixed reports a call whose result never changes.
func fixed(c *ast.CallExpr) bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "regexp.MustCompile",
		"netip.MustParseAddr", "netip.MustParsePrefix", "strings.NewReplacer"}, x.Name+"."+sel.Sel.Name)
}

func holdsState(lit *ast.CompositeLit) bool {
	found := false
	ast.Inspect(lit, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.FuncType, *ast.ChanType:
			found = true
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				found = true
			}
		}
		return !found
	})
	return found
}

// written returns a place where the package changes a variable of this name.
// A local variable of the same name counts: give it another.
func (p pkg) written(name string) string {
	var at string
	for _, f := range p.product() {
		hit := func(n ast.Node, e ast.Expr) {
			if at == "" && root(e) == name {
				at = path.Base(f.at(n.Pos()))
			}
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					hit(n, l)
				}
			case *ast.IncDecStmt:
				hit(n, n.X)
			case *ast.RangeStmt:
				hit(n, n.Key)
				hit(n, n.Value)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					hit(n, n.X)
				}
			case *ast.CallExpr:
				if len(n.Args) > 0 && changes(n.Fun) {
					hit(n, n.Args[0])
				}
			}
			return true
		})
	}
	return at
}

// changes reports a function that writes into its first argument.
func changes(fun ast.Expr) bool {
	switch fun := fun.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"delete", "clear", "copy"}, fun.Name)
	case *ast.SelectorExpr:
		x, ok := fun.X.(*ast.Ident)
		return ok && (x.Name == "sort" || x.Name == "slices" && strings.HasPrefix(fun.Sel.Name, "Sort") ||
			x.Name == "slices" && fun.Sel.Name == "Reverse" || x.Name == "maps" && fun.Sel.Name == "Copy")
	}
	return false
}

// root returns the name at the left end of x, x[i], x.f and *x.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}
