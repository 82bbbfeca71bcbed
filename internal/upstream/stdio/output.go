package stdio

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxUnwritten = 16 << 20
	writePiece   = 64 << 10
	maxKept      = 128 << 10
)

// output is what goes to the process. A message is written at once if the pipe
// takes it; the rest waits and is written by a goroutine that lives as long as
// something waits.
type output struct {
	mu      sync.Mutex
	attempt attempt
	line    []byte // scratch
	waits   []byte
	writing bool
	closed  bool
}

// close closes the pipe. It does not wait for a write under way.
func (o *output) close(f *os.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		_ = f.Close()
	}
}

// write sends one message. It never waits for the process.
func (p *process) write(m *upstream.Outgoing, id mcp.ID) error {
	if err := p.why(); err != nil {
		return err
	}
	o := &p.out
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return errClosed
	}
	line, err := m.Append(o.line[:0], id)
	if err != nil {
		o.mu.Unlock()
		return err
	}
	if bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		line = strictjson.Compact(make([]byte, 0, len(line)), line)
	}
	line = append(line, '\n')
	if o.line = line; cap(line) > maxKept {
		o.line = nil
	}
	if o.writing {
		full := len(o.waits) > 0 && len(o.waits)+len(line) > maxUnwritten
		if !full {
			o.waits = append(o.waits, line...)
		}
		o.mu.Unlock()
		if full {
			return fmt.Errorf("%w: it does not read what it is sent", upstream.ErrBusy)
		}
		return nil
	}
	n, err := o.attempt.write(line)
	if err == nil && n < len(line) {
		o.waits = append(o.waits[:0], line[n:]...)
		o.writing = true
		go p.flush()
	}
	o.mu.Unlock()
	if err != nil {
		return p.unwritable(err)
	}
	return nil
}

// unwritable ends the connection because the process closed its input.
func (p *process) unwritable(err error) error {
	p.fail(fmt.Errorf("%w: its input is closed: %w", upstream.ErrDown, err), false)
	go p.stop()
	return p.why()
}

// flush writes what waits. A process that takes no piece of it within the
// write timeout is killed.
func (p *process) flush() {
	o := &p.out
	stuck := time.AfterFunc(p.d.c.WriteTimeout, func() {
		p.contain(fmt.Errorf("%w: %w: it did not read its input for %s", upstream.ErrDown, upstream.ErrViolation, p.d.c.WriteTimeout))
	})
	defer stuck.Stop()
	var now []byte
	for {
		o.mu.Lock()
		if len(o.waits) == 0 || o.closed {
			o.writing, o.waits = false, nil
			o.mu.Unlock()
			return
		}
		now, o.waits = o.waits, now[:0]
		o.mu.Unlock()
		for piece := now; len(piece) > 0; {
			n := min(len(piece), writePiece)
			stuck.Reset(p.d.c.WriteTimeout)
			if _, err := p.stdin.Write(piece[:n]); err != nil {
				o.mu.Lock()
				o.writing, o.waits = false, nil
				o.mu.Unlock()
				_ = p.unwritable(err)
				return
			}
			piece = piece[n:]
		}
	}
}
