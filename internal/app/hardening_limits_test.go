package app_test

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// Each of these cuts off soon whoever is slow in one way, and leaves the
// others time. No test waits for a time: it waits for the end of a connection.
const (
	slowHeaders = "limits: { header_timeout: 300ms }\n"
	slowBody    = "limits: { body_timeout: 300ms }\n"
	slowReader  = "limits: { write_timeout: 300ms }\n"
)

func TestHardSlowHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(slowHeaders))
	secure := newRig(t, newStage(t).config("tls: { cert: ${cert}, key: ${key} }\n"+slowHeaders))
	for _, sent := range []string{"", "POST /mc", "POST /mcp/s HTTP/1.1\r\nHost: " + rigHost + "\r\nX: "} {
		for name, r := range map[string]*rig{"plain": r, "TLS": secure} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := r.in(t)
				c := r.dial()
				r.send(c, sent)
				if got := r.hungUp(c); strings.Contains(got, " 200 ") {
					t.Errorf("answered %q", got)
				}
			})
		}
	}
}

func TestHardSlowBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(slowBody))
	ok := call("alice", "echo", `{}`)
	stranger := ok
	stranger.who = ""
	elsewhere := stranger
	elsewhere.path = "/elsewhere"
	tests := []struct{ name, sent, want string }{
		{"no body", r.raw(ok, "Content-Length: 100") + "\r\n", " 400 "},
		{"half a body", r.raw(ok, "Content-Length: 100") + "\r\n{", " 400 "},
		{"half a chunk", r.raw(ok, "Transfer-Encoding: chunked") + "\r\n5\r\n{", " 400 "},
		{"chunks without an end", r.raw(ok, "Transfer-Encoding: chunked") + "\r\n1\r\n{\r\n", " 400 "},
		// Nobody reads these bodies; waiting for them must end as well.
		{"no body of a stranger", r.raw(stranger, "Content-Length: 100") + "\r\n", " 401 "},
		{"no chunk of a stranger", r.raw(stranger, "Transfer-Encoding: chunked") + "\r\n", " 401 "},
		{"no body elsewhere", r.raw(elsewhere, "Content-Length: 100") + "\r\n", " 404 "},
		{"no body of a GET", strings.Replace(r.raw(ok, "Content-Length: 100")+"\r\n", "POST", "GET", 1), " 405 "},
		{"no body of a PUT", strings.Replace(r.raw(ok, "Content-Length: 100")+"\r\n", "POST", "PUT", 1), " 405 "},
		{"a body that is expected", r.raw(ok, "Content-Length: 100", "Expect: 100-continue") + "\r\n", " 100 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			c := r.dial()
			r.send(c, tt.sent)
			if got := r.hungUp(c); !strings.Contains(got, tt.want) {
				t.Errorf("answered %q, want %q", got, tt.want)
			}
			r.serves("bob")
		})
	}
}

// Who does not read a large answer is cut off, and its call has ended then.
func TestHardLargeAnswerUnread(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("limits: { write_timeout: 300ms, per_principal_calls: 1 }\n"))
	c := r.dial()
	r.send(c, r.whole(call("alice", "big", `{"n":15000000}`)))
	await(r, s.entered, "the call")
	r.until("there is room for a call", func() bool {
		resp, _ := r.ask(call("alice", "echo", `{}`))
		return resp.StatusCode == 200
	})
	if got := r.hungUp(c); len(got) > 15_000_000 {
		t.Error("all of it was sent")
	}
}

// Who does not read a stream is cut off, and the call behind it is cancelled.
func TestHardStreamUnread(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config(slowReader))
	c := r.dial()
	r.send(c, r.whole(chatter("alice")))
	await(r, s.gone, "the end of the call")
	r.serves("bob")
	if got := r.hungUp(c); strings.HasSuffix(got, "0\r\n\r\n") {
		t.Error("the stream has a proper end")
	}
}

// Who asks again and again without reading what it is answered is cut off,
// whether or not anybody knows it.
func TestHardAnswersUnread(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(slowReader))
	for _, line := range []string{"GET /", "GET /mcp/s", "PUT /mcp/s", "DELETE /mcp/s"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			c := r.dial()
			many := strings.Repeat(line+" HTTP/1.1\r\nHost: "+rigHost+"\r\n\r\n", 1000)
			for {
				if _, err := io.WriteString(c, many); err != nil {
					break
				}
			}
			if r.ctx.Err() != nil {
				t.Fatal("it was never cut off")
			}
			r.serves("bob")
		})
	}
}

// chatter calls a tool that reports progress until nobody listens.
func chatter(who string) asked {
	a := call(who, "chatty", `{"text":"chatter"}`)
	a.progress = true
	return a
}

func TestHardSizes(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config("limits: { body: 4KiB, headers: 4KiB, depth: 8 }\n"))
	ok := call("alice", "echo", `{"text":"`+strings.Repeat("x", 5000)+`"}`)
	body := ok.body()
	nested := call("alice", "echo", `{"a":`+strings.Repeat("[", 8)+strings.Repeat("]", 8)+`}`)
	tests := []struct {
		name, sent, reason string
		status             int
	}{
		{"declared", r.raw(ok, "Content-Length: "+strconv.Itoa(len(body))) + "\r\n" + body, "too-large", 413},
		{"declared, never sent", r.raw(ok, "Content-Length: 999999999999") + "\r\n", "too-large", 413},
		{"chunked", r.raw(ok, "Transfer-Encoding: chunked") + fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body), "too-large", 413},
		{"chunked, without an end", r.raw(ok, "Transfer-Encoding: chunked") + fmt.Sprintf("\r\n%x\r\n%s\r\n", len(body), body), "too-large", 413},
		{"one more than declared", r.raw(call("alice", "echo", `{}`), "Content-Length: 10", "Connection: close") + "\r\n" + body, "malformed", 400},
		{"deep", r.whole(nested), "malformed", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			c := r.dial()
			r.send(c, tt.sent)
			resp, got := r.answer(c)
			r.refused(resp, got, tt.status, tt.reason)
		})
	}
	c := r.dial()
	r.send(c, r.raw(call("alice", "echo", `{}`), "X: "+strings.Repeat("x", 9000), "Content-Length: 0")+"\r\n")
	if got := r.hungUp(c); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("large headers: %q", got)
	}
	r.serves("bob")
}

// Many members are refused though they are few bytes.
func TestHardMembers(t *testing.T) {
	t.Parallel()
	r := newRig(t, newStage(t).config(""))
	resp, body := r.ask(call("alice", "echo", `{"a":[`+strings.Repeat("0,", 300_000)+`0]}`))
	r.refused(resp, body, 400, "malformed")
	r.serves("bob")
}
