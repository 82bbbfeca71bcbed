package importer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/importer"
)

func read(t *testing.T, path, text string) *importer.Plan {
	t.Helper()
	p, err := importer.Read(importer.Input{Path: at(path), Content: []byte(text), Home: at("home/ada")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func settle(t *testing.T, p *importer.Plan) (*config.Config, string) {
	t.Helper()
	path := at("home/ada/gateway/munjigi.yaml")
	content, left, err := p.Settle(path, build())
	if err != nil || len(left) > 0 {
		t.Fatalf("%v %v", err, left)
	}
	c, err := build().Parse(path, content)
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return c, string(content)
}

// written fails unless the config has exactly what the plan shows.
func written(t *testing.T, p *importer.Plan, c *config.Config) {
	t.Helper()
	want := 0
	for _, s := range p.Servers {
		if s.Broken != "" {
			continue
		}
		want++
		got, ok := c.Server(s.Name)
		if !ok {
			t.Fatalf("%s was not written", s.Name)
		}
		switch {
		case !slices.Equal(s.Command, got.Command):
			t.Fatalf("%s: the command %v is shown and %v is written", s.Name, s.Command, got.Command)
		case !slices.Equal(s.Env, got.Env):
			t.Fatalf("%s: the variables %v are shown and %v are written", s.Name, s.Env, got.Env)
		case s.URL != got.URL:
			t.Fatalf("%s: the url %v is shown and %v is written", s.Name, s.URL, got.URL)
		case !slices.Equal(s.Headers, got.Credential.Headers):
			t.Fatalf("%s: the headers %v are shown and %v are written", s.Name, s.Headers, got.Credential.Headers)
		}
		if got.Enabled != s.Enable || got.InsecureUnsandboxed != (s.Enable && s.Stdio()) {
			t.Fatalf("%s: enabled %v, confirmed %v", s.Name, got.Enabled, s.Enable)
		}
	}
	if want != len(c.Servers) {
		t.Fatalf("%d servers written, %d shown", len(c.Servers), want)
	}
}

func TestConfirmedServers(t *testing.T) {
	t.Parallel()
	p := read(t, "home/ada/project/.mcp.json", `{"mcpServers": {
		"a": {"command": "/opt/a", "args": ["--x"]},
		"b": {"type": "http", "url": "https://b.example/mcp"},
		"c": {"command": "/opt/c"}
	}}`)
	p.Servers[0].Enable, p.Servers[1].Enable = true, true
	c, text := settle(t, p)
	written(t, p, c)
	if strings.Count(text, "\n    insecure_unsandboxed: true") != 1 || strings.Count(text, "# insecure_unsandboxed: true") != 1 {
		t.Error(text)
	}
}

// TestConfirmedAndRefused is a command that the operator confirmed and that
// the config refuses, because it is given the folder for data.
func TestConfirmedAndRefused(t *testing.T) {
	t.Parallel()
	p := read(t, "home/ada/.mcp.json", `{"mcpServers": {"disk": {"command": "/opt/server", "args": [`+fmt.Sprintf("%q", root())+`]}}}`)
	p.Servers[0].Enable = true
	c, text := settle(t, p)
	if c.Servers[0].Enabled || p.Servers[0].Enable || !strings.Contains(text, "off because servers.disk.command[1] gives the server") {
		t.Error(text)
	}
}

// TestTenThousandServers is a file as large as a hostile one can be made.
func TestTenThousandServers(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"mcpServers": {`)
	for i := range 10_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		if i%100 == 7 {
			fmt.Fprintf(&b, `"Server %d!": {"type": "http", "url": "http://plain.example/%d"}`, i, i)
		} else {
			fmt.Fprintf(&b, `"Server %d": {"command": "npx", "args": ["-y", "pkg"], "env": {"TOKEN": "secret-%d"}}`, i, i)
		}
	}
	b.WriteString(`}}`)
	p := read(t, "home/ada/.mcp.json", b.String())
	c, text := settle(t, p)
	written(t, p, c)
	if len(p.Servers) != 10_000 || len(c.Servers) != 9_900 || strings.Count(text, "\n  # not imported:") != 100 || strings.Contains(text, "secret-1") {
		t.Errorf("%d read, %d written", len(p.Servers), len(c.Servers))
	}
	if len(p.Values) != 9_900 {
		t.Errorf("%d values to set", len(p.Values))
	}
}

// TestEqualNames is two thousand names that become the same one.
func TestEqualNames(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"mcpServers": {`)
	for i := range 2_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"a%sb": {"command": "/opt/a"}`, strings.Repeat("_", i+1))
	}
	b.WriteString(`}}`)
	p := read(t, "home/ada/.mcp.json", b.String())
	seen := map[string]bool{}
	for _, s := range p.Servers {
		if seen[s.Name] || !config.ServerName(s.Name) {
			t.Fatalf("the name %q is taken or none", s.Name)
		}
		seen[s.Name] = true
	}
}

// TestNewNamesAvoidTheEnvironment keeps a hostile file from naming a value so
// that the reference to it finds something of the operator's.
func TestNewNamesAvoidTheEnvironment(t *testing.T) {
	t.Parallel()
	text := `{"mcpServers": {"a": {"command": "/opt/a", "env": {"TOKEN": "hunter2", "AWS_SECRET_ACCESS_KEY": "x"}}}}`
	p, err := importer.Read(importer.Input{Path: at("home/ada/claude_desktop_config.json"), Content: []byte(text),
		Taken: func(name string) bool { return name == "MUNJIGI_A_TOKEN" }})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range p.Values {
		if v.Own {
			t.Errorf("%s is the operator's own", v.Variable)
		}
		got = append(got, v.Variable)
	}
	if d := cmp.Diff([]string{"MUNJIGI_A_TOKEN_2", "MUNJIGI_A_AWS_SECRET_ACCESS_KEY"}, got); d != "" {
		t.Error(d)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, text string
		want       importer.Format
	}{
		{"home/ada/Library/Application Support/Claude/claude_desktop_config.json", `{"mcpServers": {}}`, importer.ClaudeDesktop},
		{"home/ada/project/.mcp.json", `{"mcpServers": {}}`, importer.ClaudeCode},
		{"home/ada/.claude.json", `{"projects": {}}`, importer.ClaudeCode},
		{"home/ada/.cursor/mcp.json", `{"mcpServers": {}}`, importer.Cursor},
		{"home/ada/project/.vscode/mcp.json", `{"servers": {}}`, importer.VSCode},
		{"home/ada/.config/Code/User/mcp.json", `{"servers": {}}`, importer.VSCode},
		{"home/ada/.config/Code/User/settings.json", `{"mcp": {"servers": {}}}`, importer.VSCode},
		{"home/ada/x.json", `{"mcpServers": {"a": {"command": "x", "env": {"A": "${env:A}"}}}}`, importer.Cursor},
		{"home/ada/x.json", `{"mcpServers": {"a": {"type": "http", "url": "https://x.example"}}}`, importer.ClaudeCode},
		{"home/ada/x.json", `{"mcpServers": {"a": {"command": "x"}}}`, importer.ClaudeDesktop},
	} {
		if p := read(t, c.path, c.text); p.Format != c.want {
			t.Errorf("%s: %s, want %s", c.path, p.Format, c.want)
		}
	}
	p, err := importer.Read(importer.Input{Path: at("x.json"), Content: []byte(`{"mcpServers": {"a": {"command": "x", "args": ["${A}"]}}}`), Format: importer.ClaudeCode})
	if err != nil || !p.Servers[0].Command[1].IsSecret() {
		t.Errorf("the format that was named is not the one that was read: %v", err)
	}
}

func TestNotServers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "[]", "null", "{}", `{"mcpServers": []}`, `{"mcpServers": null}`, `{"servers": 1}`, `{"a": 1}`, "{", "\xff", `{"mcpServers": {"a": "` + "\x00" + `"}}`} {
		_, err := importer.Read(importer.Input{Path: at("x.json"), Content: []byte(text)})
		var se *importer.SyntaxError
		if !errors.As(err, &se) || se.Message == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "munjigi.yaml")
	mode := func(path string) os.FileMode {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if err := importer.WriteFile(path, []byte("one"), false); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && mode(path) != 0o600 {
		t.Errorf("mode %v", mode(path))
	}
	if err := importer.WriteFile(path, []byte("two"), false); !errors.Is(err, importer.ErrExists) {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "one" {
		t.Errorf("holds %q", b)
	}
	if err := importer.WriteFile(path, []byte("three"), true); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "three" {
		t.Errorf("holds %q", b)
	}
	target, name := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Skipf("this system makes no links for this user: %v", err)
	}
	if err := importer.WriteFile(name, []byte("x"), false); !errors.Is(err, importer.ErrExists) {
		t.Errorf("through a link: %v", err)
	}
	if err := importer.WriteFile(name, []byte("x"), true); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "kept" || mode(name)&os.ModeSymlink != 0 {
		t.Error("the file behind a link was written")
	}
	if err := importer.WriteFile(dir, []byte("x"), true); err == nil {
		t.Error("a folder was written over")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".munjigi-import-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
