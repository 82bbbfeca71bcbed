package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

var update = flag.Bool("update", false, "write the wanted parts of the goldens anew")

// home is an environment whose folder for data exists nowhere.
func home(key string) string {
	if key == "HOME" || key == "LocalAppData" {
		return filepath.Join(root(), "nobody", "here")
	}
	return ""
}

// root is the root of the file system that the test runs on.
func root() string {
	dir, err := filepath.Abs(string(filepath.Separator))
	if err != nil {
		return string(filepath.Separator)
	}
	return dir
}

// at is where the files of these tests are said to lie.
func at(name string) string { return filepath.Join(root(), "etc-of-nobody", name) }

// TestErrors judges every file of testdata/errors: the section munjigi.yaml
// in, each error as line:column key: message; next out.
func TestErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 2 || a.Files[0].Name != "munjigi.yaml" || a.Files[1].Name != "want" {
				t.Fatalf("%s: want the sections munjigi.yaml and want", file)
			}
			in := strings.NewReplacer("<TAB>", "\t", "<RLO>", "\u202e", "<LS>", "\u2028", "<BAD>", "\xff", "<NUL>", "\x00", "<CR>", "\r").
				Replace(string(a.Files[0].Data))
			_, err = config.Build{Getenv: home}.Parse(at("munjigi.yaml"), []byte(in))
			got := render(err)
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got == "" {
				t.Fatal("the file was accepted")
			}
			if d := cmp.Diff(string(a.Files[1].Data), got); d != "" {
				t.Errorf("errors (-want +got):\n%s", d)
			}
		})
	}
}

func render(err error) string {
	e, ok := err.(*config.Errors)
	if !ok {
		return ""
	}
	var b strings.Builder
	for _, p := range e.List {
		text := fmt.Sprintf("%d:%d %s: %s\n  %s\n", p.Line, p.Column, p.Key, p.Message, p.Next)
		b.WriteString(strings.ReplaceAll(text, root()+"etc-of-nobody", "/etc-of-nobody"))
	}
	return b.String()
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Build{Getenv: home}.Parse(at("munjigi.yaml"), []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

var plain = cmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmpopts.IgnoreFields(config.Config{}, "Digest"),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b secret.Ref) bool { return a == b }),
}
