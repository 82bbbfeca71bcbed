package clients_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/clients"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

func bucket(t *testing.T) store.KV {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	kv, err := db.Bucket("oauth-client")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// record is a record that can be full.
type record struct {
	mu     sync.Mutex
	events []audit.Event
	full   bool
}

func (r *record) Record(_ context.Context, e *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return errors.New("full")
	}
	r.events = append(r.events, *e)
	return nil
}

const asks = `{"client_name":"Editor","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","password"]}`

func post(t *testing.T, h http.Handler, from, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, oauthserver.PathRegister, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = from + ":1234"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Code, out
}

func TestRegister(t *testing.T) {
	t.Parallel()
	rec := &record{}
	g := clients.NewRegistry(bucket(t), "gate.example")
	e := clients.Endpoint{Registry: g, Record: rec}
	status, out := post(t, e, "10.0.0.1", asks)
	id, _ := out["client_id"].(string)
	if status != http.StatusCreated || len(id) < 30 {
		t.Fatalf("%d %v", status, out)
	}
	for k := range out {
		if strings.Contains(k, "secret") {
			t.Errorf("%s is given out", k)
		}
	}
	if diff := cmp.Diff([]any{"authorization_code", "refresh_token"}, out["grant_types"]); diff != "" {
		t.Error(diff)
	}
	c, err := g.Client(t.Context(), id)
	if err != nil || c.Kind != oauthserver.Registered || c.Name != "Editor" || c.Auth != oauthserver.AuthNone || c.Expires.IsZero() || c.Digest == "" {
		t.Errorf("%+v %v", c, err)
	}
	if len(rec.events) != 1 || rec.events[0].Reason != "client-registered" || rec.events[0].Client != id {
		t.Errorf("%+v", rec.events)
	}
	before := c.Expires
	if err := g.Used(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if c, err = g.Client(t.Context(), id); err != nil || !c.Expires.After(before) {
		t.Errorf("%v %v", c.Expires, err)
	}
	if there, err := g.End(t.Context(), id); err != nil || !there {
		t.Error(there, err)
	}
	if _, err = g.Client(t.Context(), id); !errors.Is(err, clients.ErrUnknown) {
		t.Error(err)
	}
}

func TestRegisterRefused(t *testing.T) {
	t.Parallel()
	g := clients.NewRegistry(bucket(t), "gate.example")
	e := clients.Endpoint{Registry: g, Record: &record{}}
	for i, c := range []struct{ body, code string }{
		{`{"client_name":"x","redirect_uris":["javascript:alert(1)"]}`, "invalid_redirect_uri"},
		{`{"client_name":"x","redirect_uris":["data:text/html,x"]}`, "invalid_redirect_uri"},
		{`{"client_name":"x","redirect_uris":["http://evil.example/"]}`, "invalid_redirect_uri"},
		{`{"client_name":"x","redirect_uris":["https://gate.example/oauth/consent"]}`, "invalid_redirect_uri"},
		{`{"client_name":"x"}`, "invalid_redirect_uri"},
		{`{"redirect_uris":["https://app.example/"]}`, "invalid_client_metadata"},
		{`{"client_name":"x","redirect_uris":["https://app.example/"],"client_id":"mine"}`, "invalid_client_metadata"},
		{`{"client_name":"x","redirect_uris":["https://app.example/"],"client_secret":"mine"}`, "invalid_client_metadata"},
		{`{"client_name":"x","redirect_uris":["https://app.example/"],"logo_uri":"javascript:x"}`, "invalid_client_metadata"},
		{`{"client_name":"x","redirect_uris":["https://app.example/"],"jwks_uri":"https://169.254.169.254/"}`, "invalid_client_metadata"},
		{`{"client_name":"x","redirect_uris":["https://app.example/"],"token_endpoint_auth_method":"private_key_jwt"}`, "invalid_client_metadata"},
		{`{"client_name":"x","client_name":"y","redirect_uris":["https://app.example/"]}`, "invalid_client_metadata"},
		{strings.Repeat(" ", clients.MaxBytes+1), "invalid_client_metadata"},
		{``, "invalid_client_metadata"},
	} {
		status, out := post(t, e, fmt.Sprintf("10.0.0.%d", i), c.body)
		if status != http.StatusBadRequest || out["error"] != c.code {
			t.Errorf("%.80s: %d %v", c.body, status, out)
		}
	}
}

// TestRegisterSecret holds that who asks for a secret gets none.
func TestRegisterSecret(t *testing.T) {
	t.Parallel()
	e := clients.Endpoint{Registry: clients.NewRegistry(bucket(t), ""), Record: &record{}}
	status, out := post(t, e, "10.0.0.1", strings.Replace(asks, `"none"`, `"client_secret_basic"`, 1))
	if status != http.StatusCreated || out["token_endpoint_auth_method"] != "none" || out["client_secret"] != nil {
		t.Errorf("%d %v", status, out)
	}
}

// TestRegisterScope: the official TypeScript client registers with the scope that
// it was refused for first, which is to list; it must still be able to call.
func TestRegisterScope(t *testing.T) {
	t.Parallel()
	g := clients.NewRegistry(bucket(t), "gate.example")
	status, out := post(t, clients.Endpoint{Registry: g, Record: &record{}}, "10.0.0.1", strings.Replace(asks, "{", `{"scope":"files:list",`, 1))
	id, _ := out["client_id"].(string)
	c, err := g.Client(t.Context(), id)
	if _, said := out["scope"]; status != http.StatusCreated || said || err != nil || c.Scopes != nil {
		t.Errorf("%d %v: %+v %v", status, out, c, err)
	}
}

func TestRegisterMethods(t *testing.T) {
	t.Parallel()
	on := clients.Endpoint{Registry: clients.NewRegistry(bucket(t), ""), Record: &record{}}
	for _, c := range []struct {
		e            clients.Endpoint
		method, kind string
		want         int
	}{
		{clients.Endpoint{}, http.MethodPost, "application/json", http.StatusNotFound},
		{on, http.MethodGet, "application/json", http.StatusMethodNotAllowed},
		{on, http.MethodPost, "text/plain", http.StatusBadRequest},
		{on, http.MethodPost, "", http.StatusBadRequest},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, oauthserver.PathRegister, strings.NewReader(asks))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		c.e.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %q: %d", c.method, c.kind, w.Code)
		}
	}
}

