package streamable

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// serveTLS answers over TLS as net/http does, with HTTP/2 on offer.
func serveTLS(t *testing.T, version uint16) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, id, _ := strings.Cut(string(b), `"id":`)
		id, _, _ = strings.Cut(id, ",")
		if strings.Contains(string(b), "stream") {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: "+result(id, `"proto":"`+r.Proto+`"`)+"\n\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, result(id, `"proto":"`+r.Proto+`"`))
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{MaxVersion: version}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, roots
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, roots := serveTLS(t, tls.VersionTLS13)
	c := connect(t, s.URL, mcp.Modern, func(c *Config) { c.RootCAs = roots })
	for range 3 {
		for _, method := range []string{"tools/call", "stream"} {
			m, err := c.call(t.Context(), method)
			if err != nil || string(m.Result) != `{"proto":"HTTP/1.1"}` {
				t.Fatalf("%v %s", err, m.Result)
			}
			c.d.drains.Wait()
		}
	}
	if n := len(c.d.pool.idle); n != 1 {
		t.Errorf("%d connections were kept", n)
	}
}

func TestTLSRefuses(t *testing.T) {
	t.Parallel()
	old, oldRoots := serveTLS(t, tls.VersionTLS12)
	s, _ := serveTLS(t, tls.VersionTLS13)
	for name, c := range map[string]*client{
		"TLS 1.2":              connect(t, old.URL, mcp.Modern, func(c *Config) { c.RootCAs = oldRoots }),
		"an unknown authority": connect(t, s.URL, mcp.Modern, func(c *Config) { c.RootCAs = x509.NewCertPool() }),
		"the system's roots":   connect(t, s.URL, mcp.Modern),
	} {
		if _, err := c.call(t.Context(), "tools/call"); !errors.Is(err, upstream.ErrDown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
