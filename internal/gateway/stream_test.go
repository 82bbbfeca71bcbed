package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

// What streams keep for clients that come back is bounded: for a stream, for
// all sessions together, in time, and by the end of the session.
func TestKeptStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table := NewSessions(DefaultLimits(), nil)
		p := call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person})
		ctx, cancel := context.WithCancel(t.Context())
		go table.Sweep(ctx, 30*time.Second)
		defer synctest.Wait()
		defer cancel()
		body := make([]byte, 1<<20)
		var all []*Session
		for range 40 {
			s, ok := table.open(p, "/mcp/s")
			if !ok {
				t.Fatal("no session")
			}
			all = append(all, s)
			for range 20 {
				st := s.newStream()
				for range 3 {
					st.add(body)
				}
				if st.bytes > keepBytes {
					t.Fatalf("one stream keeps %d bytes", st.bytes)
				}
				st.finish()
			}
		}
		if kept := table.kept.Load(); kept > keepAll || kept < keepAll/2 {
			t.Errorf("%d bytes are kept", kept)
		}
		st, seq, ok := all[0].find(all[0].newStream().eventID(0))
		if st.add([]byte("x")); !ok || seq != 0 {
			t.Error("a stream is not found by its ID")
		}
		table.close(all[1])
		if len(all[1].streams) != 0 {
			t.Error("a session that ended keeps streams")
		}
		time.Sleep(2 * keepDone)
		if kept := table.kept.Load(); kept > 1 {
			t.Errorf("%d bytes are kept of streams that ended long ago", kept)
		}
		for _, s := range all {
			table.close(s)
		}
		if kept := table.kept.Load(); kept != 0 {
			t.Errorf("%d bytes are kept of nobody", kept)
		}
		// A stream that is still written to after its session ended keeps nothing.
		if st.add(body); table.kept.Load() != 0 || len(st.events) != 0 {
			t.Error("a stream without a session keeps what is written")
		}
	})
}
