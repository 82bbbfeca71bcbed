package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/peruser"
)

// grantsOf makes the grants of one snapshot, and what the pages see of them:
// both nil where no server's credential is each person's own.
func (a *App) grantsOf(ctx context.Context, cfg *config.Config) (*peruser.Grants, credential.Grants, error) {
	o, err := a.grantOptions(ctx, cfg)
	if err != nil || len(o.Servers) == 0 {
		return nil, nil, err
	}
	if a.o.Stdio {
		return nil, nil, fmt.Errorf("servers.%s.credential: of type per_user needs pages, which only munjigi serve has", o.Servers[0].Name)
	}
	if o.BaseURL, err = PagesURL(cfg); err != nil {
		return nil, nil, err
	}
	if cfg.Egress.CA != "" {
		pem, err := secret.ReadFile(cfg.Egress.CA, 1<<20, secret.OthersWrite)
		if err != nil {
			return nil, nil, fmt.Errorf("egress.ca: %w", err)
		}
		if o.Roots, err = egress.Roots(pem); err != nil {
			return nil, nil, fmt.Errorf("egress.ca: %w", err)
		}
	}
	g, err := peruser.New(o)
	if err != nil {
		return nil, nil, err
	}
	return g, g, nil
}

func (a *App) grantOptions(ctx context.Context, cfg *config.Config) (peruser.Options, error) {
	o := peruser.Options{Store: a.db, Keys: a.ring, Name: "Munjigi", Record: a.recordGrant, Log: a.o.Logger, Keep: a.grants.Load()}
	for _, s := range cfg.Servers {
		c := s.Credential
		if !s.Enabled || c.Type != config.CredentialPerUser {
			continue
		}
		p := peruser.Server{Name: s.Name, URL: s.URL.Text, AuthorizationServer: c.Issuer, ClientID: c.ClientID, ClientDocument: c.ClientDocument,
			Scopes: c.Scopes, Resource: c.Resource, Audiences: c.Audiences, PrivateHosts: c.InsecurePrivateHosts, Allow: cfg.Egress.Allow}
		for _, one := range []struct {
			from config.Value
			to   *secret.Value
		}{{c.ClientSecret, &p.ClientSecret}, {c.PrivateKey, &p.ClientKey}} {
			if one.from.IsSecret() {
				v, err := a.secrets.Resolve(ctx, one.from.Secret)
				if err != nil {
					return o, fmt.Errorf("servers.%s.credential: %w", s.Name, err)
				}
				*one.to = v
			}
		}
		o.Servers = append(o.Servers, p)
	}
	return o, nil
}

// recordGrant puts what happened to a grant on the record.
func (a *App) recordGrant(ctx context.Context, e peruser.Event) error {
	effect := "deny"
	if e.Allowed {
		effect = "allow"
	}
	return a.record.With(log.Strict).Record(ctx, &audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "credential",
		Effect: effect, Reason: e.Reason, Principal: e.Person, Server: e.Server, Client: e.Client,
		Detail: map[string]string{"authorization_server": e.Issuer, "scopes": strings.Join(e.Scopes, " ")}})
}

// granted is the source of one server's grants in the newest snapshot.
type granted struct {
	a      *App
	server string
}

func (g granted) source() (peruser.Source, error) {
	all := g.a.grants.Load()
	if all == nil {
		return nil, credential.ErrNone
	}
	return all.Source(g.server)
}

// Prove implements credential.Prover.
func (g granted) Prove(ctx context.Context, s credential.Subject, method string, h http.Header) error {
	src, err := g.source()
	if err != nil {
		return err
	}
	return src.Prove(ctx, s, method, h)
}

// Headers implements credential.Source.
func (g granted) Headers(ctx context.Context, s credential.Subject) (http.Header, error) {
	src, err := g.source()
	if err != nil {
		return nil, err
	}
	return src.Headers(ctx, s)
}

// Rejected implements credential.Source.
func (g granted) Rejected(ctx context.Context, s credential.Subject, r credential.Rejection) error {
	src, err := g.source()
	if err != nil {
		return err
	}
	return src.Rejected(ctx, s, r)
}

// servePublished answers with what authorization servers fetch of the gateway
// as a client, and reports whether the path is one of these.
func (a *App) servePublished(w http.ResponseWriter, r *http.Request) bool {
	grants := a.grants.Load()
	var body func() ([]byte, error)
	switch {
	case grants == nil:
		return false
	case r.URL.Path == credential.GrantClient:
		body = func() ([]byte, error) { return grants.Document(false) }
	case r.URL.Path == credential.GrantClientKeyed:
		body = func() ([]byte, error) { return grants.Document(true) }
	case r.URL.Path == credential.GrantKeys:
		body = grants.PublicKeys
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this document is read by GET", http.StatusMethodNotAllowed)
		return true
	}
	b, err := body()
	if err != nil {
		http.Error(w, "the document cannot be written", http.StatusInternalServerError)
		return true
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "max-age=300")
	_, _ = w.Write(b)
	return true
}
