package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/index"
	"github.com/munjigi/munjigi/internal/audit/log"
)

// IndexFile is the name of the search index in the folder of the record.
const IndexFile = "index.db"

// Searching is what a search is made of.
type Searching struct {
	Dir   string // of the record
	Index string // the index's file; empty is IndexFile in Dir
	Query string
	Most  int
	Now   time.Time
	// Progress, which may be nil, is told how many entries were taken into the index.
	Progress func(entries int64)
}

// Search brings the index up to date with the record and gives what is found to f, the newest first.
func Search(ctx context.Context, s Searching, f func(line []byte) bool) error {
	q, err := index.ParseQuery(s.Query, s.Now)
	if err != nil {
		return err
	}
	if s.Index == "" {
		s.Index = filepath.Join(s.Dir, IndexFile)
	}
	x, err := index.Open(ctx, s.Index)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // what is wrong with it by then was told, or is no matter
	if err := catchUp(ctx, x, s); err != nil {
		return err
	}
	var failed error
	err = x.Find(ctx, q, s.Most, func(at string) bool {
		var place log.Place
		var line []byte
		if place, failed = log.ParsePlace(at); failed == nil {
			line, failed = log.LineAt(s.Dir, place)
		}
		return failed == nil && f(line)
	})
	if failed != nil {
		return fmt.Errorf("the index and the record disagree: remove %s and search again: %w", s.Index, failed)
	}
	return err
}

// catchUp adds what was recorded since, or everything where the record is not the one that was read.
func catchUp(ctx context.Context, x *index.Index, s Searching) error {
	var from log.Place
	if last := x.Last(); last.Entries > 0 {
		place, err := log.ParsePlace(last.At)
		if err != nil {
			return x.Clear(ctx)
		}
		line, err := log.LineAt(s.Dir, place)
		if err != nil || !last.Matches(line) {
			if err := x.Clear(ctx); err != nil {
				return err
			}
		} else {
			from = place
		}
	}
	const between = 20_000
	first := x.Last().Entries > 0
	var failed error
	err := log.Lines(s.Dir, from, func(at log.Place, line []byte) bool {
		if first {
			first = false
			return true // it is there already
		}
		if failed = x.Add(ctx, at.String(), line); failed == nil && x.Last().Entries%between == 0 {
			failed = x.Commit(ctx)
			if s.Progress != nil {
				s.Progress(x.Last().Entries)
			}
		}
		return failed == nil && ctx.Err() == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return x.Commit(ctx)
}

// NoteReading puts on the record of dir that somebody read it, and how.
func NoteReading(ctx context.Context, dir, what, query string) error {
	l, err := log.Open(log.Options{Dir: dir})
	if err != nil {
		return err
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "administration", Effect: "allow",
		Reason: "record-read", Detail: map[string]string{"how": what, "query": query}}
	if err := l.With(log.Strict).Record(ctx, &e); err != nil {
		_ = l.Close()
		return err
	}
	return l.Close()
}
