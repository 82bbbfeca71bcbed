package app_test

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"
)

// lines is a client on standard streams, one message a line.
type lines struct {
	in   *io.PipeWriter
	done chan error

	mu      sync.Mutex
	out     []string
	changed chan struct{}
	read    int
}

// newLines starts serve on a pair of streams.
func newLines(serve func(r io.Reader, w io.Writer) error) *lines {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	l := &lines{in: inW, done: make(chan error, 1), changed: make(chan struct{})}
	served := make(chan error, 1)
	go func() {
		err := serve(inR, outW)
		_ = inR.Close()
		_ = outW.Close()
		served <- err
	}()
	go func() {
		r := bufio.NewReader(outR)
		for {
			line, err := r.ReadString('\n')
			if line != "" {
				l.mu.Lock()
				l.out = append(l.out, strings.TrimSuffix(line, "\n"))
				close(l.changed)
				l.changed = make(chan struct{})
				l.mu.Unlock()
			}
			if err != nil {
				l.done <- <-served
				return
			}
		}
	}()
	return l
}

func (l *lines) write(line string) error {
	_, err := io.WriteString(l.in, strings.ReplaceAll(line, "\n", " ")+"\n")
	return err
}

// next waits for the next line of the server.
func (l *lines) next(ctx context.Context) (string, error) {
	for {
		l.mu.Lock()
		changed := l.changed
		if l.read < len(l.out) {
			l.read++
			line := l.out[l.read-1]
			l.mu.Unlock()
			return line, nil
		}
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// close ends the input and waits until the server is done.
func (l *lines) close() error {
	_ = l.in.Close()
	return <-l.done
}

// rest returns the lines that nobody read.
func (l *lines) rest() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.out[l.read:]
	l.read = len(l.out)
	return left
}
