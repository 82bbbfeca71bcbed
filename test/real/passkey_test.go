//go:build real

package real

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/test/real/kit"
)

// TestBrowserPasskey adds a passkey in a real browser with a virtual
// authenticator and signs in with it; an authenticator that verifies nobody, a
// passkey that was removed, and a browser without scripts get nowhere but to
// the code.
func TestBrowserPasskey(t *testing.T) {
	tools, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	file, data := filepath.Join(dir, "munjigi.yaml"), filepath.Join(dir, "data")
	if err := os.WriteFile(file, []byte("listen: "+addr+"\ndata: "+data+"\nservers: { s: { url: \"http://127.0.0.1:9/mcp\" } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", file, "-quiet"}, Addr: addr})
	ending(t, p, err)
	_, port, _ := strings.Cut(addr, ":")
	base := "http://localhost:" + port
	codes := func() []string {
		return regexp.MustCompile(`\b[A-Z2-9]{4}-[A-Z2-9]{4}\b`).FindAllString(p.Output(), -1)
	}

	b, err := kit.StartBrowser(t.Context(), t.TempDir(), kit.Look{Languages: "en", Scripts: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &chromium{t, b}
	holder, err := b.Authenticator(hurry(t))
	if err != nil {
		t.Fatal(err)
	}
	byCode := func(c *chromium, to string) {
		t.Helper()
		c.open(base + to)
		c.arrives("^" + base + "/signin")
		had := len(codes())
		c.click(`form[action="/signin/code"] button`)
		eventually(t, "a code on the terminal", func(context.Context) bool { return len(codes()) > had })
		c.fill("#code", codes()[had]+"\ue007")
		c.arrives("^" + base + "/grants")
	}
	byCode(c, "/grants")
	c.open(base + "/signin/passkeys")
	c.audit("passkeys-none")
	c.fill("#name", "laptop")
	c.click(`form[data-passkey] button`)
	eventually(t, "the passkey was added", func(context.Context) bool { return strings.Contains(c.source(), "The passkey was added") })
	c.open(base + "/signin/passkeys")
	if !strings.Contains(c.source(), "laptop") {
		t.Error("the passkey is not listed")
	}
	c.audit("passkeys")
	out := func() {
		t.Helper()
		c.click(`nav form button`)
		eventually(t, "signed out", func(context.Context) bool { return strings.Contains(c.source(), "You are signed out") })
	}
	out()
	c.open(base + "/signin")
	c.audit("signin-passkey")
	c.click(`form[data-passkey] button`)
	c.arrives("^" + base + "/grants")
	out()

	// The authenticator verifies nobody: the browser itself says no.
	if err := b.Verify(hurry(t), holder, false); err != nil {
		t.Fatal(err)
	}
	c.open(base + "/signin")
	c.click(`form[data-passkey] button`)
	eventually(t, "no passkey without its person", func(context.Context) bool {
		var shown bool
		c.must(c.Eval(hurry(t), `return !document.querySelector('form[data-passkey] [role=alert]').hidden`, &shown))
		return shown
	})
	if err := b.Verify(hurry(t), holder, true); err != nil {
		t.Fatal(err)
	}

	// A page of a moment ago, and a passkey that was removed since.
	other := browse(t, "en") // no script runs here
	byCode(other, "/grants")
	other.open(base + "/signin/passkeys")
	if s := other.source(); !strings.Contains(s, "Adding a passkey needs JavaScript") {
		t.Error("without scripts nobody says so")
	}
	other.click(`form[action="/signin/passkeys/remove"] button`)
	eventually(t, "removed", func(context.Context) bool { return strings.Contains(other.source(), "The passkey was removed") })
	c.click(`form[data-passkey] button`)
	eventually(t, "refused", func(context.Context) bool { return strings.Contains(c.source(), "The passkey was not accepted") })
	c.audit("passkey-refused")

	seen := map[string]int{}
	if err := log.Read(filepath.Join(data, "audit"), log.NewestFirst, func(e audit.Event) bool { seen[e.Reason]++; return true }); err != nil {
		t.Fatal(err)
	}
	for reason, n := range map[string]int{"passkey-added": 1, "passkey-removed": 1, "passkey-refused": 1, "signed-in": 3} {
		if seen[reason] != n {
			t.Errorf("%s is on the record %d times, want %d", reason, seen[reason], n)
		}
	}
}
