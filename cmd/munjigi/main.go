// Command munjigi is a gatekeeper between MCP clients and MCP servers: it
// serves or wraps them, and shows what it let through, what it refused, and
// why.
//
// Threat: text that servers, clients and files wrote reaches the operator's
// terminal here, and the operator's decisions leave from here. What is printed
// passes config.Visible; what weakens the gateway is a flag or a key that
// says so, never a variable of the environment.
//
// Exit status: 0 done, 1 refused or found something, 2 wrong use, 3 could not.
// Each command is one file; the table below is all of them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
)

// version is what the program calls itself.
const version = "0.1.0-dev"

// The exit statuses.
const (
	exitDone     = 0
	exitRefused  = 1
	exitWrongUse = 2
	exitFailed   = 3
)

// env is the world that a command sees, so that tests can give it another.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	lookupEnv      func(string) (string, bool)
	// isTerminal reports whether a person is at the other end of a stream.
	isTerminal func(stream any) bool
}

// command is one row of the table.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, e *env, args []string) int
	// passesOn is true where arguments belong to another program: flags end
	// at the first argument that is none.
	passesOn bool
}

// commands are all commands, in the order in which they are shown.
func commands() []command {
	return []command{
		{name: "serve", summary: "run the gateway", run: cmdServe},
		{name: "wrap", summary: "guard one stdio server and speak stdio", run: cmdWrap, passesOn: true},
		{name: "connect", summary: "reach the running gateway over stdio, without a token", run: cmdConnect},
		{name: "check", summary: "show every error of a config at once", run: cmdCheck},
		{name: "import", summary: "turn an MCP client's config into munjigi.yaml", run: cmdImport},
		{name: "why", summary: "show the trail of one call, from the ID in a refusal", run: cmdWhy},
		{name: "audit", summary: "show the record", run: cmdAudit},
		{name: "tools", summary: "show which definitions are served and which are held, and approve them", run: cmdTools},
		{name: "policy", summary: "check and test policies, and explain what they decide", run: cmdPolicy},
		{name: "approvals", summary: "list the calls that wait for a person", run: cmdApprovals},
		{name: "approve", summary: "let a call that waits pass once", run: cmdApprove},
		{name: "deny", summary: "refuse a call that waits", run: cmdDeny},
		{name: "servers", summary: "show the servers and how each is reached", run: cmdServers},
		{name: "guards", summary: "show what is on, and what is weaker than the safe defaults", run: cmdGuards},
		{name: "inspect", summary: "judge texts by the guards: JSON lines in, verdicts out", run: cmdInspect},
		{name: "sessions", summary: "list and end legacy sessions", run: cmdSessions},
		{name: "tokens", summary: "list, make and revoke the tokens of clients", run: cmdTokens},
		{name: "secrets", summary: "keep the values that a config names as sealed:NAME", run: cmdSecrets},
		{name: "version", summary: "show the version", run: cmdVersion},
	}
}

func main() {
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, lookupEnv: os.LookupEnv, isTerminal: terminal}
	os.Exit(run(context.Background(), e, os.Args[1:]))
}

// terminal reports whether a stream is a file that is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// run finds the command and runs it.
func run(ctx context.Context, e *env, args []string) int {
	if len(args) == 0 {
		overview(e.stderr)
		return exitWrongUse
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) > 1 {
			return run(ctx, e, []string{args[1], "-h"})
		}
		overview(e.stdout)
		return exitDone
	case "-version", "--version":
		return cmdVersion(ctx, e, nil)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, e, args[1:])
		}
	}
	return wrongUse(e, fmt.Errorf("there is no command %s: munjigi help lists them", shown(args[0])))
}

func overview(w io.Writer) {
	var b strings.Builder
	b.WriteString("munjigi stands between MCP clients and MCP servers.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  munjigi %-9s %s\n", c.name, c.summary)
	}
	b.WriteString("\nmunjigi COMMAND -h says more. Exit status: 0 done, 1 refused or found something, 2 wrong use, 3 could not.\n")
	_, _ = io.WriteString(w, b.String())
}

func cmdVersion(_ context.Context, e *env, args []string) int {
	if len(args) > 0 {
		return wrongUse(e, fmt.Errorf("munjigi version takes no arguments"))
	}
	fmt.Fprintf(e.stdout, "munjigi %s\n", version)
	return exitDone
}
