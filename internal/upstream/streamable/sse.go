package streamable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	firstBuffer  = 4 << 10
	lineOverhead = 64 // bytes that a line may have beside a message
	maxEventID   = 1 << 10
	minRetry     = 10 * time.Millisecond
	maxRetry     = 30 * time.Second
)

var errLongLine = fmt.Errorf("a line of the server is too long: %w", upstream.ErrTooLarge)

// errEnded says that a stream ended, well or badly, between two messages.
var errEnded = errors.New("the stream ended")

// events reads a stream of Server-Sent Events (WHATWG HTML, "Server-sent
// events") and returns the data of those that carry a message. Comments,
// unknown fields and events of other types are passed over.
type events struct {
	r   io.Reader
	buf []byte
	// pos and end enclose what was read and not yet used; lf and cr are the
	// next line ends at or after pos, or end where none was found yet. Each
	// byte is searched once, so that a stream of short lines in a large
	// buffer stays linear.
	pos, end, lf, cr int
	// max bounds the data of one event, left the bytes of the stream.
	max  int
	left int64

	skipLF, started bool

	// lastID is the last event ID, "" when there is none that can be sent
	// back; retry is the server's reconnection time, 0 when it gave none.
	lastID string
	retry  time.Duration
}

// next returns the data of the next message in a buffer of its own. At the end
// of the stream the error is errEnded or that of the reader; an event that the
// end cut off is dropped.
func (s *events) next() ([]byte, error) {
	var data []byte
	var some, other bool
	id, hasID := "", false
	for {
		line, err := s.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if hasID {
				s.lastID = id
			}
			if some && !other && len(data) > 0 {
				return data, nil
			}
			data, some, other, hasID = nil, false, false, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		switch string(name) {
		case "data":
			if len(data)+len(value)+1 > s.max {
				return nil, fmt.Errorf("an event of the server is too large: %w", upstream.ErrTooLarge)
			}
			if some {
				data = append(data, '\n')
			} else if len(value) > 0 {
				data = make([]byte, 0, len(value))
			}
			data, some = append(data, value...), true
		case "event":
			other = len(value) > 0 && string(value) != "message"
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				id, hasID = usableID(value), true
			}
		case "retry":
			if d, ok := retryTime(value); ok {
				s.retry = d
			}
		}
	}
}

// usableID returns an event ID that can be sent back in a header, else "",
// which means that the stream cannot be resumed.
func usableID(v []byte) string {
	if len(v) > maxEventID {
		return ""
	}
	for _, c := range v {
		if c < 0x20 || c > 0x7e {
			return ""
		}
	}
	if len(v) > 0 && (v[0] == ' ' || v[len(v)-1] == ' ') {
		return ""
	}
	return string(v)
}

// retryTime reads a reconnection time in milliseconds and keeps it between
// minRetry and maxRetry.
func retryTime(v []byte) (time.Duration, bool) {
	if len(v) == 0 {
		return 0, false
	}
	ms := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		if ms = ms*10 + int64(c-'0'); ms > maxRetry.Milliseconds() {
			ms = maxRetry.Milliseconds()
		}
	}
	return max(time.Duration(ms)*time.Millisecond, minRetry), true
}

// pause returns how long to wait before the n-th reconnection in a row.
func (s *events) pause(n int) time.Duration {
	d := s.retry
	if d == 0 {
		d = time.Second
	}
	for ; n > 1 && d < maxRetry; n-- {
		d *= 2
	}
	return min(d, maxRetry)
}

// reset forgets everything but the buffer.
func (s *events) reset() { *s = events{buf: s.buf} }

// open starts reading another connection, keeping the last event ID.
func (s *events) open(r io.Reader, maxData int, left int64) {
	s.r, s.max, s.left = r, maxData, left
	s.pos, s.end, s.lf, s.cr = 0, 0, 0, 0
	s.skipLF, s.started = false, false
}

// more reports whether the beginning of another message was read already.
func (s *events) more() bool { return bytes.Contains(s.buf[s.pos:s.end], []byte("data:")) }

// line returns the next line without its end. It is valid until the next call.
func (s *events) line() ([]byte, error) {
	for {
		if s.lf < s.pos {
			s.lf = s.find('\n', s.pos)
		}
		if s.cr < s.pos {
			s.cr = s.find('\r', s.pos)
		}
		if i := min(s.lf, s.cr); i < s.end {
			if i == s.lf && i == s.pos && s.skipLF {
				s.pos, s.skipLF = i+1, false
				continue
			}
			line := s.buf[s.pos:i]
			if len(line) > s.max+lineOverhead {
				return nil, errLongLine
			}
			s.skipLF = i == s.cr
			s.pos = i + 1
			if !s.started {
				s.started = true
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			return line, nil
		}
		if s.end-s.pos > s.max+lineOverhead {
			return nil, errLongLine
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// find returns the index of c at or after from, or s.end.
func (s *events) find(c byte, from int) int {
	if i := bytes.IndexByte(s.buf[from:s.end], c); i >= 0 {
		return from + i
	}
	return s.end
}

// fill reads more after what is there, which holds no line end.
func (s *events) fill() error {
	if s.pos > 0 {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	if s.end == len(s.buf) {
		grown := make([]byte, max(firstBuffer, 2*len(s.buf)))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	old := s.end
	n, err := s.r.Read(s.buf[old:])
	if n > 0 {
		if s.left -= int64(n); s.left < 0 {
			return fmt.Errorf("the server sent too much before its answer: %w", upstream.ErrTooLarge)
		}
		s.end = old + n
		s.lf, s.cr = s.find('\n', old), s.find('\r', old)
		return nil
	}
	s.lf, s.cr = s.end, s.end
	if err == io.EOF {
		return errEnded
	}
	return err
}
