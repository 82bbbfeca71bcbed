package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/munjigi/munjigi/internal/oauthserver"
)

// All finds clients of every kind: those of the config by their exact ID, then
// documents by the form of their ID, then registrations. A part that is nil
// knows none.
type All struct {
	Configured map[string]oauthserver.Client
	Documents  *Documents
	Registry   *Registry
}

// Client implements oauthserver.Clients.
func (a All) Client(ctx context.Context, id string) (oauthserver.Client, error) {
	if c, ok := a.Configured[id]; ok {
		return copied(c), nil
	}
	var c oauthserver.Client
	var err error
	if strings.HasPrefix(id, "https://") {
		c, err = a.Documents.Client(ctx, id)
	} else {
		c, err = a.Registry.Client(ctx, id)
	}
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, ErrUnknown) && !strings.HasPrefix(id, "https://"):
		return oauthserver.Client{}, fmt.Errorf("%w: %w", oauthserver.ErrNoClient, err)
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrDocument), errors.Is(err, ErrUnavailable), errors.Is(err, ErrTooMany):
		return oauthserver.Client{}, fmt.Errorf("%w: %w", oauthserver.ErrClientRefused, err)
	}
	return oauthserver.Client{}, err
}
