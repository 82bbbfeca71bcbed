package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// cmdAudit works on the record.
func cmdAudit(ctx context.Context, e *env, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "tail":
			return auditTail(ctx, e, args[1:])
		case "search":
			return auditSearch(ctx, e, args[1:])
		case "export":
			return auditExport(ctx, e, args[1:])
		case "verify":
			return auditVerify(ctx, e, args[1:])
		case "checkpoint":
			return auditCheckpoint(e, args[1:])
		case "key":
			return auditKey(e, args[1:])
		}
	}
	fs := flags(e, "audit", "munjigi audit tail|search|export|verify|checkpoint|key", "The record: its newest entries, those that a query finds, and the proof that it is whole. Each of them has --help.")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() == 0 {
		return wrongUse(e, errors.New("say what: tail, search, export, verify, checkpoint or key"))
	}
	return wrongUse(e, fmt.Errorf("%s is none of tail, search, export, verify, checkpoint, key", shown(fs.Arg(0))))
}

// recordOf names the data folder on the command line and returns the folder of the record.
func recordOf(e *env, path, data string) (string, error) {
	dir, err := dataOf(e, path, data)
	return filepath.Join(dir, "audit"), err
}

// auditTail shows the record as it grows.
func auditTail(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "audit tail", "munjigi audit tail [-f]", "The record: the last entries, and with -f those to come.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	asJSON := fs.Bool("json", false, "print JSON lines")
	follow := fs.Bool("f", false, "go on with new entries")
	most := fs.Int("n", 20, "how many entries")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 0 {
		return wrongUse(e, errors.New("say: munjigi audit tail"))
	}
	dir, err := recordOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	var last []audit.Event
	err = log.Read(dir, log.NewestFirst, func(ev audit.Event) bool {
		last = append(last, ev)
		return len(last) < *most
	})
	if err != nil {
		return failed(e, err)
	}
	from := time.Now()
	for i := len(last) - 1; i >= 0; i-- {
		printEvent(e, last[i], *asJSON)
	}
	if !*follow {
		return exitDone
	}
	if err := log.Tail(ctx, dir, from, func(ev audit.Event) bool { printEvent(e, ev, *asJSON); return true }); err != nil && ctx.Err() == nil {
		return failed(e, err)
	}
	return exitDone
}

func printEvent(e *env, ev audit.Event, asJSON bool) {
	if asJSON {
		b, err := json.Marshal(ev)
		if err == nil {
			fmt.Fprintf(e.stdout, "%s\n", b)
		}
		return
	}
	fmt.Fprintf(e.stdout, "%s  %-7s %-9s %-22s %s %s %s  %s\n", ev.Time.Local().Format("15:04:05.000"), ev.Kind, ev.Effect,
		config.Visible(ev.Reason), config.Visible(ev.Server), config.Visible(ev.Method), config.Visible(ev.Target), ev.ID)
}
