package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	t.Parallel()
	tests := map[reach][]string{
		public: {"1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.169.0.1", "223.255.255.255",
			"::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"},
		private: {"127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
			"100.64.0.1", "100.127.255.255", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "::1", "fc00::1", "fdff::1",
			"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:192.168.1.1", "192.88.99.1"},
		never: {"0.0.0.0", "0.1.2.3", "169.254.0.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
			"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
			"::", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "fd00:ec2::254", "fd20:ce::254",
			"::ffff:169.254.169.254", "::ffff:0.0.0.0", "::127.0.0.1", "::10.0.0.1", "::8.8.8.8",
			"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::808:808",
			"2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1",
			"2001::1", "2001:0:7f00:1::", "2001:db8::1", "2001:20::1", "3fff::1", "100::1", "4000::1", "1::1",
			"2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1"},
	}
	for want, list := range tests {
		for _, s := range list {
			if got := reachOf(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s: %d, want %d", s, got, want)
			}
		}
	}
	if reachOf(netip.Addr{}) != never {
		t.Error("no address has a reach")
	}
}

// insider is a server that nobody was meant to reach.
type insider struct {
	*httptest.Server
	hits atomic.Int32
}

func newInsider(t *testing.T, h http.HandlerFunc) *insider {
	t.Helper()
	in := &insider{}
	in.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.hits.Add(1)
		if h != nil {
			h(w, r)
		}
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *insider) hostPort() string { return strings.TrimPrefix(in.URL, "https://") }

func (in *insider) port() string {
	_, p, _ := net.SplitHostPort(in.hostPort())
	return p
}

func (in *insider) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(in.Certificate())
	return pool
}

