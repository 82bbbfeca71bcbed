package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/echo"
	"github.com/munjigi/munjigi/test/bench/internal/load"
)

// What grows.
const (
	growServers  = "servers"
	growTools    = "tools"
	growSessions = "sessions"
)

// growthConnections is how many connections each growth run has.
const growthConnections = 16

// growthResult is one row of a growth table.
type growthResult struct {
	Grows string // servers, tools or sessions
	Count int
	// What is measured: "one" server called or "all" in turn; else empty.
	Calls   string `json:",omitempty"`
	Samples []sample
	Median  sample
	// OfSmallest is the median rate as a share of that of the smallest count,
	// CPUOfSmallest the middle's CPU as a multiple.
	OfSmallest, CPUOfSmallest figure
	// StartMS is from the start to the first answer in milliseconds, ListMS
	// that of reading the whole list of tools.
	StartMS, ListMS figure
	// PerSession is kilobytes of resident memory per idle session, LivePer
	// those in use after garbage collection; Opened is sessions per second;
	// Alive of Asked idle sessions still answered at the end.
	PerSession, LivePer, Opened figure
	Alive, Asked                int
	Failure                     string `json:",omitempty"`
}

type growthFlags struct {
	speedFlags
	what, through           string
	servers, tools, session counts
}

// counts is a comma-separated list of numbers, growing.
type counts []int

func (c *counts) set(value string) error {
	*c = nil
	for text := range strings.SplitSeq(value, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || (len(*c) > 0 && n <= (*c)[len(*c)-1]) {
			return fmt.Errorf("%q is not a growing list of numbers from 1 on", value)
		}
		*c = append(*c, n)
	}
	return nil
}

func growthSet(f *growthFlags) *flag.FlagSet {
	f.servers, f.tools, f.session = counts{1, 10, 100, 1000}, counts{10, 100, 1000, 10_000}, counts{1, 1000, 10_000, 50_000}
	fs := flag.NewFlagSet("bench growth", flag.ContinueOnError)
	fs.BoolVar(&f.quick, "quick", false, "a smoke run: few and small counts, one short round")
	fs.StringVar(&f.what, "what", "servers,tools,sessions", "what is to grow, a comma-separated `list`")
	fs.StringVar(&f.through, "through", nameRelaxed, "measure through munjigi, or through the bare `proxy` to see what the measurement itself costs")
	fs.Func("servers", "configured servers, a growing `list`", f.servers.set)
	fs.Func("tools", "tools of one server, a growing `list`", f.tools.set)
	fs.Func("sessions", "idle legacy sessions, a growing `list`", f.session.set)
	fs.IntVar(&f.rounds, "rounds", 3, "rounds, each through all counts in turn")
	fs.DurationVar(&f.timing.duration, "d", 2*time.Second, "how long each run takes")
	fs.StringVar(&f.json, "json", "", "write all samples to this `file` too")
	fs.StringVar(&f.munjigi, "munjigi", "", "measure this `binary` (default: build it)")
	fs.StringVar(&f.data, "data", "", "put the gateway's data below this `folder`")
	fs.StringVar(&f.extra, "config-extra", "", "append this YAML `file` to the gateway's config; it may not set limits when sessions grow")
	return fs
}

