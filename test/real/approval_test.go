//go:build real

package real

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/test/fixture/server"
	"github.com/munjigi/munjigi/test/real/kit"
)

// TestBrowserApproval follows the link of a held call in a real browser: whoever
// made the call may not decide, an old sign-in is renewed at the provider, what
// hides in the arguments is seen, and after the yes the same call passes once.
func TestBrowserApproval(t *testing.T) {
	tools, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	idp := signintest.New(t)
	fix, err := server.New(server.Options{Era: server.Both, Odd: true})
	if err != nil {
		t.Fatal(err)
	}
	up, stop, err := fix.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	dir := t.TempDir()
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	base := "http://localhost:" + port
	for name, text := range map[string]string{
		"p.cedar": "permit (principal, action in [Munjigi::Action::\"connect\", Munjigi::Action::\"list\"], resource);\n" +
			"@approval(\"pair\") permit (principal, action == Munjigi::Action::\"call\", resource);\n",
		"munjigi.yaml": "listen: " + addr + "\npublic_url: " + base + "\ndata: " + filepath.Join(dir, "data") + "\npolicy: [p.cedar]\n" +
			"servers: { bank: { url: \"" + up + "\" } }\n" +
			"definitions: { first_sight: clean }\napproval: { approvers: { pair: { subjects: [alice, boss] } } }\n" +
			"egress: { allow: [\"" + strings.TrimPrefix(idp.URL, "http://") + "\"] }\n" +
			"identity: { issuers: [{ issuer: \"" + idp.URL + "\", signin: { client_id: " + signintest.ClientID + ", client_secret: { secret: env:SIGNIN_SECRET } } }] }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := kit.Start(t.Context(), kit.Command{Name: "munjigi", Path: tools.Munjigi, Args: []string{"serve", "-c", filepath.Join(dir, "munjigi.yaml"), "-quiet"}, Addr: addr,
		Env: []string{"SIGNIN_SECRET=" + signintest.ClientSecret, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}})
	ending(t, p, err)
	call := func(text string) string {
		t.Helper()
		token, err := idp.AccessToken(base+"/mcp/bank", "alice", "editor", "bank:list bank:read bank:call")
		if err != nil {
			t.Fatal(err)
		}
		peer := kit.DialHTTP(base+"/mcp/bank", &kit.Peer{Modern: true, Capabilities: `{"elicitation":{"url":{}}}`}, http.Header{"Authorization": {"Bearer " + token}})
		r, err := peer.Call(hurry(t), "odd_echo", `{"text":"`+text+`"}`, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Body)
	}
	link := regexp.MustCompile(regexp.QuoteMeta(base) + `/approvals/open\?id=[0-9a-f]{32}`)
	const odd = `pay <b>500</b>\u202e to\u200b DE-1`
	url := link.FindString(call(odd))
	if url == "" {
		t.Fatalf("no link: %s", call(odd))
	}
	at := "^" + regexp.QuoteMeta(url) + "$"
	signIn := func(c *chromium, who string, ago time.Duration) {
		t.Helper()
		idp.SignedIn(who)
		idp.Claims(map[string]any{"auth_time": time.Now().Add(-ago).Unix()})
		c.open(url)
		c.arrives("^" + base + "/signin")
		c.click("main button")
		c.arrives(at)
	}

	own := browse(t, "en")
	signIn(own, "alice", 0)
	own.audit("approve-own")
	if s := own.source(); !strings.Contains(s, "Somebody else has to decide") || strings.Contains(s, "500") {
		t.Errorf("alice sees: %s", s)
	}

	ko := browse(t, "ko")
	signIn(ko, "boss", 0)
	ko.audit("approve-ko")
	if s := ko.source(); !strings.Contains(s, "이 호출을 한 번 승인") {
		t.Errorf("%s", s)
	}

	c := browse(t, "en")
	signIn(c, "boss", time.Hour)
	c.audit("approve-again")
	if strings.Contains(c.source(), `value="yes"`) {
		t.Error("an old sign-in may decide")
	}
	idp.Claims(map[string]any{"auth_time": time.Now().Unix()})
	c.click("main form button") // to the provider, and back
	eventuallyShows(c, `value="yes"`)
	c.arrives(at)
	c.audit("approve")
	if s := c.source(); !strings.Contains(s, `&lt;b&gt;500&lt;/b&gt;\u{202e} to\u{200b} DE-1`) || !strings.Contains(s, "alice") || !strings.Contains(s, "odd_echo") || !strings.Contains(s, "editor") {
		t.Errorf("the page hides something: %s", s)
	}
	c.open(base + "/approvals")
	c.audit("approvals")
	c.click("main li a")
	c.arrives(at)
	c.click("button[value=yes]")
	eventuallyShows(c, "Approved")
	c.audit("approved")
	if got := call("something else"); !link.MatchString(got) {
		t.Errorf("another call: %s", got)
	}
	if got := call(odd); link.MatchString(got) || !strings.Contains(got, "DE-1") {
		t.Errorf("the approved call: %s", got)
	}
	if got := call(odd); !link.MatchString(got) {
		t.Errorf("once more: %s", got)
	}
	c.open(url)
	eventuallyShows(c, "nothing here for you to decide")
	c.open(base + "/approvals")
	c.click("main li:first-child a")
	c.click("button[value=no]")
	eventuallyShows(c, "Refused")
}

func eventuallyShows(c *chromium, text string) {
	c.Helper()
	eventually(c.T, "the page shows "+text, func(context.Context) bool { return strings.Contains(c.source(), text) })
}
