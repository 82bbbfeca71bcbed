//go:build unix

package stdio

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestNoOrphans(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"close", "exit", "flood"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			s := start(t, config("plain"), nil)
			s.must("fork", `,"text":"`+ln.Addr().String()+`"`)
			grandchild, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer grandchild.Close()
			if _, err := io.ReadFull(grandchild, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			if how != "close" {
				if _, err := s.call(t.Context(), how, ""); err == nil {
					t.Error("an answer from a process that ended")
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := grandchild.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("the grandchild lives on: %d, %v", n, err)
			}
		})
	}
}

// A process that ignores the end of its input and SIGTERM is killed.
func TestStubborn(t *testing.T) {
	t.Parallel()
	c := config("stubborn")
	c.CloseTimeout = 50 * time.Millisecond
	s := start(t, c, nil)
	s.must("", "")
	p := s.Transport.(*process)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || w.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, want SIGKILL", p.cmd.ProcessState)
	}
}
