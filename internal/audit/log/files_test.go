package log

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

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
