package app

import (
	"fmt"
	"sort"

	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/config"
)

// Policies loads the policies of a config as a gateway would, and says what of
// them can never match under this config. The error is a *cedar.Errors where it
// is about the files.
func Policies(cfg *config.Config) (*cedar.Decider, *cedar.Policies, error) {
	p, err := cedar.Load(cfg.Policy)
	if err != nil {
		return nil, nil, err
	}
	var bad []config.Problem
	for name, l := range p.Servers() {
		if _, ok := cfg.Server(name); !ok {
			bad = append(bad, config.Problem{File: l.File, Line: l.Line, Column: 1,
				Message: fmt.Sprintf("names the server %q, which the config does not have: it can never match", name),
				Next:    "mend the name, or configure the server"})
		}
	}
	if len(bad) > 0 {
		sort.Slice(bad, func(i, j int) bool { return bad[i].String() < bad[j].String() })
		return nil, nil, &cedar.Errors{List: bad}
	}
	d, err := cedar.New(p, cedar.Options{})
	return d, p, err
}
