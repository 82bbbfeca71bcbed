//go:build real

package idp

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// callback is where clients wait for the code; nothing listens there, because
// the browser of these tests stops before it.
const callback = "http://127.0.0.1:9999/callback"

var (
	aForm  = regexp.MustCompile(`(?is)<form\b([^>]*)>(.*?)</form>`)
	anIn   = regexp.MustCompile(`(?is)<(?:input|button)\b([^>]*)>`)
	aPair  = regexp.MustCompile(`(?is)([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')`)
	errEnd = errors.New("the redirect to the client")
)

func attributes(tag string) map[string]string {
	out := map[string]string{}
	for _, m := range aPair.FindAllStringSubmatch(tag, -1) {
		out[strings.ToLower(m[1])] = html.UnescapeString(m[2] + m[3])
	}
	return out
}

// browser is a person at the provider's own pages: it fills in every form with
// what the person knows, until the provider sends it back to the client.
type browser struct {
	*http.Client
	knows map[string]string // by the name of an input
	end   *url.URL
	// pages, when not nil, does what scripts of the provider's pages do, before
	// the person is sent there.
	pages func(context.Context, *http.Client, *auth.AuthorizationArgs) error
}

func newBrowser(t *testing.T, knows map[string]string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{knows: knows}
	b.Client = &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			b.end = r.URL
			return errEnd
		}
		if len(via) > 15 {
			return errors.New("it goes in circles")
		}
		return nil
	}}
	return b
}

// fetch implements auth.AuthorizationCodeFetcher.
func (b *browser) fetch(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	b.end = nil
	if b.pages != nil {
		if err := b.pages(ctx, b.Client, args); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, args.URL, nil)
	if err != nil {
		return nil, err
	}
	for range 10 {
		page, at, err := b.page(r)
		if err != nil {
			return nil, err
		}
		if b.end != nil {
			q := b.end.Query()
			if q.Get("code") == "" {
				return nil, fmt.Errorf("the provider answers %s", b.end)
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		}
		if r, err = b.submit(ctx, page, at); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the provider asks without end")
}

func (b *browser) page(r *http.Request) (text string, at *url.URL, err error) {
	res, err := b.Do(r)
	if errors.Is(err, errEnd) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), res.Request.URL, err
}

func (b *browser) submit(ctx context.Context, page string, at *url.URL) (*http.Request, error) {
	m := aForm.FindStringSubmatch(page)
	if m == nil {
		return nil, fmt.Errorf("no form at %s:\n%s", at, page)
	}
	form := url.Values{}
	for _, in := range anIn.FindAllStringSubmatch(m[2], -1) {
		a := attributes(in[1])
		if v, ok := b.knows[a["name"]]; ok {
			form.Set(a["name"], v)
		} else if a["name"] != "" {
			form.Set(a["name"], a["value"])
		}
	}
	to, err := at.Parse(attributes(m[1])["action"])
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r, err
}

// login is the official SDK's client: it learns everything from our 401 on.
// asked counts how often the person was sent to the provider.
type login struct {
	*mcp.ClientSession
	handler *auth.AuthorizationCodeHandler
	asked   atomic.Int32
}

// signIn connects a client to a server of the gateway as a person. Without a
// clientID the client registers itself.
func signIn(t *testing.T, g *gateway, server, clientID string, b *browser) *login {
	t.Helper()
	l := &login{}
	conf := &auth.AuthorizationCodeHandlerConfig{RedirectURL: callback,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			l.asked.Add(1)
			u, err := url.Parse(args.URL)
			if err != nil {
				return nil, err
			}
			if q := u.Query(); q.Get("code_challenge_method") != "S256" || q.Get("resource") != g.resource(server) {
				return nil, fmt.Errorf("no PKCE or no resource: %s", args.URL)
			}
			return b.fetch(ctx, args)
		}}
	if clientID != "" {
		conf.PreregisteredClient = &oauthex.ClientCredentials{ClientID: clientID}
	} else {
		conf.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "a client that nobody knew", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"}, TokenEndpointAuthMethod: "none"}}
	}
	var err error
	if l.handler, err = auth.NewAuthorizationCodeHandler(conf); err != nil {
		t.Fatal(err)
	}
	c := mcp.NewClient(&mcp.Implementation{Name: "editor", Version: "1"}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.ClientSession, err = c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: g.resource(server), OAuthHandler: l.handler}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a session that was ended cannot be ended again
	return l
}

// token is the access token that the client has now.
func (l *login) token(t *testing.T) string {
	t.Helper()
	src, err := l.handler.TokenSource(t.Context())
	if err != nil || src == nil {
		t.Fatalf("no token: %v", err)
	}
	tok, err := src.Token()
	if err != nil {
		t.Fatal(err)
	}
	return tok.AccessToken
}

// use calls a tool through the client.
func (l *login) use(t *testing.T, tool string) (text string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := l.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil {
		return "", err
	}
	for _, c := range res.Content {
		if tc, ok := c.(*mcp.TextContent); ok {
			text += tc.Text
		}
	}
	return text, nil
}
