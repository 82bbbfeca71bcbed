package control

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPathIsOurs(t *testing.T) {
	t.Parallel()
	path, stop := start(t, nil)
	if _, err := Listen(path, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	if err := Call(t.Context(), path, "x", nil, nil); code(err) != CodeUnknownOp {
		t.Errorf("the first one does not answer any more: %v", err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
	if err := Call(t.Context(), path, "x", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v", err)
	}
	s, err := Listen(path, nil)
	if err != nil {
		t.Fatalf("after the first one had stopped: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestStrangePathsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(path string) (string, error)
		says string
	}{
		"none":      {func(string) (string, error) { return "", nil }, "no socket is named"},
		"no folder": {func(path string) (string, error) { return filepath.Join(path, "x", "y"), nil }, "make the folder"},
		"too long": {func(path string) (string, error) {
			return filepath.Join(filepath.Dir(path), strings.Repeat("l", MostPathBytes)), nil
		}, "shorter path"},
		"a file":        {func(path string) (string, error) { return path, os.WriteFile(path, []byte("mine"), 0o600) }, "move it away"},
		"a folder":      {func(path string) (string, error) { return path, os.Mkdir(path, 0o700) }, "move it away"},
		"a link":        {func(path string) (string, error) { return path, os.Symlink("elsewhere", path) }, "move it away"},
		"others' write": {func(path string) (string, error) { return path, os.Chmod(filepath.Dir(path), 0o777) }, "chmod 700"},
		"a stranger's program": {func(path string) (string, error) {
			l, err := net.Listen("unix", path)
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return path, err
		}, "another program listens"},
		"a stranger's socket": {func(path string) (string, error) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return "", err
			}
			l.SetUnlinkOnClose(false)
			return path, errors.Join(l.Close(), os.Chown(path, 12345, -1))
		}, "socket of user 12345"},
	} {
		if runtime.GOOS == "windows" && (strings.HasPrefix(name, "others") || strings.HasSuffix(name, "link")) || os.Geteuid() != 0 && name == "a stranger's socket" {
			t.Logf("%s: not tried, it needs modes, links or root", name)
			continue
		}
		path, err := c.make(shortPath(t))
		if err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		if _, err := Listen(path, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.Lstat(path); before != nil && (after == nil || after.Mode() != before.Mode()) {
			t.Errorf("%s: was removed", name)
		}
	}
	for _, path := range []string{"", strings.Repeat("l", MostPathBytes+1)} {
		if err := Call(t.Context(), path, "x", nil, nil); err == nil {
			t.Errorf("called %q", path)
		}
	}
}

func TestDeadGatewayLeavesThePathFree(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := shortPath(t)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "MUNJIGI_TEST_CONTROL="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "listening <nil>\n" {
		t.Fatalf("%q %v", said, err)
	}
	if _, err := Listen(path, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if err := Call(t.Context(), path, "x", nil, nil); code(err) != CodeUnknownOp {
		t.Errorf("%v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("nothing is left to be stale: %v", err)
	}
	if err := Call(t.Context(), path, "x", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v", err)
	}
	s, err := Listen(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
