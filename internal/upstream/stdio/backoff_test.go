package stdio

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		if left := b.left(); left > 0 {
			t.Fatalf("a fresh dialer waits %s", left)
		}
		want := firstBackoff
		for i := range 12 {
			b.crashed()
			left := b.left()
			if left > want || left < want*3/4-1 {
				t.Fatalf("crash %d: %s left, want up to %s", i+1, left, want)
			}
			time.Sleep(left)
			if b.left() > 0 {
				t.Fatalf("crash %d: the pause does not end", i+1)
			}
			want = min(2*want, maxBackoff)
		}
		b.crashed()
		b.lived()
		if b.left() > 0 {
			t.Fatal("a process that lived did not end the pause")
		}
		b.crashed()
		if left := b.left(); left > firstBackoff {
			t.Fatalf("the pause starts at %s again", left)
		}
	})
}