func TestRegisterFlood(t *testing.T) {
	t.Parallel()
	g := clients.NewRegistry(bucket(t), "")
	e := clients.Endpoint{Registry: g, Record: &record{}}
	refused := 0
	for range 10 {
		if status, _ := post(t, e, "10.0.0.1", asks); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d of 10 from one address were refused", refused)
	}
	if status, _ := post(t, e, "10.0.0.2", asks); status != http.StatusCreated {
		t.Errorf("another address: %d", status)
	}
}

// TestRegistryBounded holds that those that nobody let in push out each other,
// and never one that somebody let in.
func TestRegistryBounded(t *testing.T) {
	t.Parallel()
	kv := bucket(t)
	keep := func() string {
		// A registry of its own each, so that no bucket of tokens is in the way.
		g := clients.NewRegistry(kv, "")
		r, err := g.Judge("10.0.0.1", []byte(asks))
		if err == nil {
			err = g.Keep(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r.Client.ID
	}
	g := clients.NewRegistry(kv, "")
	first := keep()
	if err := g.Used(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for range 230 {
		keep()
	}
	n := 0
	if err := kv.Scan(t.Context(), "", func(store.Entry) bool { n++; return true }); err != nil || n != 201 {
		t.Errorf("%d kept, %v", n, err)
	}
	if _, err := g.Client(t.Context(), first); err != nil {
		t.Error(err)
	}
}

func TestRegisterNotOnRecord(t *testing.T) {
	t.Parallel()
	kv := bucket(t)
	e := clients.Endpoint{Registry: clients.NewRegistry(kv, ""), Record: &record{full: true}}
	if status, _ := post(t, e, "10.0.0.1", asks); status != http.StatusServiceUnavailable {
		t.Error(status)
	}
	_ = kv.Scan(t.Context(), "", func(store.Entry) bool { t.Error("kept without an entry"); return true })
}

func TestAll(t *testing.T) {
	t.Parallel()
	own := oauthserver.Client{ID: "https://app.example/c.json", Kind: oauthserver.Configured, Auth: oauthserver.AuthNone, RedirectURIs: []string{"https://app.example/cb"}}
	a := clients.All{Configured: map[string]oauthserver.Client{own.ID: own}, Registry: clients.NewRegistry(bucket(t), "")}
	c, err := a.Client(t.Context(), own.ID)
	if err != nil || c.Kind != oauthserver.Configured {
		t.Errorf("%+v %v", c, err)
	}
	c.RedirectURIs[0] = "https://evil.example/"
	if c, _ = a.Client(t.Context(), own.ID); c.RedirectURIs[0] != "https://app.example/cb" {
		t.Error("one caller changed another's client")
	}
	for id, want := range map[string]error{"": oauthserver.ErrNoClient, "other": oauthserver.ErrNoClient, "reg_AAAAAAAAAAAAAAAAAAAAAAAAAA": oauthserver.ErrNoClient,
		"https://other.example/c.json": oauthserver.ErrClientRefused, "javascript:alert(1)": oauthserver.ErrNoClient, "reg_\x00AAAAAAAAAAAAAAAAAAAAAAAAA": oauthserver.ErrNoClient} {
		if _, err := a.Client(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := (clients.All{}).Client(t.Context(), "https://other.example/c.json"); !errors.Is(err, oauthserver.ErrClientRefused) {
		t.Error(err)
	}
}
