package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/load"
	"github.com/munjigi/munjigi/test/bench/internal/proc"
)

// figure is a number that may not be available: then it is NaN, prints as
// n/a and is null in JSON.
type figure float64

func unavailable() figure { return figure(math.NaN()) }

func (f figure) known() bool { return !math.IsNaN(float64(f)) && !math.IsInf(float64(f), 0) }

// MarshalJSON writes null for what is not available.
func (f figure) MarshalJSON() ([]byte, error) {
	if !f.known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// per is a divided by b, not available where either is not or b is nothing.
func (f figure) per(b figure) figure {
	if !f.known() || !b.known() || b == 0 {
		return unavailable()
	}
	return f / b
}

// sample is what one run of one subject came to.
type sample struct {
	Rate figure // right calls per second
	P50  figure // microseconds
	P99  figure // microseconds
	// MiddleCPU, EchoCPU and AllCPU are milliseconds of CPU per thousand calls:
	// of what stands between load generator and echo, of the echo, and of all
	// processes together.
	MiddleCPU, EchoCPU, AllCPU figure
	// Allocated is kilobytes per call, Live the megabytes in use after the
	// last garbage collection, both of the middle.
	Allocated, Live figure
	// Resident and Peak are megabytes of the middle after and during the run.
	Resident, Peak figure
	// Others is the share of the machine's CPU that went to anything else.
	Others        figure
	Calls, Errors uint64
	Reasons       []string `json:",omitempty"`
}

// nothing is a sample in which no figure is available.
func nothing() sample {
	n := unavailable()
	return sample{Rate: n, P50: n, P99: n, MiddleCPU: n, EchoCPU: n, AllCPU: n, Allocated: n, Live: n, Resident: n, Peak: n, Others: n}
}

// figures lists a sample's figures, for what is done to each alike.
func (s *sample) figures() []*figure {
	return []*figure{&s.Rate, &s.P50, &s.P99, &s.MiddleCPU, &s.EchoCPU, &s.AllCPU, &s.Allocated, &s.Live, &s.Resident, &s.Peak, &s.Others}
}

// median takes each figure's median over the samples and adds up their calls
// and errors.
func median(samples []sample) sample {
	m := nothing()
	for i, f := range m.figures() {
		var values []float64
		for _, s := range samples {
			if v := *s.figures()[i]; v.known() {
				values = append(values, float64(v))
			}
		}
		*f = middle(values)
	}
	for _, s := range samples {
		m.Calls += s.Calls
		m.Errors += s.Errors
		for _, reason := range s.Reasons {
			if !slices.Contains(m.Reasons, reason) {
				m.Reasons = append(m.Reasons, reason)
			}
		}
	}
	return m
}

func middle(values []float64) figure {
	n := len(values)
	if n == 0 {
		return unavailable()
	}
	slices.Sort(values)
	if n%2 == 1 {
		return figure(values[n/2])
	}
	return figure((values[n/2-1] + values[n/2]) / 2)
}

// spread is half of what lies between the slowest and the fastest sample, as
// a share of the median rate.
func spread(samples []sample) figure {
	if len(samples) < 2 {
		return unavailable()
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range samples {
		low, high = min(low, float64(s.Rate)), max(high, float64(s.Rate))
	}
	return figure((high - low) / 2).per(median(samples).Rate)
}

// subject is a way from the load generator to the echo.
type subject struct {
	name string
	// One of these is set: the endpoints to call, or the program to talk to.
	urls    []string
	headers []string
	command []string
	env     []string
	tool    string
	// middle is the process between load generator and echo, 0 where there is
	// none or it is not ours to see; over stdio it is the load's child.
	middle func(loadChild int) int
	// collections tells what the middle's garbage collector said; nil where it
	// says nothing, or says it on the load's standard error (overLoad).
	collections func() proc.Collections
	overLoad    bool
}

func noMiddle(int) int { return 0 }

func fixed(pid int) func(int) int { return func(int) int { return pid } }

func loadsChild(pid int) int { return pid }

// timing is how long each run takes.
type timing struct{ warmup, duration time.Duration }

// measure runs one job against one subject, with the load generator in a
// process of its own, and looks at what all processes used meanwhile.
func measure(s *subject, job load.Job, t timing, echoPID int) (sample, error) {
	job.URLs, job.Headers, job.Command, job.Env = s.urls, s.headers, s.command, s.env
	if job.Tool == "" {
		job.Tool = s.tool
	}
	job.Warmup, job.Duration = t.warmup, t.duration
	generator, err := startSelf(os.Environ(), roleLoad)
	if err != nil {
		return nothing(), err
	}
	out, err := generate(generator, s, job, echoPID)
	return out, errors.Join(err, generator.stop())
}

func generate(generator *child, s *subject, job load.Job, echoPID int) (sample, error) {
	if err := generator.write(job); err != nil {
		return nothing(), err
	}
	var r ready
	if err := generator.read(&r); err != nil {
		return nothing(), err
	}
	if r.Error != "" {
		return nothing(), fmt.Errorf("%s%s", r.Error, generator.output.tail())
	}
	collections := s.collections
	if s.overLoad {
		collections = generator.output.collections
	}
	w := watch(s.middle(r.Child), generator.pid(), echoPID, collections)
	before := w.look(true)
	if err := generator.write(goAhead{}); err != nil {
		return nothing(), err
	}
	var res load.Result
	if err := generator.read(&res); err != nil {
		return nothing(), err
	}
	after := w.look(false)
	if err := generator.write(goAhead{}); err != nil {
		return nothing(), err
	}
	return summarize(res, before, after, w.middle != 0), nil
}

// watcher sees what the processes of one run use.
type watcher struct {
	self               string
	middle, load, echo int
	collections        func() proc.Collections
}

func watch(middle, load, echo int, collections func() proc.Collections) *watcher {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	return &watcher{self: self, middle: middle, load: load, echo: echo, collections: collections}
}

// glance is the state at one moment.
type glance struct {
	middle, echo, all proc.Usage
	own               proc.Usage    // of this process
	busy              time.Duration // of the whole machine
	gc                proc.Collections
	err               error
}

// look adds up what the processes use: the load generator, the middle, the
// echo, and all their descendants. What runs this program and is neither load
// generator nor middle is an echo, wherever it stands: a gateway starts those
// that it wraps itself. Descendants of the middle that run something else are
// its helpers and count with it.
func (w *watcher) look(resetPeak bool) glance {
	var g glance
	if w.collections != nil {
		g.gc = w.collections()
	}
	ofMiddle := map[int]bool{}
	all := map[int]bool{}
	for _, root := range []int{w.load, w.echo, w.middle} {
		if root == 0 {
			continue
		}
		tree, err := proc.Tree(root)
		if err != nil {
			g.err = err
			return g
		}
		for _, pid := range tree {
			all[pid] = true
			ofMiddle[pid] = root == w.middle
		}
	}
	var err error
	if g.busy, err = proc.Busy(); err != nil {
		g.err = err
		return g
	}
	if g.own, err = proc.Read(os.Getpid()); err != nil {
		g.err = err
		return g
	}
	for pid := range all {
		if resetPeak {
			proc.ResetPeak(pid)
		}
		u, err := proc.Read(pid)
		if err != nil {
			continue // it has ended since
		}
		g.all = g.all.Plus(u)
		switch {
		case pid == w.load:
		case pid == w.middle:
			g.middle = g.middle.Plus(u)
		case proc.Runs(pid, w.self):
			g.echo = g.echo.Plus(u)
		case ofMiddle[pid]:
			g.middle = g.middle.Plus(u)
		}
	}
	return g
}

// enoughCollections is how many must lie in a run for the allocations between
// them to say something.
const enoughCollections = 5

func summarize(res load.Result, before, after glance, hasMiddle bool) sample {
	s := nothing()
	s.Calls, s.Errors, s.Reasons = res.Calls, res.Errors, res.Reasons
	s.Rate = figure(res.Rate())
	if res.Calls == 0 {
		return s
	}
	s.P50, s.P99 = microseconds(res.P50), microseconds(res.P99)
	calls := float64(res.Calls)
	perThousand := func(d time.Duration) figure { return figure(float64(d) / float64(time.Millisecond) / calls * 1000) }
	seen := before.err == nil && after.err == nil
	if seen {
		s.AllCPU = perThousand(after.all.CPU - before.all.CPU)
		s.EchoCPU = perThousand(after.echo.CPU - before.echo.CPU)
		ours := after.all.CPU + after.own.CPU - before.all.CPU - before.own.CPU
		capacity := res.Elapsed * time.Duration(runtime.NumCPU())
		s.Others = max(figure(after.busy-before.busy-ours)/figure(capacity), 0)
	}
	if seen && hasMiddle {
		s.MiddleCPU = perThousand(after.middle.CPU - before.middle.CPU)
		s.Resident, s.Peak = megabytes(after.middle.Resident), megabytes(after.middle.Peak)
	}
	if after.gc.Count-before.gc.Count >= enoughCollections {
		s.Allocated = figure(float64(after.gc.Allocated-before.gc.Allocated) / calls / 1024)
	}
	if after.gc.Count > 0 {
		s.Live = megabytes(after.gc.Live)
	}
	return s
}

func microseconds(d time.Duration) figure { return figure(float64(d) / float64(time.Microsecond)) }

func megabytes(n int64) figure { return figure(float64(n) / (1 << 20)) }
