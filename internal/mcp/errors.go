package mcp

import (
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Error codes: JSON-RPC 2.0 section 5.1, and 2026-07-28 "Error Codes".
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022

	// CodeResourceNotFound is what legacy servers answer for an unknown
	// resource; modern peers must not see it.
	CodeResourceNotFound = -32002
	// CodeURLElicitation is 2025-11-25's "URL elicitation required".
	CodeURLElicitation = -32042
)

// Error is a JSON-RPC error object. Data is raw JSON or nil.
type Error struct {
	Code    int
	Message string
	Data    []byte
}

// Error implements error with the code and the message.
func (e *Error) Error() string { return "json-rpc error " + strconv.Itoa(e.Code) + ": " + e.Message }

// Append serialises the error object.
func (e *Error) Append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(e.Code), 10)
	dst = append(dst, `,"message":`...)
	dst = strictjson.AppendString(dst, e.Message)
	if e.Data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	}
	return append(dst, '}')
}

// ParseError reads an error object that a server sent. Its shape is checked:
// an integer code and a string message.
func ParseError(raw []byte) (*Error, error) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, err
	}
	code, ok := o.Get("code")
	if !ok || strictjson.TypeOf(code) != strictjson.TypeNumber {
		return nil, malformed("error.code is not a number")
	}
	n, err := strconv.ParseInt(string(code), 10, 32)
	if err != nil {
		return nil, malformed("error.code is not an integer")
	}
	m, ok := o.Get("message")
	if !ok || strictjson.TypeOf(m) != strictjson.TypeString {
		return nil, malformed("error.message is not a string")
	}
	text, err := strictjson.String(m)
	if err != nil {
		return nil, err
	}
	data, _ := o.Get("data")
	return &Error{Code: int(n), Message: text, Data: data}, nil
}

// IsModernError reports whether a code identifies a modern server during a
// probe ("Backward Compatibility" of both transports).
func IsModernError(code int) bool {
	return code == CodeHeaderMismatch || code == CodeMissingCapability || code == CodeUnsupportedVersion
}
