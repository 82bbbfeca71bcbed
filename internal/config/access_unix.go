//go:build !windows

package config

import (
	"fmt"
	"os"
)

// writableByOthers refuses a file that group or others can write.
func writableByOthers(info os.FileInfo) complaint {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return complaint{fmt.Sprintf("can be written by others than its owner (mode %04o)", mode), "chmod go-w the file, and look whether it still says what you wrote"}
	}
	return complaint{}
}

func readableByAll(info os.FileInfo) bool { return info.Mode().Perm()&0o004 != 0 }
