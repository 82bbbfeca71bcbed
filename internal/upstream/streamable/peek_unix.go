//go:build unix

package streamable

import "golang.org/x/sys/unix"

// quiet reports whether nothing waits on an idle connection: no end of stream,
// no error and no bytes. A request on a connection that the server has closed
// would be lost, and must not be sent twice; bytes that nobody asked for are an
// answer to nothing.
func quiet(c *conn) bool {
	if c.sys == nil {
		return true
	}
	var b [1]byte
	var err error
	if c.sys.Read(func(fd uintptr) bool {
		_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	}) != nil {
		return false
	}
	return err == unix.EAGAIN || err == unix.EWOULDBLOCK
}
