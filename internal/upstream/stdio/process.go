package stdio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	maxWaiting   = 4096 // exchanges under way
	maxAbandoned = 1024 // given up on, whose late answers are no violation
	lastWords    = 500 * time.Millisecond
	killTime     = 5 * time.Second
	orderTime    = 250 * time.Millisecond
)

var errClosed = fmt.Errorf("the connection was closed: %w", upstream.ErrDown)

// process is one running server.
type process struct {
	d       *Dialer
	down    func(error)
	cmd     *exec.Cmd
	group   group
	started time.Time

	stdin, stdout, stderr *os.File

	lastID atomic.Int64
	mu     sync.Mutex
	// waiting are the exchanges under way; abandoned are the IDs of those that
	// were given up, of which ring forgets the oldest.
	waiting   map[mcp.ID]chan outcome
	abandoned map[mcp.ID]struct{}
	ring      []mcp.ID
	oldest    int
	cause     error // why the connection is lost
	asked     bool  // it was lost by Close
	lost      chan struct{}

	out   output
	in    inbox
	fouls fouls
	long  int // how long the last long line was: the next may be like it

	killing  sync.Mutex
	reaped   bool
	exited   chan struct{}
	stopping sync.Once
	readers  sync.WaitGroup
}

// outcome is what an exchange waits for. The messages that came before it have
// been handed on when before is closed; nil means that there were none.
type outcome struct {
	msg    mcp.Message
	before <-chan struct{}
}

// start starts a process and all that listens to it.
func (d *Dialer) start(o upstream.DialOptions) (*process, error) {
	cmd, err := d.command()
	if err != nil {
		return nil, err
	}
	p := &process{d: d, down: o.Down, cmd: cmd, waiting: map[mcp.ID]chan outcome{}, abandoned: map[mcp.ID]struct{}{},
		lost: make(chan struct{}), exited: make(chan struct{})}
	p.in.handle = o.Unbound
	theirs := make([]*os.File, 0, 3)
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	pipe := func(toServer bool) (ours *os.File) {
		r, w, perr := os.Pipe()
		if perr != nil {
			err = errors.Join(err, perr)
			return nil
		}
		if toServer {
			theirs = append(theirs, r)
			return w
		}
		theirs = append(theirs, w)
		return r
	}
	p.stdin, p.stdout, p.stderr = pipe(true), pipe(false), pipe(false)
	if err == nil {
		err = p.out.attempt.use(p.stdin)
	}
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
		err = cmd.Start()
	}
	if err != nil {
		for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
			if f != nil {
				f.Close()
			}
		}
		return nil, err
	}
	p.started = time.Now()
	p.group = newGroup(cmd)
	p.readers.Go(p.read)
	p.readers.Go(p.complaints)
	go p.reap()
	return p, nil
}

// Exchange implements upstream.Transport.
func (p *process) Exchange(ctx context.Context, m upstream.Outgoing, _ upstream.Handler) (mcp.Message, error) {
	if m.Method == "" || mcp.IsNotification(m.Method) {
		return mcp.Message{}, errors.New("an exchange sends a request")
	}
	if err := ctx.Err(); err != nil {
		return mcp.Message{}, err
	}
	id := mcp.NumberID(p.lastID.Add(1))
	answer := make(chan outcome, 1)
	p.mu.Lock()
	switch {
	case p.cause != nil:
		p.mu.Unlock()
		return mcp.Message{}, p.cause
	case len(p.waiting) >= maxWaiting:
		p.mu.Unlock()
		return mcp.Message{}, upstream.ErrBusy
	}
	p.waiting[id] = answer
	p.mu.Unlock()
	if m.RequestID != nil {
		m.RequestID(id)
	}
	if err := p.write(&m, id); err != nil {
		p.abandon(id)
		return mcp.Message{}, err
	}
	select {
	case o := <-answer:
		return p.settle(ctx, o)
	case <-ctx.Done():
		p.abandon(id)
		return mcp.Message{}, ctx.Err()
	case <-p.lost:
	}
	select {
	case o := <-answer: // it came before the end
		return p.settle(ctx, o)
	default:
		return mcp.Message{}, p.why()
	}
}

