// Package oauth finds what an authorization server says of itself (RFC 8414,
// OpenID Connect Discovery), asks it for tokens, and keeps them until they end.
//
// Threat: a document of another issuer that is believed because it came from
// the right host, or because it says almost the right name (mix-up); a
// redirect, an endless answer, or JSON that two readers read differently.
//
// It guarantees that a document was fetched by the client that it is given,
// without more bytes than MaxBytes, is strict JSON, and names exactly the
// issuer that was asked for; and that a URL taken from it is https, or http on
// loopback where the issuer is. Where the client may connect to is the
// client's: make it with egress.Client, without redirects.
//
// A token endpoint can answer with anything: an answer without end, a token with
// a line break, of a type that cannot be used, or for another purpose, and errors
// with secrets in them. Only a token that was asked for comes out of Server, and
// of errors nothing but a code. See Cache for what threatens tokens that are kept.
//
// It trusts what the issuer says of itself.
package oauth

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

// MaxBytes is the size of the largest document that is read.
const MaxBytes = 1 << 20

const (
	maxDepth = 16
	maxText  = 2048
)

// Document is the metadata of one issuer.
type Document struct {
	Issuer  string
	Members strictjson.Object
}

// WellKnown returns the addresses of an issuer's metadata in the order in which
// they are tried: RFC 8414 3.1, RFC 8414 5, OpenID Connect Discovery 4.
func WellKnown(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, errors.New("the issuer is no URL")
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	list := []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + "/.well-known/openid-configuration" + path,
	}
	if path != "" {
		list = append(list, origin+path+"/.well-known/openid-configuration")
	}
	return list, nil
}

// Find returns the first document that use accepts. Only metadata that names
// exactly this issuer counts (RFC 8414 3.3); a document that does not, or that
// use refuses, is passed over, because one host can serve several issuers. A nil
// use accepts all. The error names every address and what it answered.
func Find(ctx context.Context, client *http.Client, issuer string, use func(Document) error) (Document, error) {
	list, err := WellKnown(issuer)
	if err != nil {
		return Document{}, err
	}
	var errs []error
	for _, at := range list {
		d, err := read(ctx, client, at, issuer)
		if err == nil && use != nil {
			err = use(d)
		}
		if err == nil {
			return d, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
		if ctx.Err() != nil {
			break
		}
	}
	return Document{}, fmt.Errorf("metadata: %w", errors.Join(errs...))
}

func read(ctx context.Context, client *http.Client, at, issuer string) (Document, error) {
	body, err := Fetch(ctx, client, at)
	if err != nil {
		return Document{}, err
	}
	o, err := strictjson.SplitObject(body)
	if err != nil {
		return Document{}, errors.New("it is no JSON object")
	}
	d := Document{Issuer: issuer, Members: o}
	if name, ok := d.Text("issuer"); !ok || name != issuer {
		return Document{}, errors.New("it names another issuer; write the issuer exactly as its metadata does")
	}
	return d, nil
}

// Text returns a member that is a string, and reports that there is one.
func (d Document) Text(name string) (string, bool) {
	raw, ok := d.Members.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", false
	}
	s, err := strictjson.String(raw)
	return s, err == nil && s != "" && len(s) <= maxText
}

// URL returns a member that is the address of an endpoint.
func (d Document) URL(name string) (string, error) {
	s, ok := d.Text(name)
	if !ok {
		return "", fmt.Errorf("it names no %s", name)
	}
	if _, err := egress.CheckURL(s, egress.Rules{PlainLoopback: strings.HasPrefix(d.Issuer, "http:")}); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Fetch reads a document of at most MaxBytes that is strict JSON.
func Fetch(ctx context.Context, client *http.Client, at string) ([]byte, error) {
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
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxBytes {
		return nil, egress.ErrTooLarge
	}
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: MaxBytes, Depth: maxDepth, Members: 20_000}); err != nil {
		return nil, err
	}
	return body, nil
}
