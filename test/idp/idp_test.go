//go:build real

// Package idp holds the tests with identity providers that others wrote: each is
// started on loopback by a script of this folder, with Munjigi as a process
// before a trivial MCP server. They run with `make idp`, or
// `go test -tags real ./test/idp`; what is missing is installed below .tools.
package idp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/test/real/kit"
)

// install brings the parts once for all tests. MUNJIGI names a binary to test
// instead of a fresh build.
var install = sync.OnceValues(func() (*kit.Tools, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return kit.Install(ctx, kit.Want{NPM: true, Munjigi: true, Binary: os.Getenv("MUNJIGI"), Log: os.Stderr})
})

func parts(t *testing.T) *kit.Tools {
	t.Helper()
	tools, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

const (
	patience  = 30 * time.Second // bounds one exchange
	startTime = 5 * time.Minute  // bounds a provider's start on a busy machine
)

// script runs a script of this folder to its end.
func script(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Stderr = os.Stderr
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// provider is an identity provider that runs.
type provider struct {
	*kit.Process
	issuer string
	meta   metadata
}

// metadata is what the tests use of RFC 8414.
type metadata struct {
	Issuer     string `json:"issuer"`
	Token      string `json:"token_endpoint"`
	Revocation string `json:"revocation_endpoint"`
	EndSession string `json:"end_session_endpoint"`
}

// begin starts a provider and waits until its metadata can be had.
func begin(t *testing.T, c kit.Command, issuer, wellKnown string) *provider {
	t.Helper()
	return beginBy(t, http.DefaultClient, c, issuer, wellKnown)
}

// beginBy is the same with a client that reaches the provider.
func beginBy(t *testing.T, client *http.Client, c kit.Command, issuer, wellKnown string) *provider {
	t.Helper()
	proc, err := kit.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", c.Name, proc.Output())
		}
	})
	p := &provider{Process: proc, issuer: issuer}
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, body, err := get(ctx, client, wellKnown); err == nil && status == http.StatusOK && json.Unmarshal(body, &p.meta) == nil && p.meta.Issuer == issuer {
			return p
		}
		select {
		case <-proc.Done():
			t.Fatalf("%s ended: %s\n%s", c.Name, proc.Ended(), proc.Output())
		case <-ctx.Done():
			t.Fatalf("%s was not ready: %v\n%s", c.Name, ctx.Err(), proc.Output())
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, client *http.Client, at string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// free returns a loopback address that nothing listens on.
func free(t *testing.T) string {
	t.Helper()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// gateway is a munjigi that runs before two servers, files and mail, with
// identity from a provider.
type gateway struct {
	*kit.Process
	base   string // its public URL
	data   string
	client *http.Client
}

// serve starts munjigi at an address. identity is the value of identity: in
// YAML's flow form, policy one Cedar text.
func serve(t *testing.T, addr, identity, policy string, allow ...string) *gateway {
	t.Helper()
	return serveBy(t, http.DefaultClient, "http://"+addr, "", identity, policy, allow...)
}

// serveBy is the same with a public URL, a client that reaches it, and more lines
// of the config. A last entry of allow that begins with ca: names a file of further
// authorities.
func serveBy(t *testing.T, client *http.Client, base, more, identity, policy string, allow ...string) *gateway {
	t.Helper()
	tools := parts(t)
	up, url, err := tools.StartFixture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := up.Stop(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "policy.cedar"), policy)
	write(t, filepath.Join(dir, "gateway.secret"), "gateway-secret")
	_, addr, _ := strings.Cut(base, "://")
	g := &gateway{base: base, data: filepath.Join(dir, "data"), client: client}
	opened, ca := strings.Join(allow, ", "), ""
	if own, ok := strings.CutPrefix(allow[len(allow)-1], "ca:"); ok {
		opened, ca = strings.Join(allow[:len(allow)-1], ", "), `, ca: "`+own+`"`
	}
	file := filepath.Join(dir, "munjigi.yaml")
	write(t, file, fmt.Sprintf(`listen: %s
public_url: %s
data: %s
identity: %s
egress: { allow: [%s]%s }
policy: [policy.cedar]
definitions: { first_sight: clean }
servers:
  files: { url: "%s/mcp", insecure_same_names: true }
  mail: { url: "%[7]s/mcp", insecure_same_names: true }
%s`, addr, base, g.data, identity, opened, ca, url, more))
	g.Process, err = kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", file}, Dir: dir, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("munjigi wrote:\n%s", g.Output())
		}
	})
	return g
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// resource is the URL that tokens for a server name.
func (g *gateway) resource(server string) string { return g.base + "/mcp/" + server }

// answer is what came back for one request.
type answer struct {
	status    int
	body      string
	challenge string
	nonce     string
}

func (a answer) done() bool { return a.status == http.StatusOK && strings.Contains(a.body, `"result"`) }

func (a answer) String() string { return fmt.Sprintf("%d %s %s", a.status, a.challenge, a.body) }

// call asks a server's tool in the modern way. More headers replace those of a
// bearer token.
func (g *gateway) call(t *testing.T, server, token, tool string, more ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"name":"` + tool + `","arguments":{}}}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.resource(server), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool} {
		r.Header.Set(k, v)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, string(b), strings.Join(res.Header.Values("WWW-Authenticate"), ", "), res.Header.Get("DPoP-Nonce")}
}

// grant asks a token endpoint. user and password, when not empty, are the
// client's, by HTTP Basic.
func grant(t *testing.T, endpoint, user, password string, form url.Values, more ...string) (token string) {
	t.Helper()
	status, body, _ := post(t, endpoint, user, password, form, more...)
	return granted(t, status, body)
}

func granted(t *testing.T, status int, body []byte) string {
	t.Helper()
	var out struct {
		Token string `json:"access_token"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &out) != nil || out.Token == "" {
		t.Fatalf("no token: %d %s", status, body)
	}
	return out.Token
}

func post(t *testing.T, at, user, password string, form url.Values, more ...string) (int, []byte, http.Header) {
	t.Helper()
	return postBy(t, http.DefaultClient, at, user, password, form, more...)
}

func postBy(t *testing.T, client *http.Client, at, user, password string, form url.Values, more ...string) (int, []byte, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b, res.Header
}

// eventually tries until f says so, or patience ends.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", 2*patience, what)
		case <-tick.C:
		}
	}
}
