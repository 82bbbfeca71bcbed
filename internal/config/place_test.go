package config_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/config"
)

// TestDataPlace puts the folder for data where a server or an agent works.
func TestDataPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// make prepares the folder and returns the file's text.
		make func(t *testing.T, dir string) string
		want string
	}{
		{"beside the file", func(t *testing.T, dir string) string { return server("x") + "data: state\n" }, ""},
		{"in the working tree", func(t *testing.T, dir string) string {
			mkdir(t, dir, ".git")
			return server("x") + "data: state\n"
		}, "lies in the working tree"},
		{"in the working tree above", func(t *testing.T, dir string) string {
			mkdir(t, filepath.Dir(dir), ".git")
			return server("x") + "data: ../state\n"
		}, "lies in the working tree"},
		{"in a working tree by a link", func(t *testing.T, dir string) string {
			mkdir(t, dir, ".git")
			mkdir(t, dir, "real")
			link(t, filepath.Join(dir, "real"), filepath.Join(filepath.Dir(dir), "link"))
			return server("x") + "data: ../link/state\n"
		}, "lies in the working tree"},
		{"out of the working tree by a link", func(t *testing.T, dir string) string {
			mkdir(t, dir, ".git")
			mkdir(t, filepath.Dir(dir), "elsewhere")
			link(t, filepath.Join(filepath.Dir(dir), "elsewhere"), filepath.Join(dir, "link"))
			return server("x") + "data: link/state\n"
		}, "lies in the working tree"},
		{"in a server's folder", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			return server("docs") + "data: docs/a/b\n"
		}, "servers.files.command[1]: gives the server"},
		{"is a server's folder, which does not exist yet", func(t *testing.T, dir string) string {
			return server(filepath.Join(dir, "later")) + "data: later\n"
		}, "gives the server"},
		{"in a server's folder by a link", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			link(t, filepath.Join(dir, "docs"), filepath.Join(dir, "alias"))
			return server("alias") + "data: docs/state\n"
		}, "gives the server"},
		{"in a folder after =", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			return server("--root=docs") + "data: docs/state\n"
		}, "gives the server"},
		{"in a mounted folder", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			return server("type=bind,src="+filepath.Join(dir, "docs")+",dst=/x") + "data: docs/state\n"
		}, "gives the server"},
		{"in a folder with ..", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			return server("docs/../docs/.") + "data: docs/state\n"
		}, "gives the server"},
		{"in the folder that the server starts in", func(t *testing.T, dir string) string {
			return server(".") + "data: state\n"
		}, "gives the server"},
		{"under the root that a server is given", func(t *testing.T, dir string) string {
			return server(root()) + "data: state\n"
		}, "gives the server"},
		{"in a folder of a server that is not enabled", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			return strings.Replace(server("docs"), "insecure_unsandboxed: true", "enabled: false", 1) + "data: docs/state\n"
		}, ""},
		{"beside a folder of the same beginning", func(t *testing.T, dir string) string {
			mkdir(t, dir, "docs")
			mkdir(t, dir, "docs-state")
			return server("docs") + "data: docs-state\n"
		}, ""},
		{"is the root", func(t *testing.T, dir string) string { return server("x") + "data: '" + root() + "'\n" }, "is the root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "config")
			mkdir(t, dir, "")
			path := filepath.Join(dir, "munjigi.yaml")
			write(t, path, c.make(t, dir), 0o600)
			got, err := config.Load(path)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && err == nil:
				t.Errorf("data at %s was accepted", got.Data)
			case c.want != "" && !strings.Contains(err.Error(), c.want):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func server(arg string) string {
	return "servers: { files: { command: [serve, '" + arg + "'], insecure_unsandboxed: true } }\n"
}

func mkdir(t *testing.T, parts ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(parts...), 0o700); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Skipf("this system makes no links for this user: %v", err)
	}
}

