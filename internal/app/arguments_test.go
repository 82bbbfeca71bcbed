package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
)

// TestArgumentsPage reads the config of docs/arguments.md and plays each row of
// its table.
func TestArgumentsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "arguments.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no config")
	}
	cfg, err := app.Build(func(string) string { return "" }).Parse(filepath.Join(t.TempDir(), "munjigi.yaml"), append([]byte("data: /var/lib/munjigi\n"), block[1]...))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+)/([a-z_]+)` \\| `(.*)` \\| (?:`([a-z-]+)`|passes)").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 20 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		got, said, err := app.JudgeArguments(t.Context(), cfg, r[1], r[2], []byte(`{"arguments":`+strings.ReplaceAll(r[3], `\|`, "|")+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if got != r[4] {
			t.Errorf("%s/%s %s: %q (%s)", r[1], r[2], r[3], got, said)
		}
	}
}
