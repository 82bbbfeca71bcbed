package arch

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEveryKeyHasItsPage holds docs/config.md to the keys that the config
// reader knows.
func TestEveryKeyHasItsPage(t *testing.T) {
	t.Parallel()
	text := page(t, "docs/config.md")
	keys := config.Keys()
	if len(keys) == 0 {
		t.Fatal("the config has no keys")
	}
	for _, key := range keys {
		if !strings.Contains(text, "`"+key+"`") {
			t.Errorf("docs/config.md does not name `%s`", key)
		}
	}
	named := regexp.MustCompile("`((?:servers\\.\\*|guards\\.\\*|limits|audit|tls|identity|egress)\\.[a-z_.*\\[\\]]+)`")
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(keys, m[1]) {
			t.Errorf("docs/config.md names `%s`, which the config does not know", m[1])
		}
	}
}

// TestDefaultsAreAsWritten reads the block of defaults in docs/config.md as a
// config and expects no difference from no config at all.
func TestDefaultsAreAsWritten(t *testing.T) {
	t.Parallel()
	_, rest, ok := strings.Cut(page(t, "docs/config.md"), "<!-- defaults -->\n```yaml\n")
	block, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("docs/config.md has no block of defaults")
	}
	home := t.TempDir()
	getenv := func(string) string { return home }
	got, err := config.Build{Getenv: getenv}.Parse(filepath.Join(t.TempDir(), "munjigi.yaml"), []byte(block))
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Default(getenv)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Limits, got.Limits); diff != "" {
		t.Errorf("limits: (-code +page)\n%s", diff)
	}
	if got.Listen != want.Listen || got.ProtocolFloor != want.ProtocolFloor || got.Audit != want.Audit {
		t.Errorf("page: %s %s %v, code: %s %s %v", got.Listen, got.ProtocolFloor, got.Audit, want.Listen, want.ProtocolFloor, want.Audit)
	}
	for _, row := range limitNames(block) {
		if !strings.Contains(page(t, "docs/config.md"), "`limits."+row+"`") {
			t.Errorf("limits.%s has a default and no row", row)
		}
	}
	for _, d := range got.Departures() {
		t.Errorf("a default is a departure: %v", d)
	}
}

// limitNames returns the names under limits: in the block.
func limitNames(block string) []string {
	_, limits, _ := strings.Cut(block, "limits:\n")
	var names []string
	for line := range strings.Lines(limits) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

// TestExamplesLoad reads every whole example of docs/config.md.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page(t, "docs/config.md"), -1)
	seen := 0
	for _, b := range blocks {
		if !strings.HasPrefix(b[1], "servers:") {
			continue
		}
		seen++
		home := t.TempDir()
		if _, err := (config.Build{Getenv: func(string) string { return home }}).Parse(filepath.Join(t.TempDir(), "munjigi.yaml"), []byte(b[1])); err != nil {
			t.Errorf("%v\n%s", err, b[1])
		}
	}
	if seen == 0 {
		t.Error("no example was seen")
	}
}

// TestSignInExampleLoads reads the example of docs/grants.md.
func TestSignInExampleLoads(t *testing.T) {
	t.Parallel()
	_, rest, ok := strings.Cut(page(t, "docs/grants.md"), "```yaml\n")
	block, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("docs/grants.md has no example")
	}
	home := t.TempDir()
	c, err := config.Build{Identity: true, Getenv: func(string) string { return home }}.Parse(filepath.Join(t.TempDir(), "munjigi.yaml"), []byte(block))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Identity.Issuers) != 1 || !c.Identity.Issuers[0].SignIn.Enabled() || !c.Identity.Issuers[0].SignIn.ClientSecret.IsSecret() {
		t.Errorf("%+v", c.Identity.Issuers)
	}
}

// checkNamedTests holds that a test named in the pages exists, in the package
// that is named with it.
func checkNamedTests(t tree) []string {
	there := map[string]bool{}
	for _, p := range t.packages {
		for _, f := range p.files {
			if !f.test {
				continue
			}
			for _, name := range f.functions() {
				there[name], there[path.Base(p.path)+"."+name] = true, true
			}
		}
	}
	named := regexp.MustCompile("`((?:[a-z]+\\.)?(?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`")
	var bad []string
	for name, b := range t.texts {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			if !there[string(m[1])] {
				bad = append(bad, fmt.Sprintf("%s: names the test %s, which is not there", name, m[1]))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// TestEveryReasonHasItsRow holds the table of reasons in docs/operations.md
// to the codes that the gateway uses.
func TestEveryReasonHasItsRow(t *testing.T) {
	t.Parallel()
	sources := page(t, "internal/call/decision.go")
	guards, err := filepath.Glob("../guard/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range guards {
		if !strings.HasSuffix(file, "_test.go") {
			sources += page(t, strings.Replace(filepath.ToSlash(file), "..", "internal", 1))
		}
	}
	code := regexp.MustCompile(`Reason\s*=\s*"([a-z-]+)"`).FindAllStringSubmatch(sources, -1)
	_, text, _ := strings.Cut(page(t, "docs/operations.md"), "\n## Reasons\n")
	text, _, _ = strings.Cut(text, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(text, -1)
	names := func(in [][]string) (out []string) {
		for _, m := range in {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	if len(code) == 0 {
		t.Fatal("no reason was seen")
	}
	if diff := cmp.Diff(names(code), names(row)); diff != "" {
		t.Errorf("(-code +page)\n%s", diff)
	}
}

// TestEveryCommandHasItsPlace holds that each command stands in the pages, and
// that the pages name no command that is not there.
func TestEveryCommandHasItsPlace(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`\{name: "([a-z]+)"`).FindAllStringSubmatch(page(t, "cmd/munjigi/main.go"), -1) {
		known[m[1]] = true
	}
	if len(known) == 0 {
		t.Fatal("no command was seen")
	}
	named := map[string]bool{}
	use := regexp.MustCompile("(?m)(?:`|^|go run \\./cmd/)munjigi ([a-z]+)")
	for _, file := range []string{"README.md", "SECURITY.md", "docs/operations.md", "docs/config.md", "docs/import.md", "docs/wrap.md", "docs/eras.md", "docs/threat-model.md", "docs/policy.md", "docs/minimization.md", "docs/identity.md", "docs/grants.md"} {
		for _, m := range use.FindAllStringSubmatch(page(t, file), -1) {
			named[m[1]] = true
			if !known[m[1]] {
				t.Errorf("%s names the command %s, which is not there", file, m[1])
			}
		}
	}
	for name := range known {
		if !named[name] {
			t.Errorf("no page names the command %s", name)
		}
	}
}
