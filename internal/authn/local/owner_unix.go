//go:build unix

package local

import (
	"fmt"
	"os"
)

func onlyOwner(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others: chmod 600 it, and if somebody may have read it, remove it and start again", path)
	}
	return nil
}
