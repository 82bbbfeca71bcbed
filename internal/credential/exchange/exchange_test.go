package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/credentialtest"
	"github.com/munjigi/munjigi/internal/credential/exchange"
	"github.com/munjigi/munjigi/internal/oauth"
)

const (
	idp      = "https://idp.example"
	resource = "https://mcp.example/mcp"
)

func always(call.Principal) bool { return true }

func post(as *credentialtest.Server) *oauth.Server {
	return as.At(oauth.Authentication{Method: oauth.MethodPost, ClientID: "gw", Secret: func(context.Context) (secret.Value, error) { return secret.New("pw"), nil }})
}

func source(t *testing.T, o exchange.Options) *exchange.Source {
	t.Helper()
	if o.Current == nil {
		o.Current = always
	}
	s, err := exchange.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func later() int64 { return time.Now().Add(time.Hour).Unix() }

// forCaller mints a token that names the one it was made of.
func forCaller(form url.Values) (int, map[string]any) {
	of := form.Get("subject_token") + form.Get("assertion")
	return 200, credentialtest.Answer("for."+strings.ReplaceAll(of, ".", "-"), 600)
}

func auth(t *testing.T, s *exchange.Source, who credential.Subject) string {
	t.Helper()
	h, err := s.Headers(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
}

// TestRequests looks at what the endpoint is asked, in each variant.
func TestRequests(t *testing.T) {
	t.Parallel()
	actor := func(context.Context) (secret.Value, error) { return secret.New("actor.jwt.x\n"), nil }
	client := url.Values{"client_id": {"gw"}, "client_secret": {"pw"}}
	for name, tt := range map[string]struct {
		o    exchange.Options
		want url.Values
	}{
		"RFC 8693": {exchange.Options{Scopes: []string{"a", "b"}, Resource: resource, Audience: "files"},
			url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {"tok.kim"}, "subject_token_type": {oauth.TypeAccess},
				"requested_token_type": {oauth.TypeAccess}, "scope": {"a b"}, "resource": {resource}, "audience": {"files"}}},
		"types and actor": {exchange.Options{Subject: oauth.TypeJWT, Requested: oauth.TypeAccess, Actor: actor},
			url.Values{"grant_type": {oauth.GrantExchange}, "subject_token": {"tok.kim"}, "subject_token_type": {oauth.TypeJWT},
				"requested_token_type": {oauth.TypeAccess}, "actor_token": {"actor.jwt.x"}, "actor_token_type": {oauth.TypeJWT}}},
		"on behalf of": {exchange.Options{OnBehalfOf: true, Scopes: []string{"api://files/.default"}},
			url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {"tok.kim"}, "requested_token_use": {"on_behalf_of"}, "scope": {"api://files/.default"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := credentialtest.New(t)
			tt.o.Server = post(as)
			s := source(t, tt.o)
			who := credentialtest.Subject(idp, "kim", "agent", "tok.kim", later())
			first := auth(t, s, who)
			if auth(t, s, who) != first {
				t.Error("it was not kept")
			}
			for k, v := range client {
				tt.want[k] = v
			}
			if d := cmp.Diff([]url.Values{tt.want}, as.Forms()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestNobodyElses gives each caller what was made of its own token, when many
// come at once and differ in one thing only.
func TestNobodyElses(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	as.Mint = forCaller
	s := source(t, exchange.Options{Server: post(as)})
	end := later()
	callers := map[string]credential.Subject{}
	for _, issuer := range []string{idp, "https://other.example"} {
		for _, name := range []string{"kim", "lee"} {
			for _, client := range []string{"agent", "cli"} {
				for _, n := range []string{"1", "2"} {
					token := strings.TrimPrefix(issuer, "https://") + "." + name + "." + client + "." + n
					callers[token] = credentialtest.Subject(issuer, name, client, token, end)
				}
			}
		}
	}
	var wg sync.WaitGroup
	for token, who := range callers {
		for range 20 {
			wg.Go(func() {
				if got, want := auth(t, s, who), "for."+strings.ReplaceAll(token, ".", "-"); got != want {
					t.Errorf("%s got %s", token, got)
				}
			})
		}
	}
	wg.Wait()
	if n := len(as.Forms()); n != len(callers) {
		t.Errorf("%d exchanges for %d callers", n, len(callers))
	}
	// The same token under other rights is another thing: nothing is shared.
	a := callers["idp.example.kim.agent.1"]
	id := a.Principal.Identity()
	id.Scopes = []string{"s:list"}
	a.Principal = call.NewPrincipal(id)
	auth(t, s, a)
	if n := len(as.Forms()); n != len(callers)+1 {
		t.Error("what was fetched for one set of rights was given out under another")
	}
}

// TestWhoIsRefused: nobody, the operator, a caller without a token, and callers
// of issuers whose tokens this endpoint must not see. It is not even asked.
func TestWhoIsRefused(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	s := source(t, exchange.Options{Server: post(as), Issuers: []string{idp}})
	operator := credentialtest.Subject(idp, "kim", "agent", "tok", later())
	operator.Principal = call.NewPrincipal(call.Identity{Issuer: idp, Subject: "op", Kind: call.Operator})
	anonymous := operator
	anonymous.Principal = call.NewPrincipal(call.Identity{Issuer: idp, Subject: "x", Kind: call.Anonymous})
	bare := credentialtest.Subject(idp, "kim", "agent", "", later())
	for name, who := range map[string]credential.Subject{
		"nobody": {}, "a token alone": {Token: secret.New("tok")}, "operator": operator, "anonymous": anonymous, "no token": bare,
		"another issuer": credentialtest.Subject("https://other.example", "kim", "agent", "tok", later()),
	} {
		if _, err := s.Headers(t.Context(), who); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Rejected(t.Context(), who, credential.Rejection{Status: 401}); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(as.Forms()); n != 0 {
		t.Errorf("the endpoint saw %d tokens", n)
	}
	var zero exchange.Source
	if _, err := zero.Headers(t.Context(), credentialtest.Subject(idp, "kim", "agent", "tok", later())); err == nil {
		t.Error("the zero source gave something")
	}
	for _, o := range []exchange.Options{{}, {Server: post(as)}, {Server: post(as), Current: always, OnBehalfOf: true}} {
		if _, err := exchange.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// TestRevoked: what was exchanged ends with the caller's proof, at once, also for
// who waits at that moment.
func TestRevoked(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	var revoked sync.Map
	var onAsk atomic.Value
	onAsk.Store(func() {})
	as.Mint = func(form url.Values) (int, map[string]any) { onAsk.Load().(func())(); return forCaller(form) }
	s := source(t, exchange.Options{Server: post(as), Current: func(p call.Principal) bool {
		_, gone := revoked.Load(p.Identity().Proof)
		return !gone
	}})
	kim, lee := credentialtest.Subject(idp, "kim", "agent", "tok-kim", later()), credentialtest.Subject(idp, "lee", "agent", "tok-lee", later())
	auth(t, s, kim)
	revoked.Store("tok-kim", true)
	for range 3 {
		if _, err := s.Headers(t.Context(), kim); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("after the end of the proof: %v", err)
		}
	}
	if n := len(as.Forms()); n != 1 {
		t.Errorf("a token that was revoked was shown again: %d exchanges", n)
	}
	if auth(t, s, lee) != "for.tok-lee" {
		t.Error("another caller's token was taken away too")
	}
	onAsk.Store(func() { revoked.Store("tok-pat", true) })
	if _, err := s.Headers(t.Context(), credentialtest.Subject(idp, "pat", "agent", "tok-pat", later())); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("revoked while it waited: %v", err)
	}
	revoked.Delete("tok-kim")
	before := len(as.Forms())
	auth(t, s, kim)
	if len(as.Forms()) != before+1 {
		t.Error("what was exchanged before the revocation was still there")
	}
}

// TestEnds: what was exchanged is used until the caller's own token ends, though
// it would live longer, and is not fetched ahead of that end in vain.
func TestEnds(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	as.Mint = func(url.Values) (int, map[string]any) { return 200, credentialtest.Answer(as.Fresh(), 3600) }
	s := source(t, exchange.Options{Server: post(as)})
	past := credentialtest.Subject(idp, "kim", "agent", "tok", time.Now().Add(-time.Second).Unix())
	if h, err := s.Headers(t.Context(), past); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("past the caller's end: %v %v", h, err)
	}
	if n := len(as.Forms()); n != 1 {
		t.Errorf("%d exchanges", n)
	}
	if _, err := s.Headers(t.Context(), credentialtest.Subject(idp, "lee", "agent", "tok", time.Now().Add(time.Minute).Unix())); err != nil {
		t.Error(err)
	}
}

// TestStampede: many calls of one caller make one exchange, also when its token
// is refused by the server in all of them.
func TestStampede(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	s := source(t, exchange.Options{Server: post(as)})
	who := credentialtest.Subject(idp, "kim", "agent", "tok", later())
	var wg sync.WaitGroup
	old := make(chan string, 100)
	for range 100 {
		wg.Go(func() { old <- auth(t, s, who) })
	}
	wg.Wait()
	sent := http.Header{"Authorization": {"Bearer " + <-old}}
	for range 100 {
		wg.Go(func() {
			if err := s.Rejected(t.Context(), who, credential.Rejection{Status: 401, Sent: sent}); err != nil {
				t.Error(err)
			}
			if got := auth(t, s, who); sent.Get("Authorization") == "Bearer "+got {
				t.Error("the refused token came again")
			}
		})
	}
	wg.Wait()
	if n := len(as.Forms()); n != 2 {
		t.Errorf("%d exchanges", n)
	}
	now := http.Header{"Authorization": {"Bearer " + auth(t, s, who)}}
	for _, r := range []credential.Rejection{{Status: 401, Sent: now}, {Status: 401, Sent: now, Again: true}, {Status: 403, Sent: now}} {
		if err := s.Rejected(t.Context(), who, r); !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestHostileEndpoint: what comes back must be another token, for this server.
func TestHostileEndpoint(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		answer map[string]any
		want   error
	}{
		"the caller's own token": {200, credentialtest.Answer("tok.kim", 600), credential.ErrRefused},
		"for another resource":   {200, credentialtest.Answer(credentialtest.JWT("at+jwt", map[string]any{"aud": "https://bank.example"}), 600), credential.ErrRefused},
		"another kind":           {200, map[string]any{"access_token": "x", "token_type": "Bearer", "issued_token_type": oauth.TypeRefresh}, credential.ErrRefused},
		"no kind":                {200, map[string]any{"access_token": "x", "token_type": "Bearer"}, credential.ErrRefused},
		"refused":                {400, map[string]any{"error": "invalid_grant", "error_description": "tok.kim is bad"}, credential.ErrRefused},
		"down":                   {502, nil, credential.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := credentialtest.New(t)
			as.Mint = func(url.Values) (int, map[string]any) { return tt.status, tt.answer }
			s := source(t, exchange.Options{Server: post(as), Resource: resource, Audiences: []string{resource}})
			h, err := s.Headers(t.Context(), credentialtest.Subject(idp, "kim", "agent", "tok.kim", later()))
			if !errors.Is(err, tt.want) || h != nil {
				t.Errorf("%v %v", h, err)
			}
			if strings.Contains(fmt.Sprint(err), "tok.kim") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// TestBounded keeps no more tokens than it may.
func TestBounded(t *testing.T) {
	t.Parallel()
	as := credentialtest.New(t)
	as.Mint = forCaller
	s := source(t, exchange.Options{Server: post(as), Most: 3})
	for i := range 10 {
		auth(t, s, credentialtest.Subject(idp, fmt.Sprint("user", i), "agent", fmt.Sprint("tok", i), later()))
	}
	before := len(as.Forms())
	for i := 9; i > 6; i-- {
		auth(t, s, credentialtest.Subject(idp, fmt.Sprint("user", i), "agent", fmt.Sprint("tok", i), later()))
	}
	if len(as.Forms()) != before {
		t.Error("the newest were not kept")
	}
	auth(t, s, credentialtest.Subject(idp, "user0", "agent", "tok0", later()))
	if len(as.Forms()) != before+1 {
		t.Error("the oldest was kept")
	}
}
