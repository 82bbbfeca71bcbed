package main

import (
	"bytes"
	"encoding/json"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/test/bench/internal/load"
	"github.com/munjigi/munjigi/test/bench/internal/proc"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	na := unavailable()
	of := func(rates ...figure) []sample {
		var all []sample
		for _, r := range rates {
			s := nothing()
			s.Rate, s.Calls, s.Errors, s.Reasons = r, 10, 1, []string{"same"}
			all = append(all, s)
		}
		return all
	}
	for name, tc := range map[string]struct {
		in           []sample
		rate, spread figure
		calls        uint64
	}{
		"none":                {nil, na, na, 0},
		"one":                 {of(5), 5, na, 10},
		"odd":                 {of(9, 1, 5), 5, 0.8, 30},
		"even":                {of(1, 9, 3, 5), 4, 1, 40},
		"what is missing":     {of(na, 4, na), 4, na, 30},
		"order is kept apart": {of(3, 1), 2, 0.5, 20},
	} {
		m := median(tc.in)
		if got := show(m.Rate); got != show(tc.rate) {
			t.Errorf("%s: rate %s, want %s", name, got, show(tc.rate))
		}
		if got := show(spread(tc.in)); got != show(tc.spread) {
			t.Errorf("%s: spread %s, want %s", name, got, show(tc.spread))
		}
		if m.Calls != tc.calls || m.Errors != tc.calls/10 || len(m.Reasons) > 1 || m.P50.known() {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestFigure(t *testing.T) {
	t.Parallel()
	na := unavailable()
	for f, want := range map[figure][2]string{
		0:                   {"0", "0"},
		0.5:                 {"0.50", "0.5"},
		12.34:               {"12.3", "12.34"},
		12345.6:             {"12346", "12345.6"},
		-0.25:               {"-0.25", "-0.25"},
		figure(math.Inf(1)): {"n/a", "null"},
		figure(1).per(0):    {"n/a", "null"},
		figure(1).per(na):   {"n/a", "null"},
		na.per(2):           {"n/a", "null"},
		figure(3).per(2):    {"1.50", "1.5"},
	} {
		raw, err := json.Marshal(f)
		if err != nil || show(f) != want[0] {
			t.Errorf("%v shows as %s, %v; want %s", float64(f), show(f), err, want[0])
		}
		if string(raw) != want[1] {
			t.Errorf("%v is %s in JSON, want %s", float64(f), raw, want[1])
		}
	}
	if ratio(na) != "n/a" || ratio(0.9) != "0.90×" || percent(0.051) != "±5%" || percent(na) != "n/a" {
		t.Error("ratios or shares show wrongly")
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	usage := func(ms int, mb int64) proc.Usage {
		return proc.Usage{CPU: time.Duration(ms) * time.Millisecond, Resident: mb << 20, Peak: 2 * mb << 20}
	}
	res := load.Result{Calls: 2000, Elapsed: 2 * time.Second, P50: 100 * time.Microsecond, P99: time.Millisecond}
	before := glance{middle: usage(100, 10), echo: usage(50, 1), all: usage(200, 20), gc: proc.Collections{Count: 3, Allocated: 1 << 20, Live: 1 << 20}}
	after := glance{middle: usage(300, 12), echo: usage(100, 1), all: usage(600, 20), gc: proc.Collections{Count: 13, Allocated: 21 << 20, Live: 2 << 20}}
	half := time.Duration(runtime.NumCPU()) * res.Elapsed / 2
	before.busy, after.busy = time.Hour, time.Hour+after.all.CPU-before.all.CPU+half
	text := func(s sample) string {
		var out []string
		for _, f := range s.figures() {
			out = append(out, show(*f))
		}
		return strings.Join(out, " ")
	}
	// Rate, P50, P99, CPU of middle, echo and all, allocated, live, resident, peak, others.
	for name, tc := range map[string]struct {
		res           load.Result
		before, after glance
		middle        bool
		want          string
	}{
		"all known":      {res, before, after, true, "1000 100 1000 100 25.0 200 10.2 2.00 12.0 24.0 0.50"},
		"no middle":      {res, before, glance{echo: after.echo, all: after.all, busy: after.busy}, false, "1000 100 1000 n/a 25.0 200 n/a n/a n/a n/a 0.50"},
		"no call":        {load.Result{Elapsed: time.Second, Errors: 5}, before, after, true, "0 n/a n/a n/a n/a n/a n/a n/a n/a n/a n/a"},
		"not to be seen": {res, glance{err: proc.ErrUnsupported}, glance{err: proc.ErrUnsupported}, true, "1000 100 1000 n/a n/a n/a n/a n/a n/a n/a n/a"},
		"few collections": {res, before, glance{middle: after.middle, echo: after.echo, all: after.all, gc: proc.Collections{Count: 4, Live: 2 << 20}}, true,
			"1000 100 1000 100 25.0 200 n/a 2.00 12.0 24.0 0"},
	} {
		if got := text(summarize(tc.res, tc.before, tc.after, tc.middle)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	var o output
	const gc = "gc 1 @0.011s 2%: 0+0+0 ms clock, 0+0/0/0+0 ms cpu, 3->4->1 MB, 4 MB goal, 2 P\n"
	text := "first\n" + gc + strings.Repeat("more\n", lastLines) + gc + "last\n"
	for i := 0; i < len(text); i += 7 {
		if n, err := o.Write([]byte(text[i:min(i+7, len(text))])); err != nil || n != min(7, len(text)-i) {
			t.Fatal(n, err)
		}
	}
	if got := o.collections(); got.Count != 2 || got.Allocated != 7<<20 {
		t.Errorf("%+v", got)
	}
	if tail := o.tail(); strings.Contains(tail, "first") || strings.Contains(tail, "gc ") || !strings.HasSuffix(tail, "more\n  last") {
		t.Errorf("tail is %q", tail)
	}
	var silent output
	if silent.tail() != "" {
		t.Error("one that said nothing has last words")
	}
	if _, err := silent.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil || len(silent.partial) > 64<<10 {
		t.Error("a line without end is kept whole")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	tab := table{left: 1, head: []string{"name", "µs", "×"}}
	tab.add("a", "1", "0.90×")
	tab.gap()
	tab.add("longer", "12345", "1×")
	var out strings.Builder
	if err := tab.print(&out); err != nil {
		t.Fatal(err)
	}
	want := "name       µs      ×\na           1  0.90×\n\nlonger  12345     1×\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	for quick, want := range map[bool]int{false: 20, true: 16} {
		all := cells(quick)
		names := map[string]bool{}
		for _, c := range all {
			names[c.String()] = true
		}
		if len(all) != want || len(names) != want {
			t.Errorf("quick %v: %d cells with %d names, want %d", quick, len(all), len(names), want)
		}
		for _, c := range []string{"http/modern/1KB/1", "http/legacy/64KB/128", "http/modern/64KB/16", "stdio/legacy/1KB/1"} {
			if !names[c] {
				t.Errorf("quick %v: no cell %s", quick, c)
			}
		}
	}
}

// TestFinish holds that ratios are those of medians within one cell, and that
// the aims are judged by them.
func TestFinish(t *testing.T) {
	t.Parallel()
	row := func(through string, cpu figure, rates ...figure) result {
		r := result{Cell: "http/modern/1KB/16", Through: through}
		for _, rate := range rates {
			s := nothing()
			s.Rate, s.MiddleCPU, s.AllCPU = rate, cpu, cpu
			r.Samples = append(r.Samples, s)
		}
		return r
	}
	rows := []result{
		row(nameDirect, unavailable(), 100, 1000, 90),
		row(nameProxy, 50, 40, 50, 1), // the CPU of all is that of the middle here
		row(nameRelaxed, 75, 30, 36, 99),
		row(nameStrict, 80),
	}
	finish(rows)
	var got []string
	for _, r := range rows {
		got = append(got, strings.Join([]string{r.Through, ratio(r.OfDirect), ratio(r.OfBare), ratio(r.CPUOfBare)}, " "))
	}
	want := []string{"direct 1.00× 2.50× n/a", "proxy 0.40× 1.00× 1.00×", "munjigi 0.36× 0.90× 1.50×", "munjigi-strict n/a n/a n/a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a := aims(rows); !strings.Contains(a, "http/modern/1KB/16") || !strings.HasSuffix(a, "measured 0.90×, met (by the CPU of all processes: 0.67×)\n") {
		t.Errorf("aims: %q", a)
	}
	tokens := func(rate figure) []result {
		rows := []result{row(namePolicy, 100, 100), row(nameJWT, 104, rate)}
		finish(rows)
		return rows
	}
	if a := aims(tokens(96)); !strings.Contains(a, "measured 0.96×, met (by the CPU of all processes: 0.96×)") {
		t.Errorf("aims: %q", a)
	}
	if a := aims(tokens(94)); !strings.Contains(a, "measured 0.94×, not met") {
		t.Errorf("aims: %q", a)
	}
	beside := func(name string, rate figure) []result {
		rows := []result{row(nameRelaxed, 100, 100), row(name, 100, rate)}
		finish(rows)
		return rows
	}
	for name, aim := range map[string]figure{nameGuards: aimGuardsSmall, nameStrict: aimStrict, namePolicy: aimPolicy} {
		if a := aims(beside(name, 100*aim+1)); !strings.Contains(a, ", met") {
			t.Errorf("aims: %q", a)
		}
		if a := aims(beside(name, 100*aim-1)); !strings.Contains(a, ", not met") {
			t.Errorf("aims: %q", a)
		}
	}
	rows[2].OfBare = 0.899
	if a := aims(rows); !strings.Contains(a, "0.90×, not met") {
		t.Errorf("aims: %q", a)
	}
}

func TestDisturbed(t *testing.T) {
	t.Parallel()
	for want, shares := range map[string][]figure{
		"":         {0.01, 0.9, 0.02},
		"over 30%": {0.3, 0.1, 0.4, unavailable()},
	} {
		var samples []sample
		for _, share := range shares {
			s := nothing()
			s.Others = share
			samples = append(samples, s)
		}
		if got := disturbed(samples); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%v: %q, want %q", shares, got, want)
		}
	}
	if disturbed([]sample{nothing()}) != "" {
		t.Error("what cannot be seen is complained of")
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	var c counts
	if err := c.set("1, 10,100"); err != nil || !cmp.Equal(c, counts{1, 10, 100}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, bad := range []string{"", "0", "-1", "2,1", "1,1", "1,,2", "a"} {
		if err := c.set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
