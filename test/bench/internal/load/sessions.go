package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// OpenSessions starts n legacy sessions at rawURL over so many connections and
// returns their IDs. The sessions stay open on the server; the connections do
// not.
func OpenSessions(ctx context.Context, rawURL string, n, connections int) ([]string, error) {
	u, err := wire.ParseEndpoint(rawURL)
	if err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		ids  = make([]string, 0, n)
		left atomic.Int64
	)
	left.Store(int64(n))
	err = parallel(min(connections, n), func(int) error {
		c := &conn{host: u.Host, base: wire.Endpoint{URL: u}}
		if err := c.dial(ctx); err != nil {
			return err
		}
		defer func() { c.net.Close() }()
		for left.Add(-1) >= 0 {
			c.base.Session = ""
			if err := c.greet(); err != nil {
				return fmt.Errorf("after %d sessions: %w", n-int(left.Load())-1, err)
			}
			if c.base.Session == "" {
				return fmt.Errorf("%s gives out no sessions", rawURL)
			}
			mu.Lock()
			ids = append(ids, c.base.Session)
			mu.Unlock()
		}
		return nil
	})
	return ids, err
}

// TouchSessions makes one call in each session and returns how many answered
// rightly, with the first error of those that did not.
func TouchSessions(ctx context.Context, rawURL, tool string, ids []string) (alive int, firstWrong error) {
	u, err := wire.ParseEndpoint(rawURL)
	if err != nil {
		return 0, err
	}
	for i, id := range ids {
		c := &conn{host: u.Host, base: wire.Endpoint{URL: u, Session: id}, number: wire.FirstNumber + uint64(i)}
		err := c.touch(ctx, tool)
		if err == nil {
			alive++
		} else if firstWrong == nil {
			firstWrong = err
		}
	}
	return alive, firstWrong
}

func (c *conn) touch(ctx context.Context, tool string) error {
	if err := c.dial(ctx); err != nil {
		return err
	}
	defer c.net.Close()
	call, err := c.base.Call(tool, 100)
	if err != nil {
		return err
	}
	c.calls = []*wire.Call{call}
	_, err = c.once()
	return err
}

// ListTime reads the whole list of tools twice, page by page, and returns how
// many there are and how long the second reading took.
func ListTime(ctx context.Context, rawURL string) (tools int, took time.Duration, err error) {
	u, err := wire.ParseEndpoint(rawURL)
	if err != nil {
		return 0, 0, err
	}
	c := &conn{host: u.Host, base: wire.Endpoint{URL: u, Modern: true}}
	if err := c.dial(ctx); err != nil {
		return 0, 0, err
	}
	defer func() { c.net.Close() }()
	for range 2 {
		tools = 0
		start := time.Now()
		err := eachTool(true, c.exchange, func(string) bool {
			tools++
			return true
		})
		if err != nil {
			return 0, 0, err
		}
		took = time.Since(start)
	}
	return tools, took, nil
}
