// Command bench measures what Munjigi costs: calls per second, latency, CPU,
// memory and allocations of an MCP call that goes directly to a server, through
// a bare reverse proxy, and through the gateway, in one run.
//
// It guards nothing and is no test: it prints figures and judges only whether
// answers were right. Every part is a process of its own (this program started
// again under another name), and the gateway is a black box, the built binary;
// so the figures are those of whole processes. All of it stays on loopback.
//
//	go run ./test/bench [flags]          the whole table
//	go run ./test/bench -quick           a smoke run of under a minute
//	go run ./test/bench growth [flags]   what more servers, tools and sessions cost
//
// docs/benchmarks.md says how to read the tables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses.
const (
	exitDone     = 0
	exitWrong    = 1 // some answers were wrong, or none came
	exitUsage    = 2
	exitCouldNot = 3 // a part could not be built or started
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// outcome is an error with the exit status that it leads to.
type outcome struct {
	status int
	err    error
}

func (o *outcome) Error() string { return o.err.Error() }
func (o *outcome) Unwrap() error { return o.err }

func run(ctx context.Context, args []string, in io.Reader, out, progress io.Writer) int {
	err := command(ctx, args, in, out, progress)
	var o *outcome
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &o):
		fmt.Fprintln(progress, "bench:", o.err)
		return o.status
	default:
		fmt.Fprintln(progress, "bench:", err)
		return exitCouldNot
	}
}

func command(ctx context.Context, args []string, in io.Reader, out, progress io.Writer) error {
	if len(args) > 0 {
		rest := args[1:]
		switch args[0] {
		case "growth":
			return growth(ctx, rest, out, progress)
		case roleEcho:
			return runEcho(rest, in, out)
		case roleProxy:
			return runProxy(rest, in, out)
		case rolePipe:
			return runPipe(rest, in, out)
		case roleLoad:
			return runLoad(ctx, in, out)
		}
	}
	return speed(ctx, args, out, progress)
}

// parse reads flags; a wrong one is a wrong use, and so is anything after
// them.
func parse(fs *flag.FlagSet, args []string, progress io.Writer) error {
	fs.SetOutput(progress)
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("%q is neither a flag nor a command (the commands are: growth)", fs.Arg(0))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return &outcome{exitUsage, err}
	}
	return err
}
