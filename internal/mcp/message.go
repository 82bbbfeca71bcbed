package mcp

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Kind is the shape of a JSON-RPC message.
type Kind uint8

// The zero Kind is no message.
const (
	Request Kind = iota + 1
	Notification
	Result
	ErrorReply
)

// ID is a JSON-RPC request ID as it stood on the wire: a string or an
// integer token. The zero ID is absent.
type ID struct{ raw string }

// NumberID returns the ID of an integer.
func NumberID(n int64) ID { return ID{strconv.FormatInt(n, 10)} }

// StringID returns the ID of a string.
func StringID(s string) ID { return ID{string(strictjson.AppendString(nil, s))} }

// IsZero reports an absent ID.
func (id ID) IsZero() bool { return id.raw == "" }

// Raw returns the JSON token, "null" when absent.
func (id ID) Raw() string {
	if id.raw == "" {
		return "null"
	}
	return id.raw
}

// Message is one decoded JSON-RPC message. Raw members alias the decoded
// bytes, which must not be changed afterwards.
type Message struct {
	Kind   Kind
	ID     ID
	Method string
	// Params is the raw object of a request or notification; nil when absent.
	Params []byte
	// Result is the raw object of a result.
	Result []byte
	// Error is the raw object of an error reply.
	Error []byte
}

// A DecodeError says why bytes are not a message. Code is the JSON-RPC error
// code to answer with; ID is set when it could be read.
type DecodeError struct {
	Code   int
	Reason string
	ID     ID
	cause  error
}

// Error returns the public reason.
func (e *DecodeError) Error() string { return e.Reason }

// Unwrap returns the reader's error, if any.
func (e *DecodeError) Unwrap() error { return e.cause }

var errMalformed = errors.New("malformed message")

func malformed(reason string) error {
	return &DecodeError{Code: CodeInvalidRequest, Reason: reason, cause: errMalformed}
}

const maxIDBytes = 256

// Decode reads one message strictly: the whole of b is one JSON object with
// "jsonrpc":"2.0" and exactly the members of one message shape. A batch is
// refused ([bypass: a JSON-RPC batch skipped authorization]).
func Decode(b []byte, l strictjson.Limits) (Message, error) {
	if err := strictjson.Validate(b, l); err != nil {
		return Message{}, &DecodeError{Code: CodeParse, Reason: "the body is not one strict JSON value: " + err.Error(), cause: err}
	}
	b = bytes.TrimLeft(b, " \t\r\n")
	if b[0] == '[' {
		return Message{}, &DecodeError{Code: CodeInvalidRequest, Reason: "batches are not accepted: send one message per request"}
	}
	if b[0] != '{' {
		return Message{}, &DecodeError{Code: CodeInvalidRequest, Reason: "a message is a JSON object"}
	}
	o, err := strictjson.SplitObject(b)
	if err != nil {
		return Message{}, &DecodeError{Code: CodeParse, Reason: "the body is not one strict JSON value", cause: err}
	}
	return fromObject(o)
}

func fromObject(o strictjson.Object) (Message, error) {
	var m Message
	var version []byte
	var hasID bool
	var bad string
	for i := range o {
		v := o[i].Raw
		switch o[i].Name {
		case "jsonrpc":
			version = v
		case "id":
			hasID = true
			if !validID(v) {
				bad = "id must be a string or an integer"
				break
			}
			m.ID = ID{string(v)}
		case "method":
			if strictjson.TypeOf(v) != strictjson.TypeString {
				bad = "method must be a string"
				break
			}
			s, err := strictjson.String(v)
			if err != nil || s == "" || len(s) > 128 {
				bad = "method must be a short string"
				break
			}
			m.Method = s
		case "params":
			if strictjson.TypeOf(v) != strictjson.TypeObject {
				bad = "params must be an object"
				break
			}
			m.Params = v
		case "result":
			if strictjson.TypeOf(v) != strictjson.TypeObject {
				bad = "result must be an object"
				break
			}
			m.Result = v
		case "error":
			if strictjson.TypeOf(v) != strictjson.TypeObject {
				bad = "error must be an object"
				break
			}
			m.Error = v
		default:
			bad = "the message has a member that JSON-RPC 2.0 does not define"
		}
	}
	if bad == "" && string(version) != `"2.0"` {
		bad = `jsonrpc must be "2.0"`
	}
	if bad == "" {
		bad = m.classify(hasID)
	}
	if bad != "" {
		return Message{}, &DecodeError{Code: CodeInvalidRequest, Reason: bad, ID: m.ID}
	}
	return m, nil
}

func (m *Message) classify(hasID bool) (bad string) {
	switch {
	case m.Method != "" && (m.Result != nil || m.Error != nil):
		return "a message is a request or a response, not both"
	case m.Method != "" && hasID:
		if IsNotification(m.Method) {
			return "a notification carries no id"
		}
		m.Kind = Request
	case m.Method != "":
		if !IsNotification(m.Method) {
			return "a request carries an id"
		}
		m.Kind = Notification
	case m.Params != nil:
		return "params without a method"
	case m.Result != nil && m.Error != nil:
		return "a response has a result or an error, not both"
	case m.Result != nil:
		if m.ID.IsZero() {
			return "a result carries the id of its request"
		}
		m.Kind = Result
	case m.Error != nil:
		m.Kind = ErrorReply
	default:
		return "the message has no method, result or error"
	}
	return ""
}

func validID(v []byte) bool {
	if len(v) == 0 || len(v) > maxIDBytes {
		return false
	}
	switch strictjson.TypeOf(v) {
	case strictjson.TypeString:
		return true
	case strictjson.TypeNumber:
		return !bytes.ContainsAny(v, ".eE")
	}
	return false
}

// AppendRequest serialises a request. params is a raw object or nil.
func AppendRequest(dst []byte, id ID, method string, params []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id.Raw()...)
	return appendMethod(dst, method, params)
}

// AppendRequestHead serialises a request up to where its params begin. The
// params and a closing brace have to follow.
func AppendRequestHead(dst []byte, id ID, method string) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id.Raw()...)
	dst = append(dst, `,"method":`...)
	dst = strictjson.AppendString(dst, method)
	return append(dst, `,"params":`...)
}

// AppendNotification serialises a notification.
func AppendNotification(dst []byte, method string, params []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0"`...)
	return appendMethod(dst, method, params)
}

func appendMethod(dst []byte, method string, params []byte) []byte {
	dst = append(dst, `,"method":`...)
	dst = strictjson.AppendString(dst, method)
	if params != nil {
		dst = append(dst, `,"params":`...)
		dst = append(dst, params...)
	}
	return append(dst, '}')
}

// AppendResult serialises a result response.
func AppendResult(dst []byte, id ID, result []byte) []byte {
	return append(append(AppendResultHead(dst, id), result...), '}')
}

// AppendResultHead serialises what stands before the result of a response;
// the result and a closing brace follow.
func AppendResultHead(dst []byte, id ID) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id.Raw()...)
	return append(dst, `,"result":`...)
}

// AppendError serialises an error response; an absent ID is written as null
// for legacy peers and left out for modern ones by passing omitID.
func AppendError(dst []byte, id ID, e *Error, omitID bool) []byte {
	dst = append(dst, `{"jsonrpc":"2.0"`...)
	if !id.IsZero() || !omitID {
		dst = append(dst, `,"id":`...)
		dst = append(dst, id.Raw()...)
	}
	dst = append(dst, `,"error":`...)
	dst = e.Append(dst)
	return append(dst, '}')
}