func growth(ctx context.Context, args []string, out, progress io.Writer) error {
	var f growthFlags
	if err := parse(growthSet(&f), args, progress); err != nil {
		return err
	}
	if f.through != nameRelaxed && f.through != nameProxy {
		return &outcome{exitUsage, fmt.Errorf("-through %q: give %s or %s", f.through, nameRelaxed, nameProxy)}
	}
	if f.rounds < 1 || f.timing.duration <= 0 {
		return &outcome{exitUsage, errors.New("no round or time is left")}
	}
	f.allocs = true
	f.timing.warmup = f.timing.duration / 8
	if f.quick {
		f.rounds, f.timing = 1, timing{warmup: 50 * time.Millisecond, duration: 300 * time.Millisecond}
		f.servers, f.tools, f.session = counts{1, 100}, counts{10, 1000}, counts{1, 1000}
	}
	g := &grower{bench: bench{flags: f.speedFlags, progress: progress}, flags: f}
	r := newReport(append([]string{"growth"}, args...))
	defer g.close()
	if err := g.prepare(ctx); err != nil {
		return err
	}
	for what := range strings.SplitSeq(f.what, ",") {
		var rows []growthResult
		var err error
		switch what {
		case growServers:
			rows, err = g.growServers(ctx)
		case growTools:
			rows, err = g.growTools(ctx)
		case growSessions:
			rows, err = g.growSessions(ctx)
		default:
			err = &outcome{exitUsage, fmt.Errorf("-what %q: give %s, %s or %s", what, growServers, growTools, growSessions)}
		}
		if err != nil {
			return err
		}
		r.Growth = append(r.Growth, rows...)
	}
	if err := errors.Join(r.printHead(out), printGrowth(out, r.Growth), r.save(f.json)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &outcome{exitCouldNot, errors.New("interrupted: the tables are not whole")}
	}
	for _, row := range r.Growth {
		if row.Failure != "" || row.Median.Errors > 0 || row.Alive != row.Asked {
			return &outcome{exitWrong, errors.New("some rows have wrong answers or failed; the reasons stand below their table")}
		}
	}
	return nil
}

// grower measures what more of something costs. For each count it starts a
// middle of its own, all side by side, and the rounds go through them in turn.
type grower struct {
	bench
	flags growthFlags
}

// stand is the parts that one count is measured with.
type stand struct {
	count   int
	subject *subject
	echoPID int
	row     growthResult
	idle    []string // sessions
	before  sample   // the last sample without idle sessions
	closers []func() error
}

func (g *grower) prepare(ctx context.Context) error {
	folder, err := os.MkdirTemp(g.flags.data, "munjigi-bench-")
	if err != nil {
		return err
	}
	g.closers = append(g.closers, func() error { return os.RemoveAll(folder) })
	g.workshop.folder = folder
	if g.flags.through != nameRelaxed {
		return nil
	}
	if g.flags.extra != "" {
		extra, err := os.ReadFile(g.flags.extra)
		if err != nil {
			return err
		}
		g.workshop.extra = string(extra)
	}
	if len(g.flags.session) > 0 && strings.Contains(g.flags.what, growSessions) {
		most := g.flags.session[len(g.flags.session)-1] + 1000
		g.workshop.extra += fmt.Sprintf("limits: { sessions: %d, per_principal_sessions: %d }\n", most, most)
	}
	g.workshop.env = g.traced(g.workshop.environment())
	if g.workshop.binary = g.flags.munjigi; g.workshop.binary != "" {
		return nil
	}
	g.say("building the gateway")
	g.workshop.binary, err = build(ctx, folder)
	return err
}

// stand starts an echo and a middle before it that has so many servers.
func (g *grower) stand(ctx context.Context, what string, count, servers, tools int) (*stand, error) {
	s := &stand{count: count, row: growthResult{
		Grows: what, Count: count, StartMS: unavailable(), ListMS: unavailable(),
		PerSession: unavailable(), LivePer: unavailable(), Opened: unavailable(),
	}}
	echoProcess, addr, err := startListener(os.Environ(), roleEcho, "-tools", strconv.Itoa(tools))
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, echoProcess.stop)
	s.echoPID = echoProcess.pid()
	target := "http://" + addr + "/mcp"
	if g.flags.through == nameProxy {
		proxy, addr, err := startListener(g.traced(os.Environ()), roleProxy, "-to", target)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.closers = append(s.closers, proxy.stop)
		s.subject = &subject{name: nameProxy, middle: fixed(proxy.pid()), collections: proxy.output.collections}
		for i := range servers {
			s.subject.urls = append(s.subject.urls, fmt.Sprintf("http://%s/mcp/s%d", addr, i+1))
		}
		return s, nil
	}
	entries := make([]server, servers)
	for i := range entries {
		entries[i] = server{fmt.Sprintf("s%d", i+1), target}
	}
	gate, err := g.workshop.open(ctx, "relaxed", callers{}, entries)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.closers = append(s.closers, gate.interrupt)
	s.row.StartMS = figure(float64(gate.took) / float64(time.Millisecond))
	s.subject = &subject{name: nameRelaxed, middle: fixed(gate.pid()), collections: gate.output.collections}
	for _, e := range entries {
		s.subject.urls = append(s.subject.urls, gate.endpoint(e.name))
	}
	return s, nil
}

