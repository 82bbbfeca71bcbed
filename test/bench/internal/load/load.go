// Package load is the benchmark's load generator: a closed loop of tools/call
// over raw persistent connections or over a child's stdin and stdout.
//
// It guarantees that only an answer with the call's own ID and payload counts
// as a call; all else counts as an error, and a run that cannot go on ends with
// what it has. It does not pace: each connection sends as soon as it has its
// answer, so a slow subject is asked less (coordinated omission is part of a
// closed loop; compare subjects, do not quote a percentile as a promise).
package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/hist"
	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// Times after which a run is given up.
const (
	// grace is how long an answer may take.
	grace = 10 * time.Second
	// longest is how long a run with a number of calls may take.
	longest = time.Minute
)

// Job says what to run. Its zero value is refused.
type Job struct {
	// URLs are MCP endpoints at one address that take turns; or Command is a
	// program that speaks stdio, with its whole environment.
	URLs    []string `json:",omitempty"`
	Headers []string `json:",omitempty"`
	Command []string `json:",omitempty"`
	Env     []string `json:",omitempty"`

	Modern bool
	// Tool is the name to call; empty for the first listed one whose name is
	// or ends in "echo".
	Tool string
	// Size is that of the arguments in bytes.
	Size int
	// Connections is how many calls are under way at once, each on its own
	// connection (over stdio: all on one).
	Connections int

	// Warmup comes before Ready, Duration after; with Calls over 0, each
	// connection stops after so many calls instead.
	Warmup, Duration time.Duration
	Calls            int
}

// Result is what a run came to.
type Result struct {
	// Calls were answered rightly, Errors were not.
	Calls, Errors uint64
	// Reasons are the first few different errors.
	Reasons []string `json:",omitempty"`
	// Elapsed is from the first call's start to the last one's end.
	Elapsed       time.Duration
	P50, P99, Max time.Duration
}

// Rate is right answers per second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Calls) / r.Elapsed.Seconds()
}

// Run is a job that stands ready: connected, greeted and warm.
type Run interface {
	// Measure runs the job's loop once.
	Measure(ctx context.Context) Result
	// Child is the process ID of the job's command, 0 where there is none.
	Child() int
	// Close ends connections and the command.
	Close() error
}

// Prepare connects, performs the era's handshake, finds the tool, makes each
// connection's first call and warms up. Its error says what went wrong first.
func Prepare(ctx context.Context, job Job) (Run, error) {
	switch {
	case job.Connections < 1:
		return nil, errors.New("a job needs at least one connection")
	case (len(job.URLs) == 0) == (len(job.Command) == 0):
		return nil, errors.New("a job needs either URLs or a command")
	case job.Duration <= 0 && job.Calls <= 0:
		return nil, errors.New("a job needs an end: a duration or a number of calls")
	case len(job.Command) > 0:
		return prepareLines(ctx, job)
	}
	return prepareHTTP(ctx, job)
}

// tally is what one connection has seen.
type tally struct {
	hist    hist.Histogram
	errors  uint64
	reasons []string
}

const mostReasons = 5

func (t *tally) wrong(err error) {
	t.errors++
	t.note(err.Error())
}

func (t *tally) note(reason string) {
	for _, have := range t.reasons {
		if have == reason {
			return
		}
	}
	if len(t.reasons) < mostReasons {
		t.reasons = append(t.reasons, reason)
	}
}

func sum(tallies []*tally, elapsed time.Duration) Result {
	var all tally
	for _, t := range tallies {
		all.hist.Merge(&t.hist)
		all.errors += t.errors
		for _, reason := range t.reasons {
			all.note(reason)
		}
	}
	return Result{
		Calls: all.hist.Count(), Errors: all.errors, Reasons: all.reasons, Elapsed: elapsed,
		P50: all.hist.Percentile(0.50), P99: all.hist.Percentile(0.99), Max: all.hist.Max(),
	}
}

// parallel runs fn for 0 to n-1, each in its own goroutine, and returns the
// first error.
func parallel(n int, fn func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// exchange sends one request (a notification: id 0) and returns its result.
type exchange func(id int, method string, body []byte) (json.RawMessage, error)

// message builds a request outside the measured loop.
func message(modern bool, id int, method, params string) []byte {
	head := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q`, id, method)
	if id == 0 {
		head = fmt.Sprintf(`{"jsonrpc":"2.0","method":%q`, method)
	}
	switch {
	case modern && params == "":
		return []byte(head + `,"params":{` + wire.Meta + `}}`)
	case modern:
		return []byte(head + `,"params":{` + wire.Meta + `,` + params[1:] + `}`)
	case params == "":
		return []byte(head + "}")
	}
	return []byte(head + `,"params":` + params + `}`)
}

// result takes the result out of a response.
func result(raw []byte, id int) (json.RawMessage, error) {
	var msg struct {
		ID     json.RawMessage `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &msg); err != nil {
		return nil, fmt.Errorf("answer %.200q: %w", raw, err)
	}
	if msg.Error != nil {
		return nil, fmt.Errorf("refused: %.300s", msg.Error)
	}
	if string(msg.ID) != fmt.Sprint(id) || msg.Result == nil {
		return nil, fmt.Errorf("answer %.200q is not that of request %d", raw, id)
	}
	return msg.Result, nil
}

// findTool reads the list for the wanted name, or with none wanted for one
// that ends in "echo".
func findTool(modern bool, wanted string, do exchange) (string, error) {
	found, seen := "", 0
	err := eachTool(modern, do, func(name string) bool {
		seen++
		if name == wanted || (wanted == "" && strings.HasSuffix(name, "echo")) {
			found = name
		}
		return found == ""
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no tool %q among the %d listed", cmp.Or(wanted, "…echo"), seen)
	}
	return found, err
}

// eachTool reads the list page by page until fn returns false.
func eachTool(modern bool, do exchange, fn func(name string) bool) error {
	const mostPages = 1000
	params := ""
	for page := range mostPages {
		raw, err := do(100+page, "tools/list", message(modern, 100+page, "tools/list", params))
		if err != nil {
			return fmt.Errorf("tools/list: %w", err)
		}
		var list struct {
			Tools []struct {
				Name string `json:"name"`
			} `json:"tools"`
			NextCursor string `json:"nextCursor"`
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("tools/list: %w", err)
		}
		for _, tool := range list.Tools {
			if !fn(tool.Name) {
				return nil
			}
		}
		if list.NextCursor == "" {
			return nil
		}
		cursor, err := json.Marshal(list.NextCursor)
		if err != nil {
			return err
		}
		params = `{"cursor":` + string(cursor) + `}`
	}
	return fmt.Errorf("tools/list: more than %d pages", mostPages)
}
