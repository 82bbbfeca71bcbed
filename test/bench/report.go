package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/munjigi/munjigi/test/bench/internal/proc"
)

// report is what -json writes. Figures that are not available are null.
type report struct {
	Machine  string
	Cores    int
	Go       string
	Revision string
	Started  time.Time
	Command  []string
	// Results are those of the speed table, Growth those of the growth tables.
	Results []result       `json:",omitempty"`
	Growth  []growthResult `json:",omitempty"`
}

// result is one row of the speed table.
type result struct {
	Cell    string // transport/era/size/connections
	Through string
	Samples []sample
	Median  sample
	Spread  figure
	// OfDirect and OfBare are the median rate as a share of that without a
	// middle and of that through the bare one; CPUOfBare is the middle's CPU
	// as a multiple of the bare one's.
	OfDirect, OfBare, CPUOfBare figure
	Failure                     string `json:",omitempty"`
}

func newReport(args []string) *report {
	return &report{
		Machine: proc.Machine(), Cores: runtime.NumCPU(), Go: runtime.Version(), Revision: revision(),
		Started: time.Now().UTC().Truncate(time.Second), Command: args,
	}
}

// revision is the commit of the source in the working folder, with a mark
// where files differ from it; empty where git cannot tell.
func revision() string {
	rev, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	changed := ""
	if exec.Command("git", "diff", "--quiet", "HEAD").Run() != nil {
		changed = "+changes"
	}
	return strings.TrimSpace(string(rev)) + changed
}

func (r *report) printHead(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, %d cores, %s, %s, revision %s\nbench %s\n\n",
		r.Machine, r.Cores, r.Go, r.Started.Format(time.RFC3339), orUnknown(r.Revision), strings.Join(r.Command, " "))
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// tooBusy is the share of the machine's CPU in other hands above which figures
// are doubtful.
const tooBusy = 0.05

// disturbed warns where much of the machine's CPU went to others; on a quiet
// machine, or where it cannot be seen, it says nothing.
func disturbed(samples []sample) string {
	var shares []float64
	for _, s := range samples {
		if s.Others.known() {
			shares = append(shares, float64(s.Others))
		}
	}
	if m := middle(shares); m > tooBusy {
		return fmt.Sprintf("the machine was busy: in half of the runs other programs had over %.0f%% of its CPU; rates and times are doubtful, CPU per call less so\n", float64(m)*100)
	}
	return ""
}

// save writes the report to file; an empty name is none.
func (r *report) save(file string) error {
	if file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}
