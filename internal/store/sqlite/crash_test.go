package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/store"
)

// A failing transaction tells every caller in it, and the next one works.
func TestFailedBatchFailsWhole(t *testing.T) {
	t.Parallel()
	s := testOpen(t, Options{Path: testPath(t)})
	kv := testBucket(t, s)
	mustPut(t, kv, "before", "v", time.Time{})
	done := make(chan struct{})
	good := &write{ctx: t.Context(), kind: put, args: []any{"test", []byte("good"), []byte("v"), newVersion(), int64(0)}, done: done}
	bad := &write{ctx: t.Context(), kind: put, args: []any{"test", []byte("bad"), nil, newVersion(), int64(0)}, done: make(chan struct{})}
	lock, err := sql.Open("sqlite", source(s.path(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	w := &writer{store: s}
	if w.conn, err = lock.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.batch([]*write{good, bad})
	if good.ok || good.err == nil || bad.ok || bad.err == nil {
		t.Errorf("%v %v, %v %v", good.ok, good.err, bad.ok, bad.err)
	}
	if _, err := kv.Get(t.Context(), "good"); err != store.ErrNotFound {
		t.Errorf("half of it happened: %v", err)
	}
	again := &write{ctx: t.Context(), kind: put, args: []any{"test", []byte("again"), []byte("v"), newVersion(), int64(0)}, done: make(chan struct{})}
	w.batch([]*write{again})
	if !again.ok || again.err != nil {
		t.Errorf("%v %v", again.ok, again.err)
	}
	if err := w.conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseAmongWriters(t *testing.T) {
	t.Parallel()
	p := testPath(t)
	s := testOpen(t, Options{Path: p})
	kv := testBucket(t, s)
	var mu sync.Mutex
	var won []string
	var wg sync.WaitGroup
	half := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if w == 0 && i == 10 {
					close(half)
				}
				key := fmt.Sprintf("w%d-%02d", w, i)
				ok, err := kv.PutIfAbsent(t.Context(), key, nil, time.Time{})
				if err != nil && err != store.ErrClosed {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					won = append(won, key)
					mu.Unlock()
				}
			}
		})
	}
	<-half
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	var got []string
	if err := testBucket(t, testOpen(t, Options{Path: p})).Scan(t.Context(), "", func(e store.Entry) bool { got = append(got, e.Key); return true }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(won)
	if diff := cmp.Diff(won, got); diff != "" {
		t.Errorf("what was promised is not what is there:\n%s", diff)
	}
}

func writeUntilKilled(path string) {
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	kv, err := s.Bucket("test")
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if ok, err := kv.PutIfAbsent(context.Background(), key, []byte("v"), time.Time{}); err != nil || !ok {
					fmt.Println("error", ok, err)
					os.Exit(1)
				}
				fmt.Printf("<%s>\n", key)
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// A process that is killed at any moment has every entry of which it said that it was put.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := testPath(t)
	var said []string
	for range 3 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "MUNJIGI_TEST_STORE="+p)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
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
			if key, ok := strings.CutSuffix(strings.TrimPrefix(in.Text(), "<"), ">"); ok {
				said = append(said, key)
			}
			if len(said) == round+50 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	s := testOpen(t, Options{Path: p})
	for _, key := range said {
		if ok, err := testBucket(t, s).PutIfAbsent(t.Context(), key, nil, time.Time{}); err != nil || ok {
			t.Errorf("%s was lost: %v", key, err)
		}
	}
	var verdict string
	if err := s.read.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" || len(said) < 150 {
		t.Errorf("%d entries, %s %v", len(said), verdict, err)
	}
}
