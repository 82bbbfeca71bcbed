package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

const (
	startWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
	keepOutput  = 64 << 10
)

// Command is a program to start.
type Command struct {
	Name string // for messages
	Path string
	Args []string
	Dir  string
	Env  []string // whole; nil inherits ours
	// Addr, when not empty, is the TCP address that answers once it is ready.
	Addr string
}

// Process is a program that runs. Stop ends it with all it started.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *tail
	done chan struct{}
	err  error
	took time.Duration
}

// Start runs a program in a process group of its own and waits until it is
// ready. The caller must Stop it.
func Start(ctx context.Context, c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...) // ended by Stop, which lets it finish first
	cmd.Dir = c.Dir
	cmd.Env = c.Env
	p := &Process{name: c.Name, cmd: cmd, out: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	began := time.Now()
	err := launch(cmd, func() {
		p.err = cmd.Wait()
		close(p.done)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	if c.Addr == "" {
		return p, nil
	}
	if err := p.Ready(ctx, c.Addr); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	p.took = time.Since(began)
	return p, nil
}

// launch starts a program in a group of its own and calls wait, which must
// return only when the program has ended. Both run on one thread that lives as
// long: the kernel ends a program that asked for it when the thread that
// started it ends, not when the process does.
func launch(cmd *exec.Cmd, wait func()) error {
	ownGroup(cmd)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			wait()
		}
	}()
	return <-started
}

// Ready waits until a TCP address answers.
func (p *Process) Ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%v):\n%s", p.name, p.err, p.out)
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready on %s: %w\n%s", p.name, addr, ctx.Err(), p.out)
		case <-tick.C:
		}
	}
}

// Took is how long the program needed until it was ready.
func (p *Process) Took() time.Duration { return p.took }

// PID is the program's process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is the end of what the program wrote.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal to the program itself.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Ended says how the program ended, once Done is closed.
func (p *Process) Ended() string { return p.cmd.ProcessState.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the program's exit status once Done is closed.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Stop asks the program to end, and ends its whole group when it does not. It
// is safe to call on a program that has ended.
func (p *Process) Stop() error {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended just now
		t := time.NewTimer(stopWithin)
		defer t.Stop()
		select {
		case <-p.done:
		case <-t.C:
			killGroup(p.cmd)
			<-p.done
			return fmt.Errorf("%s did not end within %s and was killed:\n%s", p.name, stopWithin, p.out)
		}
	}
	killGroup(p.cmd)
	return nil
}

// FreeAddr returns a loopback address that nothing listened on just now.
func FreeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// tail keeps the end of what was written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - keepOutput; extra > 0 {
		t.b = t.b[extra:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
