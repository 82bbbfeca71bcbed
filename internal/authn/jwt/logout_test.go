package jwt

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLogoutTokens: only what the specification calls a logout token ends
// anything, and no token has two uses.
func TestLogoutTokens(t *testing.T) {
	t.Parallel()
	p := inProcess(t)
	o := p.options(t)
	o.Issuers[0].LogoutClients = []string{"gateway"}
	v := verifier(t, o)
	now := time.Now().Unix()
	head := m{"alg": "RS256", "typ": "logout+jwt", "kid": "k1"}
	events := m{logoutEvent: m{}}
	base := m{"aud": "gateway", "sid": "s1", "jti": "l1", "iat": now, "exp": now + 120, "events": events, "client_id": nil, "scope": nil}
	with := func(h, change m) string {
		claims := m{}
		for _, part := range []m{base, change} {
			for k, val := range part {
				claims[k] = val
			}
		}
		return p.with(t, alter(m{"alg": "RS256", "typ": "logout+jwt", "kid": "k1"}, h), claims)
	}
	for _, tt := range []struct {
		name  string
		token string
		want  error
	}{
		{"subject and session", with(nil, nil), nil},
		{"subject", with(nil, m{"sid": nil}), nil},
		{"session", with(nil, m{"sub": nil}), nil},
		{"one of several audiences", with(nil, m{"aud": []string{"x", "gateway"}}), nil},
		{"no end of its own", with(nil, m{"exp": nil}), nil},
		{"whole type", with(m{"typ": "application/logout+JWT"}, nil), nil},

		{"an access token", p.token(t, nil), ErrLogout},
		{"an access token for the client", p.token(t, m{"aud": "gateway"}), ErrLogout},
		{"a logout token by its claims", with(m{"typ": "JWT"}, nil), ErrLogout},
		{"no type", with(m{"typ": nil}, nil), ErrLogout},
		{"no audience", with(nil, m{"aud": nil}), ErrAudience},
		{"another client", with(nil, m{"aud": "other"}), ErrAudience},
		{"the resource as audience", with(nil, m{"aud": home}), ErrAudience},
		{"another issuer", with(nil, m{"iss": "https://evil.example"}), ErrIssuer},
		{"nobody", with(nil, m{"sub": nil, "sid": nil}), ErrLogout},
		{"empty names", with(nil, m{"sub": "", "sid": ""}), ErrLogout},
		{"subject is a list", with(nil, m{"sub": []string{"a"}}), ErrLogout},
		{"session is a number", with(nil, m{"sid": 7}), ErrLogout},
		{"nonce", with(nil, m{"nonce": "n"}), ErrLogout},
		{"empty nonce", with(nil, m{"nonce": ""}), ErrLogout},
		{"no events", with(nil, m{"events": nil}), ErrLogout},
		{"another event", with(nil, m{"events": m{"http://schemas.openid.net/secevent/risc/event-type/account-disabled": m{}}}), ErrLogout},
		{"event is no object", with(nil, m{"events": m{logoutEvent: true}}), ErrLogout},
		{"events are a list", with(nil, m{"events": []string{logoutEvent}}), ErrLogout},
		{"no jti", with(nil, m{"jti": nil}), ErrLogout},
		{"empty jti", with(nil, m{"jti": ""}), ErrLogout},
		{"no iat", with(nil, m{"iat": nil}), ErrLogout},
		{"expired", with(nil, m{"iat": now - 400, "exp": now - 61}), ErrExpired},
		{"old, without an end", with(nil, m{"iat": now - 400, "exp": nil}), ErrExpired},
		{"future", with(nil, m{"iat": now + 3600, "exp": now + 3700}), ErrNotYet},
		{"good for a year", with(nil, m{"exp": now + 365*86400}), ErrLifetime},
		{"none", b64(`{"alg":"none","typ":"logout+jwt"}`) + "." + b64(encode(t, m{"iss": p.url})) + ".", ErrMalformed},
		{"another key", sign(t, "RS256", rsaKeys().second, encode(t, head), encode(t, alter(m{"iss": p.url, "sub": "alice"}, base))), ErrSignature},
		{"HMAC", sign(t, "HS256", []byte("k"), `{"alg":"HS256","typ":"logout+jwt"}`, encode(t, alter(m{"iss": p.url, "sub": "alice"}, base))), ErrAlgorithm},
		{"empty", "", ErrMalformed},
	} {
		got, err := v.Logout(t.Context(), tt.token)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && got != (Logout{}) {
			t.Errorf("%s: refused and still %+v", tt.name, got)
		}
	}
	got, err := v.Logout(t.Context(), with(nil, nil))
	want := Logout{Issuer: p.url, Subject: "alice", Session: "s1", ID: "l1", At: now, Until: now + 180}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	if _, err := p.verifier(t).Logout(t.Context(), with(nil, nil)); !errors.Is(err, ErrIssuer) {
		t.Errorf("an issuer without logout: %v", err)
	}
	if _, err := ask(v, home, with(nil, m{"aud": home, "client_id": "editor"})); err == nil {
		t.Error("a logout token opened the resource")
	}
	if v := p.verifier(t); v.Logouts() || !verifier(t, o).Logouts() {
		t.Error("who tells of logouts")
	}
}
