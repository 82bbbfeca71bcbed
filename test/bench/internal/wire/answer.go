package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Message returns the JSON-RPC message that an HTTP answer carries: its body,
// or, of a stream, the data of the one event that holds a response. Other
// events of a stream (comments, notifications) are passed over.
func (resp Response) Message() ([]byte, error) {
	if !resp.Stream {
		return resp.Body, nil
	}
	var found []byte
	for rest := resp.Body; len(rest) > 0; {
		var event []byte
		event, rest = nextEvent(rest)
		data := eventData(event)
		if len(data) == 0 {
			continue
		}
		isResponse := false
		err := Members(data, func(m Member) bool {
			isResponse = string(m.Name) == "result" || string(m.Name) == "error"
			return !isResponse
		})
		if err != nil {
			return nil, fmt.Errorf("an event of the stream: %w", err)
		}
		if isResponse && found != nil {
			return nil, errors.New("the stream holds two responses")
		}
		if isResponse {
			found = data
		}
	}
	if found == nil {
		return nil, errors.New("the stream ended without a response")
	}
	return found, nil
}

// nextEvent cuts at the first empty line. Lines may end in CR LF or LF.
func nextEvent(b []byte) (event, rest []byte) {
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return b, nil
		}
		if line := b[at : at+n]; len(line) == 0 || string(line) == "\r" {
			return b[:at], b[at+n+1:]
		}
		at += n + 1
	}
	return b, nil
}

// eventData joins the event's data lines; one line, the usual case, is not
// copied.
func eventData(event []byte) []byte {
	var data []byte
	lines := 0
	for len(event) > 0 {
		var line []byte
		line, event, _ = bytes.Cut(event, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if lines++; lines == 1 {
			data = value
			continue
		}
		data = append(append(bytes.Clone(data), '\n'), value...)
	}
	return data
}

// Checker judges whether an answer is the right one. It keeps memory between
// answers; one goroutine, one Checker.
type Checker struct{ text []byte }

// Check returns nil if message is the successful answer to the call that c
// holds: the same ID, a first content block whose text is the call's
// arguments, and no mark of an error.
func (k *Checker) Check(message []byte, c *Call) error {
	var id, result, failure []byte
	err := Members(message, func(m Member) bool {
		switch string(m.Name) {
		case "id":
			id = m.Raw
		case "result":
			result = m.Raw
		case "error":
			failure = m.Raw
		}
		return true
	})
	switch {
	case err != nil:
		return fmt.Errorf("the answer %q: %w", clip(message), err)
	case failure != nil:
		return fmt.Errorf("the answer is an error: %s", failure[:min(len(failure), 300)])
	case !bytes.Equal(id, c.ID()):
		return fmt.Errorf("the answer's id is %q, the call's %q", clip(id), c.ID())
	case result == nil:
		return errors.New("the answer has no result")
	}
	var content, isError []byte
	err = Members(result, func(m Member) bool {
		switch string(m.Name) {
		case "content":
			content = m.Raw
		case "isError":
			isError = m.Raw
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("the result: %w", err)
	}
	if isError != nil && string(isError) != "false" {
		return fmt.Errorf("the tool reports an error: %s", content[:min(len(content), 300)])
	}
	block, err := First(content)
	if err != nil {
		return fmt.Errorf("the result's content: %w", err)
	}
	var quoted []byte
	err = Members(block, func(m Member) bool {
		if string(m.Name) == "text" {
			quoted = m.Raw
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("the content block: %w", err)
	}
	if k.text, err = Unquote(k.text[:0], quoted); err != nil {
		return fmt.Errorf("the block's text: %w", err)
	}
	if bytes.Equal(k.text, c.Arguments()) || sameArguments(k.text, c.Arguments()) {
		return nil
	}
	return fmt.Errorf("the echoed text %q is not the call's arguments %q", clip(k.text), clip(c.Arguments()))
}

// sameArguments is the slow way, for a gateway that writes arguments anew
// with other spacing or escapes on their way to the echo.
func sameArguments(a, b []byte) bool {
	var x, y map[string]string
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || len(x) != len(y) {
		return false
	}
	for name, value := range y {
		if got, ok := x[name]; !ok || got != value {
			return false
		}
	}
	return true
}
