package importer_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/importer"
)

var update = flag.Bool("update", false, "write the wanted parts of the goldens anew")

// root is the root of the file system that the test runs on.
func root() string {
	dir, err := filepath.Abs(string(filepath.Separator))
	if err != nil {
		return string(filepath.Separator)
	}
	return dir
}

func at(path string) string { return filepath.Join(root(), filepath.FromSlash(path)) }

// same makes the paths of this system those of the goldens.
func same(text string) string {
	if root() == "/" {
		return text
	}
	quoted := strings.ReplaceAll(root(), `\`, `\\`)
	return strings.NewReplacer(quoted, "/", root(), "/", `\\`, "/").Replace(text)
}

// build reads the results with a folder for data that nobody is given.
func build() config.Build {
	return config.Build{Getenv: func(key string) string {
		if key == "HOME" || key == "LocalAppData" {
			return at("home-of-nobody")
		}
		return ""
	}}
}

// TestGoldens imports the first file of each archive. Its comment names what
// must not come out: lines that begin with "secret:". The sections that are
// wanted are munjigi.yaml and shown.
func TestGoldens(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d cases: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file)) + "/" + strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil || len(a.Files) == 0 {
		t.Fatalf("%s: %v", file, err)
	}
	in := strings.NewReplacer("<RLO>", "\u202e", "<ZWSP>", "\u200b", "<NBSP>", "\u00a0", "<BOM>", "\ufeff", "<CRLF>", "\r\n").Replace(string(a.Files[0].Data))
	var yaml, shown string
	plan, err := importer.Read(importer.Input{Path: at(a.Files[0].Name), Content: []byte(in), Home: at("home/ada")})
	if err != nil {
		shown = "refused: " + err.Error() + "\n"
	} else {
		content, left, err := plan.Settle(at("home/ada/gateway/munjigi.yaml"), build())
		if err != nil || len(left) > 0 {
			t.Fatalf("the result does not load: %v %v", err, left)
		}
		loaded, err := build().Parse(at("home/ada/gateway/munjigi.yaml"), content)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range loaded.Servers {
			if s.Enabled || s.InsecureUnsandboxed {
				t.Errorf("%s is enabled and nobody confirmed it", s.Name)
			}
		}
		for _, w := range loaded.Warnings {
			if strings.Contains(w.Message, "in the clear") {
				t.Errorf("the result holds a secret: %s", w)
			}
		}
		yaml, shown = same(string(content)), same(show(plan))
	}
	for _, line := range strings.Split(string(a.Comment), "\n") {
		if s, ok := strings.CutPrefix(line, "secret: "); ok {
			if !strings.Contains(in, s) {
				t.Errorf("the secret %s is not in the input", s)
			}
			if strings.Contains(yaml+shown, s) {
				t.Errorf("the secret %s came out", s)
			}
		}
	}
	if strings.ContainsFunc(strings.ReplaceAll(yaml+shown, "\n", ""), config.Hidden) {
		t.Error("hidden characters came out")
	}
	want := map[string]string{}
	for _, f := range a.Files[1:] {
		want[f.Name] = string(f.Data)
	}
	if *update {
		a.Files = append(a.Files[:1], txtar.File{Name: "munjigi.yaml", Data: []byte(yaml)}, txtar.File{Name: "shown", Data: []byte(shown)})
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want, map[string]string{"munjigi.yaml": yaml, "shown": shown}); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func show(p *importer.Plan) string {
	var b strings.Builder
	for _, s := range p.Servers {
		if s.Broken != "" {
			fmt.Fprintf(&b, "%s: not imported\n", s.Name)
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Name, s.Line())
		for _, l := range append(s.EnvLines(), s.HeaderLines()...) {
			fmt.Fprintf(&b, "  %s\n", l)
		}
		for _, d := range s.Dangers {
			fmt.Fprintf(&b, "  ! %s\n", d.Code)
		}
	}
	return b.String()
}
