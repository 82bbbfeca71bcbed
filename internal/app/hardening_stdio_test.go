package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
)

// talk is a conversation on standard streams.
type talk struct {
	r     *rig
	in    io.WriteCloser
	lines chan string
	done  chan error
}

// talks starts one that serve speaks.
func (r *rig) talks(serve func(io.Reader, io.Writer) error) *talk {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	k := &talk{r: r, in: inW, lines: make(chan string), done: make(chan error, 1)}
	go func() {
		k.done <- serve(inR, outW)
		_ = outW.Close()
	}()
	go func() {
		defer close(k.lines)
		for b := bufio.NewReader(outR); ; {
			line, err := b.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case k.lines <- line:
			case <-r.ctx.Done():
				return
			}
		}
	}()
	r.t.Cleanup(func() { _ = inW.Close() })
	return k
}

func (r *rig) stdio(server string) *talk {
	return r.talks(func(i io.Reader, o io.Writer) error { return r.app.ServeStdio(r.ctx, server, i, o) })
}

func (k *talk) say(format string, args ...any) {
	k.r.t.Helper()
	if _, err := fmt.Fprintf(k.in, format+"\n", args...); err != nil {
		k.r.t.Fatal(err)
	}
}

// hears returns the next line that contains what.
func (k *talk) hears(what string) string {
	k.r.t.Helper()
	for {
		line := await(k.r, k.lines, what)
		if line == "" {
			k.r.t.Fatalf("the conversation ended before %q", what)
		}
		if strings.Contains(line, what) {
			return line
		}
	}
}

// legacy opens the conversation as a legacy client does.
func (k *talk) legacy() {
	k.r.t.Helper()
	k.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}}`)
	k.hears(`"id":0`)
	k.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// ends closes the input and waits for the conversation's end.
func (k *talk) ends() error {
	k.r.t.Helper()
	_ = k.in.Close()
	return await(k.r, k.done, "the conversation's end")
}

// What a request says must not decide whether others are read while it waits:
// this one waits for an answer that comes after it.
func TestHardStdioArgumentsDoNotBlock(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config(""))
	for _, request := range []string{
		`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask","arguments":{"text":"initialize"}}}`,
		`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask","arguments":{"initialize":1}}}`,
		`{"jsonrpc":"2.0","\u0069d":7,"m\u0065thod":"tools/call","params":{"name":"ask"}}`,
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			k := r.in(t).stdio("s")
			k.legacy()
			k.say("%s", request)
			var q struct{ ID json.RawMessage }
			if err := json.Unmarshal([]byte(k.hears("elicitation/create")), &q); err != nil {
				t.Fatal(err)
			}
			k.say(`{"jsonrpc":"2.0","id":8,"method":"ping"}`)
			k.hears(`"id":8`)
			k.say(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"a":"b"}}}`, q.ID)
			if line := k.hears(`"id":7`); !strings.Contains(line, "answered") {
				t.Error(line)
			}
			if err := k.ends(); err != nil {
				t.Error(err)
			}
		})
	}
}

// When the input ends, calls in flight are answered and streams end at once;
// a call that waits for the client's answer does not wait any more.
func TestHardStdioInputEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { write_timeout: 1h }\n"))
	k := r.stdio("s")
	k.say("%s", asked{method: "subscriptions/listen", id: 1, members: `"notifications":{"toolsListChanged":true}`}.body())
	k.hears("acknowledged")
	k.say("%s", asked{method: "tools/call", id: 2, members: `"name":"wait"`}.body())
	await(r, s.entered, "the stream")
	await(r, s.entered, "the call")
	_ = k.in.Close()
	if line := k.hears(`"id":1`); !strings.Contains(line, `"resultType":"complete"`) {
		t.Error(line)
	}
	close(s.release)
	if line := k.hears(`"id":2`); !strings.Contains(line, "released") {
		t.Error(line)
	}
	if err := k.ends(); err != nil {
		t.Error(err)
	}

	k = r.stdio("s")
	k.legacy()
	k.say(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask"}}`)
	k.hears("elicitation/create")
	_ = k.in.Close()
	if line := k.hears(`"id":7`); !strings.Contains(line, "error") {
		t.Error(line)
	}
	if err := k.ends(); err != nil {
		t.Error(err)
	}
}

// A stop ends a conversation whose input is still open, after the calls in
// flight are answered.
func TestHardStdioStop(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { write_timeout: 1h }\n"))
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	k := r.talks(func(i io.Reader, o io.Writer) error { return r.app.ServeStdio(ctx, "s", i, o) })
	k.say("%s", asked{method: "tools/call", id: 2, members: `"name":"wait"`}.body())
	await(r, s.entered, "the call")
	stop()
	close(s.release)
	if line := k.hears(`"id":2`); !strings.Contains(line, "released") {
		t.Error(line)
	}
	if err := await(r, k.done, "the conversation's end"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// connect opens the socket of `munjigi connect`.
func (r *rig) connect() *net.UnixConn {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.ctx)
	served := make(chan error, 1)
	go func() { served <- r.app.ServeConnect(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			r.t.Errorf("connect: %v", err)
		}
	})
	return r.attach()
}

// attach joins a socket that is served already, or soon.
func (r *rig) attach() (c *net.UnixConn) {
	r.t.Helper()
	r.until("the socket is there", func() (ok bool) {
		var d net.Dialer
		if conn, err := d.DialContext(r.ctx, "unix", app.ConnectPath(r.app.Config().Data)); err == nil {
			c, ok = conn.(*net.UnixConn)
		}
		return ok
	})
	if end, ok := r.ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Who does not read what it is told is not read any more either, and then cut
// off; whoever else speaks for the same principal goes on.
func TestHardConnectUnread(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(slowReader))
	c := r.connect()
	many := strings.Repeat(asked{method: "tools/call", members: `"name":"echo","arguments":{"text":"` + strings.Repeat("x", 1000) + `"}`}.body()+"\n", 100)
	r.send(c, `{"server":"s"}`+"\n")
	for {
		if _, err := io.WriteString(c, many); err != nil {
			break
		}
	}
	if r.ctx.Err() != nil {
		t.Fatal("it was never cut off")
	}
	r.serves("bob")
}

// A conversation goes on across a reload, judged by the new config.
func TestHardConnectOutlivesReload(t *testing.T) {
	t.Parallel()
	one, two := newStage(t), newStage(t)
	r := newRig(t, one.config("merged: [s]\n"))
	c := r.connect()
	lines := bufio.NewReader(c)
	ask := func(line string) string {
		t.Helper()
		if _, err := io.WriteString(c, line+"\n"); err != nil {
			t.Fatal(err)
		}
		got, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := io.WriteString(c, `{"server":""}`+"\n"); err != nil {
		t.Fatal(err)
	}
	list := asked{method: "tools/list"}.body()
	if got := ask(list); !strings.Contains(got, "s__echo") {
		t.Fatal(got)
	}
	r.rewrite("  s: { url", "  other: { url: \""+two.URL+"/mcp\", era: modern }\n  s: { enabled: false, url")
	r.rewrite("merged: [s]", "merged: [other]")
	if err := r.app.Reload(r.ctx); err != nil {
		t.Fatal(err)
	}
	if got := ask(list); !strings.Contains(got, "other__echo") || strings.Contains(got, "s__echo") {
		t.Errorf("after the reload: %s", got)
	}
	r.rewrite("merged: [other]", "merged: []")
	if err := r.app.Reload(r.ctx); err != nil {
		t.Fatal(err)
	}
	id, _ := errorID(t, ask(list))
	r.expect(id, "unknown-server")
}
