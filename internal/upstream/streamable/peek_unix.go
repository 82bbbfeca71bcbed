//go:build unix

package streamable

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// glance looks at a socket without reading from it. Its function and its
// argument are made once for each connection.
type glance struct {
	f   func(fd uintptr)
	fds [1]unix.PollFd
	n   int
	err error
}

func (g *glance) at(s syscall.RawConn) error {
	if g.f == nil {
		g.f = func(fd uintptr) {
			g.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
			g.n, g.err = unix.Poll(g.fds[:], 0)
		}
	}
	return s.Control(g.f)
}

// quiet reports whether nothing waits on an idle connection: no end of stream,
// no error and no bytes. A request on a connection that the server has closed
// would be lost, and must not be sent twice; bytes that nobody asked for are an
// answer to nothing.
func quiet(c *conn) bool {
	if c.sys == nil {
		return true
	}
	for {
		if c.glance.at(c.sys) != nil {
			return false
		}
		if c.glance.err != unix.EINTR {
			return c.glance.err == nil && c.glance.n == 0
		}
	}
}
