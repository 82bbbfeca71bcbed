package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/load"
)

// How long the gateway may take until it answers, and how often it is asked.
const (
	startWithin = 20 * time.Second
	askEvery    = 10 * time.Millisecond
)

// workshop is the gateway's binary and where runs may put their files.
type workshop struct {
	binary string // empty where there is no gateway to measure
	folder string
	extra  string   // further lines of config
	env    []string // of the gateway's process
	runs   int
}

// build makes the gateway's binary from this module's source, in the way that
// it is released: static.
func build(ctx context.Context, folder string) (string, error) {
	binary := filepath.Join(folder, "bin", "munjigi")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/munjigi/munjigi/cmd/munjigi")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the gateway: %w\n%s\nrun inside the repository, or name a binary with -munjigi", err, out)
	}
	return binary, nil
}

// server is one entry of the gateway's config.
type server struct{ name, url string }

// config writes the gateway's config; who is its part about callers.
func config(listen, data, durability, who, extra string, servers []server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %s\ndata: %q\n%saudit: { durability: %s }\nservers:\n", listen, data, who, durability)
	for _, s := range servers {
		fmt.Fprintf(&b, "  %s: { url: %q, era: auto, insecure_same_names: true }\n", s.name, s.url)
	}
	b.WriteString(extra)
	return b.String()
}

// gateway is a running gateway; its servers answer at base + "/mcp/" + name.
type gateway struct {
	*child
	base string
	// headers are what callers of the first server send besides.
	headers []string
	// took is from the start to the first right answer.
	took time.Duration
}

// environment is all that the gateway and its like see of ours.
func (w *workshop) environment() []string {
	env := []string{"XDG_STATE_HOME=" + filepath.Join(w.folder, "state"), "TMPDIR=" + w.folder}
	for _, name := range []string{"PATH", "HOME", "SYSTEMROOT", "LOCALAPPDATA", "USERPROFILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// open starts a gateway and waits until a call through its first server is
// answered.
func (w *workshop) open(ctx context.Context, durability string, who callers, servers []server) (*gateway, error) {
	w.runs++
	folder := filepath.Join(w.folder, fmt.Sprintf("gateway-%d", w.runs))
	data := filepath.Join(folder, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	about, err := who.config(folder, addr)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "munjigi.yaml")
	if err := os.WriteFile(file, []byte(config(addr, data, durability, about, w.extra, servers)), 0o600); err != nil {
		return nil, err
	}
	begun := time.Now()
	c, err := start(false, w.env, w.binary, "serve", "-c", file)
	if err != nil {
		return nil, err
	}
	g := &gateway{child: c, base: "http://" + addr}
	first := g.endpoint(servers[0].name)
	if g.headers, err = who.headers(first); err == nil {
		err = g.answers(ctx, first)
	}
	if err != nil {
		stopped := g.interrupt() // all of its output is there only after that
		return nil, errors.Join(fmt.Errorf("the gateway does not answer: %w%s", err, c.output.tail()), stopped)
	}
	g.took = time.Since(begun)
	return g, nil
}

func (g *gateway) endpoint(server string) string { return g.base + "/mcp/" + server }

// answers tries a call until it succeeds or the gateway has ended.
func (g *gateway) answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for {
		run, err := load.Prepare(ctx, load.Job{URLs: []string{url}, Headers: g.headers, Modern: true, Tool: "echo", Size: 100, Connections: 1, Calls: 1})
		if err == nil {
			return run.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-g.exited:
			return errors.New("it has ended")
		case <-again.C:
		}
	}
}

// freeAddress finds a port that nobody listens on just now.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
