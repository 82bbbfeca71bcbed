//go:build !linux

package proc

import (
	"runtime"
	"time"
)

// Read is not available here.
func Read(int) (Usage, error) { return Usage{}, ErrUnsupported }

// Tree is not available here.
func Tree(int) ([]int, error) { return nil, ErrUnsupported }

// Busy is not available here.
func Busy() (time.Duration, error) { return 0, ErrUnsupported }

// Runs is not available here.
func Runs(int, string) bool { return false }

// ResetPeak does nothing here.
func ResetPeak(int) {}

// Listener is not available here.
func Listener(int) (int, error) { return 0, ErrUnsupported }

// Machine names the system.
func Machine() string { return runtime.GOOS }
