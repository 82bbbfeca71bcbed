//go:build real

package idp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn/mtls"
	"github.com/munjigi/munjigi/internal/authn/mtls/mtlstest"
	"github.com/munjigi/munjigi/test/real/kit"
)

// bindingClient runs binding.mjs and reads what it says.
func bindingClient(t *testing.T, into any, args ...string) {
	t.Helper()
	tools := parts(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{filepath.Join(tools.Root, "test", "idp", "binding.mjs"), args[0], tools.Modules}, args[1:]...)
	cmd := exec.CommandContext(ctx, tools.Node, args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, problems.Bytes())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// heard is what a client of others' making understood of an answer.
type heard struct {
	Status     int
	Done       bool
	Nonce      bool
	Challenges json.RawMessage
	TLS        string
	Refused    string
}

func (h heard) refusedFor(code string) bool {
	return h.Status == 401 && !h.Done && strings.Contains(string(h.Challenges), code)
}

func (h heard) String() string {
	return fmt.Sprintf("%d done=%v nonce=%v %s %s %s", h.Status, h.Done, h.Nonce, h.TLS, h.Refused, h.Challenges)
}

// startOP starts oidc-provider for a gateway at a URL.
func startOP(t *testing.T, theirs, gateway string) *provider {
	t.Helper()
	tools := parts(t)
	issuer := "http://" + theirs
	return begin(t, kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), gateway, newKey(t).jwks(t)}}, issuer, issuer+"/.well-known/openid-configuration")
}

// TestProofsOfOthers: tokens of oidc-provider, proofs by oauth4webapi. Neither
// knows anything of this gateway but its URL.
func TestProofsOfOthers(t *testing.T) {
	t.Parallel()
	ours, theirs := free(t), free(t)
	p := startOP(t, theirs, "http://"+ours)
	serve(t, ours, `{ issuers: [{ issuer: "`+p.issuer+`" }] }`, opPolicy, theirs)
	var got map[string]struct {
		TokenType                                                string `json:"token_type"`
		First, Second, Third, Replayed, Elsewhere, Bearer, Other heard
	}
	bindingClient(t, &got, "dpop", p.issuer, "http://"+ours)
	if len(got) < 2 {
		t.Errorf("only %d algorithms were tried", len(got))
	}
	for alg, s := range got {
		t.Logf("%s: %+v", alg, s)
		if s.TokenType != "dpop" || !s.First.Nonce || s.First.Status != 401 {
			t.Errorf("%s: at first: %v", alg, s.First)
		}
		if !s.Second.Done || !s.Third.Done {
			t.Errorf("%s: with the nonce: %v, then %v", alg, s.Second, s.Third)
		}
		for name, row := range map[string]struct {
			heard
			code string
		}{"replayed": {s.Replayed, "invalid_dpop_proof"}, "elsewhere": {s.Elsewhere, "invalid_token"}, "bearer": {s.Bearer, "invalid_token"}, "another key": {s.Other, "invalid_token"}} {
			if !row.refusedFor(row.code) {
				t.Errorf("%s, %s: %v", alg, name, row.heard)
			}
		}
	}
}

// TestClientsOfOthers: the official MCP client, told nothing but the URL and its
// own secret, reaches a server that requires DPoP, in both eras.
func TestClientsOfOthers(t *testing.T) {
	t.Parallel()
	ours, theirs := free(t), free(t)
	p := startOP(t, theirs, "http://"+ours)
	serve(t, ours, `{ issuers: [{ issuer: "`+p.issuer+`" }] }`, opPolicy, theirs)
	var got map[string]struct {
		Tools      int
		Text, Type string
		Seen       []string
	}
	bindingClient(t, &got, "mcp", p.issuer, "http://"+ours)
	for _, era := range []string{"modern", "legacy"} {
		s := got[era]
		t.Logf("%s: %+v", era, s)
		if s.Tools == 0 || s.Text == "" || s.Type != "DPoP" {
			t.Errorf("%s: %+v", era, s)
		}
		for _, want := range []string{"401 use_dpop_nonce", "403 insufficient_scope"} {
			if !slices.Contains(s.Seen, want) {
				t.Errorf("%s: %q was not met: %q", era, want, s.Seen)
			}
		}
	}
}

// TestCertificatesOfOthers: a token that oidc-provider bound to a certificate,
// and OpenSSL at the other end of the connection.
func TestCertificatesOfOthers(t *testing.T) {
	t.Parallel()
	ours, theirs, dir := free(t), free(t), t.TempDir()
	base := "https://" + ours
	p := startOP(t, theirs, base)
	ca, stranger := mtlstest.NewAuthority(t, nil), mtlstest.NewAuthority(t, nil)
	file := func(name string) string { return filepath.Join(dir, name) }
	certs := map[string]tls.Certificate{"gateway": ca.Issue(t, nil), "mine": ca.Issue(t, nil), "other": ca.Issue(t, nil), "stranger": stranger.Issue(t, nil),
		"expired": ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}
	for name, c := range certs {
		mtlstest.Write(t, c, file(name+".pem"), file(name+".key"))
	}
	mtlstest.WriteCA(t, file("ca.pem"), ca)
	serveTLS(t, ours, dir, `{ issuers: [{ issuer: "`+p.issuer+`" }] }`, theirs)
	var got struct {
		CNF                                       map[string]string
		Mine, Other, None, Expired, Stranger, Old heard
	}
	bindingClient(t, &got, "mtls", p.issuer, base, dir)
	t.Logf("%+v", got)
	if got.CNF["x5t#S256"] != mtls.Thumbprint(certs["mine"].Leaf) {
		t.Errorf("the provider names the certificate %v", got.CNF)
	}
	if !got.Mine.Done || got.Mine.TLS != "TLSv1.3" {
		t.Errorf("its own certificate: %v", got.Mine)
	}
	for name, h := range map[string]heard{"another": got.Other, "none": got.None} {
		if !h.refusedFor("invalid_token") {
			t.Errorf("%s: %v", name, h)
		}
	}
	for name, h := range map[string]heard{"an expired one": got.Expired, "a stranger's": got.Stranger, "TLS 1.2": got.Old} {
		if h.Refused == "" {
			t.Errorf("%s: %v", name, h)
		}
	}
}

// serveTLS starts munjigi by TLS with the files of a folder.
func serveTLS(t *testing.T, addr, dir, identity, allow string) {
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
	write(t, filepath.Join(dir, "policy.cedar"), "permit (principal, action, resource);")
	conf := filepath.Join(dir, "munjigi.yaml")
	write(t, conf, fmt.Sprintf(`listen: %s
public_url: https://%[1]s
data: %s
tls: { cert: gateway.pem, key: gateway.key, client_auth: request, client_ca: ca.pem }
identity: %s
egress: { allow: [%s] }
policy: [policy.cedar]
definitions: { first_sight: clean }
servers:
  files: { url: "%s/mcp", require_binding: [mtls] }
`, addr, filepath.Join(dir, "data"), identity, allow, url))
	proc, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", conf}, Dir: dir, Env: os.Environ(), Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("munjigi wrote:\n%s", proc.Output())
		}
	})
}
