package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxHint        = 1 << 20
	maxViolations  = 100 // in a minute
	maxInbox       = 1024
	maxInboxBytes  = 16 << 20
	oversizeFactor = 16 // a line of so many limits is skipped, a longer one kills
	edge           = 48 // bytes at both ends of a skipped line that may hold its ID
	maxComplaint   = 4 << 10
	complaintRate  = 200 // lines a second
)

// read takes the messages of the process until its output ends.
func (p *process) read() {
	defer p.stdout.Close()
	br := bufio.NewReaderSize(p.stdout, 32<<10)
	for {
		line, err := p.line(br)
		if err != nil {
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			p.message(line)
		}
	}
	p.fail(fmt.Errorf("%w: its process ended", upstream.ErrDown), false)
	go p.stop()
}

// line returns one line in a buffer of its own, nil for one that was too long.
// What the end of the output cut off is no line.
func (p *process) line(br *bufio.Reader) ([]byte, error) {
	part, err := br.ReadSlice('\n')
	if err == nil {
		return bytes.Clone(part), nil
	}
	limit := p.d.c.JSON.Bytes
	line := append(make([]byte, 0, max(2*len(part), p.long)), part...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(line) > limit {
			return nil, p.skip(br, line)
		}
		part, err = br.ReadSlice('\n')
		line = append(line, part...)
	}
	p.long = min(len(line)+len(line)/8, maxHint)
	return line, err
}

// skip passes over a line that is too long, so that one large answer costs one
// call and not the process. A response names its request as the first or the
// last member of the outermost object, which can be read without the middle.
func (p *process) skip(br *bufio.Reader, head []byte) error {
	tail := append([]byte(nil), head[len(head)-edge:]...)
	head = head[:edge]
	for total := p.d.c.JSON.Bytes; ; {
		part, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if total += len(part); total/oversizeFactor > p.d.c.JSON.Bytes {
			cause := fmt.Errorf("%w: %w: a line does not end", upstream.ErrDown, upstream.ErrTooLarge)
			p.contain(cause)
			return cause
		}
		tail = append(tail, part...)
		tail = tail[max(0, len(tail)-edge):]
		if err == nil {
			break
		}
	}
	id, ok := outerID(head, bytes.TrimSpace(tail))
	p.mu.Lock()
	answer := p.waiting[id]
	delete(p.waiting, id)
	p.mu.Unlock()
	if !ok || answer == nil {
		p.foul("a line that is too large and answers nothing")
		return nil
	}
	p.d.c.Logger.Warn("an answer of the server was too large")
	answer <- outcome{}
	return nil
}

// outerID finds an integer ID as the first members or as the last member of an
// object of which both ends are known.
func outerID(head, tail []byte) (mcp.ID, bool) {
	if rest, ok := bytes.CutPrefix(head, []byte(`{"jsonrpc":"2.0","id":`)); ok {
		if i := bytes.IndexByte(rest, ','); i > 0 {
			return integerID(rest[:i])
		}
	}
	if rest, ok := bytes.CutSuffix(tail, []byte{'}'}); ok {
		if i := bytes.LastIndex(rest, []byte(`,"id":`)); i >= 0 {
			return integerID(rest[i+len(`,"id":`):])
		}
	}
	return mcp.ID{}, false
}

func integerID(raw []byte) (mcp.ID, bool) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	return mcp.NumberID(n), err == nil
}

// message sorts one line of the process.
func (p *process) message(line []byte) {
	msg, err := mcp.Decode(line, p.d.c.JSON)
	if err != nil {
		p.foul("a line that is not a message: " + err.Error())
		return
	}
	if msg.Kind == mcp.Request || msg.Kind == mcp.Notification {
		if !p.in.put(msg, len(line)) {
			p.foul("messages faster than they can be handled")
		}
		return
	}
	p.mu.Lock()
	answer, ok := p.waiting[msg.ID]
	delete(p.waiting, msg.ID)
	_, late := p.abandoned[msg.ID]
	delete(p.abandoned, msg.ID)
	down := p.cause != nil
	p.mu.Unlock()
	switch {
	case ok:
		answer <- outcome{msg: msg, before: p.in.mark()}
	case !late && !down:
		p.foul("a response that nobody waits for")
	}
}

// fouls counts violations in a window of a minute.
type fouls struct {
	n    int
	from time.Time
}

// foul counts a violation; only the reader calls it.
func (p *process) foul(what string) {
	now := time.Now()
	if now.Sub(p.fouls.from) > time.Minute {
		p.fouls = fouls{from: now}
	}
	p.fouls.n++
	if p.fouls.n == 1 || p.fouls.n == maxViolations {
		p.d.c.Logger.Warn("the server broke the protocol", slog.String("what", what), slog.Int("count", p.fouls.n))
	}
	if p.fouls.n > maxViolations {
		p.contain(fmt.Errorf("%w: %w: too often in a minute", upstream.ErrDown, upstream.ErrViolation))
	}
}

// inbox hands messages to a handler, in order, from one goroutine that lives
// as long as there are some.
type inbox struct {
	handle upstream.Handler

	mu    sync.Mutex
	items []item
	bytes int
	busy  bool
}

// item is a message, or a mark to be closed when all before it was handled.
type item struct {
	msg  mcp.Message
	size int
	mark chan struct{}
}

// put queues a message; false means that the queue is full.
func (in *inbox) put(msg mcp.Message, size int) bool {
	if in.handle == nil {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.items) >= maxInbox || in.bytes+size > maxInboxBytes {
		return false
	}
	in.items = append(in.items, item{msg: msg, size: size})
	in.bytes += size
	if !in.busy {
		in.busy = true
		go in.run()
	}
	return true
}

// mark returns a channel that is closed when the messages so far were handled,
// nil when they are already.
func (in *inbox) mark() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.busy {
		return nil
	}
	m := make(chan struct{})
	in.items = append(in.items, item{mark: m})
	return m
}

func (in *inbox) run() {
	var batch []item
	for {
		in.mu.Lock()
		if len(in.items) == 0 {
			in.busy, in.items = false, nil
			in.mu.Unlock()
			return
		}
		batch, in.items = in.items, batch[:0]
		in.mu.Unlock()
		for i := range batch {
			if batch[i].mark != nil {
				close(batch[i].mark)
				continue
			}
			in.handle(batch[i].msg)
			in.mu.Lock()
			in.bytes -= batch[i].size
			in.mu.Unlock()
		}
		clear(batch)
	}
}

// complaints hands on the lines of the standard error, each cut at
// maxComplaint and no more than complaintRate in a second.
func (p *process) complaints() {
	defer p.stderr.Close()
	br := bufio.NewReaderSize(p.stderr, maxComplaint)
	from, n, dropped := time.Now(), 0, 0
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			if now := time.Now(); now.Sub(from) >= time.Second {
				from, n = now, 0
			}
			if n++; n <= complaintRate {
				p.d.c.Stderr(bytes.TrimRight(line, "\r\n"))
			} else {
				dropped++
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if err != nil {
			break
		}
	}
	if dropped > 0 {
		p.d.c.Logger.Warn("lines of the server's standard error were dropped", slog.Int("lines", dropped))
	}
}
