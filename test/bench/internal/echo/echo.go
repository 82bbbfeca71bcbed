// Package echo is the MCP server that the benchmark measures through: it
// answers tools/call with the call's arguments as text, in both eras, over
// HTTP and stdio.
//
// Its job is to cost next to nothing (under 40 µs of CPU a call), so that what
// stands before it can be seen; that is why it reads JSON only as far as it
// must. It still holds callers to what a gateway could get wrong: sessions must
// exist, and modern headers must agree with the body. It guards nothing and
// belongs on loopback, for the time of a run.
package echo

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// Limits of one echo server.
const (
	// MaxBody is the longest message in bytes.
	MaxBody = 8 << 20
	// PageSize is the most tools that one page of a list holds.
	PageSize = 1000
)

// Codes of JSON-RPC and MCP errors.
const (
	codeParse        = -32700
	codeRequest      = -32600
	codeMethod       = -32601
	codeParams       = -32602
	codeHeader       = -32020
	codeVersion      = -32022
	toolName         = "echo"
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	serverInfo       = `{"name":"bench-echo","version":"1"}`
	capabilities     = `{"tools":{}}`
	modernServerMeta = `"_meta":{"io.modelcontextprotocol/serverInfo":` + serverInfo + `}`
	modernCaching    = `"ttlMs":3600000,"cacheScope":"public"`
)

// Server answers messages; make one with New.
type Server struct {
	tools int
	pages [2][][]byte // tools/list results by era (legacy, modern) and page

	mu       sync.RWMutex
	sessions map[string]struct{}
}

// New returns a server that lists n tools, at least one: echo, echo-2, echo-3
// and so on, which all do the same.
func New(n int) *Server {
	s := &Server{tools: max(n, 1), sessions: map[string]struct{}{}}
	s.pages[0] = listPages(s.tools, "")
	s.pages[1] = listPages(s.tools, `,"resultType":"complete",`+modernCaching)
	return s
}

// ToolName is the name of the nth tool, counted from 1.
func ToolName(n int) string {
	if n <= 1 {
		return toolName
	}
	return toolName + "-" + strconv.Itoa(n)
}

