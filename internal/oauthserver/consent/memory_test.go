package consent_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/store"
)

// memory is a bucket that has no clock of its own: what it holds stays.
type memory struct {
	mu   sync.Mutex
	rows map[string]store.Entry
	next store.Version
}

func newMemory() *memory { return &memory{rows: map[string]store.Entry{}} }

func (m *memory) put(key string, value []byte, expiry time.Time) {
	m.next++
	m.rows[key] = store.Entry{Key: key, Value: slices.Clone(value), Version: m.next, Expiry: expiry}
}

func (m *memory) Get(_ context.Context, key string) (store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.rows[key]
	if !ok {
		return store.Entry{}, store.ErrNotFound
	}
	return e, nil
}

func (m *memory) PutIfAbsent(_ context.Context, key string, value []byte, expiry time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rows[key]; ok {
		return false, nil
	}
	m.put(key, value, expiry)
	return true, nil
}

func (m *memory) CompareAndSwap(_ context.Context, key string, old store.Version, value []byte, expiry time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[key].Version != old || old == 0 {
		return false, nil
	}
	m.put(key, value, expiry)
	return true, nil
}

func (m *memory) Delete(_ context.Context, key string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.rows[key]
	delete(m.rows, key)
	return ok, nil
}

func (m *memory) Scan(_ context.Context, prefix string, f func(store.Entry) bool) error {
	m.mu.Lock()
	keys := slices.Sorted(maps.Keys(m.rows))
	m.mu.Unlock()
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) {
			if e, err := m.Get(context.Background(), k); err == nil && !f(e) {
				return nil
			}
		}
	}
	return nil
}
