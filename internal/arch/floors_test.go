package arch

import (
	"fmt"
	"path"
	"strings"
)

// level is a height in the building. Imports go to a lower level only.
type level int

// The floors of ARCHITECTURE.md. Floor 3 is two levels, because the pipeline
// stands on the contracts.
const (
	base           level = iota // floor 0: knows nothing of MCP
	wire                        // floor 1: JSON-RPC and the protocol's words
	vocabulary                  // floor 2: what a judged call is made of
	contract                    // floor 3: what an implementation must offer
	pipeline                    // floor 3: the order of everything
	implementation              // floor 4: one job each
	guardList                   // floor 5: the ordered list of guards
	composition                 // floor 6: config in, running parts out
	command                     // floor 7: flags and exit codes
	trial                       // above the building: tests and their programs
)

// forTests reports a package that only tests use: all of test/, and a kit that
// is named after the contract it tests, such as store/storetest.
func forTests(pkg string) bool {
	return pkg == "test" || strings.HasPrefix(pkg, "test/") || path.Base(pkg) == path.Base(path.Dir(pkg))+"test"
}

// floorOf returns the level of a package by its path in the module. A new
// package needs one line here, and nothing else in this folder.
func floorOf(pkg string) (level, bool) {
	if forTests(pkg) {
		return trial, true
	}
	l, ok := map[string]level{
		"internal/arch": trial,

		"cmd/munjigi": command,

		"internal/app": composition,

		"internal/guard/all": guardList,

		"internal/guard/arguments": implementation,
		"internal/guard/schema":    implementation,
		"internal/guard/injection": implementation,
		"internal/guard/poisoning": implementation,
		"internal/pins":            implementation,

		"internal/guard/secrets":  implementation,
		"internal/audit/index":    implementation,
		"internal/audit/ocsf":     implementation,
		"internal/audit/proof":    implementation,
		"internal/guard/personal": implementation,

		"internal/audit/log":              implementation,
		"internal/authn/bound":            implementation,
		"internal/authn/dpop":             implementation,
		"internal/authn/mtls":             implementation,
		"internal/authn/local":            implementation,
		"internal/authn/jwt":              implementation,
		"internal/authn/passkey":          implementation,
		"internal/authn/signin":           implementation,
		"internal/authn/spiffe":           implementation,
		"internal/authz/approval":         implementation,
		"internal/authz/cedar":            implementation,
		"internal/catalog/cache":          implementation,
		"internal/control":                implementation,
		"internal/credential/peruser":     implementation,
		"internal/credential/clientcreds": implementation,
		"internal/credential/exchange":    implementation,
		"internal/credential/idjag":       implementation,
		"internal/credential/static":      implementation,
		"internal/demo":                   implementation,
		"internal/importer":               implementation,
		"internal/keys/file":              implementation,
		"internal/pages":                  implementation,
		"internal/oauthserver/clients":    implementation,
		"internal/oauthserver/face":       implementation,
		"internal/oauthserver/consent":    implementation,
		"internal/store/sqlite":           implementation,
		"internal/upstream/bridge":        implementation,
		"internal/upstream/stdio":         implementation,
		"internal/upstream/streamable":    implementation,
		"internal/authn/introspect":       implementation,

		"internal/gateway": pipeline,

		"internal/audit":       contract,
		"internal/authn":       contract,
		"internal/authz":       contract,
		"internal/catalog":     contract,
		"internal/config":      contract,
		"internal/credential":  contract,
		"internal/guard":       contract,
		"internal/keys":        contract,
		"internal/oauthserver": contract,
		"internal/redact":      contract,
		"internal/store":       contract,
		"internal/upstream":    contract,

		"internal/call": vocabulary,

		"internal/mcp":      wire,
		"internal/minimize": wire,
		"internal/oauth":    wire,

		"internal/base/durable": base,

		"internal/base/egress":     base,
		"internal/base/fault":      base,
		"internal/base/limit":      base,
		"internal/base/literal":    base,
		"internal/base/ngram":      base,
		"internal/base/normalize":  base,
		"internal/base/secret":     base,
		"internal/base/strictjson": base,
	}[pkg]
	return l, ok
}

// checkFloors holds that imports go down only, that siblings never import each
// other, that a parent sits below what is inside it, and that every package
// has a floor.
func checkFloors(t tree) []string {
	var bad []string
	known := map[string]bool{}
	for _, p := range t.packages {
		known[p.path] = true
	}
	for _, p := range t.packages {
		mine, ok := floorOf(p.path)
		if !ok {
			bad = append(bad, p.path+": no floor: give the package one line in floorOf")
			continue
		}
		for up := path.Dir(p.path); up != "." && mine != trial; up = path.Dir(up) {
			if theirs, ok := floorOf(up); known[up] && ok && theirs >= mine {
				bad = append(bad, fmt.Sprintf("%s: its parent %s is not below it", p.path, up))
			}
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, imported := range f.imports() {
				if imported == t.module {
					bad = append(bad, f.path+": imports the module's root, which is no floor")
					continue
				}
				target, ours := strings.CutPrefix(imported, t.module+"/")
				if !ours {
					continue
				}
				theirs, ok := floorOf(target)
				switch {
				case !ok:
					bad = append(bad, fmt.Sprintf("%s: imports %s, which has no floor", f.path, target))
				case mine == trial:
				case theirs > mine:
					bad = append(bad, fmt.Sprintf("%s: imports %s, which is above it: imports go down only", f.path, target))
				case theirs == mine:
					bad = append(bad, fmt.Sprintf("%s: imports its sibling %s: move what they share down, or join them above", f.path, target))
				}
			}
		}
	}
	return bad
}

// checkOutside holds that what only tests need stays out of the binary.
func checkOutside(t tree) []string {
	onlyTests := []string{
		"github.com/modelcontextprotocol/go-sdk",
		"github.com/google/go-cmp",
		"golang.org/x/tools",
		"testing",
	}
	var bad []string
	for _, f := range t.product() {
		if forTests(path.Dir(f.path)) {
			continue
		}
		for _, imported := range f.imports() {
			for _, banned := range onlyTests {
				if imported == banned || strings.HasPrefix(imported, banned+"/") {
					bad = append(bad, f.path+": imports "+imported+", which is for tests only")
				}
			}
		}
	}
	return bad
}
