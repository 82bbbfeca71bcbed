package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/ocsf"
)

const queryHelp = "Terms: tool: user: server: method: client: reason: decision: stage: kind: id:, each with * for any characters; since: and\n" +
	"until: with 2d, 6h, a day or a moment; words and \"phrases\". A term that is repeated asks for either, - before one for none.\n" +
	"Intents are left out unless kind:intent or id: asks for them. The search itself goes on the record."

// reading are the flags of what reads the record.
type reading struct {
	path, data *string
	copied     *bool
}

func readingFlags(fs *flag.FlagSet) reading {
	return reading{fs.String("c", "", "config file"), fs.String("data", "", "data folder"),
		fs.Bool("copy", false, "the folder is a copy: write nothing into it, neither the index nor that it was read")}
}

// search runs a query and gives the lines to f.
func (r reading) search(ctx context.Context, e *env, what, query string, most int, f func(line []byte) bool) error {
	dir, err := recordOf(e, *r.path, *r.data)
	if err != nil {
		return err
	}
	s := app.Searching{Dir: dir, Query: query, Most: most, Now: time.Now()}
	if *r.copied {
		temp, err := os.MkdirTemp("", "munjigi-index-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(temp) }()
		s.Index = filepath.Join(temp, app.IndexFile)
	} else if err := app.NoteReading(ctx, dir, what, query); err != nil {
		return fmt.Errorf("%w; pass --copy if the folder is a copy", err)
	}
	if e.isTerminal(e.stderr) {
		s.Progress = func(n int64) { fmt.Fprintf(e.stderr, "\r%d entries read ", n) }
	}
	err = app.Search(ctx, s, f)
	if s.Progress != nil {
		fmt.Fprint(e.stderr, "\r\x1b[K")
	}
	return err
}

// auditSearch finds entries.
func auditSearch(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "audit search", "munjigi audit search 'tool:delete_* user:kim@example.com since:2d decision:deny'", "Find entries of the record, the newest last.\n"+queryHelp)
	from := readingFlags(fs)
	asJSON := fs.Bool("json", false, "print JSON lines")
	most := fs.Int("n", 100, "at most so `many`, the newest")
	if code, done := parse(e, fs, args); done {
		return code
	}
	query := strings.Join(fs.Args(), " ")
	if strings.TrimSpace(query) == "" || *most <= 0 {
		return wrongUse(e, errors.New("say what to look for, as in munjigi audit search 'tool:delete_* since:2d'"))
	}
	var found [][]byte
	if err := from.search(ctx, e, "search", query, *most, func(line []byte) bool { found = append(found, line); return true }); err != nil {
		return failed(e, err)
	}
	for i := len(found) - 1; i >= 0; i-- {
		ev, err := audit.Parse(found[i])
		if err != nil {
			return failed(e, err)
		}
		printEvent(e, ev, *asJSON)
	}
	if len(found) == 0 {
		return refused(e, errors.New("nothing is found"))
	}
	if len(found) == *most && !*asJSON {
		fmt.Fprintf(e.stderr, "munjigi: there may be more: say -n %d, or more of what you look for\n", *most*10)
	}
	return exitDone
}

// auditExport writes entries as they are on the record.
func auditExport(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "audit export", "munjigi audit export [QUERY] > FILE", "Write entries as JSON lines, the newest first.\n"+queryHelp)
	from := readingFlags(fs)
	format := fs.String("format", "munjigi", "munjigi: as they are on the record, for other tools to verify; ocsf: as events of OCSF "+ocsf.Version)
	if code, done := parse(e, fs, args); done {
		return code
	}
	if *format != "munjigi" && *format != "ocsf" {
		return wrongUse(e, fmt.Errorf("--format %s: use munjigi or ocsf", shown(*format)))
	}
	out := bufio.NewWriterSize(e.stdout, 1<<16)
	var broken error
	err := from.search(ctx, e, "export", strings.Join(fs.Args(), " "), math.MaxInt32, func(line []byte) bool {
		if *format == "ocsf" {
			if line, broken = asOCSF(line); broken != nil {
				return false
			}
		}
		_, broken = out.Write(append(line, '\n'))
		return broken == nil
	})
	if err := errors.Join(err, broken, out.Flush()); err != nil {
		return failed(e, err)
	}
	return exitDone
}

func asOCSF(line []byte) ([]byte, error) {
	ev, err := audit.Parse(line)
	if err != nil {
		return nil, err
	}
	return ocsf.Append(nil, &ev, version)
}
