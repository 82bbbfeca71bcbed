//go:build unix

package stdio

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes the process the leader of a group of its own: signals of the
// terminal do not reach it, and its children can be ended with it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// group is the process and the children that did not leave its group.
type group struct{ pid int }

func newGroup(cmd *exec.Cmd) group { return group{cmd.Process.Pid} }

// terminate asks the group to end.
func (g group) terminate() { _ = syscall.Kill(-g.pid, syscall.SIGTERM) }

// kill ends the group.
func (g group) kill() { _ = syscall.Kill(-g.pid, syscall.SIGKILL) }

func (g group) close() {}

// attempt writes to a pipe what it takes without waiting. Its function is made
// once, since a closure for each message would be an allocation for each.
type attempt struct {
	sys syscall.RawConn
	f   func(fd uintptr) bool
	b   []byte
	n   int
	err error
}

func (a *attempt) use(f *os.File) error {
	var err error
	a.sys, err = f.SyscallConn()
	a.f = func(fd uintptr) bool {
		for {
			if a.n, a.err = syscall.Write(int(fd), a.b); a.err != syscall.EINTR {
				return true
			}
		}
	}
	return err
}

// write returns how much of b was written; less than all is no error.
func (a *attempt) write(b []byte) (int, error) {
	a.b, a.n, a.err = b, 0, nil
	err := a.sys.Write(a.f)
	a.b = nil
	if err == nil && a.err != syscall.EAGAIN {
		err = a.err
	}
	return max(a.n, 0), err
}
