package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const okHead = "HTTP/1.1 200 OK\r\n"

func TestReaderTakes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want Response
	}{
		"length":          {okHead + "Content-Length: 3\r\n\r\nabc", Response{Status: 200, Body: []byte("abc")}},
		"nothing":         {"HTTP/1.1 202 Accepted\r\ncontent-length:0\r\n\r\n", Response{Status: 202}},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n", Response{Status: 204}},
		"no reason":       {"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", Response{Status: 500}},
		"chunks":          {okHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", Response{Status: 200, Body: []byte("abc0123456789")}},
		"session":         {okHead + "MCP-SESSION-ID:  s1 \r\nContent-Length: 0\r\n\r\n", Response{Status: 200, Session: []byte("s1")}},
		"stream":          {okHead + "Content-Type: text/event-stream; charset=utf-8\r\nContent-Length: 0\r\n\r\n", Response{Status: 200, Stream: true}},
		"closing":         {okHead + "Connection: close\r\nContent-Length: 1\r\n\r\nx", Response{Status: 200, Close: true, Body: []byte("x")}},
		"longer than one": {okHead + "Content-Length: 100000\r\n\r\n" + strings.Repeat("y", 100_000), Response{Status: 200, Body: bytes.Repeat([]byte("y"), 100_000)}},
		"long header":     {okHead + "X: " + strings.Repeat("z", 60_000) + "\r\nContent-Length: 1\r\n\r\nx", Response{Status: 200, Body: []byte("x")}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second := "HTTP/1.1 299 Next\r\nContent-Length: 4\r\n\r\nnext"
			for how, src := range map[string]io.Reader{
				"whole":    strings.NewReader(tc.in + second),
				"bytewise": iotest.OneByteReader(strings.NewReader(tc.in + second)),
			} {
				r := NewReader(src)
				got, err := r.Next()
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if got.Status != tc.want.Status || got.Stream != tc.want.Stream || got.Close != tc.want.Close ||
					!bytes.Equal(got.Session, tc.want.Session) || !bytes.Equal(got.Body, tc.want.Body) {
					t.Errorf("%s: got %+v, want %+v", how, got, tc.want)
				}
				if got, err = r.Next(); err != nil || string(got.Body) != "next" {
					t.Errorf("%s: the next answer on the connection: %+v, %v", how, got, err)
				}
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("%s: at the end: %v, want EOF", how, err)
				}
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"HTTP/1.0":               "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"interim":                "HTTP/1.1 100 Continue\r\n\r\n",
		"no status":              "HTTP/1.1\r\n\r\n",
		"signed status":          "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
		"two lengths":            okHead + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and chunks":      okHead + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"signed length":          okHead + "Content-Length: +1\r\n\r\na",
		"huge length":            okHead + "Content-Length: 99999999999999999999\r\n\r\n",
		"length beyond the end":  okHead + "Content-Length: 9\r\n\r\nabc",
		"no end known":           okHead + "\r\nabc",
		"gzip":                   okHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"folded header":          okHead + "A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n",
		"header without a colon": okHead + "Content-Length 0\r\n\r\n",
		"space before the colon": okHead + "Content-Length : 0\r\n\r\n",
		"control character":      okHead + "A: b\x00\r\nContent-Length: 0\r\n\r\n",
		"negative chunk":         okHead + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
		"chunk too long":         okHead + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
		"huge chunk":             okHead + "Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
		"chunk cut off":          okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
		"no last chunk":          okHead + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
		"trailers":               okHead + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
		"body where none may be": "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na",
		"head cut off":           okHead + "Content-Le",
		"endless head":           okHead + "A: " + strings.Repeat("b", 200_000),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := NewReader(strings.NewReader(in)).Next(); err == nil || err == io.EOF {
				t.Errorf("got %+v, %v; want an error", got, err)
			}
		})
	}
}

// FuzzReader holds that the reader never panics, that it sees the same
// whether bytes come at once or one by one, and that net/http agrees on the
// status and body of all that it takes.
func FuzzReader(f *testing.F) {
	f.Add([]byte(okHead + "Content-Length: 3\r\n\r\nabc"))
	f.Add([]byte(okHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte(okHead + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: {}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := NewReader(bytes.NewReader(in)).Next()
		slow, slowErr := NewReader(iotest.OneByteReader(bytes.NewReader(in))).Next()
		if (err == nil) != (slowErr == nil) || got.Status != slow.Status || !bytes.Equal(got.Body, slow.Body) {
			t.Fatalf("at once: %+v, %v; byte by byte: %+v, %v", got, err, slow, slowErr)
		}
		if err != nil {
			return
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatalf("taken as %+v, but net/http: %v", got, err)
		}
		body, err := io.ReadAll(std.Body)
		if err != nil {
			t.Fatalf("taken as %+v, but the body by net/http: %v", got, err)
		}
		if std.StatusCode != got.Status || !bytes.Equal(body, got.Body) {
			t.Fatalf("taken as %d %q, by net/http as %d %q", got.Status, got.Body, std.StatusCode, body)
		}
	})
}
