package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// dataOf returns the data folder that a command works on.
func dataOf(e *env, path, data string) (string, error) {
	if data != "" {
		return data, nil
	}
	cfg, _, err := settings(e, path)
	if err != nil {
		return "", err
	}
	return cfg.Data, nil
}

// cmdWhy shows the trail of one call.
func cmdWhy(_ context.Context, e *env, args []string) int {
	fs := flags(e, "why", "munjigi why ID", "Show every stage, verdict and reason of one call, from the ID in any refusal.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return wrongUse(e, errors.New("name one ID, as it stands in the refusal"))
	}
	dir, err := dataOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	intent, outcome, err := log.Find(filepath.Join(dir, "audit"), fs.Arg(0))
	if err != nil {
		return failed(e, err)
	}
	if intent == nil && outcome == nil {
		return refused(e, fmt.Errorf("no record of %s in %s: is it another gateway's?", config.Visible(fs.Arg(0)), dir))
	}
	if *asJSON {
		return printJSON(e, map[string]any{"intent": intent, "outcome": outcome})
	}
	showCall(e, intent, outcome)
	return exitDone
}

func showCall(e *env, intent, outcome *audit.Event) {
	w := e.stdout
	top := outcome
	if top == nil {
		top = intent
	}
	row := func(name, v string) {
		if v != "" {
			fmt.Fprintf(w, "  %-10s %s\n", name, config.Visible(v))
		}
	}
	fmt.Fprintf(w, "%s\n", top.ID)
	row("time", top.Time.Local().Format(time.RFC3339))
	row("principal", top.Principal)
	row("client", top.Client)
	row("server", top.Server)
	row("method", top.Method)
	row("target", top.Target)
	row("era", top.Era)
	row("session", top.Session)
	if outcome == nil {
		fmt.Fprintln(w, "\n  The call was let through and its outcome is unknown: the gateway stopped before it was written.")
		return
	}
	if outcome.Kind == audit.KindEvent {
		fmt.Fprintf(w, "\n  %s at %s, reason %s\n", outcome.Effect, config.Visible(outcome.Stage), config.Visible(outcome.Reason))
		for _, name := range slices.Sorted(maps.Keys(outcome.Detail)) {
			row(name, outcome.Detail[name])
		}
		return
	}
	sent := "nothing was forwarded"
	if intent != nil {
		sent = "it was forwarded"
	}
	fmt.Fprintf(w, "\n  %s at %s, reason %s; %s; %s\n\n", outcome.Effect, outcome.Stage, config.Visible(outcome.Reason), sent, outcome.Duration)
	for _, s := range outcome.Trail {
		fmt.Fprintf(w, "  %-16s %-10s %-22s %s\n", s.Stage, s.Effect, config.Visible(s.Reason), config.Visible(s.Detail))
		for _, f := range s.Findings {
			fmt.Fprintf(w, "      %s: %s  %s\n", config.Visible(f.Guard), config.Visible(f.Reason), config.Visible(f.Path))
		}
	}
}
