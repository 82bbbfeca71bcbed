package config

import "os"

// writableByOthers finds nothing on Windows, where the mode of a file does
// not tell who can write it.
func writableByOthers(os.FileInfo) complaint { return complaint{} }

func readableByAll(os.FileInfo) bool { return false }
