package oauth

import (
	"context"
	"net/http"
	"net/url"
)

// Prove puts the proof into a request to an endpoint other than the token
// endpoint that takes the same one, such as introspection (RFC 7662 2.1).
func (a Authentication) Prove(ctx context.Context, form url.Values, h http.Header, issuer string) error {
	if err := a.check(issuer); err != nil {
		return err
	}
	return a.add(ctx, form, h, issuer)
}
