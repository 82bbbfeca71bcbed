package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/oauth"
)

func TestWellKnownAddresses(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string][]string{
		"https://a.example":  {"https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"},
		"https://a.example/": {"https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"},
		"https://a.example/realms/x": {"https://a.example/.well-known/oauth-authorization-server/realms/x",
			"https://a.example/.well-known/openid-configuration/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"},
		"https://a.example/x/": {"https://a.example/.well-known/oauth-authorization-server/x",
			"https://a.example/.well-known/openid-configuration/x", "https://a.example/x/.well-known/openid-configuration"},
	} {
		got, err := oauth.WellKnown(issuer)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", issuer, diff)
		}
	}
}

// FuzzDocument holds that only a document that names the issuer comes out, and
// no address that is not one.
func FuzzDocument(f *testing.F) {
	f.Add(`{"issuer":"ISSUER","jwks_uri":"https://a.example/k"}`)
	f.Add(`{"issuer":"ISSUER","issuer":"x","jwks_uri":"file:///etc/passwd"}`)
	f.Add(`{"issuer":"ISSUER/","jwks_uri":"https://u:p@a.example"}`)
	f.Add(`{"issuer":"ISSUER","jwks_uri":["https://a.example"]}`)
	f.Add(`{"Issuer":"ISSUER"}`)
	var body string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, text string) {
		body = strings.ReplaceAll(text, "ISSUER", s.URL)
		d, err := oauth.Find(t.Context(), s.Client(), s.URL, nil)
		if err != nil {
			return
		}
		if name, ok := d.Text("issuer"); !ok || name != s.URL || strings.Count(body, s.URL) == 0 {
			t.Fatalf("%s was taken", body)
		}
		for _, m := range d.Members {
			if u, err := d.URL(m.Name); err == nil {
				if _, err := egress.CheckURL(u, egress.Rules{}); err != nil {
					t.Fatalf("%s: %v", u, err)
				}
			}
		}
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	pages := map[string]string{
		"/.well-known/oauth-authorization-server/x": `{"issuer":"URL","a":"https://wrong.example"}`,
		"/.well-known/openid-configuration/x":       `{"issuer":"URL/x","b":"https://b.example/b"}`,
		"/x/.well-known/openid-configuration":       `{"issuer":"URL/x","a":"https://a.example/a","inside":"http://10.0.0.1/","n":1}`,
	}
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(strings.ReplaceAll(pages[r.URL.Path], "URL", s.URL)))
	}))
	t.Cleanup(s.Close)
	d, err := oauth.Find(t.Context(), s.Client(), s.URL+"/x", func(d oauth.Document) error { _, err := d.URL("a"); return err })
	if err != nil {
		t.Fatal(err)
	}
	if u, err := d.URL("a"); err != nil || u != "https://a.example/a" {
		t.Error(u, err)
	}
	for _, name := range []string{"inside", "n", "missing"} {
		if u, err := d.URL(name); err == nil {
			t.Errorf("%s: %s", name, u)
		}
	}
	_, err = oauth.Find(t.Context(), s.Client(), s.URL+"/y", nil)
	if err == nil || !strings.Contains(err.Error(), s.URL+"/y/.well-known/openid-configuration") {
		t.Errorf("nothing was found and the error is %v", err)
	}
}