func client(t *testing.T, r Rules) *http.Client {
	t.Helper()
	c, err := Client(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(c *http.Client, u string) (string, error) {
	res, err := c.Get(u)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func fixed(addrs ...string) Resolver {
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

func TestNobodyReachesInside(t *testing.T) {
	t.Parallel()
	in := newInsider(t, nil)
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"0.0.0.0", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "127.1", "0x7f000001", "2130706433", "017700000001",
		"127.0.0.1.", "169.254.169.254", "10.0.0.1", "[fe80::1%25lo]", "%31%32%37.0.0.1", "127。0。0。1", "①②⑦.0.0.1"} {
		for _, scheme := range []string{"https", "http"} {
			if _, err := get(client(t, Rules{Roots: in.roots(), PlainLoopback: true}), scheme+"://"+host+":"+in.port()+"/"); err == nil {
				t.Errorf("%s://%s was fetched", scheme, host)
			}
		}
	}
	for _, answer := range [][]string{{"127.0.0.1"}, {"::1"}, {"::ffff:127.0.0.1"}, {"0.0.0.0"}, {"1.1.1.1", "127.0.0.1"},
		{"127.0.0.1", "1.1.1.1"}, {"169.254.169.254"}, {}} {
		_, err := get(client(t, Rules{Roots: in.roots(), Resolver: fixed(answer...)}), "https://example.com:"+in.port()+"/")
		if !errors.Is(err, ErrAddress) {
			t.Errorf("a name that resolves to %v: %v", answer, err)
		}
	}
	if n := in.hits.Load(); n != 0 {
		t.Errorf("the server inside was reached %d times", n)
	}
}

func TestAllowOpensWhatItNames(t *testing.T) {
	t.Parallel()
	in := newInsider(t, nil)
	name := "https://example.com:" + in.port() + "/"
	tests := []struct {
		allow []string
		url   string
		ok    bool
	}{
		{[]string{in.hostPort()}, in.URL, true},
		{[]string{"127.0.0.1"}, in.URL, true},
		{[]string{"::ffff:127.0.0.1"}, in.URL, true},
		{[]string{"127.0.0.1:1"}, in.URL, false},
		{[]string{"127.0.0.2"}, in.URL, false},
		{[]string{"example.com"}, in.URL, false},
		{[]string{"example.com"}, name, true},
		{[]string{"EXAMPLE.com:" + in.port()}, name, true},
		{[]string{"example.com:1"}, name, false},
		{[]string{"127.0.0.1"}, name, false},
		{[]string{"com"}, name, false},
		{[]string{"sub.example.com"}, name, false},
	}
	for _, tt := range tests {
		_, err := get(client(t, Rules{Allow: tt.allow, Roots: in.roots(), Resolver: fixed("127.0.0.1")}), tt.url)
		if (err == nil) != tt.ok {
			t.Errorf("%v %s: %v", tt.allow, tt.url, err)
		}
	}
	_, err := get(client(t, Rules{Allow: []string{"example.com"}, Resolver: fixed("169.254.169.254")}), name)
	if !errors.Is(err, ErrAddress) {
		t.Errorf("an opened name led to the metadata address: %v", err)
	}
	_, err = get(client(t, Rules{Allow: []string{"localhost"}, Resolver: fixed("10.0.0.1")}), "https://localhost:"+in.port())
	if !errors.Is(err, ErrNotLoopback) {
		t.Errorf("localhost led elsewhere: %v", err)
	}
}

func TestAllowIsJudged(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", ":80", "a:", "a:0", "a:65536", "a:b", "https://a", "a/b", "*.example.com", "a b", "10.0.0.0/8",
		"127.1", "169.254.169.254", "169.254.169.254:80", "[fe80::1]:80", "0.0.0.0", "::", "224.0.0.1", "user@host", "::1%lo"} {
		if _, err := Client(Rules{Allow: []string{entry}}); err == nil {
			t.Errorf("%q was accepted", entry)
		}
	}
	for _, entry := range []string{"a", "a.example", "a.example:443", "10.0.0.1", "10.0.0.1:8080", "::1", "[::1]", "[::1]:8080", "fd00::1"} {
		if _, err := Client(Rules{Allow: []string{entry}}); err != nil {
			t.Errorf("%q: %v", entry, err)
		}
	}
	if _, err := Client(Rules{MaxRedirects: 6}); err == nil {
		t.Error("six redirects")
	}
}

func TestPlainHTTPNeedsAnOpenedLoopback(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	if _, err := get(client(t, Rules{Allow: []string{host}}), s.URL); err != nil {
		t.Error(err)
	}
	if _, err := get(client(t, Rules{PlainLoopback: true}), s.URL); err == nil || !strings.Contains(err.Error(), "egress.allow") {
		t.Errorf("plain http without an opened host: %v", err)
	}
	if _, err := get(client(t, Rules{Allow: []string{"example.com"}, Resolver: fixed("127.0.0.1")}), "http://example.com:"+host[len("127.0.0.1:"):]); err == nil {
		t.Error("plain http to a name")
	}
}

// The answer that was judged is the answer that is dialled: there is no second
// question to rebind.
func TestRebinding(t *testing.T) {
	t.Parallel()
	in := newInsider(t, nil)
	var asked atomic.Int32
	c := client(t, Rules{Timeout: 300 * time.Millisecond, Roots: in.roots(), Resolver: func(context.Context, string) ([]netip.Addr, error) {
		if asked.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("240.0.0.1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	for range 2 {
		if _, err := get(c, "https://example.com:"+in.port()); !errors.Is(err, ErrAddress) {
			t.Errorf("%v", err)
		}
	}
	if asked.Load() != 2 || in.hits.Load() != 0 {
		t.Errorf("asked %d times, inside reached %d times", asked.Load(), in.hits.Load())
	}

	g := c.Transport.(*gate)
	for _, address := range []string{"127.0.0.1:443", "[::1]:443", "10.0.0.1:443", "169.254.169.254:80", "/run/x.sock", ""} {
		if err := g.control("example.com", false)(t.Context(), "tcp", address, nil); !errors.Is(err, ErrAddress) {
			t.Errorf("a socket to %q: %v", address, err)
		}
	}
	if err := g.control("example.com", false)(t.Context(), "tcp", "1.1.1.1:443", nil); err != nil {
		t.Error(err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var to atomic.Value
	from := newInsider(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			return
		}
		http.Redirect(w, r, to.Load().(string), http.StatusFound)
	})
	in := newInsider(t, nil)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("fetched in the clear") }))
	t.Cleanup(plain.Close)
	opened := []string{from.hostPort()}
	tests := []struct {
		name  string
		to    string
		rules Rules
		want  error
	}{
		{"none by default", "/end", Rules{Allow: opened}, ErrRedirect},
		{"same host", "/end", Rules{Allow: opened, MaxRedirects: 1}, nil},
		{"to inside", in.URL, Rules{Allow: opened, MaxRedirects: 1}, ErrAddress},
		{"to another opened host", in.URL, Rules{Allow: []string{from.hostPort(), in.hostPort()}, MaxRedirects: 1}, ErrRedirect},
		{"to plain http", plain.URL, Rules{Allow: []string{from.hostPort(), strings.TrimPrefix(plain.URL, "http://")}, MaxRedirects: 1}, ErrRedirect},
		{"to metadata", "https://169.254.169.254/latest", Rules{Allow: opened, MaxRedirects: 1}, ErrAddress},
		{"round and round", "/again", Rules{Allow: opened, MaxRedirects: 5}, ErrRedirect},
	}
	for _, tt := range tests {
		to.Store(tt.to)
		tt.rules.Roots = from.roots()
		if _, err := get(client(t, tt.rules), from.URL); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	to.Store("file:///etc/passwd")
	if _, err := get(client(t, Rules{Allow: opened, MaxRedirects: 1, Roots: from.roots()}), from.URL); err == nil {
		t.Error("a file was fetched")
	}
	if in.hits.Load() != 0 {
		t.Error("a redirect led inside")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	var wrote atomic.Int64
	release := make(chan struct{})
	chunk := make([]byte, 64<<10)
	const size = 100 << 20
	in := newInsider(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("asks for compression")
		}
		switch r.URL.Path {
		case "/declared":
			w.Header().Set("Content-Length", fmt.Sprint(size))
			fallthrough
		case "/streamed":
			for range size / len(chunk) {
				n, err := w.Write(chunk)
				wrote.Add(int64(n))
				if err != nil {
					return
				}
			}
		case "/exact":
			_, _ = w.Write(chunk[:1000])
		case "/over":
			_, _ = w.Write(chunk[:1001])
		case "/slow":
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
			<-release // and not when the client is gone: an answer that ends in good order must not overtake its deadline
		case "/silent":
			<-release
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 900_000))
			_ = z.Close()
		}
	})
	t.Cleanup(func() { close(release) })
	rules := Rules{Allow: []string{in.hostPort()}, Roots: in.roots(), MaxBytes: 1000}
	if res, err := client(t, rules).Get(in.URL + "/declared"); !errors.Is(err, ErrTooLarge) {
		_ = res.Body.Close()
		t.Errorf("a length that is too long was waited for: %v", err)
	}
	for _, p := range []string{"/declared", "/streamed", "/over"} {
		if _, err := get(client(t, rules), in.URL+p); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if n := wrote.Load(); n > 2*size/4 {
		t.Errorf("%d bytes were sent before the client hung up", n)
	}
	if b, err := get(client(t, rules), in.URL+"/exact"); err != nil || len(b) != 1000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if b, err := get(client(t, rules), in.URL+"/gzip"); len(b) > 1000 {
		t.Errorf("unpacked: %d bytes, %v", len(b), err)
	}
	rules.Timeout = 250 * time.Millisecond
	for _, p := range []string{"/slow", "/silent"} {
		_, err := get(client(t, rules), in.URL+p)
		var timeout net.Error
		if !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &timeout) && timeout.Timeout()) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestBodyNeverGivesMore(t *testing.T) {
	t.Parallel()
	for size := range 20 {
		for limit := range 20 {
			b := &bounded{under: io.NopCloser(bytes.NewReader(make([]byte, size))), left: int64(limit)}
			got, err := io.ReadAll(b)
			if want := min(size, limit); len(got) != want || (size > limit) != errors.Is(err, ErrTooLarge) {
				t.Errorf("%d of %d: %d bytes, %v", size, limit, len(got), err)
			}
		}
	}
}

func TestNoCookiesNoProxy(t *testing.T) {
	proxy := newInsider(t, nil)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("ALL_PROXY", proxy.URL)
	in := newInsider(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	})
	c := client(t, Rules{Allow: []string{"example.com"}, Roots: in.roots(), Resolver: fixed("127.0.0.1")})
	for range 2 {
		if _, err := get(c, "https://example.com:"+in.port()); err != nil {
			t.Error(err)
		}
	}
	if proxy.hits.Load() != 0 {
		t.Error("the environment's proxy was used")
	}
}

