package arch

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

const said = "// Package %s is here so that a rule has something to look at. It is long enough to count as a comment of some\n" +
	"// substance, says what it guarantees, which is nothing, and says what it does not, which is everything else.\n"

// goFile writes a Go file whose package comment passes.
func goFile(dir, body string) string {
	name := path.Base(dir)
	if dir == "cmd/munjigi" {
		name = "main"
	}
	return strings.ReplaceAll(said, "%s", name) + "package " + name + "\n" + body
}

// plant makes a tree of files; the value of a Go file is its body.
func plant(t *testing.T, files map[string]string) tree {
	t.Helper()
	tr := tree{module: "example.org/m", texts: map[string][]byte{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		src := files[name]
		if path.Ext(name) == ".go" {
			if !strings.HasPrefix(src, "package ") && !strings.Contains(src, "\npackage ") {
				src = goFile(path.Dir(name), src)
			}
			if err := tr.add(name, []byte(src)); err != nil {
				t.Fatal(err)
			}
		}
		tr.texts[name] = []byte(src)
	}
	return tr
}

func sound() map[string]string {
	return map[string]string{
		"README.md":                             "[the wire](internal/mcp) and <img src=\"docs/a.svg\">, see [the site](https://example.org/x) and [below](#below)\n",
		"docs/a.svg":                            "<svg/>",
		"internal/base/secret/secret.go":        "import \"errors\"\nvar ErrNone = errors.New(\"none\")\nvar names = []string{\"a\"}\nvar _ error = ErrNone\nfunc Names() string { return names[0] }",
		"internal/mcp/mcp.go":                   "import _ \"example.org/m/internal/base/secret\"\ntype Reader interface { A(); B(); C(); D(); E() }",
		"internal/call/call.go":                 "import _ \"example.org/m/internal/mcp\"\nfunc NewPrincipal() {}",
		"internal/upstream/upstream.go":         "import _ \"example.org/m/internal/call\"",
		"internal/gateway/gateway.go":           "import _ \"example.org/m/internal/upstream\"",
		"internal/upstream/stdio/stdio.go":      "import _ \"example.org/m/internal/upstream\"",
		"internal/authn/local/local.go":         "import \"example.org/m/internal/call\"\nfunc Make() { call.NewPrincipal() }",
		"internal/authn/local/fetch.go":         "import \"net/http\"\nfunc Fetch(c *http.Client) {}",
		"docs/y.md":                             "held by `TestThere` and `local.TestThere`\n",
		"internal/authn/local/more_test.go":     "import \"math/rand\"\nfunc TestThere() {}\nfunc init() { _ = rand.Int() }\nvar state int",
		"internal/upstream/upstreamtest/kit.go": "import (\n_ \"math/rand/v2\"\n_ \"testing\"\n_ \"example.org/m/internal/upstream\"\n)",
		"cmd/munjigi/main.go":                   "import _ \"example.org/m/internal/gateway\"\nfunc main() {}",
	}
}

func TestSoundTreePasses(t *testing.T) {
	t.Parallel()
	tr := plant(t, sound())
	for _, r := range rules() {
		for _, line := range r.run(tr) {
			t.Errorf("%s: %s", r.name, line)
		}
	}
}

// TestEachRuleBites plants one wrong file at a time into a sound tree and
// expects its rule, and no other, to say so.
func TestEachRuleBites(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("// one more line\n", linesRefused+1)
	tests := []struct {
		name, rule, file, body, want string
	}{
		{"upward", "floors", "internal/mcp/up.go", "import _ \"example.org/m/internal/call\"", "above it"},
		{"sibling", "floors", "internal/upstream/streamable/s.go", "import _ \"example.org/m/internal/upstream/stdio\"", "sibling"},
		{"leaf to leaf", "floors", "internal/base/fault/f.go", "import _ \"example.org/m/internal/base/secret\"", "sibling"},
		{"contract to contract", "floors", "internal/audit/a.go", "import _ \"example.org/m/internal/upstream\"", "sibling"},
		{"contract to pipeline", "floors", "internal/upstream/g.go", "import _ \"example.org/m/internal/gateway\"", "above it"},
		{"pipeline to implementation", "floors", "internal/gateway/i.go", "import _ \"example.org/m/internal/upstream/stdio\"", "above it"},
		{"product to a test kit", "floors", "internal/app/a.go", "import _ \"example.org/m/internal/upstream/upstreamtest\"", "above it"},
		{"product to tests", "floors", "internal/app/a.go", "import _ \"example.org/m/test/fixture\"", "above it"},
		{"another system's file", "floors", "internal/mcp/up_windows.go", "import _ \"example.org/m/internal/call\"", "above it"},
		{"no floor", "floors", "internal/newcomer/n.go", "", "no floor"},
		{"no floor inside", "floors", "internal/gateway/inner/n.go", "", "no floor"},
		{"to the root", "floors", "internal/app/r.go", "import _ \"example.org/m\"", "no floor"},

		{"sdk in the product", "test-only modules", "internal/mcp/sdk.go", "import _ \"github.com/modelcontextprotocol/go-sdk/mcp\"", "for tests only"},
		{"testing in the product", "test-only modules", "internal/mcp/tst.go", "import _ \"testing\"", "for tests only"},

		{"no comment", "package comments", "internal/app/a.go", "package app\n", "no package comment"},
		{"short comment", "package comments", "internal/app/a.go", "// Package app is.\npackage app\n", "12 letters"},
		{"too long", "file sizes", "internal/mcp/long.go", long, "at most 1000"},

		{"six methods", "interface sizes", "internal/mcp/i.go", "type I interface { A(); B(); C(); D(); E(); F() }", "6 methods"},
		{"six with embedded", "interface sizes", "internal/mcp/i.go", "import \"io\"\ntype I interface { io.ReadWriteCloser; A(); B(); C() }", "6 methods"},
		{"six from a sibling type", "interface sizes", "internal/mcp/i.go", "type I interface { Reader; F() }", "6 methods"},
		{"nameless", "interface sizes", "internal/mcp/i.go", "func F(x interface { A(); B(); C(); D(); E(); F() }) {}", "6 methods"},

		{"init", "no init", "internal/mcp/i.go", "func init() {}", "func init"},

		{"empty variable", "no package state", "internal/mcp/v.go", "var count int", "starts empty"},
		{"time that is set", "no package state", "internal/mcp/v.go", "import \"time\"\nvar start time.Time\nfunc f() { start = time.Now() }", "starts empty"},
		{"lock", "no package state", "internal/mcp/v.go", "import \"sync\"\nvar mu sync.Mutex", "starts empty"},
		{"test seam", "no package state", "internal/mcp/v.go", "import \"time\"\nvar now = time.Now", "constant or a function"},
		{"pointer", "no package state", "internal/mcp/v.go", "type t struct{}\nvar one = &t{}", "shared state"},
		{"made", "no package state", "internal/mcp/v.go", "var m = make(map[string]int)", "package level"},
		{"exported table", "no package state", "internal/mcp/v.go", "var Table = []int{1}", "others could change"},
		{"table written", "no package state", "internal/mcp/v.go", "var table = []int{1}\nfunc f() { table[0] = 2 }", "changed at v.go"},
		{"table appended", "no package state", "internal/mcp/v.go", "var table = []int{1}\nfunc f() { table = append(table, 2) }", "changed at v.go"},
		{"table deleted from", "no package state", "internal/mcp/v.go", "var table = map[int]int{1: 1}\nfunc f() { delete(table, 1) }", "changed at v.go"},
		{"table addressed", "no package state", "internal/mcp/v.go", "var table = [1]int{1}\nfunc f() *int { return &table[0] }", "changed at v.go"},
		{"table of functions", "no package state", "internal/mcp/v.go", "var table = []func(){func() {}}", "not functions"},
		{"error reassigned", "no package state", "internal/mcp/v.go", "import \"errors\"\nvar ErrX = errors.New(\"x\")\nfunc f() { ErrX = nil }", "changed at v.go"},
		{"struct", "no package state", "internal/mcp/v.go", "type t struct{ n int }\nvar one = t{}", "struct"},

		{"file name", "names", "internal/mcp/header_utils.go", "", "utils"},
		{"helper file", "names", "internal/mcp/helper_test.go", "", "helper"},
		{"package name", "names", "internal/mcp/mcputil.go", "package mcputil\n", "util"},

		{"principal elsewhere", "principals", "internal/upstream/stdio/p.go", "import c \"example.org/m/internal/call\"\nvar _ = c.NewPrincipal", "only an authenticator"},
		{"principal by dot", "principals", "internal/upstream/stdio/p.go", "import . \"example.org/m/internal/call\"\nfunc f() { NewPrincipal() }", "by dot"},
		{"principal in the composition", "principals", "internal/app/p.go", "import \"example.org/m/internal/call\"\nfunc f() { call.NewPrincipal() }", "only an authenticator"},

		{"default client", "http clients", "internal/app/h.go", "import \"net/http\"\nfunc f() { http.DefaultClient.CloseIdleConnections() }", "shared"},
		{"get", "http clients", "internal/app/h.go", "import \"net/http\"\nfunc f() { http.Get(\"x\") }", "shared"},
		{"client without transport", "http clients", "internal/base/egress/h.go", "import \"net/http\"\nfunc f() { _ = http.Client{Timeout: 1} }", "without a Transport"},

		{"client", "ways out", "internal/app/h.go", "import \"net/http\"\nfunc f(t http.RoundTripper) *http.Client { return &http.Client{Transport: t} }", "http.Client opens"},
		{"new client", "ways out", "internal/app/h.go", "import \"net/http\"\nfunc f() { _ = new(http.Client) }", "http.Client opens"},
		{"transport", "ways out", "internal/authn/local/h.go", "import web \"net/http\"\nfunc f() { var t web.Transport; _ = t }", "http.Transport opens"},
		{"dialer", "ways out", "internal/upstream/stdio/h.go", "import \"net\"\nfunc f() { var d net.Dialer; _ = d }", "net.Dialer opens"},
		{"TLS dial", "ways out", "cmd/munjigi/h.go", "import \"crypto/tls\"\nfunc f() { tls.Dial(\"tcp\", \"x\", nil) }", "tls.Dial opens"},
		{"names", "ways out", "internal/app/h.go", "import \"net\"\nfunc f() { net.LookupHost(\"x\") }", "net.LookupHost opens"},
		{"another network", "ways out", "internal/app/h.go", "import _ \"net/smtp\"", "net/smtp"},
		{"rules of its own", "ways out", "internal/gateway/h.go", "import \"example.org/m/internal/base/egress\"\nfunc f() { egress.Client(egress.Rules{}) }", "is made in internal/app"},
		{"a way out that is none", "ways out", "internal/control/client.go", "func f() {}", "take it off the list"},

		{"guessable", "randomness", "internal/app/r.go", "import \"math/rand/v2\"\nfunc f() int { return rand.Int() }", "can be guessed"},

		{"machine path", "machine paths", "docs/x.md", "see `/" + "work/main/x`\n", "docs/x.md:1"},
		{"machine path in code", "machine paths", "internal/mcp/p.go", "const p = \"/" + "farm/x\"", "one machine"},

		{"dead link", "links", "docs/x.md", "[gone](gone.md)\n", "docs/gone.md"},
		{"test that is not there", "named tests", "docs/x.md", "held by `TestNothing`\n", "TestNothing"},
		{"test of another package", "named tests", "docs/x.md", "held by `mcp.TestThere`\n", "mcp.TestThere"},
		{"dead picture", "links", "docs/x.md", "<source srcset=\"img/gone.svg\">\n", "docs/img/gone.svg"},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.rule] = true
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			files := sound()
			files[tt.file] = tt.body
			files["test/fixture/f.go"] = ""
			tr := plant(t, files)
			for _, r := range rules() {
				got := strings.Join(r.run(tr), "\n")
				switch {
				case r.name == tt.rule && !strings.Contains(got, tt.want):
					t.Errorf("the rule %q did not say %q; it said %q", r.name, tt.want, got)
				case r.name != tt.rule && got != "" && tt.name != "package name":
					t.Errorf("the rule %q spoke too: %s", r.name, got)
				}
			}
		})
	}
	for _, r := range rules() {
		if !seen[r.name] {
			t.Errorf("no case shows that the rule %q bites", r.name)
		}
	}
}

// TestNothingSeenFails holds that an empty listing is no pass.
func TestNothingSeenFails(t *testing.T) {
	t.Parallel()
	onlyTests := plant(t, map[string]string{"internal/mcp/mcp_test.go": "", "README.md": "x"})
	for _, tr := range []tree{{}, {module: "example.org/m"}, onlyTests} {
		for _, r := range rules() {
			if len(r.run(tr)) == 0 {
				t.Errorf("the rule %q passed on a tree of %d packages without product", r.name, len(tr.packages))
			}
		}
	}
}

// TestParentsSitBelow holds that a parent in the table stands below its
// children, whether or not they exist yet.
func TestParentsSitBelow(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"internal/upstream", "internal/upstream/bridge"}, {"internal/guard", "internal/guard/all"}, {"internal/keys", "internal/keys/file"}} {
		parent, ok1 := floorOf(pair[0])
		child, ok2 := floorOf(pair[1])
		if !ok1 || !ok2 || parent >= child {
			t.Errorf("%s (%d) is not below %s (%d)", pair[0], parent, pair[1], child)
		}
	}
	if _, ok := floorOf("internal/nowhere"); ok {
		t.Error("an unknown package has a floor")
	}
}
