package proc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCollections(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	var c Collections
	for _, tc := range []struct {
		line  string
		taken bool
		want  Collections
	}{
		{"gc 1 @0.011s 2%: 0.02+0.34+0.01 ms clock, 0.04+0.1/0.2/0+0.02 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P", true, Collections{1, 4 * mb, mb}},
		{"msg=\"gc 2 4->5->1 MB\"", false, Collections{1, 4 * mb, mb}},
		{"gc 2 of something else, 4->5->1 MB, done", false, Collections{1, 4 * mb, mb}},
		{"gc 2 @0.030s 2%: 0.02+0.34+0.01 ms clock, 0.04+0.1/0.2/0+0.02 ms cpu, 4->6->2 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P", true, Collections{2, 9 * mb, 2 * mb}},
		{"gc 3 @0.030s 2%: 0.02+0.34+0.01 ms clock, 0.04+0.1/0.2/0+0.02 ms cpu, 4->x->2 MB, 4 MB goal", false, Collections{2, 9 * mb, 2 * mb}},
		{"gc 3 @0.030s 2%: 0.02+0.34+0.01 ms clock, 0.04+0.1/0.2/0+0.02 ms cpu, 4 MB goal", false, Collections{2, 9 * mb, 2 * mb}},
		{"gc 3 @0.090s 2%: 0.02+0.34+0.01 ms clock, 0.04+0.1/0.2/0+0.02 ms cpu, 2->2->2 MB, 4 MB goal, 2 P (forced)", true, Collections{3, 9 * mb, 2 * mb}},
		{"", false, Collections{3, 9 * mb, 2 * mb}},
	} {
		if got := c.Line(tc.line); got != tc.taken {
			t.Errorf("%q taken: %v, want %v", tc.line, got, tc.taken)
		}
		if diff := cmp.Diff(tc.want, c); diff != "" {
			t.Errorf("after %q: %s", tc.line, diff)
		}
	}
}
