//go:build real

// Package real holds the tests that need real parts: MCP servers and clients
// that others wrote, and Munjigi as a process. They run with `make real`, or
// `go test -tags real ./test/real`; what is missing is installed below .tools.
package real

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// install brings the parts once for all tests. MUNJIGI names a binary to test
// instead of a fresh build.
var install = sync.OnceValues(func() (*kit.Tools, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return kit.Install(ctx, kit.Want{NPM: true, Munjigi: true, Binary: os.Getenv("MUNJIGI"), Log: os.Stderr})
})

func parts(t *testing.T) *kit.Tools {
	t.Helper()
	tools, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// patience bounds one exchange with real parts.
const patience = 30 * time.Second

func hurry(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// gateway runs Munjigi in front of servers, open to anyone on loopback.
func gateway(t *testing.T, servers map[string]kit.Server) *kit.Gateway {
	t.Helper()
	dir := t.TempDir()
	conf, err := kit.NewConfig(dir, servers)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, dir, conf)
}

func serve(t *testing.T, dir string, conf kit.Config) *kit.Gateway {
	t.Helper()
	g, err := parts(t).StartGateway(t.Context(), dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("munjigi wrote:\n%s", g.Output())
		}
	})
	return g
}

func ending(t *testing.T, p *kit.Process, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// everything runs the Go SDK's server and returns its endpoint.
func everything(t *testing.T, stateless bool) string {
	t.Helper()
	p, url, err := parts(t).StartEverything(t.Context(), stateless)
	ending(t, p, err)
	return url + "/mcp"
}

// fixture runs our own server and returns its endpoint.
func fixture(t *testing.T, args ...string) string {
	t.Helper()
	p, url, err := parts(t).StartFixture(t.Context(), args...)
	ending(t, p, err)
	return url + "/mcp"
}

// overHTTP connects a peer to an endpoint.
func overHTTP(t *testing.T, url string, p *kit.Peer, header http.Header) *kit.Peer {
	t.Helper()
	return begun(t, kit.DialHTTP(url, p, header))
}

// overStdio starts a program and connects a peer to it.
func overStdio(t *testing.T, c kit.Command, p *kit.Peer) *kit.Peer {
	t.Helper()
	p, err := kit.DialStdio(c, p)
	if err != nil {
		t.Fatal(err)
	}
	return begun(t, p)
}

func begun(t *testing.T, p *kit.Peer) *kit.Peer {
	t.Helper()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Begin(hurry(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

// wrap is the command line that puts Munjigi around a server over stdio.
func wrap(t *testing.T, command ...string) kit.Command {
	t.Helper()
	return kit.Command{
		Name: "munjigi wrap",
		Path: parts(t).Munjigi,
		Args: append([]string{"wrap", "--insecure-unsandboxed", "--may-ask", "sampling,elicitation,roots", "--"}, command...),
		Env:  append(os.Environ(), "XDG_STATE_HOME="+t.TempDir()),
	}
}

// do sends one request that must get an answer of either kind.
func do(t *testing.T, p *kit.Peer, method string, params kit.Params) *kit.Reply {
	t.Helper()
	r, err := p.Do(hurry(t), method, params)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tool calls a tool, which must get an answer of either kind.
func tool(t *testing.T, p *kit.Peer, name, arguments string, more kit.Params) *kit.Reply {
	t.Helper()
	r, err := p.Call(hurry(t), name, arguments, more)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually tries until f says so, or patience ends.
func eventually(t *testing.T, what string, f func(ctx context.Context) bool) {
	t.Helper()
	ctx := hurry(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }
