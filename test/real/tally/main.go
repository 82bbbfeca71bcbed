// Command tally reads the output of go test -json, shows it short, and counts.
//
// It prints one line for each package, everything that a failed test wrote,
// and the reason of every skip. It fails when a test or a build failed, when a
// package began and did not end, and when it saw no test at all: a run that was
// cut off must not look like one that passed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	name := flag.String("name", "tests", "the step's `name` in the counts")
	file := flag.String("counts", "", "append NAME PASSED FAILED to this `file`")
	flag.Parse()
	c, err := count(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(3)
	}
	if *file != "" {
		if err := c.write(*file, *name); err != nil {
			fmt.Fprintln(os.Stderr, "tally:", err)
			os.Exit(3)
		}
	}
	if c.failed > 0 {
		os.Exit(1)
	}
}

// event is one line of go test -json (cmd/test2json) or of a build.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// counts are tests, where a subtest is a test of its own.
type counts struct {
	passed, failed, skipped int
}

func count(r io.Reader, w io.Writer) (counts, error) {
	var c counts
	output := map[string][]string{} // by package and test
	open := map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			_, _ = fmt.Fprintln(w, lines.Text()) // go test itself speaks
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "start":
			open[e.Package] = true
		case "output":
			output[key] = append(output[key], e.Output)
		case "build-output":
			_, _ = fmt.Fprint(w, e.Output)
		case "build-fail":
			_, _ = fmt.Fprintf(w, "FAIL %s does not build\n", e.ImportPath)
		case "pass", "fail", "skip":
			if e.Test == "" {
				delete(open, e.Package)
				c.pack(w, e, output[key])
			} else {
				c.test(w, e, output[key])
			}
			delete(output, key)
		}
	}
	if err := lines.Err(); err != nil {
		return c, err
	}
	for _, p := range slices.Sorted(maps.Keys(open)) {
		c.failed++
		_, _ = fmt.Fprintf(w, "FAIL %s began and did not end\n", p)
	}
	if c.passed+c.failed == 0 {
		return c, errors.New("no test was seen")
	}
	_, _ = fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
	return c, nil
}

func (c *counts) test(w io.Writer, e event, output []string) {
	switch e.Action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
		_, _ = fmt.Fprintf(w, "FAIL %s %s\n%s", e.Package, e.Test, strings.Join(output, ""))
	case "skip":
		c.skipped++
		_, _ = fmt.Fprintf(w, "skip %s %s\n%s", e.Package, e.Test, strings.Join(output, ""))
	}
}

// pack ends a package. Its failure counts when none of its tests told of one:
// a build that failed, a panic, a race.
func (c *counts) pack(w io.Writer, e event, output []string) {
	switch e.Action {
	case "pass":
		_, _ = fmt.Fprintf(w, "ok   %s %.1fs\n", e.Package, e.Elapsed)
	case "fail":
		c.failed++
		_, _ = fmt.Fprintf(w, "FAIL %s %.1fs\n%s", e.Package, e.Elapsed, strings.Join(output, ""))
	}
}

func (c counts) write(file, name string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, name, c.passed, c.failed)
	return errors.Join(err, f.Close())
}
