package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// cmdConnect speaks stdio to a client and the operator's socket to the
// gateway, so that the client's config holds no token.
func cmdConnect(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "connect", "munjigi connect [SERVER]", "Speak stdio for a client and reach the running gateway by a socket that only you can open; no token is needed.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() > 1 {
		return wrongUse(e, errors.New("name one server, or none for all of them"))
	}
	if s := fs.Arg(0); s != "" && !config.ServerName(s) {
		return wrongUse(e, fmt.Errorf("%s is no server's name", config.Visible(s)))
	}
	dir, err := dataOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	if err := app.Connect(ctx, dir, fs.Arg(0), e.stdin, e.stdout); err != nil {
		return failed(e, err)
	}
	return exitDone
}
