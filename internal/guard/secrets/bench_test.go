package secrets

import (
	"testing"
)

// BenchmarkHonest runs over texts that honest tools returned.
func BenchmarkHonest(b *testing.B) {
	d, err := NewDetector()
	if err != nil {
		b.Fatal(err)
	}
	var texts [][]byte
	size := 0
	for _, r := range rows(b, "injection_benign.jsonl.gz") {
		if r.Kind == "tool_result" || r.Kind == "code" {
			texts, size = append(texts, []byte(r.Text)), size+len(r.Text)
		}
	}
	for _, t := range texts {
		d.Detect(t)
	}
	b.SetBytes(int64(size))
	b.ReportMetric(float64(size)/float64(len(texts)), "bytes/text")
	for b.Loop() {
		for _, t := range texts {
			d.Detect(t)
		}
	}
}

// BenchmarkHonestAndViews is the whole of what the guard does with a text.
func BenchmarkHonestAndViews(b *testing.B) {
	d, err := NewDetector()
	if err != nil {
		b.Fatal(err)
	}
	var texts [][]byte
	size := 0
	for _, r := range rows(b, "injection_benign.jsonl.gz") {
		if r.Kind == "tool_result" || r.Kind == "code" {
			texts, size = append(texts, []byte(r.Text)), size+len(r.Text)
		}
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, t := range texts {
			d.Hits(t, false)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := NewDetector(); err != nil {
			b.Fatal(err)
		}
	}
}
