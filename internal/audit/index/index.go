// Package index finds entries of the record: by who, what, when and how it was decided, and by words.
//
// The job: somebody who answers for what happened asks in a hurry, and a million entries must not stand in the way.
//
// Guaranteed: the index holds nothing that the record does not say, and can be thrown away and built again from it;
// it knows which line it read last, and is built anew when the record no longer has that line there. What is found
// is a place in the record: the entry itself is read from there, so a changed index can hide an entry and cannot
// forge one.
//
// Not guaranteed: that it is complete beyond the last line that was added. Proof is package proof's.
//
// It is one SQLite file. Texts that repeat (names of tools, servers, people) are kept once and numbered; entries
// refer to them, so that patterns and words are looked up among the few thousand distinct texts, not in every entry.
package index

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/munjigi/munjigi/internal/audit"
)

const layout = 1

// Index is an open index. One goroutine adds at a time.
type Index struct {
	db    *sql.DB
	tx    *sql.Tx
	put   map[string]*sql.Stmt
	names map[string]int64
	last  Mark
}

// Mark is the line that was added last: how many there are, where it stands, and its digest.
type Mark struct {
	Entries int64
	At      string
	Digest  string
}

// columns are those whose texts are numbered.
var columns = [...]string{"kind", "stage", "effect", "reason", "principal", "server", "method", "target", "client"}

const schema = `
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE names(n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5(text, content='names', content_rowid='n', tokenize="unicode61 tokenchars '_'");
CREATE TABLE entries(n INTEGER PRIMARY KEY, at TEXT NOT NULL, time INTEGER NOT NULL, id TEXT NOT NULL,
  kind INTEGER NOT NULL, stage INTEGER NOT NULL, effect INTEGER NOT NULL, reason INTEGER NOT NULL, principal INTEGER NOT NULL,
  server INTEGER NOT NULL, method INTEGER NOT NULL, target INTEGER NOT NULL, client INTEGER NOT NULL);
CREATE VIRTUAL TABLE details USING fts5(text, content='', tokenize="unicode61 tokenchars '_'");
CREATE INDEX by_id ON entries(id);
CREATE INDEX by_time ON entries(time);
`

// indexed are the columns by which few entries are told from many.
var indexed = [...]string{"effect", "reason", "principal", "server", "method", "target", "client"}

// Open opens the index at path, or begins one. What cannot be read is begun anew.
func Open(ctx context.Context, path string) (*Index, error) {
	x, err := open(ctx, path)
	if err == nil {
		return x, nil
	}
	if err := remove(path); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if x, err = open(ctx, path); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return x, nil
}

// remove takes the database and what belongs to it away.
func remove(path string) error {
	var errs []error
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func open(ctx context.Context, path string) (_ *Index, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(OFF)", "busy_timeout(20000)", "cache_size(-65536)", "temp_store(MEMORY)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: filepath.ToSlash(path), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	var v int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return nil, err
	}
	switch v {
	case layout:
	case 0:
		text := schema + "PRAGMA user_version=" + strconv.Itoa(layout) + ";"
		for _, c := range indexed {
			text += "CREATE INDEX by_" + c + " ON entries(" + c + ", n);"
		}
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("its layout is %d", v)
	}
	x := &Index{db: db}
	return x, x.load(ctx)
}

func (x *Index) load(ctx context.Context) (err error) {
	rows, err := x.db.QueryContext(ctx, "SELECT name, value FROM about")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		switch name {
		case "entries":
			if x.last.Entries, err = strconv.ParseInt(value, 10, 64); err != nil {
				return err
			}
		case "at":
			x.last.At = value
		case "digest":
			x.last.Digest = value
		}
	}
	return rows.Err()
}

// Last returns the mark of the last line.
func (x *Index) Last() Mark { return x.last }

// Matches reports whether line is the one that was added last.
func (m Mark) Matches(line []byte) bool { return m.Digest == digest(line) }

