package log

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
)

func TestFailedDiskBreaksTheLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		fake func(fail *bool) fakeFile
		torn bool
		want error
	}{
		{"sync fails", func(fail *bool) fakeFile {
			return fakeFile{sync: func() error {
				if *fail {
					return syscall.EIO
				}
				return nil
			}}
		}, false, syscall.EIO},
		{"disk is full in the middle of a line", func(fail *bool) fakeFile {
			return fakeFile{write: func(f file, b []byte) (int, error) {
				if *fail {
					n, _ := f.Write(b[:50])
					return n, syscall.ENOSPC
				}
				return f.Write(b)
			}}
		}, true, syscall.ENOSPC},
		{"write is short without an error", func(fail *bool) fakeFile {
			return fakeFile{write: func(f file, b []byte) (int, error) {
				if *fail {
					b = b[:50]
				}
				return f.Write(b)
			}}
		}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fail := false
			l := openFake(t, Options{Dir: dir}, c.fake(&fail))
			mustRecord(t, l.With(Strict), "kept")
			if err := l.Err(); err != nil {
				t.Fatal(err)
			}
			fail = true
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					if err := l.With(Strict).Record(t.Context(), event(fmt.Sprint("lost", i))); !errors.Is(err, ErrBroken) || c.want != nil && !errors.Is(err, c.want) {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			fail = false
			for _, d := range []Durability{Strict, Relaxed} {
				if err := l.With(d).Record(t.Context(), event("after")); !errors.Is(err, ErrBroken) {
					t.Errorf("recorded after the disk had failed: %v", err)
				}
			}
			if err := l.Err(); !errors.Is(err, ErrBroken) {
				t.Errorf("%v", err)
			}
			if err := l.Close(); !errors.Is(err, ErrBroken) {
				t.Errorf("Close does not say that events were lost: %v", err)
			}
			l = openLog(t, Options{Dir: dir})
			mustRecord(t, l.With(Strict), "again")
			got, own := ids(t, dir)
			if got[0] != "kept" || got[len(got)-1] != "again" || slices.Contains(got, "after") {
				t.Errorf("%v", got)
			}
			if c.torn != slices.Equal(own, []string{"torn-line-moved"}) {
				t.Errorf("own events %v", own)
			}
		})
	}
}

func TestFailedDiskTellsTheNextCallerToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := openFake(t, Options{Dir: dir}, fakeFile{sync: func() error { <-gate; return syscall.EIO }})
		errs := make(chan error, 2)
		for i := range 2 {
			go func() { errs <- l.With(Strict).Record(t.Context(), event(fmt.Sprint(i))) }()
			synctest.Wait()
		}
		close(gate)
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrBroken) {
				t.Errorf("%v", err)
			}
		}
		_ = l.Close()
	})
}

func writeUntilKilled(dir string) {
	l, err := Open(Options{Dir: dir, RotateBytes: 10_000})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("w%d-%d", w, i)
				if err := l.With(Strict).Record(context.Background(), event(id)); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(id)
			}
		}()
	}
	select {}
}

// A process that is killed at any moment has every event of which it said that it is recorded, and the next one
// goes on behind it.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said []string
	for range 3 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "MUNJIGI_TEST_RECORD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		round := len(said)
		for in.Scan() {
			if strings.HasPrefix(in.Text(), "error") {
				t.Error(in.Text())
			}
			if said = append(said, in.Text()); len(said) == round+60 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	l := openLog(t, Options{Dir: dir})
	mustRecord(t, l.With(Strict), "after")
	got, _ := ids(t, dir)
	count := map[string]int{}
	for _, id := range got {
		count[id]++
	}
	// A last line may have been printed by half; it still was recorded under an ID that begins so.
	for _, id := range said {
		if count[id]--; count[id] < 0 && !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, id) }) {
			t.Errorf("%s is not in the record", id)
		}
	}
	if got[len(got)-1] != "after" {
		t.Errorf("the last event is %s", got[len(got)-1])
	}
}
