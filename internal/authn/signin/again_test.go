package signin_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn/signin/signintest"
	"github.com/munjigi/munjigi/internal/call"
)

// TestAgain asks for what is needed, and is a sign-in like any other.
func TestAgain(t *testing.T) {
	t.Parallel()
	p := signintest.New(t)
	rp := relying(t, p)
	at, err := rp.Again(t.Context(), "b1", p.URL, "/approvals/open?id=x", call.Requirement{ACR: []string{"phr", "mfa"}, MaxAge: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); q.Get("acr_values") != "phr mfa" || q.Get("max_age") != "150" || q.Get("code_challenge_method") != "S256" || q.Get("state") == "" {
		t.Errorf("%v", q)
	}
	who, to, err := rp.Finish(t.Context(), "b1", p.Follow(t, at))
	if err != nil || to != "/approvals/open?id=x" || !who.Valid() {
		t.Errorf("%v %q %v", who, to, err)
	}
	if _, err := rp.Again(t.Context(), "b1", "https://evil.example", "/", call.Requirement{}); err == nil {
		t.Error("an issuer that nobody configured")
	}
	if u, err := url.Parse(begin(t, rp, p, "b1")); err != nil || u.Query().Has("max_age") || u.Query().Has("acr_values") {
		t.Errorf("an ordinary sign-in asks for %v %v", u.Query(), err)
	}
}
