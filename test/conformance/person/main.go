// Command person runs the auth scenarios of the official MCP conformance suite
// for clients, and is the client that the suite then starts: a gateway in this process with the suite's server as its only one,
// an MCP client of that gateway with a token of its own, and the person whose
// browser opens the links that come back.
//
// It guarantees nothing about what it saw: the suite judges that, and a warning
// of it counts as a failure. What is known not to pass, or not to apply, stands
// in expected.yaml with its reason; a failure beyond that fails the run, and so
// does one that did not happen. As the suite's client it ends with status 1 when
// the calls of a scenario did not get through, which some scenarios want.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/test/real/kit"
)

func main() {
	if os.Getenv("MCP_CONFORMANCE_SCENARIO") == "" {
		os.Exit(all())
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "person:", err)
		os.Exit(1)
	}
}

// all runs the suite, with this program as its client.
func all() int {
	only := flag.String("scenario", "", "run the scenarios whose name matches this `regexp`")
	counts := flag.String("counts", "", "append how many scenarios went as wanted and how many not to this `file`")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "clients: -scenario is no regular expression, or there are words too many")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := runAll(ctx, match, *counts)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "clients:", err)
		return 3
	case !ok:
		return 1
	}
	return 0
}

// scene is what the suite says of a scenario.
type scene struct {
	name    string
	modern  bool
	server  *url.URL
	context map[string]string
}

func readScene() (scene, error) {
	s := scene{name: os.Getenv("MCP_CONFORMANCE_SCENARIO"), modern: os.Getenv("MCP_CONFORMANCE_PROTOCOL_VERSION") == kit.ModernVersion}
	if len(os.Args) != 2 || s.name == "" {
		return s, errors.New("the conformance suite runs this program: see test/README.md")
	}
	var err error
	if s.server, err = url.Parse(os.Args[1]); err != nil {
		return s, err
	}
	if text := os.Getenv("MCP_CONFORMANCE_CONTEXT"); text != "" {
		err = json.Unmarshal([]byte(text), &s.context)
	}
	return s, err
}

// limit is shorter than the suite's own, so that what went wrong is told.
const limit = 50 * time.Second

func run() (err error) {
	s, err := readScene()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.name == "auth/enterprise-managed-authorization" {
		return enterprise(ctx, s)
	}
	dir, err := os.MkdirTemp("", "person-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := open(ctx, dir, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	return g.play(ctx, s)
}

// gateway is a gateway in this process.
type gateway struct {
	*app.App
	base string // of its pages
	term *terminal
	stop func() error
}

// terminal keeps what the gateway shows its operator.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

// code is the last code that was shown.
func (t *terminal) code() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(t.b.String(), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

func open(ctx context.Context, dir string, s scene) (*gateway, error) {
	addr, err := kit.FreeAddr()
	if err != nil {
		return nil, err
	}
	server, more, err := settings(ctx, dir, s)
	if err != nil {
		return nil, err
	}
	doc := map[string]any{"listen": addr, "data": filepath.Join(dir, "data"), "servers": map[string]any{"x": server}}
	for k, v := range more {
		doc[k] = v
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "munjigi.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	cfg, err := config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(file)
	if err != nil {
		return nil, err
	}
	g := &gateway{term: &terminal{}}
	if g.base, err = app.PagesURL(cfg); err != nil {
		return nil, err
	}
	if g.App, err = app.Open(ctx, cfg, app.Options{Version: "conformance", Getenv: os.Getenv, LookupEnv: os.LookupEnv, Terminal: g.term}); err != nil {
		return nil, err
	}
	l, err := g.Listen(ctx)
	if err != nil {
		return nil, errors.Join(err, g.Close(ctx))
	}
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- g.Serve(serving, l) }()
	g.stop = func() error { end(); return <-done }
	return g, nil
}

func (g *gateway) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(g.stop(), g.Close(ctx))
}

// settings are the config's entry of the suite's server, and what else the
// scenario needs, as an operator who was told the scenario's context would
// write them.
func settings(ctx context.Context, dir string, s scene) (server, more map[string]any, err error) {
	// The suite's servers are all on loopback, by plain HTTP.
	credential := map[string]any{"type": "per_user", "insecure_private_hosts": []string{"localhost"}}
	more = map[string]any{}
	secret := func(name string) (any, error) {
		err := os.WriteFile(filepath.Join(dir, name), []byte(s.context[name]), 0o600)
		return map[string]string{"secret": "file:" + name}, err
	}
	issuer, at := "", ""
	if s.context["client_id"] != "" {
		if issuer, at, err = authorizationServer(ctx, s.server); err != nil {
			return nil, nil, err
		}
	}
	switch s.name {
	case "auth/basic-cimd":
		credential["client_document"] = "https://conformance-test.local/client-metadata.json"
	case "auth/pre-registration":
		credential["issuer"], credential["client_id"] = issuer, s.context["client_id"]
		credential["client_secret"], err = secret("client_secret")
	case "auth/client-credentials-basic":
		credential = map[string]any{"type": "client_credentials", "issuer": issuer, "client_id": s.context["client_id"]}
		credential["client_secret"], err = secret("client_secret")
		more["egress"] = map[string]any{"allow": []string{at}}
	case "auth/client-credentials-jwt":
		credential = map[string]any{"type": "client_credentials", "issuer": issuer, "client_id": s.context["client_id"]}
		credential["private_key"], err = secret("private_key_pem")
		more["egress"] = map[string]any{"allow": []string{at}}
	case "auth/wif-jwt-bearer":
		credential = map[string]any{"type": "jwt_bearer", "issuer": issuer, "client_id": s.context["client_id"]}
		credential["assertion"], err = secret("valid_jwt")
		more["egress"] = map[string]any{"allow": []string{at}}
	}
	era := "legacy"
	if s.modern {
		era = "modern"
	}
	return map[string]any{"url": s.server.String(), "era": era, "credential": credential}, more, err
}

// authorizationServer reads who the server's authorization server is, as an
// operator does before registering there.
func authorizationServer(ctx context.Context, server *url.URL) (issuer, host string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.Scheme+"://"+server.Host+"/.well-known/oauth-protected-resource"+server.Path, nil)
	if err != nil {
		return "", "", err
	}
	res, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = res.Body.Close() }()
	var doc struct {
		Servers []string `json:"authorization_servers"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&doc); err != nil || len(doc.Servers) == 0 {
		return "", "", errors.Join(errors.New("the server names no authorization server"), err)
	}
	u, err := url.Parse(doc.Servers[0])
	if err != nil {
		return "", "", err
	}
	return doc.Servers[0], net.JoinHostPort(u.Hostname(), u.Port()), nil
}
