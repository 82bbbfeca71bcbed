package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/load"
)

// Names of the ways from the load generator to the echo.
const (
	nameDirect  = "direct"
	nameProxy   = "proxy"
	namePipe    = "pipe"
	nameRelaxed = "munjigi"        // the gate, its record relaxed, without guards
	nameGuards  = "munjigi-guards" // the same with every guard at its default
	nameStrict  = "munjigi-strict"
	namePolicy  = "munjigi-policy" // the relaxed one, with a policy that permits all, and schemas
	nameJWT     = "munjigi-jwt"    // the same, with callers whose tokens an issuer signed
)

// cell is one combination that all subjects are measured in.
type cell struct {
	stdio       bool
	modern      bool
	size        int
	connections int
}

// String is the cell's name, which -cell filters by: http/modern/1KB/16.
func (c cell) String() string {
	transport, era := "http", "legacy"
	if c.stdio {
		transport = "stdio"
	}
	if c.modern {
		era = "modern"
	}
	return fmt.Sprintf("%s/%s/%s/%d", transport, era, bytesText(c.size), c.connections)
}

// cells are all that the table has. Over stdio the connections are calls
// under way on the one pipe.
func cells(quick bool) []cell {
	var all []cell
	add := func(stdio bool, connections ...int) {
		for _, modern := range []bool{true, false} {
			for _, size := range []int{small, large} {
				for _, n := range connections {
					all = append(all, cell{stdio, modern, size, n})
				}
			}
		}
	}
	add(false, 1, aimConnections, 128)
	if quick {
		add(true, 1)
	} else {
		add(true, 1, aimConnections)
	}
	return all
}

type speedFlags struct {
	quick    bool
	cell     string
	only     string
	peers    peers
	rounds   int
	timing   timing
	json     string
	munjigi  string
	data     string
	extra    string
	echoAddr string
	wrap     string
	allocs   bool
}

func speedSet(f *speedFlags) *flag.FlagSet {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&f.quick, "quick", false, "a smoke run of under a minute: one short round, figures for orientation only")
	fs.StringVar(&f.cell, "cell", "", "only cells whose name (transport/era/size/connections, as http/modern/1KB/16) matches this `regexp`")
	fs.StringVar(&f.only, "subjects", "", "only these of direct, proxy, pipe, munjigi, munjigi-guards, munjigi-strict, munjigi-policy, munjigi-jwt and peers' names, a comma-separated `list`")
	fs.Func("peer", "measure another gateway too, `name=URL`; point it at the echo (see -echo-addr); may be repeated", f.peers.add)
	fs.Func("peer-header", "send a header to a peer, `name=Header: value`; may be repeated", f.peers.header)
	fs.IntVar(&f.rounds, "rounds", 3, "rounds, each through all subjects in turn")
	fs.DurationVar(&f.timing.duration, "d", 2*time.Second, "how long each run takes")
	fs.StringVar(&f.json, "json", "", "write all samples to this `file` too")
	fs.StringVar(&f.munjigi, "munjigi", "", "measure this `binary` (default: build it)")
	fs.StringVar(&f.data, "data", "", "put the gateway's data below this `folder`; strict runs are as fast as its disk (default: the system's temporary folder)")
	fs.StringVar(&f.extra, "config-extra", "", "append this YAML `file` to the gateway's config")
	fs.StringVar(&f.echoAddr, "echo-addr", "127.0.0.1:0", "where the echo listens; choose a port for peers")
	fs.StringVar(&f.wrap, "wrap-flags", "--insecure-unsandboxed", "`flags` of munjigi wrap, separated by spaces; the relaxed one has --relaxed-record too")
	fs.BoolVar(&f.allocs, "allocs", true, "have proxy and gateway report their garbage collections, from which allocations are computed")
	return fs
}

