package streamable

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxSession    = 1 << 10
	maxChallenges = 4
	maxChallenge  = 4 << 10
	maxInterim    = 8
)

// head is what a response's status line and headers say, as far as it matters
// here. Where RFC 9112 leaves a reader a choice about where a message ends, it
// is refused.
type head struct {
	status int
	// kind is mcp.ContentJSON, mcp.ContentEventStream or "".
	kind string
	// length is the body's length in bytes, -1 when it is not given.
	length  int64
	chunked bool
	// close says that the connection ends with this response; old that the
	// server speaks HTTP/1.0.
	close, old bool
	compressed bool
	session    string
	badSession bool
	challenges []string
	nonce      string // DPoP-Nonce

	kinds, sessions int
}

// read reads the head of the final response; interim ones are passed over.
func (h *head) read(br *bufio.Reader, limit int) error {
	for range maxInterim {
		*h = head{length: -1}
		if err := h.one(br, &limit); err != nil {
			return err
		}
		if h.status >= 200 {
			return h.framing()
		}
		if h.status == 101 {
			return violation("the server changed the protocol of the connection")
		}
	}
	return violation("the server sent too many interim responses")
}

func (h *head) one(br *bufio.Reader, limit *int) error {
	line, err := readLine(br, limit)
	if err != nil {
		return err
	}
	if err := h.statusLine(line); err != nil {
		return err
	}
	for {
		line, err := readLine(br, limit)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err := h.field(line); err != nil {
			return err
		}
	}
}

// statusLine reads "HTTP/1.1 200 OK" (RFC 9112 section 4).
func (h *head) statusLine(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return violation("the answer is not HTTP/1.1")
	}
	switch line[7] {
	case '1':
	case '0':
		h.close, h.old = true, true
	default:
		return violation("the answer is not HTTP/1.1")
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return violation("the status is not a number")
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 {
		return violation("the status is not a status")
	}
	return nil
}

// field reads one header line.
func (h *head) field(line []byte) error {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || !isToken(line[:i]) {
		return violation("a header line has no name")
	}
	name, value := line[:i], bytes.Trim(line[i+1:], " \t")
	for _, c := range value {
		if (c < 0x20 && c != '\t') || c == 0x7f {
			return violation("a header has a control character")
		}
	}
	switch len(name) {
	case len("DPoP-Nonce"):
		// "Connection" is as long.
		if foldEqual(name, "connection") {
			h.close = h.close || hasToken(value, "close")
		}
		if foldEqual(name, "dpop-nonce") && len(value) <= maxChallenge {
			h.nonce = string(value)
		}
	case len("Content-Type"):
		if foldEqual(name, "content-type") {
			h.kind = mediaType(value)
			h.kinds++
		}
	case len("Content-Length"):
		// "Mcp-Session-Id" is as long.
		if foldEqual(name, "content-length") {
			return h.contentLength(value)
		}
		if foldEqual(name, "mcp-session-id") {
			h.sessions++
			h.session, h.badSession = string(value), h.sessions > 1 || len(value) > maxSession || !visible(value)
		}
	case len("Content-Encoding"):
		// "WWW-Authenticate" is as long.
		if foldEqual(name, "content-encoding") {
			h.compressed = h.compressed || !(len(value) == 0 || foldEqual(value, "identity"))
		}
		if foldEqual(name, "www-authenticate") && len(h.challenges) < maxChallenges && len(value) <= maxChallenge {
			h.challenges = append(h.challenges, string(value))
		}
	case len("Transfer-Encoding"):
		if foldEqual(name, "transfer-encoding") {
			if h.chunked || !foldEqual(value, "chunked") {
				return violation("the transfer coding is not chunked")
			}
			h.chunked = true
		}
	}
	return nil
}

func (h *head) contentLength(value []byte) error {
	if h.length >= 0 || len(value) == 0 || len(value) > 15 {
		return violation("the content length is not one number")
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return violation("the content length is not one number")
		}
		n = n*10 + int64(c-'0')
	}
	h.length = n
	return nil
}

// framing settles where the body ends (RFC 9112 section 6.3).
func (h *head) framing() error {
	switch {
	case h.chunked && h.old:
		// RFC 9112 section 6.1: such a message's framing is faulty.
		return violation("an HTTP/1.0 answer has a transfer coding")
	case h.chunked && h.length >= 0:
		return violation("the answer has two lengths")
	case h.status == 204 || h.status == 304:
		h.chunked, h.length = false, 0
	case !h.chunked && h.length < 0:
		h.close = true
	}
	if h.kinds != 1 {
		h.kind = ""
	}
	if h.compressed {
		return violation("the server compressed what it was not asked to")
	}
	return nil
}

// mediaType returns the constant of a content type that carries messages.
func mediaType(v []byte) string {
	switch {
	case string(v) == mcp.ContentJSON:
		return mcp.ContentJSON
	case string(v) == mcp.ContentEventStream:
		return mcp.ContentEventStream
	}
	t, p, err := mime.ParseMediaType(string(v))
	if err != nil {
		return ""
	}
	if c, ok := p["charset"]; ok && !strings.EqualFold(c, "utf-8") {
		return ""
	}
	switch t {
	case mcp.ContentJSON:
		return mcp.ContentJSON
	case mcp.ContentEventStream:
		return mcp.ContentEventStream
	}
	return ""
}

// readLine returns a line without its end, valid until the next read, and
// takes it off the limit. io.EOF means that there was no byte at all.
func readLine(br *bufio.Reader, limit *int) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= *limit {
			line, err = br.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if *limit -= len(line); *limit < 0 {
		return nil, fmt.Errorf("the headers of the answer are too large: %w", upstream.ErrTooLarge)
	}
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

func isToken(b []byte) bool {
	for _, c := range b {
		if c <= 0x20 || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}

// foldEqual compares b with lower-case ASCII.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func hasToken(list []byte, lower string) bool {
	for len(list) > 0 {
		var t []byte
		t, list, _ = bytes.Cut(list, []byte{','})
		if foldEqual(bytes.Trim(t, " \t"), lower) {
			return true
		}
	}
	return false
}

// visible reports whether s is one or more visible ASCII characters.
func visible[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return len(s) > 0
}
