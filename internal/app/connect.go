package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/gateway"
)

// ConnectPath returns where the socket of `munjigi connect` is.
func ConnectPath(data string) string { return filepath.Join(data, "connect.sock") }

// hello is the one line that a connection opens with; an empty server is all
// of /mcp.
type hello struct {
	Server string `json:"server"`
}

const helloTime = 5 * time.Second

// ServeConnect speaks MCP on a socket that only the operator can open, so that
// a client's config needs no token, until ctx ends.
func (a *App) ServeConnect(ctx context.Context) error {
	path := ConnectPath(a.Config().Data)
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return errors.New("another gateway serves this data folder")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	// The folder is 0700 already; the mode says the same of the socket.
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		open.Go(func() { a.connected(ctx, c) })
	}
}

func (a *App) connected(ctx context.Context, c *net.UnixConn) {
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(helloTime))
	in := bufio.NewReaderSize(c, 4096)
	line, err := in.ReadSlice('\n')
	var h hello
	if err != nil || json.Unmarshal(line, &h) != nil || h.Server != "" && !config.ServerName(h.Server) {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	w := timed{c, a.Config().Limits.WriteTimeout}
	if err := gateway.Converse(ctx, a.current.Load, local.Attached("connect"), h.Server, in, w); err != nil && ctx.Err() == nil {
		a.o.Logger.Debug("a connection ended", "err", err)
	}
}

// timed is a connection whose reader is cut off when it stands still.
type timed struct {
	net.Conn
	most time.Duration
}

// Write implements io.Writer.
func (t timed) Write(b []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(t.most)); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}

// Connect joins a pair of streams to the running gateway of a data folder
// until either side ends.
func Connect(ctx context.Context, data, server string, r io.Reader, w io.Writer) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", ConnectPath(data))
	if err != nil {
		return fmt.Errorf("no gateway answers for the data folder %s: start `munjigi serve` with the same config: %w", data, err)
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.Join(errors.New("the socket is of another kind"), conn.Close())
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	line, err := json.Marshal(hello{server})
	if err != nil {
		return err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(c, r)
		_ = c.CloseWrite()
	}()
	if _, err := io.Copy(w, c); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
