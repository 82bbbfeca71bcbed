package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/config"
)

// world is what a command sees in a test, and what it printed.
type world struct {
	*env
	out, err bytes.Buffer
	vars     map[string]string
}

// newWorld makes an environment with a home of its own. With a terminal, both
// ends are a person's.
func newWorld(t *testing.T, stdin string, terminal bool) *world {
	t.Helper()
	home := t.TempDir()
	w := &world{vars: map[string]string{"HOME": home, "LocalAppData": home}}
	w.env = &env{
		stdin:      strings.NewReader(stdin),
		stdout:     &w.out,
		stderr:     &w.err,
		getenv:     func(name string) string { return w.vars[name] },
		lookupEnv:  func(name string) (string, bool) { v, ok := w.vars[name]; return v, ok },
		isTerminal: func(any) bool { return terminal },
	}
	return w
}

// run runs a command line and returns its exit status.
func (w *world) run(t *testing.T, args ...string) int {
	t.Helper()
	code := run(context.Background(), w.env, args)
	for _, text := range []string{w.out.String(), w.err.String()} {
		if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), config.Hidden) {
			t.Errorf("%v printed hidden characters: %q", args, text)
		}
	}
	return code
}

func save(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"", exitWrongUse, "", "munjigi check"},
		{"help", exitDone, "Exit status", ""},
		{"-h", exitDone, "munjigi import", ""},
		{"help check", exitDone, "usage: munjigi check", ""},
		{"check -h", exitDone, "usage: munjigi check", ""},
		{"import --help", exitDone, "-yes-enable", ""},
		{"version", exitDone, "munjigi " + version, ""},
		{"--version", exitDone, "munjigi " + version, ""},
		{"version x", exitWrongUse, "", "takes no arguments"},
		{"\x1b[2Jserve", exitWrongUse, "", `there is no command \u{1b}[2Jserve`},
		{"check --unknown", exitWrongUse, "", "flag provided but not defined"},
		{"check extra", exitWrongUse, "", "-c"},
		{"import", exitWrongUse, "", "name one file"},
		{"import a b", exitWrongUse, "", "name one file"},
		{"import x --format word", exitWrongUse, "", "claude-desktop"},
	} {
		w := newWorld(t, "", false)
		if code := w.run(t, strings.Fields(c.args)...); code != c.code {
			t.Errorf("%q: exit %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(w.out.String(), c.out) || c.out == "" && w.out.Len() > 0 {
			t.Errorf("%q: printed %q", c.args, w.out.String())
		}
		if !strings.Contains(w.err.String(), c.err) || c.err == "" && w.err.Len() > 0 {
			t.Errorf("%q: complained %q", c.args, w.err.String())
		}
	}
}

// TestCommands is about the table: every command has a name of its own, says
// what it is for, and prints its use when asked.
func TestCommands(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range commands() {
		if seen[c.name] || c.summary == "" || c.run == nil {
			t.Errorf("%q is not in order", c.name)
		}
		seen[c.name] = true
		if c.name == "version" {
			continue
		}
		args := []string{c.name, "-h"}
		if c.name == "audit" {
			args = []string{"audit", "tail", "-h"}
		}
		w := newWorld(t, "", false)
		if code := w.run(t, args...); code != exitDone || !strings.HasPrefix(w.out.String(), "usage: munjigi "+c.name) {
			t.Errorf("%s -h: exit %d, printed %q, complained %q", c.name, code, w.out.String(), w.err.String())
		}
	}
}

func TestFlagsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, rest, o string }{
		{"file -o out", "file", "out"},
		{"-o out file", "file", "out"},
		{"--o=out file", "file", "out"},
		{"-b file -o out", "file", "out"},
		{"-o out -- -b", "-b", "out"},
		{"a - b", "a - b", ""},
		{"-- -o out", "-o out", ""},
	} {
		w := newWorld(t, "", false)
		fs := flags(w.env, "anything", "use", "about")
		o := fs.String("o", "", "")
		fs.Bool("b", false, "")
		if code, done := parse(w.env, fs, strings.Fields(c.args)); done {
			t.Fatalf("%q: done with %d: %s", c.args, code, w.err.String())
		}
		if got := strings.Join(fs.Args(), " "); got != c.rest || *o != c.o {
			t.Errorf("%q: -o %q, arguments %q", c.args, *o, got)
		}
	}
}

// TestWrapKeepsItsCommand is about a wrapped command whose flags have the
// names of our own.
func TestWrapKeepsItsCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", false)
	fs := flags(w.env, "wrap", "use", "about")
	name := fs.String("name", "wrapped", "")
	if _, done := parse(w.env, fs, []string{"npx", "-name", "evil"}); done || *name != "wrapped" || len(fs.Args()) != 3 {
		t.Errorf("-name is %q, the command %q", *name, fs.Args())
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	tab := newTable("name", "what")
	tab.row("a", "first")
	tab.row("문지기", "line\nbreak \x1b[0m")
	var b bytes.Buffer
	tab.print(&b)
	want := "NAME  WHAT\na     first\n문지기   line\\u{a}break \\u{1b}[0m\n"
	if b.String() != want {
		t.Errorf("printed\n%s", b.String())
	}
}

// TestJSONIsSafeAndWhole prints what a terminal would obey, and reads it back.
func TestJSONIsSafeAndWhole(t *testing.T) {
	t.Parallel()
	text := "a\x1b[2K\u202eb\U000e0041c\u2028<&>\"\\ 문"
	w := newWorld(t, "", false)
	if code := printJSON(w.env, map[string]string{"t": text}); code != exitDone {
		t.Fatal(code)
	}
	if strings.ContainsFunc(strings.ReplaceAll(w.out.String(), "\n", ""), config.Hidden) {
		t.Errorf("hidden characters in %q", w.out.String())
	}
	var got map[string]string
	if err := json.Unmarshal(w.out.Bytes(), &got); err != nil || got["t"] != text {
		t.Errorf("%v %q", err, got["t"])
	}
}