func TestDefaultData(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the default on Windows follows LocalAppData; TestDefault sees it")
	}
	for _, c := range []struct{ xdg, home, want string }{
		{"/x/state", "/home/me", "/x/state/munjigi"},
		{"", "/home/me", "/home/me/.local/state/munjigi"},
		{"relative/state", "/home/me", "/home/me/.local/state/munjigi"},
	} {
		got, err := config.Default(func(key string) string {
			return map[string]string{"XDG_STATE_HOME": c.xdg, "HOME": c.home}[key]
		})
		if err != nil || got.Data != c.want {
			t.Errorf("%+v: %v %v", c, got, err)
		}
	}
}

// TestWritableByOthers is about files that somebody else may have written.
func TestWritableByOthers(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the mode of a file does not tell on Windows who can write it")
	}
	dir := t.TempDir()
	text := "servers: { a: { url: https://a.example } }\n"
	for _, c := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o600, true}, {0o644, true}, {0o444, true}, {0o620, false}, {0o602, false}, {0o664, false}, {0o666, false}} {
		path := filepath.Join(dir, c.mode.String()+".yaml")
		write(t, path, text, c.mode)
		_, err := config.Build{Getenv: home}.Load(path)
		if (err == nil) != c.ok {
			t.Errorf("mode %v: %v", c.mode, err)
		}
		if !c.ok && !strings.Contains(err.Error(), "can be written by others") {
			t.Errorf("mode %v: %v", c.mode, err)
		}
	}
	// A link to a file is judged by the file.
	name := filepath.Join(dir, "link.yaml")
	link(t, filepath.Join(dir, os.FileMode(0o666).String()+".yaml"), name)
	if _, err := (config.Build{Getenv: home}).Load(name); err == nil {
		t.Error("a link hid that others can write the file")
	}
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the mode of a file does not tell on Windows who can write it")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.yaml")
	write(t, path, "tls: { cert: cert.pem, key: key.pem }\nservers: { a: { url: https://a.example } }\n", 0o600)
	write(t, filepath.Join(dir, "cert.pem"), "x", 0o644)
	write(t, filepath.Join(dir, "key.pem"), "x", 0o644)
	build := config.Build{Getenv: home}
	c, err := build.Load(path)
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0].Key != "tls.key" {
		t.Fatalf("%v %+v", err, c)
	}
	if c.TLS.Cert != filepath.Join(dir, "cert.pem") || !c.TLS.Enabled() {
		t.Errorf("%+v", c.TLS)
	}
	write(t, filepath.Join(dir, "key.pem"), "x", 0o660)
	if _, err := build.Load(path); err == nil || !strings.Contains(err.Error(), "tls.key: can be written by others") {
		t.Errorf("%v", err)
	}
}

// TestListenBeyondLoopback needs TLS and identity, both.
func TestListenBeyondLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "c.pem"), "x", 0o600)
	base := "listen: 0.0.0.0:443\nservers: { a: { url: https://a.example } }\n"
	tls := "tls: { cert: c.pem, key: c.pem }\n"
	issuers := "public_url: https://mcp.example.com\nidentity: { issuers: [{ issuer: https://login.example.com }] }\n"
	for _, c := range []struct {
		text, want string
	}{
		{base, "without tls and identity"},
		{base + tls, "without identity"},
		{base + issuers, "without tls"},
		{base + tls + "identity: { insecure_anonymous: true }\n", "without identity"},
		{base + tls + issuers, ""},
	} {
		_, err := config.Build{Identity: true, Getenv: home}.Parse(filepath.Join(dir, "m.yaml"), []byte(c.text))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.text, err, c.want)
		}
	}
}

// TestSomebodyElsesFile is about a file whose owner is another user.
func TestSomebodyElsesFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "m.yaml")
	write(t, path, "servers: { a: { url: https://a.example } }\n", 0o600)
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := (config.Build{Getenv: home}).Load(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("%v", err)
	}
}
