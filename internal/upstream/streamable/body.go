package streamable

import (
	"io"
	"time"
)

const (
	maxChunkLine = 256
	maxTrailer   = 8 << 10
)

var errFraming = violation("the chunks of the answer are malformed")

// body reads the body of one response from its connection.
type body struct {
	c *conn
	// left is how much of the body (or of the chunk) is to come; -1 means up
	// to the end of the connection.
	left    int64
	chunked bool
	first   bool
	done    bool
	// idle is the longest wait for bytes, 0 for no end.
	idle time.Duration
}

// begin prepares to read the body that h announces.
func (b *body) begin(h *head, idle time.Duration) {
	b.left, b.chunked, b.first, b.idle = h.length, h.chunked, true, idle
	b.done = h.length == 0 && !h.chunked
	if h.chunked {
		b.left = 0
	}
}

// ended reports that the body was read to its end.
func (b *body) ended() bool { return b.done }

// Read implements io.Reader. A body that is shorter than announced ends with
// io.ErrUnexpectedEOF.
func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if b.idle > 0 && b.c.br.Buffered() == 0 {
		if err := b.c.rw.SetReadDeadline(time.Now().Add(b.idle)); err != nil {
			return 0, err
		}
	}
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil || b.done {
			return 0, either(err, io.EOF)
		}
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.c.br.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
		if err == io.EOF {
			return n, io.ErrUnexpectedEOF
		}
		if b.left == 0 && !b.chunked {
			b.done = true
		}
		return n, err
	}
	if err == io.EOF {
		b.done = true
	}
	return n, err
}

func either(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// nextChunk reads the line before a chunk's data, and what follows the last
// chunk (RFC 9112 section 7.1).
func (b *body) nextChunk() error {
	limit := maxChunkLine
	if !b.first {
		line, err := readLine(b.c.br, &limit)
		if err != nil {
			return cut(err)
		}
		if len(line) != 0 {
			return errFraming
		}
	}
	b.first = false
	line, err := readLine(b.c.br, &limit)
	if err != nil {
		return cut(err)
	}
	n, digits := int64(0), 0
	for _, c := range line {
		v := int64(0)
		switch {
		case c >= '0' && c <= '9':
			v = int64(c - '0')
		case c >= 'a' && c <= 'f':
			v = int64(c-'a') + 10
		case c >= 'A' && c <= 'F':
			v = int64(c-'A') + 10
		case digits > 0 && (c == ';' || c == ' ' || c == '\t'):
			v = -1
		default:
			return errFraming
		}
		if v < 0 {
			break
		}
		if digits++; digits > 12 {
			return errFraming
		}
		n = n<<4 | v
	}
	if digits == 0 {
		return errFraming
	}
	if b.left = n; n > 0 {
		return nil
	}
	limit = maxTrailer
	for {
		line, err := readLine(b.c.br, &limit)
		if err != nil {
			return cut(err)
		}
		if len(line) == 0 {
			b.done = true
			return nil
		}
	}
}

func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
