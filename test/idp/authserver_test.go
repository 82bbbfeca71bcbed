//go:build real

package idp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

var leadsTo = regexp.MustCompile(`content="0;url=([^"]+)"`)

// letIn is a person whose browser opens a client's link: they allow what the
// gateway's own page asks, sign in at the provider, and end at the client's
// callback. It counts the gateway's questions.
func (b *browser) letIn(ctx context.Context, link string, asked *atomic.Int32) (*url.URL, error) {
	b.end = nil
	b.knows["answer"] = "yes"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	for range 15 {
		page, at, err := b.page(r)
		if err != nil {
			return nil, err
		}
		if b.end != nil {
			return b.end, nil
		}
		if m := leadsTo.FindStringSubmatch(page); m != nil {
			to := html.UnescapeString(m[1])
			if strings.HasPrefix(to, callback) {
				return url.Parse(to)
			}
			if r, err = http.NewRequestWithContext(ctx, http.MethodGet, to, nil); err != nil {
				return nil, err
			}
			continue
		}
		if strings.HasPrefix(at.Path, "/oauth/consent") {
			asked.Add(1)
			// Somebody who signed in before has a form for signing out above it.
			if i := strings.Index(page, `<form method="post" action="/oauth/consent"`); i > 0 {
				page = page[i:]
			}
		}
		if r, err = b.submit(ctx, page, at); err != nil {
			return nil, err
		}
		r.Header.Set("Origin", at.Scheme+"://"+at.Host)
	}
	return nil, errors.New("it goes in circles")
}

// TestOwnAuthorizationServer: the official SDKs' clients connect from nothing
// but the server's URL and a client_id, at a provider that knows neither of
// them. They are asked about by the gateway, step up by themselves, and act for
// the person whom the provider knows.
func TestOwnAuthorizationServer(t *testing.T) {
	t.Parallel()
	ours, theirs := free(t), free(t)
	issuer := "http://" + theirs
	startOP(t, theirs, "http://"+ours)
	g := serveBy(t, http.DefaultClient, "http://"+ours, `authorization_server:
  registration: true
  clients: [{ id: editor, name: Editor, redirect_uris: ["`+callback+`"] }]
`, `{ issuers: [{ issuer: "`+issuer+`", `+signsIn(t)+` }] }`, `permit (principal, action, resource);`, theirs)
	knows := func() map[string]string { return map[string]string{"username": "kim", "password": "kim-password"} }

	for name, known := range map[string]bool{"Go SDK": true, "Go SDK, registered by itself": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goClient(t, g, newBrowser(t, knows()), known)
		})
	}

	t.Run("TypeScript SDK", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int32
		out := tsClient(t, g, newBrowser(t, knows()), &asked)
		if !out.Done || out.Tools == 0 || asked.Load() == 0 {
			t.Errorf("asked %d times; %+v", asked.Load(), out)
		}
	})
}

// goClient logs in, calls a tool, and tries its token elsewhere.
func goClient(t *testing.T, g *gateway, b *browser, known bool) {
	t.Helper()
	var asked atomic.Int32
	conf := &auth.AuthorizationCodeHandlerConfig{RedirectURL: callback,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			end, err := b.letIn(ctx, args.URL, &asked)
			if err != nil {
				return nil, err
			}
			q := end.Query()
			if q.Get("iss") != g.base || q.Get("code") == "" {
				return nil, fmt.Errorf("the answer is %s", end)
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		}}
	if known {
		conf.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "editor"}
	} else {
		conf.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "Nobody knows me", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code", "refresh_token"}, TokenEndpointAuthMethod: "none"}}
	}
	handler, err := auth.NewAuthorizationCodeHandler(conf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l := &login{handler: handler}
	c := mcp.NewClient(&mcp.Implementation{Name: "editor", Version: "1"}, nil)
	if l.ClientSession, err = c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: g.resource("files"), OAuthHandler: handler}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if text, err := l.use(t, "test_simple_text"); err != nil || text == "" {
		t.Fatalf("%q %v", text, err)
	}
	claims := part(t, l.token(t), 1)
	if claims["iss"] != g.base || (claims["client_id"] == "editor") != known || part(t, l.token(t), 0)["typ"] != "at+jwt" || asked.Load() == 0 {
		t.Errorf("asked %d times; %v", asked.Load(), claims)
	}
	if a := g.call(t, "mail", l.token(t), "test_simple_text"); a.status != http.StatusUnauthorized {
		t.Errorf("a token for files at mail: %v", a)
	}
}

// tsDone is what the TypeScript client says at its end.
type tsDone struct {
	Done    bool
	Tools   int
	Refused string
}

// tsClient runs authserver.mjs, and is the browser that it opens.
func tsClient(t *testing.T, g *gateway, b *browser, asked *atomic.Int32) tsDone {
	t.Helper()
	tools := parts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Node, filepath.Join(tools.Root, "test", "idp", "authserver.mjs"), tools.Modules, g.resource("files"), callback)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	var problems bytes.Buffer
	cmd.Stderr = &problems
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	var done tsDone
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "open":
			end, err := b.letIn(ctx, rest, asked)
			if err != nil {
				t.Fatalf("%v\n%s", err, problems.Bytes())
			}
			if _, err := fmt.Fprintln(in, end); err != nil {
				t.Fatal(err)
			}
		case "end":
			if err := json.Unmarshal([]byte(rest), &done); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, problems.Bytes())
	}
	return done
}
