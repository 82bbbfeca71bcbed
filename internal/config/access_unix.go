//go:build !windows

package config

import (
	"fmt"
	"os"
	"syscall"
)

// writableByOthers refuses a file that group or others can write, or that
// belongs to a user who is neither this one nor root.
func writableByOthers(info os.FileInfo) complaint {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return complaint{fmt.Sprintf("can be written by others than its owner (mode %04o)", mode), "chmod go-w the file, and look whether it still says what you wrote"}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return complaint{fmt.Sprintf("belongs to user %d, who can change it", st.Uid), "make it your own: chown it, and look whether it still says what you wrote"}
	}
	return complaint{}
}

func readableByAll(info os.FileInfo) bool { return info.Mode().Perm()&0o004 != 0 }
