package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Response is one HTTP answer. Body and what Header gives alias the Reader's
// memory and hold until its next call.
type Response struct {
	Status int
	// Stream says that the body is a series of server-sent events.
	Stream bool
	// Session is the Mcp-Session-Id header, nil where there was none.
	Session []byte
	// Close says that the server closes the connection after this answer.
	Close bool
	Body  []byte
}

// Limits of what a Reader takes in; more is an error.
const (
	maxHead = 64 << 10
	maxBody = 64 << 20
)

// Reader takes HTTP/1.1 answers off one persistent connection. It reads the
// common form strictly and refuses the rest (HTTP/1.0, interim answers,
// trailers, bodies that end with the connection), so that what it accepts
// has one meaning only (RFC 9112).
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int
	body       []byte
	session    []byte
}

// NewReader returns a Reader of answers from src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, 32<<10)}
}

// Next reads one answer whole. After an error the connection is of no use.
func (r *Reader) Next() (Response, error) {
	head, err := r.head()
	if err != nil {
		return Response{}, err
	}
	status, head, err := statusLine(head)
	if err != nil {
		return Response{}, err
	}
	resp := Response{Status: status}
	length, chunked := -1, false
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		name, value, err := field(line)
		if err != nil {
			return Response{}, err
		}
		switch {
		case same(name, "content-length"):
			if length >= 0 {
				return Response{}, errors.New("two Content-Length headers")
			}
			if length, err = digits(value, maxBody); err != nil {
				return Response{}, fmt.Errorf("Content-Length: %w", err)
			}
		case same(name, "transfer-encoding"):
			if chunked || !same(value, "chunked") {
				return Response{}, fmt.Errorf("Transfer-Encoding %q is not understood", value)
			}
			chunked = true
		case same(name, "content-type"):
			resp.Stream = len(value) >= 17 && same(value[:17], "text/event-stream")
		case same(name, "connection"):
			resp.Close = same(value, "close")
		case same(name, "mcp-session-id"):
			r.session = append(r.session[:0], value...)
			resp.Session = r.session
		}
	}
	r.body = r.body[:0]
	switch {
	case chunked && length >= 0:
		return Response{}, errors.New("both Content-Length and Transfer-Encoding")
	case status == 204 || status == 304:
		if chunked || length > 0 {
			return Response{}, fmt.Errorf("a body with status %d", status)
		}
	case chunked:
		err = r.chunks()
	case length >= 0:
		err = r.take(length)
	default:
		return Response{}, errors.New("neither Content-Length nor chunks: the end of the body cannot be known")
	}
	if err != nil {
		return Response{}, fmt.Errorf("in the body: %w", err)
	}
	resp.Body = r.body
	return resp, nil
}

// head reads up to the empty line and returns what is before it, each line
// still with its end.
func (r *Reader) head() ([]byte, error) {
	for searched := 0; ; {
		have := r.buf[r.start:r.end]
		from := max(searched-3, 0)
		if n := bytes.Index(have[from:], []byte("\r\n\r\n")); n >= 0 {
			head := have[:from+n+2]
			r.start += from + n + 4
			return head, nil
		}
		searched = len(have)
		if searched > maxHead {
			return nil, errors.New("the header is too long")
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) && searched == 0 {
				err = io.EOF
			}
			return nil, err
		}
	}
}

// fill reads once, after it has made room.
func (r *Reader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	} else if r.end == len(r.buf) {
		if r.start > 0 {
			r.end = copy(r.buf, r.buf[r.start:r.end])
			r.start = 0
		} else {
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// take moves n bytes to the body.
func (r *Reader) take(n int) error {
	if len(r.body)+n > maxBody {
		return errors.New("too long")
	}
	have := min(n, r.end-r.start)
	r.body = append(r.body, r.buf[r.start:r.start+have]...)
	r.start += have
	if n -= have; n == 0 {
		return nil
	}
	at := len(r.body)
	for n > 0 {
		// Grow by what has come, not by what was promised.
		step := min(n, max(at, 64<<10))
		r.body = slices.Grow(r.body, step)[:at+step]
		got, err := io.ReadFull(r.src, r.body[at:])
		at += got
		n -= got
		r.body = r.body[:at]
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) chunks() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		size := 0
		if len(line) == 0 || len(line) > 8 {
			return fmt.Errorf("chunk size %q is not understood", line)
		}
		for _, c := range line {
			v := unhex(c)
			if v < 0 {
				return fmt.Errorf("chunk size %q is not understood", line)
			}
			size = size<<4 | v
		}
		if err := r.take(size); err != nil {
			return err
		}
		end, err := r.line()
		if err != nil {
			return err
		}
		if len(end) != 0 {
			return errors.New("a chunk is longer than it says, or has trailers")
		}
		if size == 0 {
			return nil
		}
	}
}

// line reads up to the next line's end and returns what is before it.
func (r *Reader) line() ([]byte, error) {
	const longest = 64
	for {
		have := r.buf[r.start:r.end]
		if n := bytes.Index(have[:min(len(have), longest)], []byte("\r\n")); n >= 0 {
			r.start += n + 2
			return have[:n], nil
		}
		if len(have) >= longest {
			return nil, errors.New("a line between chunks is too long")
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func statusLine(head []byte) (status int, rest []byte, err error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	code, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(code) < 3 || (len(code) > 3 && code[3] != ' ') {
		return 0, nil, fmt.Errorf("status line %q is not HTTP/1.1", clip(line))
	}
	if bytes.ContainsAny(line, "\r\n") {
		return 0, nil, errors.New("the status line holds a lone CR or LF")
	}
	status, err = digits(code[:3], 999)
	if err != nil || status < 200 {
		return 0, nil, fmt.Errorf("status %q is not a final one", code[:3])
	}
	return status, rest, nil
}

func field(line []byte) (name, value []byte, err error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, fmt.Errorf("header line %q has no name", clip(line))
	}
	for _, c := range name {
		if !tokenByte(c) {
			return nil, nil, fmt.Errorf("header line %q has a bad name", clip(line))
		}
	}
	value = bytes.Trim(value, " \t")
	for _, c := range value {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return nil, nil, fmt.Errorf("header line %q has a control character", clip(line))
		}
	}
	return name, value, nil
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// same compares with a lower-case name, letters' case aside.
func same(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func digits(b []byte, most int) (int, error) {
	if len(b) == 0 {
		return 0, errors.New("no digits")
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a number", clip(b))
		}
		if n = n*10 + int(c-'0'); n > most {
			return 0, fmt.Errorf("%q is more than %s", clip(b), strconv.Itoa(most))
		}
	}
	return n, nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
