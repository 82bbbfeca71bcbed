package jwt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// logoutEvent is the member of events that makes a JWT a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutLife is how long a logout token without an end of its own is good.
const logoutLife = 2 * time.Minute

// Logout is what an issuer says of a session that ended (OpenID Connect
// Back-Channel Logout 1.0, 2.4). Subject, Session or both are set.
type Logout struct {
	// Issuer is the one under which principals are known.
	Issuer  string
	Subject string
	Session string
	// ID is the token's own name: it may be used once.
	ID string
	// At is the Unix time at which the issuer made it, Until that after which it
	// is refused for its age.
	At, Until int64
}

// ErrLogout is the cause of every refusal of a logout token that its issuer
// made, or could have made, with another meaning.
var ErrLogout = errors.New("this is not a logout token for this gateway: typ logout+jwt, iss, aud, iat, jti, events and sub or sid are needed, and no nonce")

// Logouts reports that some issuer tells of sessions that ended.
func (v *Verifier) Logouts() bool {
	if v == nil {
		return false
	}
	for _, is := range v.issuers {
		if len(is.LogoutClients) > 0 {
			return true
		}
	}
	return false
}

// Logout verifies a logout token as its specification says (2.6). Whether it was
// used before is the caller's to find out. The error is one of this package's
// causes; ErrProvider is the only one that says nothing about the token.
func (v *Verifier) Logout(ctx context.Context, token string) (Logout, error) {
	t, err := parse(token)
	if err != nil {
		return Logout{}, err
	}
	is := v.issuers[t.issuer]
	if is == nil || len(is.LogoutClients) == 0 {
		return Logout{}, ErrIssuer
	}
	if typ := strings.ToLower(t.typ); typ != "logout+jwt" && typ != "application/logout+jwt" {
		return Logout{}, ErrLogout
	}
	if _, err := is.signed(ctx, t, token); err != nil {
		return Logout{}, err
	}
	return is.logout(t.claims, time.Now().Unix())
}

func (is *issuer) logout(c authn.Claims, now int64) (Logout, error) {
	out := Logout{Issuer: is.Issuer.Issuer}
	if is.As != "" {
		out.Issuer = is.As
	}
	aud, ok := c.Texts("aud", true)
	if !ok || !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(is.LogoutClients, a) }) {
		return Logout{}, ErrAudience
	}
	var good [5]bool
	out.Subject, good[0] = c.Text("sub", authn.MaxText)
	out.Session, good[1] = c.Text("sid", authn.MaxText)
	out.ID, good[2] = c.Text("jti", authn.MaxText)
	out.At, good[3] = c.Date("iat")
	out.Until, good[4] = c.Date("exp")
	_, nonce := c.Members.Get("nonce")
	if good != [5]bool{true, true, true, true, true} || nonce || out.ID == "" || out.At == 0 || out.Subject == "" && out.Session == "" || !logsOut(c) {
		return Logout{}, ErrLogout
	}
	if out.Until == 0 {
		out.Until = out.At + int64(logoutLife/time.Second)
	}
	switch out.Until += is.skew; {
	case now >= out.Until:
		return Logout{}, ErrExpired
	case out.At > now+is.skew:
		return Logout{}, ErrNotYet
	case out.Until-out.At > is.life+is.skew:
		return Logout{}, ErrLifetime
	}
	return out, nil
}

// logsOut reports that events has the member of a logout, an object.
func logsOut(c authn.Claims) bool {
	events, ok := c.Inner("events")
	if !ok {
		return false
	}
	raw, ok := events.Members.Get(logoutEvent)
	return ok && strictjson.TypeOf(raw) == strictjson.TypeObject
}
