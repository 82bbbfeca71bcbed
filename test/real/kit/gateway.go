package kit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Server is one server in a gateway's config, written as it stands.
type Server struct {
	URL         string            `yaml:"url,omitempty"`
	Command     []string          `yaml:"command,omitempty,flow"`
	Env         map[string]string `yaml:"env,omitempty"`
	Era         string            `yaml:"era,omitempty"`
	Unsandboxed bool              `yaml:"insecure_unsandboxed,omitempty"`
	MayAsk      []string          `yaml:"may_ask,omitempty,flow"`
	SameNames   bool              `yaml:"insecure_same_names,omitempty"`
}

// Config is a gateway's config for tests.
type Config struct {
	Listen   string            `yaml:"listen"`
	Data     string            `yaml:"data"`
	Identity *Identity         `yaml:"identity,omitempty,flow"`
	Servers  map[string]Server `yaml:"servers"`
}

// Identity is who may call.
type Identity struct {
	Anonymous bool `yaml:"insecure_anonymous"`
}

// Gateway is a munjigi that runs.
type Gateway struct {
	*Process
	Addr   string
	Config string // the config file
}

// URL is the endpoint of one server.
func (g *Gateway) URL(server string) string { return "http://" + g.Addr + "/mcp/" + server }

// NewConfig fills a config for a gateway in dir on a free port, where anyone on
// loopback may call. Servers that are commands run without a sandbox.
func NewConfig(dir string, servers map[string]Server) (Config, error) {
	addr, err := FreeAddr()
	if err != nil {
		return Config{}, err
	}
	all := map[string]Server{}
	for name, s := range servers {
		s.Unsandboxed = s.Unsandboxed || len(s.Command) > 0
		s.MayAsk = []string{"sampling", "elicitation", "roots"}
		all[name] = s
	}
	return Config{
		Listen:   addr,
		Data:     filepath.Join(dir, "data"),
		Identity: &Identity{Anonymous: true},
		Servers:  all,
	}, nil
}

// Write puts the config into a file that only its owner may read.
func (c Config) Write(file string) error {
	b, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// StartGateway runs `munjigi serve` on a config in dir.
func (t *Tools) StartGateway(ctx context.Context, dir string, c Config) (*Gateway, error) {
	if t.Munjigi == "" {
		return nil, fmt.Errorf("no munjigi was built")
	}
	file := filepath.Join(dir, "munjigi.yaml")
	if err := c.Write(file); err != nil {
		return nil, err
	}
	p, err := Start(ctx, Command{
		Name: "munjigi",
		Path: t.Munjigi,
		Args: []string{"serve", "-c", file},
		Dir:  dir,
		Addr: c.Listen,
	})
	if err != nil {
		return nil, err
	}
	return &Gateway{Process: p, Addr: c.Listen, Config: file}, nil
}

// StartEverything runs the Go SDK's server over HTTP.
func (t *Tools) StartEverything(ctx context.Context, stateless bool) (p *Process, url string, err error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err = Start(ctx, Command{
		Name: "everything-server",
		Path: t.Everything,
		Args: []string{"-http", addr, fmt.Sprintf("-stateless=%t", stateless)},
		Addr: addr,
	})
	return p, "http://" + addr, err
}

// StartFixture runs our own server over HTTP.
func (t *Tools) StartFixture(ctx context.Context, args ...string) (p *Process, url string, err error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err = Start(ctx, Command{
		Name: "fixture",
		Path: t.Fixture,
		Args: append([]string{"-http", addr}, args...),
		Addr: addr,
	})
	return p, "http://" + addr, err
}
