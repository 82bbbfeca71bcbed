package egress

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
)

func TestLoopback(t *testing.T) {
	t.Parallel()
	yes := []string{"localhost", "LOCALHOST", "127.0.0.1", "127.255.3.4", "::1", "::ffff:127.0.0.1"}
	no := []string{"", "localhost.", "localhost.example.com", "xlocalhost", "128.0.0.1", "0.0.0.0", "::", "::2",
		"127.1", "0x7f000001", "2130706433", "::1%lo", "[::1]", "127.0.0.1:80", "::ffff:10.0.0.1"}
	for _, h := range yes {
		if !Loopback(h) {
			t.Errorf("Loopback(%q) = false", h)
		}
	}
	for _, h := range no {
		if Loopback(h) {
			t.Errorf("Loopback(%q) = true", h)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	plain := Rules{PlainLoopback: true}
	tests := []struct {
		raw  string
		r    Rules
		want string // part of the error; empty accepts
	}{
		{"https://mcp.example.com/mcp", Rules{}, ""},
		{"https://mcp.example.com:8443/mcp?x=1", Rules{}, ""},
		{"https://[2001:db8::1]:8443/", Rules{}, ""},
		{"HTTPS://Example.com", Rules{}, ""},
		{"http://127.0.0.1:9000/mcp", plain, ""},
		{"http://localhost:9000/mcp", plain, ""},
		{"http://[::1]:9000/mcp", plain, ""},
		{"http://127.0.0.1:9000/mcp", Rules{}, "plain http"},
		{"http://example.com/", plain, "plain http"},
		{"http://localhost.example.com/", plain, "plain http"},
		{"http://127.1/", plain, "neither a DNS name"},
		{"http://0x7f.1/", plain, "neither a DNS name"},
		{"https://0x7f/", plain, "neither a DNS name"},
		{"https://2130706433/", plain, "neither a DNS name"},
		{"http://[::1%25lo]/", plain, "neither a DNS name"},
		{"https://user@example.com/", Rules{}, "user name"},
		{"https://user:pw@example.com/", Rules{}, "user name"},
		{"https://@example.com/", Rules{}, "user name"},
		{"https://example.com/#x", Rules{}, "fragment"},
		{"https://example.com/#", Rules{}, "fragment"},
		{"https:example.com", Rules{}, "names no host"},
		{"https:///path", Rules{}, "names no host"},
		{"//example.com/", Rules{}, "scheme"},
		{"ftp://example.com/", Rules{}, "scheme"},
		{"file:///etc/passwd", Rules{}, "names no host"},
		{"unix:///run/x.sock", plain, "names no host"},
		{"https://example.com:0/", Rules{}, "port"},
		{"https://example.com:/", Rules{}, "port"},
		{"https://example.com:65536/", Rules{}, "port"},
		{"https://exa mple.com/", Rules{}, "visible ASCII"},
		{"https://exämple.com/", Rules{}, "visible ASCII"},
		{"https://example.com/\r\nHost: x", Rules{}, "visible ASCII"},
		{"https://example.com\\@evil.example/", Rules{}, "backslash"},
		{"https://exa_mple..com/", Rules{}, "neither a DNS name"},
		{"https://-example.com/", Rules{}, "neither a DNS name"},
		{"https://exam%70le.com/", Rules{}, "cannot be parsed"},
		{"", Rules{}, "names no host"},
	}
	for _, tt := range tests {
		u, err := CheckURL(tt.raw, tt.r)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("CheckURL(%q) = %v", tt.raw, err)
		case tt.want == "" && u == nil:
			t.Errorf("CheckURL(%q) returned nothing", tt.raw)
		case tt.want != "" && err == nil:
			t.Errorf("CheckURL(%q) was accepted", tt.raw)
		case tt.want != "" && !strings.Contains(err.Error(), tt.want):
			t.Errorf("CheckURL(%q) = %v, want %q", tt.raw, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("CheckURL(%q) quotes the secret", tt.raw)
		}
	}
}

// A name that means loopback must not lead elsewhere: the check looks at the
// address of the socket, so a lying resolver changes nothing.
func TestDialerRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	dial := Dialer(&url.URL{Scheme: "http", Host: "localhost:1"})
	for _, addr := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:80"} {
		if _, err := dial(context.Background(), "tcp", addr); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("dial(%s) = %v, want ErrNotLoopback", addr, err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := dial(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://a.example/x", "http://127.0.0.1:1/", "http://[::1]/", "https://a@b/", "http://127.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := CheckURL(raw, Rules{PlainLoopback: true})
		if err != nil {
			return
		}
		if u.Scheme != "https" && !Loopback(u.Hostname()) {
			t.Fatalf("%q: plain http to %q", raw, u.Host)
		}
		if u.User != nil || u.Fragment != "" {
			t.Fatalf("%q: hidden parts", raw)
		}
		again, err := CheckURL(u.String(), Rules{PlainLoopback: true})
		if err != nil || again.Hostname() != u.Hostname() {
			t.Fatalf("%q does not survive being written: %v", raw, err)
		}
	})
}
