package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
)

// askAtOnce is how many servers are asked at the same time what they have.
const askAtOnce = 8

// catalogueOf is what the servers of a config have: from a file, or from the
// running gateway. It is nil, without an error, when neither is there.
func catalogueOf(ctx context.Context, cfg *config.Config, saved string) (*cedar.Catalogue, error) {
	if saved != "" {
		b, err := os.ReadFile(saved) // #nosec G304 -- the operator names the file
		if err != nil {
			return nil, err
		}
		c, err := cedar.ReadCatalogue(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", config.Visible(saved), err)
		}
		return c, nil
	}
	socket := app.ControlPath(cfg.Data)
	if _, err := os.Stat(socket); err != nil {
		return nil, nil //nolint:nilerr,nilnil // no gateway runs
	}
	var rows []app.ServerInfo
	if control.Call(ctx, socket, app.OpServers, nil, &rows) != nil {
		return nil, nil //nolint:nilnil // the socket is left over
	}
	c := &cedar.Catalogue{Servers: map[string]*cedar.Shelf{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, askAtOnce)
	for _, r := range rows {
		if !r.Enabled {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			shelf := &cedar.Shelf{}
			if err := control.Call(ctx, socket, app.OpCatalogue, app.NameArg{Name: r.Name}, shelf); err != nil {
				shelf = &cedar.Shelf{Missing: map[string]string{}}
				for _, list := range []string{"tools", "prompts", "resources", "resourceTemplates"} {
					shelf.Missing[list] = err.Error()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			c.Servers[r.Name] = shelf
		})
	}
	all.Wait()
	return c, nil
}

// policiesAgainst holds policies against what the servers have, as far as that
// can be had.
func policiesAgainst(ctx context.Context, cfg *config.Config, p *cedar.Policies, saved string) (cedar.Report, error) {
	if p.Len() == 0 {
		return cedar.Report{}, nil
	}
	c, err := catalogueOf(ctx, cfg, saved)
	if err != nil {
		return cedar.Report{}, err
	}
	return app.CheckPolicies(cfg, p, c), nil
}

func policyCheck(ctx context.Context, e *env, cfg *config.Config, p *cedar.Policies, saved string, asJSON bool) int {
	_, candidate, err := app.Candidate(cfg)
	if err != nil {
		return policyFailed(e, cfg.File, err, asJSON)
	}
	r, err := policiesAgainst(ctx, cfg, p, saved)
	if err != nil {
		return failed(e, err)
	}
	other, err := policiesAgainst(ctx, cfg, candidate, saved)
	if err != nil {
		return failed(e, err)
	}
	r.Problems = append(r.Problems, other.Problems...)
	if len(r.Problems) > 0 {
		return checkFailed(e, cfg.File, &config.Errors{List: r.Problems}, asJSON)
	}
	if asJSON {
		return printJSON(e, map[string]any{"policies": p.Len(), "digest": p.Digest(), "unchecked": r.Unchecked})
	}
	fmt.Fprintf(e.stdout, "%d policies, digest %.16s: no mistake was found\n", p.Len(), p.Digest())
	showUnchecked(e, r.Unchecked)
	return exitDone
}

func showUnchecked(e *env, list []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "\nnot checked in the policies:")
	for _, text := range list {
		fmt.Fprintf(e.stdout, "  %s\n", config.Visible(text))
	}
	fmt.Fprintln(e.stdout, "  start the gateway, or name a saved catalogue with munjigi policy check -catalogue FILE")
}

var errNoCatalogue = errors.New("no gateway runs with this data folder: start `munjigi serve`, or name a file that munjigi policy catalogue wrote with -catalogue")

// policyCatalogue prints what the servers have, to be kept beside the policies.
func policyCatalogue(ctx context.Context, e *env, cfg *config.Config) int {
	c, err := catalogueOf(ctx, cfg, "")
	if err != nil {
		return failed(e, err)
	}
	if c == nil {
		return failed(e, errNoCatalogue)
	}
	return printJSON(e, c)
}

func policySchema(e *env) int {
	b, err := cedar.Schema()
	if err != nil {
		return failed(e, err)
	}
	fmt.Fprintf(e.stdout, "%s\n", b)
	return exitDone
}

// policyInit prints a first policy.
func policyInit(ctx context.Context, e *env, cfg *config.Config, saved string, who cedar.Person, start cedar.Start) int {
	c, err := catalogueOf(ctx, cfg, saved)
	if err != nil {
		return failed(e, err)
	}
	if c == nil {
		return failed(e, errNoCatalogue)
	}
	start.Merged = len(cfg.MergedServers()) > 0
	if cfg.Identity.Outside() {
		start.Issuer = who.Issuer
		if start.Issuer == "" && len(cfg.Identity.Issuers) == 1 {
			start.Issuer = cfg.Identity.Issuers[0].URL
		}
		if start.Issuer == "" || len(who.Groups) != 1 {
			return wrongUse(e, errors.New("say whose the reading tools are: -group NAME, and -issuer URL where the config does not have just one"))
		}
		start.Group = who.Groups[0]
	} else if len(who.Groups) > 0 {
		return wrongUse(e, errors.New("there are no groups without an identity provider: leave -group out, and the policy is for the operator"))
	}
	text, err := cedar.Draft(c, start)
	if err != nil {
		return failed(e, err)
	}
	fmt.Fprint(e.stdout, text)
	return exitDone
}
