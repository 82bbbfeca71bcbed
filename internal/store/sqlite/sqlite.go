// Package sqlite is the store of one machine: a SQLite database in the data folder, without native code.
//
// The threat and the guarantees are those of package store. Besides: the file has mode 0600 and a file that others can
// read or write is refused; every write is synced to the disk before its caller hears of it, so it survives a kill and a
// loss of power; several processes may use the file at once; what is deleted or expired is overwritten, not only
// unlinked; a file of a later version of Munjigi is refused, not damaged.
//
// Writes go through one goroutine. Those that wait at the same moment share one transaction and one sync.
//
// Not guaranteed: use over a network file system, whose locks cannot be relied on, or by several machines.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	schemaVersion = 1
	busyTimeout   = 10 * time.Second
	sweepEvery    = time.Minute
	sweepRows     = 500
	mostBatch     = 128
	readers       = 4
	scanRows      = 64
	scanBytes     = 4 << 20
)

// Options for Open.
type Options struct {
	Path string           // of the database; its folder must exist and be writable by this user only
	Now  func() time.Time // the clock that expiry is measured by; nil is time.Now
}

// Store implements store.Store. Its zero value is closed.
type Store struct {
	now    func() time.Time
	read   *sql.DB
	write  *sql.DB
	writes chan *write
	stop   context.CancelFunc
	ctx    context.Context // ends when the store is closed
	done   chan struct{}
	once   sync.Once
}

// Open opens the database, and makes it when it is not there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := ready(o.Path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{now: o.Now, writes: make(chan *write), done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	w, err := s.connect(ctx, o.Path)
	if err != nil {
		s.stop()
		return nil, errors.Join(fmt.Errorf("store: %s: %w: if it is damaged, move it away or restore a copy", o.Path, err), s.closeAll())
	}
	go w.run()
	return s, nil
}

func ready(path string) error {
	if path == "" {
		return errors.New("no database is named: name <data>/store.db")
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%w: make the folder", err)
	}
	if runtime.GOOS != "windows" && dir.Mode().Perm()&secret.OthersWrite != 0 {
		return fmt.Errorf("others may write %s: run chmod 700 on it and look for what they changed", filepath.Dir(path))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return secret.CheckFile(path, secret.OthersUse)
}

func (s *Store) connect(ctx context.Context, path string) (*writer, error) {
	var err error
	if s.write, err = sql.Open("sqlite", source(path)); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{store: s, conn: conn}
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if s.read, err = sql.Open("sqlite", source(path, "query_only(1)")); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return w, nil
}

// source names the database as a URI (https://www.sqlite.org/uri.html), so that no character of the path is taken for
// an option.
func source(path string, more ...string) string {
	path = filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" {
		path = "/" + path
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path}
	if !filepath.IsAbs(path) {
		u = url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	}
	q := url.Values{"_pragma": append([]string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
		"secure_delete(1)", "trusted_schema(0)", "cell_size_check(1)", "journal_size_limit(67108864)",
	}, more...)}
	u.RawQuery = q.Encode()
	return u.String()
}

// Bucket implements store.Store.
func (s *Store) Bucket(name string) (store.KV, error) {
	if s == nil || s.ctx == nil || s.ctx.Err() != nil {
		return nil, store.ErrClosed
	}
	if err := store.CheckBucket(name); err != nil {
		return nil, err
	}
	return bucket{s, name}, nil
}

// Close implements store.Store. It waits for the writes under way, and may be called again.
func (s *Store) Close() (err error) {
	if s == nil || s.ctx == nil {
		return nil
	}
	s.once.Do(func() {
		s.stop()
		<-s.done
		err = s.closeAll()
	})
	return err
}

func (s *Store) closeAll() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

type bucket struct {
	store *Store
	name  string
}

// Get implements store.KV.
func (b bucket) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	e := store.Entry{Key: key}
	var expiry int64
	err := b.store.read.QueryRowContext(ctx,
		`SELECT value, version, expiry FROM kv WHERE bucket = ? AND key = ? AND (expiry = 0 OR expiry > ?)`,
		b.name, []byte(key), b.store.now().UnixMilli()).Scan(&e.Value, &e.Version, &expiry)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Entry{}, store.ErrNotFound
	}
	if err != nil {
		return store.Entry{}, b.store.failed(err)
	}
	e.Expiry = fromMilli(expiry)
	return e, nil
}

// PutIfAbsent implements store.KV.
func (b bucket) PutIfAbsent(ctx context.Context, key string, value []byte, expiry time.Time) (bool, error) {
	if err := store.CheckEntry(key, value, expiry, b.store.now()); err != nil {
		return false, err
	}
	return b.store.submit(ctx, &write{kind: put, args: []any{b.name, []byte(key), full(value), newVersion(), toMilli(expiry)}})
}

// CompareAndSwap implements store.KV.
func (b bucket) CompareAndSwap(ctx context.Context, key string, old store.Version, value []byte, expiry time.Time) (bool, error) {
	if err := store.CheckEntry(key, value, expiry, b.store.now()); err != nil {
		return false, err
	}
	return b.store.submit(ctx, &write{kind: swap, args: []any{full(value), newVersion(), toMilli(expiry), b.name, []byte(key), int64(old)}})
}

// Delete implements store.KV.
func (b bucket) Delete(ctx context.Context, key string) (bool, error) {
	if err := store.CheckKey(key); err != nil {
		return false, err
	}
	return b.store.submit(ctx, &write{kind: remove, args: []any{b.name, []byte(key)}})
}

// Scan implements store.KV. It reads a page at a time, so that nothing is held open while f runs.
func (b bucket) Scan(ctx context.Context, prefix string, f func(store.Entry) bool) error {
	if len(prefix) > store.MostKeyBytes {
		return store.CheckKey(prefix)
	}
	from, to := prefix, after(prefix)
	for {
		page, more, err := b.page(ctx, from, to)
		if err != nil {
			return b.store.failed(err)
		}
		for _, e := range page {
			if !f(e) {
				return nil
			}
		}
		if !more {
			return nil
		}
		from = page[len(page)-1].Key + "\x00"
	}
}

func (b bucket) page(ctx context.Context, from string, to []byte) (page []store.Entry, more bool, err error) {
	query := `SELECT key, value, version, expiry FROM kv WHERE bucket = ? AND key >= ? AND (expiry = 0 OR expiry > ?)`
	args := []any{b.name, []byte(from), b.store.now().UnixMilli()}
	if to != nil {
		query += ` AND key < ?`
		args = append(args, to)
	}
	rows, err := b.store.read.QueryContext(ctx, query+` ORDER BY key LIMIT ?`, append(args, scanRows)...)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size := 0
	for rows.Next() {
		var key []byte
		var e store.Entry
		var expiry int64
		if err := rows.Scan(&key, &e.Value, &e.Version, &expiry); err != nil {
			return nil, false, err
		}
		e.Key, e.Expiry = string(key), fromMilli(expiry)
		page = append(page, e)
		if size += len(e.Value); size > scanBytes {
			return page, true, nil
		}
	}
	return page, len(page) == scanRows, rows.Err()
}

// after returns the least key that is greater than all that begin with prefix, or nil when there is none.
func after(prefix string) []byte {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}

func (s *Store) failed(err error) error {
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	return fmt.Errorf("store: %w", err)
}

func full(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// toMilli rounds up, so that an entry never goes before its time.
func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
