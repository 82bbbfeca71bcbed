package streamable

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const echoEnv = "STREAMABLE_TEST_ECHO"

// serveEcho answers each POST with a result of n bytes, until its standard
// input ends. It writes its address to standard output.
func serveEcho(n int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	text := strings.Repeat("x", n)
	for {
		c, err := ln.Accept()
		if err != nil {
			os.Exit(3)
		}
		go echoConn(c, text)
	}
}

func echoConn(c net.Conn, text string) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 8<<10)
	var body, out []byte
	for {
		length := 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if len(line) > 16 && strings.EqualFold(string(line[:16]), "content-length: ") {
				length, _ = strconv.Atoi(strings.TrimSpace(string(line[16:])))
			}
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		if _, err := io.ReadFull(br, body[:length]); err != nil {
			return
		}
		id := string(body[22:length])
		id = id[:strings.IndexByte(id, ',')]
		answer := `{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[{"type":"text","text":"` + text + `"}]}}`
		out = append(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(answer)), 10)
		out = append(append(out, "\r\n\r\n"...), answer...)
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func startEcho(tb testing.TB, size int) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), echoEnv+"="+strconv.Itoa(size))
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr) + "/mcp"
}

// BenchmarkExchange is one call against a server in another process; cpu-µs/op
// is what this process spent.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		params := []byte(`{"name":"echo","arguments":{"text":"` + strings.Repeat("y", size) + `"}}`)
		for _, conns := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, conns), func(b *testing.B) {
				d, err := New(Config{URL: startEcho(b, size), Limits: DefaultLimits()})
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				tr, err := d.Dial(b.Context(), upstream.DialOptions{Era: mcp.Modern})
				if err != nil {
					b.Fatal(err)
				}
				run(b, conns, func(ctx context.Context) error {
					_, err := tr.Exchange(ctx, upstream.Outgoing{Method: "tools/call", Version: mcp.V20260728, Name: "echo", Params: params}, nil)
					return err
				})
			})
		}
	}
}

// BenchmarkStandardClient is the same with net/http and no reading of the
// answer, for comparison.
func BenchmarkStandardClient(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("y", size) + `"}}}`
		for _, conns := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, conns), func(b *testing.B) {
				url := startEcho(b, size)
				tr := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
				defer tr.CloseIdleConnections()
				run(b, conns, func(ctx context.Context) error {
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
					if err != nil {
						return err
					}
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Accept", "application/json, text/event-stream")
					req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
					req.Header.Set("Mcp-Method", "tools/call")
					req.Header.Set("Mcp-Name", "echo")
					res, err := tr.RoundTrip(req)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					return err
				})
			})
		}
	}
}

func run(b *testing.B, conns int, call func(context.Context) error) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	b.SetParallelism(max(1, conns/2))
	b.ResetTimer()
	before := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}
