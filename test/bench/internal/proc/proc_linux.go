package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is USER_HZ, the unit of /proc/PID/stat, the same on all architectures
// that Go runs on.
const ticks = 100

// Read returns what the process uses, its children not counted.
func Read(pid int) (Usage, error) {
	stat, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		return Usage{}, err
	}
	s, err := parseStat(stat)
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	status, err := os.ReadFile(path(pid, "status"))
	if err != nil {
		return Usage{}, err
	}
	return Usage{CPU: s.cpu, Resident: kilobytes(status, "VmRSS:"), Peak: kilobytes(status, "VmHWM:")}, nil
}

// Tree lists the process and all its living descendants.
func Tree(pid int) ([]int, error) {
	if _, err := os.Stat(path(pid, "stat")); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(path(child, "stat"))
		if err != nil {
			continue // it has ended since
		}
		if s, err := parseStat(raw); err == nil {
			children[s.parent] = append(children[s.parent], child)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// Busy is the CPU time that the whole machine has spent on anything, all cores
// added up; time stolen by a hypervisor counts too.
func Busy() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(raw))
}

// parseBusy reads the first line of proc_stat(5).
func parseBusy(raw string) (time.Duration, error) {
	line, _, _ := strings.Cut(raw, "\n")
	fields := strings.Fields(line)
	const idle, iowait, steal = 4, 5, 8
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins %q, which is not understood", line)
	}
	var sum int64
	for i, field := range fields[1 : steal+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat begins %q: %w", line, err)
		}
		if i+1 != idle && i+1 != iowait {
			sum += n
		}
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// Runs says whether the process runs the program file at exe.
func Runs(pid int, exe string) bool {
	have, err := os.Stat(path(pid, "exe"))
	if err != nil {
		return false
	}
	want, err := os.Stat(exe)
	return err == nil && os.SameFile(have, want)
}

// ResetPeak makes Peak count from now. Where the kernel does not allow it,
// Peak stays what it was.
func ResetPeak(pid int) {
	_ = os.WriteFile(path(pid, "clear_refs"), []byte("5"), 0)
}

// Listener finds the process that listens on a TCP port of this machine.
func Listener(port int) (int, error) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if inode, ok := listening(lines.Text(), port); ok {
				sockets["socket:["+inode+"]"] = true
			}
		}
		f.Close()
	}
	if len(sockets) == 0 {
		return 0, fmt.Errorf("nothing listens on port %d", port)
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && sockets[target] {
			return strconv.Atoi(strings.Split(link, "/")[2])
		}
	}
	return 0, fmt.Errorf("what listens on port %d belongs to another user or machine", port)
}

// Machine names the processor and the kernel.
func Machine() string {
	cpu := "unknown processor"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := bytes.Cut(raw, []byte("model name\t: ")); ok {
			name, _, _ := bytes.Cut(after, []byte("\n"))
			cpu = string(name)
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return cpu + ", Linux " + strings.TrimSpace(string(kernel))
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

type stat struct {
	parent int
	cpu    time.Duration
}

// parseStat reads proc_pid_stat(5). The second field is a name in brackets
// that may itself hold spaces and brackets.
func parseStat(raw []byte) (stat, error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("stat %q is not understood", raw)
	}
	fields := strings.Fields(string(raw[end+1:]))
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("stat %q has too few fields", raw)
	}
	var numbers [3]int64
	for i, at := range []int{1, 11, 12} {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("stat %q is not understood: %w", raw, err)
		}
		numbers[i] = n
	}
	return stat{parent: int(numbers[0]), cpu: time.Duration(numbers[1]+numbers[2]) * time.Second / ticks}, nil
}

// kilobytes is the value of one line of proc_pid_status(5), in bytes.
func kilobytes(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// listening reads one line of proc_pid_net_tcp(5).
func listening(line string, port int) (inode string, ok bool) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listen {
		return "", false
	}
	_, hex, err := net.SplitHostPort(fields[1])
	if err != nil {
		return "", false
	}
	have, err := strconv.ParseUint(hex, 16, 16)
	return fields[9], err == nil && int(have) == port
}
