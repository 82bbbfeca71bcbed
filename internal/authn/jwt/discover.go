package jwt

import (
	"context"
	"net/http"

	"github.com/munjigi/munjigi/internal/oauth"
)

// discover returns the address of an issuer's key set.
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	d, err := oauth.Find(ctx, client, issuer, func(d oauth.Document) error {
		_, err := d.URL("jwks_uri")
		return err
	})
	if err != nil {
		return "", err
	}
	return d.URL("jwks_uri")
}
