// Package control is the socket by which commands of the operator reach a running gateway.
//
// The threat: another user of the machine who gives the gateway orders, a program that waits on the path in the
// gateway's place to hear them, and a caller that hangs or floods until the operator is shut out.
//
// Guaranteed: the socket lies in a folder that only its user may write, has mode 0600, and on Linux and macOS both ends
// check that the other one runs as the same user. Of two gateways on one path the second refuses to start; a socket that
// a dead one left is removed, and anything else that lies on the path is not. Requests and answers are bounded, a peer
// that does not read or write is cut off, and a handler ends when its caller leaves.
//
// Not guaranteed: a difference between the operator and a program that runs as the same user. What must not be done by
// such a program needs more than this socket. On Windows the folder's access list decides who may connect.
//
// A connection carries one request and one answer, each a line of JSON:
//
//	{"op":"servers.list","args":{…}}
//	{"ok":…} or {"error":{"code":"…","message":"…"}}
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Bounds of a conversation.
const (
	MostRequestBytes = 1 << 20
	MostAnswerBytes  = 16 << 20
	MostPathBytes    = 103 // what every system's socket addresses hold
	mostConnections  = 32
)

// The codes of errors that come from this package. Handlers have their own.
const (
	CodeMalformed = "malformed"  // no request, or arguments that the handler cannot read
	CodeUnknownOp = "unknown-op" // no handler of that name
	CodeBusy      = "busy"       // too many at once
	CodeForbidden = "forbidden"  // another user
	CodeFailed    = "failed"     // the handler failed
)

// Errors of Listen and Call.
var (
	ErrInUse      = errors.New("another gateway runs with this data folder: stop it, or name another folder")
	ErrNotRunning = errors.New("no gateway runs with this data folder: start one with munjigi serve, or name its folder")
)

// Error is what a caller gets in place of a result. Its message is for the operator.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Handler does one operation. args is one valid JSON value, {} when the caller sent none. What it returns is sent as
// JSON; an *Error is sent as it is, any other error as CodeFailed with its text. ctx ends when the caller leaves or the
// server stops.
type Handler func(ctx context.Context, args json.RawMessage) (any, error)

// Args reads the arguments of a handler into a T. Members that T does not have are an error.
func Args[T any](raw json.RawMessage) (T, error) {
	var v T
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return *new(T), &Error{CodeMalformed, fmt.Sprintf("the arguments cannot be read: %v: use the munjigi that the gateway runs", err)}
	}
	return v, nil
}

func limits(size int) strictjson.Limits {
	return strictjson.Limits{Bytes: size, Depth: 64, Members: size}
}

func checkPath(path string) error {
	if path == "" {
		return errors.New("control: no socket is named: name <data>/control.sock")
	}
	if len(path) > MostPathBytes {
		return fmt.Errorf("control: the socket's path has %d bytes and systems allow %d: name a data folder with a shorter path (%s)", len(path), MostPathBytes, path)
	}
	return nil
}
