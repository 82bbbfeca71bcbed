package kit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// maxMessage bounds one message that a peer reads, in bytes.
const maxMessage = 64 << 20

// httpLink is Streamable HTTP of both eras. It opens no standing stream.
type httpLink struct {
	url    string
	modern bool
	header http.Header

	mu      sync.Mutex
	session string
}

// DialHTTP makes a peer of a Streamable HTTP endpoint. header is added to
// every request and wins over what the peer would send; nil is none.
func DialHTTP(url string, p *Peer, header http.Header) *Peer {
	p.link = &httpLink{url: url, modern: p.Modern, header: header}
	return p
}

func (l *httpLink) request(ctx context.Context, method string, m outgoing) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.url, bytes.NewReader(m.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	l.mu.Lock()
	session := l.session
	l.mu.Unlock()
	switch {
	case l.modern:
		req.Header.Set("MCP-Protocol-Version", ModernVersion)
		req.Header.Set("Mcp-Method", m.method)
		if m.target != "" {
			req.Header.Set("Mcp-Name", headerValue(m.target))
		}
	case session != "":
		req.Header.Set("MCP-Protocol-Version", LegacyVersion)
		req.Header.Set("Mcp-Session-Id", session)
	}
	for k, vs := range l.header {
		req.Header[k] = vs
	}
	return req, nil
}

// headerValue writes a value as a header may carry it (2026-07-28, "Value
// Encoding").
func headerValue(v string) string {
	plain := strings.TrimSpace(v) == v && !strings.HasPrefix(v, "=?base64?")
	for _, c := range []byte(v) {
		plain = plain && c >= 0x20 && c < 0x7f
	}
	if plain {
		return v
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(v)) + "?="
}

func (l *httpLink) send(ctx context.Context, m outgoing, other func([]byte)) ([]byte, int, error) {
	req, err := l.request(ctx, http.MethodPost, m)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" && m.method == "initialize" {
		l.mu.Lock()
		l.session = id
		l.mu.Unlock()
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if m.id == "" || kind != "text/event-stream" {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		if err == nil && m.id == "" && resp.StatusCode >= 300 {
			err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, b)
		}
		return b, resp.StatusCode, err
	}
	b, err := readEvents(resp.Body, m.id, other)
	return b, resp.StatusCode, err
}

// readEvents reads server-sent events until the response to id.
func readEvents(r io.Reader, id string, other func([]byte)) ([]byte, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMessage)
	var data []byte
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "data:"); ok {
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, strings.TrimPrefix(rest, " ")...)
			continue
		}
		if line != "" || len(data) == 0 {
			continue
		}
		event := data
		data = nil
		if answers(event, id) {
			return event, nil
		}
		if other != nil {
			other(event)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, errors.New("the stream ended without the response")
}

// answers reports whether a message is the response to id.
func answers(raw []byte, id string) bool {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	return json.Unmarshal(raw, &m) == nil && m.Method == "" && string(m.ID) == id
}

func (l *httpLink) Close() error {
	l.mu.Lock()
	session := l.session
	l.mu.Unlock()
	if session == "" {
		return nil
	}
	req, err := l.request(context.Background(), http.MethodDelete, outgoing{})
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
