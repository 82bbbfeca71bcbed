package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
)

// cmdInspect judges JSON lines from standard input.
func cmdInspect(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "inspect", "munjigi inspect --channel prompt|arguments|result|definition [-c FILE] < in.jsonl > out.jsonl",
		`Judge texts by the guards. A line in is {"id":"…","text":"…"}, for definitions {"id":"…","tool":{…},"previous":{…}}; a line out says score, effect and findings. Exit status 1 says that something was stronger than annotate, or could not be judged.`)
	path := fs.String("c", "", "config file; without it the embedded defaults")
	channel := fs.String("channel", "", "what the texts are: "+strings.Join(app.Channels(), ", "))
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() > 0 {
		return wrongUse(e, errors.New("inspect reads standard input and takes no arguments"))
	}
	cfg, _, err := settings(e, *path)
	if err != nil {
		return failed(e, err)
	}
	n, err := app.NewInspector(cfg, *channel)
	if err != nil {
		return wrongUse(e, err)
	}
	done, err := n.Lines(ctx, e.stdin, e.stdout)
	switch {
	case err != nil:
		return failed(e, err)
	case done.Bad > 0:
		return refused(e, fmt.Errorf("%d of %d lines could not be judged: each says why", done.Bad, done.Lines))
	case done.Found > 0:
		return exitRefused
	}
	return exitDone
}
