package app

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
	"github.com/munjigi/munjigi/internal/upstream/bridge"
	"github.com/munjigi/munjigi/internal/upstream/stdio"
	"github.com/munjigi/munjigi/internal/upstream/streamable"
)

// running is one server and the config it was made of.
type running struct {
	cfg    config.Server
	floor  string
	limits config.Limits
	server upstream.Server
	stop   func(context.Context) error
}

func (r *running) close(ctx context.Context) error {
	if r.stop == nil {
		return nil
	}
	return r.stop(ctx)
}

// server returns the server of a config: the one that runs already when
// nothing about it changed.
func (a *App) server(ctx context.Context, cfg *config.Config, s config.Server) (r *running, isNew bool, err error) {
	if old := a.servers[s.Name]; old != nil && reflect.DeepEqual(old.cfg, s) && old.floor == cfg.ProtocolFloor && old.limits == cfg.Limits {
		return old, false, nil
	}
	dialer, kind, err := a.dialer(ctx, cfg, s)
	if err != nil {
		return nil, false, err
	}
	conns := s.MaxProcesses
	if !s.Stdio() {
		conns = cfg.Limits.Sessions // a session upstream costs no process here
	}
	b, err := bridge.New(bridge.Config{
		Name: s.Name, Era: eraOf(s.Era), Kind: kind, Floor: mcp.Version(cfg.ProtocolFloor), Shared: s.Shared,
		IdleTimeout: s.IdleTimeout, MaxConns: conns, MaxSuspended: cfg.Limits.PerPrincipalSuspended,
		SuspendFor: cfg.Limits.SuspendTimeout, Logger: a.o.Logger.With("server", s.Name),
		Violation: func(kind, detail string) {
			a.o.Logger.Warn("the server broke the protocol", "server", s.Name, "kind", kind, "detail", detail)
		},
	}, dialer)
	if err != nil {
		return nil, false, err
	}
	return &running{cfg: s, floor: cfg.ProtocolFloor, limits: cfg.Limits, server: b, stop: b.Close}, true, nil
}

func eraOf(e config.Era) bridge.EraSetting {
	switch e {
	case config.EraModern:
		return bridge.EraModern
	case config.EraLegacy:
		return bridge.EraLegacy
	}
	return bridge.EraAuto
}

// dialer resolves the secrets of a server and makes its way of being reached.
func (a *App) dialer(ctx context.Context, cfg *config.Config, s config.Server) (upstream.Dialer, bridge.Kind, error) {
	json := strictjson.Limits{Bytes: int(cfg.Limits.Result), Depth: cfg.Limits.Depth, Members: strictjson.Default().Members}
	if !s.Stdio() {
		url, err := a.reveal(ctx, s.URL)
		if err != nil {
			return nil, bridge.HTTP, err
		}
		limits := streamable.DefaultLimits()
		limits.JSON, limits.Idle = json, s.Deadline
		header := http.Header{}
		for _, h := range s.Credential.Headers {
			v, err := a.reveal(ctx, h.Value)
			if err != nil {
				return nil, bridge.HTTP, fmt.Errorf("credential: %w", err)
			}
			header.Set(h.Name, v)
		}
		c := streamable.Config{URL: url, Limits: limits, Log: a.o.Logger.With("server", s.Name)}
		if len(header) > 0 {
			c.Authorize = func(_ context.Context, h http.Header) error {
				for name, v := range header {
					h[name] = v
				}
				return nil
			}
		}
		d, err := streamable.New(c)
		return d, bridge.HTTP, err
	}
	var argv []string
	for _, v := range s.Command {
		t, err := a.reveal(ctx, v)
		if err != nil {
			return nil, bridge.Stdio, fmt.Errorf("command: %w", err)
		}
		argv = append(argv, t)
	}
	var env []string
	for _, e := range s.Env {
		t, err := a.reveal(ctx, e.Value)
		if err != nil {
			return nil, bridge.Stdio, fmt.Errorf("env.%s: %w", e.Name, err)
		}
		env = append(env, e.Name+"="+t)
	}
	d, err := stdio.New(stdio.Config{Command: argv, Env: env, Dir: s.Cwd, JSON: json, Logger: a.o.Logger.With("server", s.Name)})
	return d, bridge.Stdio, err
}

func (a *App) reveal(ctx context.Context, v config.Value) (string, error) {
	if !v.IsSecret() {
		return v.Text, nil
	}
	s, err := a.secrets.Resolve(ctx, v.Secret)
	if err != nil {
		return "", err
	}
	return v.Text + s.Reveal(), nil
}