func TestACertificateOfNobodyIsRefused(t *testing.T) {
	t.Parallel()
	in := newInsider(t, nil)
	if _, err := get(client(t, Rules{Allow: []string{in.hostPort()}}), in.URL); err == nil || in.hits.Load() != 0 {
		t.Errorf("%v", err)
	}
	if _, err := Roots([]byte("nothing")); err == nil {
		t.Error("no certificate was accepted")
	}
}

// Whatever the URL and whatever the resolver says, without Allow no socket is
// made to an address that is not public.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"https://127.0.0.1/", "https://[::1]/", "https://a.example/", "https://[64:ff9b::7f00:1]/"} {
		f.Add(s, []byte{127, 0, 0, 1})
		f.Add(s, []byte{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, raw string, answer []byte) {
		a, ok := netip.AddrFromSlice(answer)
		if !ok || reachOf(a) == public {
			return
		}
		c, err := Client(Rules{Resolver: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{a}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(raw); err != nil {
			return
		} else if lit, err := netip.ParseAddr(u.Hostname()); err == nil && reachOf(lit) == public {
			return
		}
		res, err := c.Get(raw)
		if err == nil {
			res.Body.Close()
			t.Fatalf("%q with %v was fetched", raw, a)
		}
		var op *net.OpError
		if errors.As(err, &op) && !errors.Is(err, ErrAddress) {
			t.Fatalf("%q with %v: a socket was made: %v", raw, a, err)
		}
	})
}
