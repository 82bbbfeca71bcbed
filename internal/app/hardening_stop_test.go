package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A stop answers what is in flight, ends streams with their result, refuses
// what comes meanwhile with the time to come again, and then ends.
func TestHardStopDrains(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { drain_timeout: 1h }\n"))
	stream := r.listens("alice")
	await(r, s.entered, "the stream")
	answered := make(chan string, 1)
	go func() {
		_, body := r.ask(call("alice", "wait", `{}`))
		answered <- body
	}()
	await(r, s.entered, "the call")
	r.stop()
	if got := stream.ends(); !strings.Contains(got, `"result":{"resultType":"complete"`) {
		t.Errorf("the stream ended without its result: %s", got)
	}
	resp, body := r.ask(call("bob", "echo", `{}`))
	r.refused(resp, body, http.StatusServiceUnavailable, "draining")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	select {
	case err := <-r.done:
		t.Fatalf("it ended before its call was answered: %v", err)
	default:
	}
	close(s.release)
	if body := await(r, answered, "the call's answer"); !strings.Contains(body, "released") {
		t.Error(body)
	}
	if err := await(r, r.done, "the end"); err != nil {
		t.Error(err)
	}
	r.done <- nil
	var d net.Dialer
	if c, err := d.DialContext(r.ctx, "tcp", r.addr); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// A call that does not end in time is cut off and told as such; the stop does
// not wait for it, nor for a connection that never asked anything.
func TestHardStopCutsOff(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { drain_timeout: 100ms, header_timeout: 1h }\n"))
	// A legacy client's call outlives its connection, but not the gateway.
	legacy := r.request(r.ctx, asked{who: "alice", headers: r.session("alice"), whole: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"wait"}}`})
	cut := make(chan error, 1)
	go func() {
		resp, err := r.client().Do(legacy)
		if err == nil {
			_ = resp.Body.Close()
		}
		cut <- err
	}()
	await(r, s.entered, "the session's call")
	c, idle := r.dial(), r.dial()
	r.send(c, r.whole(call("alice", "wait", `{}`)))
	await(r, s.entered, "the call")
	r.stop()
	if err := await(r, r.done, "the end"); err == nil {
		t.Error("nobody is told of the call that was cut off")
	}
	r.done <- nil
	r.hungUp(c)
	r.hungUp(idle)
	if err := await(r, cut, "the end of the session's call"); err == nil {
		t.Error("the session's call was answered")
	}
	await(r, s.gone, "the end of a call at the server")
	await(r, s.gone, "the end of a call at the server")
}

func TestHardBadConfigKeepsTheOld(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("tls: { cert: ${cert}, key: ${key} }\n"))
	good, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	r.serves("alice")
	stream := r.listens("alice")
	await(r, s.entered, "the stream")
	other := t.TempDir()
	cert, key := selfSigned(t, other)
	for name, bad := range map[string]string{
		"no YAML":           ":\n\t{",
		"nothing":           "",
		"unknown key":       string(good) + "nonsense: 1\n",
		"duplicate key":     string(good) + "servers: {}\n",
		"no such secret":    strings.Replace(string(good), "era: modern", "era: modern, credential: { type: static, headers: { Authorization: { secret: env:NONE } } }", 1),
		"no certificate":    strings.Replace(string(good), "cert.pem", "none.pem", 1),
		"another key":       strings.Replace(string(good), r.file[:len(r.file)-len("munjigi.yaml")]+"key.pem", key, 1),
		"another port":      strings.Replace(string(good), "127.0.0.1:0", "127.0.0.1:1", 1),
		"another data":      strings.Replace(string(good), "data: ", "data: "+other, 1),
		"no such guard":     string(good) + "guards: { none: { mode: enforce } }\n",
		"new cert, bad key": strings.NewReplacer(r.file[:len(r.file)-len("munjigi.yaml")]+"cert.pem", cert).Replace(string(good)),
		"new cert, no secret": strings.NewReplacer(r.file[:len(r.file)-len("munjigi.yaml")]+"cert.pem", cert, r.file[:len(r.file)-len("munjigi.yaml")]+"key.pem", key,
			"era: modern", "era: modern, credential: { type: static, headers: { Authorization: { secret: env:NONE } } }").Replace(string(good)),
	} {
		if bad == string(good) {
			t.Fatalf("%s: the config is not bad", name)
		}
		r.write(bad)
		if err := r.app.Reload(r.ctx); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		r.serves("alice") // over TLS, with the certificate that it had
	}
	// The stream of before is there as well.
	s.release <- struct{}{}
	stream.hears("list_changed")
}

// Watch takes a changed file by itself and a signal at once.
func TestHardWatch(t *testing.T) {
	t.Parallel()
	one, two := newStage(t), newStage(t)
	r := newRig(t, one.config(""))
	ctx, stop := context.WithCancel(r.ctx)
	told, ended := make(chan os.Signal, 1), make(chan struct{})
	go func() { r.app.Watch(ctx, told); close(ended) }()
	add := call("alice", "echo", `{"text":"well"}`)
	add.path = "/mcp/two"
	r.rewrite("servers:\n", "servers:\n  two: { url: \""+two.URL+"/mcp\", era: modern, insecure_same_names: true }\n")
	told <- syscall.SIGHUP
	r.until("the new server is there", func() bool { resp, _ := r.ask(add); return resp.StatusCode == 200 })
	r.rewrite("  two: {", "  two: { enabled: false,")
	r.until("the new server is gone", func() bool { resp, _ := r.ask(add); return resp.StatusCode == 404 })
	r.serves("alice")
	stop()
	await(r, ended, "the watch's end")
}

// pid asks a server for its process.
func (r *rig) pid(a asked) string {
	r.t.Helper()
	resp, body := r.ask(a)
	var m struct {
		Result struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || resp.StatusCode != 200 || len(m.Result.Content) != 1 {
		r.t.Fatalf("no PID: %d %s", resp.StatusCode, body)
	}
	return m.Result.Content[0].Text
}

// A reload leaves the processes of unchanged servers alone, ends those of
// servers that are gone, starts anew those that changed, and legacy sessions
// go on.
func TestHardReloadKeepsProcesses(t *testing.T) {
	t.Parallel()
	line := "{ command: " + command(t) + ", era: modern, insecure_unsandboxed: true, insecure_same_names: true }\n"
	r := newRig(t, "servers:\n  s: "+line+"  changed: "+line+"  gone: "+line)
	at := func(server string) asked {
		a := call("alice", "pid", `{}`)
		a.path = "/mcp/" + server
		return a
	}
	h := r.session("alice")
	legacy := asked{who: "alice", headers: h, whole: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pid"}}`}
	kept, session, changed, gone := r.pid(at("s")), r.pid(legacy), r.pid(at("changed")), r.pid(at("gone"))
	r.rewrite("  gone: {", "  gone: { enabled: false,")
	r.rewrite("  changed: {", "  changed: { env: { LEVEL: high },")
	if err := r.app.Reload(r.ctx); err != nil {
		t.Fatal(err)
	}
	if got := r.pid(at("s")); got != kept {
		t.Errorf("the unchanged server's process was %s and is %s", kept, got)
	}
	legacy.whole = strings.Replace(legacy.whole, `"id":7`, `"id":8`, 1)
	if got := r.pid(legacy); got != session {
		t.Errorf("the session's process was %s and is %s", session, got)
	}
	if got := r.pid(at("changed")); got == changed {
		t.Error("the changed server's process is the old one")
	}
	resp, body := r.ask(at("gone"))
	r.refused(resp, body, http.StatusNotFound, "unknown-server")
	for name, pid := range map[string]string{"changed": changed, "gone": gone} {
		r.until(name+"'s process has ended", func() bool { return !running(t, pid) })
	}
	r.close()
	for name, pid := range map[string]string{"kept": kept, "session": session} {
		if running(t, pid) {
			t.Errorf("%s: its process outlives the gateway", name)
		}
	}
}

