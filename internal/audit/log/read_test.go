package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
)

func TestReadSkipsWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := strings.Repeat("x", 3*audit.MaxLine) + "\n"
	put(t, dir, rotatedPrefix+"20260101T000000.000000Z"+rotatedSuffix, line("a")+"nonsense\n"+line("b"))
	put(t, dir, rotatedPrefix+"evil"+rotatedSuffix, line("no"))
	put(t, dir, currentName, line("c")+long+line("d")+`{"id":"unfinished`)
	for order, want := range map[Order][]string{OldestFirst: {"a", "b", "c", "d"}, NewestFirst: {"d", "c", "b", "a"}} {
		var got []string
		err := Read(dir, order, func(e audit.Event) bool { got = append(got, e.ID); return true })
		var bad *CorruptError
		if !errors.As(err, &bad) || bad.Lines != 2 {
			t.Errorf("%v", err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
	}
	if err := Read(filepath.Join(dir, "none"), OldestFirst, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := Read(t.TempDir(), NewestFirst, nil); err != nil {
		t.Errorf("an empty record: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 1})
	for _, e := range []struct{ id, kind string }{
		{"both", audit.KindIntent}, {"bo", audit.KindIntent}, {"both", audit.KindOutcome}, {"open", audit.KindIntent}, {"refused", audit.KindOutcome}, {"news", audit.KindEvent},
	} {
		ev := event(e.id)
		ev.Kind = e.kind
		ev.Target = `{"id":"forged","kind":"outcome"}`
		if err := l.With(Strict).Record(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id              string
		intent, outcome string
	}{
		{"both", audit.KindIntent, audit.KindOutcome}, {"bo", audit.KindIntent, ""}, {"open", audit.KindIntent, ""},
		{"refused", "", audit.KindOutcome}, {"news", "", audit.KindEvent},
		{"bot", "", ""}, {"forged", "", ""}, {"", "", ""}, {`both","kind`, "", ""}, {"../audit", "", ""},
	} {
		intent, outcome, err := Find(dir, c.id)
		if none := c.intent == "" && c.outcome == ""; none != errors.Is(err, ErrNotFound) || !none && err != nil {
			t.Errorf("%q: %v", c.id, err)
		}
		for _, got := range []struct {
			e    *audit.Event
			want string
		}{{intent, c.intent}, {outcome, c.outcome}} {
			if (got.e == nil) != (got.want == "") || got.e != nil && (got.e.Kind != got.want || got.e.ID != c.id) {
				t.Errorf("%q: wanted %q, got %+v", c.id, got.want, got.e)
			}
		}
	}
}

func TestTailFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Dir: dir, RotateBytes: int64(3 * len(line("a00")))})
		mustRecord(t, l.With(Strict), "old")
		time.Sleep(time.Second)
		from := time.Now()
		var want []string
		record := func(n int) {
			for range n {
				id := fmt.Sprintf("a%02d", len(want))
				mustRecord(t, l.With(Strict), id)
				want = append(want, id)
			}
		}
		record(5)
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Tail(ctx, dir, from, func(e audit.Event) bool { got = append(got, e.ID); return true })
		}()
		for i := range 12 {
			record(i)
			if i%3 == 0 {
				time.Sleep(pollEvery)
			}
			synctest.Wait()
		}
		put(t, dir, currentName, "nonsense\n")
		record(1)
		time.Sleep(pollEvery)
		synctest.Wait()
		cancel()
		err := <-ended
		var bad *CorruptError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &bad) {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		_ = l.Close()
	})
}

func TestTailStopsAndStartsWithNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		go func() { ended <- Tail(t.Context(), dir, time.Time{}, func(e audit.Event) bool { return e.ID != "b" }) }()
		synctest.Wait()
		l := openLog(t, Options{Dir: dir})
		mustRecord(t, l.With(Strict), "a", "b", "c")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	})
	if err := Tail(t.Context(), filepath.Join(dir, "none"), time.Time{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A rotation between opening the growing file and listing the folder shows that file once.
func TestReadWhileTheFileIsRotated(t *testing.T) {
	t.Parallel()
	for order, want := range map[Order]string{OldestFirst: "a b", NewestFirst: "b a"} {
		dir := t.TempDir()
		l := openLog(t, Options{Dir: dir, RotateBytes: 1})
		mustRecord(t, l.With(Strict), "a", "b")
		var got []string
		if err := scan(dir, order, func(dir string) ([]string, error) {
			mustRecord(t, l.With(Strict), "c", "d")
			return rotatedNames(dir)
		}, func(_ string, _ int64, line []byte) bool {
			e, err := audit.Parse(line)
			if err != nil {
				t.Error(err)
			}
			got = append(got, e.ID)
			return true
		}); err != nil {
			t.Error(err)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v", got)
		}
	}
}

// Rotations between listing the folder and opening a file hide none of the files that came between.
func TestTailWhileFilesAreRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 1})
	mustRecord(t, l.With(Strict), "0")
	var got, want []string
	want = append(want, "0")
	late := 0
	follow := tail{dir: dir, list: func(dir string) ([]string, error) {
		names, err := rotatedNames(dir)
		if late++; late <= 3 {
			for i := range 2 {
				id := fmt.Sprintf("%d-%d", late, i)
				mustRecord(t, l.With(Strict), id)
				want = append(want, id)
			}
		}
		return names, err
	}}
	for again := true; again || late < 4; {
		var err error
		if again, _, err = follow.step(func(_ string, _ int64, line []byte) bool {
			e, err := audit.Parse(line)
			if err != nil {
				t.Error(err)
			}
			got = append(got, e.ID)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Reading and following beside writers that rotate all the time neither loses, doubles nor reorders an event.
func TestReadersBesideWriters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 1000})
	const all = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range all {
			if err := l.With(Strict).Record(t.Context(), event(fmt.Sprintf("%03d", i))); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		next := 0
		if err := Tail(t.Context(), dir, time.Time{}, func(e audit.Event) bool {
			if e.ID != fmt.Sprintf("%03d", next) {
				t.Errorf("tail: %s in place of %03d", e.ID, next)
			}
			next++
			return next < all
		}); err != nil {
			t.Error(err)
		}
	})
	for order, name := range []string{"oldest first", "newest first"} {
		wg.Go(func() {
			for read := 0; read < all; {
				var got []string
				if err := Read(dir, Order(order), func(e audit.Event) bool { got = append(got, e.ID); return true }); err != nil {
					t.Error(err)
					return
				}
				if Order(order) == NewestFirst {
					slices.Reverse(got)
				}
				for i, id := range got {
					if id != fmt.Sprintf("%03d", i) {
						t.Errorf("%s: %s in place of %03d", name, id, i)
						return
					}
				}
				read = len(got)
			}
		})
	}
	wg.Wait()
}

// Whatever bytes a file holds, reading it backward gives the lines of reading it forward, at the same offsets.
func FuzzDirections(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 3)
	f.Add([]byte("\n"), 400_000)
	f.Add([]byte("xx\n"), 600_000)
	f.Fuzz(func(t *testing.T, b []byte, pad int) {
		if pad > 0 {
			at := len(b) / 2
			b = slices.Concat(b[:at], bytes.Repeat([]byte{'p'}, pad%2_000_000), b[at:])
		}
		type seen struct {
			Offset int64
			Line   string
		}
		var ahead, back []seen
		collect := func(to *[]seen) func(int64, []byte) bool {
			return func(offset int64, line []byte) bool {
				text := string(line)
				if len(text) > audit.MaxLine+1 {
					text = "too long"
				}
				*to = append(*to, seen{offset, text})
				return true
			}
		}
		end, _, err := forward(bytes.NewReader(b), 0, int64(len(b)), collect(&ahead))
		if want := int64(bytes.LastIndexByte(b, '\n') + 1); err != nil || end != want {
			t.Fatalf("ended at %d, the last line at %d: %v", end, want, err)
		}
		if _, _, err := backward(bytes.NewReader(b), 0, int64(len(b)), collect(&back)); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(back)
		if diff := cmp.Diff(ahead, back); diff != "" {
			t.Error(diff)
		}
	})
}
