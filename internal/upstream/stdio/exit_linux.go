package stdio

import "golang.org/x/sys/unix"

// awaitsExit says that awaitExit waits.
const awaitsExit = true

// awaitExit waits until the process has ended and leaves it to be reaped, so
// that its number cannot belong to another group while the rest of its own is
// being killed.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}
