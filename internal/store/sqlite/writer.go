package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/munjigi/munjigi/internal/store"
)

type kind int

const (
	put kind = iota
	swap
	remove
	kinds
)

func (k kind) statement() string {
	switch k {
	case put:
		return `INSERT INTO kv (bucket, key, value, version, expiry) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (bucket, key) DO UPDATE SET value = ?3, version = ?4, expiry = ?5 WHERE expiry <> 0 AND expiry <= ?6`
	case swap:
		return `UPDATE kv SET value = ?, version = ?, expiry = ?
			WHERE bucket = ? AND key = ? AND version = ? AND (expiry = 0 OR expiry > ?)`
	default:
		return `DELETE FROM kv WHERE bucket = ? AND key = ? AND (expiry = 0 OR expiry > ?)`
	}
}

const sweep = `DELETE FROM kv WHERE (bucket, key) IN
	(SELECT bucket, key FROM kv WHERE expiry > 0 AND expiry <= ? ORDER BY expiry LIMIT ?)`

// write is one statement that waits for the writer.
type write struct {
	ctx  context.Context
	kind kind
	args []any // but the last, which is the time of the transaction
	done chan struct{}
	ok   bool // valid after done, as is err
	err  error
}

// newVersion is random, so that a key that was deleted and put again does not come back under an earlier version.
func newVersion() int64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:])
		if v := int64(binary.LittleEndian.Uint64(b[:]) >> 1); v != 0 {
			return v
		}
	}
}

func (s *Store) submit(ctx context.Context, w *write) (bool, error) {
	w.ctx, w.done = ctx, make(chan struct{})
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	select {
	case s.writes <- w:
	case <-ctx.Done():
		return false, fmt.Errorf("store: %w", ctx.Err())
	case <-s.ctx.Done():
		return false, store.ErrClosed
	}
	select {
	case <-w.done:
		return w.ok, w.err
	case <-ctx.Done():
		return false, fmt.Errorf("store: gave up waiting, the write may still happen: %w", ctx.Err())
	}
}

// writer owns the one connection that writes.
type writer struct {
	store *Store
	conn  *sql.Conn
	stmts [kinds]*sql.Stmt
}

// prepare makes the tables when they are not there, and refuses those of a later version.
func (w *writer) prepare(ctx context.Context) error {
	if err := w.transact(ctx, func() error {
		if _, err := w.conn.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL) STRICT`); err != nil {
			return err
		}
		var version, rows int
		if err := w.conn.QueryRowContext(ctx, `SELECT coalesce(max(version), 0), count(*) FROM schema`).Scan(&version, &rows); err != nil {
			return err
		}
		switch {
		case version == schemaVersion && rows == 1:
			return nil
		case rows > 1 || version < 0 || rows == 1 && version == 0:
			return errors.New("its schema table is damaged")
		case version > schemaVersion:
			return fmt.Errorf("it has version %d and this munjigi knows %d: use a newer munjigi", version, schemaVersion)
		}
		for _, stmt := range []string{
			`CREATE TABLE kv (
				bucket TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
				version INTEGER NOT NULL, expiry INTEGER NOT NULL,
				PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID`,
			`CREATE INDEX kv_expiry ON kv (expiry) WHERE expiry > 0`,
			fmt.Sprintf(`INSERT INTO schema (version) VALUES (%d)`, schemaVersion),
		} {
			if _, err := w.conn.ExecContext(ctx, stmt); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for k := range kinds {
		stmt, err := w.conn.PrepareContext(ctx, k.statement())
		if err != nil {
			return err
		}
		w.stmts[k] = stmt
	}
	return nil
}

func (w *writer) transact(ctx context.Context, f func() error) error {
	if _, err := w.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err := f()
	if err == nil {
		_, err = w.conn.ExecContext(ctx, `COMMIT`)
	}
	if err != nil {
		// It may have been rolled back by the failure itself, and then this one fails without harm.
		_, _ = w.conn.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`)
	}
	return err
}

func (w *writer) run() {
	defer close(w.store.done)
	defer w.close()
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case <-w.store.ctx.Done():
			return
		case first := <-w.store.writes:
			w.batch(w.gather(first))
		case <-ticks.C:
			w.sweep()
		}
	}
}

func (w *writer) close() {
	for _, stmt := range w.stmts {
		_ = stmt.Close()
	}
	_ = w.conn.Close()
}

func (w *writer) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < mostBatch {
		select {
		case next := <-w.store.writes:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// batch runs writes in one transaction. When it fails none of them happened, and each is told so.
func (w *writer) batch(batch []*write) {
	ctx := context.Background()
	err := w.transact(ctx, func() error {
		now := w.store.now().UnixMilli()
		for _, one := range batch {
			if one.err = one.ctx.Err(); one.err != nil {
				continue
			}
			result, err := w.stmts[one.kind].ExecContext(ctx, append(one.args, now)...)
			if err != nil {
				return err
			}
			rows, err := result.RowsAffected()
			if err != nil {
				return err
			}
			one.ok = rows == 1
		}
		return nil
	})
	for _, one := range batch {
		if err != nil {
			one.ok, one.err = false, fmt.Errorf("store: %w: free space or mend the data folder", err)
		}
		close(one.done)
	}
}

// sweep removes expired entries, which nothing shows any more, a page at a time between writes.
func (w *writer) sweep() {
	for w.store.ctx.Err() == nil {
		var rows int64
		err := w.transact(context.Background(), func() error {
			result, err := w.conn.ExecContext(context.Background(), sweep, w.store.now().UnixMilli(), sweepRows)
			if err != nil {
				return err
			}
			rows, err = result.RowsAffected()
			return err
		})
		if err != nil || rows < sweepRows {
			return
		}
		select {
		case next := <-w.store.writes:
			w.batch(w.gather(next))
		default:
		}
	}
}
