package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

const maxDocument = 1 << 20

// wellKnown returns the addresses of an issuer's metadata in the order in which
// they are tried: RFC 8414 3.1, RFC 8414 5, OpenID Connect Discovery 4.
func wellKnown(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, errors.New("the issuer is no URL")
	}
	origin, path := u.Scheme+"://"+u.Host, issuerPath(u)
	list := []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + "/.well-known/openid-configuration" + path,
	}
	if path != "" {
		list = append(list, origin+path+"/.well-known/openid-configuration")
	}
	return list, nil
}

// discover returns the address of an issuer's key set. Only metadata that names
// exactly this issuer counts (RFC 8414 3.3); a document that does not is passed
// over, because one host can serve several issuers.
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	list, err := wellKnown(issuer)
	if err != nil {
		return "", err
	}
	var errs []error
	for _, at := range list {
		uri, err := metadata(ctx, client, at, issuer)
		if err == nil {
			return uri, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return "", fmt.Errorf("metadata: %w", errors.Join(errs...))
}

func metadata(ctx context.Context, client *http.Client, at, issuer string) (string, error) {
	body, err := fetchJSON(ctx, client, at)
	if err != nil {
		return "", err
	}
	o, err := strictjson.SplitObject(body)
	if err != nil {
		return "", errors.New("it is no JSON object")
	}
	doc := claims{o}
	if name, ok := doc.text("issuer", maxText); !ok || name != issuer {
		return "", errors.New("it names another issuer; write identity.issuers exactly as the provider's metadata does")
	}
	uri, ok := doc.text("jwks_uri", maxText)
	if !ok || uri == "" {
		return "", errors.New("it names no jwks_uri")
	}
	if _, err := egress.CheckURL(uri, egress.Rules{PlainLoopback: strings.HasPrefix(issuer, "http:")}); err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	return uri, nil
}

// fetchJSON reads a document of at most 1 MiB that is strict JSON.
func fetchJSON(ctx context.Context, client *http.Client, at string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the provider answered with status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, egress.ErrTooLarge
	}
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: maxDocument, Depth: maxDepth, Members: 20_000}); err != nil {
		return nil, err
	}
	return body, nil
}
