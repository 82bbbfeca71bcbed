package app_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/app"
)

// Connections that ask nothing make room for those that do, the longest wait
// first, whether they never asked or are done asking.
func TestHardIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("limits: { connections: 3, header_timeout: 1h, idle_timeout: 1h }\n"))
	silent := r.dial()
	half := r.dial()
	r.send(half, "POST /mcp/s HTTP/1.1\r\nHost: ")
	done := r.dial()
	r.send(done, "GET / HTTP/1.1\r\nHost: "+rigHost+"\r\n\r\n")
	r.answer(done)
	r.waiting(3)
	for _, oldest := range []net.Conn{silent, half, done} {
		c := r.dial()
		r.send(c, r.whole(call("eve", "echo", `{}`)))
		if resp, _ := r.answer(c); resp.StatusCode != http.StatusOK {
			t.Errorf("who came was answered %d", resp.StatusCode)
		}
		if got := r.hungUp(oldest); strings.Contains(got, " 200 ") {
			t.Errorf("the connection that waited longest was told %q", got)
		}
	}
}

// waiting waits until so many connections wait for their client's next
// request: a client has its answer before the server is done with it.
func (r *rig) waiting(n int) {
	r.t.Helper()
	r.until(strconv.Itoa(n)+" connections wait", func() bool { return app.Waiting(r.app) == n })
}

// While every connection is being served, who comes is turned away at once;
// when one is free again, who comes is served.
func TestHardBusyConnectionsAreKept(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { connections: 2 }\n"))
	busy := []net.Conn{r.dial(), r.dial()}
	for _, c := range busy {
		r.send(c, r.whole(call("alice", "wait", `{}`)))
		await(r, s.entered, "the call")
	}
	late := r.dial()
	if _, err := io.WriteString(late, r.whole(call("alice", "echo", `{}`))); err == nil {
		if got, err := io.ReadAll(late); len(got) > 0 {
			t.Errorf("who came too late was answered %q, %v", got, err)
		}
	}
	close(s.release)
	for _, c := range busy {
		if resp, body := r.answer(c); resp.StatusCode != 200 || !strings.Contains(body, "released") {
			t.Errorf("a call that was served: %d %s", resp.StatusCode, body)
		}
	}
	r.serves("alice")
}

// A stop must not wait for a connection to leave before it stops accepting.
func TestHardStopWhenFull(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { connections: 1, drain_timeout: 200ms }\n"))
	c := r.dial()
	r.send(c, r.whole(call("alice", "wait", `{}`)))
	await(r, s.entered, "the call")
	r.stop()
	if err := await(r, r.done, "the gateway's end"); err == nil {
		t.Error("a call that was cut off by the stop is not told")
	}
	r.done <- nil
	r.hungUp(c)
}

// The door holds under TLS, where the server sees another connection than the
// listener gave.
func TestHardIdleConnectionsMakeRoomTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("tls: { cert: ${cert}, key: ${key} }\nlimits: { connections: 2, header_timeout: 1h, idle_timeout: 1h }\n"))
	bare := r.dial() // never says hello
	kept := r.client()
	if resp, _ := r.do(kept, r.request(r.ctx, call("alice", "echo", `{}`))); resp.Proto != "HTTP/2.0" {
		t.Errorf("spoken to in %s", resp.Proto)
	}
	more := r.client()
	if resp, _ := r.do(more, r.request(r.ctx, call("bob", "echo", `{}`))); resp.StatusCode != 200 {
		t.Errorf("who came was answered %d", resp.StatusCode)
	}
	r.hungUp(bare)
	r.waiting(2)
	r.serves("bob") // in the place of the first of the two
	if resp, _ := r.do(kept, r.request(r.ctx, call("alice", "echo", `{}`))); resp.StatusCode != 200 {
		t.Errorf("after its connection made room: %d", resp.StatusCode)
	}
}

func TestHardTLSVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("tls: { cert: ${cert}, key: ${key} }\n"))
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		c := tls.Client(r.dial(), &tls.Config{RootCAs: r.roots, ServerName: rigHost, MinVersion: v, MaxVersion: v})
		if err := c.HandshakeContext(r.ctx); err == nil {
			t.Errorf("%s is spoken", tls.VersionName(v))
		}
	}
	plain := r.dial()
	r.send(plain, r.whole(call("alice", "echo", `{}`)))
	if got := r.hungUp(plain); strings.Contains(got, " 200 ") {
		t.Errorf("plain HTTP on the TLS port: %q", got)
	}
	if resp, _ := r.ask(call("alice", "echo", `{}`)); resp.TLS == nil || resp.TLS.Version != tls.VersionTLS13 || resp.StatusCode != http.StatusOK {
		t.Error("TLS 1.3 is not spoken")
	}
}
