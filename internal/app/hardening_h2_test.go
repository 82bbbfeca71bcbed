package app_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Frame types and flags of RFC 9113, section 6.
const (
	frameData, frameHeaders, framePriority, frameReset          = 0, 1, 2, 3
	frameSettings, framePing, frameGoAway, frameWindow, frameOn = 4, 6, 7, 8, 9
	endStream, ack, endHeaders                                  = 1, 1, 4
)

// h2 is one HTTP/2 connection, frame by frame.
type h2 struct {
	r *rig
	c net.Conn

	mu    sync.Mutex
	said  map[uint32]string // status of each stream
	reset map[uint32]uint32 // error code of each stream that the server ended
	ended map[uint32]bool
	gone  bool // GOAWAY came
	news  chan struct{}
}

// opensH2 shakes hands. What the server sends is read unless deaf.
func (r *rig) opensH2(deaf bool, settings ...byte) *h2 {
	r.t.Helper()
	tcp := r.dial()
	if c, ok := tcp.(*net.TCPConn); ok && deaf {
		_ = c.SetReadBuffer(4096)
	}
	t := tls.Client(tcp, &tls.Config{RootCAs: r.roots, ServerName: rigHost, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err := t.HandshakeContext(r.ctx); err != nil || t.ConnectionState().NegotiatedProtocol != "h2" {
		r.t.Fatalf("no HTTP/2: %v", err)
	}
	h := &h2{r: r, c: t, said: map[uint32]string{}, reset: map[uint32]uint32{}, ended: map[uint32]bool{}, news: make(chan struct{}, 1)}
	// SETTINGS_HEADER_TABLE_SIZE of zero: each block can be read by itself.
	h.write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, append(settings, 0, 1, 0, 0, 0, 0)))
	if !deaf {
		go h.read()
	}
	return h
}

