//go:build unix

package stdio

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time that this process used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
