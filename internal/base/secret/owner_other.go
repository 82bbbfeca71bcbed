//go:build !windows

package secret

import (
	"io/fs"
	"syscall"
)

// Owner returns the user that a file belongs to, where the system numbers users.
func Owner(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
