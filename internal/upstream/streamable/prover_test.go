package streamable

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// proving is a prover in words of the test.
type proving func(method string, h http.Header) error

func (p proving) Prove(_ context.Context, _ call.Subject, method string, h http.Header) error {
	return p(method, h)
}

// TestProofs are made anew for each request, a second try included, with the
// nonce that the first one brought; without a proof nothing is sent.
func TestProofs(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		if r.Header.Get("Proof") != "POST of n-1" {
			return reply(c, "401 Unauthorized\r\nConnection: keep-alive\r\nDPoP-Nonce: n-1", "")
		}
		return good(r, c)
	})
	nonce, fail := "", error(nil)
	src := source{
		give:   func(call.Subject) (http.Header, error) { return http.Header{"Authorization": {"DPoP t"}}, nil },
		refuse: func(_ call.Subject, r credential.Rejection) error { nonce = r.Nonce; return nil },
	}
	var methods []string
	c := connect(t, s.url, mcp.Modern, func(c *Config) {
		c.Credential = src
		c.Prover = proving(func(method string, h http.Header) error {
			methods = append(methods, method)
			h.Set("Proof", method+" of "+nonce)
			return fail
		})
	})
	if _, err := c.call(t.Context(), "ping"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(methods, []string{http.MethodPost, http.MethodPost}) || nonce != "n-1" {
		t.Errorf("%v %q", methods, nonce)
	}
	fail = credential.ErrUnavailable
	before := len(s.requests())
	if _, err := c.call(t.Context(), "ping"); !errors.Is(err, upstream.ErrCredential) || !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if n := len(s.requests()); n != before {
		t.Error("a request went out without its proof")
	}
}
