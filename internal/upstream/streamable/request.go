package streamable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const acceptBoth = mcp.ContentJSON + ", " + mcp.ContentEventStream

// post sends one message. The caller closes the body.
func (t *transport) post(ctx context.Context, m *upstream.Outgoing, body []byte) (*http.Response, error) {
	return t.do(ctx, http.MethodPost, m, body, "")
}

// get opens the stream of a legacy session, or resumes one.
func (t *transport) get(ctx context.Context, lastEventID string) (*http.Response, error) {
	return t.do(ctx, http.MethodGet, nil, nil, lastEventID)
}

// do makes one HTTP request with headers that are built here. It follows no
// redirect and asks for no compression.
func (t *transport) do(ctx context.Context, method string, m *upstream.Outgoing, body []byte, lastEventID string) (*http.Response, error) {
	h := make(http.Header, 10)
	if t.d.authorize != nil {
		if err := t.d.authorize(ctx, h); err != nil {
			return nil, fmt.Errorf("no credential for the server: %w", err)
		}
	}
	h["User-Agent"] = []string{"munjigi"}
	h["Accept"] = []string{acceptBoth}
	if method == http.MethodGet {
		h["Accept"] = []string{mcp.ContentEventStream}
	}
	if body != nil {
		h["Content-Type"] = []string{mcp.ContentJSON}
	}
	if m != nil {
		if err := t.describe(h, m); err != nil {
			return nil, err
		}
	}
	if t.era == mcp.Legacy {
		if s := t.session.Load(); s != nil {
			h[mcp.HeaderSession] = []string{*s}
		}
		if v := t.version.Load(); v != nil && m == nil {
			h[mcp.HeaderVersion] = []string{string(*v)}
		}
		if lastEventID != "" {
			h[mcp.HeaderLastEventID] = []string{lastEventID}
		}
	}
	req := &http.Request{Method: method, URL: t.d.url, Host: t.d.url.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	res, err := t.d.http.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", upstream.ErrDown, err)
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		res.Body.Close()
		return nil, violation("the server compressed what it was not asked to")
	}
	return res, nil
}

// describe adds the headers that repeat what the message says.
func (t *transport) describe(h http.Header, m *upstream.Outgoing) error {
	if m.Version != "" {
		if !visible(string(m.Version)) {
			return errors.New("the protocol version cannot be a header")
		}
		h[mcp.HeaderVersion] = []string{string(m.Version)}
		if t.era == mcp.Legacy && t.version.Load() == nil {
			v := m.Version
			t.version.Store(&v)
		}
	}
	if t.era != mcp.Modern {
		return nil
	}
	if m.Method != "" {
		if !visible(m.Method) {
			return errors.New("the method cannot be a header")
		}
		h[mcp.HeaderMethod] = []string{m.Method}
	}
	if m.Name != "" {
		h[mcp.HeaderName] = []string{mcp.EncodeHeaderValue(m.Name)}
	}
	for _, f := range m.Headers {
		h[http.CanonicalHeaderKey(f.Name)] = []string{f.Value}
	}
	return nil
}

// visible reports whether s is one or more visible ASCII characters.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}
