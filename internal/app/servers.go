package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/store"
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
	// egress and issuers are what its credential may reach and exchange.
	egress  config.Egress
	issuers []config.Issuer
	server  upstream.Server
	bridge  *bridge.Server // nil for the demo
	stop    func(context.Context) error
	files   *material // certificate, key and authorities for TLS; may be nil
	// refresh reads the secrets of its credential again; may be nil.
	refresh func(context.Context) error
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
	if old := a.servers[s.Name]; old != nil && reflect.DeepEqual(old.cfg, s) && old.floor == cfg.ProtocolFloor && old.limits == cfg.Limits && reflect.DeepEqual(old.egress, cfg.Egress) && reflect.DeepEqual(old.issuers, cfg.Identity.Issuers) {
		if old.refresh != nil {
			err = old.refresh(ctx)
		}
		return old, false, err
	}
	out, err := a.credential(ctx, cfg, s)
	if err != nil {
		return nil, false, fmt.Errorf("credential: %w", err)
	}
	var files *material
	if s.TLS != (config.ServerTLS{}) {
		if files, err = openMaterial(s.TLS.Cert, s.TLS.Key, s.TLS.CA); err != nil {
			return nil, false, fmt.Errorf("tls: %w", err)
		}
	}
	dialer, kind, err := a.dialer(ctx, cfg, s, out, files)
	if err != nil {
		return nil, false, err
	}
	conns := s.MaxProcesses
	if !s.Stdio() {
		conns = cfg.Limits.Sessions // a session upstream costs no process here
	}
	reached := reachedBy(s)
	was, err := a.modern.seen(ctx, reached)
	if err != nil {
		return nil, false, err
	}
	b, err := bridge.New(bridge.Config{
		Name: s.Name, Era: eraOf(s.Era), Kind: kind, Floor: mcp.Version(cfg.ProtocolFloor), Shared: s.Shared, PerPrincipal: out.perPrincipal,
		IdleTimeout: s.IdleTimeout, MaxConns: conns, MaxSuspended: cfg.Limits.PerPrincipalSuspended,
		SuspendFor: cfg.Limits.SuspendTimeout, Logger: a.o.Logger.With("server", s.Name),
		WasModern: was,
		Modern: func() {
			if err := a.modern.remember(reached); err != nil {
				a.o.Logger.Error("that the server is modern cannot be remembered", "server", s.Name, "err", err)
			}
		},
		Changed: func(method string) {
			switch method {
			case mcp.NotifyToolsChanged:
				a.catalog.Forget(s.Name, mcp.MethodToolsList)
			case mcp.NotifyPromptsChanged:
				a.catalog.Forget(s.Name, mcp.MethodPromptsList)
			}
		},
		Violation: (&violations{server: s.Name, record: a.record.With(log.Relaxed), log: a.o.Logger}).note,
	}, dialer)
	if err != nil {
		return nil, false, err
	}
	return &running{cfg: s, floor: cfg.ProtocolFloor, limits: cfg.Limits, egress: cfg.Egress, issuers: cfg.Identity.Issuers, server: b, bridge: b, stop: b.Close, files: files, refresh: out.refresh}, true, nil
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
func (a *App) dialer(ctx context.Context, cfg *config.Config, s config.Server, out outgoing, files *material) (upstream.Dialer, bridge.Kind, error) {
	json := strictjson.Limits{Bytes: int(cfg.Limits.Result), Depth: cfg.Limits.Depth, Members: strictjson.Default().Members}
	if !s.Stdio() {
		url, err := a.reveal(ctx, s.URL)
		if err != nil {
			return nil, bridge.HTTP, err
		}
		limits := streamable.DefaultLimits()
		limits.JSON, limits.Idle = json, s.Deadline
		c := streamable.Config{URL: url, Limits: limits, Credential: out.source, Prover: out.prover, Log: a.o.Logger.With("server", s.Name)}
		if files != nil {
			c.Trust = files.trust
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

// reachedBy names what a server is, for what is remembered of it: the same
// name with another command or URL is another server.
func reachedBy(s config.Server) string {
	if !s.Stdio() {
		return s.Name + "\x00" + s.URL.String()
	}
	parts := []string{s.Name}
	for _, v := range s.Command {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, "\x00")
}

// moderns remembers across restarts which servers were seen modern, so that a
// downgrade is noticed.
type moderns struct{ kv store.KV }

func modernKey(reached string) string {
	sum := sha256.Sum256([]byte(reached))
	return hex.EncodeToString(sum[:])
}

func (m moderns) seen(ctx context.Context, reached string) (bool, error) {
	_, err := m.kv.Get(ctx, modernKey(reached))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (m moderns) remember(reached string) error {
	_, err := m.kv.PutIfAbsent(context.Background(), modernKey(reached), []byte{1}, time.Time{})
	return err
}

func (m moderns) forget(ctx context.Context, reached string) error {
	_, err := m.kv.Delete(ctx, modernKey(reached))
	return err
}

// ApproveServer lets a server that was held for a downgrade, or because it named
// another authorization server, be used as what it is now.
func (a *App) ApproveServer(ctx context.Context, name string) error {
	a.mu.Lock()
	r := a.servers[name]
	a.mu.Unlock()
	if r == nil || r.bridge == nil {
		return fmt.Errorf("there is no server %q: munjigi servers list shows them", name)
	}
	if err := a.modern.forget(ctx, reachedBy(r.cfg)); err != nil {
		return err
	}
	r.bridge.Approve()
	if g := a.grants.Load(); g != nil && r.cfg.Credential.Type == config.CredentialPerUser {
		if _, err := g.Approve(ctx, name); err != nil {
			return err
		}
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "administration", Effect: "allow",
		Reason: "server-approved", Server: name}
	return a.record.With(log.Strict).Record(ctx, &e)
}
