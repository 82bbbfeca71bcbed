package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/config"
)

// FuzzParse: no content panics; what is accepted keeps the rules; each place
// that is reported lies within the file, and no report has a line of its own.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	files, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Add([]byte("servers: {a: {url: \"https://a\"}}\n\u2028\u0085x: &a\n\t- *a"))
	f.Add([]byte("? [a]\n: *b\n? {x: y}\n: !!map {<<: {}}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := config.Build{Getenv: home}.Parse(at("m.yaml"), content)
		lines := strings.Split(string(content), "\n")
		look := func(p config.Problem) {
			if p.Line < 1 || p.Line > len(lines) {
				t.Fatalf("line %d of %d: %s", p.Line, len(lines), p)
			}
			if end := utf8.RuneCountInString(lines[p.Line-1]) + 1; p.Column < 1 || p.Column > end {
				t.Fatalf("column %d of %d: %s", p.Column, end, p)
			}
			if p.Message == "" || p.Next == "" {
				t.Fatalf("says nothing: %+v", p)
			}
			if strings.ContainsFunc(p.String(), config.Hidden) {
				t.Fatalf("hidden characters in %q", p.String())
			}
		}
		if err != nil {
			var list *config.Errors
			if !errors.As(err, &list) || len(list.List) == 0 || c != nil {
				t.Fatalf("%T %v", err, err)
			}
			for _, p := range list.List {
				look(p)
			}
			return
		}
		for _, p := range c.Warnings {
			look(p)
		}
		if c.Demo || len(c.Policy) > 0 || len(c.Guards) > 0 || len(c.Identity.Issuers) > 0 {
			t.Fatal("what this build cannot do was accepted")
		}
		for _, s := range c.Servers {
			switch {
			case !config.ServerName(s.Name), strings.Contains(s.Name, "__"):
				t.Fatalf("name %q", s.Name)
			case s.Stdio() == (s.URL.Text != ""):
				t.Fatalf("%s is reached in no way, or in two", s.Name)
			case s.Stdio() && s.Enabled && !s.InsecureUnsandboxed:
				t.Fatalf("%s runs without a sandbox and nobody said so", s.Name)
			case s.Timeout <= 0 || s.Deadline < s.Timeout || s.MaxProcesses < 1:
				t.Fatalf("%s has no bounds", s.Name)
			}
		}
		c.Departures()
		c.MergedServers()
	})
}

// FuzzVisible: what is shown has nothing hidden, and two texts never look
// alike.
func FuzzVisible(f *testing.F) {
	f.Add("plain", `\u{202e}`)
	f.Add("\u202e", `\u{202e}`)
	f.Add("\\\u202e", `\\u{202e}`)
	f.Add("\xff", `\xff`)
	f.Add("a\x1b[31m\r\n", "a\u3164\u115f\ufe0f")
	f.Fuzz(func(t *testing.T, a, b string) {
		va, vb := config.Visible(a), config.Visible(b)
		if strings.ContainsFunc(va, config.Hidden) || !utf8.ValidString(va) {
			t.Fatalf("%q shows as %q", a, va)
		}
		if (a == b) != (va == vb) {
			t.Fatalf("%q and %q show as %q and %q", a, b, va, vb)
		}
	})
}

// TestVisibleKeepsWhatIsRead is about text in the languages of people.
func TestVisibleKeepsWhatIsRead(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"문지기 gatekeeper":       "문지기 gatekeeper",
		`C:\Users\me`:          `C:\Users\me`,
		`C:\work\xml`:          `C:\work\\xml`,
		"naïve – “quotes”":     "naïve – “quotes”",
		"tab\there":            `tab\u{9}here`,
		"\u202egnp.exe":        `\u{202e}gnp.exe`,
		"zero\u200bwidth":      `zero\u{200b}width`,
		"no\u00a0break":        `no\u{a0}break`,
		"\x1b]0;title\x07":     `\u{1b}]0;title\u{7}`,
		"tag\U000e0041":        `tag\u{e0041}`,
		"bad\xc3":              `bad\xc3`,
		"filler\u3164":         `filler\u{3164}`,
		"line\u2028separator":  `line\u{2028}separator`,
		"private\ue000area":    `private\u{e000}area`,
		"replacement\ufffdone": `replacement\u{fffd}one`,
	} {
		if got := config.Visible(in); got != want {
			t.Errorf("%q shows as %q, want %q", in, got, want)
		}
	}
}

// TestCorpusExists fails when the goldens of the fuzz test are gone.
func TestCorpusExists(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("testdata/errors")
	if err != nil || len(entries) < 20 {
		t.Fatalf("%d cases: %v", len(entries), err)
	}
}
