package control

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
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Call asks the gateway on path to do op with args, which may be nil, and reads the result into out, which may be nil.
// It is ErrNotRunning when nobody listens, an *Error when the gateway refused, and waits as long as ctx lasts.
func Call(ctx context.Context, path, op string, args, out any) error {
	return call(ctx, path, os.Geteuid(), op, args, out)
}

func call(ctx context.Context, path string, uid int, op string, args, out any) error {
	if err := checkPath(path); err != nil {
		return err
	}
	line, err := json.Marshal(struct {
		Op   string `json:"op"`
		Args any    `json:"args,omitempty"`
	}{op, args})
	if err != nil {
		return fmt.Errorf("control: the arguments of %s: %w", op, err)
	}
	if len(line) > MostRequestBytes {
		return fmt.Errorf("control: the request has %d bytes, at most %d are taken: send less at once", len(line), MostRequestBytes)
	}
	conn, err := dial(ctx, path, uid)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, sent := conn.Write(append(line, '\n'))
	answer, err := readLine(bufio.NewReaderSize(conn, 64<<10), MostAnswerBytes)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("control: gave up waiting for the gateway: %w", ctx.Err())
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("it closed the connection")
		}
		return fmt.Errorf("control: the gateway did not answer: %w: look at its log", errors.Join(sent, err))
	}
	return parseAnswer(answer, out)
}

func dial(ctx context.Context, path string, uid int) (*net.UnixConn, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control: %s: %w", path, ErrNotRunning)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isRefused(err) {
			return nil, fmt.Errorf("control: %s: %w", path, ErrNotRunning)
		}
		return nil, fmt.Errorf("control: %w", err)
	}
	c := conn.(*net.UnixConn)
	peer, known, err := peerUID(c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control: the system does not say who listens on %s: %w", path, err), c.Close())
	}
	if known && peer != uid {
		return nil, errors.Join(fmt.Errorf("control: user %d listens on %s and you are %d: run the command as that user", peer, path, uid), c.Close())
	}
	return c, nil
}

func parseAnswer(line []byte, out any) error {
	if err := strictjson.Validate(line, limits(MostAnswerBytes)); err != nil {
		return fmt.Errorf("control: the answer is not JSON: %w", err)
	}
	o, err := strictjson.SplitObject(line)
	if err != nil {
		return fmt.Errorf("control: the answer is not an object: %w", err)
	}
	if raw, ok := o.Get("error"); ok {
		e := new(Error)
		if err := json.Unmarshal(raw, e); err != nil || e.Code == "" {
			return errors.New("control: the gateway refused and did not say why: look at its log")
		}
		return e
	}
	raw, ok := o.Get("ok")
	if !ok {
		return errors.New("control: the answer is neither a result nor an error: use the munjigi that the gateway runs")
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("control: the answer cannot be read: %w: use the munjigi that the gateway runs", err)
	}
	return nil
}