func digest(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Close closes the index. What Commit did not keep is forgotten.
func (x *Index) Close() error {
	if x.tx != nil {
		_ = x.tx.Rollback()
	}
	return x.db.Close()
}

// Add takes the next line of the record in. at is its place. A line that is no event takes its number and is not
// found.
func (x *Index) Add(ctx context.Context, at string, line []byte) error {
	if err := x.begin(ctx); err != nil {
		return err
	}
	n := x.last.Entries
	x.last = Mark{Entries: n + 1, At: at, Digest: digest(line)}
	e, err := audit.Parse(line)
	if err != nil {
		return nil //nolint:nilerr // told by who reads the record
	}
	args := make([]any, 0, 4+len(columns))
	args = append(args, n, at, e.Time.UnixMicro(), e.ID)
	for _, text := range [...]string{e.Kind, e.Stage, e.Effect, e.Reason, e.Principal, e.Server, e.Method, e.Target, e.Client} {
		id, err := x.name(ctx, text)
		if err != nil {
			return err
		}
		args = append(args, id)
	}
	if _, err := x.put["entry"].ExecContext(ctx, args...); err != nil {
		return err
	}
	if text := wordsOf(&e); text != "" {
		if _, err := x.put["detail"].ExecContext(ctx, n, text); err != nil {
			return err
		}
	}
	return nil
}

// wordsOf are the texts of an entry that seldom repeat.
func wordsOf(e *audit.Event) string {
	var b strings.Builder
	names := make([]string, 0, len(e.Detail))
	for name := range e.Detail {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		b.WriteString(name + " " + e.Detail[name] + "\n")
	}
	for _, s := range e.Trail {
		if s.Detail != "" {
			b.WriteString(s.Detail + "\n")
		}
	}
	for _, a := range e.Actors {
		b.WriteString(a + "\n")
	}
	return b.String()
}

func (x *Index) begin(ctx context.Context) (err error) {
	if x.tx != nil {
		return nil
	}
	if x.tx, err = x.db.BeginTx(ctx, nil); err != nil {
		return err
	}
	x.put, x.names = map[string]*sql.Stmt{}, map[string]int64{}
	for name, text := range map[string]string{
		"entry":  "INSERT INTO entries VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
		"detail": "INSERT INTO details(rowid, text) VALUES(?,?)",
		"name":   "INSERT INTO names(text) VALUES(?) ON CONFLICT DO NOTHING",
		"number": "SELECT n FROM names WHERE text=?",
		"word":   "INSERT INTO words(rowid, text) VALUES(?,?)",
	} {
		if x.put[name], err = x.tx.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

const mostNames = 1 << 16 // kept in memory while lines are added

func (x *Index) name(ctx context.Context, text string) (n int64, err error) {
	if n, ok := x.names[text]; ok {
		return n, nil
	}
	if len(x.names) >= mostNames {
		clear(x.names)
	}
	res, err := x.put["name"].ExecContext(ctx, text)
	if err != nil {
		return 0, err
	}
	fresh, err := res.RowsAffected()
	if err != nil {
		return 0, err
	}
	if err := x.put["number"].QueryRowContext(ctx, text).Scan(&n); err != nil {
		return 0, err
	}
	if fresh > 0 {
		if _, err := x.put["word"].ExecContext(ctx, n, text); err != nil {
			return 0, err
		}
	}
	x.names[text] = n
	return n, nil
}

// Commit keeps what was added.
func (x *Index) Commit(ctx context.Context) error {
	if x.tx == nil {
		return nil
	}
	for name, value := range map[string]string{"entries": strconv.FormatInt(x.last.Entries, 10), "at": x.last.At, "digest": x.last.Digest} {
		if _, err := x.tx.ExecContext(ctx, "INSERT INTO about VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value", name, value); err != nil {
			return err
		}
	}
	err := x.tx.Commit()
	x.tx = nil
	return err
}

// Clear forgets everything.
func (x *Index) Clear(ctx context.Context) error {
	if x.tx != nil {
		_ = x.tx.Rollback()
		x.tx = nil
	}
	x.last = Mark{}
	_, err := x.db.ExecContext(ctx, "DELETE FROM about; DELETE FROM entries; INSERT INTO words(words) VALUES('delete-all'); DELETE FROM names; INSERT INTO details(details) VALUES('delete-all');")
	return err
}
