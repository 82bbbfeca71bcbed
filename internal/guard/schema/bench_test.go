package schema_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/schema"
)

// BenchmarkArguments validates a kilobyte of arguments while so many tools are in use.
func BenchmarkArguments(b *testing.B) {
	for _, tools := range []int{1, 1000} {
		b.Run(fmt.Sprintf("tools=%d", tools), func(b *testing.B) {
			check := schema.New(nil).Checks().Arguments
			calls := make([]guard.Subject, tools)
			for i := range calls {
				name := fmt.Sprint("tool", i)
				def := []byte(`{"name":"` + name + `","inputSchema":{"type":"object","properties":{"path":{"type":"string","maxLength":200},"text":{"type":"string"},` +
					`"lines":{"type":"array","items":{"type":"integer"}}},"required":["path"]}}`)
				raw := []byte(`{"name":"` + name + `","arguments":{"path":"/srv/docs/a","text":"` + strings.Repeat("x", 900) + `","lines":[1,2,3]}}`)
				calls[i] = guard.Subject{Target: call.Target{Server: "files", Method: "tools/call", Name: name}, Request: true,
					Definition: &guard.Declared{Digest: sha256.Sum256(def), Raw: def}, Raw: raw}
			}
			one := func(i int) {
				if v, err := check(b.Context(), calls[i%tools]); err != nil || !v.Effect.Passes() {
					b.Fatal(v.Effect, err)
				}
			}
			for i := range calls {
				one(i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				one(i)
				i++
			}
		})
	}
}
