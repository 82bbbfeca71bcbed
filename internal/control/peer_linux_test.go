package control

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A real process of another user, to whom every file system right was given by mistake, is refused.
func TestAnotherUserIsRefusedByTheKernelsWord(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	path, _ := start(t, map[string]Handler{"x": func(context.Context, json.RawMessage) (any, error) {
		t.Error("the handler was called")
		return nil, nil
	}})
	for name, mode := range map[string]os.FileMode{path: 0o777, filepath.Dir(path): 0o777} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	said := make(chan string, 1)
	go func() {
		// Only this thread changes its user; it ends with the goroutine because it stays locked.
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			said <- errno.Error()
			return
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			said <- err.Error()
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, `{"op":"x"}`+"\n")
		b, _ := io.ReadAll(conn)
		said <- string(b)
	}()
	if got := <-said; !strings.Contains(got, `"code":"forbidden"`) || !strings.Contains(got, "65534") {
		t.Errorf("%q", got)
	}
}
