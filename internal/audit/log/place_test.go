package log

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestPlacesOutliveRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want []string
	places := map[string]Place{}
	collect := func(from Place) (got []string, last Place) {
		t.Helper()
		if err := Lines(dir, from, func(at Place, line []byte) bool {
			got, last = append(got, string(line)), at
			if before, seen := places[string(line)]; seen && before != at {
				t.Errorf("%s was at %v and is at %v", line, before, at)
			}
			places[string(line)] = at
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return got, last
	}
	if got, _ := collect(Place{}); got != nil {
		t.Errorf("an empty folder has %q", got)
	}
	for i := range 5 {
		put(t, dir, currentName, fmt.Sprintf("a%d\nb%d\n", i, i))
		want = append(want, fmt.Sprint("a", i), fmt.Sprint("b", i))
		got, last := collect(Place{})
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		if got, _ := collect(last); !slices.Equal(got, want[len(want)-1:]) {
			t.Errorf("from the last line on: %q", got)
		}
		name := fmt.Sprintf("audit-20260101T00000%d.000000Z.jsonl", i)
		if err := os.Rename(filepath.Join(dir, currentName), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if got, _ := collect(last); !slices.Equal(got, want[len(want)-1:]) {
			t.Errorf("after the rotation, from the last line on: %q", got)
		}
	}
	for text, at := range places {
		if line, err := LineAt(dir, at); err != nil || string(line) != text {
			t.Errorf("%q %v at %v", line, err, at)
		}
		back, err := ParsePlace(at.String())
		if err != nil || back != at {
			t.Errorf("%v became %v, %v", at, back, err)
		}
	}
	put(t, dir, currentName, "half")
	if got, _ := collect(Place{}); !slices.Equal(got, want) {
		t.Errorf("a line that is being written shows: %q", got)
	}
}

func TestNoPlace(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "-", "- -1", "- x", "../x 1", "audit.jsonl 3", "audit-x.jsonl 1", "- 1 2"} {
		if p, err := ParsePlace(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
	}
	dir := t.TempDir()
	put(t, dir, currentName, "a\n")
	if _, err := LineAt(dir, Place{Offset: 7}); err == nil {
		t.Error("a line behind the end")
	}
	if _, err := LineAt(dir, Place{Offset: 2}); err == nil {
		t.Error("a line at the end")
	}
}
