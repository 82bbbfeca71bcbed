package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/wire"
)

// longestLine is the longest answer over stdio, in bytes.
const longestLine = 1 << 20

// lineRun is a child that speaks newline-delimited JSON. All calls share its
// two pipes; slots says which are under way.
type lineRun struct {
	job     Job
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	checker wire.Checker
	slots   []slot
}

type slot struct {
	call   *wire.Call
	number uint64 // of the next call; slot i has those that leave i
	start  time.Time
	busy   bool
}

func prepareLines(ctx context.Context, job Job) (Run, error) {
	cmd := exec.Command(job.Command[0], job.Command[1:]...)
	cmd.Env = append([]string{}, job.Env...) // an empty list is an empty environment
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	run := &lineRun{job: job, cmd: cmd, in: in, out: bufio.NewReaderSize(out, longestLine)}
	if err := run.greet(ctx); err != nil {
		return nil, errors.Join(err, run.Close())
	}
	return run, nil
}

// greet performs the era's handshake, finds the tool, makes the first call and
// warms up.
func (r *lineRun) greet(ctx context.Context) error {
	defer r.killAfter(ctx, r.job.Warmup+2*grace)()
	opening, params := "server/discover", ""
	if !r.job.Modern {
		opening, params = "initialize", wire.InitializeParams
	}
	if _, err := r.exchange(1, opening, message(r.job.Modern, 1, opening, params)); err != nil {
		return fmt.Errorf("%s: %w", opening, err)
	}
	if !r.job.Modern {
		if _, err := r.exchange(0, "", message(false, 0, "notifications/initialized", "")); err != nil {
			return err
		}
	}
	tool, err := findTool(r.job.Modern, r.job.Tool, r.exchange)
	if err != nil {
		return err
	}
	r.slots = make([]slot, r.job.Connections)
	for i := range r.slots {
		if r.slots[i].call, err = wire.LineCall(r.job.Modern, tool, r.job.Size); err != nil {
			return err
		}
		r.slots[i].number = wire.FirstNumber + uint64(i)
	}
	first := r.loop(ctx, 0, 1)
	if first.Errors > 0 {
		return fmt.Errorf("the first call: %s", first.Reasons[0])
	}
	if r.job.Warmup > 0 {
		r.loop(ctx, r.job.Warmup, 0)
	}
	return nil
}

func (r *lineRun) exchange(id int, _ string, body []byte) (json.RawMessage, error) {
	if _, err := r.in.Write(append(body, '\n')); err != nil {
		return nil, err
	}
	if id == 0 {
		return nil, nil
	}
	line, _, err := r.answer()
	if err != nil {
		return nil, err
	}
	return result(line, id)
}

// answer reads on to the next response and its ID. It passes over
// notifications; a request of the server's own is an error, for this client
// declares no ability.
func (r *lineRun) answer() (line, id []byte, err error) {
	for {
		if line, err = r.out.ReadSlice('\n'); err != nil {
			return nil, nil, fmt.Errorf("the child's output: %w", err)
		}
		id = nil
		method := false
		err := wire.Members(line, func(m wire.Member) bool {
			switch string(m.Name) {
			case "id":
				id = m.Raw
			case "method":
				method = true
			}
			return true
		})
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("line %.200q: %w", line, err)
		case method && id != nil:
			return nil, nil, fmt.Errorf("the server asks: %.200q", line)
		case !method:
			return line, id, nil
		}
	}
}

func (r *lineRun) Measure(ctx context.Context) Result {
	return r.loop(ctx, r.job.Duration, r.job.Calls)
}

// loop keeps all slots under way until the time is up, or each has made so
// many calls; then it waits for the last answers.
func (r *lineRun) loop(ctx context.Context, duration time.Duration, calls int) Result {
	if calls > 0 {
		duration = longest
	}
	defer r.killAfter(ctx, duration+grace)()
	var t tally
	start := time.Now()
	end := start.Add(duration)
	send := r.send
	if len(r.slots) > 1 {
		// A writer of its own: with several calls under way both pipes could
		// fill up, each side waiting for the other to read.
		queue, failed := make(chan *slot, len(r.slots)), make(chan error, 1)
		defer close(queue)
		go func() {
			for s := range queue {
				if err := r.send(s); err != nil {
					failed <- err
					return
				}
			}
		}()
		send = func(s *slot) error {
			select {
			case err := <-failed:
				return err
			case queue <- s:
				return nil
			}
		}
	}
	waiting, made := 0, make([]int, len(r.slots))
	next := func(i int) error {
		s := &r.slots[i]
		if made[i]++; (calls > 0 && made[i] > calls) || !time.Now().Before(end) {
			return nil
		}
		s.busy = true
		waiting++
		return send(s)
	}
	err := error(nil)
	for i := range r.slots {
		err = errors.Join(err, next(i))
	}
	for err == nil && waiting > 0 {
		var done int
		if done, err = r.receive(&t); err == nil {
			waiting--
			err = next(done)
		}
	}
	if err != nil {
		t.note(err.Error())
		t.errors += uint64(waiting)
	}
	return sum([]*tally{&t}, time.Since(start))
}

func (r *lineRun) send(s *slot) error {
	s.call.SetNumber(s.number)
	s.number += uint64(len(r.slots))
	s.start = time.Now()
	_, err := r.in.Write(s.call.Bytes())
	return err
}

// receive reads one answer and says whose it was. An answer that no slot waits
// for is an error that ends the run: nothing can be counted after it.
func (r *lineRun) receive(t *tally) (int, error) {
	line, id, err := r.answer()
	if err != nil {
		return 0, err
	}
	now := time.Now()
	number, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil || number < wire.FirstNumber {
		return 0, fmt.Errorf("an answer to nobody's call: %.200q", line)
	}
	i := int((number - wire.FirstNumber) % uint64(len(r.slots)))
	s := &r.slots[i]
	if !s.busy || string(id) != string(s.call.ID()) {
		return 0, fmt.Errorf("an answer to a call that is not under way: %.200q", line)
	}
	s.busy = false
	if err := r.checker.Check(line, s.call); err != nil {
		t.wrong(err)
		return i, nil
	}
	t.hist.Record(now.Sub(s.start))
	return i, nil
}

// killAfter ends the child when the context does or the time is up, so that
// nothing waits for ever; the returned function calls it off.
func (r *lineRun) killAfter(ctx context.Context, d time.Duration) (stop func()) {
	ctx, cancel := context.WithTimeout(ctx, d)
	off := context.AfterFunc(ctx, func() { _ = r.cmd.Process.Kill() })
	return func() {
		off()
		cancel()
	}
}

func (r *lineRun) Child() int { return r.cmd.Process.Pid }

// Close lets the child see the end of its input and waits for it.
func (r *lineRun) Close() error {
	r.in.Close()
	defer r.killAfter(context.Background(), grace)()
	_, _ = io.Copy(io.Discard, r.out)
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("the child's end: %w", err)
	}
	return nil
}