func speed(ctx context.Context, args []string, out, progress io.Writer) error {
	var f speedFlags
	if err := parse(speedSet(&f), args, progress); err != nil {
		return err
	}
	filter, err := regexp.Compile(f.cell)
	if err != nil {
		return &outcome{exitUsage, fmt.Errorf("-cell: %w", err)}
	}
	wanted := slices.DeleteFunc(cells(f.quick), func(c cell) bool { return !filter.MatchString(c.String()) })
	if len(wanted) == 0 || f.rounds < 1 || f.timing.duration <= 0 {
		return &outcome{exitUsage, errors.New("nothing to measure: no cell matches, or no round or time is left")}
	}
	f.timing.warmup = f.timing.duration / 8
	if f.quick {
		f.rounds, f.timing = 1, timing{warmup: 50 * time.Millisecond, duration: 300 * time.Millisecond}
	}
	b := &bench{flags: f, progress: progress}
	defer b.close()
	missing := b.open(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(b.http)+len(b.stdio) == 0 {
		return errors.Join(errors.New("no subject is left to measure"), missing)
	}
	r := newReport(args)
	r.Results = b.run(ctx, wanted)
	if err := errors.Join(r.printHead(out), printSpeed(out, r.Results, !f.quick), r.save(f.json)); err != nil {
		return err
	}
	if missing != nil {
		return &outcome{exitCouldNot, missing}
	}
	return ended(ctx, r.Results)
}

// ended is the outcome of a run: wrong answers and failures count.
func ended(ctx context.Context, results []result) error {
	if ctx.Err() != nil {
		return &outcome{exitCouldNot, errors.New("interrupted: the table is not whole")}
	}
	wrong := 0
	for _, r := range results {
		if r.Failure != "" || r.Median.Errors > 0 {
			wrong++
		}
	}
	if wrong > 0 {
		return &outcome{exitWrong, fmt.Errorf("%d of %d rows have wrong answers or failed; the reasons stand below the table", wrong, len(results))}
	}
	return nil
}

// bench holds the processes of a run.
type bench struct {
	flags       speedFlags
	progress    io.Writer
	workshop    workshop
	echoPID     int
	http, stdio []*subject
	closers     []func() error
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

func (b *bench) wants(name string) bool {
	return b.flags.only == "" || slices.Contains(strings.Split(b.flags.only, ","), name)
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.closers) {
		if err := f(); err != nil {
			b.say("bench: at the end: %v", err)
		}
	}
}

// open starts all parts. What could not be started is in the error; the rest
// is measured.
func (b *bench) open(ctx context.Context) error {
	folder, err := os.MkdirTemp(b.flags.data, "munjigi-bench-")
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(folder) })
	b.workshop.folder = folder
	echoProcess, addr, err := startListener(os.Environ(), roleEcho, "-addr", b.flags.echoAddr)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, echoProcess.stop)
	b.echoPID = echoProcess.pid()
	target := "http://" + addr + "/mcp"
	b.say("the echo listens at %s", target)

	self, err := os.Executable()
	if err != nil {
		return err
	}
	lines := []string{self, roleEcho, "-stdio"}
	if b.wants(nameDirect) {
		b.http = append(b.http, &subject{name: nameDirect, urls: []string{target}, tool: "echo", middle: noMiddle})
		b.stdio = append(b.stdio, &subject{name: nameDirect, command: lines, env: []string{}, tool: "echo", middle: noMiddle})
	}
	if b.wants(nameProxy) {
		if err := b.openProxy(target); err != nil {
			return err
		}
	}
	if b.wants(namePipe) {
		b.stdio = append(b.stdio, &subject{
			name: namePipe, command: append([]string{self, rolePipe}, lines...), env: b.traced([]string{}), tool: "echo",
			middle: loadsChild, overLoad: b.flags.allocs,
		})
	}
	missing := b.openGateway(ctx, target, lines)
	for _, p := range b.flags.peers {
		if !b.wants(p.name) {
			continue
		}
		s, err := p.subject()
		if err != nil {
			return err
		}
		b.http = append(b.http, s)
	}
	return missing
}

