package streamable

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func readHead(in string, limit int) (head, error) {
	var h head
	err := h.read(bufio.NewReaderSize(strings.NewReader(in), 64), limit)
	return h, err
}

func TestHead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 500)
	tests := []struct {
		name, in string
		want     head
	}{
		{"plain", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n",
			head{status: 200, kind: mcp.ContentJSON, length: 12}},
		{"no reason", "HTTP/1.1 202\r\ncontent-length:0\r\n\r\n", head{status: 202}},
		{"chunked", "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\nContent-Type: text/event-stream; charset=UTF-8\r\n\r\n",
			head{status: 200, kind: mcp.ContentEventStream, length: -1, chunked: true}},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\n", head{status: 200, length: -1, close: true}},
		{"old version", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", head{status: 200, length: 1, close: true, old: true}},
		{"close", "HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 1\r\n\r\n", head{status: 200, length: 1, close: true}},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", head{status: 204}},
		{"not modified", "HTTP/1.1 304 X\r\nContent-Length: 99\r\n\r\n", head{status: 304}},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", head{status: 200}},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 3\n\n", head{status: 200, length: 3}},
		{"two types", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n", head{status: 200}},
		{"another charset", "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-16\r\nContent-Length: 0\r\n\r\n", head{status: 200}},
		{"another type", "HTTP/1.1 200 OK\r\nContent-Type: application/json-seq\r\nContent-Length: 0\r\n\r\n", head{status: 200}},
		{"identity", "HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 0\r\n\r\n", head{status: 200}},
		{"session", "HTTP/1.1 200 OK\r\nMCP-Session-ID:  abc-1 \r\nContent-Length: 0\r\n\r\n", head{status: 200, session: "abc-1"}},
		{"challenges", "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer a=\"b\"\r\nwww-authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
			head{status: 401, challenges: []string{`Bearer a="b"`, "Basic"}}},
		{"a long line", "HTTP/1.1 200 OK\r\nX-Long: " + long + "\r\nMcp-Session-Id: " + long + "\r\nContent-Length: 0\r\n\r\n", head{status: 200, session: long}},
	}
	for _, tt := range tests {
		got, err := readHead(tt.in, 4<<10)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(head{}), cmpopts.IgnoreFields(head{}, "kinds", "sessions")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	for _, bad := range []string{"a b", "", "a\tb", "ü", strings.Repeat("s", maxSession+1)} {
		got, err := readHead("HTTP/1.1 200 OK\r\nMcp-Session-Id: "+bad+"\r\nContent-Length: 0\r\n\r\n", 4<<10)
		if err != nil || !got.badSession {
			t.Errorf("session %q: %+v, %v", bad, got, err)
		}
	}
	if got, err := readHead("HTTP/1.1 200 OK\r\nMcp-Session-Id: a\r\nMcp-Session-Id: a\r\nContent-Length: 0\r\n\r\n", 4<<10); err != nil || !got.badSession {
		t.Errorf("two sessions: %+v, %v", got, err)
	}
}

func TestHeadRefuses(t *testing.T) {
	t.Parallel()
	ok := "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.EOF},
		{"cut off", ok + "Content-Length: 1\r\n", io.ErrUnexpectedEOF},
		{"cut off in a line", ok + "Content-Le", io.ErrUnexpectedEOF},
		{"cut off in the status", "HTTP/1", io.ErrUnexpectedEOF},
		{"another protocol", "SSH-2.0-OpenSSH\r\n\r\n", upstream.ErrViolation},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", upstream.ErrViolation},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", upstream.ErrViolation},
		{"short status", "HTTP/1.1 20\r\n\r\n", upstream.ErrViolation},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n", upstream.ErrViolation},
		{"status of letters", "HTTP/1.1 abc OK\r\n\r\n", upstream.ErrViolation},
		{"status 099", "HTTP/1.1 099 OK\r\n\r\n", upstream.ErrViolation},
		{"switching", "HTTP/1.1 101 Switching\r\n\r\n", upstream.ErrViolation},
		{"interim for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), upstream.ErrViolation},
		{"two lengths", ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", upstream.ErrViolation},
		{"a list of lengths", ok + "Content-Length: 1, 1\r\n\r\n", upstream.ErrViolation},
		{"a negative length", ok + "Content-Length: -1\r\n\r\n", upstream.ErrViolation},
		{"a signed length", ok + "Content-Length: +1\r\n\r\n", upstream.ErrViolation},
		{"a hexadecimal length", ok + "Content-Length: 0x1\r\n\r\n", upstream.ErrViolation},
		{"an empty length", ok + "Content-Length:\r\n\r\n", upstream.ErrViolation},
		{"a huge length", ok + "Content-Length: 9999999999999999\r\n\r\n", upstream.ErrViolation},
		{"length and chunks", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.ErrViolation},
		{"another coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", upstream.ErrViolation},
		{"chunked twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.ErrViolation},
		{"compressed", ok + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", upstream.ErrViolation},
		{"compressed twice", ok + "Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\n", upstream.ErrViolation},
		{"folded", ok + "X: a\r\n b\r\n\r\n", upstream.ErrViolation},
		{"space before the colon", ok + "Content-Length : 1\r\n\r\n", upstream.ErrViolation},
		{"no colon", ok + "Content-Length\r\n\r\n", upstream.ErrViolation},
		{"no name", ok + ": x\r\n\r\n", upstream.ErrViolation},
		{"a bare CR", ok + "X: a\rContent-Length: 1\r\n\r\n", upstream.ErrViolation},
		{"a NUL", ok + "X: a\x00\r\n\r\n", upstream.ErrViolation},
		{"too many headers", ok + strings.Repeat("X: y\r\n", 1000) + "\r\n", upstream.ErrTooLarge},
		{"an endless header", ok + "X: " + strings.Repeat("y", 100_000), upstream.ErrTooLarge},
		{"an endless status", strings.Repeat("y", 100_000), upstream.ErrTooLarge},
	}
	for _, tt := range tests {
		if h, err := readHead(tt.in, 4<<10); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v, want %v", tt.name, h, err, tt.want)
		}
	}
}

// What is accepted is read by the standard reader in the same way.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{}",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.0 404 No\nConnection: close\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var h head
		br := bufio.NewReaderSize(bytes.NewReader(in), 64)
		if err := h.read(br, 4<<10); err != nil {
			return
		}
		std := bufio.NewReader(bytes.NewReader(in))
		for {
			res, err := http.ReadResponse(std, nil)
			if err != nil {
				return // stricter in another way: what we accept is still one message for us
			}
			if res.StatusCode < 200 {
				continue
			}
			if res.StatusCode != h.status {
				t.Fatalf("status %d, the standard reader says %d", h.status, res.StatusCode)
			}
			if h.status == 204 || h.status == 304 {
				return
			}
			if chunked := len(res.TransferEncoding) > 0; chunked != h.chunked {
				t.Fatalf("chunked %v, the standard reader says %v", h.chunked, chunked)
			}
			if res.ContentLength != h.length {
				t.Fatalf("length %d, the standard reader says %d", h.length, res.ContentLength)
			}
			b := body{c: &conn{br: br}}
			b.c.b = b
			b.begin(&h, 0)
			ours, ourErr := io.ReadAll(&b)
			theirs, theirErr := io.ReadAll(res.Body)
			if ourErr == nil && theirErr == nil && !bytes.Equal(ours, theirs) {
				t.Fatalf("body %q, the standard reader says %q", ours, theirs)
			}
			if ourErr == nil && theirErr != nil {
				t.Logf("the standard reader refuses the body: %v", theirErr)
			}
			return
		}
	})
}

