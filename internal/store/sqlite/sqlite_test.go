package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("MUNJIGI_TEST_STORE"); path != "" {
		writeUntilKilled(path)
	}
	os.Exit(m.Run())
}

func testOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func testPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") }

func testBucket(t testing.TB, s *Store) store.KV {
	t.Helper()
	kv, err := s.Bucket("test")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func mustPut(t *testing.T, kv store.KV, key, value string, expiry time.Time) {
	t.Helper()
	if ok, err := kv.PutIfAbsent(t.Context(), key, []byte(value), expiry); err != nil || !ok {
		t.Fatalf("%q: %v %v", key, ok, err)
	}
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		c := &clock{at: time.Date(2026, 11, 22, 9, 8, 7, 123456789, time.UTC)}
		return storetest.Subject{Store: testOpen(t, Options{Path: testPath(t), Now: c.now}), Now: c.now, Advance: c.advance}
	})
}

func TestStaysWhenReopened(t *testing.T) {
	t.Parallel()
	p := testPath(t)
	s := testOpen(t, Options{Path: p})
	mustPut(t, testBucket(t, s), "k", "v", time.Time{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testOpen(t, Options{Path: p})
	if e, err := testBucket(t, s).Get(t.Context(), "k"); err != nil || string(e.Value) != "v" {
		t.Errorf("%+v %v", e, err)
	}
	if ok, err := testBucket(t, s).PutIfAbsent(t.Context(), "k", nil, time.Time{}); err != nil || ok {
		t.Errorf("what was used is new again: %v %v", ok, err)
	}
}

func TestProcessesShareTheFile(t *testing.T) {
	t.Parallel()
	p := testPath(t)
	const stores, each = 6, 20
	won := make([]int, stores)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{Path: p})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			kv, err := s.Bucket("test")
			if err != nil {
				t.Error(err)
				return
			}
			for k := range each {
				ok, err := kv.PutIfAbsent(t.Context(), fmt.Sprint(k), []byte{byte(i)}, time.Time{})
				if err != nil {
					t.Error(err)
				}
				if ok {
					won[i]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range won {
		sum += n
	}
	if sum != each {
		t.Errorf("%d keys were won %d times: %v", each, sum, won)
	}
}

func TestPathsAreNotOptions(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "a b", "a%20b", "a#b", "a&b=c", "ключ", "a'b\"", "a;b"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(dir, "s?mode=memory&x")
		if runtime.GOOS == "windows" {
			p = filepath.Join(dir, "s&mode=memory")
		}
		s := testOpen(t, Options{Path: p})
		mustPut(t, testBucket(t, s), "k", "v", time.Time{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(p)
		if err != nil || !bytes.HasPrefix(b, []byte("SQLite format 3")) {
			t.Errorf("%q: not written there: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%q: %v", name, entries)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	p := testPath(t)
	s := testOpen(t, Options{Path: p})
	mustPut(t, testBucket(t, s), "k", "v", time.Time{})
	entries, err := os.ReadDir(filepath.Dir(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if len(entries) < 2 {
		t.Errorf("no write-ahead log: %v", entries)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o660, 0o604, 0o602} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{Path: p}); err == nil || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(p), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: p}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others may write: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := testOpen(t, Options{Path: testPath(t)})
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "busy_timeout": "10000", "query_only": "1", "trusted_schema": "0"} {
		var got string
		if err := s.read.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, not %s: %v", pragma, got, want, err)
		}
	}
}

func TestDamagedOrNewerIsRefused(t *testing.T) {
	t.Parallel()
	change := func(query string) func(p string) error {
		return func(p string) error {
			db, err := sql.Open("sqlite", source(p))
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.Exec(query)
			return err
		}
	}
	for name, c := range map[string]struct {
		spoil func(p string) error
		says  string
	}{
		"newer":         {change(`UPDATE schema SET version = 99`), "use a newer munjigi"},
		"two versions":  {change(`INSERT INTO schema (version) VALUES (1)`), "damaged"},
		"version 0":     {change(`UPDATE schema SET version = 0`), "damaged"},
		"no version":    {change(`DELETE FROM schema`), "already exists"},
		"no table":      {change(`DROP TABLE kv`), "no such table"},
		"not SQLite":    {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 8192)), 0o600) }, "move it away"},
		"folder":        {func(p string) error { return swapForFolder(p) }, "regular"},
		"dangling link": {func(p string) error { return swapForLink(p) }, "no such file"},
	} {
		if runtime.GOOS == "windows" && name == "dangling link" {
			continue
		}
		p := testPath(t)
		if err := testOpen(t, Options{Path: p}).Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(p); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{Path: p}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range []string{"", filepath.Join(t.TempDir(), "none", "store.db")} {
		if _, err := Open(t.Context(), Options{Path: p}); err == nil {
			t.Errorf("opened %q", p)
		}
	}
}

func swapForFolder(p string) error {
	if err := os.Remove(p); err != nil {
		return err
	}
	return os.Mkdir(p, 0o700)
}

func swapForLink(p string) error {
	if err := os.Remove(p); err != nil {
		return err
	}
	return os.Symlink(p+"-none", p)
}

func TestZeroStoreIsClosed(t *testing.T) {
	t.Parallel()
	for _, s := range []*Store{nil, {}} {
		if _, err := s.Bucket("test"); err != store.ErrClosed {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestExpiredEntriesAreSwept(t *testing.T) {
	t.Parallel()
	p := testPath(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(context.Background(), Options{Path: p})
		if err != nil {
			t.Fatal(err)
		}
		kv := testBucket(t, s)
		var wg sync.WaitGroup
		for i := range 2*sweepRows + 10 {
			wg.Go(func() {
				if _, err := kv.PutIfAbsent(context.Background(), fmt.Sprint(i), []byte("needle"), time.Now().Add(time.Second)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		mustPut(t, kv, "stays", "v", time.Time{})
		mustPut(t, kv, "later", "v", time.Now().Add(time.Hour))
		time.Sleep(sweepEvery + time.Second)
		synctest.Wait()
		var rows int
		if err := s.read.QueryRow(`SELECT count(*) FROM kv`).Scan(&rows); err != nil || rows != 2 {
			t.Errorf("%d rows are left: %v", rows, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if b, err := os.ReadFile(p); err != nil || bytes.Contains(b, []byte("needle")) {
		t.Errorf("what expired can still be read from the file: %v", err)
	}
}

func (s *Store) path(t *testing.T) (path string) {
	t.Helper()
	if err := s.read.QueryRow(`SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever the prefix, Scan gives the keys that begin with it and no other, in order.
func FuzzScan(f *testing.F) {
	kv := testBucket(f, testOpen(f, Options{Path: testPath(f)}))
	all := storetest.Keys(300, 1)
	for _, key := range all {
		if ok, err := kv.PutIfAbsent(f.Context(), key, nil, time.Time{}); err != nil || !ok {
			f.Fatal(ok, err)
		}
	}
	for _, prefix := range []string{"", "%", "_", "\\", "\xff", "\xff\xff", "\x00", "a%", "A", "\xfe\xff"} {
		f.Add(prefix)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		if len(prefix) > store.MostKeyBytes {
			return
		}
		var want, got []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if err := kv.Scan(t.Context(), prefix, func(e store.Entry) bool { got = append(got, e.Key); return true }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", prefix, diff)
		}
	})
}

func BenchmarkPutIfAbsent(b *testing.B) {
	kv := testBucket(b, testOpen(b, Options{Path: testPath(b)}))
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			b.ReportAllocs()
			var wg sync.WaitGroup
			keys := make(chan int)
			for range callers {
				wg.Go(func() {
					for range keys {
						if ok, err := kv.PutIfAbsent(context.Background(), store.Key("jti", fmt.Sprint(newVersion())), nil, time.Now().Add(time.Hour)); err != nil || !ok {
							b.Error(ok, err)
						}
					}
				})
			}
			for i := range b.N {
				keys <- i
			}
			close(keys)
			wg.Wait()
		})
	}
}
