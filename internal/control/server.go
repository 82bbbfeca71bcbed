package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/durable"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

const peerWait = 10 * time.Second

// Server holds the socket of one gateway.
type Server struct {
	listener *net.UnixListener
	lock     *os.File
	handlers map[string]Handler
	uid      int           // of whoever may call
	askWait  time.Duration // for a caller to send its request
	takeWait time.Duration // for a caller to take its answer
	slots    chan struct{}
	close    func() error
}

// Serve is Listen and Server.Serve in one.
func Serve(ctx context.Context, path string, handlers map[string]Handler) error {
	s, err := Listen(path, handlers)
	if err != nil {
		return err
	}
	return s.Serve(ctx)
}

// Listen takes the path for this process, from now until the server is closed. It is ErrInUse when another gateway has
// it. Callers are served once Serve runs.
func Listen(path string, handlers map[string]Handler) (*Server, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("control: %w: make the folder", err)
	}
	if runtime.GOOS != "windows" && dir.Mode().Perm()&secret.OthersWrite != 0 {
		return nil, fmt.Errorf("control: others may write %s: run chmod 700 on it and look for what they changed", filepath.Dir(path))
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	listener, err := listen(path, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Server{
		listener: listener, lock: lock, handlers: handlers,
		uid: os.Geteuid(), askWait: peerWait, takeWait: peerWait, slots: make(chan struct{}, mostConnections),
	}
	s.close = sync.OnceValue(func() error { return errors.Join(listener.Close(), lock.Close()) })
	return s, nil
}

// listen is called with the lock's file open. The lock ends with the process, however that ends, so whoever gets it
// knows that the socket on the path is nobody's.
func listen(path string, lock *os.File) (*net.UnixListener, error) {
	if ok, err := durable.TryLock(lock); err != nil {
		return nil, fmt.Errorf("control: lock %s: %w", lock.Name(), err)
	} else if !ok {
		return nil, fmt.Errorf("control: %s: %w", path, ErrInUse)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil && runtime.GOOS != "windows" {
		return nil, errors.Join(fmt.Errorf("control: %w", err), listener.Close())
	}
	return listener, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	isSocket := info.Mode().Type() == fs.ModeSocket || runtime.GOOS == "windows" && info.Mode().Type()&(fs.ModeSocket|fs.ModeIrregular) != 0
	if !isSocket {
		return fmt.Errorf("control: %s is not a socket: move it away", path)
	}
	if uid, ok := secret.Owner(info); ok && uid != os.Geteuid() {
		return fmt.Errorf("control: %s is the socket of user %d: find out why, and remove it", path, uid)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		return errors.Join(fmt.Errorf("control: another program listens on %s: stop it, and find out why", path), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// Close gives up the path. It may be called again.
func (s *Server) Close() error { return s.close() }

// Serve answers callers until ctx ends, waits for those under way, closes the server and returns nil.
func (s *Server) Serve(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer func() {
		cancel()
		callers.Wait()
		err = errors.Join(err, s.Close())
	}()
	stop := context.AfterFunc(ctx, func() { _ = s.listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		conn, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("control: %w", err)
			}
			select { // out of file descriptors, most likely: let some go
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		callers.Go(func() {
			defer conn.Close()
			s.answer(ctx, conn)
		})
	}
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn) {
	var result any
	err := s.admit(conn)
	if err == nil {
		select {
		case s.slots <- struct{}{}:
			result, err = s.serve(ctx, conn)
			<-s.slots
		default:
			err = &Error{CodeBusy, "too many commands at once: try again"}
		}
	}
	_ = conn.SetWriteDeadline(time.Now().Add(s.takeWait))
	_, _ = conn.Write(encode(result, err))
}

func (s *Server) admit(conn *net.UnixConn) error {
	uid, known, err := peerUID(conn)
	if err != nil {
		return &Error{CodeForbidden, "the system does not say who calls: " + err.Error()}
	}
	if known && uid != s.uid {
		return &Error{CodeForbidden, fmt.Sprintf("this gateway belongs to user %d and you are %d: run the command as that user", s.uid, uid)}
	}
	return nil
}

func (s *Server) serve(ctx context.Context, conn *net.UnixConn) (_ any, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = conn.SetReadDeadline(time.Now().Add(s.askWait))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	in := bufio.NewReader(conn)
	line, err := readLine(in, MostRequestBytes)
	if err != nil {
		return nil, &Error{CodeMalformed, "no request came: " + err.Error()}
	}
	op, args, err := parseRequest(line)
	if err != nil {
		return nil, &Error{CodeMalformed, err.Error()}
	}
	handler := s.handlers[op]
	if handler == nil {
		return nil, &Error{CodeUnknownOp, fmt.Sprintf("this gateway does not know %.64q: use the munjigi that it runs", op)}
	}
	if ctx.Err() != nil {
		return nil, &Error{CodeFailed, "the gateway is stopping"}
	}
	_ = conn.SetReadDeadline(time.Time{})
	if ctx.Err() != nil {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = in.ReadByte() // ends when the caller leaves, says more than it may, or is answered
		cancel()
	}()
	defer func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-left
	}()
	defer func() {
		if p := recover(); p != nil {
			err = &Error{CodeFailed, fmt.Sprintf("the gateway failed inside: %v", p)}
		}
	}()
	return handler(ctx, args)
}

func parseRequest(line []byte) (op string, args json.RawMessage, err error) {
	if err := strictjson.Validate(line, limits(MostRequestBytes)); err != nil {
		return "", nil, fmt.Errorf("the request is not JSON: %w", err)
	}
	o, err := strictjson.SplitObject(line)
	if err != nil {
		return "", nil, fmt.Errorf("the request is not an object: %w", err)
	}
	raw, ok := o.Get("op")
	if !ok || len(o.Without("op", "args")) > 0 {
		return "", nil, errors.New("a request has op, args and nothing else")
	}
	if op, err = strictjson.String(raw); err != nil {
		return "", nil, fmt.Errorf("op is not a string: %w", err)
	}
	if raw, ok = o.Get("args"); !ok {
		raw = []byte("{}")
	}
	return op, raw, nil
}

func encode(result any, err error) []byte {
	if err == nil {
		var b []byte
		if b, err = json.Marshal(struct {
			OK any `json:"ok"`
		}{result}); err == nil && len(b) < MostAnswerBytes {
			return append(b, '\n')
		}
		if err == nil {
			err = &Error{CodeFailed, "the answer is too long: ask for less"}
		}
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{CodeFailed, err.Error()}
	}
	e = &Error{e.Code, e.Message[:min(len(e.Message), MostRequestBytes)]}
	if e.Code == "" {
		e.Code = CodeFailed
	}
	b, err := json.Marshal(struct {
		Error *Error `json:"error"`
	}{e})
	if err != nil {
		return nil
	}
	return append(b, '\n')
}

// readLine reads up to a line break, which it cuts off, and takes no more than most bytes into memory.
func readLine(in *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most+1 || len(line) == most+1 && line[most] != '\n':
			return nil, fmt.Errorf("more than %d bytes", most)
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
