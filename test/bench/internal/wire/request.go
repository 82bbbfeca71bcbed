// Package wire builds the bytes that the load generator sends and judges the
// bytes that come back.
//
// It exists so that the generator costs little beside what it measures, and so
// that a wrong answer is never counted as a fast one. Each call carries its own
// number twice, as ID and inside its arguments, and the answer must bring back
// both. The package shares no code with the gateway that it judges. It reads
// what it needs to reach its verdict and no more: it is no validator of HTTP,
// JSON or MCP.
package wire

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Protocol versions that stand for the two eras.
const (
	Modern = "2026-07-28"
	Legacy = "2025-11-25"
)

// Meta is the _meta member of each modern request.
const Meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + Modern + `",` +
	`"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},` +
	`"io.modelcontextprotocol/clientCapabilities":{}}`

// InitializeParams are the params of a legacy handshake.
const InitializeParams = `{"protocolVersion":"` + Legacy + `","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`

// numberWidth is the count of digits of a call's number.
const numberWidth = 10

// FirstNumber and LastNumber bound a call's number: all have numberWidth
// digits, and all are exact in a float64.
const (
	FirstNumber = 1_000_000_000
	LastNumber  = 9_999_999_999
)

// Call is one tools/call whose number can be changed in place.
type Call struct {
	bytes     []byte
	id, nonce []byte
	arguments []byte
}

// Bytes is what to send.
func (c *Call) Bytes() []byte { return c.bytes }

// ID is the JSON-RPC ID as it stands in the request.
func (c *Call) ID() []byte { return c.id }

// Arguments is the JSON text of the call's arguments.
func (c *Call) Arguments() []byte { return c.arguments }

// SetNumber gives the call a number between FirstNumber and LastNumber.
func (c *Call) SetNumber(n uint64) {
	for i := numberWidth - 1; i >= 0; i-- {
		d := byte('0' + n%10)
		c.id[i], c.nonce[i] = d, d
		n /= 10
	}
}

// Endpoint is where and how requests go over HTTP.
type Endpoint struct {
	// URL is of an MCP endpoint, plain HTTP only.
	URL *url.URL
	// Modern chooses the era.
	Modern bool
	// Headers are further header lines, such as "Authorization: Bearer x".
	Headers []string
	// Session is the legacy Mcp-Session-Id, empty where there is none.
	Session string
}

// ParseEndpoint checks that rawURL is one that a raw TCP connection can reach.
func ParseEndpoint(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q: give a plain http:// URL; TLS would be measured too", rawURL)
	}
	if u.Port() == "" {
		u.Host = u.Hostname() + ":80"
	}
	return u, nil
}

// Post builds one whole HTTP request. Method and name fill the headers that
// mirror the body in the modern era; an empty one leaves its header out.
func (e Endpoint) Post(method, name string, body []byte) []byte {
	var b bytes.Buffer
	b.WriteString("POST " + e.URL.RequestURI() + " HTTP/1.1\r\nHost: " + e.URL.Host +
		"\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n")
	switch {
	case e.Modern:
		b.WriteString("MCP-Protocol-Version: " + Modern + "\r\nMcp-Method: " + method + "\r\n")
		if name != "" {
			b.WriteString("Mcp-Name: " + name + "\r\n")
		}
	case method != "initialize":
		b.WriteString("MCP-Protocol-Version: " + Legacy + "\r\n")
		if e.Session != "" {
			b.WriteString("Mcp-Session-Id: " + e.Session + "\r\n")
		}
	}
	for _, h := range e.Headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	b.Write(body)
	return b.Bytes()
}

// Delete builds the request that ends a legacy session.
func (e Endpoint) Delete() []byte {
	var b bytes.Buffer
	b.WriteString("DELETE " + e.URL.RequestURI() + " HTTP/1.1\r\nHost: " + e.URL.Host +
		"\r\nMCP-Protocol-Version: " + Legacy + "\r\nMcp-Session-Id: " + e.Session + "\r\n")
	for _, h := range e.Headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// Call builds a tools/call over HTTP with arguments of size bytes.
func (e Endpoint) Call(tool string, size int) (*Call, error) {
	body, err := callBody(e.Modern, tool, size)
	if err != nil {
		return nil, err
	}
	return newCall(e.Post("tools/call", tool, body), len(body)), nil
}

// LineCall builds a tools/call over stdio with arguments of size bytes.
func LineCall(modern bool, tool string, size int) (*Call, error) {
	body, err := callBody(modern, tool, size)
	if err != nil {
		return nil, err
	}
	return newCall(append(body, '\n'), len(body)+1), nil
}

const (
	idMark        = `"id":`
	nonceMark     = `{"nonce":"`
	textMark      = `","text":"`
	argumentsMark = `"arguments":`
)

// MinSize is the smallest size of arguments that a call can have, in bytes.
const MinSize = len(nonceMark) + numberWidth + len(textMark) + len(`"}`)

func callBody(modern bool, tool string, size int) ([]byte, error) {
	if size < MinSize {
		return nil, fmt.Errorf("arguments of %d bytes are too small: at least %d", size, MinSize)
	}
	number := strconv.Itoa(FirstNumber)
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0",` + idMark + number + `,"method":"tools/call","params":{"name":"` + tool + `",`)
	if modern {
		b.WriteString(Meta + ",")
	}
	b.WriteString(argumentsMark + nonceMark + number + textMark + Prose(size-MinSize) + `"}}}`)
	return b.Bytes(), nil
}

// newCall finds the parts of a request whose last size bytes callBody made.
func newCall(request []byte, size int) *Call {
	body := request[len(request)-size:]
	after := func(mark string) int { return bytes.Index(body, []byte(mark)) + len(mark) }
	id, arguments := after(idMark), after(argumentsMark)
	nonce := arguments + len(nonceMark)
	end := bytes.LastIndex(body, []byte("}}"))
	return &Call{
		bytes:     request,
		id:        body[id : id+numberWidth],
		nonce:     body[nonce : nonce+numberWidth],
		arguments: body[arguments:end],
	}
}

// Prose is n bytes of text like what an agent passes on: words, digits,
// punctuation, nothing that JSON escapes, so that its length on the wire is
// the same before and after any rewriting.
func Prose(n int) string {
	const line = "The quarterly report of team 7 lists 1,482 open items; most wait for a review (see page 12), " +
		"and the rest is due on 30 June. Please sort them by owner, then mail a summary to the list. "
	return strings.Repeat(line, n/len(line)+1)[:n]
}
