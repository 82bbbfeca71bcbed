// Command conformance runs the official MCP conformance suite directly against
// servers and through Munjigi to the same servers, and compares.
//
// It compares the IDs of the checks that passed, with their multiplicity: a
// scenario can pass empty, so a check that is lost on the way is a loss even
// where the scenario still passes. What is known to be lost stands in
// expected.yaml with its reason; what is lost beyond that fails the run, and
// so does an expected loss that did not happen.
//
// It installs what it needs below .tools, listens on loopback only, and ends
// what it started.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	os.Exit(code)
}

func run() (int, error) {
	var (
		only    = flag.String("row", "", "run the rows whose name matches this `regexp`")
		asJSON  = flag.Bool("json", false, "print JSON")
		list    = flag.Bool("list", false, "list the rows and end")
		direct  = flag.Bool("direct", false, "run the direct rows only; needs no munjigi")
		install = flag.Bool("install", false, "install the real parts and end")
		binary  = flag.String("munjigi", "", "use this `binary` instead of building one")
		keep    = flag.String("keep", "", "keep the suite's results in this `folder`")
		counts  = flag.String("counts", "", "append how many rows passed and failed to this `file`")
		width   = flag.Int("p", 2, "rows that run at the same time")
	)
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		return 2, err
	}
	rows := selectRows(match, *direct)
	if *list {
		for _, r := range rows {
			fmt.Printf("%-26s %s\n", r.Name, r.About)
		}
		return 0, nil
	}
	if len(rows) == 0 {
		return 2, errors.New("no row has such a name; -list shows them")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tools, err := kit.Install(ctx, kit.Want{NPM: true, Munjigi: !*install && needGateway(rows), Binary: *binary, Log: os.Stderr})
	if err != nil {
		return 3, err
	}
	if *install {
		return 0, nil
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "conformance-"); err != nil {
			return 3, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return 3, err
	}
	expected, err := readExpected(filepath.Join(tools.Root, "test", "conformance", "expected.yaml"))
	if err != nil {
		return 3, err
	}
	began := time.Now()
	b := newBench(tools, dir, os.Stderr, expected)
	report := b.runAll(ctx, rows, max(1, *width))
	report.Took = time.Since(began).Round(time.Second).String()
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return 3, err
		}
	} else {
		report.print(os.Stdout)
	}
	if err := report.count(*counts); err != nil {
		return 3, err
	}
	if report.Failed > 0 {
		return 1, nil
	}
	return 0, nil
}
