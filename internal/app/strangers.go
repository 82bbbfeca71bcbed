package app

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/oauthserver/clients"
)

// bucketClients holds the clients that registered themselves.
const bucketClients = "oauth-client"

// strangers are the clients that the operator did not name one by one.
type strangers struct {
	documents *clients.Documents
	registry  *clients.Registry
	endpoint  http.Handler // where they register; nil where they cannot
}

// strangersOf says who may describe clients, and whether they may register.
func (a *App) strangersOf(cfg *config.Config, base string) (strangers, error) {
	var s strangers
	c := cfg.AuthorizationServer
	u, err := url.Parse(base)
	if err != nil {
		return s, err
	}
	trust, err := clients.NewTrust(c.Documents.Allow, c.Documents.InsecureAnyHost)
	if err != nil {
		return s, fmt.Errorf("authorization_server.documents.allow: %w", err)
	}
	if trust.Any() {
		// What strangers name opens no private host, whatever egress.allow says.
		rules := egress.Rules{Allow: c.Documents.InsecurePrivateHosts, Timeout: clients.FetchTime, MaxBytes: clients.MaxBytes}
		if cfg.Egress.CA != "" {
			pem, err := secret.ReadFile(cfg.Egress.CA, 1<<20, secret.OthersWrite)
			if err != nil {
				return s, fmt.Errorf("egress.ca: %w", err)
			}
			if rules.Roots, err = egress.Roots(pem); err != nil {
				return s, fmt.Errorf("egress.ca: %w", err)
			}
		}
		client, err := egress.Client(rules)
		if err != nil {
			return s, fmt.Errorf("authorization_server.documents.insecure_private_hosts: %w", err)
		}
		if s.documents, err = clients.NewDocuments(trust, client, u.Host); err != nil {
			return s, err
		}
	}
	if c.Registration {
		kv, err := a.db.Bucket(bucketClients)
		if err != nil {
			return s, err
		}
		s.registry = clients.NewRegistry(kv, u.Host)
		s.endpoint = clients.Endpoint{Registry: s.registry, Record: a.record.With(log.Strict), Log: a.o.Logger}
	}
	return s, nil
}

// used lets a client that somebody let in last.
func (s strangers) used(ctx context.Context, id string) error {
	if s.registry == nil {
		return nil
	}
	return s.registry.Used(ctx, id)
}
