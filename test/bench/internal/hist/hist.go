// Package hist counts how long calls took, in so little memory and time that
// the counting does not disturb what it measures.
//
// It guarantees that a percentile it reports is off by less than one part in
// sixty-four of the true one, and that merging two histograms gives the same
// as having recorded into one. It does not keep the order of what it saw, and
// it is not safe for use by several goroutines: give each its own and merge.
package hist

import (
	"math"
	"math/bits"
	"time"
)

const (
	subBits = 6
	subs    = 1 << subBits
	rows    = 64 - subBits
)

// Histogram counts durations. Its zero value is empty and ready.
type Histogram struct {
	counts [rows * subs]uint64
	total  uint64
	max    time.Duration
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds all that o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count is the number of durations recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Max is the longest duration recorded, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Percentile returns the duration that a share p (0 to 1) of all recorded
// ones did not exceed, by the nearest-rank rule; an empty histogram gives 0.
func (h *Histogram) Percentile(p float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(p, 0), 1) * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen >= rank {
			return min(time.Duration(middle(i)), h.max)
		}
	}
	return h.max
}

// bucket maps a value to its place: exact below subs, and above it subs
// places for each power of two.
func bucket(v uint64) int {
	if v < subs {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)*subs + int(v>>shift) - subs
}

// middle is the value in the middle of what bucket i holds.
func middle(i int) uint64 {
	if i < subs {
		return uint64(i)
	}
	shift := i/subs - 1
	low := uint64(i%subs+subs) << shift
	return low + (uint64(1)<<shift)/2
}
