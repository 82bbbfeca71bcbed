package echo

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// ServeLines answers newline-delimited JSON from in on out until in ends,
// which is no error. It holds no state: it serves each message in the era
// that the message itself shows.
func (s *Server) ServeLines(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 128<<10)
	var long, answer []byte
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, line...); len(long) > MaxBody {
				return errors.New("a line is too long")
			}
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		if answer = s.line(answer[:0], bytes.TrimRight(line, "\r\n")); len(answer) > 0 {
			if _, err := out.Write(answer); err != nil {
				return err
			}
		}
		long = long[:0]
	}
}

// line appends the answer to one message, with its newline; nothing to a
// notification or a response.
func (s *Server) line(dst, message []byte) []byte {
	if len(message) == 0 {
		return dst
	}
	req, err := parse(message)
	switch {
	case err != nil:
		dst = failure(dst, &req, codeParse, "Parse error")
	case req.method == nil || req.id == nil:
		return dst
	case req.version != nil && unquoted(req.version) != wire.Modern:
		dst = failure(dst, &req, codeVersion, "Unsupported protocol version")
	default:
		dst, _ = s.answer(dst, &req, req.version != nil)
	}
	return append(dst, '\n')
}
