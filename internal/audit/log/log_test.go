package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("MUNJIGI_TEST_RECORD"); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func event(id string) *audit.Event {
	return &audit.Event{ID: id, Time: time.Now(), Kind: audit.KindEvent, Stage: "test", Effect: "allow", Reason: "ok", Target: strings.Repeat("t", 100)}
}

func openLog(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustRecord(t *testing.T, r audit.Recorder, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := r.Record(t.Context(), event(id)); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
}

// ids reads the events of stage "test" and the reasons of the record's own events, oldest first.
func ids(t *testing.T, dir string) (ours, own []string) {
	t.Helper()
	if err := Read(dir, OldestFirst, func(e audit.Event) bool {
		if e.Stage == "test" {
			ours = append(ours, e.ID)
		} else {
			own = append(own, e.Reason)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return ours, own
}

// fakeFile passes writes to a real file and does what the test wants besides.
type fakeFile struct {
	file
	write func(f file, b []byte) (int, error)
	sync  func() error
}

func (f fakeFile) Write(b []byte) (int, error) {
	if f.write == nil {
		return f.file.Write(b)
	}
	return f.write(f.file, b)
}

func (f fakeFile) Sync() error {
	if f.sync == nil {
		return nil
	}
	return f.sync()
}

func openFake(t *testing.T, o Options, fake fakeFile) *Log {
	t.Helper()
	l, err := open(o, func(path string) (file, error) {
		f, err := openFile(path)
		if err != nil {
			return nil, err
		}
		with := fake
		with.file = f
		return with, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestManyWriters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 20_000})
	const writers, each = 16, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := l.With(Durability(w % 2))
			for i := range each {
				if err := r.Record(t.Context(), event(fmt.Sprintf("w%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, own := ids(t, dir)
	next := map[string]int{}
	for _, id := range got {
		w, i, _ := strings.Cut(id, "-")
		if i != fmt.Sprint(next[w]) {
			t.Errorf("%s follows %d events of its writer", id, next[w])
		}
		next[w]++
	}
	if len(got) != writers*each || len(own) != 0 {
		t.Errorf("%d events, and %v", len(got), own)
	}
	if names, _ := rotatedNames(dir); len(names) < 3 {
		t.Errorf("rotated only to %v", names)
	}
}

func TestStrictIsSyncedWhenRecordReturns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var mu sync.Mutex
	var written, synced string
	l := openFake(t, Options{Dir: dir}, fakeFile{
		write: func(f file, b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			written += string(b)
			return f.Write(b)
		},
		sync: func() error {
			mu.Lock()
			defer mu.Unlock()
			synced = written
			return nil
		},
	})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("w%d-%d", w, i)
				if err := l.With(Strict).Record(t.Context(), event(id)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				if !strings.Contains(synced, `"`+id+`"`) {
					t.Errorf("%s was not synced", id)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestRelaxedIsSyncedWithin50ms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		syncs := 0
		l := openFake(t, Options{Dir: dir}, fakeFile{sync: func() error { syncs++; return nil }})
		mustRecord(t, l.With(Relaxed), "a", "b")
		synctest.Wait()
		if got, _ := ids(t, dir); len(got) != 0 {
			t.Errorf("written at once: %v", got)
		}
		time.Sleep(maxDelay)
		synctest.Wait()
		if got, _ := ids(t, dir); !slices.Equal(got, []string{"a", "b"}) || syncs != 1 {
			t.Errorf("%v with %d syncs", got, syncs)
		}
		mustRecord(t, l.With(Relaxed), "c")
		mustRecord(t, l.With(Strict), "d")
		if got, _ := ids(t, dir); !slices.Equal(got, []string{"a", "b", "c", "d"}) || syncs != 2 {
			t.Errorf("a strict event did not take the relaxed one along: %v with %d syncs", got, syncs)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitersShareOneSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		syncs := 0
		l := openFake(t, Options{Dir: dir}, fakeFile{sync: func() error { syncs++; <-gate; return nil }})
		var wg sync.WaitGroup
		record := func(id string) {
			wg.Go(func() {
				if err := l.With(Strict).Record(t.Context(), event(id)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		record("first")
		for i := range 100 {
			record(fmt.Sprint("later", i))
		}
		close(gate)
		wg.Wait()
		if got, _ := ids(t, dir); len(got) != 101 || syncs != 2 {
			t.Errorf("%d events with %d syncs", len(got), syncs)
		}
		_ = l.Close()
	})
}

func TestFullQueueHoldsCallersBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := openFake(t, Options{Dir: dir}, fakeFile{sync: func() error { <-gate; return nil }})
		big := event("big")
		big.Trail = slices.Repeat([]audit.Step{{Stage: "s", Detail: strings.Repeat("\x01", 4096)}}, audit.MaxTrail)
		line := len(big.Append(nil)) + 1
		sent := 0
		for ; sent < 3*maxBatch/line; sent++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := l.With(Relaxed).Record(ctx, big)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if held := sent * line; held < maxBatch || held > 2*maxBatch {
			t.Errorf("%d bytes were queued before Record waited", held)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- l.With(Relaxed).Record(t.Context(), big) }()
		synctest.Wait()
		select {
		case err := <-waiting:
			t.Errorf("did not wait: %v", err)
		default:
		}
		close(gate)
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if got, _ := ids(t, dir); len(got) != sent+1 {
			t.Errorf("%d of %d events", len(got), sent+1)
		}
	})
}

func TestStrictCallerMayStopWaiting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := openFake(t, Options{Dir: dir}, fakeFile{sync: func() error { <-gate; return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.With(Strict).Record(ctx, event("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(gate)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		l = openLog(t, Options{Dir: dir})
		if err := l.With(Relaxed).Record(gone, event("b")); err != nil {
			t.Errorf("an ended context lost the outcome of its call: %v", err)
		}
		_ = l.Close()
	})
}

func TestZeroValuesRefuse(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	for name, r := range map[string]audit.Recorder{
		"zero log": new(Log).With(Strict), "no log": (*Log)(nil).With(Relaxed), "unknown durability": l.With(7), "zero recorder": recorder{},
	} {
		if r.Record(t.Context(), event("a")) == nil {
			t.Errorf("%s: recorded", name)
		}
	}
	if l.With(Strict).Record(t.Context(), &audit.Event{}) == nil || l.With(Strict).Record(t.Context(), nil) == nil {
		t.Error("recorded an event without anything in it")
	}
	for _, o := range []Options{{}, {Dir: t.TempDir(), Keep: -1}, {Dir: t.TempDir(), RotateBytes: -1}} {
		if _, err := Open(o); err == nil {
			t.Errorf("opened %+v", o)
		}
	}
}

func TestCloseDrains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var said []string
	start := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if i == 100 && w == 0 {
					close(start)
				}
				id := fmt.Sprintf("w%d-%d", w, i)
				err := l.With(Durability(w%2)).Record(t.Context(), event(id))
				if err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					said = append(said, id)
					mu.Unlock()
				}
			}
		})
	}
	<-start
	wg.Go(func() { _ = l.Close() })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	got, _ := ids(t, dir)
	slices.Sort(got)
	slices.Sort(said)
	if diff := cmp.Diff(said, got); diff != "" {
		t.Errorf("what Record promised is not what the record holds:\n%s", diff)
	}
	if err := l.With(Relaxed).Record(t.Context(), event("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "audit")
	l := openLog(t, Options{Dir: dir, RotateBytes: 1})
	mustRecord(t, l.With(Strict), "a", "b")
	if runtime.GOOS == "windows" {
		return
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if want := fs.FileMode(0o600); !d.IsDir() && info.Mode().Perm() != want || d.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: open}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others may write: %v", err)
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(linked, currentName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: linked}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a link in place of the record: %v", err)
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, d := range map[string]Durability{"relaxed": Relaxed, "strict": Strict} {
		b.Run(name, func(b *testing.B) {
			l, err := Open(Options{Dir: b.TempDir(), Keep: 2})
			if err != nil {
				b.Fatal(err)
			}
			r := l.With(d)
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				e := event("0123456789abcdef")
				for pb.Next() {
					if err := r.Record(context.Background(), e); err != nil {
						b.Error(err)
					}
				}
			})
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
