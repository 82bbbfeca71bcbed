package hist

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	upTo := func(n int) []time.Duration {
		out := make([]time.Duration, n)
		for i := range out {
			out[i] = time.Duration(i + 1)
		}
		return out
	}
	tests := map[string]struct {
		in   []time.Duration
		p    float64
		want time.Duration
	}{
		"empty":               {nil, 0.5, 0},
		"one":                 {[]time.Duration{7}, 0.99, 7},
		"small are exact":     {upTo(50), 0.5, 25},
		"nearest rank up":     {upTo(3), 0.5, 2},
		"zeroth is smallest":  {upTo(9), 0, 1},
		"hundredth is max":    {upTo(60), 1, 60},
		"below zero":          {upTo(9), -1, 1},
		"above one":           {upTo(9), 2, 9},
		"negative counts 0":   {[]time.Duration{-5}, 0.5, 0},
		"never above the max": {[]time.Duration{1000, 1000, 1000}, 0.99, 1000},
		"longest possible":    {[]time.Duration{math.MaxInt64}, 0.5, math.MaxInt64},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h Histogram
			for _, d := range tc.in {
				h.Record(d)
			}
			got := h.Percentile(tc.p)
			if diff := math.Abs(float64(got) - float64(tc.want)); diff > float64(tc.want)/subs {
				t.Errorf("Percentile(%v) = %d, want %d within 1/%d", tc.p, got, tc.want, subs)
			}
		})
	}
}

// FuzzPercentile holds that every percentile is within 1/64 of the one found
// by sorting, that merging parts equals recording the whole, and that count
// and maximum are exact.
func FuzzPercentile(f *testing.F) {
	f.Add([]byte{}, 0.5)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 127}, 0.99)
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<40+12345), 1.0)
	f.Fuzz(func(t *testing.T, raw []byte, p float64) {
		if math.IsNaN(p) {
			return
		}
		var all []time.Duration
		var whole, left, right Histogram
		for i := 0; i+8 <= len(raw); i += 8 {
			d := time.Duration(binary.LittleEndian.Uint64(raw[i:]) >> 1)
			all = append(all, d)
			whole.Record(d)
			if i%16 == 0 {
				left.Record(d)
			} else {
				right.Record(d)
			}
		}
		left.Merge(&right)
		if left != whole {
			t.Fatal("two merged parts differ from the whole")
		}
		if whole.Count() != uint64(len(all)) {
			t.Fatalf("Count() = %d, want %d", whole.Count(), len(all))
		}
		if len(all) == 0 {
			return
		}
		slices.Sort(all)
		if whole.Max() != all[len(all)-1] {
			t.Fatalf("Max() = %d, want %d", whole.Max(), all[len(all)-1])
		}
		rank := int(math.Ceil(min(max(p, 0), 1) * float64(len(all))))
		want := all[min(max(rank, 1), len(all))-1]
		got := whole.Percentile(p)
		if math.Abs(float64(got)-float64(want)) > float64(want)/subs {
			t.Fatalf("Percentile(%v) = %d, want %d within 1/%d", p, got, want, subs)
		}
	})
}
