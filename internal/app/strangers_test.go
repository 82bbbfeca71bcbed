package app_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// documentHost is a host of one client's document, and the config by which it is
// believed.
type documentHost struct {
	*httptest.Server
	id    string
	asked atomic.Int32
}

func newDocumentHost(t *testing.T) *documentHost {
	t.Helper()
	d := &documentHost{}
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.asked.Add(1)
		switch r.URL.Path {
		case "/moved.json":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"client_id": d.URL + r.URL.Path, "client_name": "Cl\u0430ude \u202eevil", "redirect_uris": []string{"http://127.0.0.1/cb"}})
		}
	}))
	t.Cleanup(d.Close)
	d.id = d.URL + "/client.json"
	return d
}

// config lets documents of the host be fetched, and believed where it is named.
func (d *documentHost) config(t *testing.T, documents string) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return "policy: [all.cedar]\negress: { ca: " + ca + " }\nauthorization_server: { documents: { " + strings.ReplaceAll(documents, "HOST", "\""+strings.TrimPrefix(d.URL, "https://")+"\"") + " } }\n"
}

// TestLogInByDocument: a client that nobody configured names its document.
func TestLogInByDocument(t *testing.T) {
	t.Parallel()
	d := newDocumentHost(t)
	const base = "http://localhost:8931"
	p := withPages(t, base, d.config(t, "allow: [HOST], insecure_private_hosts: [HOST]"))
	v := p.visitor(t)
	if _, meta := v.do(http.MethodGet, "/.well-known/oauth-authorization-server", nil); !strings.Contains(meta, `"client_id_metadata_document_supported":true`) || strings.Contains(meta, "registration_endpoint") {
		t.Error(meta)
	}
	mine := func(q url.Values) { q.Set("client_id", d.id) }
	resp, page := v.asked(base, mine)
	for _, want := range []string{strings.TrimPrefix(d.URL, "https://"), `\u{202e}`, `Cl\u{430}ude`, "can look like others", "own computer"} {
		if !strings.Contains(page, want) {
			t.Errorf("%d: the page does not say %q", resp.StatusCode, want)
		}
	}
	if strings.Contains(page, "has not named this host") {
		t.Error("a host that was named is shown as one that was not")
	}
	resp, _ = v.submit(page, "/oauth/consent", yes("s:list"))
	to := resp.Header.Get("Location")
	_, page = v.do(http.MethodGet, to, nil)
	_, page = v.submit(page, "/signin/code", nil)
	resp, _ = v.submit(page, "/signin/code", url.Values{"code": {p.term.code()}})
	_, page = v.do(http.MethodGet, resp.Header.Get("Location"), nil)
	at, err := url.Parse(v.leaves(page))
	if err != nil {
		t.Fatal(err)
	}
	out, status := v.token(url.Values{"grant_type": {"authorization_code"}, "code": {at.Query().Get("code")}, "redirect_uri": {oauthRedirect}, "client_id": {d.id},
		"code_verifier": {oauthVerifier}, "resource": {base + "/mcp/s"}})
	if status != http.StatusOK || out["scope"] != "s:list" || d.asked.Load() != 1 {
		t.Errorf("%d %v, fetched %d times", status, out, d.asked.Load())
	}
	for _, bad := range []string{d.URL + "/moved.json", d.URL + "/a/../client.json", d.id + "?x", d.id + "#x", strings.Replace(d.id, "https:", "http:", 1), "javascript:alert(1)"} {
		if resp, page := v.asked(base, func(q url.Values) { q.Set("client_id", bad) }); resp.StatusCode < 400 || strings.Contains(page, "oauth/consent") {
			t.Errorf("%s: %d", bad, resp.StatusCode)
		}
	}
	if resp, _ := v.do(http.MethodPost, "/oauth/register", url.Values{}); resp.StatusCode != http.StatusNotFound {
		t.Errorf("registration, which is off, answers %d", resp.StatusCode)
	}
}

// TestDocumentsNotBelieved: what nobody named is not even fetched, and
// egress.allow opens nothing for it.
func TestDocumentsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, documents := range map[string]string{
		"no list":          "",
		"another host":     "allow: [app.example]",
		"another document": "allow: [\"https://app.example/c.json\"], insecure_private_hosts: [HOST]",
		"a private host":   "allow: [HOST]",
		"any, but private": "insecure_any_host: true",
	} {
		d := newDocumentHost(t)
		const base = "http://localhost:8931"
		p := withPages(t, base, strings.Replace(d.config(t, documents), "egress: { ", "egress: { allow: [\""+strings.TrimPrefix(d.URL, "https://")+"\"], ", 1))
		resp, page := p.visitor(t).asked(base, func(q url.Values) { q.Set("client_id", d.id) })
		if resp.StatusCode < 400 || strings.Contains(page, "oauth/consent") || d.asked.Load() != 0 {
			t.Errorf("%s: %d, fetched %d times", name, resp.StatusCode, d.asked.Load())
		}
	}
}

// TestDocumentOfAnyHost: the person is told that nobody vouches.
func TestDocumentOfAnyHost(t *testing.T) {
	t.Parallel()
	d := newDocumentHost(t)
	const base = "http://localhost:8931"
	p := withPages(t, base, d.config(t, "insecure_any_host: true, insecure_private_hosts: [HOST]"))
	if resp, page := p.visitor(t).asked(base, func(q url.Values) { q.Set("client_id", d.id) }); !strings.Contains(page, "has not named this host") {
		t.Errorf("%d %s", resp.StatusCode, page)
	}
}
