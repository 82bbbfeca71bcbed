package app

import (
	"context"
	"net/http"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
)

// workloads adds the judge of JWT-SVIDs beside the one of other tokens if there is
// one, and if trust domains are configured.
func (a *App) workloads(cfg *config.Config, client *http.Client, resources map[string]authn.Resource, w who) (who, error) {
	if len(cfg.Identity.SPIFFE) == 0 {
		return w, nil
	}
	o := spiffe.Options{Client: client, Resources: resources, Revoked: a.takenBack, Ended: a.endings.over, Keep: a.svids, Log: a.o.Logger}
	for _, d := range cfg.Identity.SPIFFE {
		o.Domains = append(o.Domains, spiffe.Domain{Name: d.Name, File: d.BundleFile, URL: d.BundleURL, Scopes: d.Scopes, Certificates: d.Certificates})
	}
	var err error
	if w.svids, err = spiffe.New(o); err != nil {
		return who{}, err
	}
	if w.authn == nil {
		w.authn = w.svids
		return w, nil
	}
	j := judges{svids: w.svids, others: w.authn, issuers: map[string]bool{}}
	for _, i := range cfg.Identity.Issuers {
		j.issuers[i.URL] = true
	}
	w.authn = j
	return w, nil
}

// judges sends each token to the one authenticator that judges it. The config
// and the token's form decide; what one refuses, the other is never asked.
type judges struct {
	svids   *spiffe.Verifier
	others  authn.Authenticator
	issuers map[string]bool
}

// Authenticate implements authn.Authenticator. A token that names a configured
// issuer is that issuer's, whoever its subject is; any other that looks like a
// JWT-SVID is its trust domain's.
func (j judges) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	if hs := r.Header["Authorization"]; len(hs) == 1 {
		_, token, _ := strings.Cut(hs[0], " ")
		if issuer, svid := spiffe.Form(token); svid && !j.issuers[issuer] {
			return j.svids.Authenticate(ctx, r)
		}
	}
	return j.others.Authenticate(ctx, r)
}

// Current implements authn.Authenticator.
func (j judges) Current(p call.Principal) bool {
	if j.svids.Known(p.Identity().Issuer) {
		return j.svids.Current(p)
	}
	return j.others.Current(p)
}
