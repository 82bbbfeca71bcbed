package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// mostFailures in a row end a connection's part in a run.
const mostFailures = 100

type httpRun struct {
	job   Job
	conns []*conn
}

// conn is one persistent connection and the calls that go over it.
type conn struct {
	host    string
	base    wire.Endpoint
	net     net.Conn
	reader  *wire.Reader
	checker wire.Checker
	calls   []*wire.Call
	turn    int
	number  uint64
}

func prepareHTTP(ctx context.Context, job Job) (Run, error) {
	urls, err := parseAll(job.URLs)
	if err != nil {
		return nil, err
	}
	if !job.Modern && len(urls) > 1 {
		return nil, errors.New("several URLs take turns in the modern era only: a legacy session belongs to one")
	}
	run := &httpRun{job: job, conns: make([]*conn, job.Connections)}
	tool := job.Tool
	for i := range run.conns {
		c := &conn{host: urls[0].Host, base: wire.Endpoint{URL: urls[0], Modern: job.Modern, Headers: job.Headers}}
		run.conns[i] = c
		if err := c.open(ctx); err != nil {
			return nil, errors.Join(err, run.Close())
		}
		if i == 0 {
			if tool, err = findTool(job.Modern, tool, c.exchange); err != nil {
				return nil, errors.Join(err, run.Close())
			}
		}
		if err := c.build(urls, tool, job.Size); err != nil {
			return nil, errors.Join(err, run.Close())
		}
		c.number = wire.FirstNumber + uint64(i)*((wire.LastNumber-wire.FirstNumber)/uint64(job.Connections))
		c.turn = i * len(urls) / job.Connections
	}
	err = parallel(len(run.conns), func(i int) error {
		// Together the connections call each URL once.
		for range (len(urls)-1)/job.Connections + 1 {
			if _, err := run.conns[i].once(); err != nil {
				return fmt.Errorf("the first call: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, run.Close())
	}
	if job.Warmup > 0 {
		run.loop(ctx, job.Warmup, 0)
	}
	return run, nil
}

func parseAll(raw []string) ([]*url.URL, error) {
	urls := make([]*url.URL, len(raw))
	for i, r := range raw {
		u, err := wire.ParseEndpoint(r)
		if err != nil {
			return nil, err
		}
		if urls[i] = u; u.Host != urls[0].Host {
			return nil, fmt.Errorf("%s and %s are not at one address", urls[0], u)
		}
	}
	return urls, nil
}

// open dials, and in the legacy era greets.
func (c *conn) open(ctx context.Context) error {
	if err := c.dial(ctx); err != nil {
		return err
	}
	if c.base.Modern {
		return nil
	}
	return c.greet()
}

// greet starts a legacy session.
func (c *conn) greet() error {
	if _, err := c.exchange(1, "initialize", message(false, 1, "initialize", wire.InitializeParams)); err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	const initialized = "notifications/initialized"
	if _, err := c.exchange(0, initialized, message(false, 0, initialized, "")); err != nil {
		return fmt.Errorf("%s: %w", initialized, err)
	}
	return nil
}

func (c *conn) dial(ctx context.Context) error {
	if c.net != nil {
		c.net.Close()
	}
	dialer := net.Dialer{Timeout: grace}
	var err error
	if c.net, err = dialer.DialContext(ctx, "tcp", c.host); err != nil {
		return err
	}
	c.reader = wire.NewReader(c.net)
	return c.net.SetDeadline(time.Now().Add(grace))
}

// hangUp ends the legacy session, so that runs leave none behind, and closes
// the connection. A server need not let its sessions be ended.
func (c *conn) hangUp() error {
	defer c.net.Close()
	if c.base.Session == "" {
		return nil
	}
	if err := c.net.SetDeadline(time.Now().Add(grace)); err != nil {
		return err
	}
	if _, err := c.net.Write(c.base.Delete()); err != nil {
		return err
	}
	_, err := c.reader.Next()
	return err
}

// exchange does one request outside the measured loop and remembers the
// session that the answer names.
func (c *conn) exchange(id int, method string, body []byte) (json.RawMessage, error) {
	if err := c.net.SetDeadline(time.Now().Add(grace)); err != nil {
		return nil, err
	}
	if _, err := c.net.Write(c.base.Post(method, "", body)); err != nil {
		return nil, err
	}
	resp, err := c.reader.Next()
	if err != nil {
		return nil, err
	}
	if resp.Session != nil {
		c.base.Session = string(resp.Session)
	}
	if id == 0 {
		if resp.Status/100 != 2 {
			return nil, fmt.Errorf("status %d: %.300s", resp.Status, resp.Body)
		}
		return nil, nil
	}
	if resp.Status != 200 {
		return nil, fmt.Errorf("status %d: %.300s", resp.Status, resp.Body)
	}
	raw, err := resp.Message()
	if err != nil {
		return nil, err
	}
	return result(raw, id)
}

func (c *conn) build(urls []*url.URL, tool string, size int) error {
	for _, u := range urls {
		at := c.base
		at.URL = u
		call, err := at.Call(tool, size)
		if err != nil {
			return err
		}
		c.calls = append(c.calls, call)
	}
	return nil
}

// once makes the next call and returns how long its answer took.
func (c *conn) once() (time.Duration, error) {
	call := c.calls[c.turn%len(c.calls)]
	c.turn++
	call.SetNumber(c.number)
	c.number++
	start := time.Now()
	if _, err := c.net.Write(call.Bytes()); err != nil {
		return 0, &broken{err}
	}
	resp, err := c.reader.Next()
	took := time.Since(start)
	if err != nil {
		return 0, &broken{err}
	}
	err = c.judge(resp, call)
	if err == nil && resp.Close {
		err = errors.New("the server closes the connection after an answer; it should keep it")
	}
	if resp.Close {
		err = &broken{err}
	}
	return took, err
}

func (c *conn) judge(resp wire.Response, call *wire.Call) error {
	if resp.Status != 200 {
		return fmt.Errorf("status %d: %.300s", resp.Status, resp.Body)
	}
	raw, err := resp.Message()
	if err != nil {
		return err
	}
	return c.checker.Check(raw, call)
}

// broken is an error after which the connection is of no use.
type broken struct{ error }

func (b *broken) Unwrap() error { return b.error }

func (r *httpRun) Measure(ctx context.Context) Result {
	return r.loop(ctx, r.job.Duration, r.job.Calls)
}

// loop runs all connections until the time is up, or each has made so many
// calls.
func (r *httpRun) loop(ctx context.Context, duration time.Duration, calls int) Result {
	tallies := make([]*tally, len(r.conns))
	start := time.Now()
	end := start.Add(duration)
	if calls > 0 {
		end = start.Add(longest)
	}
	var wg sync.WaitGroup
	for i, c := range r.conns {
		tallies[i] = &tally{}
		wg.Go(func() { c.loop(ctx, tallies[i], end, calls) })
	}
	wg.Wait()
	return sum(tallies, time.Since(start))
}

func (c *conn) loop(ctx context.Context, t *tally, end time.Time, calls int) {
	_ = c.net.SetDeadline(end.Add(grace)) // a connection that is gone shows at its next use
	inARow := 0
	for made := 0; (calls == 0 || made < calls) && time.Now().Before(end) && ctx.Err() == nil; made++ {
		took, err := c.once()
		if err == nil {
			t.hist.Record(took)
			inARow = 0
			continue
		}
		t.wrong(err)
		if inARow++; inARow == mostFailures {
			t.note(fmt.Sprintf("a connection gave up after %d errors in a row", mostFailures))
			return
		}
		if b := (*broken)(nil); errors.As(err, &b) {
			if err := c.dial(ctx); err != nil {
				t.note(err.Error())
				return
			}
			_ = c.net.SetDeadline(end.Add(grace))
		}
	}
}

func (r *httpRun) Child() int { return 0 }

func (r *httpRun) Close() error {
	return parallel(len(r.conns), func(i int) error {
		if c := r.conns[i]; c != nil && c.net != nil {
			return c.hangUp()
		}
		return nil
	})
}
