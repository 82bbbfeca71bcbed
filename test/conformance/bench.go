package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// bench runs rows, each direct row once.
type bench struct {
	tools    *kit.Tools
	dir      string
	log      io.Writer
	expected []expectation

	mu     sync.Mutex
	direct map[string]func() (results, error)
}

func newBench(t *kit.Tools, dir string, log io.Writer, expected []expectation) *bench {
	return &bench{tools: t, dir: dir, log: log, expected: expected, direct: map[string]func() (results, error){}}
}

// report is the whole run.
type report struct {
	Rows   []verdict `json:"rows"`
	Passed int       `json:"passed"`
	Failed int       `json:"failed"`
	Took   string    `json:"took"`
}

func (b *bench) runAll(ctx context.Context, rows []row, width int) report {
	rep := report{Rows: make([]verdict, len(rows))}
	gate := make(chan struct{}, width)
	var wg sync.WaitGroup
	for i, r := range rows {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			rep.Rows[i] = b.one(ctx, r)
		})
	}
	wg.Wait()
	for _, v := range rep.Rows {
		if v.failed() {
			rep.Failed++
		} else {
			rep.Passed++
		}
	}
	return rep
}

func (b *bench) one(ctx context.Context, r row) verdict {
	began := time.Now()
	v, err := b.verdict(ctx, r)
	if err != nil {
		v = verdict{Row: r.Name, Want: r.Passed, Problems: []string{err.Error()}}
	}
	v.Took = time.Since(began).Round(100 * time.Millisecond).String()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.log, "%s: %d of %d scenarios, %d problems, %s\n", r.Name, v.Passed, v.Scenarios, len(v.Problems), v.Took)
	return v
}

func (b *bench) verdict(ctx context.Context, r row) (verdict, error) {
	if r.Reference == "" {
		got, err := b.baseline(ctx, r)
		if err != nil {
			return verdict{}, err
		}
		return judge(r, nil, got, b.expected), nil
	}
	ref, err := b.baseline(ctx, find(r.Reference))
	if err != nil {
		return verdict{}, fmt.Errorf("%s, the reference: %w", r.Reference, err)
	}
	for try := 1; ; try++ {
		got, err := b.through(ctx, r, try)
		if err != nil {
			return verdict{}, err
		}
		v := judge(r, ref, got, b.expected)
		if !v.failed() || try == throughTries || ctx.Err() != nil {
			return v, nil
		}
		fmt.Fprintf(os.Stderr, "%s: tried once more; the first time it was not as wanted: %v\n", r.Name, v.Problems)
	}
}

// throughTries is how often a row through the gateway may be run. Some
// scenarios wait for a notification for a fraction of a second; a loss that is
// ours is there the second time too, and the first is told.
const throughTries = 2

// baseline runs a direct row, once whoever asks.
func (b *bench) baseline(ctx context.Context, r row) (results, error) {
	b.mu.Lock()
	f, ok := b.direct[r.Name]
	if !ok {
		f = sync.OnceValues(func() (results, error) { return b.directly(ctx, r) })
		b.direct[r.Name] = f
	}
	b.mu.Unlock()
	return f()
}

// directTries is how often a direct row may be run. Nothing of ours is in it;
// when it is not what it must be, the suite's own short deadlines met a busy
// machine.
const directTries = 3

func (b *bench) directly(ctx context.Context, r row) (got results, err error) {
	for try := 1; ; try++ {
		got, err = b.directOnce(ctx, r, try)
		if err == nil && !judge(r, nil, got, b.expected).failed() || try == directTries || ctx.Err() != nil {
			return got, err
		}
	}
}

func (b *bench) directOnce(ctx context.Context, r row, try int) (got results, err error) {
	p, s, err := r.Upstream(ctx, b.tools)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	return runSuite(ctx, b.tools, s.URL+"/mcp", r.Revision, filepath.Join(b.dir, r.Name, fmt.Sprint(try)))
}

func (b *bench) through(ctx context.Context, r row, try int) (got results, err error) {
	p, s, err := r.Upstream(ctx, b.tools)
	if err != nil {
		return nil, err
	}
	if p != nil {
		s.URL += "/mcp"
		defer func() { err = errors.Join(err, p.Stop()) }()
	}
	s.Era = r.Era
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	conf, err := kit.NewConfig(dir.path, map[string]kit.Server{"x": s})
	if err != nil {
		return nil, err
	}
	g, err := b.tools.StartGateway(ctx, dir.path, conf)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	got, err = runSuite(ctx, b.tools, g.URL("x"), r.Revision, filepath.Join(b.dir, r.Name, fmt.Sprint(try)))
	if err == nil {
		select {
		case <-g.Done():
			err = fmt.Errorf("munjigi ended during the run: %s\n%s", g.Ended(), g.Output())
		default:
		}
	}
	return got, err
}
