package kit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// stdioLink is a server that runs as a child process.
type stdioLink struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *tail
	done chan struct{} // its output ended
	gone chan error    // it ended

	writing sync.Mutex
	mu      sync.Mutex
	waiting map[string]*exchange
	last    *exchange
}

type exchange struct {
	response chan []byte
	other    func([]byte)
}

// DialStdio starts a program and makes a peer of it.
func DialStdio(c Command, p *Peer) (*Peer, error) {
	cmd := exec.Command(c.Path, c.Args...) // ended by Close
	cmd.Dir, cmd.Env = c.Dir, c.Env
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l := &stdioLink{cmd: cmd, in: in, out: &tail{}, done: make(chan struct{}), gone: make(chan error, 1), waiting: map[string]*exchange{}}
	cmd.Stderr = l.out
	err = launch(cmd, func() {
		l.read(out)
		l.gone <- cmd.Wait()
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	p.link = l
	return p, nil
}

func (l *stdioLink) read(r io.Reader) {
	defer close(l.done)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		raw := append([]byte(nil), lines.Bytes()...)
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(raw, &m) != nil {
			continue
		}
		l.mu.Lock()
		e, last := l.waiting[string(m.ID)], l.last
		l.mu.Unlock()
		switch {
		case m.Method == "" && e != nil:
			e.response <- raw
		case m.Method != "" && len(m.ID) > 0 && last != nil && last.other != nil:
			go last.other(raw) // a request: its answer must not hold up reading
		case m.Method != "" && last != nil && last.other != nil:
			last.other(raw)
		}
	}
}

func (l *stdioLink) send(ctx context.Context, m outgoing, other func([]byte)) ([]byte, int, error) {
	e := &exchange{response: make(chan []byte, 4), other: other}
	if m.id != "" {
		l.mu.Lock()
		l.waiting[m.id], l.last = e, e
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			delete(l.waiting, m.id)
			l.mu.Unlock()
		}()
	}
	l.writing.Lock()
	_, err := l.in.Write(append(m.body, '\n'))
	l.writing.Unlock()
	if err != nil {
		return nil, 0, fmt.Errorf("%w\n%s", err, l.out)
	}
	if m.id == "" {
		return nil, 0, nil
	}
	select {
	case b := <-e.response:
		return b, 0, nil
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w\n%s", ctx.Err(), l.out)
	case <-l.done:
		select {
		case b := <-e.response:
			return b, 0, nil
		default:
			return nil, 0, fmt.Errorf("the server ended before it answered\n%s", l.out)
		}
	}
}

// Close closes the program's input, waits for it to end, and ends its group
// when it does not.
func (l *stdioLink) Close() error {
	_ = l.in.Close() // it may have ended
	t := time.AfterFunc(stopWithin, func() { killGroup(l.cmd) })
	err := <-l.gone
	if !t.Stop() {
		return fmt.Errorf("the server did not end with its input: %w\n%s", err, l.out)
	}
	killGroup(l.cmd)
	return nil
}
