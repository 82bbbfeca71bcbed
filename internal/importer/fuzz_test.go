package importer_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/importer"
)

// FuzzRead: no file panics; what comes out loads, holds exactly what is shown,
// starts nothing, and has no hidden characters and no token in the clear.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for i := range importer.Formats() {
			f.Add(a.Files[0].Data, byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, format byte) {
		formats := append(importer.Formats(), "")
		p, err := importer.Read(importer.Input{Path: at("home/ada/project/.vscode/mcp.json"), Content: content, Home: at("home/ada"), Format: formats[int(format)%len(formats)]})
		if err != nil {
			return
		}
		c, text := settle(t, p)
		written(t, p, c)
		if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), config.Hidden) {
			t.Fatalf("hidden characters in\n%s", text)
		}
		for _, line := range strings.Split(text, "\n") {
			if config.SecretText(line) {
				t.Fatalf("a secret in the clear: %s", line)
			}
		}
		for _, s := range p.Servers {
			for _, shown := range append(append(s.EnvLines(), s.HeaderLines()...), s.Line()) {
				if strings.ContainsFunc(shown, config.Hidden) {
					t.Fatalf("hidden characters in %q", shown)
				}
			}
		}
	})
}

// FuzzStrip: JSON comes back as it is; places do not move; what is taken out
// is taken out of comments and commas only.
func FuzzStrip(f *testing.F) {
	for _, s := range []string{`{"a": "// not one", "b": [1,2,],}`, "/* a */ {} // b\r\n", `{"a": "\"/*", }`, `[,]`, `{,}`, `[1,,]`, `/*`, `"`, `"\`, `{"a":,}`, "//\n/**/[]"} {
		f.Add([]byte(s))
	}
	limits := strictjson.Default()
	f.Fuzz(func(t *testing.T, text []byte) {
		plain, changed := importer.Strip(text)
		if len(plain) != len(text) || bytes.Count(plain, []byte("\n")) != bytes.Count(text, []byte("\n")) {
			t.Fatalf("places moved: %q", plain)
		}
		if changed && bytes.Equal(plain, text) {
			t.Fatalf("changed nothing and says that it did: %q", text)
		}
		if strictjson.Validate(text, limits) == nil && !bytes.Equal(plain, text) {
			t.Fatalf("%q is JSON and became %q", text, plain)
		}
		for i := range text {
			if plain[i] != text[i] && plain[i] != ' ' {
				t.Fatalf("%q became %q", text, plain)
			}
		}
		if again, _ := importer.Strip(plain); strictjson.Validate(plain, limits) == nil && !bytes.Equal(again, plain) {
			t.Fatalf("%q is not settled", plain)
		}
	})
}

// FuzzLine: two different commands never look alike.
func FuzzLine(f *testing.F) {
	f.Add("a\x01b c", "a\x01b\x01c")
	f.Add("a\x01\"b\"", "a\x01b")
	f.Add("a\x01", "a\x01\x01")
	f.Add("a\x01b\" \"c", "a\x01b\x01c")
	f.Add("\u202ea", `\u{202e}a`)
	f.Add("a\x01b\\\" c", "a\x01b\\\x01c")
	line := func(text string) string {
		s := importer.Server{}
		for _, w := range strings.Split(text, "\x01") {
			s.Command = append(s.Command, config.Value{Text: w})
		}
		return s.Line()
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if la, lb := line(a), line(b); (a == b) != (la == lb) {
			t.Fatalf("%q and %q show as %s and %s", a, b, la, lb)
		}
	})
}