// settle returns an answer after the messages that came before it, unless
// their handler takes too long: it must not hold up the answers.
func (p *process) settle(ctx context.Context, o outcome) (mcp.Message, error) {
	if o.msg.Kind == 0 {
		return mcp.Message{}, fmt.Errorf("the answer is too large: %w", upstream.ErrTooLarge)
	}
	if o.before == nil {
		return o.msg, nil
	}
	late := time.NewTimer(orderTime)
	defer late.Stop()
	select {
	case <-o.before:
	case <-late.C:
	case <-ctx.Done():
		return mcp.Message{}, ctx.Err()
	}
	return o.msg, nil
}

// Send implements upstream.Transport.
func (p *process) Send(ctx context.Context, m upstream.Outgoing) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.write(&m, mcp.ID{})
}

// Listen implements upstream.Transport.
func (p *process) Listen(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.lost:
		return p.why()
	}
}

// Close implements upstream.Transport. It returns when the process and its
// group have ended.
func (p *process) Close() error {
	p.fail(errClosed, true)
	p.stop()
	select {
	case <-p.exited:
	case <-time.After(killTime):
		return errors.New("the process does not end although it was killed")
	}
	p.readers.Wait()
	return nil
}

func (p *process) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// fail ends the connection: whoever waits learns the cause. Only the first
// cause counts; fail reports whether this was the first. The owner is told
// unless it asked for the end.
func (p *process) fail(cause error, asked bool) bool {
	p.mu.Lock()
	if p.cause != nil {
		p.mu.Unlock()
		return false
	}
	p.cause, p.asked = cause, asked
	clear(p.waiting)
	p.mu.Unlock()
	close(p.lost)
	if p.down != nil && !asked {
		p.down(cause)
	}
	return true
}

// abandon gives an exchange up. Its answer may still come.
func (p *process) abandon(id mcp.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.waiting[id]; !ok {
		return
	}
	delete(p.waiting, id)
	p.abandoned[id] = struct{}{}
	if len(p.ring) < maxAbandoned {
		p.ring = append(p.ring, id)
		return
	}
	delete(p.abandoned, p.ring[p.oldest])
	p.ring[p.oldest] = id
	p.oldest = (p.oldest + 1) % maxAbandoned
}

// stop ends the process, politely at first (both revisions, stdio, "Shutdown").
func (p *process) stop() {
	p.stopping.Do(func() {
		p.out.close(p.stdin)
		for _, next := range []func(){p.group.terminate, p.group.kill} {
			timer := time.NewTimer(p.d.c.CloseTimeout)
			select {
			case <-p.exited:
				timer.Stop()
				return
			case <-timer.C:
				p.signal(next)
			}
		}
	})
}

// contain ends the connection and kills the process at once.
func (p *process) contain(cause error) {
	if p.fail(cause, false) {
		p.d.c.Logger.Warn("the server's process is killed", slog.String("cause", cause.Error()))
	}
	p.signal(p.group.kill)
}

// signal does something to the group unless the process was reaped, after
// which its number may be another's.
func (p *process) signal(f func()) {
	p.killing.Lock()
	defer p.killing.Unlock()
	if !p.reaped {
		f()
	}
}

// reap waits for the end of the process and ends what it leaves behind.
func (p *process) reap() {
	awaitExit(p.cmd.Process.Pid)
	if !awaitsExit {
		_ = p.cmd.Wait()
	}
	p.killing.Lock()
	p.group.kill()
	p.reaped = true
	p.killing.Unlock()
	if awaitsExit {
		_ = p.cmd.Wait()
	}
	p.group.close()
	p.out.close(p.stdin)
	lifetime := time.Since(p.started)
	p.mu.Lock()
	asked := p.asked
	p.mu.Unlock()
	switch {
	case lifetime >= crashTime:
		p.d.backoff.lived()
	case !asked:
		p.d.backoff.crashed()
	}
	p.d.c.Logger.Info("the server's process ended", slog.String("state", p.cmd.ProcessState.String()),
		slog.Duration("lifetime", lifetime), slog.Bool("asked", asked))
	// What it wrote is still read, unless something that left its group keeps
	// the pipes open.
	end := time.Now().Add(lastWords)
	_ = p.stdout.SetReadDeadline(end)
	_ = p.stderr.SetReadDeadline(end)
	close(p.exited)
}
