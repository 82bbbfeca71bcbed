//go:build real

package idp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
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

// clientPaths are the ways by which a client becomes known to the gateway, and
// which client_id its tokens name then: any but editor's where it registered.
func clientPaths(t *testing.T) (paths map[string]string, config, ca string) {
	t.Helper()
	var host *httptest.Server
	host = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"client_id": host.URL + r.URL.Path, "client_name": "Described by itself", "redirect_uris": []string{callback},
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none"}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(host.Close)
	ca = filepath.Join(t.TempDir(), "documents.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate().Raw})))
	at := strings.TrimPrefix(host.URL, "https://")
	return map[string]string{"pre-registered": "editor", "registered": "", "document": host.URL + "/client.json"}, `authorization_server:
  registration: true
  documents: { allow: ["` + at + `"], insecure_private_hosts: ["` + at + `"] }
  clients: [{ id: editor, name: Editor, redirect_uris: ["` + callback + `"] }]
`, ca
}

// TestOwnAuthorizationServer: the official SDKs' clients connect from nothing
// but the server's URL and what they are known by, at a provider that knows none
// of them. They are asked about by the gateway, step up by themselves, and act for
// the person whom the provider knows.
func TestOwnAuthorizationServer(t *testing.T) {
	t.Parallel()
	ours, theirs := free(t), free(t)
	issuer := "http://" + theirs
	startOP(t, theirs, "http://"+ours)
	paths, config, ca := clientPaths(t)
	g := serveBy(t, http.DefaultClient, "http://"+ours, config, `{ issuers: [{ issuer: "`+issuer+`", `+signsIn(t)+` }] }`, `permit (principal, action, resource);`, theirs, "ca:"+ca)
	knows := func() map[string]string { return map[string]string{"username": "kim", "password": "kim-password"} }

	for path, who := range paths {
		t.Run("Go SDK, "+path, func(t *testing.T) {
			t.Parallel()
			goClient(t, g, newBrowser(t, knows()), who)
		})
		t.Run("TypeScript SDK, "+path, func(t *testing.T) {
			t.Parallel()
			tsClient(t, g, newBrowser(t, knows()), who)
		})
	}
}

// ours holds a client's token to be the gateway's own, made for files and for the
// client that who names, or for one that nobody knew before.
func (g *gateway) ours(t *testing.T, token, who string, asked *atomic.Int32) {
	t.Helper()
	claims := part(t, token, 1)
	id, _ := claims["client_id"].(string)
	if claims["iss"] != g.base || part(t, token, 0)["typ"] != "at+jwt" || asked.Load() == 0 {
		t.Errorf("asked %d times; %v", asked.Load(), claims)
	}
	if who != "" && id != who || who == "" && (id == "" || id == "editor" || strings.Contains(id, "/")) {
		t.Errorf("the token is for the client %q, wanted %q", id, who)
	}
	if a := g.call(t, "files", token, "test_simple_text"); !a.done() {
		t.Errorf("a token for files there: %v", a)
	}
	if a := g.call(t, "mail", token, "test_simple_text"); a.status != http.StatusUnauthorized {
		t.Errorf("a token for files at mail: %v", a)
	}
}

// goClient logs in as the client who, calls a tool, and tries its token elsewhere.
func goClient(t *testing.T, g *gateway, b *browser, who string) {
	t.Helper()
	var asked atomic.Int32
	l := goLogin(t, g, b, who, &asked)
	if text, err := l.use(t, "test_simple_text"); err != nil || text == "" {
		t.Fatalf("%q %v", text, err)
	}
	g.ours(t, l.token(t), who, &asked)
}

// goLogin connects as the client who.
func goLogin(t *testing.T, g *gateway, b *browser, who string, asked *atomic.Int32) *login {
	t.Helper()
	conf := &auth.AuthorizationCodeHandlerConfig{RedirectURL: callback,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			end, err := b.letIn(ctx, args.URL, asked)
			if err != nil {
				return nil, err
			}
			q := end.Query()
			if q.Get("iss") != g.base || q.Get("code") == "" {
				return nil, fmt.Errorf("the answer is %s", end)
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		}}
	switch {
	case who == "editor":
		conf.PreregisteredClient = &oauthex.ClientCredentials{ClientID: who}
	case who != "":
		conf.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: who}
	default:
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
	return l
}

// tsDone is what the TypeScript client says at its end.
type tsDone struct {
	Done  bool
	Tools int
	Token string
}

// tsClient runs authserver.mjs as the client who, and is the browser that it
// opens.
func tsClient(t *testing.T, g *gateway, b *browser, who string) {
	t.Helper()
	var asked atomic.Int32
	tools := parts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Node, filepath.Join(tools.Root, "test", "idp", "authserver.mjs"), tools.Modules, g.resource("files"), callback, who)
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
			end, err := b.letIn(ctx, rest, &asked)
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
	if !done.Done || done.Tools == 0 {
		t.Fatalf("asked %d times; %+v", asked.Load(), done)
	}
	g.ours(t, done.Token, who, &asked)
}
