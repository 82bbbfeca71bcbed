package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/munjigi/munjigi/internal/base/durable"
)

func TestReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	for _, text := range []string{"one", "", "three"} {
		if err := durable.Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q %v", b, err)
		}
	}
	if err := durable.Replace(filepath.Join(path, "below"), nil); err == nil {
		t.Error("a file below a file")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestOneHoldsTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	a, b := open(), open()
	if ok, err := durable.TryLock(a); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := durable.TryLock(b); ok || err != nil {
		t.Fatal("two hold one lock", err)
	}
	if err := durable.Unlock(a); err != nil {
		t.Fatal(err)
	}
	if ok, err := durable.TryLock(b); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.Lock(a); err != nil {
		t.Fatal("the lock did not end with its file:", err)
	}
}
