package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/control"
	"github.com/munjigi/munjigi/internal/gateway"
)

// asking is what the commands that talk to a running gateway share.
type asking struct {
	e      *env
	path   *string
	data   *string
	asJSON *bool
}

func (k asking) call(ctx context.Context, op string, args, out any) error {
	dir, err := dataOf(k.e, *k.path, *k.data)
	if err != nil {
		return err
	}
	if err := control.Call(ctx, app.ControlPath(dir), op, args, out); err != nil {
		return fmt.Errorf("%w (is `munjigi serve` running with the data folder %s?)", err, dir)
	}
	return nil
}

// cmdSessions lists and ends legacy sessions.
func cmdSessions(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "sessions", "munjigi sessions list | end ID", "Legacy sessions of the running gateway. IDs are shown as digests.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), fs.Bool("json", false, "print JSON")}
	if code, done := parse(e, fs, args); done {
		return code
	}
	switch {
	case fs.Arg(0) == "list" && fs.NArg() == 1:
		var rows []gateway.SessionInfo
		if err := k.call(ctx, app.OpSessionsList, nil, &rows); err != nil {
			return failed(e, err)
		}
		if *k.asJSON {
			return printJSON(e, rows)
		}
		t := newTable("session", "principal", "path", "version", "last used")
		for _, r := range rows {
			t.row(r.Digest, r.Principal, r.Path, r.Version, r.Used.Local().Format(time.RFC3339))
		}
		t.print(e.stdout)
	case fs.Arg(0) == "end" && fs.NArg() == 2:
		var a app.EndedAnswer
		if err := k.call(ctx, app.OpSessionsEnd, app.NameArg{Name: fs.Arg(1)}, &a); err != nil {
			return failed(e, err)
		}
		if a.Ended == 0 {
			return refused(e, errors.New("there is no such session: munjigi sessions list shows them"))
		}
		fmt.Fprintf(e.stdout, "%d ended\n", a.Ended)
	default:
		return wrongUse(e, errors.New("say: munjigi sessions list, or munjigi sessions end ID"))
	}
	return exitDone
}

// cmdServers lists the configured servers and approves one that was held.
func cmdServers(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "servers", "munjigi servers list | approve NAME", "The configured servers and how each is reached. A server that was modern and says that it is not any more is held until it is approved.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), fs.Bool("json", false, "print JSON")}
	path, asJSON := k.path, k.asJSON
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() == 2 && fs.Arg(0) == "approve" {
		if err := k.call(ctx, app.OpApprove, app.NameArg{Name: fs.Arg(1)}, nil); err != nil {
			return failed(e, err)
		}
		fmt.Fprintf(e.stdout, "%s is approved as it is now\n", fs.Arg(1))
		return exitDone
	}
	if fs.NArg() != 1 || fs.Arg(0) != "list" {
		return wrongUse(e, errors.New("say: munjigi servers list, or munjigi servers approve NAME"))
	}
	cfg, _, err := settings(e, *path)
	if err != nil {
		return failed(e, err)
	}
	rows := app.Servers(cfg)
	if *asJSON {
		return printJSON(e, rows)
	}
	t := newTable("server", "reached by", "era", "enabled", "on /mcp")
	for _, r := range rows {
		t.row(r.Name, r.Reached, r.Era, yes(r.Enabled), yes(r.Merged))
	}
	t.print(e.stdout)
	return exitDone
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// cmdGuards shows what is on and every departure from the safe defaults.
func cmdGuards(_ context.Context, e *env, args []string) int {
	fs := flags(e, "guards", "munjigi guards [-c FILE]", "What is on, and everything that is weaker than the safe defaults.")
	path := fs.String("c", "", "config file")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, done := parse(e, fs, args); done {
		return code
	}
	cfg, _, err := settings(e, *path)
	if err != nil {
		return failed(e, err)
	}
	rows, weak := app.GuardsOf(cfg), cfg.Departures()
	if *asJSON {
		return printJSON(e, map[string]any{"guards": rows, "departures": weak})
	}
	t := newTable("guard", "mode", "stops")
	for _, r := range rows {
		t.row(r.Name, r.Mode, r.Stops)
	}
	t.print(e.stdout)
	for _, d := range weak {
		fmt.Fprintf(e.stdout, "  ! %s: %s  %s\n", d.Key, d.Value, d.Means)
	}
	return exitDone
}
