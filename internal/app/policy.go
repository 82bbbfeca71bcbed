package app

import (
	"fmt"
	"slices"
	"sort"

	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard/schema"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Policies loads the policies of a config: a gateway runs with what it returns
// and no other. What can never match under this config, and what would fail to
// evaluate whatever the servers have, is an error; it is a *cedar.Errors where it
// is about the files.
func Policies(cfg *config.Config) (*cedar.Decider, *cedar.Policies, error) {
	p, err := cedar.Load(cfg.Policy)
	if err != nil {
		return nil, nil, err
	}
	var bad []config.Problem
	for name, l := range p.Servers() {
		if _, ok := cfg.Server(name); !ok && !(cfg.Demo && name == DemoServer) {
			bad = append(bad, config.Problem{File: l.File, Line: l.Line, Column: 1,
				Message: fmt.Sprintf("names the server %q, which the config does not have: it can never match", name),
				Next:    "mend the name, or configure the server"})
		}
	}
	bad = append(bad, CheckPolicies(cfg, p, nil).Problems...)
	bad = append(bad, unknownApprovers(cfg, p)...)
	if len(bad) > 0 {
		sort.Slice(bad, func(i, j int) bool { return bad[i].String() < bad[j].String() })
		return nil, nil, &cedar.Errors{List: bad}
	}
	d, err := cedar.New(p, cedar.Options{})
	return d, p, err
}

// CheckPolicies holds policies against what the servers say they have; nobody
// was asked where the catalogue is nil.
func CheckPolicies(cfg *config.Config, p *cedar.Policies, c *cedar.Catalogue) cedar.Report {
	open, off := map[string]bool{}, false
	for _, g := range cfg.Guards {
		for _, t := range g.InsecureUnknownProperties {
			open[t] = true
		}
		off = off || g.Name == schema.Name && g.Mode != config.ModeEnforce
	}
	return p.Check(cedar.World{Catalogue: c, Open: func(server, tool string) bool { return off || open[server+"/"+tool] }})
}

// asksOf is what servers may ask of clients where there is no policy.
func asksOf(cfg *config.Config) func(server, method string) bool {
	names := map[string]string{mcp.MethodSampling: config.AskSampling, mcp.MethodElicit: config.AskElicitation, mcp.MethodRootsList: config.AskRoots}
	return func(server, method string) bool {
		s, _ := cfg.Server(server)
		return cfg.Demo && server == DemoServer || slices.Contains(s.MayAsk, names[method])
	}
}
