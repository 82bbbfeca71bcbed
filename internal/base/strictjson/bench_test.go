package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// message returns a call of a tool with about size bytes of arguments, in the
// mix of long text, short members and nesting that such calls have.
func message(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"files__write","arguments":{"path":"/srv/docs/report.md","mode":420,"create":true,"lines":[`)
	for i := 0; b.Len() < size-160; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"n":%d,"kind":"text","text":"The quick brown fox jumps over the lazy dog.\n","style":null}`, i)
	}
	b.WriteString(`]},"_meta":{"progressToken":"p-17","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`)
	return b.Bytes()
}

func BenchmarkValidate(b *testing.B) {
	texts := []struct {
		name string
		text []byte
	}{
		{"1KB", message(1 << 10)},
		{"64KB", message(64 << 10)},
		{"64KBText", AppendString(nil, string(bytes.Repeat([]byte("plain words "), 5500)))},
		{"64KBHangul", AppendString(nil, string(bytes.Repeat([]byte("문지기는 문을 지킨다. "), 2200)))},
		{"64KBNumbers", append(append([]byte("[0"), bytes.Repeat([]byte(",12.5e3"), 9300)...), ']')},
		{"64KBNames", names(6000)},
	}
	for _, t := range texts {
		b.Run(t.name, func(b *testing.B) {
			b.SetBytes(int64(len(t.text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Validate(t.text, Default()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(t.text)), "ns/byte")
		})
	}
}

// names returns an object of n members.
func names(n int) []byte {
	b := []byte{'{'}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"name%d":0`, i)
	}
	return append(b, '}')
}

func BenchmarkSplitAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		text := message(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				o, err := SplitObject(text)
				if err != nil {
					b.Fatal(err)
				}
				dst = o.Append(dst[:0])
			}
		})
	}
}

func BenchmarkCompact(b *testing.B) {
	text := message(64 << 10)
	var wide bytes.Buffer
	if err := json.Indent(&wide, text, "", "  "); err != nil {
		b.Fatal(err)
	}
	for name, in := range map[string][]byte{"compact": text, "indented": wide.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = Compact(dst[:0], in)
			}
		})
	}
}

func BenchmarkCanonical(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		text := message(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Canonical(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStandardValid(b *testing.B) {
	text := message(64 << 10)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !json.Valid(text) {
			b.Fatal("not valid")
		}
	}
}