func frame(typ, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

// field writes one header without indexing (RFC 7541, section 6.2.2).
func field(name, value string) []byte {
	b := []byte{0}
	for _, s := range []string{name, value} {
		if n := len(s); n < 127 {
			b = append(b, byte(n))
		} else {
			for b, n = append(b, 127), n-127; n >= 128; n >>= 7 {
				b = append(b, byte(n)|128)
			}
			b = append(b, byte(n))
		}
		b = append(b, s...)
	}
	return b
}

// fields are the headers of a request.
func (r *rig) fields(a asked) []byte {
	b := bytes.Join([][]byte{field(":method", "POST"), field(":scheme", "https"), field(":authority", rigHost), field(":path", "/mcp/s"),
		field("content-type", "application/json"), field("accept", "application/json, text/event-stream"),
		field("mcp-protocol-version", "2026-07-28"), field("mcp-method", a.method), field("mcp-name", a.name)}, nil)
	if a.who != "" {
		b = append(b, field("authorization", "Bearer "+r.token(a.who))...)
	}
	return b
}

// write reports whether the connection took it. One that the server has closed
// may not say so while nobody reads.
func (h *h2) write(frames ...[]byte) bool {
	_ = h.c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	_, err := h.c.Write(bytes.Join(frames, nil))
	return err == nil
}

// read notes what the server says until the connection ends.
func (h *h2) read() {
	defer func() {
		h.mu.Lock()
		h.gone = true
		h.mu.Unlock()
		close(h.news)
	}()
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(h.c, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(h.c, payload); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(head[5:])
		h.mu.Lock()
		switch head[3] {
		case frameHeaders:
			h.said[stream] = status(payload)
		case frameReset:
			h.reset[stream] = binary.BigEndian.Uint32(payload)
		case frameGoAway:
			h.gone = true
		}
		if (head[3] == frameHeaders || head[3] == frameData) && head[4]&endStream != 0 {
			h.ended[stream] = true
		}
		h.mu.Unlock()
		select {
		case h.news <- struct{}{}:
		default:
		}
	}
}

// status reads :status, the first field of a block, from the static table or
// as a literal under its name there, plain or in the code of RFC 7541, appendix
// B.
func status(block []byte) string {
	for len(block) > 0 && block[0]&0xe0 == 0x20 {
		block = block[1:] // the size of the table
	}
	if len(block) > 0 && block[0] >= 0x88 && block[0] <= 0x8e {
		return []string{"200", "204", "206", "304", "400", "404", "500"}[block[0]-0x88]
	}
	if len(block) < 3 || block[0]&0x0f < 8 {
		return "other"
	}
	text := block[2 : 2+min(int(block[1]&0x7f), len(block)-2)]
	if block[1]&0x80 == 0 {
		return string(text)
	}
	var bits string
	for _, b := range text {
		bits += fmt.Sprintf("%08b", b)
	}
	digits := ""
	for len(digits) < 3 && len(bits) >= 6 {
		n, _ := strconv.ParseUint(bits[:6], 2, 8)
		if n < 6 {
			digits, bits = digits+string(rune('0'+n>>1)), bits[5:]
		} else {
			digits, bits = digits+string(rune('3'+n-25)), bits[6:]
		}
	}
	return digits
}

// until waits for something that the server says.
func (h *h2) until(what string, ok func() bool) {
	h.r.t.Helper()
	for {
		h.mu.Lock()
		done, gone := ok(), h.gone
		h.mu.Unlock()
		if done {
			return
		}
		if _, more := <-h.news; !more && gone {
			h.r.t.Fatalf("the connection ended before %s: %v %v", what, h.said, h.reset)
		}
	}
}

// settled is the number of goroutines and the bytes that live, after what was
// left behind had the chance to end.
func (r *rig) settled(atMost int, bytes uint64) {
	r.t.Helper()
	var m runtime.MemStats
	ok := func() bool {
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine() <= atMost && m.HeapAlloc <= bytes
	}
	for !ok() {
		if r.ctx.Err() != nil {
			buf := make([]byte, 1<<20)
			r.t.Fatalf("%d goroutines of %d, %d bytes of %d:\n%s", runtime.NumGoroutine(), atMost, m.HeapAlloc, bytes, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

// Each flood ends with its own connection closed, or is outlived; another
// client is served afterwards, and nothing is left of it.
func TestHardHTTP2Floods(t *testing.T) {
	var known, unknown, body []byte
	next := func(n int) uint32 { return uint32(2*n + 1) }
	tests := []struct {
		name  string
		deaf  bool
		ends  bool // the server must end the connection
		times int
		flood func(n int) []byte
	}{
		{"rapid reset", false, false, 5_000, func(n int) []byte {
			return slices.Concat(frame(frameHeaders, endHeaders, next(n), known), frame(frameData, endStream, next(n), body), frame(frameReset, 0, next(n), []byte{0, 0, 0, 8}))
		}},
		{"rapid reset of a stranger", false, false, 10_000, func(n int) []byte {
			return slices.Concat(frame(frameHeaders, endHeaders, next(n), unknown), frame(frameReset, 0, next(n), []byte{0, 0, 0, 8}))
		}},
		{"resets that the server has to send", true, true, 1 << 30, func(n int) []byte {
			// A window update of zero is an error of the stream.
			return slices.Concat(frame(frameHeaders, endHeaders, next(n), unknown), frame(frameWindow, 0, next(n), []byte{0, 0, 0, 0}))
		}},
		{"settings", true, false, 100_000, func(int) []byte { return frame(frameSettings, 0, 0, nil) }},
		{"pings", true, true, 1 << 30, func(int) []byte { return frame(framePing, 0, 0, make([]byte, 8)) }},
		{"continuations", false, true, 1 << 30, func(n int) []byte {
			if n == 0 {
				return frame(frameHeaders, 0, 1, known)
			}
			return frame(frameOn, 0, 1, field("x", strings.Repeat("x", 1000)))
		}},
		{"empty continuations", false, true, 1 << 30, func(n int) []byte {
			if n == 0 {
				return frame(frameHeaders, 0, 1, known)
			}
			return frame(frameOn, 0, 1, nil)
		}},
		{"large headers", false, false, 50, func(n int) []byte {
			return slices.Concat(frame(frameHeaders, 0, next(n), slices.Concat(known, field("x", strings.Repeat("x", 12_000)))),
				frame(frameOn, endHeaders, next(n), bytes.Repeat(field("y", strings.Repeat("y", 8000)), 2)))
		}},
		{"references to one large header", false, false, 50, func(n int) []byte {
			// Literal with indexing, then one byte for each repetition.
			block := append(slices.Concat(known, []byte{0x40}), field("x", strings.Repeat("x", 3900))[1:]...)
			return frame(frameHeaders, endHeaders|endStream, next(n), append(block, bytes.Repeat([]byte{0xbe}, 10_000)...))
		}},
		{"priorities", false, false, 100_000, func(n int) []byte { return frame(framePriority, 0, next(n), []byte{0, 0, 0, 0, 1}) }},
		{"empty data", false, false, 100_000, func(n int) []byte {
			if n == 0 {
				return frame(frameHeaders, endHeaders, 1, known)
			}
			return frame(frameData, 0, 1, nil)
		}},
		{"unknown frames", false, false, 100_000, func(int) []byte { return frame(0x77, 0xff, 0, []byte("abcd")) }},
		{"window updates", false, true, 1 << 30, func(int) []byte { return frame(frameWindow, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newStage(t).config("tls: { cert: ${cert}, key: ${key} }\nlimits: { idle_timeout: 1s, write_timeout: 1s }\n"))
			ok := call("alice", "wait", `{}`)
			known, unknown, body = r.fields(ok), r.fields(call("", "wait", `{}`)), []byte(ok.body())
			r.serves("bob")
			base := runtime.NumGoroutine()
			h := r.opensH2(tt.deaf)
			taken := true
			for n := 0; n < tt.times && taken; n += 100 {
				var some [][]byte
				for i := range min(100, tt.times-n) {
					some = append(some, tt.flood(n+i))
				}
				taken = h.write(some...)
			}
			if r.ctx.Err() != nil {
				t.Fatal("the flood went on until the test's end")
			}
			r.serves("bob")
			if !tt.ends {
				_ = h.c.Close()
			} else if taken {
				t.Error("the server took it all")
			}
			r.settled(base, 64<<20)
		})
	}
}

// More streams than a connection may have are refused one by one; those that
// it may have are within the principal's share.
func TestHardHTTP2ManyStreams(t *testing.T) {
	s := newStage(t)
	r := newRig(t, s.config("tls: { cert: ${cert}, key: ${key} }\nlimits: { per_principal_calls: 20 }\nidentity: { insecure_anonymous: true }\n"))
	h := r.opensH2(false)
	ok := call("alice", "wait", `{}`)
	fields, body := r.fields(ok), []byte(ok.body())
	const streams = 300
	for n := range streams {
		id := uint32(2*n + 1)
		h.write(frame(frameHeaders, endHeaders, id, fields), frame(frameData, endStream, id, body))
	}
	for range 20 {
		await(r, s.entered, "a call")
	}
	h.until("every other stream is refused", func() bool { return len(h.said)+len(h.reset) >= streams-20 })
	h.mu.Lock()
	for id, status := range h.said {
		if status != "429" {
			t.Errorf("stream %d was answered %s", id, status)
		}
	}
	h.mu.Unlock()
	r.serves("") // another principal
	close(s.release)
	h.until("the calls are answered", func() bool { return len(h.said)+len(h.reset) >= streams })
}

// A stream whose window is closed, and one whose body does not come, end; the
// connection and its other streams go on.
func TestHardHTTP2SlowStreams(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("tls: { cert: ${cert}, key: ${key} }\nlimits: { write_timeout: 300ms, body_timeout: 300ms }\n"))
	// SETTINGS_INITIAL_WINDOW_SIZE of zero.
	h := r.opensH2(false, 0, 4, 0, 0, 0, 0)
	big, chat, ok := call("alice", "big", `{"n":1000000}`), chatter("alice"), call("alice", "echo", `{}`)
	h.write(frame(frameHeaders, endHeaders, 1, r.fields(big)), frame(frameData, endStream, 1, []byte(big.body())))
	h.write(frame(frameHeaders, endHeaders, 3, r.fields(chat)), frame(frameData, endStream, 3, []byte(chat.body())))
	h.write(frame(frameHeaders, endHeaders, 5, r.fields(ok)), frame(frameData, 0, 5, []byte("{")))
	await(r, s.gone, "the end of the unread call")
	h.until("the unread streams are reset and the slow one refused", func() bool {
		_, one := h.reset[1]
		_, three := h.reset[3]
		return one && three && h.said[5] == "400"
	})
	h.write(frame(frameHeaders, endHeaders, 7, r.fields(ok)), frame(frameWindow, 0, 7, []byte{0, 1, 0, 0}), frame(frameData, endStream, 7, []byte(ok.body())))
	h.until("a later stream is answered", func() bool { return h.said[7] == "200" && h.ended[7] })
	r.serves("bob")
}

// Requests that only HTTP/2 can carry are refused before anybody sees them.
func TestHardHTTP2Smuggling(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := newRig(t, s.config("tls: { cert: ${cert}, key: ${key} }\n"))
	ok := call("alice", "echo", `{"text":"smuggled"}`)
	fields, body := r.fields(ok), []byte(ok.body())
	evil := bytes.Replace(fields, field(":authority", rigHost), field(":authority", "evil.example"), 1)
	for name, block := range map[string][]byte{
		"connection":             slices.Concat(fields, field("connection", "keep-alive")),
		"transfer-encoding":      slices.Concat(fields, field("transfer-encoding", "chunked")),
		"upper case":             slices.Concat(fields, field("Mcp-Name", "echo")),
		"line break":             slices.Concat(fields, field("x", "a\r\nMcp-Name: other")),
		"null":                   slices.Concat(fields, field("x", "a\x00b")),
		"shorter than it says":   slices.Concat(fields, field("content-length", strconv.Itoa(len(body)-1))),
		"longer than it says":    slices.Concat(fields, field("content-length", strconv.Itoa(len(body)+1))),
		"two lengths":            slices.Concat(fields, field("content-length", strconv.Itoa(len(body))), field("content-length", "1")),
		"pseudo after":           slices.Concat(fields, field(":path", "/mcp/other")),
		"two paths":              slices.Concat(field(":path", "/mcp/s"), fields),
		"unknown pseudo":         slices.Concat(field(":evil", "1"), fields),
		"another authority":      evil,
		"another host":           slices.Concat(fields, field("host", "evil.example")),
		"two names":              slices.Concat(fields, field("mcp-name", "other")),
		"two methods":            slices.Concat(fields, field("mcp-method", "tools/list")),
		"connect":                bytes.Replace(fields, field(":method", "POST"), field(":method", "CONNECT"), 1),
		"websocket over connect": slices.Concat(bytes.Replace(fields, field(":method", "POST"), field(":method", "CONNECT"), 1), field(":protocol", "websocket")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := r.in(t)
			h := r.opensH2(false)
			h.write(frame(frameHeaders, endHeaders, 1, block), frame(frameData, endStream, 1, body))
			h.until("an answer", func() bool {
				_, reset := h.reset[1]
				return reset || h.said[1] != "" || h.gone
			})
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.said[1] == "200" {
				t.Error("it was served")
			}
		})
	}
}
