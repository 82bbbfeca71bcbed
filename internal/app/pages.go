package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/pages"
)

// formPurpose is what the tokens of forms are made with.
const formPurpose keys.Purpose = "page-form"

// bucketBrowsers holds the browsers that are signed in.
const bucketBrowsers = "browser-session"

// PagesURL returns where the gateway's own pages are: public_url, or localhost,
// to which a browser can bind cookies and passkeys.
func PagesURL(cfg *config.Config) (string, error) {
	if cfg.PublicURL != "" {
		u, err := url.Parse(cfg.PublicURL)
		if err != nil {
			return "", fmt.Errorf("public_url: %w", err)
		}
		return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host), nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if config.Loopback(host) {
		host = "localhost"
	}
	scheme := "http"
	if cfg.TLS.Enabled() {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// Pages returns where people see what they allowed, "" where there are no
// pages.
func (a *App) Pages() string {
	base, err := PagesURL(a.Config())
	if err != nil || !a.pages.Load().Serves(pages.PathGrants) {
		return ""
	}
	return base + pages.PathGrants
}

// pagesOf makes the pages of one snapshot. It returns nil where nobody could
// sign in: there are issuers and none has signin:, or no terminal to show a
// code on.
func (a *App) pagesOf(ctx context.Context, cfg *config.Config, verifier *jwt.Verifier, grants credential.Grants, held authz.Approvals, lets *authServer) (*pages.Pages, error) {
	base, err := PagesURL(cfg)
	if err != nil {
		return nil, err
	}
	o := pages.Options{Base: base, Grants: grants, Approvals: held, Record: a.record.With(log.Strict), Log: a.o.Logger}
	if _, o.FormKey, err = a.ring.Subkey(formPurpose); err != nil {
		return nil, err
	}
	lets.addConsent(&o)
	switch {
	case a.o.Stdio:
		return nil, nil
	case cfg.Identity.Outside():
		p, names, err := a.providers(ctx, cfg, base, verifier)
		switch {
		case err != nil:
			return nil, err
		case len(names) == 0 && grants != nil:
			return nil, errors.New("a server's credential is of type per_user, and nobody can sign in to allow it: add signin: to one of identity.issuers")
		case len(names) == 0:
			return nil, nil
		}
		o.Providers, o.Issuers = p, names
	case cfg.Identity.InsecureAnonymous && grants != nil:
		return nil, errors.New("a server's credential is of type per_user, and with insecure_anonymous nobody is anybody: take one of them out")
	case a.o.Terminal == nil && lets != nil:
		return nil, errors.New("authorization_server: nobody can sign in: start the gateway on a terminal, on which it can show a code, or add signin: to an issuer of identity")
	case a.o.Terminal == nil || cfg.Identity.InsecureAnonymous:
		return nil, nil
	default:
		if a.pairing == nil {
			a.pairing = signin.NewPairing(local.Attached("browser"), a.showCode)
		}
		o.Pairing = a.pairing
		if err := a.addPasskeys(ctx, &o); err != nil {
			return nil, err
		}
	}
	o.Sessions = signin.NewSessions(a.browsers, a.endedUnder(cfg))
	return pages.New(o)
}

// endedUnder reports sessions of people who could not sign in under a config,
// or whose sign-in was taken back by their provider or the operator.
func (a *App) endedUnder(cfg *config.Config) func(call.Identity) bool {
	known := map[string]bool{}
	for _, i := range cfg.Identity.Issuers {
		known[i.URL] = true
	}
	if !cfg.Identity.Outside() {
		known[local.Issuer] = true
	}
	return func(id call.Identity) bool { return !known[id.Issuer] || a.endings.over(id) }
}

// providers are the issuers at which people can sign in, in their order.
func (a *App) providers(ctx context.Context, cfg *config.Config, base string, verifier *jwt.Verifier) (*signin.Providers, []string, error) {
	client, err := issuerClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	o := signin.Options{Redirect: base + pages.PathCallback, HTTP: client, Ring: a.ring, Once: once{a.nonces}.First, Log: a.o.Logger,
		Verify: func(ctx context.Context, idToken string, w signin.Want) (call.Principal, error) {
			return verifier.Person(ctx, idToken, jwt.SignIn{Issuer: w.Issuer, Client: w.Client, Nonce: w.Nonce, AccessToken: w.AccessToken})
		}}
	var names []string
	for _, i := range cfg.Identity.Issuers {
		if !i.SignIn.Enabled() {
			continue
		}
		c := signin.Client{Issuer: i.URL, ID: i.SignIn.ClientID, Scopes: i.SignIn.Scopes}
		if len(c.Scopes) == 0 && i.Provider == string(jwt.Entra) {
			// Without it the token has no oid, by which users are known.
			c.Scopes = []string{"profile"}
		}
		if i.SignIn.ClientSecret.IsSecret() {
			if c.Secret, err = a.secrets.Resolve(ctx, i.SignIn.ClientSecret.Secret); err != nil {
				return nil, nil, fmt.Errorf("issuer %s: client_secret: %w", i.URL, err)
			}
		}
		o.Clients = append(o.Clients, c)
		names = append(names, i.URL)
	}
	p, err := signin.NewProviders(o)
	return p, names, err
}

// showCode shows a code on the terminal where the gateway runs. It serves only
// the browser that asked, so whoever else reads it has nothing.
func (a *App) showCode(code string) {
	base, err := PagesURL(a.Config())
	if err == nil {
		_, err = fmt.Fprintf(a.o.Terminal, "\n  A browser on this machine asks to sign in as the operator.\n"+
			"  If that is you, type this code at %s and nowhere else:\n\n      %s\n\n  It is valid for five minutes. If it is not you, do nothing.\n\n", base+pages.PathSignIn, code)
	}
	if err != nil {
		a.o.Logger.Error("the terminal cannot be written, so nobody can sign in", "err", err)
	}
}

// listSessions lists legacy sessions and browsers that are signed in.
func (a *App) listSessions(ctx context.Context, _ json.RawMessage) (any, error) {
	rows := a.sessions.List()
	browsers, err := signin.NewSessions(a.browsers, nil).List(ctx)
	for _, b := range browsers {
		rows = append(rows, gateway.SessionInfo{Digest: b.Name, Principal: b.Principal.String(), Path: "pages", Version: "browser", Created: b.Born, Used: b.Used})
	}
	return rows, err
}