func (s *stand) close() error {
	var err error
	for _, f := range slices.Backward(s.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// stands starts one for each count; when one cannot be started, none is left.
func (g *grower) stands(ctx context.Context, what string, list counts, sizes func(n int) (servers, tools int)) ([]*stand, error) {
	var all []*stand
	for _, n := range list {
		g.say("%s: starting with %d", what, n)
		servers, tools := sizes(n)
		s, err := g.stand(ctx, what, n, servers, tools)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("with %d %s: %w", n, what, err), closeStands(all))
		}
		all = append(all, s)
	}
	return all, nil
}

func closeStands(all []*stand) error {
	var err error
	for _, s := range all {
		err = errors.Join(err, s.close())
	}
	return err
}

// rounds measures all stands in turn and returns their rows.
func (g *grower) rounds(ctx context.Context, all []*stand, job func(*stand) (*subject, load.Job)) []growthResult {
	for round := range g.flags.rounds {
		for _, s := range all {
			if ctx.Err() != nil || s.row.Failure != "" {
				continue
			}
			subject, j := job(s)
			one, err := measure(subject, j, g.flags.timing, s.echoPID)
			if err != nil {
				s.row.Failure = err.Error()
				g.say("%d %s failed: %v", s.count, s.row.Grows, err)
				continue
			}
			s.row.Samples = append(s.row.Samples, one)
			g.say("%d %s, round %d: %s calls/s, %d errors", s.count, strings.TrimSpace(s.row.Grows+" "+s.row.Calls), round+1, show(one.Rate), one.Errors)
		}
	}
	rows := make([]growthResult, len(all))
	for i, s := range all {
		s.row.Median = median(s.row.Samples)
		s.row.OfSmallest = s.row.Median.Rate.per(all[0].row.Median.Rate)
		s.row.CPUOfSmallest = s.row.Median.MiddleCPU.per(all[0].row.Median.MiddleCPU)
		rows[i] = s.row
	}
	return rows
}

func growthJob(modern bool, tool string) load.Job {
	return load.Job{Modern: modern, Tool: tool, Size: small, Connections: growthConnections}
}

// growServers calls one of the configured servers, and then all in turn.
func (g *grower) growServers(ctx context.Context) ([]growthResult, error) {
	all, err := g.stands(ctx, growServers, g.flags.servers, func(n int) (int, int) { return n, 1 })
	if err != nil {
		return nil, err
	}
	var rows []growthResult
	for _, calls := range []string{"one", "all"} {
		for _, s := range all {
			s.row.Calls, s.row.Samples = calls, nil
		}
		rows = append(rows, g.rounds(ctx, all, func(s *stand) (*subject, load.Job) {
			sub := *s.subject
			if calls == "one" {
				sub.urls = sub.urls[len(sub.urls)-1:]
			}
			return &sub, growthJob(true, "echo")
		})...)
	}
	return rows, closeStands(all)
}

// growTools calls the last of a server's tools, after reading their list.
func (g *grower) growTools(ctx context.Context) ([]growthResult, error) {
	all, err := g.stands(ctx, growTools, g.flags.tools, func(n int) (int, int) { return 1, n })
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		n, took, err := load.ListTime(ctx, s.subject.urls[0])
		switch {
		case err != nil:
			s.row.Failure = err.Error()
		case n != s.count:
			s.row.Failure = fmt.Sprintf("%d tools are listed, the server has %d", n, s.count)
		default:
			s.row.ListMS = figure(float64(took) / float64(time.Millisecond))
		}
	}
	rows := g.rounds(ctx, all, func(s *stand) (*subject, load.Job) {
		return s.subject, growthJob(true, echo.ToolName(s.count))
	})
	return rows, closeStands(all)
}

// touched is how many idle sessions are asked at the end whether they live.
const touched = 200

// growSessions opens idle legacy sessions, calls beside them in others, and
// asks at the end whether the idle ones still answer.
func (g *grower) growSessions(ctx context.Context) ([]growthResult, error) {
	all, err := g.stands(ctx, growSessions, g.flags.session, func(int) (int, int) { return 1, 1 })
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := g.fill(ctx, s); err != nil {
			s.row.Failure = err.Error()
			g.say("%d %s failed: %v", s.count, growSessions, err)
		}
	}
	rows := g.rounds(ctx, all, func(s *stand) (*subject, load.Job) { return s.subject, growthJob(false, "echo") })
	for i, s := range all {
		if s.row.Failure == "" && len(s.row.Samples) > 0 {
			s.settle(ctx, &rows[i])
		}
	}
	return rows, closeStands(all)
}

