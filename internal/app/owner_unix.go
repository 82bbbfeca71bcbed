//go:build unix

package app

import (
	"fmt"
	"os"
)

// onlyOwner refuses a data folder that others can enter.
func onlyOwner(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the data folder %s can be entered by others: chmod 700 it", dir)
	}
	return nil
}
