//go:build !unix

package app_test

import (
	"os"
	"strconv"
	"testing"
)

// running reports whether there is a process of this number.
func running(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(n)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}
