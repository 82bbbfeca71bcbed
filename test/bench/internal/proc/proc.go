// Package proc reads from the operating system what other processes use: CPU
// time, memory, children.
//
// It is for measuring only. On Linux it reads /proc; elsewhere everything is
// ErrUnsupported, and the benchmark prints that a figure is not available
// rather than a wrong one. CPU time comes in steps of ten milliseconds, so only
// differences over a second or so mean anything.
package proc

import (
	"errors"
	"time"
)

// ErrUnsupported is what every function returns where the system has no /proc.
var ErrUnsupported = errors.New("this system does not show what other processes use; run on Linux for these figures")

// Usage is what one process, or several added up, used.
type Usage struct {
	// CPU is the time spent in user and kernel mode since the start.
	CPU time.Duration
	// Resident is memory in RAM now, and Peak the most since the start or the
	// last ResetPeak, in bytes.
	Resident, Peak int64
}

// Plus adds two usages.
func (u Usage) Plus(o Usage) Usage {
	return Usage{CPU: u.CPU + o.CPU, Resident: u.Resident + o.Resident, Peak: u.Peak + o.Peak}
}
