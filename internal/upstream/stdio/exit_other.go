//go:build !linux

package stdio

// awaitsExit says that awaitExit waits.
const awaitsExit = false

// awaitExit returns at once: only Linux can wait for a process without reaping
// it. Between its end and the end of its group another group could in theory
// take its number.
func awaitExit(int) {}
