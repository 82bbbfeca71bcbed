package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
)

// domain is a SPIFFE trust domain that gives out JWT-SVIDs.
type domain struct {
	key    *ecdsa.PrivateKey
	bundle string // its file
}

func newDomain(t *testing.T) *domain {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString("example.org"))
	if err := b.AddJWTAuthority("s1", key.Public()); err != nil {
		t.Fatal(err)
	}
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d := &domain{key: key, bundle: filepath.Join(t.TempDir(), "bundle.json")}
	if err := os.WriteFile(d.bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *domain) svid(t *testing.T, id, audience string, more map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"sub": id, "aud": []string{audience}, "iat": now, "exp": now + 300}
	maps.Copy(claims, more)
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.key, KeyID: "s1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const byPath = `permit (principal is Munjigi::Workload, action == Munjigi::Action::"call", resource == Munjigi::Tool::"s/look")
when { principal.issuer == "spiffe://example.org" && principal.subject like "spiffe://example.org/prod/*" };
permit (principal is Munjigi::User, action == Munjigi::Action::"call", resource == Munjigi::Tool::"s/look")
when { principal.actor like "*|robot" };
permit (principal, action in [Munjigi::Action::"list", Munjigi::Action::"connect"], resource);
`

const robot = "spiffe://example.org/prod/robot"

// TestWorkloadsBySPIFFE: an SVID and a provider's token are each judged by
// their own rules, and by those alone.
func TestWorkloadsBySPIFFE(t *testing.T) {
	t.Parallel()
	idp, dom, data := newProvider(t), newDomain(t), filepath.Join(t.TempDir(), "data")
	recorded(t, data, "an SVID", func(e audit.Event) bool { return e.Principal == robot+"@spiffe://example.org" && e.Effect == "allow" })
	srv, called := behind(t, idp, byPath, `, spiffe: [{ trust_domain: example.org, bundle: "`+dom.bundle+`", scopes: [s:list, s:call] }]`, data)
	here := public + "/mcp/s"
	if resp, body := ask(t, srv, "/mcp/s", dom.svid(t, robot, here, nil), "tools/call", "look"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Fatalf("an SVID: %d %s", resp.StatusCode, body)
	}
	*called = 0
	for name, row := range map[string]struct {
		token, path string
		status      int
	}{
		"of the sibling":               {dom.svid(t, robot, public+"/mcp/other", nil), "/mcp/s", 401},
		"at the sibling":               {dom.svid(t, robot, public+"/mcp/other", nil), "/mcp/other", 200}, // where policy hides all
		"for two":                      {dom.svid(t, robot, here, map[string]any{"aud": []string{here, "x"}}), "/mcp/s", 401},
		"for a day":                    {dom.svid(t, robot, here, map[string]any{"exp": time.Now().Unix() + 86400}), "/mcp/s", 401},
		"of another domain":            {newDomain(t).svid(t, robot, here, nil), "/mcp/s", 401},
		"that says it is the issuer's": {dom.svid(t, robot, here, map[string]any{"iss": idp.URL, "client_id": "agent", "scope": "s:call"}), "/mcp/s", 401},
		"signed by the issuer's key": {(&domain{key: idp.key}).svid(t, robot, here,
			map[string]any{"client_id": "agent", "scope": "s:call"}), "/mcp/s", 401},
		"that policy does not name": {dom.svid(t, "spiffe://example.org/test/robot", here, nil), "/mcp/s", 200},
	} {
		resp, body := ask(t, srv, row.path, row.token, "tools/call", "look")
		if resp.StatusCode != row.status || strings.Contains(body, "done") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if row.status == 401 && !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
	if *called != 0 {
		t.Errorf("%d refused calls reached the server", *called)
	}
	// The issuer's own tokens go on, also for a subject that looks like a
	// workload of the domain.
	like := idp.token(t, here, "s:call s:list", func(c map[string]any) { c["sub"], c["client_id"] = robot, robot })
	if resp, body := ask(t, srv, "/mcp/s", like, "tools/call", "look"); resp.StatusCode != 200 || strings.Contains(body, "done") {
		t.Errorf("a subject of the issuer passes for a workload of the domain: %d %s", resp.StatusCode, body)
	}
}

// TestWorkloadsAlone: trust domains need no authorization server beside them.
func TestWorkloadsAlone(t *testing.T) {
	t.Parallel()
	dom := newDomain(t)
	url, called := looker(t)
	a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { spiffe: [{ trust_domain: example.org, bundle: \""+dom.bundle+
		"\", scopes: ignored }] }\nservers: { s: { url: \""+url+"\" }, other: { url: \""+url+"\" } }\n")
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	here := public + "/mcp/s"
	if resp, body := ask(t, srv, "/mcp/s", dom.svid(t, robot, here, nil), "tools/call", "look"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for name, token := range map[string]string{"none": "", "not a token": "abc", "an access token of somebody": newProvider(t).token(t, here, "s:call", nil),
		"of the sibling": dom.svid(t, robot, public+"/mcp/other", nil)} {
		resp, body := ask(t, srv, "/mcp/s", token, "tools/call", "look")
		if resp.StatusCode != 401 || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "resource_metadata=") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if n := called.Load(); n != 1 {
		t.Errorf("%d calls reached the server", n)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/.well-known/oauth-protected-resource/mcp/s", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m["resource"] != here {
		t.Errorf("%v %v", m, err)
	}
	if servers, ok := m["authorization_servers"]; ok {
		t.Errorf("there is no authorization server, and the metadata says %v", servers)
	}
}

// TestWorkloadsAreTakenBack: an administrator ends an SVID by its subject alone,
// and that of nobody else.
func TestWorkloadsAreTakenBack(t *testing.T) {
	t.Parallel()
	dom := newDomain(t)
	v := vouch(t, newProvider(t), "", "")
	text, err := os.ReadFile(v.file)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "identity: {", `identity: { spiffe: [{ trust_domain: example.org, bundle: "`+dom.bundle+`", scopes: [s:call] }],`, 1)
	if err := os.WriteFile(v.file, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	v.close()
	v.open()
	here := public + "/mcp/s"
	mine, other := dom.svid(t, robot, here, nil), dom.svid(t, "spiffe://example.org/prod/other", here, nil)
	for _, token := range []string{mine, other} {
		if resp, body := ask(t, v.srv, "/mcp/s", token, "tools/call", "look"); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if _, err := v.app.Revoke(t.Context(), app.Revocation{Subject: robot}); err != nil {
		t.Fatal(err)
	}
	if resp, body := ask(t, v.srv, "/mcp/s", mine, "tools/call", "look"); resp.StatusCode != 401 || !strings.Contains(body, "revoked") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := ask(t, v.srv, "/mcp/s", other, "tools/call", "look"); resp.StatusCode != 200 {
		t.Errorf("somebody else: %d %s", resp.StatusCode, body)
	}
	if _, err := v.app.Revoke(t.Context(), app.Revocation{Issuer: "spiffe://evil.org", Subject: robot}); err == nil {
		t.Error("a trust domain that nobody configured")
	}
}

// TestWhoActsIsOnTheRecord: the actor of a token decides, and every actor
// stands on the record.
func TestWhoActsIsOnTheRecord(t *testing.T) {
	t.Parallel()
	idp, data := newProvider(t), filepath.Join(t.TempDir(), "data")
	want := []string{"robot@" + idp.URL, "boss@https://x.example"}
	recorded(t, data, "who acted", func(e audit.Event) bool {
		return cmp.Equal(e.Actors, want) && e.Principal == "kim@"+idp.URL && e.Effect == "allow"
	})
	srv, called := behind(t, idp, byPath, "", data)
	token := func(act any) string {
		return idp.token(t, public+"/mcp/s", "s:call", func(c map[string]any) { c["act"] = act })
	}
	nested := func(n int) any {
		m := map[string]any{"sub": "last"}
		for range n - 1 {
			m = map[string]any{"sub": "robot", "act": m}
		}
		return m
	}
	inner := map[string]any{"sub": "clerk", "act": map[string]any{"sub": "robot"}}
	for name, row := range map[string]struct {
		act    any
		status int
		done   bool
	}{
		"the robot":                  {map[string]any{"sub": "robot", "act": map[string]any{"iss": "https://x.example", "sub": "boss"}}, 200, true},
		"the robot was there before": {inner, 200, false},
		"nobody":                     {nil, 200, false},
		"eight":                      {nested(8), 200, true},
		"nine":                       {nested(9), 401, false},
		"too deep to read":           {nested(40), 401, false},
		"a list":                     {[]any{map[string]any{"sub": "robot"}}, 401, false},
		"no subject":                 {map[string]any{"client_id": "robot"}, 401, false},
		"another's robot":            {map[string]any{"iss": "https://x.example|robot", "sub": "evil"}, 200, false},
	} {
		resp, body := ask(t, srv, "/mcp/s", token(row.act), "tools/call", "look")
		if resp.StatusCode != row.status || strings.Contains(body, "done") != row.done {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if *called != 2 {
		t.Errorf("%d calls reached the server", *called)
	}
}

// recorded looks for an entry on the record when the gateway has stopped: call it
// before the gateway is made.
func recorded(t *testing.T, data, what string, is func(audit.Event) bool) {
	t.Helper()
	t.Cleanup(func() {
		found := 0
		err := log.Read(filepath.Join(data, "audit"), log.OldestFirst, func(e audit.Event) bool {
			if is(e) {
				found++
			}
			return true
		})
		if err != nil || found == 0 {
			t.Errorf("not on the record: %s (%v)", what, err)
		}
	})
}
