// Package kit finds, installs, starts and ends the real parts that tests run:
// the conformance suite, MCP servers and clients from npm and Go, the fixture,
// and Munjigi's own binary.
//
// It guarantees exact versions (a package lock with hashes, a Go module
// version), loopback only, and that what it started ends with it, also when a
// test fails. It does not hide a part that is missing: every function returns
// an error that says what to install.
package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// everythingModule is the official Go SDK's conformance server.
const (
	everythingModule  = "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"
	everythingVersion = "v1.8.0"
)

// Tools are the installed parts, by absolute path.
type Tools struct {
	Root       string // the module's folder
	Node       string // Node.js 22 or later
	Modules    string // node_modules
	Everything string // the Go SDK's everything-server
	Fixture    string // our own test server
	Munjigi    string // the binary under test; empty when it was not asked for
}

// Want says what Install shall bring. NPM and Go parts that are there already
// are kept; our own binaries are built anew.
type Want struct {
	NPM     bool
	Munjigi bool
	// Binary is used as Munjigi instead of a build, when not empty.
	Binary string
	// Log receives one line per step; nil is silence.
	Log io.Writer
}

// Install brings everything below .tools in the module's folder.
func Install(ctx context.Context, w Want) (*Tools, error) {
	if w.Log == nil {
		w.Log = io.Discard
	}
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(root, ".tools")
	if err := os.MkdirAll(home, 0o750); err != nil {
		return nil, err
	}
	t := &Tools{
		Root:       root,
		Modules:    filepath.Join(home, "npm", "node_modules"),
		Everything: filepath.Join(home, "everything-server-"+everythingVersion, "everything-server"),
		Fixture:    filepath.Join(home, "bin", "fixture"),
	}
	if w.NPM {
		if err := installNPM(ctx, root, filepath.Join(home, "npm"), w.Log); err != nil {
			return nil, err
		}
		if t.Node, err = findNode(ctx, t.Modules); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(t.Everything); err != nil {
		say(w.Log, "installing everything-server "+everythingVersion)
		if err := run(ctx, root, []string{"GOBIN=" + filepath.Dir(t.Everything)}, "go", "install", everythingModule+"@"+everythingVersion); err != nil {
			return nil, err
		}
	}
	say(w.Log, "building the fixture")
	if err := run(ctx, root, nil, "go", "build", "-o", t.Fixture, "./test/fixture"); err != nil {
		return nil, err
	}
	switch {
	case w.Binary != "":
		if t.Munjigi, err = filepath.Abs(w.Binary); err != nil {
			return nil, err
		}
	case w.Munjigi:
		say(w.Log, "building munjigi")
		t.Munjigi = filepath.Join(home, "bin", "munjigi")
		if err := run(ctx, root, []string{"CGO_ENABLED=0"}, "go", "build", "-o", t.Munjigi, "./cmd/munjigi"); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Root is the folder of the module that holds this package.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("not inside the module: run from the repository")
	}
	return filepath.Dir(mod), nil
}

// Package returns a file of an installed npm package.
func (t *Tools) Package(name string, elem ...string) string {
	return filepath.Join(append([]string{t.Modules, filepath.FromSlash(name)}, elem...)...)
}

// installNPM installs exactly what the lock names, without running any
// package's scripts, unless the same lock was installed before.
func installNPM(ctx context.Context, root, dir string, log io.Writer) error {
	from := filepath.Join(root, "test", "conformance")
	sum := sha256.New()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		sum.Write(b)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	want := hex.EncodeToString(sum.Sum(nil))
	stamp := filepath.Join(dir, "installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return errors.New("npm is missing: install Node.js with npm (Debian: apt-get install npm)")
	}
	say(log, "installing npm packages")
	if err := run(ctx, dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(want), 0o600)
}

const nodeNeeded = 22

// findNode prefers the Node.js that came from npm, then the machine's own.
func findNode(ctx context.Context, modules string) (string, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	packed := filepath.Join(modules, "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	for _, p := range []string{packed, "node"} {
		out, err := exec.CommandContext(ctx, p, "--version").Output()
		if err != nil {
			continue
		}
		major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
		if n, err := strconv.Atoi(major); err == nil && n >= nodeNeeded {
			return p, nil
		}
	}
	return "", fmt.Errorf("no Node.js %d or later: npm has none for %s/%s here, and PATH has none", nodeNeeded, runtime.GOOS, runtime.GOARCH)
}

func say(w io.Writer, line string) { _, _ = fmt.Fprintln(w, line) }

// run runs a command to its end; its output becomes part of the error.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}
