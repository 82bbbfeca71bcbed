package proc

import (
	"strconv"
	"strings"
)

// Collections adds up what a Go process says of its garbage collector on
// standard error when it runs with GODEBUG=gctrace=1. From it the bytes that
// the process allocates can be known from outside, in steps of a megabyte.
// Its zero value is ready; it is not safe for several goroutines.
type Collections struct {
	// Count is the number of collections seen.
	Count int
	// Allocated is the bytes allocated up to the last collection.
	Allocated int64
	// Live is the bytes that the last collection found in use.
	Live int64
}

// Line takes one line of output and says whether it was the collector's:
// "gc 7 @0.05s 1%: … ms clock, … ms cpu, 4->5->1 MB, 4 MB goal, …".
func (c *Collections) Line(line string) bool {
	if !strings.HasPrefix(line, "gc ") || !strings.Contains(line, " ms clock, ") {
		return false
	}
	for part := range strings.SplitSeq(line, ", ") {
		sizes, ok := strings.CutSuffix(part, " MB")
		if !ok {
			continue
		}
		heap := strings.Split(sizes, "->")
		if len(heap) != 3 {
			continue
		}
		var at [3]int64
		for i, text := range heap {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return false
			}
			at[i] = n << 20
		}
		c.Count++
		c.Allocated += max(at[1]-c.Live, 0)
		c.Live = at[2]
		return true
	}
	return false
}