// traced adds the setting that makes a Go process tell of its collections,
// where it is wanted.
func (b *bench) traced(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(s string) bool { return strings.HasPrefix(s, "GODEBUG=") })
	if b.flags.allocs {
		env = append(env, traced)
	}
	return env
}

func (b *bench) openProxy(target string) error {
	proxy, addr, err := startListener(b.traced(os.Environ()), roleProxy, "-to", target)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, proxy.stop)
	b.http = append(b.http, &subject{
		name: nameProxy, urls: []string{"http://" + addr + "/mcp"}, tool: "echo",
		middle: fixed(proxy.pid()), collections: proxy.output.collections,
	})
	return nil
}

// openGateway builds the gateway, starts it once for each durability of the
// record, and prepares the command that wraps a stdio echo.
func (b *bench) openGateway(ctx context.Context, target string, lines []string) error {
	if !slices.ContainsFunc([]string{nameRelaxed, nameStrict, namePolicy, nameJWT}, b.wants) {
		return nil
	}
	if b.flags.extra != "" {
		extra, err := os.ReadFile(b.flags.extra)
		if err != nil {
			return err
		}
		b.workshop.extra = string(extra)
	}
	if b.workshop.binary = b.flags.munjigi; b.workshop.binary == "" {
		b.say("building the gateway")
		var err error
		if b.workshop.binary, err = build(ctx, b.workshop.folder); err != nil {
			return err
		}
	}
	b.workshop.env = b.traced(b.workshop.environment())
	var missing error
	who := callers{policy: true}
	if b.wants(nameJWT) {
		var err error
		if who.issuer, err = newIssuer(); err != nil {
			return err
		}
		b.closers = append(b.closers, who.issuer.close)
	}
	for _, way := range []struct {
		name, durability string
		who              callers
		wrap             []string
	}{
		{nameRelaxed, "relaxed", callers{}, []string{"--relaxed-record"}},
		{nameGuards, "relaxed", callers{guards: true}, nil},
		{nameStrict, "strict", callers{}, nil},
		{namePolicy, "relaxed", callers{policy: true}, nil},
		{nameJWT, "relaxed", who, nil},
	} {
		if !b.wants(way.name) {
			continue
		}
		if !way.who.policy && !way.who.guards { // over stdio there is one caller, the one who started it
			command := slices.Concat([]string{b.workshop.binary, "wrap"}, strings.Fields(b.flags.wrap), way.wrap, []string{"--"}, lines)
			b.stdio = append(b.stdio, &subject{
				name: way.name, command: command, env: b.workshop.env, tool: "echo", middle: loadsChild, overLoad: b.flags.allocs,
			})
		}
		g, err := b.workshop.open(ctx, way.durability, way.who, []server{{"echo", target}})
		if err != nil {
			missing = errors.Join(missing, fmt.Errorf("%s: %w", way.name, err))
			continue
		}
		b.closers = append(b.closers, g.interrupt)
		b.say("%s answers after %d ms at %s", way.name, g.took.Milliseconds(), g.endpoint("echo"))
		b.http = append(b.http, &subject{
			name: way.name, urls: []string{g.endpoint("echo")}, headers: g.headers, tool: "echo",
			middle: fixed(g.pid()), collections: g.output.collections,
		})
	}
	return missing
}

