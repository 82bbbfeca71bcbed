//go:build !unix

package streamable

import "time"

// glance is nothing here: see quiet.
type glance struct{}

// quiet reports whether an idle connection is young enough to be alive still:
// where a socket cannot be looked at without blocking, a connection is reused
// only within two seconds, less than the keep-alive time of common servers.
func quiet(c *conn) bool { return time.Since(c.since) < 2*time.Second }
