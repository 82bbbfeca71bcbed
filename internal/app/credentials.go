package app

import (
	"context"
	"fmt"

	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/static"
)

// outgoing is how one server is given its credential.
type outgoing struct {
	source credential.Source // nil sends none
	// perPrincipal: each caller has its own.
	perPrincipal bool
	// refresh reads what the operator may have changed at a reload; may be nil.
	refresh func(context.Context) error
}

// credential makes the source that a server's config asks for.
func (a *App) credential(ctx context.Context, s config.Server) (outgoing, error) {
	switch c := s.Credential; c.Type {
	case config.CredentialNone, "":
		return outgoing{}, nil
	case config.CredentialStatic:
		o := static.Options{Resolver: a.secrets, Log: a.o.Logger.With("server", s.Name)}
		for _, h := range c.Headers {
			o.Headers = append(o.Headers, static.Header{Name: h.Name, Prefix: h.Value.Text, Secret: h.Value.Secret})
		}
		src, err := static.New(ctx, o)
		if err != nil {
			return outgoing{}, err
		}
		return outgoing{source: src, refresh: src.Refresh}, nil
	default:
		return outgoing{}, fmt.Errorf("there is no credential of type %q", c.Type)
	}
}
