//go:build unix

package app_test

import (
	"strconv"
	"syscall"
	"testing"
)

// running reports whether there is a process of this number.
func running(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Kill(n, 0) == nil
}
