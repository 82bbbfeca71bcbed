package app

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
)

type keptEvents struct{ list []audit.Event }

func (k *keptEvents) Record(_ context.Context, e *audit.Event) error {
	k.list = append(k.list, *e)
	return nil
}

func TestViolationsAreCountedAndRecorded(t *testing.T) {
	t.Parallel()
	var kept keptEvents
	v := &violations{server: "s", record: &kept, log: slog.New(slog.DiscardHandler)}
	for range 1000 {
		v.note("flood", "too much")
	}
	v.note("unbound-request", "the server asked outside of any one call: roots/list")
	var got []string
	for _, e := range kept.list {
		if err := e.Check(); err != nil {
			t.Error(err)
		}
		got = append(got, e.Server+" "+e.Reason+" "+e.Detail["kind"]+" "+e.Detail["count"])
	}
	var want []string
	for _, n := range []string{"1", "2", "4", "8", "16", "32", "64", "128", "256", "512"} {
		want = append(want, "s server-violation flood "+n)
	}
	want = append(want, "s server-violation unbound-request 1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