func TestChunks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
		err            error
	}{
		{"plain", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", nil},
		{"upper and lower case", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", nil},
		{"leading zeros", "003\r\nabc\r\n000\r\n\r\n", "abc", nil},
		{"extensions", "3;a=b\r\nabc\r\n0 ;x\r\n\r\n", "abc", nil},
		{"trailers", "3\r\nabc\r\n0\r\nX: y\r\nZ: w\r\n\r\n", "abc", nil},
		{"no size", "\r\nabc\r\n", "", errFraming},
		{"a sign", "+3\r\nabc\r\n0\r\n\r\n", "", errFraming},
		{"0x", "0x3\r\nabc\r\n0\r\n\r\n", "", errFraming},
		{"a huge size", "fffffffffffff\r\nabc", "", errFraming},
		{"no line end after the data", "3\r\nabcd\r\n0\r\n\r\n", "abc", errFraming},
		{"cut off in the data", "3\r\nab", "ab", io.ErrUnexpectedEOF},
		{"cut off before the end", "3\r\nabc\r\n", "abc", io.ErrUnexpectedEOF},
		{"cut off in the end", "3\r\nabc\r\n0\r\n", "abc", io.ErrUnexpectedEOF},
		{"an endless size line", strings.Repeat("0", 1000), "", upstream.ErrTooLarge},
		{"endless trailers", "0\r\n" + strings.Repeat("X: y\r\n", 10_000), "", upstream.ErrTooLarge},
	}
	for _, tt := range tests {
		c := &conn{br: bufio.NewReader(strings.NewReader(tt.in))}
		c.b.c = c
		c.b.begin(&head{chunked: true, length: -1}, 0)
		got, err := io.ReadAll(&c.b)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v, want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
		if c.b.ended() != (tt.err == nil) {
			t.Errorf("%s: ended %v", tt.name, c.b.ended())
		}
	}
}
