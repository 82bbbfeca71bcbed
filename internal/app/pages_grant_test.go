package app_test

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/internal/credential/peruser/perusertest"
)

// personal is a gateway whose one server wants each person's own grant.
func personal(t *testing.T, idp *signintest.Provider, up *perusertest.Server) *paged {
	t.Helper()
	p := withPages(t, public, issuers(idp))
	text := "listen: 127.0.0.1:8931\ndata: " + p.data + "\naudit: { durability: relaxed }\npolicy: [all.cedar]\n" +
		"servers: { files: { url: \"" + up.URL + "/mcp\", credential: { type: per_user, issuer: \"" + up.URL + "\", client_id: " + perusertest.ClientID + " } } }\n" +
		strings.Replace(issuers(idp), "egress: { allow: [", "egress: { allow: [\""+strings.TrimPrefix(up.URL, "http://")+"\", ", 1)
	p.overwrite(t, text)
	if err := p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// call calls the tool as a modern client that can show links.
func (p *paged) call(t *testing.T, idp *signintest.Provider, person, client string) string {
	t.Helper()
	token, err := idp.AccessToken(public+"/mcp/files", person, client, "files:list files:read files:call")
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}},"name":"look"}}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.srv.URL+"/mcp/files", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = strings.TrimPrefix(public, "https://")
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2026-07-28",
		"Mcp-Method": "tools/call", "Mcp-Name": "look", "Authorization": "Bearer " + token} {
		r.Header.Set(k, v)
	}
	resp, err := p.srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	grantLink = regexp.MustCompile(regexp.QuoteMeta(public) + `(/grants/open\?id=[A-Za-z0-9_-]+)`)
	goesOn    = regexp.MustCompile(`content="0;url=([^"]+)"`)
	consents  = regexp.MustCompile(`id="go" href="` + regexp.QuoteMeta(public) + `([^"]+)"`)
)

func one(t *testing.T, re *regexp.Regexp, in string) string {
	t.Helper()
	m := re.FindStringSubmatch(in)
	if m == nil {
		t.Fatalf("no %v in\n%s", re, in)
	}
	return html.UnescapeString(m[1])
}

// agree opens the authorization server's page and returns our path that its
// yes leads to.
func agree(t *testing.T, at string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return one(t, consents, string(b))
}

// TestAGrantForTheOneWhoAsked is the whole way: a call without a grant brings a
// link; somebody else who opens it gets nothing; the person allows it, the call
// succeeds with the person's token; another client and another person must ask
// for themselves; after withdrawal nothing is left.
func TestAGrantForTheOneWhoAsked(t *testing.T) {
	t.Parallel()
	idp, up := signintest.New(t), perusertest.New(t)
	p := personal(t, idp, up)
	link := one(t, grantLink, p.call(t, idp, "alice", "editor"))

	idp.SignedIn("mallory")
	mallory := p.visitor(t)
	mallory.signIn(idp)
	theirs, body := mallory.do(http.MethodGet, link, nil)
	none, other := mallory.do(http.MethodGet, "/grants/open?id=AAAAAAAAAAAAAAAAAAAAAAAAAA", nil)
	id := regexp.MustCompile(`<code>[A-Z2-7]{26}</code>`)
	if theirs.StatusCode != 404 || none.StatusCode != 404 || id.ReplaceAllString(body, "") != id.ReplaceAllString(other, "") {
		t.Errorf("somebody else sees %d\n%s", theirs.StatusCode, body)
	}

	idp.SignedIn("alice")
	alice := p.visitor(t)
	if resp, _ := alice.do(http.MethodGet, link, nil); !strings.HasPrefix(resp.Header.Get("Location"), "/signin?to=") {
		t.Fatalf("%v", resp.Header)
	}
	alice.signIn(idp)
	_, ask := alice.do(http.MethodGet, link, nil)
	for _, want := range []string{"editor", strings.TrimPrefix(up.URL, "http://"), "files.read"} {
		if !strings.Contains(ask, want) {
			t.Errorf("the page does not show %s:\n%s", want, ask)
		}
	}
	if up.Tokens() != 0 {
		t.Fatal("a token before a yes")
	}
	_, leave := alice.submit(ask, "/grants/open", url.Values{"answer": {"yes"}})
	back := agree(t, one(t, goesOn, leave))
	if resp, _ := mallory.do(http.MethodGet, back, nil); resp.StatusCode != 404 || up.Tokens() != 0 {
		t.Errorf("another browser finished it: %d", resp.StatusCode)
	}
	if resp, body := alice.do(http.MethodGet, back, nil); resp.StatusCode != 200 || up.Tokens() != 1 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := alice.do(http.MethodGet, back, nil); resp.StatusCode != 404 || up.Tokens() != 1 {
		t.Errorf("the answer served twice: %d", resp.StatusCode)
	}
	if resp, _ := alice.do(http.MethodGet, link, nil); resp.StatusCode != 404 {
		t.Errorf("the link served twice: %d", resp.StatusCode)
	}

	if got := p.call(t, idp, "alice", "editor"); !strings.Contains(got, "the files of a person") {
		t.Errorf("with the grant: %s", got)
	}
	for _, who := range [][2]string{{"alice", "other-client"}, {"mallory", "editor"}} {
		if got := p.call(t, idp, who[0], who[1]); strings.Contains(got, "the files of a person") || !grantLink.MatchString(got) {
			t.Errorf("%v uses alice's grant: %s", who, got)
		}
	}
	if _, list := mallory.do(http.MethodGet, "/grants", nil); strings.Contains(list, "<h2>") {
		t.Errorf("mallory sees grants:\n%s", list)
	}

	_, list := alice.do(http.MethodGet, "/grants", nil)
	if resp, body := alice.submit(list, "/grants/withdraw", nil); resp.StatusCode != 200 || up.Tokens() != 0 {
		t.Errorf("%d, %d tokens\n%s", resp.StatusCode, up.Tokens(), body)
	}
	if got := p.call(t, idp, "alice", "editor"); strings.Contains(got, "the files of a person") {
		t.Errorf("after withdrawal: %s", got)
	}
	seen := map[string]bool{}
	for _, e := range p.events(t) {
		seen[e.Reason+" "+e.Principal] = true
	}
	for _, want := range []string{"signed-in mallory@" + idp.URL, "grant-unknown mallory@" + idp.URL, "grant-approved alice@" + idp.URL, "grant-given alice@" + idp.URL, "grant-withdrawn alice@" + idp.URL} {
		if !seen[want] {
			t.Errorf("%s is not on the record: %v", want, seen)
		}
	}
}

// TestPerUserNeedsAWayIn: a config whose grants nobody could give is refused.
func TestPerUserNeedsAWayIn(t *testing.T) {
	t.Parallel()
	idp, up := signintest.New(t), perusertest.New(t)
	p := personal(t, idp, up)
	text := "listen: 127.0.0.1:8931\ndata: " + p.data + "\nservers: { files: { url: \"" + up.URL + "/mcp\", credential: { type: per_user } } }\n" +
		"public_url: " + public + "\nidentity: { issuers: [{ issuer: \"" + idp.URL + "\" }] }\n"
	p.overwrite(t, text)
	if err := p.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "signin:") {
		t.Errorf("%v", err)
	}
}
