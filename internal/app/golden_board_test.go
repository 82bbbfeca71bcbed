package app_test

import (
	"context"
	"fmt"
	"sync"
)

// board is where the two scripts of an archive wait for each other: named
// signals, and counts of what an upstream has seen. Nothing here waits for
// time to pass.
type board struct {
	mu      sync.Mutex
	raised  map[string]bool
	counts  map[string]int
	changed chan struct{}
}

func newBoard() *board {
	return &board{raised: map[string]bool{}, counts: map[string]int{}, changed: make(chan struct{})}
}

func (b *board) touch(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) signal(name string) { b.touch(func() { b.raised[name] = true }) }

func (b *board) count(name string) { b.touch(func() { b.counts[name]++ }) }

// until waits for a condition over the board.
func (b *board) until(ctx context.Context, what string, ok func() bool) error {
	for {
		b.mu.Lock()
		done, changed := ok(), b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		}
	}
}

func (b *board) wait(ctx context.Context, name string) error {
	return b.until(ctx, "the signal "+name, func() bool { return b.raised[name] })
}

func (b *board) seen(ctx context.Context, name string, n int) error {
	return b.until(ctx, fmt.Sprintf("%s to be seen %d times", name, n), func() bool { return b.counts[name] >= n })
}
