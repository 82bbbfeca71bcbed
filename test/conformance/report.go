package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// print writes the table, what each row lost, and what is wrong.
func (r report) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...any) {
		_, _ = fmt.Fprintln(tw, strings.TrimRight(fmt.Sprintln(cells...), "\n"))
	}
	line("row\tscenarios\tmust\tchecks\treference\tlost\ttook\t")
	for _, v := range r.Rows {
		ref := "-"
		if v.RefChecks > 0 {
			ref = fmt.Sprint(v.RefChecks)
		}
		mark := ""
		if v.failed() {
			mark = "FAIL"
		}
		line(fmt.Sprintf("%s\t%d of %d\t%d\t%d\t%s\t%d\t%s\t%s", v.Row, v.Passed, v.Scenarios, v.Want, v.Checks, ref, len(v.Lost), v.Took, mark))
	}
	_ = tw.Flush()
	for _, v := range r.Rows {
		v.printKnown(w)
	}
	for _, v := range r.Rows {
		for _, p := range v.Problems {
			_, _ = fmt.Fprintf(w, "%s: %s\n", v.Row, p)
		}
	}
	_, _ = fmt.Fprintf(w, "conformance: %d rows passed, %d failed, %s\n", r.Passed, r.Failed, r.Took)
}

// count appends the sums to a file, if one is named.
func (r report) count(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, "conformance", r.Passed, r.Failed)
	return errors.Join(err, f.Close())
}

// printKnown writes the known losses, one line for each reason.
func (v verdict) printKnown(w io.Writer) {
	var reasons []string
	by := map[string][]string{}
	for _, l := range v.Lost {
		name := l.Scenario
		if l.Expected == "" || slices.Contains(by[l.Expected], name) {
			continue
		}
		if by[l.Expected] == nil {
			reasons = append(reasons, l.Expected)
		}
		by[l.Expected] = append(by[l.Expected], name)
	}
	for _, why := range reasons {
		_, _ = fmt.Fprintf(w, "%s: known loss: %s: %s\n", v.Row, why, strings.Join(by[why], ", "))
	}
}

// folder is a temporary folder.
type folder struct{ path string }

func tempDir() (folder, error) {
	p, err := os.MkdirTemp("", "munjigi-conformance-")
	return folder{p}, err
}

func (f folder) remove() error { return os.RemoveAll(f.path) }
