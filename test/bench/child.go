package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/proc"
)

// stopAfter is how long a process may take to end when asked.
const stopAfter = 15 * time.Second

// child is a process of the run.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	output *output
	exited chan struct{} // closed at the end of one that does not talk
	status error         // to be read after exited
}

// output reads a process's standard error: the garbage collector's lines are
// added up, the last of the others kept for when something goes wrong.
type output struct {
	mu      sync.Mutex
	gc      proc.Collections
	partial string
	last    []string
}

const lastLines = 20

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.partial + string(b)
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if !whole {
			break
		}
		text = rest
		if o.gc.Line(line) {
			continue
		}
		if o.last = append(o.last, line); len(o.last) > lastLines {
			o.last = o.last[1:]
		}
	}
	o.partial = text[:min(len(text), 64<<10)]
	return len(b), nil
}

// collections is what the garbage collector has said so far.
func (o *output) collections() proc.Collections {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gc
}

// tail is the last lines that were not the collector's.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == 0 {
		return ""
	}
	return "\n  its last words:\n  " + strings.Join(o.last, "\n  ")
}

// traced is the setting that makes a Go process tell of its collections.
const traced = "GODEBUG=gctrace=1"

// start runs a program. One that talks says lines of JSON on standard output;
// of any other it is kept like standard error.
func start(talks bool, env []string, name string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(name, args...), output: &output{}}
	c.cmd.Env = env
	c.cmd.Stderr = c.output
	c.cmd.WaitDelay = time.Second
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if talks {
		out, err := c.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		c.out = bufio.NewReader(out)
	} else {
		c.cmd.Stdout = c.output
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if !talks {
		c.exited = make(chan struct{})
		go func() {
			defer close(c.exited)
			c.status = c.cmd.Wait()
		}()
	}
	return c, nil
}

// startSelf runs this program in one of its roles.
func startSelf(env []string, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(true, env, self, append([]string{role}, args...)...)
}

// startListener runs a role that listens and returns where.
func startListener(env []string, role string, args ...string) (*child, string, error) {
	c, err := startSelf(env, role, args...)
	if err != nil {
		return nil, "", err
	}
	var h hello
	if err := c.read(&h); err != nil {
		return nil, "", errors.Join(err, c.stop())
	}
	return c, h.Addr, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// read takes one line of JSON from the child.
func (c *child) read(into any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s said nothing (%w)%s", strings.Join(c.cmd.Args[1:], " "), err, c.output.tail())
	}
	return json.Unmarshal(line, into)
}

// write gives one line of JSON to the child.
func (c *child) write(v any) error { return json.NewEncoder(c.in).Encode(v) }

// stop lets the child end by the end of its input, and ends it if it does
// not.
func (c *child) stop() error {
	c.in.Close()
	return c.wait()
}

// interrupt asks the child to end in the way that a service manager does. With
// what status it then ends is no matter of the benchmark's.
func (c *child) interrupt() error {
	if terminate(c.cmd.Process) != nil {
		_ = c.cmd.Process.Kill()
	}
	c.in.Close()
	err := c.wait()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return nil
	}
	return err
}

func (c *child) wait() error {
	late := time.AfterFunc(stopAfter, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	var err error
	if c.exited != nil {
		<-c.exited
		err = c.status
	} else {
		_, _ = io.Copy(io.Discard, c.out)
		err = c.cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w%s", c.cmd.Args[0], err, c.output.tail())
	}
	return nil
}
