package echo

import (
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// Handler answers Streamable HTTP in both eras at every path. It never
// streams: each answer is one JSON body.
func (s *Server) Handler() http.Handler {
	return &handler{
		server:      s,
		buffers:     sync.Pool{New: func() any { return &buffer{} }},
		contentType: []string{"application/json"},
	}
}

type handler struct {
	server      *Server
	buffers     sync.Pool
	contentType []string // shared by all answers, never changed
}

type buffer struct{ in, out []byte }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodDelete:
		if !h.server.endSession(r.Header.Get("Mcp-Session-Id")) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "POST, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	buf := h.buffers.Get().(*buffer)
	defer h.buffers.Put(buf)
	var err error
	if buf.in, err = readBody(buf.in[:0], r); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var status int
	buf.out, status = h.answer(buf.out[:0], buf.in, r, w.Header())
	if len(buf.out) > 0 {
		w.Header()["Content-Type"] = h.contentType
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(buf.out))}
	w.WriteHeader(status)
	_, _ = w.Write(buf.out) // a caller that has gone needs no answer
}

// answer appends the body to send and returns it with the status. A new
// session's ID goes into header.
func (h *handler) answer(dst, message []byte, r *http.Request, header http.Header) ([]byte, int) {
	req, err := parse(message)
	if err != nil {
		return failure(dst, &req, codeParse, "Parse error"), http.StatusBadRequest
	}
	version := r.Header.Get("Mcp-Protocol-Version")
	modern := version == wire.Modern || req.version != nil
	switch {
	case req.method == nil:
		return failure(dst, &req, codeRequest, "Only requests and notifications are taken"), http.StatusBadRequest
	case modern:
		if code, why := h.modernFault(r, &req, version); code != 0 {
			return failure(dst, &req, code, why), http.StatusBadRequest
		}
	case !req.is("initialize"):
		session := r.Header.Get("Mcp-Session-Id")
		if session == "" {
			return failure(dst, &req, codeRequest, "Mcp-Session-Id is missing"), http.StatusBadRequest
		}
		if !h.server.hasSession(session) {
			return failure(dst, &req, codeRequest, "Session not found"), http.StatusNotFound
		}
	}
	if req.id == nil {
		return dst, http.StatusAccepted
	}
	out, code := h.server.answer(dst, &req, modern)
	switch {
	case modern && code == codeMethod:
		return out, http.StatusNotFound
	case modern && code != 0:
		return out, http.StatusBadRequest
	case code == 0 && !modern && req.is("initialize"):
		header["Mcp-Session-Id"] = []string{h.server.openSession()}
	}
	return out, http.StatusOK
}

// modernFault holds the headers of a modern request to its body
// (2026-07-28, Streamable HTTP, "Server Validation").
func (h *handler) modernFault(r *http.Request, req *request, version string) (code int, why string) {
	switch inBody := unquoted(req.version); {
	case inBody != version:
		return codeHeader, "Header mismatch: MCP-Protocol-Version and the body differ"
	case version != wire.Modern:
		return codeVersion, "Unsupported protocol version"
	case r.Header.Get("Mcp-Method") != unquoted(req.method):
		return codeHeader, "Header mismatch: Mcp-Method and the body differ"
	case req.is("tools/call") && r.Header.Get("Mcp-Name") != unquoted(req.name):
		return codeHeader, "Header mismatch: Mcp-Name and the body differ"
	}
	return 0, ""
}

// readBody appends the whole body to dst.
func readBody(dst []byte, r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n > 0 && n <= MaxBody {
		if int64(cap(dst)) < n {
			dst = make([]byte, 0, n)
		}
		dst = dst[:n]
		_, err := io.ReadFull(r.Body, dst)
		return dst, err
	}
	body := http.MaxBytesReader(nil, r.Body, MaxBody)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
