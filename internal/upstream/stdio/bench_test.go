package stdio

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// BenchmarkExchange is one call to a process that echoes.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, callers), func(b *testing.B) {
				d, err := New(Config{Command: []string{os.Args[0]}, Env: []string{serverEnv + "=echo"}, JSON: strictjson.Default()})
				if err != nil {
					b.Fatal(err)
				}
				tr, err := d.Dial(b.Context(), upstream.DialOptions{Era: mcp.Modern})
				if err != nil {
					b.Fatal(err)
				}
				defer tr.Close()
				params := []byte(`{"name":"echo","arguments":{"text":"` + strings.Repeat("y", size) + `"}}`)
				b.ReportAllocs()
				b.SetParallelism(max(1, callers/2))
				b.ResetTimer()
				before := cpuTime()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := tr.Exchange(b.Context(), upstream.Outgoing{Method: "tools/call", Params: params}, nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.StopTimer()
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
			})
		}
	}
}

// BenchmarkBarePipe writes and reads the same lines with nothing in between.
func BenchmarkBarePipe(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB/1", size>>10), func(b *testing.B) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{serverEnv + "=echo"}
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { in.Close(); _ = cmd.Wait() }()
			line := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("y", size) + "\"}}}\n")
			br := bufio.NewReaderSize(out, 256<<10)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			for b.Loop() {
				if _, err := in.Write(line); err != nil {
					b.Fatal(err)
				}
				if _, err := br.ReadSlice('\n'); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}
