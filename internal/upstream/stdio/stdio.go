// Package stdio runs one MCP server as a process and speaks to it over its
// standard input and output, one message per line, in both eras.
//
// Threat: a process that is hostile or broken, and a process that sees too
// much. It may flood, never read, write half a line or an endless one, answer
// what nobody asked, answer twice, leave children behind, or crash in a loop;
// and it would find the gateway's secrets in an environment it inherited.
//
// It guarantees: the process has an empty environment but for what the
// configuration names (and PATH, see DefaultPath), a process group of its own
// and no descriptor but its standard three; a message that waits in a full pipe
// holds up no caller past its context, and a process that does not read for
// WriteTimeout is killed; Exchange returns the one response that carries its
// ID; when the process ends, every exchange fails at once; what the protocol
// does not allow is counted and dropped, and a process that does it more than
// maxViolations times in a minute is killed; a process that crashes soon after
// its start is started again only after a growing pause.
//
// It does not confine the process: it runs with the rights of the gateway, and
// one that leaves its process group (setsid) outlives it. That is what the
// sandbox is for. It knows no method's meaning.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Config says which process is the server. Command and JSON are required; a
// zero duration means the default named with it.
type Config struct {
	// Command is the program and its arguments. A program without a path
	// separator is searched in the PATH that the process will have.
	Command []string
	// Env is the whole environment as NAME=value. Where it names no PATH, PATH
	// is DefaultPath; on Windows SYSTEMROOT is added, without which nothing
	// starts there.
	Env []string
	// Dir is the working directory; empty is the gateway's own.
	Dir string
	// JSON bounds one message of the server.
	JSON strictjson.Limits
	// Stderr takes each line that the server writes to its standard error, cut
	// at 4 KiB, as it came: untrusted bytes that need escaping. Nil logs them
	// at debug level. It must not block.
	Stderr func(line []byte)
	// WriteTimeout is how long the process may leave its input unread while a
	// message waits (10 s).
	WriteTimeout time.Duration
	// CloseTimeout is how long the process may take to end after its input was
	// closed, and again after it was asked to terminate (2 s).
	CloseTimeout time.Duration
	// Logger gets what an operator may want to know. Nil discards.
	Logger *slog.Logger
}

// DefaultPath returns the PATH of a process whose configuration names none.
func DefaultPath() string {
	if runtime.GOOS == "windows" {
		return `C:\Windows\System32;C:\Windows`
	}
	return "/usr/local/bin:/usr/bin:/bin"
}

// Dialer starts the processes of one configured server.
type Dialer struct {
	c       Config
	path    string
	backoff backoff
}

// New checks the configuration and returns a Dialer. It starts nothing.
func New(c Config) (*Dialer, error) {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return nil, errors.New("a stdio server needs a command")
	}
	if c.JSON.Bytes <= 0 || c.JSON.Depth <= 0 || c.JSON.Members <= 0 {
		return nil, errors.New("the limits of a server's messages must be set; start from strictjson.Default")
	}
	for _, a := range c.Command {
		if strings.IndexByte(a, 0) >= 0 {
			return nil, errors.New("an argument of the command holds a NUL byte")
		}
	}
	d := &Dialer{c: c, path: DefaultPath()}
	hasPath := false
	for _, e := range c.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.IndexByte(e, 0) >= 0 {
			return nil, errors.New("an environment variable of the server is not NAME=value without NUL bytes")
		}
		if name == "PATH" || runtime.GOOS == "windows" && strings.EqualFold(name, "PATH") {
			d.path, hasPath = value, true
		}
	}
	// A nil environment would be the gateway's own.
	d.c.Env = append([]string{}, c.Env...)
	if !hasPath {
		d.c.Env = append(d.c.Env, "PATH="+d.path)
	}
	d.c.Command = append([]string{}, c.Command...)
	if d.c.WriteTimeout <= 0 {
		d.c.WriteTimeout = 10 * time.Second
	}
	if d.c.CloseTimeout <= 0 {
		d.c.CloseTimeout = 2 * time.Second
	}
	if d.c.Logger == nil {
		d.c.Logger = slog.New(slog.DiscardHandler)
	}
	if d.c.Stderr == nil {
		log := d.c.Logger
		d.c.Stderr = func(line []byte) { log.Debug("the server wrote to its standard error", "line", string(line)) }
	}
	return d, nil
}

// Dial starts a process. The error wraps upstream.ErrBackoff while the server
// waits after a crash, and upstream.ErrDown when it cannot be started. The
// context bounds the start, not the life of the process.
func (d *Dialer) Dial(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
	if o.Era != mcp.Legacy && o.Era != mcp.Modern {
		return nil, errors.New("a connection needs to know its era")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if left := d.backoff.left(); left > 0 {
		return nil, fmt.Errorf("%w: %s left", upstream.ErrBackoff, left.Round(10*time.Millisecond))
	}
	p, err := d.start(o)
	if err != nil {
		d.backoff.crashed()
		return nil, fmt.Errorf("%w: %w", upstream.ErrDown, err)
	}
	return p, nil
}

// find returns the file of the program.
func (d *Dialer) find() (string, error) {
	name := d.c.Command[0]
	if strings.ContainsRune(name, '/') || strings.ContainsRune(name, filepath.Separator) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(d.path) {
		if !filepath.IsAbs(dir) {
			continue // never the working directory
		}
		for _, ext := range extensions() {
			file := filepath.Join(dir, name+ext)
			if st, err := os.Stat(file); err == nil && executable(st) {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("the program %q is not in the server's PATH: write its full path, or name PATH in the server's env", name)
}

// extensions returns what may follow a program's name.
func extensions() []string {
	if runtime.GOOS == "windows" {
		return []string{"", ".exe", ".cmd", ".bat", ".com"}
	}
	return []string{""}
}

func executable(st os.FileInfo) bool {
	return st.Mode().IsRegular() && (runtime.GOOS == "windows" || st.Mode()&0o111 != 0)
}

func (d *Dialer) command() (*exec.Cmd, error) {
	file, err := d.find()
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: file, Args: d.c.Command, Env: d.c.Env, Dir: d.c.Dir, SysProcAttr: ownGroup()}, nil
}
