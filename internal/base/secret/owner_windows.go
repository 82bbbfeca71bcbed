package secret

import "io/fs"

// Owner returns the user that a file belongs to, where the system numbers users.
func Owner(fs.FileInfo) (uid int, ok bool) { return 0, false }
