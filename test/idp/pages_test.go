//go:build real

package idp

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/test/real/kit"
)

// pagesAt signs kim in to the gateway's own pages in a real browser, holds that
// she is the principal that her access tokens name, and signs her out at the
// provider.
func pagesAt(t *testing.T, g *gateway, p *provider, call func() error, yes string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := kit.StartBrowser(ctx, t.TempDir(), kit.Look{Languages: "en"})
	must(err)
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()
	arrives := func(at string) {
		t.Helper()
		eventually(t, "the browser at "+at, func() bool {
			now, err := b.At(ctx)
			return err == nil && strings.HasPrefix(now, at)
		})
	}
	base := g.base
	must(b.Open(ctx, base+"/grants"))
	arrives(base + "/signin")
	must(b.Click(ctx, "main button"))
	arrives("http://" + strings.Split(strings.TrimPrefix(p.issuer, "http://"), "/")[0])
	must(b.Type(ctx, "input[name=username]", "kim"))
	must(b.Type(ctx, "input[name=password]", "kim-password\ue007"))
	arrives(base + "/grants")
	html, err := b.Source(ctx)
	must(err)
	if !strings.Contains(html, "You have allowed nothing") || !strings.Contains(html, "Signed in as") {
		t.Fatalf("%s", html)
	}
	must(call())
	byPage, byToken := "", ""
	must(log.Read(filepath.Join(g.data, "audit"), log.NewestFirst, func(e audit.Event) bool {
		switch {
		case e.Reason == "signed-in" && byPage == "":
			byPage = e.Principal
		case e.Method == "tools/call" && byToken == "":
			byToken = e.Principal
		}
		return byPage == "" || byToken == ""
	}))
	if byPage == "" || byPage != byToken {
		t.Errorf("the page knows %q, the token says %q", byPage, byToken)
	}
	must(b.Open(ctx, p.meta.EndSession+"?client_id=pages"))
	must(b.Click(ctx, yes))
	// Going elsewhere at once would take the click back.
	eventually(t, "an answer of the provider", func() bool {
		at, err := b.At(ctx)
		return err == nil && !strings.HasPrefix(at, p.meta.EndSession+"?")
	})
	eventually(t, "signed out at the gateway", func() bool {
		must(b.Open(ctx, base+"/grants"))
		at, err := b.At(ctx)
		return err == nil && strings.HasPrefix(at, base+"/signin")
	})
}

// signsIn is the part of an issuer's config that the pages need.
func signsIn(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pages.secret")
	write(t, file, "pages-secret\n")
	return `signin: { client_id: pages, client_secret: { secret: "file:` + file + `" } }`
}

func TestPagesAtOIDCProvider(t *testing.T) {
	t.Parallel()
	tools := parts(t)
	ours, theirs, own := free(t), free(t), newKey(t)
	issuer := "http://" + theirs
	p := begin(t, kit.Command{Name: "oidc-provider", Path: tools.Node, Args: []string{filepath.Join(tools.Root, "test", "idp", "oidc-provider.mjs"),
		tools.Modules, port(theirs), "http://" + ours, own.jwks(t)}}, issuer, issuer+"/.well-known/openid-configuration")
	g := serve(t, ours, `{ issuers: [{ issuer: "`+issuer+`", `+signsIn(t)+`, logout: { clients: [pages] } }] }`, `permit (principal, action, resource);`, theirs)
	kim := signIn(t, g, "files", "", newBrowser(t, map[string]string{"username": "kim", "password": "kim-password"}))
	pagesAt(t, g, p, func() error {
		_, err := kim.use(t, "test_simple_text")
		return err
	}, "button[value=yes]")
}
