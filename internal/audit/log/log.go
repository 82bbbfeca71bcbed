// Package log keeps the record in files of JSON lines that are only ever appended to.
//
// The threat: a call that was let through and left no trace, because the disk was full, the machine stopped, or a
// second process wrote across the first. The job: a caller learns whether its event is in the record before the
// call goes on.
//
// Guaranteed: after Record of a Strict recorder returned nil, the line is synced to the disk; many waiting callers
// share one write and one sync. A Relaxed recorder returns as soon as the line is queued; it is written and synced
// at most 50 ms later, and when the queue is full Record waits. After the first error of a write or a sync the log
// is broken: every later Record fails, so the gateway refuses calls until the log is opened again. Lines are whole
// and in the order of Record; several processes may share one folder. A line that a crash cut off is moved aside,
// never parsed and never lost, and an event says so.
//
// Not guaranteed: a Relaxed event of the last 50 ms survives neither a crash of the process nor of the machine, nor
// is its caller told when writing it failed. Whoever may write the folder may change the record; proof against that
// is another part's job.
//
// The folder holds audit.jsonl, which grows; audit-<time>.jsonl, earlier files, whose names sort by age;
// audit.torn-<time>, moved aside; and audit.lock, held during each write.
package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
)

const (
	defaultRotateBytes = 64 << 20
	maxBatch           = 4 << 20
	maxDelay           = 50 * time.Millisecond
	maxIdleScratch     = 16 << 10
)

// Reasons for which Record refuses.
var (
	ErrBroken = errors.New("the record cannot be written; free space or mend the data folder, then start again")
	ErrClosed = errors.New("the record is closed")
)

// Durability says when Record returns. The zero value is Strict.
type Durability int

const (
	// Strict returns when the line is synced to the disk.
	Strict Durability = iota
	// Relaxed returns when the line is queued.
	Relaxed
)

// Options for Open.
type Options struct {
	Dir         string // made with mode 0700 when it does not exist
	RotateBytes int64  // a file that would grow past this many bytes is closed and renamed; 0 is 64 MiB
	Keep        int    // earlier files kept beside the growing one; 0 keeps all
}

// Log is one process's hold on the record. Its zero value refuses every event.
type Log struct {
	files   *files
	scratch sync.Pool

	mu     sync.Mutex
	cur    *batch
	spare  []byte
	refuse error // why Record fails, nil while it does not
	broken error

	started chan struct{} // the current batch has its first line
	urgent  chan struct{} // somebody waits for the current batch
	stop    chan struct{}
	done    chan struct{}
}

type batch struct {
	lines []byte
	taken chan struct{} // closed when the writer has taken the batch and a new one is there to fill
	done  chan struct{} // closed when the batch is synced or has failed
	err   error         // valid after done
}

func newBatch(buf []byte) *batch {
	return &batch{lines: buf[:0], taken: make(chan struct{}), done: make(chan struct{})}
}

// Open starts the log in o.Dir. It fails when the folder can be written by others or the file cannot be appended to.
func Open(o Options) (*Log, error) { return open(o, openFile) }

func open(o Options, opener func(path string) (file, error)) (*Log, error) {
	if o.RotateBytes == 0 {
		o.RotateBytes = defaultRotateBytes
	}
	if o.RotateBytes < 0 || o.Keep < 0 || o.Dir == "" {
		return nil, errors.New("record: a folder is needed, and sizes and counts may not be negative: mend the options")
	}
	fs, err := openFiles(o, opener)
	if err != nil {
		return nil, err
	}
	l := &Log{
		files: fs, cur: newBatch(nil),
		started: make(chan struct{}, 1), urgent: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go l.write()
	return l, nil
}

// With returns a recorder of the given durability. Both kinds share one order of lines.
func (l *Log) With(d Durability) audit.Recorder { return recorder{l, d} }

type recorder struct {
	log        *Log
	durability Durability
}

// Record implements audit.Recorder. ctx bounds only the waiting: when it ends while a line is being synced, Record
// fails although the line may be in the record. Record the outcome of a call with a context that the caller's leaving
// does not end.
func (r recorder) Record(ctx context.Context, e *audit.Event) error {
	if r.log == nil || (r.durability != Strict && r.durability != Relaxed) {
		return fmt.Errorf("record: no log or no such durability %d: open a log and use Strict or Relaxed", r.durability)
	}
	if err := e.Check(); err != nil {
		return err
	}
	l := r.log
	buf, _ := l.scratch.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	*buf = append(e.Append((*buf)[:0]), '\n')
	b, err := l.queue(ctx, *buf, r.durability == Strict)
	if cap(*buf) <= maxIdleScratch {
		l.scratch.Put(buf)
	}
	if err != nil || r.durability == Relaxed {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	select {
	case <-b.done:
		return b.err
	default:
		return fmt.Errorf("record: gave up waiting for the disk: %w", ctx.Err())
	}
}

func (l *Log) queue(ctx context.Context, line []byte, urgent bool) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.cur == nil {
			return nil, ErrClosed
		}
		if l.refuse != nil {
			return nil, l.refuse
		}
		if len(l.cur.lines)+len(line) <= maxBatch {
			break
		}
		taken := l.cur.taken
		l.mu.Unlock()
		token(l.urgent)
		select {
		case <-taken:
		case <-ctx.Done():
			l.mu.Lock()
			return nil, fmt.Errorf("record: gave up waiting for room in the queue: %w", ctx.Err())
		}
		l.mu.Lock()
	}
	b := l.cur
	if len(b.lines) == 0 {
		token(l.started)
	}
	b.lines = append(b.lines, line...)
	if urgent || len(b.lines) > maxBatch/2 {
		token(l.urgent)
	}
	return b, nil
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *Log) write() {
	defer close(l.done)
	for {
		select {
		case <-l.started:
			wait := time.NewTimer(maxDelay)
			select {
			case <-wait.C:
			case <-l.urgent:
			case <-l.stop:
			}
			wait.Stop()
			l.flush()
		case <-l.urgent:
			l.flush()
		case <-l.stop:
			l.flush()
			return
		}
	}
}

func (l *Log) flush() {
	l.mu.Lock()
	b := l.cur
	if len(b.lines) == 0 {
		l.mu.Unlock()
		return
	}
	l.cur, l.spare = newBatch(l.spare), nil
	l.mu.Unlock()
	close(b.taken)

	err := l.files.write(b.lines)
	if err == nil {
		l.mu.Lock()
		l.spare = b.lines
		l.mu.Unlock()
		b.lines = nil
		close(b.done)
		return
	}
	l.mu.Lock()
	l.broken = fmt.Errorf("%w: %w", ErrBroken, err)
	l.refuse = l.broken
	waiting := l.cur
	l.cur = newBatch(nil)
	l.mu.Unlock()
	b.err, waiting.err = l.broken, l.broken
	close(b.done)
	close(waiting.taken)
	close(waiting.done)
}

// Err returns why the log is broken, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Close writes and syncs what is queued, refuses everything that comes later, and returns why the log is broken if
// it is. It may be called again.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.cur == nil {
		l.mu.Unlock()
		return nil
	}
	closing := l.refuse != ErrClosed
	l.refuse = ErrClosed
	l.mu.Unlock()
	if closing {
		close(l.stop)
	}
	<-l.done
	if closing {
		if err := l.files.close(); err != nil && l.Err() == nil {
			return err
		}
	}
	return l.Err()
}