// run measures each cell: in every round all subjects take their turn, so
// that what disturbs the machine disturbs all alike.
func (b *bench) run(ctx context.Context, wanted []cell) []result {
	total, done := 0, 0
	for _, c := range wanted {
		total += b.flags.rounds * len(b.subjects(c))
	}
	var all []result
	for _, c := range wanted {
		subjects := b.subjects(c)
		rows := make([]result, len(subjects))
		for i, s := range subjects {
			rows[i] = result{Cell: c.String(), Through: s.name}
		}
		for round := range b.flags.rounds {
			for i, s := range subjects {
				if done++; ctx.Err() != nil || rows[i].Failure != "" {
					continue
				}
				job := load.Job{Modern: c.modern, Size: c.size, Connections: c.connections}
				one, err := measure(s, job, b.flags.timing, b.echoFor(c))
				if err != nil {
					rows[i].Failure = err.Error()
					b.say("[%d/%d] %s %s failed: %v", done, total, c, s.name, err)
					continue
				}
				rows[i].Samples = append(rows[i].Samples, one)
				b.say("[%d/%d] %s %s, round %d: %s calls/s, %d errors", done, total, c, s.name, round+1, show(one.Rate), one.Errors)
			}
		}
		finish(rows)
		all = append(all, rows...)
	}
	return all
}

func (b *bench) subjects(c cell) []*subject {
	if c.stdio {
		return b.stdio
	}
	if c.size == small && c.connections == aimConnections {
		return b.http
	}
	// What tokens and policy cost does not depend on the size.
	return slices.DeleteFunc(slices.Clone(b.http), func(s *subject) bool { return s.name == namePolicy || s.name == nameJWT })
}

// echoFor is the process whose CPU counts beside load generator and middle;
// over stdio the echo is among their descendants.
func (b *bench) echoFor(c cell) int {
	if c.stdio {
		return 0
	}
	return b.echoPID
}

// finish computes medians and ratios of the rows of one cell.
func finish(rows []result) {
	direct, bare := nothing(), nothing()
	for i := range rows {
		rows[i].Median, rows[i].Spread = median(rows[i].Samples), spread(rows[i].Samples)
		switch rows[i].Through {
		case nameDirect:
			direct = rows[i].Median
		case nameProxy, namePipe:
			bare = rows[i].Median
		}
	}
	for i := range rows {
		m := rows[i].Median
		rows[i].OfDirect, rows[i].OfBare, rows[i].CPUOfBare = m.Rate.per(direct.Rate), m.Rate.per(bare.Rate), m.MiddleCPU.per(bare.MiddleCPU)
	}
}

// printSpeed prints the table and what is to be said below it, the aims only
// when the runs were long enough to judge by.
func printSpeed(out io.Writer, results []result, judge bool) error {
	t := table{left: 2, head: []string{"cell", "through", "calls/s", "spread", "p50 µs", "p99 µs", "CPU ms/1000", "echo's", "all", "≈KB/call", "RSS MB", "peak MB", "errors", "of direct", "of bare", "CPU of bare"}}
	for i, r := range results {
		if i > 0 && results[i-1].Cell != r.Cell {
			t.gap()
		}
		m := r.Median
		t.add(r.Cell, r.Through, show(m.Rate), percent(r.Spread), show(m.P50), show(m.P99), show(m.MiddleCPU), show(m.EchoCPU), show(m.AllCPU), show(m.Allocated),
			show(m.Resident), show(m.Peak), fmt.Sprint(m.Errors), ratio(r.OfDirect), ratio(r.OfBare), ratio(r.CPUOfBare))
	}
	if err := t.print(out); err != nil {
		return err
	}
	var samples []sample
	for _, r := range results {
		samples = append(samples, r.Samples...)
	}
	notes := reasons(results) + disturbed(samples)
	if judge {
		notes += aims(results)
	}
	if notes == "" {
		return nil
	}
	_, err := fmt.Fprint(out, "\n"+notes)
	return err
}

// reasons lists what went wrong, by row.
func reasons(results []result) string {
	var b strings.Builder
	for _, r := range results {
		if r.Failure != "" {
			fmt.Fprintf(&b, "%s %s failed: %s\n", r.Cell, r.Through, r.Failure)
		}
		for _, reason := range r.Median.Reasons {
			fmt.Fprintf(&b, "%s %s: %s\n", r.Cell, r.Through, reason)
		}
	}
	return b.String()
}
