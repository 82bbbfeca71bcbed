package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// settings reads the config that -c names, or the one in the working folder,
// or the embedded defaults.
func settings(e *env, path string) (*config.Config, func() (*config.Config, error), error) {
	if path == "" {
		c, err := config.Default(e.getenv)
		return c, nil, err
	}
	load := func() (*config.Config, error) { return app.Build(e.getenv).Load(path) }
	c, err := load()
	return c, load, err
}

// cmdServe runs the gateway until it is told to stop.
func cmdServe(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "serve", "munjigi serve [-c munjigi.yaml]", "Run the gateway. Without a config: loopback, embedded defaults and a built-in demo server.")
	path := fs.String("c", "", "config file")
	level := fs.String("log", "warn", "what to log: debug, info, warn or error")
	quiet := fs.Bool("quiet", false, "print no banner")
	if code, done := parse(e, fs, args); done {
		return code
	}
	logger, err := logging(e, *level)
	if err != nil {
		return wrongUse(e, err)
	}
	cfg, load, err := settings(e, *path)
	if err != nil {
		return failed(e, err)
	}
	a, err := app.Open(ctx, cfg, app.Options{Version: version, Logger: logger, Getenv: e.getenv, LookupEnv: e.lookupEnv, Load: load, Terminal: e.stderr})
	if err != nil {
		return failed(e, err)
	}
	defer func() { _ = a.Close(context.WithoutCancel(ctx)) }()
	relaxCollector(e)
	l, err := a.Listen(ctx)
	if err != nil {
		return failed(e, err)
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	told := make(chan os.Signal, 1)
	notifyReload(told)
	go a.Watch(ctx, told)
	go func() {
		if err := a.ServeControl(ctx); err != nil && ctx.Err() == nil {
			logger.Warn("the control socket is not there; commands cannot reach this gateway", "err", err)
		}
	}()
	go func() {
		if err := a.ServeConnect(ctx); err != nil && ctx.Err() == nil {
			logger.Warn("munjigi connect cannot reach this gateway", "err", err)
		}
	}()
	if !*quiet {
		banner(ctx, e, a, l.Addr().String())
	}
	if err := a.Serve(ctx, l); err != nil && !errors.Is(err, context.Canceled) {
		return failed(e, err)
	}
	return exitDone
}

// relaxCollector lets the heap grow to four times what is live before it is
// collected, unless GOGC says otherwise: a gateway holds little and passes
// much, so that the default would collect every few milliseconds.
func relaxCollector(e *env) {
	if e.getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

func logging(e *env, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("-log %s: use debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: l})), nil
}

// cmdWrap guards one stdio server and speaks stdio itself.
func cmdWrap(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "wrap", "munjigi wrap [flags] -- CMD ARGS", "Guard one stdio server and speak stdio: drop it into a client's config.")
	name := fs.String("name", "wrapped", "name of the server on the record")
	era := fs.String("era", "auto", "protocol era of the server: auto, modern or legacy")
	unsandboxed := fs.Bool("insecure-unsandboxed", false, "run the command with your own rights (there is no sandbox in this version)")
	asks := fs.String("may-ask", "", "what the server may ask of the client: some of sampling,elicitation,roots")
	level := fs.String("log", "warn", "what to log: debug, info, warn or error")
	relaxed := fs.Bool("relaxed-record", false, "do not wait for the disk before each call")
	data := fs.String("data", "", "data folder (default: the gateway's own)")
	held := fs.Bool("approve-held", false, "show what is held of this command's definitions, ask on the terminal, and start nothing")
	var pass listFlag
	fs.Var(&pass, "env", "NAME or NAME=VALUE for the server's environment; may be repeated, nothing else is inherited")
	if code, done := parse(e, fs, args); done {
		return code
	}
	argv := fs.Args()
	if len(argv) == 0 {
		return wrongUse(e, errors.New("name the command after --, for example: munjigi wrap --insecure-unsandboxed -- npx -y @modelcontextprotocol/server-memory"))
	}
	if !*unsandboxed {
		return refused(e, errors.New("this version has no sandbox yet, so the command would run with your own rights: add --insecure-unsandboxed if you accept that"))
	}
	if !config.ServerName(*name) {
		return wrongUse(e, fmt.Errorf("-name %s: use a lower-case letter, then letters, digits and hyphens, 32 at most", *name))
	}
	logger, err := logging(e, *level)
	if err != nil {
		return wrongUse(e, err)
	}
	cfg, err := config.Default(e.getenv)
	if err != nil {
		return failed(e, err)
	}
	cfg.Demo = false
	if *data != "" {
		cfg.Data = *data
	}
	s := config.NewServer(*name)
	s.Enabled, s.InsecureUnsandboxed, s.Era = true, true, config.Era(*era)
	if s.Era != config.EraAuto && s.Era != config.EraModern && s.Era != config.EraLegacy {
		return wrongUse(e, fmt.Errorf("-era %s: use auto, modern or legacy", *era))
	}
	for _, ask := range strings.FieldsFunc(*asks, func(r rune) bool { return r == ',' }) {
		if ask != config.AskSampling && ask != config.AskElicitation && ask != config.AskRoots {
			return wrongUse(e, fmt.Errorf("-may-ask %s: use some of sampling,elicitation,roots", *asks))
		}
		s.MayAsk = append(s.MayAsk, ask)
	}
	if *relaxed {
		s.Durability, cfg.Audit.Durability = config.DurabilityRelaxed, config.DurabilityRelaxed
	}
	for _, a := range argv {
		s.Command = append(s.Command, config.Value{Text: a})
	}
	for _, v := range pass {
		name, value, given := strings.Cut(v, "=")
		if !given {
			value = e.getenv(name)
		}
		s.Env = append(s.Env, config.EnvVar{Name: name, Value: config.Value{Text: value}})
	}
	cfg.Servers = []config.Server{s}
	a, err := app.Open(ctx, cfg, app.Options{Version: version, Logger: logger, Getenv: e.getenv, LookupEnv: e.lookupEnv, Stdio: true})
	if err != nil {
		return failed(e, err)
	}
	defer func() { _ = a.Close(context.WithoutCancel(ctx)) }()
	if *held {
		return approveHeld(ctx, e, a)
	}
	logger.Warn("the wrapped server runs without a sandbox, with your own rights", "server", *name)
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	if err := a.ServeStdio(ctx, *name, e.stdin, e.stdout); err != nil && !errors.Is(err, context.Canceled) {
		return failed(e, err)
	}
	return exitDone
}

// listFlag collects a flag that may be repeated.
type listFlag []string

func (l *listFlag) String() string     { return strings.Join(*l, ",") }
func (l *listFlag) Set(v string) error { *l = append(*l, v); return nil }

var _ flag.Value = (*listFlag)(nil)
