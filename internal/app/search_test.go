package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
)

// TestSearchFollowsTheRecord searches while the record grows and rotates, and after it was replaced.
func TestSearchFollowsTheRecord(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	record := func(ids ...string) {
		l, err := log.Open(log.Options{Dir: dir, RotateBytes: 600})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			e := audit.Event{ID: id, Time: time.Now(), Kind: audit.KindOutcome, Stage: "reply", Effect: "allow", Reason: "ok", Target: "tool-" + id}
			if err := l.With(log.Strict).Record(t.Context(), &e); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	find := func(query string) (ids []string) {
		t.Helper()
		if err := Search(t.Context(), Searching{Dir: dir, Query: query, Most: 100, Now: time.Now()}, func(line []byte) bool {
			e, err := audit.Parse(line)
			if err != nil {
				t.Error(err)
			}
			ids = append(ids, e.ID)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	var want []string
	for round := range 5 {
		for i := range 4 {
			id := fmt.Sprintf("r%di%d", round, i)
			record(id)
			want = append([]string{id}, want...)
		}
		if got := find("tool:tool-*"); !slices.Equal(got, want) {
			t.Fatalf("round %d: %q, want %q", round, got, want)
		}
	}
	if got := find("tool:tool-r2i1"); !slices.Equal(got, []string{"r2i1"}) {
		t.Errorf("%q", got)
	}
	index := filepath.Join(t.TempDir(), "old.db")
	b, err := os.ReadFile(filepath.Join(dir, IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	record("other1", "other2")
	if err := os.WriteFile(index, b, 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := Search(t.Context(), Searching{Dir: dir, Index: index, Query: "tool:tool-*", Most: 100, Now: time.Now()}, func([]byte) bool { n++; return true }); err != nil || n != 2 {
		t.Errorf("an index of another record: %d found, %v", n, err)
	}
	if err := NoteReading(t.Context(), dir, "search", "x"); err != nil {
		t.Fatal(err)
	}
	if got := find("reason:record-read"); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
