package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// metadata is what a document or a registration says (RFC 7591 2), of what we
// read.
type metadata struct {
	id        string
	name      string
	redirects []string
	auth      oauthserver.AuthMethod // "" where it says nothing
	secret    bool                   // it wants a shared secret
	scopes    []string
	jwks      []byte
	jwksURI   string
	dpop      bool
}

// read takes metadata apart. own is the host of our pages.
func read(body []byte, own string) (metadata, error) {
	if err := strictjson.Validate(body, strictjson.Limits{Bytes: MaxBytes, Depth: 8, Members: 1000}); err != nil {
		return metadata{}, unacceptable("it is no strict JSON: %w", err)
	}
	o, err := strictjson.SplitObject(body)
	if err != nil {
		return metadata{}, unacceptable("it is no JSON object")
	}
	if a, b, dup := strictjson.FoldedDuplicate(o); dup {
		return metadata{}, unacceptable("%q and %q differ in case only", a, b)
	}
	r := reader{o: o}
	m := metadata{id: r.text("client_id", maxID), name: r.text("client_name", 4*maxName), redirects: r.list("redirect_uris", maxRedirects, maxURI), jwksURI: r.text("jwks_uri", maxURI),
		dpop: r.flag("dpop_bound_access_tokens"), scopes: ours(r.text("scope", 4096))}
	m.jwks, _ = o.Get("jwks")
	m.auth, m.secret = r.auth()
	grants, responses := r.list("grant_types", 16, 128), r.list("response_types", 16, 64)
	for _, name := range []string{"client_uri", "logo_uri", "policy_uri", "tos_uri"} {
		if uri := r.text(name, maxURI); uri != "" {
			if _, err := egress.CheckURL(uri, egress.Rules{}); err != nil {
				r.fail(name, err)
			}
		}
	}
	switch {
	case r.err != nil:
		return metadata{}, r.err
	case strings.TrimSpace(m.name) == "" || utf8.RuneCountInString(m.name) > maxName:
		return metadata{}, unacceptable("client_name must be there, and have at most %d characters", maxName)
	case len(m.redirects) == 0:
		return metadata{}, unacceptable("%w: redirect_uris must name at least one", ErrRedirect)
	case len(grants) > 0 && !slices.Contains(grants, "authorization_code"):
		return metadata{}, unacceptable("grant_types must hold authorization_code; nothing else lets a client in")
	case len(responses) > 0 && !slices.Contains(responses, "code"):
		return metadata{}, unacceptable("response_types must hold code")
	case len(m.scopes) > maxScopes:
		return metadata{}, unacceptable("scope names more than %d", maxScopes)
	}
	for _, uri := range m.redirects {
		if err := checkRedirect(uri, own); err != nil {
			return metadata{}, unacceptable("%w: %w", ErrRedirect, err)
		}
	}
	return m, nil
}

// ours keeps the scopes that have the form of ours: a document is written for
// many servers, and the scopes of others bound nothing here.
func ours(scope string) []string {
	var out []string
	for _, s := range strings.Fields(scope) {
		if _, what, ok := strings.Cut(s, ":"); ok && (what == "list" || what == "read" || what == "call") {
			out = append(out, s)
		}
	}
	return out
}

// reader reads members of a known type and keeps the first fault.
type reader struct {
	o   strictjson.Object
	err error
}

func (r *reader) fail(name string, err error) {
	if r.err == nil {
		r.err = unacceptable("%s: %w", name, err)
	}
}

func (r *reader) text(name string, most int) string {
	raw, ok := r.o.Get(name)
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return ""
	}
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		r.fail(name, fmt.Errorf("it must be a string"))
		return ""
	}
	s, err := strictjson.String(raw)
	if err != nil || len(s) > most {
		r.fail(name, fmt.Errorf("it is too long"))
		return ""
	}
	return s
}

func (r *reader) list(name string, most, each int) []string {
	raw, ok := r.o.Get(name)
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return nil
	}
	items, err := strictjson.SplitArray(raw)
	if err != nil || strictjson.TypeOf(raw) != strictjson.TypeArray || len(items) > most {
		r.fail(name, fmt.Errorf("it must be an array of at most %d strings", most))
		return nil
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		s := ""
		if strictjson.TypeOf(item) == strictjson.TypeString {
			s, err = strictjson.String(item)
		}
		if err != nil || s == "" || len(s) > each || slices.Contains(out, s) {
			r.fail(name, fmt.Errorf("each must be a string of its own, not empty and not too long"))
			return nil
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) flag(name string) bool {
	raw, ok := r.o.Get(name)
	if !ok {
		return false
	}
	if t := strictjson.TypeOf(raw); t != strictjson.TypeBool {
		r.fail(name, fmt.Errorf("it must be true or false"))
	}
	return string(raw) == "true"
}

// auth reads how the client proves itself. Secrets of both kinds are told
// apart by whoever called: a document can hold none, a registration gets none.
func (r *reader) auth() (method oauthserver.AuthMethod, secret bool) {
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if _, ok := r.o.Get(name); ok {
			r.fail(name, fmt.Errorf("clients here have no secrets; prove the client with private_key_jwt"))
		}
	}
	switch s := r.text("token_endpoint_auth_method", 64); s {
	case "", string(oauthserver.AuthNone), string(oauthserver.AuthPrivateKeyJWT):
		return oauthserver.AuthMethod(s), false
	case "client_secret_basic", "client_secret_post", "client_secret_jwt":
		return "", true
	default:
		r.fail("token_endpoint_auth_method", fmt.Errorf("only none and private_key_jwt are possible"))
		return "", false
	}
}

// digest names what a person relies on when they let the client in. Keys may
// rotate; where they come from may not.
func (m metadata) digest(kind oauthserver.Kind) string {
	redirects, scopes := slices.Sorted(slices.Values(m.redirects)), slices.Sorted(slices.Values(m.scopes))
	h := sha256.New()
	for _, part := range []string{kind.String(), m.id, m.name, strings.Join(redirects, "\n"), strings.Join(scopes, " "), string(m.auth), m.jwksURI, fmt.Sprint(m.dpop)} {
		_, _ = fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// client is the client that metadata describes.
func (m metadata) client(kind oauthserver.Kind) oauthserver.Client {
	return oauthserver.Client{ID: m.id, Kind: kind, Name: m.name, RedirectURIs: slices.Clone(m.redirects), Auth: m.auth, JWKS: slices.Clone(m.jwks),
		Scopes: slices.Clone(m.scopes), DPoP: m.dpop, Digest: m.digest(kind)}
}
