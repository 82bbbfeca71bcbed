package app

import (
	"errors"
	"net/http"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/bound"
	"github.com/munjigi/munjigi/internal/authn/introspect"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/gateway"
)

// who decides who calls and what may be done, for one snapshot.
type who struct {
	authn     authn.Authenticator
	authz     authz.Decider
	resources map[string]gateway.Resource
	verifier  *jwt.Verifier
	own       *own // nil where the gateway issues no tokens
	svids     *spiffe.Verifier
	asked     map[string]*introspect.Introspector // by issuer
	rules     string                              // names the policies by what they say
}

// identity composes authentication and authorization. With issuers there is
// no way in but their tokens, and nothing is permitted that no policy permits;
// without them the operator is the one principal.
func (a *App) identity(cfg *config.Config, base string, order, merged []string) (who, error) {
	decider, policies, err := Policies(cfg)
	if err != nil {
		return who{}, err
	}
	if !cfg.Identity.Outside() {
		w := who{authn: a.auth, authz: decider, rules: policies.Digest()}
		if cfg.AuthorizationServer.Enabled {
			if w, err = a.ownIdentity(cfg, base, order, merged, w); err != nil {
				return who{}, err
			}
		}
		if len(cfg.Policy) > 0 {
			w.authz, err = withCandidate(cfg, w.authz)
			return w, err
		}
		owner := authz.Owner{On: true, Refused: map[string]string{}, Asks: asksOf(cfg)}
		if cfg.Demo {
			owner.Refused[DemoServer+"/"+demo.RefusedTool] = "the demonstration shows what a refusal looks like"
		}
		w.authz, err = withCandidate(cfg, owner)
		return w, err
	}
	if base == "" {
		return who{}, errors.New("identity.issuers and identity.spiffe need public_url")
	}
	w := who{rules: policies.Digest(), resources: resourcesOf(cfg, base, order, merged)}
	if w.authz, err = withCandidate(cfg, decider); err != nil {
		return who{}, err
	}
	client, err := issuerClient(cfg)
	if err != nil {
		return who{}, err
	}
	o := jwt.Options{Client: client, Resources: map[string]authn.Resource{}, Revoked: a.takenBack, Ended: a.endings.over, Keep: a.verifier, Log: a.o.Logger}
	for url, r := range w.resources {
		o.Resources[url] = authn.Resource{Audiences: r.Audiences, Metadata: r.Metadata, Scope: strings.Join(r.Least, " ")}
	}
	for _, i := range cfg.Identity.Issuers {
		o.Issuers = append(o.Issuers, issuerOf(i))
	}
	if cfg.AuthorizationServer.Enabled {
		w.own = new(own)
		o.Issuers = append(o.Issuers, a.issuerOwn(cfg, base, w.own))
	}
	keys, err := a.keysOf(cfg, base, w.resources)
	if err != nil {
		return who{}, err
	}
	o.Confirm = keys.Confirm
	if len(o.Issuers) > 0 {
		if w.verifier, err = jwt.New(o); err != nil {
			return who{}, err
		}
		w.authn = w.verifier
		if w, err = a.introspection(a.life, cfg, o, w); err != nil {
			return who{}, err
		}
	}
	if w, err = a.workloads(cfg, client, o.Resources, w); err != nil {
		return who{}, err
	}
	var known bound.Known
	if w.svids != nil {
		known = w.svids.Certified
	}
	w.authn = keys.Over(w.authn, known)
	return w, nil
}

// resourcesOf lists the protected resources: /mcp where it exists, and each
// /mcp/{server}.
func resourcesOf(cfg *config.Config, base string, order, merged []string) map[string]gateway.Resource {
	out := map[string]gateway.Resource{}
	add := func(path string, audiences []string, servers []string) {
		r := gateway.Resource{URL: base + path, Audiences: audiences, Metadata: base + gateway.WellKnown + path, ScopesIgnored: map[string]bool{}}
		for _, i := range cfg.Identity.Issuers {
			r.Issuers = append(r.Issuers, i.URL)
			r.ScopesIgnored[i.URL] = i.ScopesIgnored
		}
		for _, d := range cfg.Identity.SPIFFE {
			r.ScopesIgnored[spiffe.Issuer(d.Name)] = d.ScopesIgnored
		}
		if cfg.AuthorizationServer.Enabled {
			r.Issuers = []string{base}
		}
		for _, s := range servers {
			r.Scopes = append(r.Scopes, s+":list", s+":read", s+":call")
			r.Least = append(r.Least, s+":list")
		}
		out[r.URL] = r
	}
	for _, s := range order {
		c, _ := cfg.Server(s)
		add("/mcp/"+s, c.Audience, []string{s})
	}
	if len(merged) > 0 {
		add("/mcp", cfg.MergedAudience, merged)
	}
	return out
}

var _ http.Handler = (*App)(nil)
