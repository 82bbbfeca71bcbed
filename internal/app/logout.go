package app

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/gateway"
)

// LogoutPath is where issuers tell of sessions that ended (OpenID Connect
// Back-Channel Logout 1.0, 2.5). It is there while an issuer is configured that
// tells.
const LogoutPath = "/backchannel-logout"

const (
	mostLogoutBytes = 32 << 10
	logoutReadTime  = 5 * time.Second
)

// refusedLogouts bounds the entries that strangers can make on the record.
func refusedLogouts() *limit.Keyed { return limit.NewKeyed(1, 20, 1) }

// logout takes one logout token.
func (a *App) logout(w http.ResponseWriter, r *http.Request, v *jwt.Verifier) {
	gateway.Secure(w.Header())
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answerLogout(w, http.StatusMethodNotAllowed, "logout tokens come by POST")
		return
	}
	token, why := logoutToken(w, r)
	if why != "" {
		answerLogout(w, http.StatusBadRequest, why)
		return
	}
	l, err := v.Logout(r.Context(), token)
	ended := 0
	if err == nil {
		ended, err = a.signedOut(r.Context(), l)
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "logout", Effect: "allow", Reason: "signed-out"}
	switch {
	case err == nil:
		e.Principal = whoOf(l)
		e.Detail = map[string]string{"issuer": l.Issuer, "sessions": strconv.Itoa(ended)}
		if l.Session != "" {
			e.Detail["session"] = audit.ShortDigest(l.Session)
		}
	case errors.Is(err, authn.ErrUnavailable):
		w.Header().Set("Retry-After", "5")
		answerLogout(w, http.StatusServiceUnavailable, err.Error())
		return
	default:
		if ok, _ := a.strangers.Allow("logout"); !ok {
			answerLogout(w, http.StatusBadRequest, publicLogout(err))
			return
		}
		e.Effect, e.Reason = "deny", "bad-logout-token"
		e.Detail = map[string]string{"why": err.Error()}
	}
	if rerr := a.record.With(log.Strict).Record(r.Context(), &e); rerr != nil {
		a.o.Logger.Error("the record cannot be written", "err", rerr)
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case isVerdict(err):
		answerLogout(w, http.StatusBadRequest, publicLogout(err))
	default:
		a.o.Logger.Error("a logout could not be written down", "err", err)
		w.Header().Set("Retry-After", "5")
		answerLogout(w, http.StatusServiceUnavailable, publicLogout(err))
	}
}

// isVerdict reports an error that says something about the token; any other is
// a failure of ours, after which the issuer should try again.
func isVerdict(err error) bool {
	for _, verdict := range []error{errUsed, jwt.ErrMalformed, jwt.ErrType, jwt.ErrIssuer, jwt.ErrAlgorithm, jwt.ErrKey, jwt.ErrSignature,
		jwt.ErrAudience, jwt.ErrExpired, jwt.ErrNotYet, jwt.ErrLifetime, jwt.ErrClaims, jwt.ErrLogout} {
		if errors.Is(err, verdict) {
			return true
		}
	}
	return false
}

func publicLogout(err error) string {
	if isVerdict(err) {
		return err.Error()
	}
	return "the logout could not be written down: tell it again"
}

// logoutToken reads the one parameter of the form. It says why there is none.
func logoutToken(w http.ResponseWriter, r *http.Request) (token, why string) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mt != "application/x-www-form-urlencoded" {
		return "", "send logout_token as application/x-www-form-urlencoded"
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(logoutReadTime))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostLogoutBytes))
	if err != nil {
		return "", "the body is too long, or came too slowly"
	}
	form, err := url.ParseQuery(string(b))
	if err != nil || len(form["logout_token"]) != 1 || form.Get("logout_token") == "" {
		return "", "send exactly one logout_token"
	}
	return form.Get("logout_token"), ""
}

// answerLogout says no as the specification does (2.8).
func answerLogout(w http.ResponseWriter, status int, why string) {
	b, err := json.Marshal(map[string]string{"error": "invalid_request", "error_description": why})
	if err != nil {
		b = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