// A gateway that ends right after a reload leaves no process of a server that
// the reload took away.
func TestHardCloseAfterReload(t *testing.T) {
	t.Parallel()
	line := "{ command: " + command(t, "stubborn") + ", era: modern, insecure_unsandboxed: true }\n"
	r := newRig(t, "servers:\n  s: "+line+"  gone: "+line)
	a := call("alice", "pid", `{}`)
	a.path = "/mcp/gone"
	pid := r.pid(a)
	r.rewrite("  gone: {", "  gone: { enabled: false,")
	if err := r.app.Reload(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.close()
	if running(t, pid) {
		t.Error("the removed server's process outlives the gateway")
	}
}

// Taking back a client's token ends its streams and its answers; nobody
// else's.
func TestHardRevocation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config(""))
	alice, bob := r.listens("alice"), r.listens("bob")
	await(r, s.entered, "a stream")
	await(r, s.entered, "a stream")
	h := r.session("alice")
	get := r.request(r.ctx, asked{who: "alice", headers: h})
	get.Method, get.Body, get.ContentLength = http.MethodGet, nil, 0
	legacy, err := r.client().Do(get)
	if err != nil || legacy.StatusCode != 200 {
		t.Fatal(err, legacy)
	}
	defer func() { _ = legacy.Body.Close() }()
	await(r, s.entered, "the session's stream")
	waiting := call("alice", "wait", `{"text":"in flight"}`)
	token := r.token("alice")
	waiting.who, waiting.headers = "", []string{"Authorization: Bearer " + token}
	answered := make(chan string, 1)
	go func() {
		_, body := r.ask(waiting)
		answered <- body
	}()
	await(r, s.entered, "the call")
	if err := r.app.RevokeClient(r.ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	alice.ends()
	if _, err := io.ReadAll(legacy.Body); err != nil {
		t.Errorf("the session's stream broke: %v", err)
	}
	// Two of the three streams are gone at the server; what is told now can
	// only go to the call and to the third.
	await(r, s.gone, "the end of a stream")
	await(r, s.gone, "the end of a stream")
	s.release <- struct{}{}
	s.release <- struct{}{}
	bob.hears("list_changed")
	if body := await(r, answered, "the answer"); strings.Contains(body, "released") {
		t.Errorf("the answer went to a client whose token was taken back: %s", body)
	}
	resp, body := r.ask(waiting)
	r.refused(resp, body, http.StatusUnauthorized, "unauthenticated")
	r.serves("bob")
}
