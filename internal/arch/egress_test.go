package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// waysOut are the few places besides internal/base/egress that open connections,
// with the reason why what they reach is not for a stranger to choose.
func waysOut() map[string]string {
	return map[string]string{
		"internal/app/connect.go":              "the gateway's own socket in the data folder",
		"internal/control/client.go":           "the gateway's own socket in the data folder",
		"internal/control/server.go":           "the gateway's own socket in the data folder",
		"internal/upstream/streamable/conn.go": "TLS over a connection that egress.Dialer made, to the URL that the operator configured",
	}
}

// clientMakers are the places that may make a client of egress, because they
// know whose word opens which hosts; dialerMakers the ones that dial a URL of the
// operator's config.
func clientMakers() []string { return []string{"internal/app", "internal/credential/peruser"} }
func dialerMakers() []string { return []string{"internal/upstream/streamable"} }

// checkWaysOut holds that every connection is opened under the one egress rule:
// nothing else makes an HTTP client, a transport or a dialer, resolves names, or
// imports a package that does so by itself.
func checkWaysOut(t tree) []string {
	const egress = "internal/base/egress"
	var bad []string
	used := map[string]bool{}
	for _, f := range t.product() {
		dir := path.Dir(f.path)
		if forTests(dir) || dir == egress {
			continue
		}
		uses := slices.Concat(
			f.makes("net/http", "Client", "Transport"), f.uses("net/http", "NewFileTransport", "ProxyURL", "ProxyFromEnvironment"),
			f.uses("net", "Dial", "DialTimeout", "Dialer", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Resolver", "DefaultResolver",
				"LookupHost", "LookupIP", "LookupAddr", "LookupCNAME", "LookupMX", "LookupNS", "LookupSRV", "LookupTXT", "ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr"),
			f.uses("crypto/tls", "Dial", "Dialer", "DialWithDialer", "Client"),
			f.uses("syscall", "Connect"), f.uses("golang.org/x/sys/unix", "Connect"))
		if _, ok := waysOut()[f.path]; ok {
			used[f.path] = used[f.path] || len(uses) > 0
			uses = nil
		}
		for _, u := range uses {
			bad = append(bad, u+" opens connections by itself: use a client or a dialer of "+egress)
		}
		for _, imported := range f.imports() {
			for _, own := range []string{"golang.org/x/net/http2", "golang.org/x/net/websocket", "golang.org/x/net/proxy", "net/http/httputil", "net/rpc", "net/smtp", "net/http/cookiejar"} {
				if imported == own {
					bad = append(bad, fmt.Sprintf("%s: imports %s, which reaches the network by itself", f.path, own))
				}
			}
		}
		for name, may := range map[string][]string{"Client": clientMakers(), "Dialer": dialerMakers()} {
			for _, u := range f.uses(t.module+"/"+egress, name) {
				if !slices.Contains(may, dir) {
					bad = append(bad, u+" is made in "+strings.Join(may, ", ")+" only")
				}
			}
		}
	}
	for file, reason := range waysOut() {
		if there := slices.ContainsFunc(t.product(), func(f source) bool { return f.path == file }); there && !used[file] {
			bad = append(bad, file+": is listed as a way out ("+reason+") and is none any more: take it off the list")
		}
	}
	slices.Sort(bad)
	return bad
}

// makes returns the uses of a package's types but for pointers to them, which
// somebody else made.
func (s source) makes(imported string, names ...string) []string {
	alias := s.alias(imported)
	if alias == "" {
		return nil
	}
	pointed := map[ast.Node]bool{}
	var out []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr:
			pointed[n.X] = true
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == alias && slices.Contains(names, n.Sel.Name) && !pointed[n] {
				out = append(out, s.at(n.Pos())+": "+path.Base(imported)+"."+n.Sel.Name)
			}
		}
		return true
	})
	return out
}