// fill runs once without idle sessions, so that memory is at its working
// size, then opens them.
func (g *grower) fill(ctx context.Context, s *stand) error {
	var err error
	if s.before, err = measure(s.subject, growthJob(false, "echo"), g.flags.timing, s.echoPID); err != nil {
		return err
	}
	begun := time.Now()
	if s.idle, err = load.OpenSessions(ctx, s.subject.urls[0], s.count, growthConnections); err != nil {
		return fmt.Errorf("opening %d sessions: %w", s.count, err)
	}
	s.row.Opened = figure(float64(s.count) / time.Since(begun).Seconds())
	g.say("%d sessions stand open, %s a second", s.count, show(s.row.Opened))
	return nil
}

// enoughSessions is how many make memory per session worth telling.
const enoughSessions = 100

// settle computes what the idle sessions hold and whether they live.
func (s *stand) settle(ctx context.Context, row *growthResult) {
	last := row.Samples[len(row.Samples)-1]
	if s.count >= enoughSessions {
		row.PerSession = (last.Resident - s.before.Resident) * 1024 / figure(s.count)
		row.LivePer = (last.Live - s.before.Live) * 1024 / figure(s.count)
	}
	step := max(len(s.idle)/touched, 1)
	var some []string
	for i := 0; i < len(s.idle); i += step {
		some = append(some, s.idle[i])
	}
	var err error
	row.Asked = len(some)
	if row.Alive, err = load.TouchSessions(ctx, s.subject.urls[0], "echo", some); err != nil {
		row.Median.Reasons = append(row.Median.Reasons, "an idle session: "+err.Error())
	}
}

func printGrowth(out io.Writer, all []growthResult) error {
	for _, what := range []string{growServers, growTools, growSessions} {
		rows := slices.DeleteFunc(slices.Clone(all), func(r growthResult) bool { return r.Grows != what })
		if len(rows) == 0 {
			continue
		}
		if err := growthTable(what, rows).print(out); err != nil {
			return err
		}
		var notes strings.Builder
		for _, r := range rows {
			if r.Failure != "" {
				fmt.Fprintf(&notes, "%d %s failed: %s\n", r.Count, what, r.Failure)
			}
			for _, reason := range r.Median.Reasons {
				fmt.Fprintf(&notes, "%d %s: %s\n", r.Count, what, reason)
			}
		}
		var samples []sample
		for _, r := range rows {
			samples = append(samples, r.Samples...)
		}
		if _, err := fmt.Fprintln(out, notes.String()+disturbed(samples)); err != nil {
			return err
		}
	}
	return nil
}

func growthTable(what string, rows []growthResult) *table {
	t := &table{left: 0, head: []string{what, "calls/s", "of smallest", "p50 µs", "p99 µs", "CPU ms/1000", "of smallest", "≈KB/call", "RSS MB", "live MB", "errors"}}
	switch what {
	case growServers:
		t.head = append(t.head, "calls go to", "start ms")
	case growTools:
		t.head = append(t.head, "list ms")
	case growSessions:
		t.head = append(t.head, "RSS KB/session", "live KB/session", "opened/s", "alive")
	}
	for i, r := range rows {
		if i > 0 && rows[i-1].Calls != r.Calls {
			t.gap()
		}
		m := r.Median
		row := []string{fmt.Sprint(r.Count), show(m.Rate), ratio(r.OfSmallest), show(m.P50), show(m.P99), show(m.MiddleCPU), ratio(r.CPUOfSmallest),
			show(m.Allocated), show(m.Resident), show(m.Live), fmt.Sprint(m.Errors)}
		switch what {
		case growServers:
			row = append(row, r.Calls, show(r.StartMS))
		case growTools:
			row = append(row, show(r.ListMS))
		case growSessions:
			row = append(row, show(r.PerSession), show(r.LivePer), show(r.Opened), fmt.Sprintf("%d/%d", r.Alive, r.Asked))
		}
		t.add(row...)
	}
	return t
}
