package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
)

func line(id string) string { return string(event(id).Append(nil)) + "\n" }

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func torn(t *testing.T, dir string) (texts []string) {
	t.Helper()
	names, err := namesWith(dir, tornPrefix, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

func TestTornTailIsMovedAside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, whole, tail string }{
		{"half a line", line("a") + line("b"), line("c")[:40]},
		{"all but the line break", line("a"), strings.TrimSuffix(line("c"), "\n")},
		{"zeros that a crash left", line("a"), strings.Repeat("\x00", 200_000)},
		{"nothing else", "", `{"id":"x`},
		{"a tail longer than a chunk", line("a"), strings.Repeat("x", 64<<10)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put(t, dir, currentName, c.whole+c.tail)
			l := openLog(t, Options{Dir: dir})
			mustRecord(t, l.With(Strict), "z")
			got, own := ids(t, dir)
			if len(got) != strings.Count(c.whole, "\n")+1 || got[len(got)-1] != "z" || !slices.Equal(own, []string{"torn-line-moved"}) {
				t.Errorf("%v and %v", got, own)
			}
			if diff := cmp.Diff([]string{c.tail}, torn(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTornTailOfADeadNeighbour(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir})
	mustRecord(t, l.With(Strict), "a")
	put(t, dir, currentName, line("b")+line("c")[:30])
	mustRecord(t, l.With(Strict), "d")
	put(t, dir, currentName, "{")
	mustRecord(t, l.With(Strict), "e")
	got, own := ids(t, dir)
	if !slices.Equal(got, []string{"a", "b", "d", "e"}) || len(own) != 2 {
		t.Errorf("%v and %v", got, own)
	}
	if diff := cmp.Diff([]string{line("c")[:30], "{"}, torn(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestProcessesShareTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const logs, each = 5, 60
	var wg sync.WaitGroup
	for p := range logs {
		l := openLog(t, Options{Dir: dir, RotateBytes: 3000})
		wg.Go(func() {
			for i := range each {
				if err := l.With(Durability(i%2)).Record(t.Context(), event(fmt.Sprintf("p%d-%d", p, i))); err != nil {
					t.Error(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, own := ids(t, dir)
	slices.Sort(got)
	if len(slices.Compact(got)) != logs*each || len(own) != 0 || len(torn(t, dir)) != 0 {
		t.Errorf("%d different events of %d, and %v", len(slices.Compact(got)), logs*each, own)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	future := rotatedPrefix + "29990101T000000.000000Z" + rotatedSuffix
	put(t, dir, future, line("a"))
	l := openLog(t, Options{Dir: dir, RotateBytes: int64(2 * len(line("b")))})
	mustRecord(t, l.With(Strict), "b", "c", "d", "e", "f")
	names, err := rotatedNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 3 || names[0] != future {
		t.Errorf("with a clock that went back: %v", names)
	}
	if got, _ := ids(t, dir); !slices.Equal(got, []string{"a", "b", "c", "d", "e", "f"}) {
		t.Errorf("%v", got)
	}
	var back []string
	if err := Read(dir, NewestFirst, func(e audit.Event) bool { back = append(back, e.ID); return e.ID != "b" }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back, []string{"f", "e", "d", "c", "b"}) {
		t.Errorf("%v", back)
	}
}

func TestRotationKeeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 1, Keep: 2})
	mustRecord(t, l.With(Strict), "a", "b", "c", "d")
	got, own := ids(t, dir)
	if !slices.Equal(got, []string{"b", "c", "d"}) || !slices.Equal(own, []string{"file-removed"}) {
		t.Errorf("%v and %v", got, own)
	}
}

func TestRotationThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, RotateBytes: 1})
	l.files.rename = func(string, string) error { return syscall.EACCES }
	mustRecord(t, l.With(Strict), "a", "b", "c")
	l.files.rename = os.Rename
	mustRecord(t, l.With(Strict), "d")
	got, own := ids(t, dir)
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) || !slices.Equal(own, []string{"rotation-failed"}) {
		t.Errorf("%v and %v", got, own)
	}
	if names, _ := rotatedNames(dir); len(names) != 1 {
		t.Errorf("%v", names)
	}
}

func TestVanishedFileIsRecorded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir})
	mustRecord(t, l.With(Strict), "a")
	if err := os.Rename(filepath.Join(dir, currentName), filepath.Join(dir, "hidden")); err != nil {
		t.Fatal(err)
	}
	mustRecord(t, l.With(Strict), "b")
	got, own := ids(t, dir)
	if !slices.Equal(got, []string{"b"}) || !slices.Equal(own, []string{"file-vanished"}) {
		t.Errorf("%v and %v", got, own)
	}
}

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
