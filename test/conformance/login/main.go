// Command login runs the scenarios of the official MCP conformance suite for
// authorization servers against the gateway's own: a gateway in this process,
// and the person who lets the suite in, at the pages and by the code of the
// terminal.
//
// It is stricter than the suite: a scenario that was skipped, a warning, and one
// in which nothing was looked at are failures. Both revisions run, each with a
// client ID, so that nothing has a reason to be skipped.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/test/real/kit"
)

// scenarios are what the suite must have run.
func scenarios() []string {
	return []string{"authorization-server-metadata-endpoint", "authorization-code-grant"}
}

const limit = 3 * time.Minute

func main() {
	counts := flag.String("counts", "", "append how many scenarios passed and failed to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passed, failed, err := all(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "login:", err)
		failed++
	}
	fmt.Printf("authorization: %d passed, %d failed\n", passed, failed)
	if *counts != "" {
		if err := count(*counts, passed, failed); err != nil {
			fmt.Fprintln(os.Stderr, "login:", err)
			failed++
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func count(file string, passed, failed int) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the name is the caller's
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "authorization %d %d\n", passed, failed)
	return errors.Join(err, f.Close())
}

func all(ctx context.Context) (passed, failed int, err error) {
	tools, err := kit.Install(ctx, kit.Want{NPM: true, Log: os.Stderr})
	if err != nil {
		return 0, 0, err
	}
	for _, revision := range []string{kit.LegacyVersion, kit.ModernVersion} {
		found, err := once(ctx, tools, revision)
		if err != nil {
			return passed, failed, fmt.Errorf("%s: %w", revision, err)
		}
		for _, name := range scenarios() {
			if problems := judge(found[name]); len(problems) > 0 {
				failed++
				fmt.Printf("FAIL %s %s\n  %s\n", revision, name, strings.Join(problems, "\n  "))
			} else {
				passed++
				fmt.Printf("ok   %s %s\n", revision, name)
			}
		}
	}
	return passed, failed, nil
}

type check struct {
	ID, Status string
	Error      string `json:"errorMessage"`
}

func judge(checks []check) (problems []string) {
	if len(checks) == 0 {
		return []string{"nothing was looked at"}
	}
	for _, c := range checks {
		if c.Status != "SUCCESS" && c.Status != "INFO" {
			problems = append(problems, c.Status+" "+c.ID+" "+c.Error)
		}
	}
	return problems
}

// once runs the suite at one revision.
func once(ctx context.Context, tools *kit.Tools, revision string) (found map[string][]check, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "login-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	addr, err := kit.FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "out")
	cmd := exec.CommandContext(ctx, tools.Node, tools.Package("@modelcontextprotocol/conformance", "dist", "index.js"), //nolint:gosec // the suite
		"authorization", "--url", g.base, "--client-id", "suite", "--resource", g.base+"/mcp/x", "-p", port, "--spec-version", revision, "-o", out)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var person sync.WaitGroup
	var let error
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, g.base+"/oauth/authorize?") {
			person.Go(func() { let = g.letIn(ctx, line) })
		}
	}
	person.Wait()
	if err := cmd.Wait(); err != nil || let != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || let != nil {
			return nil, errors.Join(err, let, errors.New(text.String()))
		}
	}
	return read(os.DirFS(out))
}

// read takes the suite's results from its folders: SCENARIO-TIME/checks.json.
func read(dir fs.FS) (map[string][]check, error) {
	found := map[string][]check{}
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "checks.json" {
			return err
		}
		b, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		var checks []check
		if err := json.Unmarshal(b, &checks); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, name := range scenarios() {
			if strings.Contains(path, name) {
				found[name] = append(found[name], checks...)
			}
		}
		return nil
	})
	return found, err
}

// gateway is a gateway in this process.
type gateway struct {
	*app.App
	base string
	term *terminal
	stop func() error
}

// terminal keeps what the gateway shows its operator.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

// code is the last code that was shown.
func (t *terminal) code() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(t.b.String(), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func open(ctx context.Context, dir string) (*gateway, error) {
	addr, err := kit.FreeAddr()
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(map[string]any{"listen": addr, "data": filepath.Join(dir, "data"),
		"servers": map[string]any{"x": map[string]any{"url": "http://127.0.0.1:1/mcp"}},
		"authorization_server": map[string]any{
			"clients":   []any{map[string]any{"id": "suite", "name": "The suite", "redirect_uris": []string{"http://127.0.0.1/callback"}}},
			"documents": map[string]any{"allow": []string{"documents.example"}},
		}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "munjigi.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Build{AuthorizationServer: true, Getenv: os.Getenv}.Load(file)
	if err != nil {
		return nil, err
	}
	g := &gateway{term: &terminal{}}
	if g.base, err = app.PagesURL(cfg); err != nil {
		return nil, err
	}
	if g.App, err = app.Open(ctx, cfg, app.Options{Version: "conformance", Getenv: os.Getenv, LookupEnv: os.LookupEnv, Terminal: g.term}); err != nil {
		return nil, err
	}
	l, err := g.Listen(ctx)
	if err != nil {
		return nil, errors.Join(err, g.Close(ctx))
	}
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- g.Serve(serving, l) }()
	g.stop = func() error { end(); return <-done }
	return g, nil
}

func (g *gateway) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(g.stop(), g.Close(ctx))
}

// readAll bounds what is read of a page.
func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(b), err
}

var errNoPage = errors.New("the page is not what was expected")

func status(res *http.Response) string { return res.Request.URL.Path + " " + res.Status }