func listPages(n int, more string) [][]byte {
	var pages [][]byte
	for first := 1; first <= n; first += PageSize {
		last := min(first+PageSize-1, n)
		var b strings.Builder
		b.WriteString(`{"tools":[`)
		for i := first; i <= last; i++ {
			if i > first {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"name":%q,"description":"Returns its arguments as text.","inputSchema":`+
				`{"type":"object","properties":{"nonce":{"type":"string"},"text":{"type":"string"}},"required":["nonce","text"]}}`, ToolName(i))
		}
		b.WriteByte(']')
		if last < n {
			fmt.Fprintf(&b, `,"nextCursor":"%d"`, len(pages)+1)
		}
		b.WriteString(more + "}")
		pages = append(pages, []byte(b.String()))
	}
	return pages
}

// Sessions is the number of legacy sessions that are open.
func (s *Server) Sessions() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sessions)
}

func (s *Server) openSession() string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = struct{}{}
	return id
}

func (s *Server) hasSession(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.sessions[id]
	return ok
}

func (s *Server) endSession(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sessions[id]
	delete(s.sessions, id)
	return ok
}

// request is what the server needs to know of one message. Its parts alias
// the message.
type request struct {
	id, method, params []byte
	version            []byte // of params._meta, quoted
	name, arguments    []byte // of params; name quoted
	cursor             []byte // of params, quoted
	offered            []byte // params.protocolVersion, quoted
}

func (r *request) is(method string) bool { return unquoted(r.method) == method }

// unquoted is the text of a JSON string that holds no escapes; the server
// knows no method, name or version that needs one.
func unquoted(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	return string(raw[1 : len(raw)-1])
}

func parse(message []byte) (request, error) {
	var r request
	err := wire.Members(message, func(m wire.Member) bool {
		switch string(m.Name) {
		case "id":
			r.id = m.Raw
		case "method":
			r.method = m.Raw
		case "params":
			r.params = m.Raw
		}
		return true
	})
	if err != nil || r.params == nil {
		return r, err
	}
	var meta []byte
	err = wire.Members(r.params, func(m wire.Member) bool {
		switch string(m.Name) {
		case "name":
			r.name = m.Raw
		case "arguments":
			r.arguments = m.Raw
		case "cursor":
			r.cursor = m.Raw
		case "protocolVersion":
			r.offered = m.Raw
		case "_meta":
			meta = m.Raw
		}
		return true
	})
	if err != nil || meta == nil {
		return r, err
	}
	return r, wire.Members(meta, func(m wire.Member) bool {
		if string(m.Name) == metaVersion {
			r.version = m.Raw
		}
		return true
	})
}

// answer appends the JSON-RPC response to one request of the given era. The
// code is that of the error it holds, 0 for a result.
func (s *Server) answer(dst []byte, r *request, modern bool) (out []byte, code int) {
	switch {
	case r.is("tools/call"):
		return s.call(dst, r, modern)
	case r.is("tools/list"):
		return s.list(dst, r, modern)
	case modern && r.is("server/discover"):
		return result(dst, r, `{"resultType":"complete","supportedVersions":["`+wire.Modern+`","`+wire.Legacy+`"],"capabilities":`+
			capabilities+`,`+modernServerMeta+`,`+modernCaching+`}`), 0
	case !modern && r.is("initialize"):
		return result(dst, r, `{"protocolVersion":"`+legacyVersion(r.offered)+`","capabilities":`+capabilities+`,"serverInfo":`+serverInfo+`}`), 0
	case !modern && r.is("ping"):
		return result(dst, r, `{}`), 0
	}
	return failure(dst, r, codeMethod, "Method not found"), codeMethod
}

// legacyVersion answers an offer of protocol version (a JSON string) in the
// way of the lifecycle rules: the same where it is known.
func legacyVersion(offered []byte) string {
	switch v := unquoted(offered); v {
	case "2024-11-05", "2025-03-26", "2025-06-18":
		return v
	}
	return wire.Legacy
}

func (s *Server) call(dst []byte, r *request, modern bool) ([]byte, int) {
	if !s.knows(r.name) {
		return failure(dst, r, codeParams, "Unknown tool"), codeParams
	}
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, r.id...)
	dst = append(dst, `,"result":{`...)
	if modern {
		dst = append(dst, `"resultType":"complete",`...)
	}
	dst = append(dst, `"content":[{"type":"text","text":`...)
	dst = wire.AppendQuoted(dst, r.arguments)
	return append(dst, `}]}}`...), 0
}

// knows says whether the quoted name is that of a tool.
func (s *Server) knows(name []byte) bool {
	text := unquoted(name)
	if text == toolName {
		return true
	}
	number, ok := strings.CutPrefix(text, toolName+"-")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 2 && n <= s.tools && ToolName(n) == text
}

func (s *Server) list(dst []byte, r *request, modern bool) ([]byte, int) {
	pages := s.pages[0]
	if modern {
		pages = s.pages[1]
	}
	page := 0
	if r.cursor != nil {
		var err error
		if page, err = strconv.Atoi(unquoted(r.cursor)); err != nil || page < 1 || page >= len(pages) {
			return failure(dst, r, codeParams, "Unknown cursor"), codeParams
		}
	}
	return result(dst, r, string(pages[page])), 0
}

func result(dst []byte, r *request, raw string) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, r.id...)
	dst = append(dst, `,"result":`...)
	dst = append(dst, raw...)
	return append(dst, '}')
}

func failure(dst []byte, r *request, code int, message string) []byte {
	id := r.id
	if id == nil {
		id = []byte("null")
	}
	dst = fmt.Appendf(dst, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q`, id, code, message)
	if code == codeVersion {
		dst = append(dst, `,"data":{"supported":["`+wire.Modern+`","`+wire.Legacy+`"],"requested":`...)
		version := r.version
		if version == nil {
			version = []byte(`""`)
		}
		dst = append(append(dst, version...), '}')
	}
	return append(dst, "}}"...)
}
