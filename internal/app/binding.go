package app

import (
	"fmt"
	"strings"

	"github.com/munjigi/munjigi/internal/authn/bound"
	"github.com/munjigi/munjigi/internal/authn/dpop"
	"github.com/munjigi/munjigi/internal/authn/mtls"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/gateway"
)

// keysOf composes what proves the keys that tokens are bound to, and writes
// into each resource what its metadata says of that.
func (a *App) keysOf(cfg *config.Config, base string, resources map[string]gateway.Resource) (*bound.Keys, error) {
	used, err := a.db.Bucket("dpop")
	if err != nil {
		return nil, err
	}
	d := cfg.Identity.DPoP
	o := dpop.Options{Algorithms: d.Algorithms, Window: d.Window, Used: used, Log: a.o.Logger}
	if !d.NonceOff {
		if o.Nonces, err = dpop.NewNonces(a.ring, 0); err != nil {
			return nil, err
		}
	}
	proofs, err := dpop.New(o)
	if err != nil {
		return nil, fmt.Errorf("identity.dpop: %w", err)
	}
	b := bound.Options{Resources: map[string]bound.Resource{}, Proof: proofs.Check, Algorithms: proofs.Algorithms()}
	if cfg.TLS.AsksClients() {
		b.Certificate = mtls.Confirm
	}
	for url, r := range resources {
		need := requiredAt(cfg, strings.TrimPrefix(url, base))
		r.Binding = gateway.Binding{Algorithms: b.Algorithms, DPoPOnly: len(need) == 1 && need[0] == bound.DPoP, Certificates: cfg.TLS.AsksClients()}
		resources[url] = r
		b.Resources[url] = bound.Resource{Metadata: r.Metadata, Scope: strings.Join(r.Least, " "), Require: need}
	}
	return bound.New(b), nil
}

// requiredAt returns the methods of which a token for the resource at a path
// needs one.
func requiredAt(cfg *config.Config, path string) []bound.Method {
	var names []string
	if server, ok := strings.CutPrefix(path, "/mcp/"); ok {
		s, _ := cfg.Server(server)
		names = s.RequireBinding
	} else {
		names, _ = cfg.MergedBinding()
	}
	var out []bound.Method
	for _, n := range names {
		out = append(out, bound.Method(n))
	}
	return out
}
