package app

import (
	"fmt"
	"net/http"

	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

// issuerClient is what metadata, keys and introspection of the configured
// issuers are fetched by, and tokens for servers. It follows no redirect.
func issuerClient(cfg *config.Config) (*http.Client, error) {
	rules := egress.Rules{Allow: cfg.Egress.Allow}
	if cfg.Egress.CA != "" {
		pem, err := secret.ReadFile(cfg.Egress.CA, 1<<20, secret.OthersWrite)
		if err != nil {
			return nil, fmt.Errorf("egress.ca: %w", err)
		}
		if rules.Roots, err = egress.Roots(pem); err != nil {
			return nil, fmt.Errorf("egress.ca: %w", err)
		}
	}
	return egress.Client(rules)
}

// issuerOf is what the verifier of JWTs has to know of an issuer.
func issuerOf(i config.Issuer) jwt.Issuer {
	return jwt.Issuer{Issuer: i.URL, Provider: jwt.Provider(i.Provider), Algorithms: i.Algorithms, Types: i.Types, JWKSURI: i.JWKSURI,
		ClockSkew: i.ClockSkew, MaxLifetime: i.MaxLifetime, Ends: i.Introspection.JWT() || len(i.Logout.Clients) > 0,
		LogoutClients: i.Logout.Clients, Groups: i.GroupsClaim, Roles: i.RolesClaim, Tenant: i.TenantClaim, As: i.KnownAs, Implied: i.ImpliedScopes}
}

// takenBack reports that a proof was revoked, whoever made it.
func (a *App) takenBack(proof string) bool {
	return a.tokens.isRevoked(proof) || a.endings.token(proof)
}
