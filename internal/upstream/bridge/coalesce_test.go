package bridge

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Changes of one kind that wait are told once, but the last of them is never
// lost: who takes what waits has then seen every change that was put before.
func TestTheLastChangeIsNeverLost(t *testing.T) {
	t.Parallel()
	const rounds, changes = 5_000, 4
	m := mcp.Message{Kind: mcp.Notification, Method: mcp.NotifyToolsChanged, Params: []byte(`{}`)}
	for round := range rounds {
		l := newListener(&conn{}, upstream.Caller{}, filter{})
		var list atomic.Int64 // what changes
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range changes {
				list.Add(1)
				l.put(m)
				runtime.Gosched()
			}
		}()
		seen := int64(0)
		look := func() {
			if len(l.in.take()) > 0 {
				seen = list.Load()
			}
		}
		for ended := false; !ended; {
			select {
			case <-l.in.wake:
				look()
			case <-done:
				ended = true
			}
		}
		for woken := true; woken; {
			select {
			case <-l.in.wake:
				look()
			default:
				woken = false
			}
		}
		if seen != changes {
			t.Fatalf("round %d: the list changed %d times and was looked at after %d", round, changes, seen)
		}
	}
}
