package proc

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 7 1 1 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 8 0 1 1 1"
	for name, tc := range map[string]struct {
		in   string
		want stat
		bad  bool
	}{
		"plain":             {in: "42 (bench)" + rest, want: stat{7, 2 * time.Second}},
		"name with bracket": {in: "42 (a) b (c) 1 2)" + rest, want: stat{7, 2 * time.Second}},
		"empty":             {bad: true},
		"too short":         {in: "42 (bench) S 7", bad: true},
		"not numbers":       {in: "42 (bench) S x 1 1 0 -1 4194560 100 0 0 0 150 50 9", bad: true},
	} {
		got, err := parseStat([]byte(tc.in))
		if (err != nil) != tc.bad {
			t.Errorf("%s: error %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(stat{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParseBusy(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"cpu  100 20 30 9999 8888 5 5 40 7 7\ncpu0 1 1 1 1 1 1 1 1\n": 2 * time.Second,
		"cpu  100 20 30 9999 8888 5 5\n":                              -1,
		"cpu  x 20 30 9999 8888 5 5 40 7 7\n":                         -1,
		"":                                                            -1,
	} {
		got, err := parseBusy(in)
		if (err != nil) != (want < 0) || (err == nil && got != want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	if got, err := Busy(); err != nil || got <= 0 {
		t.Errorf("this machine: %v, %v", got, err)
	}
}

// TestSelf reads this process and a child of its own.
func TestSelf(t *testing.T) {
	t.Parallel()
	u, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.Resident < 1<<20 || u.Peak < u.Resident/2 {
		t.Errorf("this test uses %+v", u)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tree, err := Tree(os.Getpid())
	if err != nil || tree[0] != os.Getpid() || !slices.Contains(tree, cmd.Process.Pid) {
		t.Errorf("tree is %v, %v; want this test and %d", tree, err, cmd.Process.Pid)
	}
	ResetPeak(cmd.Process.Pid)
	if !Runs(os.Getpid(), exe) || Runs(cmd.Process.Pid, exe) {
		t.Error("Runs cannot tell this program from another")
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := Read(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended was read")
	}
	if _, err := Tree(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended has a tree")
	}
}

// TestListener does not run beside TestSelf, whose child holds all sockets of
// this process for a moment before it starts its own program.
func TestListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if pid, err := Listener(port); err != nil || pid != os.Getpid() {
		t.Errorf("Listener(%d) = %d, %v; want %d", port, pid, err, os.Getpid())
	}
	ln.Close()
	if pid, err := Listener(port); err == nil {
		t.Errorf("nothing listens any more, but Listener gives %d", pid)
	}
}
