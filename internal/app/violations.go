package app

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/call"
)

// violations counts what one server did against the protocol. What belongs to
// no call has no entry of a call, so the first of each kind goes on the record
// by itself, and then the second, the fourth and so on: a server that floods
// does not fill the disk.
type violations struct {
	server string
	record audit.Recorder
	log    *slog.Logger

	mu     sync.Mutex
	counts map[string]uint64 // by kind, of which there are few
}

// note takes one violation: a kind of the bridge's and words of its own.
func (v *violations) note(kind, detail string) {
	v.mu.Lock()
	if v.counts == nil {
		v.counts = map[string]uint64{}
	}
	v.counts[kind]++
	n := v.counts[kind]
	v.mu.Unlock()
	if n&(n-1) != 0 {
		return
	}
	v.log.Warn("the server broke the protocol", "server", v.server, "kind", kind, "detail", detail, "count", n)
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: call.Send.String(), Effect: call.Deny.String(),
		Reason: string(call.ReasonServerViolation), Server: v.server,
		Detail: map[string]string{"kind": kind, "what": detail, "count": strconv.FormatUint(n, 10)}}
	if err := v.record.Record(context.Background(), &e); err != nil {
		v.log.Error("the record cannot be written", "err", err)
	}
}
