//go:build real

package idp

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// stream is a subscription that is open.
type stream struct {
	done chan struct{}
	text *strings.Builder
}

// openStream subscribes to changes of a server's tools and waits until the
// subscription is acknowledged.
func openStream(t *testing.T, g *gateway, server, token string) *stream {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"notifications":{"toolsListChanged":true}}}`
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.resource(server), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + token,
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"} {
		r.Header.Set(k, v)
	}
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 64<<10)
	n, err := res.Body.Read(first)
	if res.StatusCode != http.StatusOK || err != nil && err != io.EOF || !strings.Contains(string(first[:n]), "acknowledged") {
		t.Fatalf("no stream: %d %s %v", res.StatusCode, first[:n], err)
	}
	s := &stream{done: make(chan struct{}), text: &strings.Builder{}}
	go func() {
		defer close(s.done)
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(s.text, res.Body) // how it ends does not matter, that it ends does
	}()
	return s
}

func (s *stream) ended(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		t.Error("the stream goes on")
	}
}

// session is a conversation of revision 2025-11-25.
type session struct {
	g      *gateway
	server string
	id     string
}

func openSession(t *testing.T, g *gateway, server, token string) *session {
	t.Helper()
	s := &session{g: g, server: server}
	status, h := s.post(t, token, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	if s.id = h.Get("Mcp-Session-Id"); status != http.StatusOK || s.id == "" {
		t.Fatalf("no session: %d", status)
	}
	if status, _ := s.post(t, token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); status != http.StatusAccepted {
		t.Fatalf("no session: %d", status)
	}
	return s
}

func (s *session) ping(t *testing.T, token string) int {
	t.Helper()
	status, _ := s.post(t, token, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	return status
}

func (s *session) post(t *testing.T, token, body string) (int, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.g.resource(s.server), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + token,
		"Mcp-Protocol-Version": "2025-11-25"} {
		r.Header.Set(k, v)
	}
	if s.id != "" {
		r.Header.Set("Mcp-Session-Id", s.id)
	}
	res, err := s.g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header
}

// opLogout signs the person out at oidc-provider: its page asks once.
func opLogout(t *testing.T, b *browser, endSession string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endSession, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, at, err := b.page(r)
	if err != nil {
		t.Fatal(err)
	}
	m := aForm.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no form at %s: %s", at, page)
	}
	form := url.Values{"logout": {"yes"}}
	for _, in := range anIn.FindAllStringSubmatch(m[2], -1) {
		if a := attributes(in[1]); a["name"] != "" && a["name"] != "logout" {
			form.Set(a["name"], a["value"])
		}
	}
	to, err := at.Parse(attributes(m[1])["action"])
	if err != nil {
		t.Fatal(err)
	}
	if r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, to.String(), strings.NewReader(form.Encode())); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, _, err = b.page(r); err != nil {
		t.Fatal(err)
	}
}
