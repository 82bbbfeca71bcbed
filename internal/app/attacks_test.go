package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/config"
)

// TestAttackPage holds docs/attacks.md to the archives attack-*: what each attack
// does when definitions are neither judged nor pinned, and what it does by
// default. The archives themselves are played by TestGolden.
func TestAttackPage(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/golden/attack-*-after.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	var page strings.Builder
	page.WriteString(`# Attacks by definitions, before and after

Servers written after public descriptions of known attacks, and what a client saw of each: once with the guard off and the server unpinned, and once
as it is by default. This page is made of the archives ` + "`internal/app/testdata/golden/attack-*`" + `, which a test plays through a whole gateway. Text that does not show is written
out. What is held, and how to approve it: [definitions.md](definitions.md).
`)
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "attack-"), "-after.txtar")
		before, err := txtar.ParseFile(strings.Replace(file, "-after", "-before", 1))
		if err != nil {
			t.Fatal(err)
		}
		after, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page.WriteString("\n## " + strings.ToUpper(name[:1]) + name[1:] + "\n\n" + strings.TrimSpace(string(after.Comment)) + "\n")
		page.WriteString("\nBefore:\n\n```\n" + shownLines(section(before, "want.client")) + "```\n")
		page.WriteString("\nAfter:\n\n```\n" + shownLines(section(after, "want.client")) + "```\n")
		page.WriteString("\nOn the record:\n\n```\n" + holds(section(after, "want.audit")) + "```\n")
		if section(before, "want.client") == section(after, "want.client") {
			t.Errorf("%s: nothing changed", name)
		}
	}
	const at = "../../docs/attacks.md"
	if *update {
		if err := os.WriteFile(at, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(page.String(), string(got)); d != "" {
		t.Errorf("docs/attacks.md (-archives +page), run with -update:\n%s", d)
	}
}

func shownLines(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		b.WriteString(config.Visible(strings.TrimSuffix(l, "\n")) + "\n")
	}
	return b.String()
}

// holds are the lines of a record about definitions.
func holds(audit string) string {
	var b strings.Builder
	for l := range strings.Lines(audit) {
		if strings.HasPrefix(l, "event definitions ") {
			b.WriteString(config.Visible(strings.TrimSuffix(l, "\n")) + "\n")
		}
	}
	return b.String()
}
